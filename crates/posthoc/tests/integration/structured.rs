//! Structured scaling: how far the found place can be from the optimum, by its gradient.

use softlabel_core::{Error as Input, Logits, Temperature};
use softlabel_posthoc::{
    Calibrator, Error, MatrixRidge, StructuredMatrixScaling, StructuredVectorScaling,
    TemperatureMixture, VectorRidge,
};

use crate::{checked, noisy};

/// F and the square of its gradient's length by (W, b), by the formula; W is `[classes, classes]`, and
/// only its diagonal moves if `off` is none.
fn objective(
    x: &[f64],
    labels: &[usize],
    (w, b): (&[f64], &[f64]),
    [intercepts, diagonal]: [f64; 2],
    off: Option<f64>,
) -> (f64, f64) {
    let (classes, n) = (b.len(), labels.len() as f64);
    let strength = |i: usize, j: usize| if i == j { Some(diagonal) } else { off };
    let (mut value, mut slopes) = (0.0, vec![0.0; classes * (classes + 1)]);
    for (row, &label) in x.chunks(classes).zip(labels) {
        let u: Vec<f64> = (0..classes)
            .map(|k| (0..classes).map(|j| w[k * classes + j] * row[j]).sum::<f64>() + b[k])
            .collect();
        let total: f64 = u.iter().map(|u| u.exp()).sum();
        value += (total.ln() - u[label]) / n;
        for k in 0..classes {
            let off = (u[k].exp() / total - f64::from(u8::from(k == label))) / n;
            for j in 0..classes {
                slopes[k * classes + j] += off * row[j];
            }
            slopes[classes * classes + k] += off;
        }
    }
    for (i, j) in (0..classes).flat_map(|i| (0..classes).map(move |j| (i, j))) {
        let change = w[i * classes + j] - f64::from(u8::from(i == j));
        let slope = &mut slopes[i * classes + j];
        match strength(i, j) {
            Some(strength) => {
                value += strength * change * change;
                *slope += 2.0 * strength * change;
            }
            None => *slope = 0.0,
        }
    }
    for (k, b) in b.iter().enumerate() {
        value += intercepts * b * b;
        slopes[classes * classes + k] += 2.0 * intercepts * b;
    }
    (value, slopes.iter().map(|slope| slope * slope).sum())
}

/// x of the map.
fn mixed(logits: &[f64], temperature: Temperature, uniform: f64) -> Vec<f64> {
    let map = TemperatureMixture::from_parameters(temperature, uniform, 3).unwrap();
    map.apply(&Logits::new(logits, 3).unwrap()).unwrap().as_slice().to_vec()
}

/// F is strongly convex with the modulus 2λ, λ being its weakest ridge, so F − min F ≤ |∇F|²/(4λ).
#[test]
fn the_optimum_is_reached() {
    let (logits, labels) = noisy(300);
    let (checked_logits, checked_labels) = checked(&logits, &labels, 3);
    for scale in [1.0, 0.01, 30.0] {
        let ridge = VectorRidge { intercepts: scale, diagonal: 2.0 * scale };
        let map = StructuredVectorScaling::fit(&checked_logits, &checked_labels, ridge).unwrap();
        assert_eq!(map.uniform(), 1.0 / 301.0);
        let x = mixed(&logits, map.temperature(), map.uniform());
        let v = map.weights();
        let w = [v[0], 0.0, 0.0, 0.0, v[1], 0.0, 0.0, 0.0, v[2]];
        let strengths = [scale * 3.0 / 300.0, 2.0 * scale * 3.0 / 300.0];
        let (value, slopes) = objective(&x, &labels, (&w, map.intercepts()), strengths, None);
        assert!(slopes / (4.0 * strengths[0]) < 1e-12, "{scale}: {slopes}");
        let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let (start, _) = objective(&x, &labels, (&identity, &[0.0; 3]), strengths, None);
        assert!(value < start, "{value}, {start}");

        let ridge = MatrixRidge { intercepts: scale, diagonal: scale, off_diagonal: 0.5 * scale };
        let map = StructuredMatrixScaling::fit(&checked_logits, &checked_labels, ridge).unwrap();
        let strengths = [scale * 3.0 / 300.0; 2];
        let off = 0.5 * scale * 6.0 / 300.0;
        let found = (map.weights(), map.intercepts());
        let (with_matrix, slopes) = objective(&x, &labels, found, strengths, Some(off));
        assert!(slopes / (4.0 * strengths[0]) < 1e-12, "{scale}: {slopes}");
        let (start, _) = objective(&x, &labels, (&identity, &[0.0; 3]), strengths, Some(off));
        assert!(with_matrix < start);
        assert!(map.weights()[1].abs() > 1e-6);
        assert!(map.diagnostics().unwrap().outcome.converged());
    }
}

/// The vector scaling of another library has no constants, and cannot learn how often classes occur.
#[test]
fn constants_learn_what_equal_logits_cannot_say() {
    let (logits, labels) = checked(&[1.0, 1.0].repeat(4000), &[0, 0, 0, 1].repeat(1000), 2);
    let map = StructuredVectorScaling::fit(&logits, &labels, VectorRidge::default()).unwrap();
    let found = map.apply(&logits).unwrap().as_slice()[0].exp();
    assert!((found - 0.75).abs() < 1e-3, "{found}");
    assert!(map.intercepts()[0] > 0.1);
}

#[test]
fn the_ridge_holds_what_labels_do_not() {
    // Separable, and class 2 never occurs.
    let rows = [3.0, 0.0, -1.0, 0.0, 3.0, -1.0].repeat(10);
    let (logits, labels) = checked(&rows, &[0, 1].repeat(10), 3);
    let map = StructuredMatrixScaling::fit(&logits, &labels, MatrixRidge::default()).unwrap();
    let largest =
        map.weights().iter().chain(map.intercepts()).fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(largest < 3.0, "{map:?}");
    let masked = Logits::new(vec![1.0, 0.0, f64::NEG_INFINITY], 3).unwrap();
    let error = map.apply(&masked).unwrap_err();
    assert!(matches!(error, Error::ImpossibleClass { method: "sms", row: 0, class: 2 }), "{error}");
    let map = StructuredVectorScaling::fit(&logits, &labels, VectorRidge::default()).unwrap();
    assert_eq!(map.apply(&masked).unwrap().as_slice()[2], f64::NEG_INFINITY);
}

#[test]
fn strengths_and_parameters_are_checked() {
    let (logits, labels) = noisy(60);
    let (logits, labels) = checked(&logits, &labels, 3);
    for diagonal in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let ridge = VectorRidge { diagonal, ..VectorRidge::default() };
        let error = StructuredVectorScaling::fit(&logits, &labels, ridge).unwrap_err();
        assert!(matches!(error, Error::Input(Input::OutOfRange { .. })), "{error}");
        let ridge = MatrixRidge { diagonal, ..MatrixRidge::default() };
        assert!(StructuredMatrixScaling::fit(&logits, &labels, ridge).is_err());
    }
    let one = Temperature::new(1.0).unwrap();
    let vector = StructuredVectorScaling::from_parameters;
    assert!(vector(one, 0.0, vec![1.0; 2], vec![0.0; 3]).is_err());
    assert!(vector(one, 1.5, vec![1.0; 3], vec![0.0; 3]).is_err());
    assert!(vector(one, 0.0, vec![1.0, f64::NAN], vec![0.0; 2]).is_err());
    assert!(
        StructuredMatrixScaling::from_parameters(one, 0.0, vec![1.0; 2], vec![0.0; 2]).is_err()
    );
}
