//! The numbers of the table, computed again from the saved files; which numbers are the same and which are not.

use std::collections::BTreeMap;

use serde_json::Value;
use softlabel_data::SavedPredictions;

use crate::{Place, TINY};

/// Logits and labels of one split, in f64.
struct Split {
    logits: Vec<Vec<f64>>,
    labels: Vec<usize>,
}

fn saved(place: &Place, arm: &str, seed: u64, split: &str) -> SavedPredictions {
    let name = format!("out/predictions/{arm}/seed-{seed}/{split}.safetensors");
    SavedPredictions::read(&place.path(&name)).unwrap()
}

impl Split {
    fn read(place: &Place, arm: &str, seed: u64, split: &str) -> Self {
        let saved = saved(place, arm, seed, split);
        let row = |row: &[f32]| row.iter().copied().map(f64::from).collect();
        let logits = saved.logits().as_slice().chunks(saved.logits().classes()).map(row).collect();
        Self { logits, labels: saved.labels().iter().collect() }
    }

    fn map(&self, change: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let logits = self.logits.iter().map(|row| change(row)).collect();
        Self { logits, labels: self.labels.clone() }
    }
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = values.clone().fold(f64::MIN, f64::max);
    top + values.map(|value| (value - top).exp()).sum::<f64>().ln()
}

/// The metrics by the formulas of their definition.
fn metrics(split: &Split, bins: u32) -> BTreeMap<&'static str, f64> {
    let count = split.labels.len() as f64;
    let (mut sums, mut gaps) = (BTreeMap::new(), vec![0.0; bins as usize]);
    for (row, &label) in split.logits.iter().zip(&split.labels) {
        let normalizer = log_sum_exp(row.iter().copied());
        let p: Vec<f64> = row.iter().map(|z| (z - normalizer).exp()).collect();
        let top = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        let correct = f64::from(u8::from(top == label));
        let truth = |class| f64::from(u8::from(class == label));
        let brier: f64 = p.iter().enumerate().map(|(class, p)| (p - truth(class)).powi(2)).sum();
        let others = row.iter().enumerate().filter(|&(class, _)| class != label);
        let rival = others.map(|(_, &z)| z).fold(f64::MIN, f64::max);
        for (name, value) in [
            ("accuracy", correct),
            ("nll", normalizer - row[label]),
            ("brier", brier),
            ("mean_confidence", p[top]),
            ("mean_logit_gap", row[label] - rival),
        ] {
            *sums.entry(name).or_insert(0.0) += value / count;
        }
        // (lower, upper]
        let bin = (1..bins).filter(|&edge| p[top] > f64::from(edge) / f64::from(bins)).count();
        gaps[bin] += (p[top] - correct) / count;
    }
    sums.insert("ece", gaps.iter().map(|gap| gap.abs()).sum());
    sums
}

/// The temperature at which the slope of the NLL in 1/T, which rises with 1/T, is 0; by bisection.
fn fitted_temperature(split: &Split) -> f64 {
    let slope = |inverse: f64| -> f64 {
        let rows = split.logits.iter().zip(&split.labels);
        rows.map(|(row, &label)| {
            let normalizer = log_sum_exp(row.iter().map(|z| z * inverse));
            let mean: f64 = row.iter().map(|z| (z * inverse - normalizer).exp() * z).sum();
            mean - row[label]
        })
        .sum()
    };
    let (mut low, mut high) = (1e-3, 1e3);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    2.0 / (low + high)
}

/// q_k ∝ σ(a_k f_k + b_k) with the log-odds f of softmax(z); their logarithms.
fn platt(row: &[f64], parameters: &Value) -> Vec<f64> {
    let number = |name: &str, class: usize| parameters[name][class].as_f64().unwrap();
    let scores = row.iter().enumerate().map(|(class, z)| {
        let others = row.iter().enumerate().filter(move |&(other, _)| other != class);
        let odds = z - log_sum_exp(others.map(|(_, &z)| z));
        let u = number("slopes", class) * odds + number("intercepts", class);
        -(-u).exp().ln_1p()
    });
    let scores: Vec<f64> = scores.collect();
    let normalizer = log_sum_exp(scores.iter().copied());
    scores.into_iter().map(|score| score - normalizer).collect()
}

