//! Histogram binning: counts by hand, edges, empty bins, ties, zeros, and data that have little.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Logits};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{
    Binning, Calibrator, Error, FitOutcome, HistogramBinning, HistogramOptions, Zeros,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

fn options(bins: usize, binning: Binning) -> HistogramOptions {
    HistogramOptions { bins, binning, zeros: Zeros::Keep }
}

fn fit(
    logits: &[f64],
    labels: &[usize],
    classes: usize,
    options: HistogramOptions,
) -> HistogramBinning {
    let (logits, labels) = checked(logits, labels, classes);
    HistogramBinning::fit(&logits, &labels, options).unwrap()
}

/// Logits of two classes with these probabilities of class 1.
fn of(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().flat_map(|&p| [(1.0 - p).ln(), p.ln()]).collect()
}

#[test]
fn by_hand() {
    let p = [0.1, 0.15, 0.3, 0.35, 0.4, 0.9, 0.95, 0.97];
    let labels = [0, 1, 0, 0, 1, 1, 1, 0];
    let width = fit(&of(&p), &labels, 2, options(4, Binning::EqualWidth));
    let expected = [(0.25, 0.5), (0.5, 1.0 / 3.0), (0.75, 0.625), (1.0, 2.0 / 3.0)];
    assert_eq!(width.bins(), [expected]);
    let mass = fit(&of(&p), &labels, 2, options(4, Binning::EqualMass));
    let expected = [(0.15, 0.5), (0.35, 0.0), (0.9, 1.0), (1.0, 0.5)];
    for (found, expected) in mass.bins()[0].iter().zip(expected) {
        assert!((found.0 - expected.0).abs() < 1e-15 && found.1 == expected.1, "{found:?}");
    }
    let calibrated = width.apply(&Logits::new(of(&[0.6, 0.05]), 2).unwrap()).unwrap();
    assert!((calibrated.as_slice()[1].exp() - 0.625).abs() < 1e-15);
    assert!((calibrated.as_slice()[3].exp() - 0.5).abs() < 1e-15);
    // More bins than rows are as many as there are rows.
    let many = fit(&of(&p), &labels, 2, options(1_000_000, Binning::EqualMass));
    assert_eq!(many.bins()[0].len(), 8);
}

#[test]
fn ties_are_never_parted() {
    let p = [0.2, 0.5, 0.5, 0.5, 0.5, 0.8];
    let map = fit(&of(&p), &[0, 0, 1, 1, 1, 1], 2, options(3, Binning::EqualMass));
    let bins = &map.bins()[0];
    assert_eq!(bins.len(), 2, "{bins:?}");
    assert!((bins[0].0 - 0.5).abs() < 1e-15);
    assert_eq!((bins[0].1, bins[1]), (0.6, (1.0, 1.0)));
}

#[test]
fn values_are_shares_of_three_classes() {
    // No two probabilities are the same but for their rounding.
    let logits: Vec<f64> =
        (0..360).map(|i| f64::from((i * i * 31 + 7919) * i % 10_007) / 2500.0).collect();
    let (_, labels) = noisy(120);
    for binning in [Binning::EqualWidth, Binning::EqualMass] {
        let map = fit(&logits, &labels, 3, options(7, binning));
        let (checked_logits, checked_labels) = checked(&logits, &labels, 3);
        let calibrated = map.apply(&checked_logits).unwrap();
        let probabilities: Vec<Vec<f64>> = logits
            .chunks(3)
            .map(|row| {
                let total: f64 = row.iter().map(|z| z.exp()).sum();
                row.iter().map(|z| z.exp() / total).collect()
            })
            .collect();
        // Every bin, by its definition; no p of these lies within a rounding of an edge of width.
        let value = |class: usize, p: f64| {
            let edges: Vec<f64> = map.bins()[class].iter().map(|&(edge, _)| edge).collect();
            let bin = |p: f64| edges.iter().position(|&edge| p <= edge + 1e-12).unwrap();
            let inside: Vec<usize> =
                (0..120).filter(|&row| bin(probabilities[row][class]) == bin(p)).collect();
            let right = inside.iter().filter(|&&row| labels[row] == class).count();
            right as f64 / inside.len() as f64
        };
        for (row, found) in probabilities.iter().zip(calibrated.matrix().iter()) {
            let values: Vec<f64> = (0..3).map(|class| value(class, row[class])).collect();
            for (value, found) in values.iter().zip(found) {
                let expected = value / values.iter().sum::<f64>();
                assert!((found.exp() - expected).abs() < 1e-14, "{binning:?}");
            }
        }
        let diagnostics = map.diagnostics().unwrap();
        let scores = evaluate(&calibrated, &checked_labels, 15).unwrap();
        assert!((diagnostics.nll_after - scores.nll).abs() < 1e-14);
        assert!(diagnostics.outcome.converged() && diagnostics.samples == 120);
    }
}

