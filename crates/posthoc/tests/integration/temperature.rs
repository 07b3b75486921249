//! Temperature scaling: the optimum, its symmetries, and data that have none.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Labels, Logits, Temperature};
use softlabel_posthoc::{Calibrator, Error, FitOutcome, TemperatureScaling};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> TemperatureScaling {
    let (logits, labels) = checked(logits, labels, classes);
    TemperatureScaling::fit(&logits, &labels).unwrap()
}

fn outcome(scaling: &TemperatureScaling) -> FitOutcome {
    scaling.diagnostics().unwrap().outcome
}

/// −mean ln q_y and mean(E_q\[z\] − z_y) at β, written out.
fn loss_and_slope(logits: &[f64], labels: &[usize], classes: usize, beta: f64) -> (f64, f64) {
    let (mut loss, mut slope) = (0.0, 0.0);
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let highest = row.iter().copied().fold(MASKED, f64::max);
        let weights: Vec<f64> = row.iter().map(|z| (beta * (z - highest)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let possible = row.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
        let mean = possible.map(|(z, weight)| z * weight).sum::<f64>() / total;
        loss -= (weights[label] / total).ln();
        slope += mean - row[label];
    }
    (loss / labels.len() as f64, slope / labels.len() as f64)
}

/// With two classes, a constant gap d and a share s of right rows, the optimum is d/T = ln(s/(1 −
/// s)).
#[test]
fn a_known_optimum() {
    for (gap, right, rows) in [(2.0, 3, 4), (0.01, 9, 10), (300.0, 999, 1000), (1.0, 51, 100)] {
        let labels: Vec<usize> = (0..rows).map(|row| usize::from(row >= right)).collect();
        let scaling = fit(&[gap, 0.0].repeat(rows), &labels, 2);
        let expected = gap / (right as f64 / (rows - right) as f64).ln();
        let found = scaling.temperature().get();
        assert!((found / expected - 1.0).abs() < 1e-12, "{gap}: {found}, {expected}");
        assert_eq!(outcome(&scaling), FitOutcome::Converged);
        assert!(scaling.diagnostics().unwrap().iterations < 15);
    }
}

#[test]
fn the_slope_vanishes_at_the_optimum_and_neighbours_are_worse() {
    let (logits, labels) = noisy(300);
    let scaling = fit(&logits, &labels, 3);
    let beta = scaling.temperature().inverse();
    let at = |beta| loss_and_slope(&logits, &labels, 3, beta);
    let (loss, slope) = at(beta);
    assert!(slope.abs() < 1e-13, "{slope}");
    assert!(at(beta * (1.0 + 1e-9)).1 > 0.0 && at(beta * (1.0 - 1e-9)).1 < 0.0);
    let diagnostics = scaling.diagnostics().unwrap();
    assert!((diagnostics.nll_after - loss).abs() < 1e-14);
    assert!((diagnostics.nll_before - at(1.0).0).abs() < 1e-14);
    assert!(diagnostics.nll_after < diagnostics.nll_before);
}

/// Many rows start from a sample, of every fifth or third row here: the third knows only the rows
/// whose labels the logits do not tell.
#[test]
fn many_rows_have_the_same_optimum() {
    for rows in [40_000, 20_000] {
        let (logits, labels) = noisy(rows);
        let scaling = fit(&logits, &labels, 3);
        let beta = scaling.temperature().inverse();
        let at = |beta| loss_and_slope(&logits, &labels, 3, beta);
        let (loss, slope) = at(beta);
        assert!(slope.abs() < 1e-12, "{slope}");
        assert!(at(beta * (1.0 + 1e-9)).1 > 0.0 && at(beta * (1.0 - 1e-9)).1 < 0.0);
        let diagnostics = scaling.diagnostics().unwrap();
        assert_eq!(diagnostics.outcome, FitOutcome::Converged);
        assert!((diagnostics.nll_after - loss).abs() < 1e-12);
        assert!(diagnostics.nll_after < diagnostics.nll_before);
    }
    // All right: what the sample says of it is not said of all rows.
    let separable = fit(&[2.0, 0.0].repeat(20_000), &vec![0; 20_000], 2);
    assert_eq!(outcome(&separable), FitOutcome::Separable);
    let loss = separable.diagnostics().unwrap().nll_after;
    assert!((loss - (20_002.0f64 / 20_001.0).ln()).abs() < 1e-12);
}

#[test]
fn f32_logits_are_widened_before_anything_is_computed() {
    let (logits, labels) = noisy(60);
    // Small multiples of 1/8, which f32 holds exactly.
    #[allow(clippy::cast_possible_truncation)]
    let narrow: Vec<f32> = logits.iter().map(|&z| z as f32).collect();
    let narrow = Logits::new(narrow, 3).unwrap();
    let labels_checked = Labels::new(&labels, 3).unwrap();
    assert_eq!(
        TemperatureScaling::fit(&narrow, &labels_checked).unwrap(),
        fit(&logits, &labels, 3)
    );
}

#[test]
fn separable_labels_sharpen_no_further_than_their_number_supports() {
    // 9 rows, all right: the loss of an error rate of 1 in 11.
    let logits = [0.3, 0.0].repeat(9);
    let scaling = fit(&logits, &[0; 9], 2);
    assert_eq!(outcome(&scaling), FitOutcome::Separable);
    let diagnostics = scaling.diagnostics().unwrap();
    assert!((diagnostics.nll_after - (11.0f64 / 10.0).ln()).abs() < 1e-14);
    // q = 10/11, so 0.3/T = ln 10.
    assert!((scaling.temperature().get() - 0.3 / 10.0f64.ln()).abs() < 1e-14);

    // Surer than that already: T stays 1, and the outcome says why.
    let scaling = fit(&[5.0, 0.0].repeat(9), &[0; 9], 2);
    assert_eq!((outcome(&scaling), scaling.temperature().get()), (FitOutcome::Separable, 1.0));
    // So sure that every other probability underflows.
    let scaling = fit(&[1e5, 0.0].repeat(9), &[0; 9], 2);
    assert_eq!((outcome(&scaling), scaling.temperature().get()), (FitOutcome::Separable, 1.0));

    // Every label shares its maximum with another class: the loss stays above ln 2.
    let scaling = fit(&[1.0, 1.0, 0.0].repeat(9), &[0; 9], 3);
    assert_eq!(outcome(&scaling), FitOutcome::Separable);
    assert!((scaling.temperature().get() / (1e-6 / 3.0) - 1.0).abs() < 1e-9);
    assert!((scaling.diagnostics().unwrap().nll_after - 2.0f64.ln()).abs() < 1e-14);
}

#[test]
fn worse_than_uniform_becomes_uniform() {
    let scaling = fit(&[2.0, 0.0].repeat(4), &[1, 1, 1, 0], 2);
    assert_eq!(outcome(&scaling), FitOutcome::WorseThanUniform);
    assert!((scaling.temperature().get() / 1e6 - 1.0).abs() < 1e-9, "{scaling:?}");
    let diagnostics = scaling.diagnostics().unwrap();
    assert!((diagnostics.nll_after - 2.0f64.ln()).abs() < 1e-6);
    assert!(diagnostics.nll_after < diagnostics.nll_before);
    // No better than uniform is the same.
    let scaling = fit(&[2.0, 0.0].repeat(2), &[1, 0], 2);
    assert_eq!(outcome(&scaling), FitOutcome::WorseThanUniform);
}

#[test]
fn equal_logits_have_no_temperature() {
    for (logits, labels, classes) in [
        (vec![3.0; 8], vec![0, 1, 1, 0], 2),
        (vec![3.0, 5.0], vec![0, 0], 1),
        (vec![1.0, MASKED, MASKED, 2.0], vec![0, 1], 2), // one possible class a row
    ] {
        let scaling = fit(&logits, &labels, classes);
        assert_eq!((outcome(&scaling), scaling.temperature().get()), (FitOutcome::Flat, 1.0));
    }
}

#[test]
fn what_cannot_be_fitted() {
    let fit = |logits: &[f64], labels: &[usize], classes| {
        let (logits, labels) = checked(logits, labels, classes);
        TemperatureScaling::fit(&logits, &labels).unwrap_err()
    };
    assert!(matches!(fit(&[], &[], 3), Error::Input(Input::Empty { .. })));
    assert!(matches!(fit(&[0.0; 4], &[0], 2), Error::Input(Input::Mismatch { .. })));
    let error = fit(&[0.0; 6], &[0, 1], 3);
    assert!(matches!(error, Error::Input(Input::MoreClassesThanRows { classes: 3, rows: 2, .. })));
    let error = fit(&[0.0, 1.0, 1.0, MASKED], &[0, 1], 2);
    assert!(matches!(error, Error::ImpossibleLabel { row: 1, label: 1 }));
    let logits = Logits::new(vec![0.0; 4], 2).unwrap();
    let error = TemperatureScaling::fit(&logits, &Labels::new(&[0, 1], 3).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Input(Input::Mismatch { .. })));
    let error = TemperatureScaling::from_temperature(Temperature::ONE, 0).unwrap_err();
    assert!(matches!(error, Error::Input(Input::Empty { .. })));
}

