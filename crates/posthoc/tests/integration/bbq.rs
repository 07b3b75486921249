//! Bayesian binning into quantiles: the mean of histograms by the formula, and little data.

use softlabel_core::{Error as Input, Logits};
use softlabel_posthoc::{AnyCalibrator, BayesianBinning, Calibrator, Error, FitOutcome};

use crate::{checked, noisy};

/// Logits of two classes with these probabilities of class 1.
fn of(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().flat_map(|&p| [(1.0 - p).ln(), p.ln()]).collect()
}

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> BayesianBinning {
    let (logits, labels) = checked(logits, labels, classes);
    BayesianBinning::fit(&logits, &labels).unwrap()
}

/// x(x + 1)…(x + count − 1) = Γ(x + count)/Γ(x).
fn rising(x: f64, count: usize) -> f64 {
    (0..count).map(|i| x + i as f64).product()
}

#[test]
fn two_rows_are_one_bin_or_two() {
    // B = 1: one bin, α = β = 1. B = 2: (0, 0.2] with none of one, (0.2, 1] with one of one.
    let map = fit(&of(&[0.2, 0.8]), &[0, 1], 2);
    let one = rising(1.0, 1) * rising(1.0, 1) / rising(2.0, 2);
    let two = rising(0.9, 1) / rising(1.0, 1) * rising(0.6, 1) / rising(1.0, 1);
    let values = [
        (one * 0.5 + two * (0.1 / 2.0)) / (one + two),
        (one * 0.5 + two * (1.6 / 2.0)) / (one + two),
    ];
    assert_eq!(map.bins()[0].len(), 2);
    for (found, expected) in map.bins()[0].iter().zip(values) {
        assert!((found.1 - expected).abs() < 1e-13, "{found:?}, {expected}");
    }
    let calibrated = map.apply(&Logits::new(of(&[0.1, 0.5]), 2).unwrap()).unwrap();
    assert!((calibrated.as_slice()[1].exp() - values[0]).abs() < 1e-13);
    assert!((calibrated.as_slice()[3].exp() - values[1]).abs() < 1e-13);
}

#[test]
fn no_value_is_zero_or_one_and_documents_come_back() {
    let (logits, labels) = noisy(200);
    for labels in [labels, vec![0; 200]] {
        let map = fit(&logits, &labels, 3);
        assert!(map.bins().iter().flatten().all(|&(_, g)| g > 0.0 && g < 1.0));
        let calibrated = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
        for row in calibrated.matrix().iter() {
            assert!((row.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-14);
        }
        let any = AnyCalibrator::from(map);
        assert_eq!(AnyCalibrator::from_json(&any.to_json().unwrap()).unwrap(), any);
    }
}

#[test]
fn probabilities_of_zero_and_one_are_numbers() {
    let (none, no_labels) = checked(&[], &[], 2);
    let error = BayesianBinning::fit(&none, &no_labels).unwrap_err();
    assert!(matches!(error, Error::Input(Input::Empty { .. })), "{error}");
    let map = fit(&[0.0, 900.0, 900.0, 0.0, 0.0, 900.0, 900.0, 0.0], &[1, 0, 0, 0], 2);
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::Converged);
    assert!(map.diagnostics().unwrap().nll_after.is_finite());
    let masked = fit(&[0.0, 1.0, f64::NEG_INFINITY].repeat(4), &[0, 1, 1, 1], 3);
    assert_eq!(masked.bins()[2], [(1.0, 0.5)]);
    assert_eq!(masked.diagnostics().unwrap().classes[2].outcome, FitOutcome::Flat);
}