#[test]
fn zeros_stay_or_are_clipped() {
    let (logits, labels) = checked(&of(&[0.1, 0.1, 0.9]), &[0, 0, 1], 2);
    let row = Logits::new(of(&[0.05]), 2).unwrap();
    let map = HistogramBinning::fit(&logits, &labels, options(5, Binning::EqualWidth)).unwrap();
    assert_eq!(map.apply(&row).unwrap().as_slice(), [0.0, MASKED]);
    let clipped = HistogramOptions { zeros: Zeros::Clip(0.01), ..options(5, Binning::EqualWidth) };
    let map = HistogramBinning::fit(&logits, &labels, clipped).unwrap();
    assert!((map.apply(&row).unwrap().as_slice()[1].exp() - 0.01).abs() < 1e-15);
}

#[test]
fn classes_with_little() {
    let (logits, _) = noisy(10);
    let map = fit(&logits, &[0; 10], 3, options(10, Binning::EqualMass));
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::OneSided);
    let found = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
    assert_eq!(found.as_slice()[..3], [0.0, MASKED, MASKED]);
    let flat = fit(&of(&[0.3; 4]), &[0, 1, 0, 0], 2, options(10, Binning::EqualWidth));
    assert_eq!(flat.diagnostics().unwrap().outcome, FitOutcome::Flat);
    let found = flat.apply(&Logits::new(of(&[0.3]), 2).unwrap()).unwrap();
    assert!((found.as_slice()[1].exp() - 0.25).abs() < 1e-15);
}

#[test]
fn impossible_classes_stay_impossible_and_teach_nothing() {
    let (logits, labels) = noisy(60);
    let mut masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    masked.extend([5.0, MASKED, MASKED, MASKED].repeat(7));
    let more_labels: Vec<usize> = labels.iter().copied().chain([0; 7]).collect();
    for binning in [Binning::EqualWidth, Binning::EqualMass] {
        let map = fit(&masked, &more_labels, 4, options(5, binning));
        let without = fit(&logits, &labels, 3, options(5, binning));
        assert_eq!(map.bins()[..3], without.bins()[..]);
        assert_eq!(map.diagnostics().unwrap().classes[3].outcome, FitOutcome::Flat);
        let calibrated = map.apply(&Logits::new(&masked, 4).unwrap()).unwrap();
        assert!(calibrated.matrix().iter().all(|row| row[3] == MASKED));
    }
}

#[test]
fn what_cannot_be_fitted_or_made() {
    let (logits, labels) = checked(&of(&[0.3; 4]), &[0, 1, 0, 0], 2);
    for bins in [0, 1_000_001] {
        let options = options(bins, Binning::EqualWidth);
        let error = HistogramBinning::fit(&logits, &labels, options).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{error}");
    }
    let (none, no_labels) = checked(&[], &[], 2);
    assert!(HistogramBinning::fit(&none, &no_labels, HistogramOptions::default()).is_err());
    for (classes, bins) in [
        (0, vec![]),
        (2, vec![]),
        (3, vec![vec![(1.0, 0.5)]]),
        (2, vec![vec![]]),
        (2, vec![vec![(0.5, 0.5)]]),
        (2, vec![vec![(1.0, 1.5)]]),
        (2, vec![vec![(0.5, 0.5), (0.5, 0.5), (1.0, 0.5)]]),
    ] {
        let error = HistogramBinning::from_bins(classes, bins, Zeros::Keep).unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
    let bins = vec![vec![(1.0, 0.5)]];
    assert!(HistogramBinning::from_bins(2, bins, Zeros::Clip(0.7)).is_err());
}

proptest! {
    #[test]
    fn rows_sum_to_one_bins_cover_and_masses_are_equal(
        logits in prop::collection::vec(-3.0..3.0f64, 90),
        labels in prop::collection::vec(0..3usize, 30),
        bins in 1..12usize,
    ) {
        for binning in [Binning::EqualWidth, Binning::EqualMass] {
            let map = fit(&logits, &labels, 3, options(bins, binning));
            for list in map.bins() {
                prop_assert_eq!(list.len(), bins);
                prop_assert!(list.is_sorted_by(|x, y| x.0 < y.0));
                prop_assert_eq!(list[bins - 1].0, 1.0);
            }
            let calibrated = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
            for row in calibrated.matrix().iter() {
                prop_assert!((row.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-14);
            }
            prop_assert!(map.diagnostics().unwrap().nll_after.is_finite());
        }
    }
}
