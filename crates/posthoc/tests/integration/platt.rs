//! Platt scaling: the optimum against two references, its symmetries, and data that have little.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Labels, Logits};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{Calibrator, Error, FitOutcome, PlattScaling};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> PlattScaling {
    let (logits, labels) = checked(logits, labels, classes);
    PlattScaling::fit(&logits, &labels).unwrap()
}

/// z_k − ln Σ_{j≠k} e^{z_j}, written out.
fn log_odds(row: &[f64], class: usize) -> f64 {
    let rivals: Vec<f64> =
        row.iter().enumerate().filter(|&(k, _)| k != class).map(|(_, &z)| z).collect();
    let highest = rivals.iter().copied().fold(MASKED, f64::max);
    row[class] - highest - rivals.iter().map(|z| (z - highest).exp()).sum::<f64>().ln()
}

/// The gradient of Platt's objective for a class, divided by the number of rows.
fn gradient(
    logits: &[f64],
    labels: &[usize],
    classes: usize,
    class: usize,
    a: f64,
    b: f64,
) -> [f64; 2] {
    let n = labels.len() as f64;
    let positives = labels.iter().filter(|&&label| label == class).count() as f64;
    let mut gradient = [0.0; 2];
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let target = if label == class {
            (positives + 1.0) / (positives + 2.0)
        } else {
            1.0 / (n - positives + 2.0)
        };
        let score = log_odds(row, class);
        let difference = 1.0 / (1.0 + (-(a * score + b)).exp()) - target;
        gradient[0] += difference * score / n;
        gradient[1] += difference / n;
    }
    gradient
}

/// 40-digit values, which scikit-learn 1.9's `_SigmoidCalibration` agrees with to 1e-6:
///
/// ```python
/// from mpmath import mp, mpf, exp, log, findroot
/// mp.dps, n, K = 40, 60, 3
/// z = [[mpf((7 * i + 13 * k * k + 5 * i * k) % 23) / 8 for k in range(K)] for i in range(n)]
/// top = [max(range(K), key=lambda k: r[k]) for r in z]
/// y = [(i * i + 3 * i) // 4 % K if i % 4 else top[i] for i in range(n)]
/// def odds(r, k): return r[k] - log(sum(exp(v) for j, v in enumerate(r) if j != k))
/// for k in range(K):
///     f, p = [odds(r, k) for r in z], y.count(k)
///     t = [mpf(p + 1) / (p + 2) if label == k else mpf(1) / (n - p + 2) for label in y]
///     def gradient(a, b):
///         d = [1 / (1 + exp(-(a * x + b))) - s for x, s in zip(f, t)]
///         return [sum(e * x for e, x in zip(d, f)), sum(d)]
///     print(p, *(mp.nstr(v, 17) for v in findroot(gradient, (mpf(1) / 2, mpf(0)))))
/// ```
const REFERENCE: [(usize, f64, f64); 3] = [
    (9, 0.248_599_277_026_422_35, -1.520_868_769_044_902_6),
    (26, 0.289_884_038_359_354_95, -0.032_974_765_902_662_8),
    (25, 0.190_536_106_549_146_15, -0.178_958_524_129_713_92),
];

#[test]
fn agrees_with_a_reference_in_forty_digits() {
    let row = |i: usize| (0..3).map(move |k| ((7 * i + 13 * k * k + 5 * i * k) % 23) as f64 / 8.0);
    let logits: Vec<f64> = (0..60).flat_map(row).collect();
    let label = |(i, row): (usize, &[f64])| match i % 4 {
        0 => (0..3).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap(),
        _ => (i * i + 3 * i) / 4 % 3,
    };
    let labels: Vec<usize> = logits.chunks(3).enumerate().map(label).collect();
    let scaling = fit(&logits, &labels, 3);
    let diagnostics = scaling.diagnostics().unwrap();
    assert_eq!(diagnostics.outcome, FitOutcome::Converged);
    for (class, (positives, slope, intercept)) in REFERENCE.into_iter().enumerate() {
        assert_eq!(diagnostics.classes[class].positives, positives);
        assert_eq!(diagnostics.classes[class].negatives, 60 - positives);
        assert!((scaling.slopes()[class] - slope).abs() < 1e-14, "{:?}", scaling.slopes());
        assert!((scaling.intercepts()[class] - intercept).abs() < 1e-14);
    }
}

#[test]
fn diagnostics_are_those_of_the_applied_map() {
    let (logits, labels) = noisy(90);
    let scaling = fit(&logits, &labels, 3);
    let (logits, labels) = checked(&logits, &labels, 3);
    let diagnostics = scaling.diagnostics().unwrap();
    let before = evaluate(&logits, &labels, 15).unwrap();
    let after = evaluate(&scaling.apply(&logits).unwrap(), &labels, 15).unwrap();
    assert_eq!(diagnostics.samples, 90);
    assert!((diagnostics.nll_before - before.nll).abs() < 1e-14);
    assert!((diagnostics.nll_after - after.nll).abs() < 1e-14);
    let iterations: usize = diagnostics.classes.iter().map(|fit| fit.iterations).sum();
    assert_eq!(diagnostics.iterations, iterations);
}

