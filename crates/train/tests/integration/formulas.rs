//! One step of training, computed again by hand.
//!
//! A linear model, one batch with all samples, plain gradient descent: with standardized pixels x, initial logits z⁰
//! and the gradient d of the loss in the logits, the logits after the step are
//! z = z⁰ − η (x·Σ x_i d_i + Σ d_i), sums over the training samples. All of it in f64, from the data and the saved files.

use std::path::Path;

use softlabel_data::{SavedPredictions, Source, SplitFractions, Splits, Subset};
use softlabel_results::{Calibration, RunFolder};
use softlabel_train::Event;
use tempfile::tempdir;

use crate::run;

const RATE: f64 = 0.5;
const SEED: u64 = 5;

/// A teacher, an arm that does not move, and what is tested.
const RECIPE: &str = r#"
name = "one-step"
seed = 5
[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
noise = { kind = "symmetric", rate = 0.2 }
[training]
epochs = 1
batch_size = 1000000
optimizer = "sgd"
momentum = 0
learning_rate = 0.5
schedule = "constant"
[models.linear]
hidden = []
[arms.hard]
model = "linear"
[arms.start]
model = "linear"
distill = { teacher = "hard", temperature = 1, soft_weight = 0, hard_weight = 1e-30 }
[arms.mixture]
model = "linear"
loss.smoothing = { epsilon = 0.3, convention = "mixture" }
[arms.off_target]
model = "linear"
loss.smoothing = { epsilon = 0.3, convention = "off_target" }
[arms.taught]
model = "linear"
distill = { teacher = "hard", temperature = 2, soft_weight = 1, hard_weight = 0 }
[arms.taught_unscaled]
model = "linear"
distill = { teacher = "hard", temperature = 2, soft_weight = 1, hard_weight = 0, scale = "one" }
[arms.taught_by_calibrated]
model = "linear"
distill = { teacher = "hard", teacher_calibration = "temperature", temperature = 2, soft_weight = 1, hard_weight = 0 }
[arms.both]
model = "linear"
loss.smoothing = { epsilon = 0.3, convention = "mixture" }
distill = { teacher = "hard", temperature = 3, soft_weight = 0.25, hard_weight = 0.5 }
[arms.mixture_fused]
model = "linear"
fuse_last_layer = true
loss.smoothing = { epsilon = 0.3, convention = "mixture" }
[arms.both_fused]
model = "linear"
fuse_last_layer = true
loss.smoothing = { epsilon = 0.3, convention = "mixture" }
distill = { teacher = "hard", temperature = 3, soft_weight = 0.25, hard_weight = 0.5 }
[arms.own_epsilons]
model = "linear"
loss.smoothing = { epsilon = { file = "SAMPLES", key = "epsilon" }, convention = "mixture" }
[arms.own_temperatures]
model = "linear"
[arms.own_temperatures.distill]
teacher = "hard"
sample_temperatures = { file = "SAMPLES", key = "temperature" }
sample_weights = { file = "SAMPLES", key = "weight" }
soft_weight = 0.5
hard_weight = 0
"#;

/// ε, T and weight of a sample, where each has its own.
fn own(id: usize) -> [f64; 3] {
    [(id % 5) as f64 / 10.0, 1.0 + (id % 4) as f64, (id % 3) as f64 / 2.0]
}

type Matrix = Vec<Vec<f64>>;

fn softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = row.iter().map(|z| ((z - top) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

struct Run {
    folder: RunFolder,
    splits: Splits,
    /// Standardized pixels.
    train: Matrix,
    test: Matrix,
    /// The labels that training saw.
    observed: Vec<usize>,
    temperature: f64,
}

impl Run {
    fn new(folder: &Path) -> Self {
        let files = tempdir().unwrap();
        let samples = files.path().join("samples.csv");
        let count = Source::Digits.load(None).unwrap().pool().len();
        let line = |id| own(id).map(|number| number.to_string()).join(",");
        let lines: Vec<String> = (0..count).map(line).collect();
        std::fs::write(&samples, format!("epsilon,temperature,weight\n{}\n", lines.join("\n")))
            .unwrap();
        let recipe = RECIPE.replace("SAMPLES", samples.to_str().unwrap());
        let (folder, _, events) = run(&recipe, folder).unwrap();
        let fitted = events.iter().find_map(|event| match event {
            Event::Fit { calibration, temperature, .. }
                if *calibration == Calibration::TEMPERATURE =>
            {
                *temperature
            }
            _ => None,
        });
        let fractions = SplitFractions::new(0.2, 0.25).unwrap();
        let splits = Source::Digits.load(None).unwrap().split(fractions, SEED).unwrap();
        let pixels: Vec<f64> = splits.train.pixels_f32().into_iter().map(f64::from).collect();
        let mean = pixels.iter().sum::<f64>() / pixels.len() as f64;
        let variance = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / pixels.len() as f64;
        let standardized = |subset: &Subset| {
            let values: Vec<f64> = subset.pixels_f32().into_iter().map(f64::from).collect();
            let row = |row: &[f64]| row.iter().map(|p| (p - mean) / variance.sqrt()).collect();
            values.chunks(64).map(row).collect()
        };
        let (train, test) = (standardized(&splits.train), standardized(&splits.test));
        let path = folder.predictions("hard", SEED, "train");
        let saved = SavedPredictions::read(&path).unwrap();
        let observed = saved.observed_labels().unwrap().iter().collect();
        Self { folder, splits, train, test, observed, temperature: fitted.unwrap() }
    }

    fn logits(&self, arm: &str, split: &str) -> Matrix {
        let saved = SavedPredictions::read(&self.folder.predictions(arm, SEED, split)).unwrap();
        let row = |row: &[f32]| row.iter().copied().map(f64::from).collect();
        saved.logits().as_slice().chunks(10).map(row).collect()
    }

    /// The gradient of cross-entropy where the label has `label` and each other class `other`, times `weight`.
    fn hard(&self, weight: f64, label: f64, other: f64) -> Matrix {
        self.hard_of(weight, |_| (label, other))
    }

    /// The same, by the id of the sample.
    fn hard_of(&self, weight: f64, target: impl Fn(usize) -> (f64, f64)) -> Matrix {
        let rows = self.logits("start", "train").into_iter().zip(self.splits.train.ids());
        let gradient = |((row, &id), &observed): ((Vec<f64>, &usize), &usize)| -> Vec<f64> {
            let (label, other) = target(id);
            let target = |class| if class == observed { label } else { other };
            let p = softmax(&row, 1.0).into_iter().enumerate();
            p.map(|(class, p)| weight * (p - target(class)) / self.train.len() as f64).collect()
        };
        rows.zip(&self.observed).map(gradient).collect()
    }

    /// The gradient of factor · KL(teacher ‖ student) at a temperature, the teacher's logits divided by `cooling`.
    fn soft(&self, factor: f64, temperature: f64, cooling: f64) -> Matrix {
        self.soft_of(|_| (factor, temperature), cooling)
    }

    /// The same, with factor and temperature by the id of the sample.
    fn soft_of(&self, sample: impl Fn(usize) -> (f64, f64), cooling: f64) -> Matrix {
        let (rows, teacher) = (self.logits("start", "train"), self.logits("hard", "train"));
        let gradient = |((row, teacher), &id): ((Vec<f64>, Vec<f64>), &usize)| -> Vec<f64> {
            let (factor, temperature) = sample(id);
            let (p, q) = (softmax(&row, temperature), softmax(&teacher, cooling * temperature));
            let scale = factor / temperature / self.train.len() as f64;
            p.into_iter().zip(q).map(|(p, q)| scale * (p - q)).collect()
        };
        rows.into_iter().zip(teacher).zip(self.splits.train.ids()).map(gradient).collect()
    }

    /// Test logits after a step down a gradient.
    fn stepped(&self, gradient: &Matrix) -> Matrix {
        let mut weights = vec![vec![0.0; 65]; 10];
        for (pixels, gradient) in self.train.iter().zip(gradient) {
            for (weights, gradient) in weights.iter_mut().zip(gradient) {
                for (weight, pixel) in weights.iter_mut().zip(pixels.iter().chain([&1.0])) {
                    *weight += gradient * pixel;
                }
            }
        }
        let step = |(start, pixels): (Vec<f64>, &Vec<f64>)| -> Vec<f64> {
            let moved = |(start, weights): (f64, &Vec<f64>)| {
                let change = weights.iter().zip(pixels.iter().chain([&1.0])).map(|(w, x)| w * x);
                start - RATE * change.sum::<f64>()
            };
            start.into_iter().zip(&weights).map(moved).collect()
        };
        self.logits("start", "test").into_iter().zip(&self.test).map(step).collect()
    }

    fn check(&self, arm: &str, gradient: &Matrix) {
        let expected = self.stepped(gradient);
        let error = distance(&self.logits(arm, "test"), &expected);
        let moved = distance(&self.logits("start", "test"), &expected);
        assert!(error < 2e-5 && moved > 0.05, "{arm}: {error}, moved {moved}");
    }
}

/// Root of the mean squared difference.
fn distance(a: &Matrix, b: &Matrix) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.concat().iter().zip(b.concat()).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    (squares / a.len() as f64 / 10.0).sqrt()
}

#[test]
fn every_loss_moves_the_weights_as_its_gradient_says() {
    let folder = tempdir().unwrap();
    let run = Run::new(folder.path());
    run.check("hard", &run.hard(1.0, 1.0, 0.0));
    run.check("mixture", &run.hard(1.0, 0.73, 0.03));
    run.check("off_target", &run.hard(1.0, 0.7, 0.3 / 9.0));
    run.check("taught", &run.soft(4.0, 2.0, 1.0));
    run.check("taught_unscaled", &run.soft(1.0, 2.0, 1.0));
    let both = run.hard(0.5, 0.73, 0.03).into_iter().zip(run.soft(0.25 * 9.0, 3.0, 1.0));
    let sum = |(a, b): (Vec<f64>, Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let both: Matrix = both.map(sum).collect();
    run.check("both", &both);
    run.check("mixture_fused", &run.hard(1.0, 0.73, 0.03));
    run.check("both_fused", &both);
}

/// Numbers of single samples come out of their file by the id of the sample, not by its place in a batch or a split.
#[test]
fn every_sample_may_have_numbers_of_its_own() {
    let folder = tempdir().unwrap();
    let run = Run::new(folder.path());
    let smoothed = |id| {
        let [epsilon, ..] = own(id);
        (1.0 - epsilon + epsilon / 10.0, epsilon / 10.0)
    };
    run.check("own_epsilons", &run.hard_of(1.0, smoothed));
    let taught = |id| {
        let [_, temperature, weight] = own(id);
        (0.5 * weight * temperature.powi(2), temperature)
    };
    run.check("own_temperatures", &run.soft_of(taught, 1.0));
}

#[test]
fn a_calibrated_teacher_teaches_its_logits_over_the_fitted_temperature() {
    let folder = tempdir().unwrap();
    let run = Run::new(folder.path());
    assert!((run.temperature - 1.0).abs() > 0.1, "a temperature of 1 would show nothing");
    run.check("taught_by_calibrated", &run.soft(4.0, 2.0, run.temperature));
    let raw = run.stepped(&run.soft(4.0, 2.0, 1.0));
    assert!(distance(&run.logits("taught_by_calibrated", "test"), &raw) > 1e-3);
}

#[test]
fn saved_predictions_are_about_the_samples_of_the_split() {
    let folder = tempdir().unwrap();
    let run = Run::new(folder.path());
    for (split, subset) in [
        ("train", &run.splits.train),
        ("validation", &run.splits.validation),
        ("test", &run.splits.test),
    ] {
        let path = run.folder.predictions("taught", SEED, split);
        let saved = SavedPredictions::read(&path).unwrap();
        assert_eq!(saved.sample_ids(), subset.ids(), "{split}");
        // The true labels, noise or not.
        assert_eq!(saved.labels(), subset.labels(), "{split}");
        assert_eq!(saved.observed_labels().is_some(), split == "train");
        let origin = saved.origin();
        assert_eq!((&*origin.arm, origin.seed, &*origin.split), ("taught", SEED, split));
    }
}