#[test]
fn absurd_logits_end_in_an_answer_or_an_error() {
    for size in [f64::MAX / 4.0, 1e200, 1e-200, f64::MIN_POSITIVE, 5e-324] {
        let (logits, labels) =
            checked(&[size, 0.0, 0.0, size, size, 0.0, size, 0.0], &[0, 1, 0, 1], 2);
        match TemperatureScaling::fit(&logits, &labels) {
            Ok(scaling) => {
                let calibrated = scaling.apply(&logits).unwrap();
                assert!(calibrated.as_slice().iter().all(|value| !value.is_nan()), "{size}");
            }
            Err(error) => assert!(matches!(error, Error::NotConverged { .. }), "{size}: {error}"),
        }
    }
}

#[test]
fn quotients_that_overflow_are_certainties() {
    let coldest = Temperature::new(f64::MIN_POSITIVE).unwrap();
    let scaling = TemperatureScaling::from_temperature(coldest, 3).unwrap();
    let logits = Logits::new(vec![50.0, 50.0, 4.0], 3).unwrap();
    let half = 0.5f64.ln();
    assert_eq!(scaling.apply(&logits).unwrap().as_slice(), [half, half, MASKED]);
    assert!(matches!(scaling.scale(&logits), Err(Error::Input(Input::BadValue { .. }))));
}

