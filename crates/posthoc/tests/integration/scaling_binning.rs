//! Scaling-binning: means of the fitted sigmoid in bins of equal mass, ties, and what bins are for.

use softlabel_core::{Error as Input, Logits};
use softlabel_posthoc::{
    BinnedSigmoid, Calibrator, Error, FitOutcome, PlattScaling, ScalingBinning,
};

use crate::{checked, noisy};

fn fit(logits: &[f64], labels: &[usize], classes: usize, bins: usize) -> ScalingBinning {
    let (logits, labels) = checked(logits, labels, classes);
    ScalingBinning::fit(&logits, &labels, bins).unwrap()
}

/// The sigmoid of every class, in the rows of the fit, by the formula.
fn sigmoids(logits: &[f64], map: &ScalingBinning, class: usize) -> Vec<f64> {
    let BinnedSigmoid { slope, intercept, .. } = map.maps()[class];
    let of_row = |row: &[f64]| {
        let others: f64 = (0..3).filter(|&k| k != class).map(|k| row[k].exp()).sum();
        1.0 / (1.0 + (-slope * (row[class] - others.ln()) - intercept).exp())
    };
    logits.chunks(3).map(of_row).collect()
}

#[test]
fn bins_hold_the_means_of_platts_sigmoid() {
    let (logits, labels) = noisy(300);
    let map = fit(&logits, &labels, 3, 7);
    let (checked_logits, checked_labels) = checked(&logits, &labels, 3);
    let platt = PlattScaling::fit(&checked_logits, &checked_labels).unwrap();
    for class in 0..3 {
        let BinnedSigmoid { slope, intercept, bins } = &map.maps()[class];
        assert_eq!((*slope, *intercept), (platt.slopes()[class], platt.intercepts()[class]));
        let values = sigmoids(&logits, &map, class);
        let mut lower = f64::NEG_INFINITY;
        for &(upper, mean) in bins {
            let inside =
                values.iter().filter(|value| (lower + 1e-12..upper + 1e-12).contains(*value));
            let inside: Vec<f64> = inside.copied().collect();
            let expected = inside.iter().sum::<f64>() / inside.len() as f64;
            assert!((mean - expected).abs() < 1e-12, "{mean}, {expected}");
            assert!(inside.len() > 20 && inside.len() < 80, "{}", inside.len());
            lower = upper;
        }
        assert!(bins.len() <= 7 && bins.len() >= 5, "{bins:?}");
    }
    // The rows of a bin are alike, and renormalized.
    let found = map.apply(&checked_logits).unwrap();
    for (row, found) in logits.chunks(3).zip(found.matrix().iter()) {
        let value = |class: usize| {
            let others: f64 = (0..3).filter(|&k| k != class).map(|k| row[k].exp()).sum();
            // A row on an edge belongs to the bin below it, whatever the rounding.
            map.maps()[class].value(row[class] - others.ln() - 1e-10)
        };
        let values = [value(0), value(1), value(2)];
        for (found, value) in found.iter().zip(values) {
            assert!((found.exp() - value / values.iter().sum::<f64>()).abs() < 1e-12);
        }
    }
}

/// Another library's bins of equal mass fail on ties: "the smallest edge difference is numerically 0",
/// with a quarter of all confidences at 1.
#[test]
fn ties_make_fewer_bins_and_none_that_is_empty() {
    let scores = [vec![-800.0; 5], vec![900.0; 15], (0..20).map(f64::from).collect()].concat();
    let logits: Vec<f64> = scores.iter().flat_map(|&f| [0.0, f]).collect();
    let labels: Vec<usize> = (0..40).map(|i| usize::from(i >= 5 && i % 5 != 0)).collect();
    for bins in [1, 2, 10, 40, usize::MAX] {
        let map = fit(&logits, &labels, 2, bins);
        let list = &map.maps()[0].bins;
        assert!(!list.is_empty() && list.len() <= bins.min(22), "{list:?}");
        assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(list.last().unwrap().0, 1.0);
        assert!(map.diagnostics().unwrap().nll_after.is_finite());
    }
    let map = fit(&[0.0, 3.0].repeat(12), &[0, 1, 1].repeat(4), 2, 5);
    assert_eq!(map.maps()[0].bins.len(), 1);
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::Flat);
}

#[test]
fn what_is_given_is_checked() {
    let (logits, labels) = noisy(30);
    let (logits, labels) = checked(&logits, &labels, 3);
    let error = ScalingBinning::fit(&logits, &labels, 0).unwrap_err();
    assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{error}");
    let map = |slope: f64, bins: &[(f64, f64)]| {
        let map = BinnedSigmoid { slope, intercept: 0.0, bins: bins.to_vec() };
        ScalingBinning::from_maps(2, vec![map])
    };
    assert!(map(1.0, &[(0.5, 0.1), (1.0, 0.9)]).is_ok());
    for bins in [&[][..], &[(0.5, 0.1)], &[(0.5, 0.1), (0.5, 0.2), (1.0, 0.9)], &[(1.0, 1.1)]] {
        assert!(map(1.0, bins).is_err(), "{bins:?}");
    }
    assert!(map(f64::NAN, &[(1.0, 0.5)]).is_err());
    assert!(ScalingBinning::from_maps(3, Vec::new()).is_err());
    // A value of 0 is no −∞.
    let zero = map(1.0, &[(0.5, 0.0), (1.0, 1.0)]).unwrap();
    let found = zero.apply(&Logits::new(vec![5.0, 0.0, 0.0, 5.0], 2).unwrap()).unwrap();
    assert!(found.as_slice().iter().all(|value| value.is_finite()), "{found:?}");
}
