//! Calibration errors class by class.

use proptest::prelude::*;
use softlabel_core::{Error, Fraction, Labels, Logits, Probabilities};
use softlabel_metrics::{
    AdaptiveCalibration, ClasswiseCalibration, ClasswiseErrors, adaptive_calibration_error,
    classwise_calibration_error,
};

use crate::cases::{Case, cases, shuffled_cases, tied_cases};

fn by_width(case: &Case, bins: usize) -> ClasswiseCalibration {
    let mut state = ClasswiseCalibration::new(case.classes, bins).unwrap();
    state.update(&case.logits(), &case.labels()).unwrap();
    state
}

fn by_mass(case: &Case, bins: usize, threshold: f64) -> AdaptiveCalibration {
    let threshold = Fraction::new(threshold).unwrap();
    let mut state = AdaptiveCalibration::with_threshold(case.classes, bins, threshold).unwrap();
    state.update(&case.logits(), &case.labels()).unwrap();
    state
}

/// Both errors of values and outcomes binned by upper edges.
fn errors(values: &[(f64, f64)], edges: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let bin = |value: f64| edges.iter().position(|&upper| value <= upper).unwrap();
    let (mut expected, mut square) = (0.0, 0.0);
    for m in 0..edges.len() {
        let inside = || values.iter().filter(|value| bin(value.0) == m);
        let distance = inside().map(|(p, y)| p - y).sum::<f64>().abs();
        if inside().count() > 0 {
            expected += distance / n;
            square += distance.powi(2) / inside().count() as f64 / n;
        }
    }
    (expected, square.sqrt())
}

/// The values of a class, ascending, with whether it was the label.
fn values(case: &Case, class: usize) -> Vec<(f64, f64)> {
    let rows = case.softmax().into_iter().zip(&case.labels);
    let mut values: Vec<_> =
        rows.map(|(p, &label)| (p[class], f64::from(u8::from(label == class)))).collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values
}

fn check(found: &ClasswiseErrors, expected: &[Option<(f64, f64)>]) {
    let close = |found: Option<f64>, expected: f64| {
        assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}, not {expected}");
    };
    for (class, expected) in found.classes.iter().zip(expected) {
        match expected {
            None => {
                let found = (class.values, class.expected, class.root_mean_square);
                assert_eq!(found, (0, None, None));
            }
            Some((expected, root_mean_square)) => {
                close(class.expected, *expected);
                close(class.root_mean_square, *root_mean_square);
            }
        }
    }
    let defined: Vec<_> = expected.iter().flatten().collect();
    if defined.is_empty() {
        assert_eq!((found.mean(), found.sum(), found.root_mean_square()), (None, None, None));
        return;
    }
    let count = defined.len() as f64;
    let sum: f64 = defined.iter().map(|errors| errors.0).sum();
    let square: f64 = defined.iter().map(|errors| errors.1.powi(2)).sum();
    close(found.sum(), sum);
    close(found.mean(), sum / count);
    close(found.root_sum_of_squares(), square.sqrt());
    close(found.root_mean_square(), (square / count).sqrt());
}

proptest! {
    #[test]
    fn errors_over_equal_width_agree_with_the_definition(case in cases(), bins in 1..30usize) {
        let edges: Vec<f64> = (1..=bins).map(|m| m as f64 / bins as f64).collect();
        let expected: Vec<_> =
            (0..case.classes).map(|class| Some(errors(&values(&case, class), &edges))).collect();
        let found = by_width(&case, bins).compute().unwrap();
        prop_assert_eq!(found.samples, case.labels.len() as u64);
        check(&found, &expected);
        let free = classwise_calibration_error(&case.logits(), &case.labels(), bins).unwrap();
        prop_assert_eq!(Some(free), found.mean());
    }

    #[test]
    fn adaptive_errors_agree_with_the_definition(
        case in cases(),
        bins in 1..30usize,
        threshold in prop_oneof![Just(0.0), 0.0..1.0f64],
    ) {
        let of_class = |class| {
            let mut values = values(&case, class);
            values.retain(|value| value.0 >= threshold);
            let chunks = bins.min(values.len());
            let (mut edges, mut end) = (vec![], 0);
            for chunk in 0..chunks.saturating_sub(1) {
                end += values.len() / chunks + usize::from(chunk < values.len() % chunks);
                edges.push(f64::midpoint(values[end - 1].0, values[end].0));
            }
            edges.push(1.0);
            (!values.is_empty()).then(|| errors(&values, &edges))
        };
        let expected: Vec<_> = (0..case.classes).map(of_class).collect();
        let found = by_mass(&case, bins, threshold).compute().unwrap();
        check(&found, &expected);
        let threshold = Fraction::new(threshold).unwrap();
        let free = adaptive_calibration_error(&case.logits(), &case.labels(), bins, threshold);
        prop_assert_eq!(free.ok(), found.mean());
    }

    #[test]
    fn neither_order_nor_parts_change_anything(
        (case, shuffled) in shuffled_cases(),
        split in any::<prop::sample::Index>(),
    ) {
        let rows: Vec<usize> = (0..case.labels.len()).collect();
        let (left, right) = rows.split_at(split.index(rows.len() + 1));
        let (left, right) = (case.select(left), case.select(right));

        let whole = by_mass(&case, 5, 0.125).compute();
        prop_assert_eq!(&by_mass(&shuffled, 5, 0.125).compute(), &whole);
        let mut merged = by_mass(&left, 5, 0.125);
        merged.merge(&by_mass(&right, 5, 0.125)).unwrap();
        prop_assert_eq!(&merged.compute(), &whole);
        merged.reset();
        prop_assert_eq!((merged.samples(), merged.compute()), (0, None));

        // Sums in bins are exact up to rounding.
        let mut merged = by_width(&left, 15);
        merged.merge(&by_width(&right, 15)).unwrap();
        prop_assert_eq!(merged.samples(), rows.len() as u64);
        let mean = |state: &ClasswiseCalibration| state.compute().unwrap().mean().unwrap();
        prop_assert!((mean(&merged) - mean(&by_width(&case, 15))).abs() < 1e-14);
        prop_assert!((mean(&merged) - mean(&by_width(&shuffled, 15))).abs() < 1e-14);
        merged.reset();
        prop_assert_eq!(merged, ClasswiseCalibration::new(case.classes, 15).unwrap());
    }

    /// Over one bin a class's error is the distance of its mean probability from its frequency,
    /// and so it is over bins of equal mass where all its values are tied.
    #[test]
    fn one_bin_compares_means(case in tied_cases()) {
        let n = case.labels.len() as f64;
        let distance = |class| {
            values(&case, class).iter().map(|(p, y)| p - y).sum::<f64>().abs() / n
        };
        let expected = (0..case.classes).map(distance).sum::<f64>() / case.classes as f64;
        for found in [by_width(&case, 1).compute(), by_mass(&case, 1, 0.0).compute()] {
            prop_assert!((found.unwrap().mean().unwrap() - expected).abs() < 1e-12);
        }
    }
}

