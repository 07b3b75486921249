//! A temperature for every class: the optimum by its conditions, and data that have none.

use softlabel_core::{Logits, Temperature};
use softlabel_posthoc::{Calibrator, ClassTemperature, FitOutcome, TemperatureScaling};

use crate::{checked, noisy};

fn fit(logits: &[f64], labels: &[usize], classes: usize) -> ClassTemperature {
    let (logits, labels) = checked(logits, labels, classes);
    ClassTemperature::fit(&logits, &labels).unwrap()
}

/// ∂/∂β of the mean loss, by the formula: the mean of (q_k − [k = y]) ln p_k.
fn gradient(logits: &[f64], labels: &[usize], map: &ClassTemperature) -> Vec<f64> {
    let classes = map.classes();
    let mut sums = vec![0.0; classes];
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let total: f64 = row.iter().map(|z| z.exp()).sum();
        let x: Vec<f64> = row.iter().map(|z| z - total.ln()).collect();
        let powers = x.iter().zip(map.temperatures()).map(|(x, t)| (x / t.get()).exp());
        let powers: Vec<f64> = powers.collect();
        let total: f64 = powers.iter().sum();
        for (class, sum) in sums.iter_mut().enumerate() {
            let off = powers[class] / total - f64::from(u8::from(class == label));
            *sum += off * x[class] / labels.len() as f64;
        }
    }
    sums
}

#[test]
fn the_gradient_vanishes_and_no_temperature_is_like_another() {
    let (logits, labels) = noisy(300);
    let map = fit(&logits, &labels, 3);
    let slopes = gradient(&logits, &labels, &map);
    let by_logarithm = slopes.iter().zip(map.temperatures()).map(|(slope, t)| slope / t.get());
    assert!(by_logarithm.into_iter().all(|slope| slope.abs() < 1.01e-9), "{slopes:?}");
    let fit = map.diagnostics().unwrap();
    assert!(fit.outcome.converged());
    let (logits, labels) = checked(&logits, &labels, 3);
    let scaling = TemperatureScaling::fit(&logits, &labels).unwrap();
    assert!(fit.nll_after < scaling.diagnostics().unwrap().nll_after - 1e-6);
    assert!((map.temperatures()[0].get() - map.temperatures()[1].get()).abs() > 1e-3);
}

#[test]
fn a_class_that_contradicts_itself_says_nothing() {
    // Two are often wrong where class 2 gets much, and right where it gets little.
    let rows = [[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8], [0.45, 0.45, 0.1]];
    let logits: Vec<f64> = rows.concat().iter().map(|p: &f64| p.ln()).collect::<Vec<_>>().repeat(6);
    let labels =
        [[0, 1, 0, 2], [0, 1, 1, 2], [2, 0, 1, 2], [0, 1, 0, 2], [1, 2, 1, 2], [0, 1, 2, 2]];
    let map = fit(&logits, &labels.concat(), 3);
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::WorseThanUniform, "{map:?}");
    assert!(map.temperatures()[2].get() > 1e6, "{map:?}");
    let slopes = gradient(&logits, &labels.concat(), &map);
    // At β = 0 the loss would only fall on the side where β is negative.
    assert!(slopes[2] > 1e-3 && slopes[0].abs() < 1e-7 && slopes[1].abs() < 1e-7, "{slopes:?}");
}

#[test]
fn a_class_that_never_occurs_keeps_the_common_temperature() {
    let rows = [[1.0, 0.0, -1.0], [0.0, 2.0, -1.0], [3.0, 0.0, 0.0], [0.0, 0.5, -3.0]];
    let (logits, labels) =
        (rows.concat().repeat(10), [[0, 1, 0, 1].repeat(9), vec![1, 0, 1, 0]].concat());
    let map = fit(&logits, &labels, 3);
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::OneSided);
    let (logits, labels) = checked(&logits, &labels, 3);
    let scaling = TemperatureScaling::fit(&logits, &labels).unwrap();
    let off = map.temperatures()[2].get() - scaling.temperature().get();
    assert!(off.abs() < 1e-12 * scaling.temperature().get(), "{off}");
}

#[test]
fn powers_of_probabilities() {
    let temperatures = [1.0, 0.5, 2.0].map(|t| Temperature::new(t).unwrap());
    let map = ClassTemperature::from_temperatures(temperatures.to_vec()).unwrap();
    let logits = [0.25f64, 0.5, 0.25].map(f64::ln);
    let found = map.apply(&Logits::new(logits.to_vec(), 3).unwrap()).unwrap();
    for (found, expected) in found.as_slice().iter().zip([0.25, 0.25, 0.5]) {
        assert!((found.exp() - expected).abs() < 1e-15, "{found}");
    }
    assert!(ClassTemperature::from_temperatures(Vec::new()).is_err());
}
