//! Temperature scaling with a share of the uniform distribution: the formula, and what it is for.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Logits, Temperature};
use softlabel_posthoc::{
    Calibrator, Error, MixtureOptions, TemperatureMixture, TemperatureScaling,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

#[test]
fn it_is_the_mixture_of_its_parts() {
    let (logits, labels) = noisy(60);
    let (logits, labels) = checked(&logits, &labels, 3);
    let scaling = TemperatureScaling::fit(&logits, &labels).unwrap();
    let scaled = scaling.apply(&logits).unwrap();
    for uniform_rows in [0.0, 0.5, 1.0, 60.0] {
        let map =
            TemperatureMixture::fit(&logits, &labels, MixtureOptions { uniform_rows }).unwrap();
        assert_eq!(map.temperature(), scaling.temperature());
        let w = uniform_rows / 61.0;
        assert_eq!(map.uniform(), w);
        let mixed = map.apply(&logits).unwrap();
        for (found, part) in mixed.as_slice().iter().zip(scaled.as_slice()) {
            assert!((found.exp() - ((1.0 - w) * part.exp() + w / 3.0)).abs() < 1e-15);
        }
        let before = scaling.diagnostics().unwrap().nll_after;
        assert!(map.diagnostics().unwrap().nll_after <= before - (1.0 - w).ln() + 1e-15);
    }
}

#[test]
fn a_right_answer_too_many_costs_no_fortune() {
    // All right, so that T is small; then one that is wrong.
    let (logits, labels) = checked(&[9.0, 0.0].repeat(50), &[0; 50], 2);
    let map = TemperatureMixture::fit(&logits, &labels, MixtureOptions::default()).unwrap();
    let wrong = map.apply(&Logits::new(vec![1e6, 0.0], 2).unwrap()).unwrap();
    assert!((wrong.as_slice()[1] - (1.0 / 102.0f64).ln()).abs() < 1e-12, "{wrong:?}");
    // Even if the quotients overflow.
    let extreme = TemperatureMixture::from_parameters(Temperature::new(1e-300).unwrap(), 0.2, 3);
    let found = extreme.unwrap().apply(&Logits::new(vec![1e300, -1e300, MASKED], 3).unwrap());
    let found = found.unwrap();
    assert!((found.as_slice()[0].exp() - 0.9).abs() < 1e-15);
    assert!((found.as_slice()[1].exp() - 0.1).abs() < 1e-15);
    assert_eq!(found.as_slice()[2], MASKED);
}

#[test]
fn shares_out_of_range_are_refused() {
    let (logits, labels) = noisy(60);
    let (logits, labels) = checked(&logits, &labels, 3);
    for uniform_rows in [-1e-9, 60.5, f64::NAN, f64::INFINITY] {
        let options = MixtureOptions { uniform_rows };
        let error = TemperatureMixture::fit(&logits, &labels, options).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{error}");
    }
    for uniform in [-0.1, 1.1, f64::NAN] {
        let one = Temperature::new(1.0).unwrap();
        assert!(TemperatureMixture::from_parameters(one, uniform, 2).is_err());
    }
}

proptest! {
    #[test]
    fn the_order_of_the_classes_stays(
        row in prop::collection::vec(-30.0..30.0f64, 4),
        temperature in 0.1..10.0f64,
        uniform in 0.0..0.9f64,
    ) {
        let temperature = Temperature::new(temperature).unwrap();
        let map = TemperatureMixture::from_parameters(temperature, uniform, 4).unwrap();
        let found = map.apply(&Logits::new(row.clone(), 4).unwrap()).unwrap();
        let found = found.as_slice();
        prop_assert!((found.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-14);
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            prop_assert!(row[i] >= row[j] || found[i] <= found[j]);
        }
    }
}
