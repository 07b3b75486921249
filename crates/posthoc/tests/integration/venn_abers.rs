//! Venn-Abers: both fits against isotonic fits with the row added, order, and data that have little.

use proptest::prelude::*;
use softlabel_core::Logits;
use softlabel_kernels::isotonic_blocks;
use softlabel_posthoc::{Calibrator, Error, FitOutcome, VennAbers, VennAbersSteps};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> VennAbers {
    let (logits, labels) = checked(logits, labels, classes);
    VennAbers::fit(&logits, &labels).unwrap()
}

/// Logits of two classes with these probabilities of class 1.
fn of(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().flat_map(|&p| [(1.0 - p).ln(), p.ln()]).collect()
}

/// The value at `x` of the isotonic fit to the rows and (x, label), by the definition.
fn added(rows: &[(f64, bool)], x: f64, label: bool) -> f64 {
    let mut rows = rows.to_vec();
    rows.push((x, label));
    rows.sort_by(|(x, _), (y, _)| x.total_cmp(y));
    let ties: Vec<&[(f64, bool)]> = rows.chunk_by(|(x, _), (y, _)| x == y).collect();
    let weights: Vec<f64> = ties.iter().map(|tie| tie.len() as f64).collect();
    let share = |tie: &&[(f64, bool)]| {
        tie.iter().filter(|(_, label)| *label).count() as f64 / tie.len() as f64
    };
    let shares: Vec<f64> = ties.iter().map(share).collect();
    let index = ties.iter().position(|tie| tie[0].0 == x).unwrap();
    let blocks = isotonic_blocks(&shares, &weights).unwrap();
    blocks.iter().find(|block| block.last >= index).unwrap().value
}

#[test]
fn by_hand() {
    let map = fit(&of(&[0.2, 0.4, 0.6, 0.8]), &[0, 1, 0, 1], 2);
    let bounds = map.bounds(&Logits::new(of(&[0.1, 0.5, 0.9]), 2).unwrap()).unwrap();
    // At 0.1: labels 0 | 0 1 0 1 and 1 | 0 1 0 1, all but the last pooled.
    // At 0.5: 0 1 0 0 1 and 0 1 1 0 1.
    for (found, expected) in [
        (bounds[1], (0.0, 0.5)),
        (bounds[3], (1.0 / 3.0, 2.0 / 3.0)),
        (bounds[5], (0.5, 1.0)),
        (bounds[0], (0.5, 1.0)),
    ] {
        assert!((found.0 - expected.0).abs() < 1e-15, "{found:?}, {expected:?}");
        assert!((found.1 - expected.1).abs() < 1e-15, "{found:?}, {expected:?}");
    }
}

#[test]
fn three_classes_are_renormalized_merged_probabilities() {
    let (logits, labels) = noisy(120);
    let map = fit(&logits, &labels, 3);
    let checked_logits = Logits::new(&logits, 3).unwrap();
    let bounds = map.bounds(&checked_logits).unwrap();
    let calibrated = map.apply(&checked_logits).unwrap();
    assert!(map.diagnostics().unwrap().outcome.converged());
    for (bounds, found) in bounds.chunks(3).zip(calibrated.matrix().iter()) {
        let merged: Vec<f64> = bounds.iter().map(|(p0, p1)| p1 / (1.0 - p0 + p1)).collect();
        for (merged_of, found) in merged.iter().zip(found) {
            assert!((merged_of / merged.iter().sum::<f64>() - found.exp()).abs() < 1e-14);
        }
    }
}