#[test]
fn applying_is_the_formula() {
    let (slopes, intercepts) = ([0.5, 2.0, -1.0], [0.25, -1.0, 0.0]);
    let scaling = PlattScaling::from_parameters(&slopes, &intercepts).unwrap();
    let row = [1.0, -0.5, 2.0];
    let sigmoids: Vec<f64> = (0..3)
        .map(|k| 1.0 / (1.0 + (-(slopes[k] * log_odds(&row, k) + intercepts[k])).exp()))
        .collect();
    let total: f64 = sigmoids.iter().sum();
    let calibrated = scaling.apply(&Logits::new(&row, 3).unwrap()).unwrap();
    for (found, sigmoid) in calibrated.as_slice().iter().zip(sigmoids) {
        assert!((found - (sigmoid / total).ln()).abs() < 1e-14);
    }
}

#[test]
fn two_classes_mirror_each_other() {
    let (logits, labels) = noisy(60);
    let logits: Vec<f64> = logits.chunks(3).flat_map(|row| [row[0], row[1]]).collect();
    let labels: Vec<usize> = labels.into_iter().map(|label| label % 2).collect();
    let scaling = fit(&logits, &labels, 2);
    let (a, b) = (scaling.slopes(), scaling.intercepts());
    assert!((a[0] - a[1]).abs() < 1e-14 && (b[0] + b[1]).abs() < 1e-14);
    // So q_1 is the sigmoid itself.
    let calibrated = scaling.apply(&Logits::new(&logits, 2).unwrap()).unwrap();
    for (row, found) in logits.chunks(2).zip(calibrated.matrix().iter()) {
        let sigmoid = 1.0 / (1.0 + (-(a[1] * (row[1] - row[0]) + b[1])).exp());
        assert!((found[1].exp() - sigmoid).abs() < 1e-14);
    }
}

#[test]
fn classes_that_never_or_always_occur_get_a_constant() {
    let (logits, _) = noisy(10);
    // Nothing but class 0.
    let scaling = fit(&logits, &[0; 10], 3);
    let diagnostics = scaling.diagnostics().unwrap();
    assert_eq!(diagnostics.outcome, FitOutcome::OneSided);
    assert!(diagnostics.classes.iter().all(|fit| fit.outcome == FitOutcome::OneSided));
    assert_eq!(scaling.slopes(), [0.0; 3]);
    let sigmoid = |b: f64| 1.0 / (1.0 + (-b).exp());
    let constants: Vec<f64> = scaling.intercepts().into_iter().map(sigmoid).collect();
    for (found, expected) in constants.iter().zip([11.0 / 12.0, 1.0 / 12.0, 1.0 / 12.0]) {
        assert!((found - expected).abs() < 1e-15);
    }
    let calibrated = scaling.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
    assert!((calibrated.as_slice()[0].exp() - 11.0 / 13.0).abs() < 1e-15);
}

#[test]
fn separable_labels_have_a_finite_optimum() {
    // Platt's targets stop short of 0 and 1, so the sigmoid meets them and goes no further.
    for size in [1e-6, 1.0, 1e3, 1e150, 1e300] {
        let logits = [[size, 0.0], [0.0, size]].repeat(5).concat();
        let labels = [0, 1].repeat(5);
        let scaling = fit(&logits, &labels, 2);
        assert!(scaling.diagnostics().unwrap().outcome.converged());
        let calibrated = scaling.apply(&Logits::new(&logits, 2).unwrap()).unwrap();
        assert!((calibrated.as_slice()[0].exp() - 6.0 / 7.0).abs() < 1e-12, "{size}");
    }
}

#[test]
fn equal_scores_get_the_mean_of_the_targets() {
    let scaling = fit(&[4.0, 0.0].repeat(4), &[0, 0, 0, 1], 2);
    assert_eq!(scaling.diagnostics().unwrap().outcome, FitOutcome::Flat);
    let expected = (3.0 * 0.8 + 1.0 / 3.0) / 4.0;
    let found = 1.0 / (1.0 + (-scaling.intercepts()[0]).exp());
    assert!((found - expected).abs() < 1e-15);
}

