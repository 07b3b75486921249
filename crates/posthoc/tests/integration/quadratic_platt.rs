//! Quadratic Platt scaling: the optimum by its conditions, invariances, and data that have little.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Logits};
use softlabel_posthoc::{
    Calibrator, Error, FitOutcome, PlattScaling, QuadraticCurve, QuadraticPlattScaling,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> QuadraticPlattScaling {
    let (logits, labels) = checked(logits, labels, classes);
    QuadraticPlattScaling::fit(&logits, &labels).unwrap()
}

/// ∂F/∂(a, b, c) / n, by the formula.
fn gradient(scores: &[(f64, bool)], curve: QuadraticCurve) -> [f64; 3] {
    let positives = scores.iter().filter(|(_, positive)| *positive).count() as f64;
    let negatives = scores.len() as f64 - positives;
    let mut sums = [0.0; 3];
    for &(f, positive) in scores {
        let target =
            if positive { (positives + 1.0) / (positives + 2.0) } else { 1.0 / (negatives + 2.0) };
        let u = curve.a * f * f + curve.b * f + curve.c;
        let difference = 1.0 / (1.0 + (-u).exp()) - target;
        for (sum, power) in sums.iter_mut().zip([f * f, f, 1.0]) {
            *sum += difference * power / scores.len() as f64;
        }
    }
    sums
}

#[test]
fn the_gradient_vanishes_for_every_class() {
    let (logits, labels) = noisy(150);
    let map = fit(&logits, &labels, 3);
    assert!(map.diagnostics().unwrap().outcome.converged());
    for class in 0..3 {
        let scores: Vec<(f64, bool)> = logits
            .chunks(3)
            .zip(&labels)
            .map(|(row, &label)| {
                let others: f64 = (0..3).filter(|&k| k != class).map(|k| row[k].exp()).sum();
                (row[class] - others.ln(), label == class)
            })
            .collect();
        let found = gradient(&scores, map.curves()[class]);
        assert!(found.iter().all(|slope| slope.abs() < 1e-8), "{class}: {found:?}");
        // Not merely Platt's optimum.
        assert!(map.curves()[class].a.abs() > 1e-3);
    }
}

#[test]
fn scores_far_away_or_large_have_the_same_curve() {
    let f: Vec<f64> = (0..40).map(|i| f64::from(i * 17 % 40) / 10.0 - 2.0).collect();
    let labels: Vec<usize> =
        f.iter().enumerate().map(|(i, f)| usize::from(i % 4 == 0 || *f > 0.5)).collect();
    let of = |scale: f64, shift: f64| {
        let logits: Vec<f64> = f.iter().flat_map(|f| [0.0, scale * f + shift]).collect();
        let map = fit(&logits, &labels, 2);
        let curve = map.curves()[0];
        f.iter().map(|f| curve.log_odds(scale * f + shift)).collect::<Vec<f64>>()
    };
    let expected = of(1.0, 0.0);
    for (scale, shift) in [(1e-3, 0.0), (100.0, 0.0), (1.0, 50.0), (-1.0, 3.0)] {
        for (found, expected) in of(scale, shift).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{scale}, {shift}: {found}, {expected}");
        }
    }
}

#[test]
fn two_scores_have_no_square_and_little_data_is_as_platts() {
    for (logits, labels, outcome) in [
        ([0.0, 1.0, 0.0, 2.0, 0.0, 1.0], [1, 1, 0], FitOutcome::Converged),
        ([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [1, 1, 0], FitOutcome::Flat),
        ([0.0, 1.0, 0.0, 2.0, 0.0, 3.0], [1, 1, 1], FitOutcome::OneSided),
    ] {
        let map = fit(&logits, &labels, 2);
        let (logits, labels) = checked(&logits, &labels, 2);
        let platt = PlattScaling::fit(&logits, &labels).unwrap();
        assert_eq!(map.diagnostics().unwrap().outcome, outcome);
        let QuadraticCurve { a, b, c } = map.curves()[0];
        assert_eq!((a, b, c), (0.0, platt.slopes()[1], platt.intercepts()[1]));
    }
}

#[test]
fn impossible_classes_stay_impossible_and_huge_logits_stay_numbers() {
    let (logits, labels) = noisy(60);
    let masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    let map = fit(&masked, &labels, 4);
    assert_eq!(map.curves()[..3], fit(&logits, &labels, 3).curves()[..]);
    let rows = [1e300, -1e300, 0.0, MASKED, 3.0, MASKED, MASKED, MASKED];
    let found = map.apply(&Logits::new(&rows, 4).unwrap()).unwrap();
    assert!(found.as_slice().iter().all(|value| !value.is_nan()));
    assert_eq!(found.as_slice()[3..], [MASKED, 0.0, MASKED, MASKED, MASKED]);
}

#[test]
fn what_cannot_be_fitted_or_made() {
    let (none, no_labels) = checked(&[], &[], 2);
    assert!(QuadraticPlattScaling::fit(&none, &no_labels).is_err());
    let curve = QuadraticCurve { a: 0.0, b: 1.0, c: 0.0 };
    for (classes, curves) in [
        (0, vec![]),
        (2, vec![curve; 2]),
        (3, vec![curve; 2]),
        (2, vec![QuadraticCurve { a: f64::NAN, ..curve }]),
        (2, vec![QuadraticCurve { c: f64::INFINITY, ..curve }]),
    ] {
        let error = QuadraticPlattScaling::from_curves(classes, curves).unwrap_err();
        assert!(
            matches!(error, Error::Input(Input::OutOfRange { .. } | Input::Empty { .. }))
                || error.to_string().contains("number of maps"),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn the_optimum_is_found_and_rows_sum_to_one(
        scores in prop::collection::vec((-8.0..8.0f64, any::<bool>()), 3..60),
    ) {
        let logits: Vec<f64> = scores.iter().flat_map(|&(f, _)| [0.0, f]).collect();
        let labels: Vec<usize> = scores.iter().map(|&(_, label)| usize::from(label)).collect();
        let map = fit(&logits, &labels, 2);
        if map.diagnostics().unwrap().outcome.converged() {
            let found = gradient(&scores, map.curves()[0]);
            prop_assert!(found.iter().all(|slope| slope.abs() < 1e-5), "{:?}", found);
        }
        let calibrated = map.apply(&Logits::new(&logits, 2).unwrap()).unwrap();
        for row in calibrated.matrix().iter() {
            prop_assert!((row.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-14);
        }
    }
}
