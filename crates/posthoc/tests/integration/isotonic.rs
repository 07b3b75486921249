//! Isotonic calibration: the fit against the min-max formula, ties, interpolation, zeros, and data
//! that have little.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Logits};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{
    Calibrator, Error, FitOutcome, Interpolation, IsotonicCalibration, IsotonicOptions, Zeros,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

const KEEP: IsotonicOptions =
    IsotonicOptions { interpolation: Interpolation::Linear, zeros: Zeros::Keep };

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> IsotonicCalibration {
    let (logits, labels) = checked(logits, labels, classes);
    IsotonicCalibration::fit(&logits, &labels, KEEP).unwrap()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let highest = row.iter().copied().fold(MASKED, f64::max);
    let total: f64 = row.iter().map(|z| (z - highest).exp()).sum();
    row.iter().map(|z| (z - highest).exp() / total).collect()
}

/// max over a ≤ x of min over b ≥ x of the share of positives among the scores in [a, b].
fn min_max(scores: &[(f64, bool)], x: f64) -> f64 {
    let share = |a: f64, b: f64| {
        let inside: Vec<bool> =
            scores.iter().filter(|(s, _)| (a..=b).contains(s)).map(|&(_, label)| label).collect();
        inside.iter().filter(|label| **label).count() as f64 / inside.len() as f64
    };
    let above = |a: f64| {
        let ends = scores.iter().map(|(s, _)| *s).filter(|&b| b >= x);
        ends.map(|b| share(a, b)).fold(f64::INFINITY, f64::min)
    };
    scores.iter().map(|(s, _)| *s).filter(|&a| a <= x).map(above).fold(MASKED, f64::max)
}

#[test]
fn agrees_with_the_min_max_formula_on_rows_with_ties() {
    let (logits, labels) = noisy(120);
    let map = fit(&logits, &labels, 3);
    let diagnostics = map.diagnostics().unwrap();
    assert_eq!(diagnostics.outcome, FitOutcome::Converged);
    let rows: Vec<Vec<f64>> = logits.chunks(3).map(softmax).collect();
    let calibrated = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
    let of = |class: usize| -> Vec<(f64, bool)> {
        rows.iter().zip(&labels).map(|(row, &label)| (row[class], label == class)).collect()
    };
    let scores = [of(0), of(1), of(2)];
    for (row, found) in rows.iter().zip(calibrated.matrix().iter()) {
        let values: Vec<f64> = (0..3).map(|k| min_max(&scores[k], row[k])).collect();
        let total: f64 = values.iter().sum();
        for (value, found) in values.iter().zip(found) {
            assert!((value / total - found.exp()).abs() < 1e-12, "{value}, {found}");
        }
    }
    for (class, fit) in diagnostics.classes.iter().enumerate() {
        assert_eq!(fit.positives, labels.iter().filter(|&&label| label == class).count());
        assert_eq!(fit.positives + fit.negatives, 120);
    }
}

#[test]
fn diagnostics_are_those_of_the_applied_map() {
    let (logits, labels) = noisy(90);
    let map = fit(&logits, &labels, 3);
    let (logits, labels) = checked(&logits, &labels, 3);
    let diagnostics = map.diagnostics().unwrap();
    let before = evaluate(&logits, &labels, 15).unwrap();
    let after = evaluate(&map.apply(&logits).unwrap(), &labels, 15).unwrap();
    assert_eq!(diagnostics.samples, 90);
    assert!((diagnostics.nll_before - before.nll).abs() < 1e-14);
    assert!((diagnostics.nll_after - after.nll).abs() < 1e-14);
}

/// Two blocks, (1 of 3) and (1 of 1), with p from 1/4 to 1/2 and 3/4 on.
#[test]
fn between_the_blocks() {
    let odds = [1.0f64 / 3.0, 0.6, 1.0, 3.0, 9.0];
    let logits: Vec<f64> = odds.iter().flat_map(|odds| [0.0, odds.ln()]).collect();
    let labels = [0, 1, 0, 1, 1];
    let linear = fit(&logits, &labels, 2);
    let (logits, labels) = checked(&logits, &labels, 2);
    let options = IsotonicOptions { interpolation: Interpolation::Step, ..KEEP };
    let step = IsotonicCalibration::fit(&logits, &labels, options).unwrap();
    let expected = [(0.25, 0.0), (0.375, 0.5), (0.5, 0.5), (0.75, 1.0), (0.9, 1.0)];
    assert_eq!(linear.knots().len(), 1);
    for (found, expected) in linear.knots()[0].iter().zip(expected) {
        assert!((found.0 - expected.0).abs() < 1e-15 && found.1 == expected.1, "{found:?}");
    }
    assert_eq!(linear.knots(), step.knots());
    for (p, on_line, on_step) in [
        (0.1f64, 0.0, 0.0),
        (0.3125, 0.25, 0.0),
        (0.4, 0.5, 0.5),
        (0.6, 0.7, 0.5),
        (0.7, 0.9, 0.5),
        (0.8, 1.0, 1.0),
        (0.95, 1.0, 1.0),
    ] {
        let row = Logits::new(vec![(1.0 - p).ln(), p.ln()], 2).unwrap();
        for (map, expected) in [(&linear, on_line), (&step, on_step)] {
            let found = map.apply(&row).unwrap();
            assert!((found.as_slice()[1].exp() - expected).abs() < 1e-14, "{p}: {found:?}");
            assert!((found.as_slice()[0].exp() - (1.0 - expected)).abs() < 1e-14);
        }
    }
}

