//! Metrics of forecasts of events against their definitions, and what must hold of all of them.

use proptest::prelude::*;
use softlabel_core::{Labels, Logits, Probabilities};
use softlabel_metrics::{
    Accumulator, Bootstrap, CalibrationBins, CalibrationNorm, ConfidenceScore, CorpDecomposition,
    Ensemble, ForecastAccumulator, Forecasts, IntervalMethod, KernelCalibrationError,
    KolmogorovSmirnovError, KolmogorovSmirnovTest, KuiperTest, LogitStatistics,
    MaximumMeanCalibrationError, MurphyDecomposition, RankedProbabilityScore, RowScores,
    SelectiveClassification, SmoothCalibrationError, SphericalScore, SpiegelhalterTest,
    SweepCalibrationError, consistency_test,
};

/// Probabilities on a coarse grid, so that there are ties, with outcomes.
fn rows() -> impl Strategy<Value = Vec<(f64, bool)>> {
    let probability = prop_oneof![(0..=8_u8).prop_map(|p| f64::from(p) / 8.0), 0.0..=1.0f64];
    prop::collection::vec((probability, any::<bool>()), 1..60)
}

fn forecasts(rows: &[(f64, bool)]) -> Forecasts {
    let (probabilities, happened): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
    Forecasts::new(&probabilities, &happened).unwrap()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-11 * expected.abs().max(1.0), "{found}, not {expected}");
}

fn outcome(happened: bool) -> f64 {
    f64::from(u8::from(happened))
}

/// The largest monotone fit by the min-max formula.
fn recalibrated(rows: &[(f64, bool)]) -> Vec<f64> {
    let mut scores: Vec<f64> = rows.iter().map(|row| row.0).collect();
    scores.sort_by(f64::total_cmp);
    scores.dedup();
    let mean = |low: f64, high: f64| {
        let inside: Vec<f64> =
            rows.iter().filter(|r| (low..=high).contains(&r.0)).map(|r| outcome(r.1)).collect();
        inside.iter().sum::<f64>() / inside.len() as f64
    };
    let fit = |c: f64| {
        let below = scores.iter().filter(|&&low| low <= c);
        let best = below.map(|&low| {
            let above = scores.iter().filter(|&&high| high >= c);
            above.map(|&high| mean(low, high)).fold(f64::INFINITY, f64::min)
        });
        best.fold(f64::NEG_INFINITY, f64::max)
    };
    rows.iter().map(|row| fit(row.0)).collect()
}

#[test]
fn a_row_sees_another_that_is_far_away() {
    // The kernel around 0 is 1e-84 of that around the row itself at 0.98, and all that there is.
    let forecasts = forecasts(&[(0.98, false), (0.0, false)]);
    let found = KernelCalibrationError::new(0.02).unwrap().value_of(&forecasts).unwrap();
    assert!((found - 0.49).abs() < 1e-12, "{found}");
}

