//! What other libraries do and this one must not: each test names the defect that it stands against.

use softlabel_core::{Fraction, Labels, Probabilities};
use softlabel_metrics::{
    Accumulator, AdaptiveCalibration, Bootstrap, CalibrationBins, CalibrationError,
    CalibrationNorm, EqualMassCalibration, ForecastAccumulator, Forecasts, FullEvaluation,
    RowScores, SmoothCalibrationError, calibration_error, full_evaluation,
};

use crate::networks::networks;

/// A library that sums in single precision reports 0.4666 of a constant stream of 2^23 rows whose
/// error is 0.4, 0.4833 of 2^24 and 0 of 2^25, where its count stops. State here is merged: a part of
/// 2^20 rows, doubled ten times, is a billion.
#[test]
fn sums_do_not_drift_and_counts_do_not_stop() {
    let rows = Probabilities::new([0.9f64, 0.1].repeat(1 << 10), 2).unwrap();
    let labels = Labels::new(&[0_u8, 1].repeat(1 << 9), 2).unwrap();
    let mut error = CalibrationError::default();
    error.update(&rows, &labels).unwrap();
    for _ in 0..20 {
        let part = error.clone();
        error.merge(&part).unwrap();
        assert!((error.compute().unwrap() - 0.4).abs() < 1e-14);
    }
    assert_eq!(error.samples(), 1 << 30);
    let counts = error.bins().compute().unwrap().bins.iter().map(|bin| bin.count).sum::<u64>();
    assert_eq!(counts, 1 << 30);
}

/// A smooth error on a grid whose boundary node has half its weight reports 0.0757 of a saturated
/// network where the kernel gives 0.0537, which is its overconfidence.
#[test]
fn the_smooth_error_is_not_inflated_at_the_boundary() {
    for network in networks("the_smooth_error_is_not_inflated_at_the_boundary") {
        let predictions = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let mut smooth = SmoothCalibrationError::default();
        smooth.update(&predictions, &labels).unwrap();
        let found = smooth.compute().unwrap().error;
        let gap = network.golden("overconf_gap");
        assert!(found >= gap.abs() - 1e-12, "{}: {found}", network.name);
        if network.name == "wideresnet-16-4-cifar-10" {
            assert!((found - 0.05372).abs() < 5e-6, "{found}");
        }
    }
}

/// "alpha = 0.1" that is read as a tenth of a per cent: the interval of a level is that of the level.
#[test]
fn levels_are_shares() {
    let happened: Vec<bool> = (0..1000).map(|row| row % 5 != 0).collect();
    let rows = RowScores::from(Forecasts::new(&[0.9f64; 1000], &happened).unwrap());
    let width = |level: f64| {
        let bootstrap = Bootstrap::new(2000, 1).unwrap().at_level(level).unwrap();
        let accuracy = rows.intervals(15, &bootstrap).unwrap()["accuracy"];
        accuracy.upper - accuracy.lower
    };
    let deviation = (0.8f64 * 0.2 / 1000.0).sqrt();
    // Quantiles of the normal distribution: 1.645 and 1.96 on either side.
    assert!((width(0.90) / (2.0 * 1.645 * deviation) - 1.0).abs() < 0.1);
    assert!((width(0.95) / (2.0 * 1.960 * deviation) - 1.0).abs() < 0.1);
    assert!(Bootstrap::new(100, 0).unwrap().at_level(95.0).is_err());
}

/// Bins of equal mass that fail where a quarter of the confidences is exactly 1.
#[test]
fn ties_do_not_break_bins_of_equal_mass() {
    for network in networks("ties_do_not_break_bins_of_equal_mass") {
        let predictions = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let mut calibration = EqualMassCalibration::new(15).unwrap();
        calibration.update(&predictions, &labels).unwrap();
        let error = calibration.calibration_error(CalibrationNorm::Expected).unwrap();
        assert!((error - network.golden("ece15_equal_mass")).abs() < 1e-9);
        let diagram = calibration.compute().unwrap();
        assert_eq!(diagram.bins.iter().map(|bin| bin.count).sum::<u64>(), 10_000);
    }
}

/// Confidences of 0 and 1 that fall out of all bins, or into one more: every row has one bin.
#[test]
fn no_row_falls_out_of_the_bins() {
    let mut bins = CalibrationBins::new(15).unwrap();
    bins.update_forecasts(
        &Forecasts::new(&[0.0f64, 1.0, 1.0 / 15.0], &[false, true, false]).unwrap(),
    );
    let diagram = bins.compute().unwrap();
    assert_eq!((diagram.bins.len(), diagram.bins[0].count, diagram.bins[14].count), (15, 2, 1));
}

/// Bins with one row give NaN where their variance is estimated: they add nothing.
#[test]
fn a_bin_with_one_row_is_no_nan() {
    let mut bins = CalibrationBins::default();
    bins.update_forecasts(&Forecasts::new(&[0.9f64], &[true]).unwrap());
    assert_eq!(bins.debiased_calibration_error().unwrap().squared, 0.0);
    assert_eq!(bins.debiased_expected_error(), None);
}

/// Logits that happen to lie in [0, 1] and are taken for probabilities: types say which.
#[test]
fn kinds_are_not_guessed_from_values() {
    let values = [0.75f32, 0.25, 0.5, 0.5];
    let labels = Labels::new(&[0, 1], 2).unwrap();
    let logits = softlabel_core::Logits::new(&values, 2).unwrap();
    let probabilities = Probabilities::new(&values, 2).unwrap();
    let as_logits = full_evaluation(&logits, &labels, 15).unwrap();
    let as_probabilities = full_evaluation(&probabilities, &labels, 15).unwrap();
    assert_eq!(as_probabilities.mean_confidence, 0.625);
    assert!(
        (as_logits.mean_confidence - f64::midpoint(0.5, 1.0 / (1.0 + (-0.5f64).exp()))).abs()
            < 1e-15
    );
}

/// Undefined metrics that are reported as 0, and input that is taken whatever it is.
#[test]
fn bad_input_is_an_error_and_nothing_is_zero_for_want_of_rows() {
    let none = Probabilities::<f32>::new(&[][..], 2).unwrap();
    assert!(calibration_error(&none, &Labels::new::<u8>(&[], 2).unwrap(), 15).is_err());
    assert!(FullEvaluation::new(2, 15).unwrap().compute().is_none());
    let mut all = AdaptiveCalibration::with_threshold(2, 2, Fraction::new(1.0).unwrap()).unwrap();
    let half = Probabilities::new(&[0.5f32, 0.5], 2).unwrap();
    all.update(&half, &Labels::new(&[0], 2).unwrap()).unwrap();
    assert_eq!(all.compute().unwrap().mean(), None);
    for bad in [[f64::NAN, 1.0], [-0.1, 1.1], [0.5, 0.6]] {
        assert!(Probabilities::new(&bad, 2).is_err());
    }
    assert!(Forecasts::new(&[f64::NAN], &[true]).is_err());
    assert!(Forecasts::new(&[0.5], &[true]).unwrap().weighted(&[-1.0]).is_err());
    assert!(Forecasts::new(&[0.5], &[true, false]).is_err());
}
