//! What other libraries do and this one must not: each test names the defect that it stands against.

use proptest::prelude::*;
use softlabel_core::{Labels, Logits, Probabilities};
use softlabel_posthoc::{
    Calibrator, ConformalPredictor, ConformalScore, FitOutcome, IsotonicCalibration,
    IsotonicOptions, PlattScaling, TemperatureScaling, VectorScaling,
};

use crate::{checked, noisy};

/// The temperature by bisection of mean(E_q\[z\] − z_y) in ln β, written out.
fn bisected(logits: &[f64], labels: &[usize], classes: usize) -> f64 {
    let slope = |beta: f64| -> f64 {
        let of_row = |(row, &label): (&[f64], &usize)| {
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = row.iter().map(|z| (beta * (z - highest)).exp()).collect();
            let mean: f64 = row.iter().zip(&weights).map(|(z, w)| z * w).sum();
            mean / weights.iter().sum::<f64>() - row[label]
        };
        logits.chunks(classes).zip(labels).map(of_row).sum()
    };
    let (mut low, mut high) = (-20.0f64, 20.0f64);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    (-0.5 * (low + high)).exp()
}

/// A library differentiates a loss in single precision by differences of 1e-8, which are 0, and keeps
/// the temperature 1 of every float32 input.
#[test]
fn single_precision_is_no_reason_to_stay_at_one() {
    let (logits, labels) = noisy(600);
    #[allow(clippy::cast_possible_truncation)]
    let single: Vec<f32> = logits.iter().map(|&z| 4.0 * z as f32).collect();
    let wide: Vec<f64> = single.iter().map(|&z| f64::from(z)).collect();
    let expected = bisected(&wide, &labels, 3);
    let labels = Labels::new(&labels, 3).unwrap();
    let found = TemperatureScaling::fit(&Logits::new(single, 3).unwrap(), &labels).unwrap();
    assert!((expected - 1.0).abs() > 0.5, "{expected}");
    assert!((found.temperature().get() / expected - 1.0).abs() < 1e-12);
}

/// An L-BFGS with a learning rate of 0.01 stops after its 50 steps wherever it is, a gradient descent
/// after ten, and a grid of nine temperatures between 0.5 and 3 knows no others: the optimum is found
/// however far from 1 it lies.
#[test]
fn the_optimum_is_reached_however_far_it_is() {
    let (logits, labels) = noisy(600);
    let at_one = bisected(&logits, &labels, 3);
    for scale in [1e-4, 0.01, 0.3, 1.7, 8.0, 500.0, 1e5] {
        let scaled: Vec<f64> = logits.iter().map(|z| scale * z).collect();
        let (logits, labels) = checked(&scaled, &labels, 3);
        let found = TemperatureScaling::fit(&logits, &labels).unwrap();
        let off = found.temperature().get() / (scale * at_one) - 1.0;
        assert!(off.abs() < 1e-11, "{scale}: {off}");
        assert_eq!(found.diagnostics().unwrap().outcome, FitOutcome::Converged);
    }
}

/// Unbounded searches end at temperatures of −1242, and at 24 million without a word.
#[test]
fn a_bad_model_has_a_named_outcome_and_no_negative_temperature() {
    let logits = [[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]].repeat(20).concat();
    let wrong: Vec<usize> = (0..40).map(|row| usize::from(row % 2 == 0)).collect();
    let (logits, labels) = checked(&logits, &wrong, 3);
    let map = TemperatureScaling::fit(&logits, &labels).unwrap();
    assert!(map.temperature().get() > 1e5);
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::WorseThanUniform);
    let uniform = map.apply(&logits).unwrap();
    assert!(uniform.as_slice().iter().all(|l| (l.exp() - 1.0 / 3.0).abs() < 1e-5));
}

/// A library's vector scaling has factors and no constants.
#[test]
fn a_vector_has_constants() {
    // Logits that say next to nothing, while every class has another share of the labels: factors
    // alone could not say it.
    let labels: Vec<usize> = (0..60).map(|row| [0, 0, 0, 1, 1, 2][row % 6]).collect();
    let logits: Vec<f64> =
        (0..60).flat_map(|row| [f64::from(row % 2), f64::from(row / 2 % 2), 0.0]).collect();
    let (logits, labels) = checked(&logits, &labels, 3);
    let map = VectorScaling::fit(&logits, &labels).unwrap();
    let calibrated = map.apply(&logits).unwrap();
    let mean =
        |class: usize| calibrated.matrix().iter().map(|row| row[class].exp()).sum::<f64>() / 60.0;
    for (class, share) in [1.0 / 2.0, 1.0 / 3.0, 1.0 / 6.0].into_iter().enumerate() {
        assert!((mean(class) - share).abs() < 1e-7, "{class}: {}", mean(class));
    }
}