proptest! {
    #[test]
    fn the_mean_embedding_is_its_double_sum(rows in rows(), width in 0.05..2.0f64) {
        let n = rows.len() as f64;
        let residual = |row: &(f64, bool)| outcome(row.1) - row.0;
        let of_row = |a: &(f64, bool)| -> f64 {
            rows.iter().map(|b| residual(a) * residual(b) * (-(a.0 - b.0).abs() / width).exp()).sum()
        };
        let square = rows.iter().map(of_row).sum::<f64>() / (n * n);
        let error = MaximumMeanCalibrationError::new(width).unwrap();
        let found = error.value_of(&forecasts(&rows)).unwrap();
        prop_assert!((found * found - square).abs() < 1e-13);
    }

    #[test]
    fn beta_kernels_leave_one_row_out(rows in rows(), width in 0.02..0.5f64) {
        prop_assume!(rows.len() > 1);
        let kernel = |c: f64, center: f64| {
            let (a, b) = (center / width + 1.0, (1.0 - center) / width + 1.0);
            let beta = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b);
            c.powf(a - 1.0) * (1.0 - c).powf(b - 1.0) * beta.exp()
        };
        let of_row = |j: usize| -> f64 {
            let others = rows.iter().enumerate().filter(|&(i, _)| i != j);
            let (right, all) = others.fold((0.0, 0.0), |(right, all), (_, row)| {
                let k = kernel(rows[j].0, row.0);
                (right + k * outcome(row.1), all + k)
            });
            if all > 0.0 { (right / all - rows[j].0).abs() } else { 0.0 }
        };
        let expected = (0..rows.len()).map(of_row).sum::<f64>() / rows.len() as f64;
        let error = KernelCalibrationError::new(width).unwrap();
        let found = error.value_of(&forecasts(&rows)).unwrap();
        prop_assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn corp_terms_are_those_of_the_isotonic_fit(rows in rows()) {
        let scores = CorpDecomposition::default().value_of(&forecasts(&rows)).unwrap();
        let n = rows.len() as f64;
        let fit = recalibrated(&rows);
        let frequency = rows.iter().map(|r| outcome(r.1)).sum::<f64>() / n;
        let brier = |p: &dyn Fn(usize) -> f64| {
            rows.iter().enumerate().map(|(i, r)| (p(i) - outcome(r.1)).powi(2)).sum::<f64>() / n
        };
        let (said, best, plain) =
            (brier(&|i| rows[i].0), brier(&|i| fit[i]), brier(&|_| frequency));
        close(scores.brier.score, said);
        close(scores.brier.miscalibration, said - best);
        close(scores.brier.discrimination, plain - best);
        close(scores.brier.uncertainty, plain);
        close(scores.brier.sum(), said);
        close(scores.brier.refinement(), best);
        let log = |p: f64, a: bool| if a { -p.ln() } else { -(1.0 - p).ln() };
        let refinement = rows.iter().zip(&fit).map(|(r, &p)| log(p, r.1)).sum::<f64>() / n;
        close(scores.logarithmic.refinement(), refinement);
        prop_assert!(scores.logarithmic.miscalibration >= 0.0);
        prop_assert_eq!(scores.blocks.iter().map(|b| b.count).sum::<u64>(), rows.len() as u64);
    }

    #[test]
    fn paths_and_spiegelhalter_agree_with_the_definitions(rows in rows()) {
        let n = rows.len() as f64;
        let at = |c: f64| -> f64 {
            rows.iter().filter(|r| r.0 <= c).map(|r| r.0 - outcome(r.1)).sum::<f64>() / n
        };
        let path: Vec<f64> = rows.iter().map(|r| at(r.0)).chain([0.0]).collect();
        let (highest, lowest) =
            path.iter().fold((0.0f64, 0.0f64), |(h, l), &d| (h.max(d), l.min(d)));
        let forecasts = forecasts(&rows);
        let ks = KolmogorovSmirnovTest::default().value_of(&forecasts).unwrap();
        let kuiper = KuiperTest::default().value_of(&forecasts).unwrap();
        close(ks.error, highest.max(-lowest));
        close(kuiper.error, highest - lowest);
        prop_assert!(kuiper.error >= ks.error && (0.0..=1.0).contains(&ks.p_value));
        close(ks.error, KolmogorovSmirnovError::default().value_of(&forecasts).unwrap());
        let variance: f64 = rows.iter().map(|r| r.0 * (1.0 - r.0)).sum::<f64>() / (n * n);
        if variance > 0.0 {
            close(ks.statistic, ks.error / variance.sqrt());
        }
        let numerator: f64 = rows.iter().map(|r| (outcome(r.1) - r.0) * (1.0 - 2.0 * r.0)).sum();
        let square: f64 =
            rows.iter().map(|r| (1.0 - 2.0 * r.0).powi(2) * r.0 * (1.0 - r.0)).sum();
        if let Ok(test) = SpiegelhalterTest::default().value_of(&forecasts) {
            close(test.z, numerator / square.sqrt());
        } else {
            prop_assert_eq!(square, 0.0);
        }
    }

    /// What the smooth error is above: the mean residual; what it is below: that of any bins.
    #[test]
    fn the_smooth_error_lies_between_its_bounds(rows in rows()) {
        let smooth = SmoothCalibrationError::default().value_of(&forecasts(&rows)).unwrap();
        let n = rows.len() as f64;
        let mean = rows.iter().map(|r| r.0 - outcome(r.1)).sum::<f64>().abs() / n;
        let groups: Vec<f64> = rows.iter().map(|r| r.0).collect();
        let mut distinct = groups.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let finest: f64 = distinct
            .iter()
            .map(|&c| {
                let tied = rows.iter().filter(|r| r.0 == c);
                tied.map(|r| r.0 - outcome(r.1)).sum::<f64>().abs()
            })
            .sum::<f64>() / n;
        prop_assert!(smooth.error >= mean - 1e-12 && smooth.error <= finest + 1e-12);
    }

    #[test]
    fn parts_merge_into_the_whole_and_states_are_written_down(rows in rows(), at in any::<prop::sample::Index>()) {
        fn check<A>(empty: &A, rows: &[(f64, bool)], at: usize)
        where
            A: ForecastAccumulator + Clone + PartialEq + std::fmt::Debug,
            A: serde::Serialize + serde::de::DeserializeOwned,
            A::Value: PartialEq + std::fmt::Debug,
        {
            let of = |rows: &[(f64, bool)]| {
                let mut accumulator = empty.clone();
                accumulator.update_forecasts(&forecasts(rows));
                accumulator
            };
            let whole = of(rows);
            let mut merged = of(&rows[at..]);
            merged.merge(&of(&rows[..at])).unwrap();
            assert_eq!(merged.compute(), whole.compute());
            let json = serde_json::to_string(&whole).unwrap();
            assert_eq!(serde_json::from_str::<A>(&json).unwrap(), whole);
            merged.reset();
            assert_eq!(&merged, empty);
        }
        let at = at.index(rows.len());
        check(&CorpDecomposition::default(), &rows, at);
        check(&KolmogorovSmirnovTest::default(), &rows, at);
        check(&KuiperTest::default(), &rows, at);
        check(&SmoothCalibrationError::default(), &rows, at);
        check(&SweepCalibrationError::default(), &rows, at);
        check(&MaximumMeanCalibrationError::default(), &rows, at);
        check(&KernelCalibrationError::default(), &rows, at);
    }

    #[test]
    fn rps_and_spherical_score_agree_with_the_definitions(
        logits in prop::collection::vec(prop::collection::vec(-4.0..4.0f64, 4), 1..20),
        labels in prop::collection::vec(0..4_u8, 20),
    ) {
        let labels = &labels[..logits.len()];
        let softmax = |row: &Vec<f64>| -> Vec<f64> {
            let total: f64 = row.iter().map(|z| z.exp()).sum();
            row.iter().map(|z| z.exp() / total).collect()
        };
        let (mut rps, mut spherical) = (0.0, 0.0);
        for (row, &label) in logits.iter().map(softmax).zip(labels) {
            let label = usize::from(label);
            for k in 0..3 {
                let cumulative: f64 = row[..=k].iter().sum();
                rps += (cumulative - f64::from(u8::from(label <= k))).powi(2);
            }
            spherical += row[label] / row.iter().map(|p| p * p).sum::<f64>().sqrt();
        }
        let n = labels.len() as f64;
        let flat: Vec<f64> = logits.concat();
        let (logits, labels) = (Logits::new(&flat, 4).unwrap(), Labels::new(labels, 4).unwrap());
        let mut found = RankedProbabilityScore::new(4).unwrap();
        found.update(&logits, &labels).unwrap();
        close(found.compute().unwrap(), rps / n);
        close(found.normalized().unwrap(), rps / n / 3.0);
        let mut twice = found.clone();
        twice.merge(&found).unwrap();
        close(twice.compute().unwrap(), rps / n);
        prop_assert!(twice.merge(&RankedProbabilityScore::new(3).unwrap()).is_err());
        let mut score = SphericalScore::default();
        score.update(&logits, &labels).unwrap();
        close(score.compute().unwrap(), spherical / n);
    }

    #[test]
    fn ensembles_agree_with_the_definitions(
        values in prop::collection::vec(prop::collection::vec(-4.0..4.0f64, 6), 1..5),
    ) {
        let members: Vec<Logits<f64>> = values.iter().map(|v| Logits::new(v, 3).unwrap()).collect();
        let ensemble = Ensemble::of(&members).unwrap();
        let m = members.len() as f64;
        for row in 0..2 {
            let of_member: Vec<Vec<f64>> = values.iter().map(|v| {
                let row = &v[row * 3..row * 3 + 3];
                let total: f64 = row.iter().map(|z| z.exp()).sum();
                row.iter().map(|z| z.exp() / total).collect()
            }).collect();
            let mean: Vec<f64> = (0..3).map(|k| of_member.iter().map(|p| p[k]).sum::<f64>() / m).collect();
            let entropy = |p: &[f64]| -p.iter().map(|p| p * p.ln()).sum::<f64>();
            let found = ensemble.rows()[row];
            close(found.predictive_entropy, entropy(&mean));
            let expected = of_member.iter().map(|p| entropy(p)).sum::<f64>() / m;
            close(found.expected_entropy, expected);
            prop_assert!((found.mutual_information - (entropy(&mean) - expected)).abs() < 1e-13);
            prop_assert!(found.mutual_information >= 0.0);
            let average = &ensemble.average().as_slice()[row * 3..row * 3 + 3];
            average.iter().zip(&mean).for_each(|(a, b)| close(*a, *b));
        }
        prop_assert!(Ensemble::of::<Logits<f64>>(&[]).is_err());
    }

    /// Bins of the sweep are monotone in accuracy, one more would not be.
    #[test]
    fn the_sweep_stops_where_accuracies_fall(rows in rows()) {
        let forecasts = forecasts(&rows);
        let sweep = SweepCalibrationError::default().value_of(&forecasts).unwrap();
        let accuracies = |bins: usize| -> Vec<f64> {
            let mut calibration = softlabel_metrics::EqualMassCalibration::new(bins).unwrap();
            calibration.update_forecasts(&forecasts);
            calibration.compute().unwrap().bins.iter().filter_map(|bin| bin.accuracy).collect()
        };
        let distinct = {
            let mut scores: Vec<f64> = rows.iter().map(|r| r.0).collect();
            scores.sort_by(f64::total_cmp);
            scores.dedup();
            scores.len()
        };
        // b by its definition; where scores are tied it asks for more bins than there are.
        let falls = |bins: &usize| !accuracies(*bins).is_sorted();
        let most = (2..=distinct).find(falls).map_or(distinct, |bins| bins - 1);
        prop_assert_eq!(sweep.bins, accuracies(most).len());
    }
}

