//! Isotonic regression of events on one score: against the calibration of two classes, its symmetries,
//! and what it refuses.

use proptest::prelude::*;
use softlabel_core::Logits;
use softlabel_posthoc::{
    Calibrator, Interpolation, IsotonicCalibration, IsotonicOptions, IsotonicRegression, Zeros,
};

use crate::checked;

fn fit(scores: &[f64], events: &[f64], interpolation: Interpolation) -> IsotonicRegression {
    IsotonicRegression::fit(scores, events, None, interpolation).unwrap()
}

/// For two classes it is what `IsotonicCalibration` does with the probabilities of the second.
#[test]
fn is_the_calibration_of_two_classes() {
    let count = 500;
    let p: Vec<f64> = (0..count).map(|i| f64::from((i * i) % 97 + 1) / 99.0).collect();
    let labels: Vec<usize> = (0..count).map(|i| usize::from((i * 7) % 97 < (i * i) % 97)).collect();
    let events: Vec<f64> = labels.iter().map(|&label| label as f64).collect();
    let rows: Vec<f64> = p.iter().flat_map(|p| [(1.0 - p).ln(), p.ln()]).collect();
    let (logits, labels) = checked(&rows, &labels, 2);
    for interpolation in [Interpolation::Linear, Interpolation::Step, Interpolation::Centred] {
        let options = IsotonicOptions { interpolation, zeros: Zeros::Keep };
        let calibration = IsotonicCalibration::fit(&logits, &labels, options).unwrap();
        let regression = fit(&p, &events, interpolation);
        assert_eq!(regression.knots().len(), calibration.knots()[0].len());
        for x in [0.0, 0.11, 0.37, 0.5, 0.93, 1.0] {
            let row = Logits::new(vec![(1.0f64 - x).ln(), x.ln()], 2).unwrap();
            if row.as_slice().contains(&f64::NEG_INFINITY) {
                continue;
            }
            let expected = calibration.apply(&row).unwrap().as_slice()[1].exp();
            let found = regression.value(x);
            assert!((found - expected).abs() < 1e-12, "{interpolation:?} {x}: {found}, {expected}");
        }
    }
}

/// scikit-learn 1.9.1:
/// ```python
/// IsotonicRegression(out_of_bounds="clip").fit([1, 2, 2, 3, 5, 4], [.1, .4, .2, .2, .9, .6],
///     sample_weight=[1, 2, 1, 1, 1, 3]).predict([0, 1.5, 2.5, 4.5, 9])
/// ```
#[test]
fn agrees_with_scikit_learn() {
    let scores = [1.0, 2.0, 2.0, 3.0, 5.0, 4.0];
    let events = [0.1, 0.4, 0.2, 0.2, 0.9, 0.6];
    let weights = [1.0, 2.0, 1.0, 1.0, 1.0, 3.0];
    let map = IsotonicRegression::fit(&scores, &events, Some(&weights), Interpolation::Linear);
    let map = map.unwrap();
    for (x, expected) in [(0.0, 0.1), (1.5, 0.2), (2.5, 0.3), (4.5, 0.75), (9.0, 0.9)] {
        assert!((map.value(x) - expected).abs() < 1e-15, "{x}: {}", map.value(x));
    }
}

#[test]
fn a_weight_of_zero_is_an_absent_point() {
    let with = IsotonicRegression::fit(
        &[0.1, 0.2, 0.3],
        &[0.0, 1.0, 0.5],
        Some(&[1.0, 0.0, 2.0]),
        Interpolation::Step,
    );
    assert_eq!(with.unwrap(), fit(&[0.1, 0.3], &[0.0, 0.5], Interpolation::Step));
}

#[test]
fn is_written_and_read() {
    let map = fit(&[0.1, 0.2, 0.3], &[0.0, 1.0, 0.5], Interpolation::Linear);
    let json = serde_json::to_string(&map).unwrap();
    assert_eq!(serde_json::from_str::<IsotonicRegression>(&json).unwrap(), map);
    let falling = r#"{"interpolation": "linear", "knots": [[0, 1], [1, 0]]}"#;
    let error = serde_json::from_str::<IsotonicRegression>(falling).unwrap_err().to_string();
    assert!(error.contains("not below"), "{error}");
}

#[test]
fn what_it_refuses() {
    let error = |scores: &[f64], events: &[f64], weights: Option<&[f64]>| {
        let fit = IsotonicRegression::fit(scores, events, weights, Interpolation::Linear);
        fit.unwrap_err().to_string()
    };
    let nothing = "the set of scores to fit on is empty: expected at least one";
    assert_eq!(error(&[], &[], None), nothing);
    assert_eq!(error(&[1.0], &[1.0], Some(&[0.0])), nothing);
    assert_eq!(error(&[1.0], &[], None), "events: expected 1 scores, found 0 events");
    assert_eq!(error(&[f64::NAN], &[1.0], None), "score must be finite, found NaN");
    assert_eq!(error(&[1.0], &[1.5], None), "event must be in [0, 1], found 1.5");
    let negative = "weight must be finite and not negative, found -1";
    assert_eq!(error(&[1.0], &[1.0], Some(&[-1.0])), negative);
}

proptest! {
    /// The order of the points does not matter, the function does not fall, and its mean over the
    /// points is that of the events.
    #[test]
    fn symmetries(points in prop::collection::vec((0..20u8, any::<bool>()), 1..60)) {
        let split = |points: &[(u8, bool)]| -> (Vec<f64>, Vec<f64>) {
            points.iter().map(|&(s, y)| (f64::from(s), f64::from(u8::from(y)))).unzip()
        };
        let (scores, events) = split(&points);
        let map = fit(&scores, &events, Interpolation::Step);
        let mut reversed = points.clone();
        reversed.reverse();
        let (backward, its_events) = split(&reversed);
        prop_assert_eq!(&fit(&backward, &its_events, Interpolation::Step), &map);
        let mut last = 0.0;
        for x in 0..20 {
            let value = map.value(f64::from(x));
            prop_assert!(value >= last);
            last = value;
        }
        let mean: f64 = scores.iter().map(|&s| map.value(s)).sum();
        prop_assert!((mean - events.iter().sum::<f64>()).abs() < 1e-9);
    }
}
