//! Parametrized temperature scaling: better than one temperature, the same for a seed, and checked.

use softlabel_core::{Error as Input, Logits, Temperature};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, EnsembleTemperature, Error, FitLoss, FitOutcome,
    ParametrizedOptions, ParametrizedTemperature, TemperatureScaling,
};

use crate::golden::parts;
use crate::networks::networks;
use crate::{checked, noisy};

const DEFAULT: fn() -> ParametrizedOptions = ParametrizedOptions::default;

/// The mean over rows of Σ (q − truth)².
fn brier(map: &impl Calibrator, logits: &Logits<'_, f64>, labels: &[usize]) -> f64 {
    let found = map.apply(logits).unwrap();
    let of_row = |(row, &label): (&[f64], &usize)| {
        let square =
            |(class, l): (usize, &f64)| (l.exp() - f64::from(u8::from(class == label))).powi(2);
        row.iter().enumerate().map(square).sum::<f64>()
    };
    found.matrix().iter().zip(labels).map(of_row).sum::<f64>() / labels.len() as f64
}

#[test]
fn the_fitted_loss_is_never_worse_than_that_of_one_temperature() {
    let (logits, labels) = noisy(300);
    let (logits, checked_labels) = checked(&logits, &labels, 3);
    let scaling = TemperatureScaling::fit(&logits, &checked_labels).unwrap();
    let ensemble = EnsembleTemperature::fit(&logits, &checked_labels, FitLoss::Brier).unwrap();
    let best_for_brier = TemperatureScaling::from_temperature(ensemble.temperature(), 3).unwrap();
    for (layers, seed) in [(0, 0), (1, 1), (2, 2), (2, 3)] {
        for iterations in [0, 1, 5, 300] {
            let options = ParametrizedOptions { layers, seed, iterations, ..DEFAULT() };
            let map = ParametrizedTemperature::fit(&logits, &checked_labels, options).unwrap();
            let (found, before) =
                (brier(&map, &logits, &labels), brier(&best_for_brier, &logits, &labels));
            assert!(found <= before + 1e-14, "{found}, {before}");
            assert!(iterations == 0 || found < before - 1e-7, "{found}, {before}");
            let options = ParametrizedOptions { loss: FitLoss::Nll, ..options };
            let map = ParametrizedTemperature::fit(&logits, &checked_labels, options).unwrap();
            let fit = map.diagnostics().unwrap();
            assert!(fit.nll_after <= scaling.diagnostics().unwrap().nll_after + 1e-14);
            if iterations == 0 {
                assert_eq!(map.temperatures(&logits).unwrap(), vec![scaling.temperature(); 300]);
                assert_eq!(fit.outcome, FitOutcome::IterationLimit);
            }
        }
    }
}

/// Without a hidden layer and with one feature ln T/T₀ is B·tanh of what is linear in ln p of the top class: the optimum has
/// vanishing derivatives by both numbers, by differences of a loss written out here.
#[test]
fn a_linear_network_is_at_its_optimum() {
    let (logits, labels) = noisy(300);
    let (checked_logits, checked_labels) = checked(&logits, &labels, 3);
    let options = ParametrizedOptions { layers: 0, top: 1, loss: FitLoss::Nll, ..DEFAULT() };
    let map = ParametrizedTemperature::fit(&checked_logits, &checked_labels, options).unwrap();
    assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::Converged, "{map:?}");
    let temperatures = map.temperatures(&checked_logits).unwrap();
    let total = |row: &[f64]| row.iter().map(|z| z.exp()).sum::<f64>().ln();
    let single = TemperatureScaling::fit(&checked_logits, &checked_labels).unwrap().temperature();
    let bound = 10f64.ln();
    let straight = |t: Temperature| bound * ((t.get() / single.get()).ln() / bound).atanh();
    // Two rows give slope and constant of the line.
    let points: Vec<(f64, f64)> = logits
        .chunks(3)
        .zip(&temperatures)
        .map(|(row, t)| (row.iter().copied().fold(f64::MIN, f64::max) - total(row), straight(*t)))
        .collect();
    let (first, other) = (points[0], points.iter().find(|p| p.0 < points[0].0 - 0.01).unwrap());
    let slope = (first.1 - other.1) / (first.0 - other.0);
    let constant = first.1 - slope * first.0;
    assert!(slope.abs() > 1e-3);
    let loss = |slope: f64, constant: f64| {
        let of_row = |((row, &label), (x, _)): ((&[f64], &usize), &(f64, f64))| {
            let t = single.get() * (bound * ((slope * x + constant) / bound).tanh()).exp();
            let scaled: Vec<f64> = row.iter().map(|z| z / t).collect();
            total(&scaled) - scaled[label]
        };
        logits.chunks(3).zip(&labels).zip(&points).map(of_row).sum::<f64>() / 300.0
    };
    assert!((loss(slope, constant) - map.diagnostics().unwrap().nll_after).abs() < 1e-12);
    let h = 1e-5;
    let by_slope = (loss(slope + h, constant) - loss(slope - h, constant)) / (2.0 * h);
    let by_constant = (loss(slope, constant + h) - loss(slope, constant - h)) / (2.0 * h);
    assert!(by_slope.abs() < 5e-6 && by_constant.abs() < 5e-6, "{by_slope}, {by_constant}");
}