/// A library takes the 1 − α quantile of n scores, where ⌈(n + 1)(1 − α)⌉ of n is what covers.
#[test]
fn a_conformal_quantile_counts_the_row_to_come() {
    // Scores 0.01, …, 0.39: of 39 rows the 36th and not the 35th or 36th by interpolation.
    let p: Vec<f64> = (1..=39).map(|n| 1.0 - f64::from(n) / 100.0).collect();
    let rows: Vec<f64> = p.iter().flat_map(|p| [*p, 1.0 - p]).collect();
    let rows = Probabilities::new(rows, 2).unwrap();
    let labels = Labels::new(&[0; 39], 2).unwrap();
    let threshold = |alpha| {
        ConformalPredictor::fit(&rows, &labels, ConformalScore::Lac, alpha, 0).unwrap().thresholds()
            [0]
    };
    assert!((threshold(0.1) - 0.36).abs() < 1e-12);
    assert!((threshold(0.025) - 0.39).abs() < 1e-12);
    assert_eq!(threshold(0.02), f64::INFINITY);
}

/// Isotonic maps of other libraries say 0 of labels that come up after all.
#[test]
fn isotonic_maps_leave_no_label_impossible() {
    let (logits, labels) = noisy(90);
    let (logits, labels) = checked(&logits, &labels, 3);
    let map = IsotonicCalibration::fit(&logits, &labels, IsotonicOptions::default()).unwrap();
    let calibrated = map.apply(&logits).unwrap();
    assert!(calibrated.as_slice().iter().all(|l| l.is_finite()));
}

/// Platt scaling of scores above a thousand has given a constant.
#[test]
fn large_scores_keep_their_order_under_platt_scaling() {
    let (logits, labels) = noisy(90);
    let binary: Vec<usize> = labels.iter().map(|&label| usize::from(label == 0)).collect();
    let small: Vec<f64> = logits.chunks(3).flat_map(|row| [0.0, row[0] - row[1]]).collect();
    let large: Vec<f64> = small.iter().map(|z| 1e6 * z).collect();
    let fitted = |values: &[f64]| {
        let (logits, labels) = checked(values, &binary, 2);
        PlattScaling::fit(&logits, &labels).unwrap().apply(&logits).unwrap()
    };
    for (x, y) in fitted(&small).as_slice().iter().zip(fitted(&large).as_slice()) {
        assert!((x - y).abs() < 1e-9, "{x}, {y}");
    }
}

proptest! {
    /// Fits that stop early leave the calibration error, and the likelihood, worse than they were.
    #[test]
    fn a_fit_is_never_worse_than_none(
        logits in prop::collection::vec(-9.0..9.0f64, 60),
        labels in prop::collection::vec(0..3usize, 20),
    ) {
        let (logits, labels) = checked(&logits, &labels, 3);
        let fit = TemperatureScaling::fit(&logits, &labels).unwrap();
        let fit = fit.diagnostics().unwrap();
        prop_assert!(fit.nll_after <= fit.nll_before);
    }

    /// A temperature keeps the top class, and so the accuracy; it is positive.
    #[test]
    fn a_temperature_keeps_the_top_class(
        logits in prop::collection::vec(-9.0..9.0f64, 60),
        labels in prop::collection::vec(0..3usize, 20),
    ) {
        let (logits, labels) = checked(&logits, &labels, 3);
        let fit = TemperatureScaling::fit(&logits, &labels).unwrap();
        prop_assert!(fit.temperature().get() > 0.0);
        let top = |row: &[f64]| (0..3).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
        let calibrated = fit.apply(&logits).unwrap();
        for (before, after) in logits.matrix().iter().zip(calibrated.matrix().iter()) {
            // Rounding may make neighbours equal, never exchange them.
            prop_assert!(after[top(before)] >= after[top(after)]);
        }
    }
}