fn json(place: &Place, name: &str) -> Value {
    serde_json::from_str(&place.read(name)).unwrap()
}

/// The row of the summary against what was computed, a map a seed.
fn check_row(summary: &Value, arm: &str, calibration: &str, seeds: &[BTreeMap<&str, f64>]) {
    let rows = summary["rows"].as_array().unwrap();
    let mut of = rows.iter().filter(|row| row["arm"] == arm && row["calibration"] == calibration);
    let (row, none) = (of.next().unwrap(), of.next());
    assert!(none.is_none(), "{arm} + {calibration} has two rows");
    assert_eq!(row["metrics"]["temperature"].is_null(), calibration != "temperature");
    for name in seeds[0].keys() {
        let tolerance = if *name == "temperature" { 1e-7 } else { 1e-9 };
        let found = &row["metrics"][name];
        let expected: Vec<f64> = seeds.iter().map(|seed| seed[name]).collect();
        let close = |found: &Value, expected: f64| {
            let found = found.as_f64().unwrap();
            let error = (found - expected).abs();
            assert!(error < tolerance, "{arm} + {calibration}, {name}: {found}, not {expected}");
        };
        assert_eq!(found["values"].as_array().unwrap().len(), expected.len());
        for (found, &expected) in found["values"].as_array().unwrap().iter().zip(&expected) {
            close(found, expected);
        }
        let count = expected.len() as f64;
        let mean = expected.iter().sum::<f64>() / count;
        close(&found["mean"], mean);
        let squares: f64 = expected.iter().map(|value| (value - mean).powi(2)).sum();
        close(&found["sd"], (squares / (count - 1.0)).sqrt());
    }
}

/// Runs with `arguments`, then checks every row of the arm that is calibrated.
fn check_numbers(arguments: &[&str], bins: u32) {
    let place = Place::new(TINY);
    place.run(&[&["--out", "out", "--set", "repeats=3"], arguments].concat()).success();
    let summary = json(&place, "out/summary.json");
    assert_eq!(summary["bins"], bins);
    let (mut raw, mut cooled, mut sigmoids) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 3..6 {
        let test = Split::read(&place, "hard", seed, "test");
        raw.push(metrics(&test, bins));
        let temperature = fitted_temperature(&Split::read(&place, "hard", seed, "validation"));
        let by_temperature = |row: &[f64]| row.iter().map(|z| z / temperature).collect();
        let mut scaled = metrics(&test.map(by_temperature), bins);
        scaled.insert("temperature", temperature);
        cooled.push(scaled);
        let calibrator = json(&place, &format!("out/calibrators/hard/seed-{seed}/platt.json"));
        let by_sigmoids = |row: &[f64]| platt(row, &calibrator["parameters"]);
        sigmoids.push(metrics(&test.map(by_sigmoids), bins));
        let name = format!("out/calibrators/hard/seed-{seed}/temperature.json");
        let written = json(&place, &name)["parameters"]["temperature"].as_f64().unwrap();
        assert!((written - temperature).abs() < 1e-7, "{written}, not {temperature}");
    }
    check_row(&summary, "hard", "none", &raw);
    check_row(&summary, "hard", "temperature", &cooled);
    check_row(&summary, "hard", "platt", &sigmoids);
    let of = |arm, seed| metrics(&Split::read(&place, arm, seed, "test"), bins);
    check_row(
        &summary,
        "smoothed",
        "none",
        &(3..6).map(|seed| of("smoothed", seed)).collect::<Vec<_>>(),
    );
}

#[test]
fn every_number_of_the_table_follows_from_the_saved_predictions() {
    check_numbers(&[], 15);
}

#[test]
fn the_numbers_of_overconfident_networks_follow_too() {
    let overfit = ["--set", "training.epochs=30", "--set", "models.small.hidden=[64]"];
    check_numbers(&[&overfit[..], &["--set", "evaluation.bins=7"]].concat(), 7);
}