#[test]
fn impossible_classes_stay_impossible() {
    let (logits, labels) = noisy(60);
    let with_masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], MASKED, row[1], row[2]]).collect();
    let moved: Vec<usize> = labels.iter().map(|&y| if y == 0 { 0 } else { y + 1 }).collect();
    let scaling = fit(&with_masked, &moved, 4);
    let without = fit(&logits, &labels, 3);
    assert!((scaling.temperature().get() - without.temperature().get()).abs() < 1e-14);
    let with_masked = Logits::new(with_masked, 4).unwrap();
    let calibrated = scaling.apply(&with_masked).unwrap();
    assert!(calibrated.matrix().iter().all(|row| row[1] == MASKED));
    let scaled = scaling.scale(&with_masked).unwrap();
    assert!(scaled.matrix().iter().all(|row| row[1] == MASKED));
}

proptest! {
    #[test]
    fn any_data_end_well(
        logits in prop::collection::vec(-20.0..20.0f64, 60),
        labels in prop::collection::vec(0..3usize, 20),
    ) {
        let scaling = fit(&logits, &labels, 3);
        let diagnostics = scaling.diagnostics().unwrap();
        prop_assert!(diagnostics.nll_after <= diagnostics.nll_before);
        let beta = scaling.temperature().inverse();
        let (_, slope) = loss_and_slope(&logits, &labels, 3, beta);
        match diagnostics.outcome {
            FitOutcome::Converged => prop_assert!(slope.abs() < 1e-11, "{slope}"),
            FitOutcome::Separable => prop_assert!(slope < 0.0),
            FitOutcome::WorseThanUniform => prop_assert!(slope > 0.0),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    /// What was fitted once needs no second temperature, and rounding never makes it worse.
    #[test]
    fn a_second_fit_changes_nothing(
        logits in prop::collection::vec(-20.0..20.0f64, 60),
        labels in prop::collection::vec(0..3usize, 20),
    ) {
        let first = fit(&logits, &labels, 3);
        let scaled = first.scale(&Logits::new(logits, 3).unwrap()).unwrap();
        let second = fit(scaled.as_slice(), &labels, 3);
        let diagnostics = second.diagnostics().unwrap();
        prop_assert!(diagnostics.nll_after <= diagnostics.nll_before);
        if diagnostics.outcome.converged() {
            // The loss is flat to a rounding error over 1e-8 of its optimum.
            prop_assert!((second.temperature().get() - 1.0).abs() < 1e-7, "{second:?}");
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

    #[test]
    fn scaling_the_logits_scales_the_temperature(scale in 1e-4..1e4f64) {
        let (logits, labels) = noisy(60);
        let scaled: Vec<f64> = logits.iter().map(|z| scale * z).collect();
        let (before, after) = (fit(&logits, &labels, 3), fit(&scaled, &labels, 3));
        let ratio = after.temperature().get() / before.temperature().get();
        prop_assert!((ratio / scale - 1.0).abs() < 1e-12, "{ratio}");
        // What comes out is the same.
        let (logits, scaled) = (Logits::new(logits, 3).unwrap(), Logits::new(scaled, 3).unwrap());
        let (before, after) = (before.apply(&logits).unwrap(), after.apply(&scaled).unwrap());
        for (x, y) in before.as_slice().iter().zip(after.as_slice()) {
            prop_assert!((x - y).abs() < 1e-11);
        }
    }

    #[test]
    fn the_order_of_the_classes_stays(
        logits in prop::collection::vec(-30.0..30.0f64, 5),
        temperature in 0.05..20.0f64,
    ) {
        let checked = Temperature::new(temperature).unwrap();
        let scaling = TemperatureScaling::from_temperature(checked, 5).unwrap();
        let calibrated = scaling.apply(&Logits::new(&logits, 5).unwrap()).unwrap();
        let calibrated = calibrated.as_slice();
        for i in 0..5 {
            for j in 0..5 {
                prop_assert!(logits[i] >= logits[j] || calibrated[i] <= calibrated[j]);
            }
        }
        let scaled: f64 = logits.iter().map(|z| (z / temperature).exp()).sum();
        for (z, found) in logits.iter().zip(calibrated) {
            let expected = z / temperature - scaled.ln();
            if scaled.is_finite() {
                prop_assert!((found - expected).abs() < 1e-10, "{found}, {expected}");
            }
        }
    }
}