/// A generator for tests: splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / 2f64.powi(53)
    }

    /// Forecasts that are true, or whose truth is another function of them.
    fn forecasts(&mut self, rows: usize, truth: impl Fn(f64) -> f64) -> Forecasts {
        let said: Vec<f64> = (0..rows).map(|_| self.next()).collect();
        let happened: Vec<bool> = said.iter().map(|&c| self.next() < truth(c)).collect();
        Forecasts::new(&said, &happened).unwrap()
    }
}

/// Calibrated forecasts: errors go to 0, p-values are uniform, and unbiased estimates are 0 on average.
#[test]
fn calibrated_forecasts_are_found_to_be() {
    let mut noise = Noise(11);
    let many = noise.forecasts(200_000, |c| c);
    let mut bins = CalibrationBins::default();
    bins.update_forecasts(&many);
    assert!(bins.calibration_error(CalibrationNorm::Expected).unwrap() < 0.006);
    assert!(SmoothCalibrationError::default().value_of(&many).unwrap().error < 0.01);
    assert!(MaximumMeanCalibrationError::default().value_of(&many).unwrap() < 0.005);

    let (mut ks, mut kuiper, mut z, mut debiased) = (vec![], vec![], vec![], vec![]);
    for _ in 0..400 {
        let few = noise.forecasts(500, |c| c);
        ks.push(KolmogorovSmirnovTest::default().value_of(&few).unwrap().p_value);
        kuiper.push(KuiperTest::default().value_of(&few).unwrap().p_value);
        z.push(SpiegelhalterTest::default().value_of(&few).unwrap().p_value);
        let mut bins = CalibrationBins::default();
        bins.update_forecasts(&few);
        debiased.push(bins.debiased_calibration_error().unwrap().squared);
    }
    for (name, p_values) in [("ks", &ks), ("kuiper", &kuiper), ("z", &z)] {
        for level in [0.05, 0.25, 0.5] {
            let share = p_values.iter().filter(|&&p| p < level).count() as f64 / 400.0;
            // Three standard deviations of a share of 400, and what 500 rows are from infinitely many.
            let room = 3.0 * (level * (1.0 - level) / 400.0f64).sqrt() + 0.03;
            assert!((share - level).abs() < room, "{name}: {share} below {level}");
        }
    }
    let mean = debiased.iter().sum::<f64>() / 400.0;
    assert!(mean.abs() < 3e-4, "{mean}");
}