#[test]
fn a_seed_says_all_and_documents_come_back() {
    let (logits, labels) = noisy(200);
    let (logits, labels) = checked(&logits, &labels, 3);
    let fit = |seed| {
        let options = ParametrizedOptions { seed, ..DEFAULT() };
        ParametrizedTemperature::fit(&logits, &labels, options).unwrap()
    };
    assert_eq!(fit(1), fit(1));
    assert_ne!(fit(1), fit(2));
    let map = AnyCalibrator::from(fit(1));
    let json = map.to_json().unwrap();
    let read = AnyCalibrator::from_json(&json).unwrap();
    assert_eq!(read, map);
    assert_eq!(read.apply(&logits).unwrap(), map.apply(&logits).unwrap());
    // [means, deviations, network, classes] that do not belong together.
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    let broken = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut document = document.clone();
        change(&mut document);
        AnyCalibrator::from_json(&document.to_string()).unwrap_err()
    };
    let zero = |d: &mut serde_json::Value| d["parameters"]["deviations"][0] = 0.0.into();
    assert!(matches!(broken(&zero), Error::Input(Input::OutOfRange { .. })));
    let classes = |d: &mut serde_json::Value| d["classes"] = 2.into();
    assert!(matches!(broken(&classes), Error::Input(Input::Mismatch { .. })));
    let hidden = |d: &mut serde_json::Value| d["parameters"]["network"]["hidden"] = vec![5].into();
    assert!(matches!(broken(&hidden), Error::Input(Input::Mismatch { .. })));
    let huge = |d: &mut serde_json::Value| {
        d["parameters"]["network"]["hidden"] = vec![usize::MAX; 2].into();
    };
    assert!(matches!(broken(&huge), Error::Input(Input::Mismatch { .. })));
}

#[test]
fn options_are_checked() {
    let (logits, labels) = noisy(60);
    let (logits, labels) = checked(&logits, &labels, 3);
    for options in [
        ParametrizedOptions { top: 0, ..DEFAULT() },
        ParametrizedOptions { nodes: 0, ..DEFAULT() },
        ParametrizedOptions { nodes: 1001, ..DEFAULT() },
        ParametrizedOptions { layers: 1001, ..DEFAULT() },
        ParametrizedOptions { weight_decay: -1.0, ..DEFAULT() },
        ParametrizedOptions { weight_decay: f64::NAN, ..DEFAULT() },
    ] {
        let error = ParametrizedTemperature::fit(&logits, &labels, options).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{error}");
    }
    // Far from all that was seen T is still a number.
    let map = ParametrizedTemperature::fit(&logits, &labels, DEFAULT()).unwrap();
    let far = Logits::new(vec![1e6, -1e6, 0.0, 1e300, -1e300, 0.0, 0.0, 0.0, 0.0], 3).unwrap();
    assert!(map.temperatures(&far).unwrap().iter().all(|t| t.get() > 0.0));
    map.apply(&far).unwrap();
}

/// On other rows than those of the fit, of a network of a hundred classes: no worse than one temperature.
#[test]
fn a_real_network() {
    for network in networks("a_real_network").filter(|network| network.classes == 100) {
        let [_, (first, first_labels), (second, second_labels)] = parts(&network);
        let one = TemperatureScaling::fit(&first, &first_labels).unwrap();
        let options = ParametrizedOptions { iterations: 60, ..DEFAULT() };
        let many = ParametrizedTemperature::fit(&first, &first_labels, options).unwrap();
        let judge = |map: &AnyCalibrator| {
            evaluate(&map.apply(&second).unwrap(), &second_labels, 15).unwrap()
        };
        let (one, many) = (judge(&one.into()), judge(&many.into()));
        assert_eq!(one.accuracy, many.accuracy);
        assert!(many.brier < one.brier && many.ece < one.ece, "{one:?}, {many:?}");
    }
}