#[test]
fn the_diagram_pools_the_seeds_and_its_bins_hold_the_calibration_error() {
    let place = Place::new(TINY);
    place.run(&["--out", "out", "--set", "repeats=2"]).success();
    let summary = json(&place, "out/summary.json");
    let samples = 2 * summary["dataset"]["samples"]["test"].as_u64().unwrap();
    for row in summary["rows"].as_array().unwrap() {
        let text = row["reliability"].to_string();
        let bins = row["reliability"]["bins"].as_array().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(bins.len(), 15);
        let count: u64 = bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum();
        assert_eq!(count, samples);
    }
}

fn summary(place: &Place, arguments: &[&str]) -> String {
    place.run(&[&["--out", "out", "--overwrite"], arguments].concat()).success();
    place.read("out/summary.json")
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let (place, elsewhere) = (Place::new(TINY), Place::new(TINY));
    let first = summary(&place, &[]);
    assert!(summary(&elsewhere, &[]) == first, "the same seed, other numbers");
    assert!(summary(&place, &["--seed", "3"]) == first, "the same seed, other numbers");
    let values = |summary: &str| {
        let summary: Value = serde_json::from_str(summary).unwrap();
        summary["rows"][0]["metrics"]["nll"]["mean"].as_f64().unwrap()
    };
    assert_ne!(values(&summary(&place, &["--seed", "4"])), values(&first));
}

#[test]
fn the_second_repeat_is_the_first_of_the_next_seed() {
    let place = Place::new(TINY);
    let value = |summary: &str, repeat: usize| {
        let summary: Value = serde_json::from_str(summary).unwrap();
        summary["rows"][0]["metrics"]["nll"]["values"][repeat].as_f64().unwrap()
    };
    let both = summary(&place, &["--set", "repeats=2"]);
    assert_eq!(value(&both, 1), value(&summary(&place, &["--seed", "4"]), 0));
}

#[test]
fn threads_do_not_change_the_bytes_where_there_is_a_seed_for_each() {
    let place = Place::new(TINY);
    let with = |threads: &str| {
        let arguments = ["run", "recipe.toml", "--set", "repeats=2", "--out", "out", "--overwrite"];
        place.softlabel(&[&arguments[..], &["--threads", threads]].concat()).success();
        place.read("out/summary.json")
    };
    assert!(with("1") == with("2"), "another number of threads, other numbers");
}

#[test]
fn without_noise_the_observed_labels_are_the_true_ones() {
    let place = Place::new(TINY);
    let summary: Value =
        serde_json::from_str(&summary(&place, &["--set", "data.noise.rate=0"])).unwrap();
    assert_eq!(summary["dataset"]["changed_labels"], Value::from(vec![0.0]));
    let train = saved(&place, "hard", 3, "train");
    assert_eq!(train.observed_labels(), Some(train.labels()));
}

#[test]
fn noise_changes_its_share_of_the_training_labels_and_no_others() {
    let place = Place::new(TINY);
    let summary: Value = serde_json::from_str(&summary(&place, &[])).unwrap();
    let train = saved(&place, "hard", 3, "train");
    let pairs = || train.labels().iter().zip(train.observed_labels().unwrap().iter());
    let changed = pairs().filter(|(label, observed)| label != observed).count() as f64;
    let share = changed / train.labels().len() as f64;
    // 0.2, within four standard deviations.
    assert!((share - 0.2).abs() < 4.0 * (0.16 / train.labels().len() as f64).sqrt(), "{share}");
    assert_eq!(summary["dataset"]["changed_labels"], Value::from(vec![share]));
    assert_eq!(summary["dataset"]["label_noise"], "symmetric, rate 0.2");

    let digits = softlabel_data::digits().unwrap();
    for split in ["train", "validation", "test"] {
        let saved = saved(&place, "hard", 3, split);
        let truth = digits.labels().select(saved.sample_ids()).unwrap();
        assert_eq!(saved.labels(), &truth, "{split}");
        assert_eq!(saved.observed_labels().is_some(), split == "train");
    }
}
