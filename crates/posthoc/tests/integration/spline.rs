//! Spline calibration: the least squares by their conditions, ties, order, and little data.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Logits};
use softlabel_posthoc::{Calibrator, Error, FitOutcome, SplineCalibration, SplineOptions, Zeros};

use crate::{checked, noisy};

const KEEP: SplineOptions = SplineOptions { knots: 6, zeros: Zeros::Keep };

fn fit(logits: &[f64], labels: &[usize], classes: usize, knots: usize) -> SplineCalibration {
    let (logits, labels) = checked(logits, labels, classes);
    SplineCalibration::fit(&logits, &labels, SplineOptions { knots, ..KEEP }).unwrap()
}

/// Logits of two classes with these probabilities of class 1.
fn of(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().flat_map(|&p| [(1.0 - p).ln(), p.ln()]).collect()
}

/// With two knots the spline is a line: g(s) = s + the least-squares slope of e by t.
#[test]
fn two_knots_are_a_line() {
    let scores: Vec<f64> = (0..20).map(|i| f64::from(i).mul_add(0.02, 0.3)).collect();
    let labels: Vec<usize> = (0..20).map(|i| usize::from(i % 3 != 0)).collect();
    let map = fit(&of(&scores), &labels, 2, 2);
    let (mut sum, mut errors) = (0.0, Vec::new());
    for (s, y) in scores.iter().zip(&labels) {
        sum += *y as f64 - s;
        errors.push(sum / 20.0);
    }
    let (mean_t, mean_e) = (0.5, errors.iter().sum::<f64>() / 20.0);
    let shares: Vec<f64> = (0..20).map(|i| f64::from(i) / 19.0).collect();
    let with: f64 = shares.iter().zip(&errors).map(|(t, e)| (t - mean_t) * (e - mean_e)).sum();
    let slope = with / shares.iter().map(|t| (t - mean_t).powi(2)).sum::<f64>();
    assert_eq!(map.points()[0].len(), 20);
    for (&(score, value), expected) in map.points()[0].iter().zip(&scores) {
        assert!((score - expected).abs() < 1e-15);
        assert!((value - (score + slope)).abs() < 1e-12, "{value}");
    }
    // Linear between two points, constant beside them.
    let found = map.apply(&Logits::new(of(&[0.31, 0.1, 0.9]), 2).unwrap()).unwrap();
    let found: Vec<f64> = found.as_slice().chunks(2).map(|row| row[1].exp()).collect();
    for (found, expected) in found.iter().zip([0.31, 0.3, 0.68]) {
        assert!((found - expected - slope).abs() < 1e-12, "{found}");
    }
}

/// Summed cubes are no line, but a natural spline with a knot for every row goes through every point:
/// its slope is what a tridiagonal system for the first derivatives says.
#[test]
fn as_many_knots_as_rows_interpolate() {
    let scores = [0.1, 0.2, 0.4, 0.5, 0.8];
    let labels = [0, 1, 1, 1, 1];
    let map = fit(&of(&scores), &labels, 2, 40);
    let mut sum = 0.0;
    let mut e = [0.0; 5];
    for (e, (s, y)) in e.iter_mut().zip(scores.iter().zip(labels)) {
        sum += y as f64 - s;
        *e = sum / 5.0;
    }
    // 2d_0 + d_1 = 3(e_1 − e_0)/h, d_{i−1} + 4d_i + d_{i+1} = 3(e_{i+1} − e_{i−1})/h, and the mirror of the first.
    let h = 0.25;
    let slopes: Vec<f64> = map.points()[0].iter().map(|&(s, g)| g - s).collect();
    assert!(map.points()[0].iter().all(|&(_, g)| g > 0.0 && g < 1.0), "{:?}", map.points());
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-10, "{found}, {expected}");
    };
    near(2.0 * slopes[0] + slopes[1], 3.0 * (e[1] - e[0]) / h);
    for i in 1..4 {
        near(slopes[i - 1] + 4.0 * slopes[i] + slopes[i + 1], 3.0 * (e[i + 1] - e[i - 1]) / h);
    }
    near(slopes[3] + 2.0 * slopes[4], 3.0 * (e[4] - e[3]) / h);
}

#[test]
fn a_calibrated_class_stays_nearly_as_it_is() {
    // Of each 20 rows with p = k/20, k are of class 1.
    let scores: Vec<f64> = (1..20).flat_map(|k| [f64::from(k) / 20.0; 20]).collect();
    let labels: Vec<usize> =
        (1..20).flat_map(|k| (0..20).map(move |i| usize::from(i < k))).collect();
    for &(score, value) in &fit(&of(&scores), &labels, 2, 6).points()[0] {
        assert!((score - value).abs() < 1e-12, "{score}, {value}");
    }
}

#[test]
fn little_data() {
    // One row that cannot tell, and a class that cannot be.
    let map = fit(&[0.0, 1.0, f64::NEG_INFINITY].repeat(4), &[0, 1, 1, 1], 3, 6);
    assert_eq!(map.points()[2], [(0.0, 0.0), (1.0, 1.0)]);
    assert_eq!(map.diagnostics().unwrap().classes[2].outcome, FitOutcome::Flat);
    let always = fit(&of(&[0.4, 0.5, 0.6, 0.7]), &[1; 4], 2, 6);
    assert_eq!(always.diagnostics().unwrap().outcome, FitOutcome::OneSided);
    for knots in [0, 1, 101] {
        let (logits, labels) = noisy(30);
        let (logits, labels) = checked(&logits, &labels, 3);
        let options = SplineOptions { knots, ..KEEP };
        let error = SplineCalibration::fit(&logits, &labels, options).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{error}");
    }
    let points =
        |list: &[(f64, f64)]| SplineCalibration::from_points(2, vec![list.to_vec()], Zeros::Keep);
    assert!(points(&[(0.2, 0.9), (0.4, 0.1)]).is_ok());
    for list in [&[][..], &[(0.4, 0.1), (0.4, 0.2)], &[(0.1, 1.1)], &[(f64::NAN, 0.5)]] {
        assert!(points(list).is_err(), "{list:?}");
    }
}

proptest! {
    #[test]
    fn the_order_of_rows_does_not_matter(
        rows in prop::collection::vec((0u8..6, 0usize..2), 3..30),
        turn in 0usize..30,
    ) {
        let logits = |rows: &[(u8, usize)]| -> Vec<f64> {
            rows.iter().flat_map(|&(score, _)| [0.0, f64::from(score) - 3.0]).collect()
        };
        let labels = |rows: &[(u8, usize)]| -> Vec<usize> { rows.iter().map(|row| row.1).collect() };
        let mut other = rows.clone();
        other.rotate_left(turn % rows.len());
        other.reverse();
        let map = fit(&logits(&rows), &labels(&rows), 2, 4);
        let same = fit(&logits(&other), &labels(&other), 2, 4);
        for (one, two) in map.points()[0].iter().zip(&same.points()[0]) {
            prop_assert!(one.0 == two.0 && (one.1 - two.1).abs() < 1e-9, "{one:?} {two:?}");
        }
    }
}