/// Every probability 1/4, and every class the label in a quarter of the rows.
#[test]
fn tied_values_are_one_bin_of_each_class() {
    let undecided = Logits::new(&[0.0f32; 16], 4).unwrap();
    for labels in [[0, 1, 2, 3], [3, 1, 0, 2]] {
        let labels = Labels::new(&labels, 4).unwrap();
        let error = adaptive_calibration_error(&undecided, &labels, 4, Fraction::ZERO).unwrap();
        assert!(error < 1e-15, "{error}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let predictions = Probabilities::new(&[0.75f32, 0.25], 2).unwrap();
    let labels = Labels::new(&[0], 2).unwrap();
    let mut width = ClasswiseCalibration::new(3, 15).unwrap();
    let mut mass = AdaptiveCalibration::new(3, 15).unwrap();
    let before = (width.clone(), mass.clone());
    for error in [
        width.update(&predictions, &labels).unwrap_err(),
        mass.update(&predictions, &labels).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "predictions: expected 3 classes, found 2 classes");
    }
    let two = Labels::new(&[0, 1], 2).unwrap();
    assert!(matches!(width.update(&predictions, &two), Err(Error::Mismatch { .. })));
    let error = width.merge(&ClasswiseCalibration::new(3, 10).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "accumulator to merge: expected 3 classes of 15 bins, found 3 classes of 10 bins"
    );
    let threshold = Fraction::new(0.01).unwrap();
    let error =
        mass.merge(&AdaptiveCalibration::with_threshold(3, 15, threshold).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "accumulator to merge: expected 3 classes of 15 bins from 0 on, \
         found 3 classes of 15 bins from 0.01 on"
    );
    assert_eq!((width, mass), before);
}

#[test]
fn nothing_is_defined_on_no_values() {
    let none = Logits::<f32>::new(&[][..], 3).unwrap();
    let no_labels = Labels::new::<u8>(&[], 3).unwrap();
    let error = classwise_calibration_error(&none, &no_labels, 15).unwrap_err();
    assert!(matches!(error, Error::Empty { .. }));
    let error = adaptive_calibration_error(&none, &no_labels, 15, Fraction::ZERO).unwrap_err();
    assert_eq!(error, Error::Empty { what: "the set of predictions" });

    let undecided = Logits::new(&[0.0f32; 3], 3).unwrap();
    let half = Fraction::new(0.5).unwrap();
    let error = adaptive_calibration_error(&undecided, &Labels::new(&[0], 3).unwrap(), 15, half)
        .unwrap_err();
    assert_eq!(error, Error::Empty { what: "the set of probabilities that reach the threshold" });
}

#[test]
fn states_are_written_down() {
    let case =
        Case { classes: 2, logits: vec![2.0, 0.0, 2.0, 0.0, 0.5, 0.25], labels: vec![0, 1, 0] };
    let (width, mass) = (by_width(&case, 3), by_mass(&case, 3, 0.25));
    let json = serde_json::to_string(&width).unwrap();
    assert_eq!(serde_json::from_str::<ClasswiseCalibration>(&json).unwrap(), width);
    let json = serde_json::to_string(&mass).unwrap();
    assert_eq!(serde_json::from_str::<AdaptiveCalibration>(&json).unwrap(), mass);
    let errors = mass.compute().unwrap();
    let json = serde_json::to_string(&errors).unwrap();
    assert_eq!(serde_json::from_str::<ClasswiseErrors>(&json).unwrap(), errors);

    let none = r#"{"samples":0,"classes":[]}"#;
    assert!(serde_json::from_str::<ClasswiseCalibration>(none).is_err());
    let one = r#"{"ones":1,"rest":{"sum":0.0,"compensation":0.0}}"#;
    let confidence = r#"{"sum":0.5,"compensation":0.0}"#;
    let bin = format!(
        r#"{{"count":1,"mass":{one},"squares":{one},"correct":{one},"confidence":{confidence}}}"#
    );
    let uneven = format!(r#"{{"samples":1,"classes":[[{bin}],[{bin},{bin}]]}}"#);
    let error = serde_json::from_str::<ClasswiseCalibration>(&uneven).unwrap_err().to_string();
    assert!(error.starts_with("state of a class: expected 1 bins, found 2 bins"), "{error}");
    let no_bins = r#"{"samples":0,"bins":0,"threshold":0.0,"classes":[]}"#;
    assert!(serde_json::from_str::<AdaptiveCalibration>(no_bins).is_err());
}
