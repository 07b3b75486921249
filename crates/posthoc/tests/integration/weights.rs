//! Weights and soft targets: what they mean, for every fit that takes them.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Labels, Logits, Probabilities};
use softlabel_posthoc::{AnyCalibrator, Calibrator, Error, Method, Targets};

const MASKED: f64 = f64::NEG_INFINITY;

/// Methods whose fit takes weights and soft targets.
fn methods() -> Vec<Method> {
    let tables = [
        r#""temperature""#,
        r#""bias_corrected_temperature""#,
        r#""platt""#,
        r#""quadratic_platt""#,
        r#""beta""#,
        r#"{"method": "beta", "form": "ab"}"#,
        r#""isotonic""#,
        r#"{"method": "isotonic", "interpolation": "centred"}"#,
        r#"{"method": "histogram_binning", "bins": 4}"#,
        r#"{"method": "histogram_binning", "bins": 4, "binning": "equal_mass"}"#,
        r#""vector""#,
        r#"{"method": "matrix", "regularization": {"off_diagonal": 0.1, "intercepts": 0.1}}"#,
        r#"{"method": "dirichlet", "off_diagonal": 0.1, "intercepts": 0.2}"#,
        r#""temperature+isotonic""#,
        r#""ts_mix""#,
        r#""ensemble_temperature""#,
        r#"{"method": "ensemble_temperature", "loss": "nll"}"#,
        r#""class_temperature""#,
        r#""svs""#,
        r#""sms""#,
        r#"{"method": "scaling_binning", "bins": 3}"#,
        r#""bbq""#,
    ];
    tables.map(|table| serde_json::from_str(table).unwrap()).to_vec()
}

fn nll(map: &AnyCalibrator) -> f64 {
    map.diagnostics().unwrap().nll_after
}

/// Whether two maps say the same of `logits`.
fn same(x: &AnyCalibrator, y: &AnyCalibrator, logits: &Logits<'_, f64>) -> Result<(), String> {
    let (p, q) = (x.apply(logits).unwrap(), y.apply(logits).unwrap());
    for (p, q) in p.as_slice().iter().zip(q.as_slice()) {
        if (p.exp() - q.exp()).abs() > 1e-6 {
            return Err(format!("{}: {} and {}", x.method(), p.exp(), q.exp()));
        }
    }
    if (nll(x) - nll(y)).abs() > 1e-9 {
        return Err(format!("{}: losses {} and {}", x.method(), nll(x), nll(y)));
    }
    Ok(())
}