#[test]
fn miscalibrated_forecasts_are_refuted() {
    let forecasts = Noise(5).forecasts(2000, |c| c * c);
    assert!(KolmogorovSmirnovTest::default().value_of(&forecasts).unwrap().p_value < 1e-6);
    assert!(KuiperTest::default().value_of(&forecasts).unwrap().p_value < 1e-6);
    let bootstrap = Bootstrap::new(199, 0).unwrap();
    let norm = CalibrationNorm::Expected;
    let test = consistency_test(&forecasts, 15, norm, &bootstrap).unwrap();
    assert_eq!(test.p_value, 1.0 / 200.0);
    assert!(test.expected_error < test.error);
    // ∫ c − c² dc
    assert!((test.error - 1.0 / 6.0).abs() < 0.03);
    let calibrated = Noise(6).forecasts(2000, |c| c);
    assert!(consistency_test(&calibrated, 15, norm, &bootstrap).unwrap().p_value > 0.01);
}

/// Intervals of the accuracy hold the true one as often as they say, by every method.
#[test]
fn intervals_cover() {
    let mut noise = Noise(17);
    for method in [
        IntervalMethod::Percentile,
        IntervalMethod::Basic,
        IntervalMethod::BiasCorrectedAccelerated,
    ] {
        let mut covered = 0;
        for seed in 0..200 {
            let forecasts = noise.forecasts(200, |c| c);
            let bootstrap = Bootstrap::new(300, seed).unwrap().at_level(0.9).unwrap().by(method);
            let rows = RowScores::from(forecasts);
            let intervals = rows.intervals(15, &bootstrap).unwrap();
            // Half of the events happen.
            covered += u32::from(intervals["accuracy"].contains(0.5));
        }
        // 180 expected, five standard deviations of 4.2.
        assert!((159..=199).contains(&covered), "{method:?}: {covered}");
    }
}

