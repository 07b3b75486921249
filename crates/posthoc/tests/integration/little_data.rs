//! What all maps do with data that have little or nothing to say, and with data that say the same in
//! another way.

use softlabel_core::{Error as Input, Labels, Logits};
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, Error, FitOutcome, Method, ParametrizedOptions,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

/// Maps that are made of temperatures, mixtures and more.
const NAMES: [&str; 8] = [
    "ts_mix",
    "ensemble_temperature",
    "parametrized_temperature",
    "class_temperature",
    "svs",
    "sms",
    "scaling_binning",
    "spline",
];

fn methods() -> impl Iterator<Item = Method> {
    NAMES.into_iter().map(|name| name.parse().unwrap())
}

/// Rows of probabilities, and a document that comes back.
fn check(map: &AnyCalibrator, logits: &Logits<'_, f64>) {
    let name = map.method();
    let found = map.apply(logits).unwrap();
    for row in found.matrix().iter() {
        assert!(row.iter().all(|value| *value <= 0.0 && !value.is_nan()), "{name}: {row:?}");
        let total: f64 = row.iter().map(|value| value.exp()).sum();
        assert!((total - 1.0).abs() < 1e-12, "{name}: {row:?}");
    }
    let fit = map.diagnostics().unwrap();
    assert!(fit.nll_after.is_finite(), "{name}: {fit:?}");
    let read = AnyCalibrator::from_json(&map.to_json().unwrap()).unwrap();
    assert_eq!(read, *map, "{name}");
}

fn fit_all(logits: &[f64], labels: &[usize], classes: usize) -> Vec<AnyCalibrator> {
    let (logits, labels) = checked(logits, labels, classes);
    let fit = |method: Method| {
        let map =
            method.fit(&logits, &labels).unwrap_or_else(|error| panic!("{method:?}: {error}"));
        check(&map, &logits);
        map
    };
    methods().map(fit).collect()
}

fn outcomes(maps: &[AnyCalibrator]) -> Vec<FitOutcome> {
    maps.iter().map(|map| map.diagnostics().unwrap().outcome).collect()
}

#[test]
fn all_right() {
    for (rows, classes) in [(vec![2.0, 0.0, 0.0, 3.0], 2), ([1.0, 0.0, 0.0].repeat(3), 3)] {
        let labels: Vec<usize> =
            rows.chunks(classes).map(|row| usize::from(row[1] > row[0])).collect();
        for scale in [0.01, 1.0, 100.0] {
            let scaled: Vec<f64> = rows.iter().map(|z| z * scale).collect();
            let maps = fit_all(&scaled, &labels, classes);
            assert_eq!(outcomes(&maps)[0], FitOutcome::Separable);
        }
    }
}

#[test]
fn one_class_only() {
    let (logits, _) = noisy(30);
    for class in 0..3 {
        for outcome in &outcomes(&fit_all(&logits, &[class; 30], 3))[6..] {
            assert_eq!(*outcome, FitOutcome::OneSided);
        }
    }
    fit_all(&[1.0, 0.0, 0.5, 1.0], &[1, 1], 2);
}

#[test]
fn all_wrong_and_worse_than_uniform() {
    let logits = [3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 3.0].repeat(4);
    let maps = fit_all(&logits, &[1, 2, 0].repeat(4), 3);
    assert_eq!(outcomes(&maps)[..2], [FitOutcome::WorseThanUniform; 2]);
    assert_eq!(maps[2].diagnostics().unwrap().outcome, FitOutcome::WorseThanUniform);
}

#[test]
fn separable_data() {
    // By a constant, not by a temperature.
    let logits = [3.0, 0.0, 1.0, 0.0].repeat(5);
    let maps = fit_all(&logits, &[0, 1].repeat(5), 2);
    assert!(maps.iter().all(|map| map.diagnostics().unwrap().nll_after.is_finite()));
}

#[test]
fn equal_logits() {
    for classes in [2, 3] {
        let labels: Vec<usize> = (0..12).map(|row| row * row % classes).collect();
        for value in [0.0, 5.0, -1e9] {
            let maps = fit_all(&vec![value; 12 * classes], &labels, classes);
            assert!(outcomes(&maps).iter().all(|outcome| *outcome == FitOutcome::Flat), "{maps:?}");
        }
    }
}

#[test]
fn one_class_in_all() {
    let maps = fit_all(&[1.0, -3.0, 0.0], &[0; 3], 1);
    let logits = Logits::new(vec![7.0], 1).unwrap();
    assert!(maps.iter().all(|map| map.apply(&logits).unwrap().as_slice() == [0.0]), "{maps:?}");
}

#[test]
fn extreme_logits() {
    let logits = [800.0, 0.0, -800.0, 0.0, 900.0, 1.0, 5.0, 0.0, 1.0].repeat(4);
    fit_all(&logits, &[0, 1, 2, 0, 1, 0, 1, 1, 1, 0, 1, 2], 3);
}