/// Rows with every label somewhere, not all of them right.
fn rows() -> impl Strategy<Value = (usize, Vec<f64>, Vec<usize>, Vec<usize>)> {
    (2..5usize).prop_flat_map(|classes| {
        (24..40usize).prop_flat_map(move |rows| {
            (
                Just(classes),
                prop::collection::vec(-2.0..2.0f64, rows * classes),
                prop::collection::vec(0..classes, rows),
                prop::collection::vec(0..4usize, rows),
            )
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A weight is a number of repetitions; none of them is no row.
    #[test]
    fn whole_weights_repeat_rows((classes, mut values, mut labels, mut weights) in rows()) {
        // Every class occurs, with a row that counts.
        for class in 0..classes {
            (labels[class], weights[class]) = (class, 1 + weights[class]);
        }
        // What does not count may hold anything.
        for (row, weight) in weights.iter().enumerate() {
            if *weight == 0 {
                values[row * classes + labels[row]] = MASKED;
            }
        }
        let each = || weights.iter().enumerate().flat_map(|(row, &w)| vec![row; w]);
        let repeated: Vec<f64> =
            each().flat_map(|row| values[row * classes..][..classes].to_vec()).collect();
        let repeated_labels: Vec<usize> = each().map(|row| labels[row]).collect();
        let logits = Logits::new(values.clone(), classes).unwrap();
        let labels = Labels::new(&labels, classes).unwrap();
        let weights: Vec<f64> = weights.iter().map(|&weight| weight as f64).collect();
        let repeated = Logits::new(repeated, classes).unwrap();
        let repeated_labels = Labels::new(&repeated_labels, classes).unwrap();
        for method in methods() {
            let weighted = Targets::from(&labels).weighted(&weights[..]).unwrap();
            let x = method.fit(&logits, weighted).unwrap();
            let y = method.fit(&repeated, &repeated_labels).unwrap();
            let samples = x.diagnostics().unwrap().samples;
            prop_assert_eq!(samples, weights.iter().filter(|weight| **weight > 0.0).count());
            if let Err(message) = same(&x, &y, &repeated) {
                prop_assert!(false, "{message}");
            }
        }
    }

    /// A soft row is rows with the labels it is shared by, weighted by the shares.
    #[test]
    fn soft_rows_are_weighted_rows((classes, values, labels, shares) in rows()) {
        let mut targets = vec![0.0; values.len()];
        for (row, target) in targets.chunks_mut(classes).enumerate() {
            let share = 0.2 * shares[row] as f64;
            target[labels[row]] = 1.0 - share;
            target[(labels[row] + 1) % classes] += share;
        }
        let (mut split, mut split_labels, mut weights) = (Vec::<f64>::new(), Vec::new(), Vec::new());
        for (row, target) in values.chunks(classes).zip(targets.chunks(classes)) {
            for (class, &share) in target.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                split.extend(row);
                split_labels.push(class);
                weights.push(share);
            }
        }
        let logits = Logits::new(values, classes).unwrap();
        let soft = Probabilities::new(targets, classes).unwrap();
        let split = Logits::new(split, classes).unwrap();
        let split_labels = Labels::new(&split_labels, classes).unwrap();
        for method in methods() {
            let x = method.fit(&logits, &soft).unwrap();
            let weighted = Targets::from(&split_labels).weighted(&weights[..]).unwrap();
            let y = method.fit(&split, weighted).unwrap();
            // Centres of blocks of equal mass see the same rows, bins of equal mass the same masses.
            if let Err(message) = same(&x, &y, &logits) {
                prop_assert!(false, "{message}");
            }
        }
    }

    /// Of maps that minimize a mean, a common factor of all weights changes nothing.
    #[test]
    fn only_ratios_matter_to_means((classes, values, mut labels, weights) in rows()) {
        for (class, label) in labels.iter_mut().take(classes).enumerate() {
            *label = class;
        }
        let logits = Logits::new(values, classes).unwrap();
        let labels = Labels::new(&labels, classes).unwrap();
        let weights: Vec<f64> = weights.iter().map(|&weight| 0.5 + weight as f64).collect();
        let tripled: Vec<f64> = weights.iter().map(|weight| 3.0 * weight).collect();
        for name in ["temperature", "bias_corrected_temperature", "vector", "dirichlet", "isotonic"] {
            let method: Method = name.parse().unwrap();
            let fit = |weights: &[f64]| {
                method.fit(&logits, Targets::from(&labels).weighted(weights).unwrap()).unwrap()
            };
            if let Err(message) = same(&fit(&weights), &fit(&tripled), &logits) {
                prop_assert!(false, "{message}");
            }
        }
    }
}

#[test]
fn one_hot_rows_are_labels() {
    let logits =
        Logits::new([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [1.0, 2.0, 0.0]].repeat(8).concat(), 3);
    let logits = logits.unwrap();
    let labels: Vec<usize> = (0..24).map(|row| (row + row / 5) % 3).collect();
    let one_hot: Vec<f64> = labels
        .iter()
        .flat_map(|&label| (0..3).map(move |class| f64::from(u8::from(class == label))))
        .collect();
    let labels = Labels::new(&labels, 3).unwrap();
    let one_hot = Probabilities::new(one_hot, 3).unwrap();
    for method in methods() {
        let x = method.fit(&logits, &labels).unwrap();
        let y = method.fit(&logits, &one_hot).unwrap();
        same(&x, &y, &logits).unwrap();
        assert_eq!(x.diagnostics().unwrap().outcome, y.diagnostics().unwrap().outcome);
    }
}

#[test]
fn weights_that_are_none() {
    let labels = Labels::new(&[0, 1, 1], 2).unwrap();
    let weighted = |weights: &[f64]| Targets::from(&labels).weighted(weights.to_vec());
    assert!(matches!(weighted(&[1.0; 2]), Err(Error::Input(Input::Mismatch { .. }))));
    for weights in
        [[1.0, f64::NAN, 1.0], [1.0, f64::INFINITY, 1.0], [-1.0, 1.0, 1.0], [0.0; 3], [f64::MAX; 3]]
    {
        let error = weighted(&weights).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{weights:?}: {error}");
    }
    // Too few rows count.
    let logits = Logits::new(&[1.0, 0.0, 0.0, 1.0, 0.0, 1.0], 2).unwrap();
    for method in methods() {
        let error = method.fit(&logits, weighted(&[0.0, 1.0, 0.0]).unwrap()).unwrap_err();
        let expected = Input::MoreClassesThanRows { what: "logits to fit on", classes: 2, rows: 1 };
        assert!(matches!(error, Error::Input(input) if input == expected));
    }
    // What no weight could save.
    let masked = Logits::new(&[MASKED, 0.0, 0.0, 1.0, 0.0, 1.0], 2).unwrap();
    let fit = |weights: &[f64]| methods()[0].fit(&masked, weighted(weights).unwrap());
    assert!(matches!(fit(&[1.0; 3]), Err(Error::ImpossibleLabel { row: 0, label: 0 })));
    assert!(fit(&[0.0, 1.0, 1.0]).is_ok());
}

#[test]
fn maps_that_know_no_weights_say_so() {
    let logits = Logits::new([[2.0, 0.0], [0.0, 1.0]].repeat(4).concat(), 2).unwrap();
    let labels = Labels::new(&[0, 1, 0, 0, 1, 1, 0, 1], 2).unwrap();
    let soft = Probabilities::new(&[0.5; 16], 2).unwrap();
    for name in ["spline", "venn_abers"] {
        let method: Method = name.parse().unwrap();
        let weighted = Targets::from(&labels).weighted(&[1.0; 8]).unwrap();
        let error = method.fit(&logits, weighted).unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "weights", .. }), "{error}");
        let error = method.fit(&logits, &soft).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("distributions in place of labels: its"), "{text}");
    }
}