/// The path of its own for the calibration error has the distribution of the common one.
#[test]
fn both_ways_to_resample_agree() {
    let forecasts = Noise(23).forecasts(3000, |c| 0.8 * c);
    let bootstrap = Bootstrap::new(4000, 9).unwrap();
    let fast = bootstrap.expected_calibration_error(&forecasts, 15).unwrap();
    let common = RowScores::from(forecasts).intervals(15, &bootstrap).unwrap()["ece"];
    assert!((fast.estimate - common.estimate).abs() < 1e-13);
    let scale = common.standard_error;
    assert!((fast.standard_error / scale - 1.0).abs() < 0.06);
    assert!((fast.lower - common.lower).abs() < 0.15 * scale);
    assert!((fast.upper - common.upper).abs() < 0.15 * scale);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let rows = RowScores::from(Noise(3).forecasts(500, |c| c));
    let bootstrap = Bootstrap::new(50, 42).unwrap();
    let found = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| rows.intervals(15, &bootstrap).unwrap())
    };
    assert_eq!(found(1), found(3));
    let other = rows.intervals(15, &Bootstrap::new(50, 43).unwrap()).unwrap();
    assert_ne!(found(1)["ece"], other["ece"]);
    let json = serde_json::to_string(&bootstrap).unwrap();
    assert_eq!(serde_json::from_str::<Bootstrap>(&json).unwrap(), bootstrap);
    assert!(serde_json::from_str::<Bootstrap>(r#"{"replicates":9,"seed":0,"level":9}"#).is_err());
}

#[test]
fn paired_differences_are_narrower_than_those_of_others() {
    let mut noise = Noise(29);
    let said: Vec<f64> = (0..1000).map(|_| 0.5 + noise.next() / 2.0).collect();
    let labels: Vec<u8> = said.iter().map(|&c| u8::from(noise.next() >= c)).collect();
    let labels = Labels::new(&labels, 2).unwrap();
    let rows = |shift: f64| {
        let values: Vec<f64> =
            said.iter().flat_map(|&c| [(c + shift).min(1.0), (1.0 - c - shift).max(0.0)]).collect();
        RowScores::of(&Probabilities::new(&values, 2).unwrap(), &labels).unwrap()
    };
    let bootstrap = Bootstrap::new(500, 0).unwrap();
    let (first, second) = (rows(0.0), rows(0.05));
    let difference = first.differences(&second, 15, &bootstrap).unwrap()["brier"];
    let alone = first.intervals(15, &bootstrap).unwrap()["brier"];
    assert!(difference.standard_error < alone.standard_error / 3.0);
    assert_eq!(first.differences(&first, 15, &bootstrap).unwrap()["ece"].upper, 0.0);
    let short = RowScores::from(Noise(1).forecasts(10, |c| c));
    assert!(first.differences(&short, 15, &bootstrap).is_err());
}

#[test]
fn binary_events_and_being_right_are_two_questions() {
    let said = [0.25f32, 0.75, 0.5];
    let happened = [false, false, true];
    let event = Forecasts::new(&said, &happened).unwrap();
    let right = Forecasts::top_label_of_binary(&said, &happened).unwrap();
    let pairs = |of: &Forecasts| -> Vec<(f64, bool)> {
        of.iter().map(|f| (f.probability, f.happened)).collect()
    };
    assert_eq!(pairs(&event), [(0.25, false), (0.75, false), (0.5, true)]);
    assert_eq!(pairs(&right), [(0.75, true), (0.75, false), (0.5, false)]);
    // The second is what two classes are.
    let rows: Vec<f32> = said.iter().flat_map(|&p| [1.0 - p, p]).collect();
    let labels = Labels::new(&happened.map(u8::from), 2).unwrap();
    let top = Forecasts::top_label(&Probabilities::new(&rows, 2).unwrap(), &labels).unwrap();
    assert_eq!(pairs(&top), pairs(&right));
    let json = serde_json::to_string(&top).unwrap();
    assert_eq!(serde_json::from_str::<Forecasts>(&json).unwrap(), top);
    let weighted = top.weighted(&[1.0, 0.0, 2.0]).unwrap();
    assert_eq!(weighted.len(), 2);
    let json = serde_json::to_string(&weighted).unwrap();
    assert_eq!(serde_json::from_str::<Forecasts>(&json).unwrap(), weighted);
    let of_labels = Forecasts::multi_label(&[0.5f32, 0.25], &[true, false], 2).unwrap();
    assert_eq!(Forecasts::pooled(&of_labels).len(), 2);
    let terms = MurphyDecomposition::new(10).unwrap().value_of(&event).unwrap();
    close(terms.sum(), terms.brier);
    close(terms.brier, (0.0625 + 0.5625 + 0.25) / 3.0);
}

#[test]
fn energy_ranks_logits_alone() {
    let logits = Logits::new(&[5.0f64, 4.0, 1.0, 0.0], 2).unwrap();
    let labels = Labels::new(&[0, 1], 2).unwrap();
    let mut energy = SelectiveClassification::new(ConfidenceScore::Energy);
    energy.update(&logits, &labels).unwrap();
    assert_eq!(energy.compute().unwrap().auroc, Some(1.0));
    let half = Probabilities::new(&[0.5f64, 0.5], 2).unwrap();
    assert!(energy.update(&half, &Labels::new(&[0], 2).unwrap()).is_err());
    assert_eq!(energy.samples(), 2);

    let mut statistics = LogitStatistics::default();
    statistics.update(&logits).unwrap();
    let mut twice = statistics;
    twice.merge(&statistics);
    let (once, twice) = (statistics.compute().unwrap(), twice.compute().unwrap());
    assert_eq!((once.lead, once.maximum, once.spread), (Some(1.0), 3.0, 1.0));
    assert_eq!((twice.samples, twice.l1_norm), (4, once.l1_norm));
    let masked = Logits::new(&[f64::NEG_INFINITY, 2.0], 2).unwrap();
    let only = softlabel_metrics::logit_statistics(&masked).unwrap();
    assert_eq!((only.lead, only.l2_norm, only.spread), (None, 2.0, 0.0));
}