#[test]
fn impossible_classes_stay_impossible_and_teach_nothing() {
    let (logits, labels) = noisy(60);
    // A fourth class that can never be, and rows in which only class 0 can.
    let mut masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    masked.extend([5.0, MASKED, MASKED, MASKED].repeat(7));
    let more_labels: Vec<usize> = labels.iter().copied().chain([0; 7]).collect();
    let (scaling, without) = (fit(&masked, &more_labels, 4), fit(&logits, &labels, 3));
    assert_eq!(scaling.slopes()[..3], without.slopes());
    assert_eq!((scaling.slopes()[3], scaling.intercepts()[3]), (1.0, 0.0));
    let fits = &scaling.diagnostics().unwrap().classes;
    assert_eq!(fits[3].outcome, FitOutcome::Flat);
    assert_eq!(fits[0].positives + fits[0].negatives, 60);

    let masked = Logits::new(masked, 4).unwrap();
    let calibrated = scaling.apply(&masked).unwrap();
    for (row, found) in masked.matrix().iter().zip(calibrated.matrix().iter()) {
        for (z, l) in row.iter().zip(found) {
            assert_eq!(*z == MASKED, *l == MASKED);
        }
    }
    assert_eq!(calibrated.as_slice()[4 * 60], 0.0);
}

#[test]
fn nothing_underflows_or_overflows() {
    let row = Logits::new(vec![1e4, 0.0, -1e4, f64::MAX, f64::MIN, 0.0], 3).unwrap();
    for (slope, intercept) in [(1.0, 0.0), (1e3, -5.0), (-1e300, 1e300), (0.0, 0.0)] {
        let scaling = PlattScaling::from_parameters(&[slope; 3], &[intercept; 3]).unwrap();
        let calibrated = scaling.apply(&row).unwrap();
        assert!(calibrated.as_slice().iter().all(|value| value.is_finite()), "{calibrated:?}");
    }
}

#[test]
fn what_cannot_be_fitted_or_made() {
    let fit = |logits: &[f64], labels: &[usize], classes| {
        let (logits, labels) = checked(logits, labels, classes);
        PlattScaling::fit(&logits, &labels).unwrap_err()
    };
    assert!(matches!(fit(&[], &[], 3), Error::Input(Input::Empty { .. })));
    assert!(matches!(fit(&[0.0; 4], &[0], 2), Error::Input(Input::Mismatch { .. })));
    let error = fit(&[0.0; 6], &[0, 1], 3);
    assert!(matches!(error, Error::Input(Input::MoreClassesThanRows { .. })));
    let error = fit(&[MASKED, 1.0, 1.0, 0.0], &[0, 1], 2);
    assert!(matches!(error, Error::ImpossibleLabel { row: 0, label: 0 }));
    for (slopes, intercepts) in
        [(&[][..], &[][..]), (&[1.0][..], &[][..]), (&[1.0][..], &[f64::NAN][..])]
    {
        let error = PlattScaling::from_parameters(slopes, intercepts).unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
    let scaling = PlattScaling::from_parameters(&[1.0; 3], &[0.0; 3]).unwrap();
    let error = scaling.apply(&Logits::new(&[0.0f32; 4], 4).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the map was fitted on 3 classes, found predictions of 4");
}

proptest! {
    #[test]
    fn the_gradient_vanishes_at_the_optimum(
        logits in prop::collection::vec(-20.0..20.0f64, 60),
        labels in prop::collection::vec(0..3usize, 20),
    ) {
        let scaling = fit(&logits, &labels, 3);
        let fits = &scaling.diagnostics().unwrap().classes;
        for (class, fit) in fits.iter().enumerate() {
            if fit.outcome.converged() {
                let (a, b) = (scaling.slopes()[class], scaling.intercepts()[class]);
                let [da, db] = gradient(&logits, &labels, 3, class, a, b);
                prop_assert!(da.abs() < 1e-11 && db.abs() < 1e-12, "class {class}: {da}, {db}");
            } else {
                prop_assert_eq!(fit.outcome, FitOutcome::OneSided);
            }
        }
    }

    #[test]
    fn a_shift_of_the_rows_changes_nothing(shifts in prop::collection::vec(-64..64i32, 30)) {
        let (logits, labels) = noisy(30);
        // Whole numbers and eighths: the shift itself does not round.
        let shifted: Vec<f64> =
            logits.iter().enumerate().map(|(i, z)| z + f64::from(shifts[i / 3])).collect();
        prop_assert_eq!(fit(&shifted, &labels, 3), fit(&logits, &labels, 3));
    }

    /// With slopes 1 and intercepts 0 the probabilities are the softmax.
    #[test]
    fn the_identity_is_the_softmax(logits in prop::collection::vec(-20.0..20.0f64, 6)) {
        let identity = PlattScaling::from_parameters(&[1.0; 6], &[0.0; 6]).unwrap();
        let logits = Logits::new(&logits, 6).unwrap();
        let labels = Labels::new(&[2], 6).unwrap();
        let (before, after) = (
            evaluate(&logits, &labels, 15).unwrap(),
            evaluate(&identity.apply(&logits).unwrap(), &labels, 15).unwrap(),
        );
        prop_assert!((before.nll - after.nll).abs() < 1e-12);
        prop_assert!((before.brier - after.brier).abs() < 1e-12);
    }
}
