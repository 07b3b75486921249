//! Ensemble temperature scaling: no weights of a fine grid are better, and the temperature is at a
//! minimum.

use proptest::prelude::*;
use softlabel_core::{Labels, Logits, Temperature};
use softlabel_posthoc::{Calibrator, EnsembleTemperature, FitLoss, TemperatureScaling};

use crate::{checked, noisy};

/// Steps along a side of the grid of weights.
const STEPS: usize = 40;

fn softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let powers: Vec<f64> = row.iter().map(|z| (z / temperature).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

/// The loss of some weights, by the formula.
fn loss(logits: &[f64], labels: &[usize], temperature: f64, weights: [f64; 3], of: FitLoss) -> f64 {
    let classes = logits.len() / labels.len();
    let of_row = |(row, &label): (&[f64], &usize)| {
        let members = softmax(row, temperature).into_iter().zip(softmax(row, 1.0));
        let q: Vec<f64> = members
            .map(|(scaled, plain)| {
                weights[0] * scaled + weights[1] * plain + weights[2] / classes as f64
            })
            .collect();
        let truth = |class: usize| f64::from(u8::from(class == label));
        match of {
            FitLoss::Nll => -q[label].ln(),
            FitLoss::Brier => q.iter().enumerate().map(|(k, q)| (q - truth(k)).powi(2)).sum(),
        }
    };
    logits.chunks(classes).zip(labels).map(of_row).sum::<f64>() / labels.len() as f64
}

fn check_weights(logits: &[f64], labels: &[usize], classes: usize, of: FitLoss) {
    let (checked_logits, checked_labels) = checked(logits, labels, classes);
    let map = EnsembleTemperature::fit(&checked_logits, &checked_labels, of).unwrap();
    let weights = map.weights();
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
    let temperature = map.temperature().get();
    let best = loss(logits, labels, temperature, weights, of);
    for i in 0..=STEPS {
        for j in 0..=STEPS - i {
            let [a, b] = [i, j].map(|count| count as f64 / STEPS as f64);
            let other = loss(logits, labels, temperature, [a, b, 1.0 - a - b], of);
            assert!(best <= other + 1e-12, "{best} {weights:?}, {other} ({a}, {b})");
            // And close by.
            let near = |at: f64, to: f64| at + 1e-4 * (to - at);
            let to = [a, b, 1.0 - a - b];
            let close = std::array::from_fn(|k| near(weights[k], to[k]));
            assert!(best <= loss(logits, labels, temperature, close, of) + 1e-12, "{weights:?}");
        }
    }
}

#[test]
fn no_other_weights_are_better() {
    let (logits, labels) = noisy(60);
    for of in [FitLoss::Brier, FitLoss::Nll] {
        check_weights(&logits, &labels, 3, of);
    }
}

#[test]
fn the_temperature_of_the_squared_error_is_at_a_minimum() {
    let (logits, labels) = noisy(300);
    let (checked_logits, checked_labels) = checked(&logits, &labels, 3);
    let map = EnsembleTemperature::fit(&checked_logits, &checked_labels, FitLoss::Brier).unwrap();
    let at = map.temperature().get();
    let alone = |t: f64| loss(&logits, &labels, t, [1.0, 0.0, 0.0], FitLoss::Brier);
    let slope = (alone(at * 1.0001) - alone(at * 0.9999)) / (2e-4 * at);
    assert!(slope.abs() < 1e-8, "{slope}");
    for t in [0.5, 0.9, 1.1, 2.0] {
        assert!(alone(at) < alone(at * t), "{t}");
    }
    let told = map.diagnostics().unwrap().objective.unwrap();
    let weights = map.weights();
    assert!((told.before - alone(1.0)).abs() < 1e-13, "{told:?}");
    assert!((told.after - loss(&logits, &labels, at, weights, FitLoss::Brier)).abs() < 1e-13);
    // It is another than that of the likelihood, which the other loss has.
    let scaling = TemperatureScaling::fit(&checked_logits, &checked_labels).unwrap();
    assert!((at - scaling.temperature().get()).abs() > 1e-3);
    let map = EnsembleTemperature::fit(&checked_logits, &checked_labels, FitLoss::Nll).unwrap();
    assert_eq!(map.temperature(), scaling.temperature());
    assert_eq!(map.diagnostics().unwrap().objective, None);
    let found = map.diagnostics().unwrap().nll_after;
    assert!(found <= scaling.diagnostics().unwrap().nll_after);
    let expected = loss(&logits, &labels, map.temperature().get(), map.weights(), FitLoss::Nll);
    assert!((found - expected).abs() < 1e-13);
}

#[test]
fn a_label_that_rounds_to_zero_needs_the_uniform_distribution() {
    // One of five is wrong at odds of e^−2000.
    let (logits, labels) = checked(&[2000.0, 0.0].repeat(5), &[0, 0, 0, 0, 1], 2);
    let map = EnsembleTemperature::fit(&logits, &labels, FitLoss::Nll).unwrap();
    assert!(map.diagnostics().unwrap().nll_after.is_finite());
    let found = map.apply(&logits).unwrap().as_slice()[0].exp();
    assert!((found - 0.8).abs() < 1e-6, "{found}");
    // Apart from what cannot be.
    let masked = Logits::new(vec![1.0, 0.0, f64::NEG_INFINITY], 3).unwrap();
    let map =
        EnsembleTemperature::from_parameters(Temperature::new(1.0).unwrap(), [0.0, 0.0, 1.0], 3);
    let found = map.unwrap().apply(&masked).unwrap();
    assert!((found.as_slice()[0].exp() - 0.5).abs() < 1e-15);
    assert_eq!(found.as_slice()[2], f64::NEG_INFINITY);
}

#[test]
fn weights_are_checked() {
    let one = Temperature::new(1.0).unwrap();
    for weights in [[0.5, 0.5, 0.5], [1.5, -0.5, 0.0], [f64::NAN, 0.5, 0.5]] {
        assert!(EnsembleTemperature::from_parameters(one, weights, 2).is_err(), "{weights:?}");
    }
    assert!(EnsembleTemperature::from_parameters(one, [1.0, 0.0, 0.0], 0).is_err());
    let labels = Labels::new(&[0, 1], 2).unwrap();
    let empty = Logits::new(Vec::<f64>::new(), 2).unwrap();
    assert!(EnsembleTemperature::fit(&empty, &labels, FitLoss::Brier).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_other_weights_are_better_on_any_rows(
        logits in prop::collection::vec(-6.0..6.0f64, 36),
        labels in prop::collection::vec(0usize..3, 12),
    ) {
        for of in [FitLoss::Brier, FitLoss::Nll] {
            check_weights(&logits, &labels, 3, of);
        }
    }
}