#[test]
fn classes_with_little() {
    let map = fit(&of(&[0.2, 0.5, 0.5]), &[0, 0, 0], 2);
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::OneSided);
    let bounds = map.bounds(&Logits::new(of(&[0.1, 0.5, 0.9]), 2).unwrap()).unwrap();
    assert_eq!((bounds[1], bounds[3], bounds[5]), ((0.0, 0.25), (0.0, 1.0 / 3.0), (0.0, 1.0)));
    let (logits, labels) = noisy(60);
    let masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    let map = fit(&masked, &labels, 4);
    assert_eq!(map.steps()[..3], fit(&logits, &labels, 3).steps()[..]);
    assert_eq!(map.diagnostics().unwrap().classes[3].outcome, FitOutcome::Flat);
    let rows = Logits::new(vec![0.0, MASKED, MASKED, MASKED, 0.0, 1.0, 1.0, 1.0], 4).unwrap();
    let bounds = map.bounds(&rows).unwrap();
    assert_eq!((bounds[0], bounds[1], bounds[7]), ((1.0, 1.0), (0.0, 0.0), (0.0, 1.0)));
    assert_eq!(map.apply(&rows).unwrap().as_slice()[..2], [0.0, MASKED]);
}

#[test]
fn what_cannot_be_fitted_or_made() {
    let (none, no_labels) = checked(&[], &[], 2);
    assert!(VennAbers::fit(&none, &no_labels).is_err());
    let made = |lower: &[(f64, f64)], upper: &[(f64, f64)]| {
        VennAbers::from_steps(
            2,
            vec![VennAbersSteps { lower: lower.to_vec(), upper: upper.to_vec() }],
        )
    };
    assert!(made(&[(0.5, 0.2)], &[(0.5, 0.2)]).is_ok());
    for (lower, upper) in [
        (&[(0.5, 0.3)][..], &[(0.5, 0.2)][..]),
        (&[(0.5, 1.0)], &[]),
        (&[], &[(0.5, 0.0)]),
        (&[(0.5, f64::NAN)], &[]),
        (&[(0.5, 0.1), (0.5, 0.2)], &[]),
        (&[(0.5, 0.2), (0.6, 0.1)], &[]),
    ] {
        assert!(matches!(made(lower, upper), Err(Error::Input(_))), "{lower:?} {upper:?}");
    }
    assert!(VennAbers::from_steps(3, vec![]).is_err());
    assert!(VennAbers::from_steps(0, vec![]).is_err());
}

proptest! {
    #[test]
    fn both_fits_are_those_with_the_row_added(
        scores in prop::collection::vec((1..16u8, any::<bool>()), 2..40),
    ) {
        // Logits whose difference is the score, and probabilities that order as they do.
        let f = |score: u8| f64::from(score) / 2.0 - 4.0;
        let logits: Vec<f64> = scores.iter().flat_map(|&(s, _)| [0.0, f(s)]).collect();
        let labels: Vec<usize> = scores.iter().map(|&(_, label)| usize::from(label)).collect();
        let rows: Vec<(f64, bool)> = scores.iter().map(|&(s, label)| (f(s), label)).collect();
        let map = fit(&logits, &labels, 2);
        let mut last = (0.0, 0.0, 0.0);
        for x in (0..=16).flat_map(|s| [f(s), f(s) + 0.25]) {
            let row = Logits::new(vec![0.0, x], 2).unwrap();
            let (p0, p1) = map.bounds(&row).unwrap()[1];
            prop_assert!((p0 - added(&rows, x, false)).abs() < 1e-14, "p0 at {}: {}", x, p0);
            prop_assert!((p1 - added(&rows, x, true)).abs() < 1e-14, "p1 at {}: {}", x, p1);
            let g = map.apply(&row).unwrap().as_slice()[1].exp();
            prop_assert!((g - p1 / (1.0 - p0 + p1)).abs() < 1e-14);
            prop_assert!(p0 < p1 && g > 0.0 && g < 1.0);
            prop_assert!(p0 >= last.0 && p1 >= last.1 && g >= last.2 - 1e-15);
            last = (p0, p1, g);
        }
        let json = serde_json::to_string(&map).unwrap();
        prop_assert_eq!(serde_json::from_str::<VennAbers>(&json).unwrap(), map);
    }
}