#[test]
fn classes_that_cannot_be_stay_so() {
    let (mut logits, labels) = noisy(60);
    for (row, &label) in logits.chunks_mut(3).zip(&labels).step_by(4) {
        row[(label + 1) % 3] = MASKED;
    }
    let (logits, labels) = checked(&logits, &labels, 3);
    for method in methods().filter(|method| method.name() != "sms") {
        let map = method.fit(&logits, &labels).unwrap();
        check(&map, &logits);
        let found = map.apply(&logits).unwrap();
        let both = logits.as_slice().iter().zip(found.as_slice());
        for (z, value) in both {
            assert_eq!(*z == MASKED, *value == MASKED, "{method:?}");
        }
    }
    let sms: Method = "sms".parse().unwrap();
    let error = sms.fit(&logits, &labels).unwrap_err();
    assert!(matches!(error, Error::ImpossibleClass { method: "sms", .. }), "{error}");
}

#[test]
fn what_no_map_can_be_fitted_to() {
    let labels = Labels::new(&[0, 1], 2).unwrap();
    for method in methods() {
        let nothing = Logits::new(Vec::<f64>::new(), 2).unwrap();
        let error = method.fit(&nothing, &Labels::new::<i64>(&[], 2).unwrap()).unwrap_err();
        assert!(matches!(error, Error::Input(Input::Empty { .. })), "{method:?}: {error}");
        let three = Logits::new(vec![0.0; 6], 2).unwrap();
        let error = method.fit(&three, &labels).unwrap_err();
        assert!(matches!(error, Error::Input(Input::Mismatch { .. })), "{method:?}: {error}");
        let wide = Logits::new(vec![0.0; 6], 3).unwrap();
        let error = method.fit(&wide, &Labels::new(&[0, 1], 3).unwrap()).unwrap_err();
        assert!(
            matches!(error, Error::Input(Input::MoreClassesThanRows { .. })),
            "{method:?}: {error}"
        );
        let masked = Logits::new(vec![MASKED, 0.0, 0.0, 1.0], 2).unwrap();
        let error = method.fit(&masked, &labels).unwrap_err();
        let impossible = matches!(
            error,
            Error::ImpossibleLabel { row: 0, label: 0 } | Error::ImpossibleClass { .. }
        );
        assert!(impossible, "{method:?}: {error}");
        let map = method.fit(&Logits::new(vec![1.0, 0.0, 0.5, 1.0], 2).unwrap(), &labels).unwrap();
        let error = map.apply(&wide).unwrap_err();
        assert!(matches!(error, Error::ClassCount { expected: 2, found: 3 }), "{error}");
    }
}

/// The likelihood search of another library does nothing on `f32` scores: its finite differences are
/// below their rounding.
#[test]
fn single_precision_is_fitted_like_double() {
    let (logits, labels) = noisy(300);
    // Eighths, so nothing is lost.
    let (widened, labels) = checked(&logits, &labels, 3);
    let single: Vec<f32> = logits.iter().map(|z| format!("{z}").parse().unwrap()).collect();
    let single = Logits::new(single, 3).unwrap();
    for method in methods() {
        let map = method.fit(&single, &labels).unwrap();
        assert_eq!(map, method.fit(&widened, &labels).unwrap());
        let fit = map.diagnostics().unwrap();
        assert!((fit.nll_after - fit.nll_before).abs() > 1e-4, "{method:?}: {fit:?}");
    }
}

#[test]
fn a_shift_of_a_row_and_the_order_of_rows_change_nothing() {
    let (logits, labels) = noisy(90);
    let shifted: Vec<f64> = logits
        .chunks(3)
        .enumerate()
        .flat_map(|(i, row)| {
            let shift = (i % 7) as f64 - 3.0;
            row.iter().map(move |z| z + shift).collect::<Vec<_>>()
        })
        .collect();
    let turned: Vec<f64> = logits.chunks(3).rev().flatten().copied().collect();
    let turned_labels: Vec<usize> = labels.iter().rev().copied().collect();
    let (logits, labels) = checked(&logits, &labels, 3);
    let (turned, turned_labels) = checked(&turned, &turned_labels, 3);
    let shifted = Logits::new(shifted, 3).unwrap();
    for method in methods() {
        // Where there is more than one minimum, roundings grow with the steps.
        let method = match method {
            Method::ParametrizedTemperature(options) => {
                Method::ParametrizedTemperature(ParametrizedOptions { iterations: 10, ..options })
            }
            other => other,
        };
        let map = method.fit(&logits, &labels).unwrap();
        let expected = map.apply(&logits).unwrap();
        for (other, other_labels) in [(&shifted, &labels), (&turned, &turned_labels)] {
            let found = method.fit(other, other_labels).unwrap().apply(&logits).unwrap();
            for (found, expected) in found.as_slice().iter().zip(expected.as_slice()) {
                let off = (found.exp() - expected.exp()).abs();
                assert!(off < 1e-6, "{method:?}: {found} {expected}");
            }
        }
    }
}

#[test]
fn temperatures_keep_the_top_class() {
    let (logits, labels) = noisy(300);
    let (logits, labels) = checked(&logits, &labels, 3);
    let top = |row: &[f64]| (0..3).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
    for method in methods().take(2) {
        let found = method.fit(&logits, &labels).unwrap().apply(&logits).unwrap();
        for (before, after) in logits.matrix().iter().zip(found.matrix().iter()) {
            assert_eq!(top(before), top(after), "{method:?}");
        }
    }
}