#[test]
fn two_classes_mirror_each_other() {
    let (logits, labels) = noisy(60);
    let logits: Vec<f64> = logits.chunks(3).flat_map(|row| [row[0], row[1]]).collect();
    let labels: Vec<usize> = labels.into_iter().map(|label| label % 2).collect();
    let turned: Vec<f64> = logits.chunks(2).flat_map(|row| [row[1], row[0]]).collect();
    let turned_labels: Vec<usize> = labels.iter().map(|label| 1 - label).collect();
    let (map, mirrored) = (fit(&logits, &labels, 2), fit(&turned, &turned_labels, 2));
    let (x, y) = (
        map.apply(&Logits::new(&logits, 2).unwrap()).unwrap(),
        mirrored.apply(&Logits::new(&turned, 2).unwrap()).unwrap(),
    );
    for (x, y) in x.matrix().iter().zip(y.matrix().iter()) {
        assert!((x[0].exp() - y[1].exp()).abs() < 1e-13 && (x[1].exp() - y[0].exp()).abs() < 1e-13);
    }
    let fits = &map.diagnostics().unwrap().classes;
    assert_eq!((fits[0].positives, fits[0].negatives), (fits[1].negatives, fits[1].positives));
}

#[test]
fn zeros_stay_or_are_clipped() {
    // Class 1 never occurs where its probability is low.
    let logits = [[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]].concat();
    let (logits, labels) = checked(&logits, &[0, 0, 1], 2);
    let row = Logits::new(&[5.0, 0.0], 2).unwrap();
    let map = IsotonicCalibration::fit(&logits, &labels, KEEP).unwrap();
    assert_eq!(map.apply(&row).unwrap().as_slice(), [0.0, f64::NEG_INFINITY]);
    let options = IsotonicOptions { zeros: Zeros::Clip(0.01), ..KEEP };
    let map = IsotonicCalibration::fit(&logits, &labels, options).unwrap();
    let found = map.apply(&row).unwrap();
    assert!((found.as_slice()[1].exp() - 0.01).abs() < 1e-15);
    for epsilon in [0.0, 0.5, -1.0, f64::NAN] {
        let options = IsotonicOptions { zeros: Zeros::Clip(epsilon), ..KEEP };
        let error = IsotonicCalibration::fit(&logits, &labels, options).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { name: "epsilon", .. })));
    }
}

#[test]
fn a_row_without_any_mass_becomes_uniform() {
    let low = vec![(0.0, 0.0), (1.0, 0.0)];
    let map = IsotonicCalibration::from_knots(3, vec![low; 3], KEEP).unwrap();
    let found = map.apply(&Logits::new(&[1.0, 5.0, MASKED], 3).unwrap()).unwrap();
    let half = 0.5f64.ln();
    assert!((found.as_slice()[0] - half).abs() < 1e-15);
    assert!((found.as_slice()[1] - half).abs() < 1e-15);
    assert_eq!(found.as_slice()[2], MASKED);
}

#[test]
fn classes_with_little() {
    let (logits, _) = noisy(10);
    let map = fit(&logits, &[0; 10], 3);
    let diagnostics = map.diagnostics().unwrap();
    assert_eq!(diagnostics.outcome, FitOutcome::OneSided);
    assert_eq!(diagnostics.nll_after, 0.0);
    let found = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
    assert_eq!(found.as_slice()[..3], [0.0, MASKED, MASKED]);

    let flat = fit(&[4.0, 0.0].repeat(4), &[0, 1, 0, 0], 2);
    assert_eq!(flat.diagnostics().unwrap().outcome, FitOutcome::Flat);
    assert_eq!(flat.knots()[0].len(), 1);
    assert_eq!(flat.knots()[0][0].1, 0.25);
}

#[test]
fn impossible_classes_stay_impossible_and_teach_nothing() {
    let (logits, labels) = noisy(60);
    let mut masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    masked.extend([5.0, MASKED, MASKED, MASKED].repeat(7));
    let more_labels: Vec<usize> = labels.iter().copied().chain([0; 7]).collect();
    let (map, without) = (fit(&masked, &more_labels, 4), fit(&logits, &labels, 3));
    assert_eq!(map.knots()[..3], without.knots()[..]);
    assert_eq!(map.knots()[3], [(0.0, 0.0), (1.0, 1.0)]);
    assert_eq!(map.diagnostics().unwrap().classes[3].outcome, FitOutcome::Flat);
    let masked = Logits::new(masked, 4).unwrap();
    let calibrated = map.apply(&masked).unwrap();
    assert!(calibrated.matrix().iter().all(|row| row[3] == MASKED));
    assert_eq!(calibrated.as_slice()[4 * 60..4 * 60 + 4], [0.0, MASKED, MASKED, MASKED]);
    // With one class there is nothing to say.
    let single = fit(&[3.0, -2.0], &[0, 0], 1);
    let one = single.apply(&Logits::new(&[7.0], 1).unwrap()).unwrap();
    assert_eq!(one.as_slice(), [0.0]);
}

#[test]
fn what_cannot_be_fitted_or_made() {
    let fit = |logits: &[f64], labels: &[usize], classes| {
        let (logits, labels) = checked(logits, labels, classes);
        IsotonicCalibration::fit(&logits, &labels, KEEP).unwrap_err()
    };
    assert!(matches!(fit(&[], &[], 3), Error::Input(Input::Empty { .. })));
    assert!(matches!(fit(&[0.0; 4], &[0], 2), Error::Input(Input::Mismatch { .. })));
    let error = fit(&[MASKED, 1.0, 1.0, 0.0], &[0, 1], 2);
    assert!(matches!(error, Error::ImpossibleLabel { row: 0, label: 0 }));
    for (classes, knots) in [
        (0, vec![]),
        (2, vec![]),
        (3, vec![vec![(0.5, 0.5)]]),
        (2, vec![vec![]]),
        (2, vec![vec![(0.5, 1.5)]]),
        (2, vec![vec![(f64::NAN, 0.5)]]),
        (2, vec![vec![(0.5, 0.5), (0.5, 0.6)]]),
        (2, vec![vec![(0.5, 0.5), (0.6, 0.4)]]),
    ] {
        let error = IsotonicCalibration::from_knots(classes, knots, KEEP).unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
    let map = IsotonicCalibration::from_knots(2, vec![vec![(0.5, 0.5)]], KEEP).unwrap();
    let error = map.apply(&Logits::new(&[0.0f32; 4], 4).unwrap()).unwrap_err();
    assert!(matches!(error, Error::ClassCount { expected: 2, found: 4 }));
}

proptest! {
    #[test]
    fn maps_rise_rows_sum_to_one_and_order_does_not_matter(
        logits in prop::collection::vec(-3..3i32, 90),
        labels in prop::collection::vec(0..3usize, 30),
        turn in 0..30usize,
    ) {
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let map = fit(&logits, &labels, 3);
        for knots in map.knots() {
            prop_assert!(knots.is_sorted_by(|x, y| x.0 < y.0 && x.1 <= y.1));
        }
        let (mut other, mut other_labels) = (logits.clone(), labels.clone());
        other.rotate_left(3 * turn);
        other_labels.rotate_left(turn);
        let other = fit(&other, &other_labels, 3);
        prop_assert_eq!(map.knots(), other.knots());
        let calibrated = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
        for row in calibrated.matrix().iter() {
            prop_assert!((row.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-14);
        }
        // The labels of the fit are never impossible.
        prop_assert!(map.diagnostics().unwrap().nll_after.is_finite());
    }
}

#[test]
fn centred_blocks_are_points_at_the_mean_of_their_rows() {
    let of = |p: &[f64]| -> Vec<f64> { p.iter().flat_map(|&p| [(1.0 - p).ln(), p.ln()]).collect() };
    // Blocks: 0 | 1 0 0 | 1 0 | 1 1 1, of values 0, 1/3, 1/2 and 1; the ends of that of 1 stay.
    let p = [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 0.8, 0.9];
    let (logits, labels) = checked(&of(&p), &[0, 1, 0, 0, 1, 0, 1, 1, 1], 2);
    let options = IsotonicOptions { interpolation: Interpolation::Centred, ..KEEP };
    let map = IsotonicCalibration::fit(&logits, &labels, options).unwrap();
    let expected = [(0.1, 0.0), (0.25, 1.0 / 3.0), (0.45, 0.5), (0.75, 1.0), (0.9, 1.0)];
    assert_eq!(map.knots()[0].len(), expected.len(), "{:?}", map.knots());
    for (found, expected) in map.knots()[0].iter().zip(expected) {
        assert!((found.0 - expected.0).abs() < 1e-14 && (found.1 - expected.1).abs() < 1e-14);
    }
    let rows = Logits::new(of(&[0.35, 0.05, 0.95]), 2).unwrap();
    let found = map.apply(&rows).unwrap();
    let line = 1.0 / 3.0 + 0.5 * (0.5 - 1.0 / 3.0);
    assert!((found.as_slice()[1].exp() - line).abs() < 1e-14);
    assert_eq!((found.as_slice()[3], found.as_slice()[5]), (MASKED, 0.0));
    let json = serde_json::to_string(&map).unwrap();
    assert!(json.contains(r#""centred""#));
    assert_eq!(serde_json::from_str::<IsotonicCalibration>(&json).unwrap(), map);
}
