//! Mass on wrong classes, dispersion of classes, and the plane of three templates.

use proptest::prelude::*;
use softlabel_core::{Labels, Logits, Probabilities};
use softlabel_metrics::{Error, TemplatePlane, class_dispersion, wrong_class_mass};

const CLASSES: usize = 4;

fn cases() -> impl Strategy<Value = (Vec<f64>, Vec<u32>)> {
    (1usize..30).prop_flat_map(|rows| {
        let logits = prop::collection::vec(-6.0f64..6.0, rows * CLASSES);
        (logits, prop::collection::vec(0u32..4, rows))
    })
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|z| z.exp()).sum();
    row.iter().map(|z| z.exp() / sum).collect()
}

proptest! {
    #[test]
    fn both_agree_with_their_formulas((logits, labels) in cases()) {
        let rows: Vec<Vec<f64>> = logits.chunks_exact(CLASSES).map(softmax).collect();
        let (mut mass, mut dispersion, mut present) = (0.0, 0.0, 0.0);
        for (row, &label) in rows.iter().zip(&labels) {
            mass += (1.0 - row[label as usize]) * 4.0 / 3.0 / rows.len() as f64;
        }
        for class in 0..4 {
            let of: Vec<_> = rows.iter().zip(&labels).filter(|(_, l)| **l == class).map(|(r, _)| r).collect();
            if of.is_empty() {
                continue;
            }
            present += 1.0;
            let n = of.len() as f64;
            // The variance as the mean of squares less the square of the mean.
            for k in 0..CLASSES {
                let mean = of.iter().map(|row| row[k]).sum::<f64>() / n;
                dispersion += of.iter().map(|row| row[k] * row[k]).sum::<f64>() / n - mean * mean;
            }
        }
        let predictions = Logits::new(&logits[..], CLASSES).unwrap();
        let labels = Labels::new(&labels, CLASSES).unwrap();
        prop_assert!((wrong_class_mass(&predictions, &labels).unwrap() - mass).abs() < 1e-12);
        let found = class_dispersion(&predictions, &labels).unwrap();
        prop_assert!((found - dispersion / present).abs() < 1e-12);
    }

    #[test]
    fn a_projection_keeps_distances_within_the_plane(
        templates in prop::collection::vec(-3.0f64..3.0, 15),
        shares in prop::collection::vec(-2.0f64..2.0, 4),
    ) {
        let of = |index: usize| &templates[5 * index..5 * index + 5];
        let Ok(plane) = TemplatePlane::new([of(0), of(1), of(2)]) else { return Ok(()) };
        let point = |a: f64, b: f64| -> Vec<f64> {
            (0..5).map(|i| of(0)[i] + a * (of(1)[i] - of(0)[i]) + b * (of(2)[i] - of(0)[i])).collect()
        };
        let (p, q) = (point(shares[0], shares[1]), point(shares[2], shares[3]));
        let [a, b] = [&p, &q].map(|point| plane.project(point).unwrap());
        let projected = (a[0] - b[0]).hypot(a[1] - b[1]);
        let truth = p.iter().zip(&q).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt();
        prop_assert!((projected - truth).abs() < 1e-6 * truth.max(1.0), "{projected} {truth}");
        // The first axis goes from the first template to the second, which the third lies above.
        let [first, second, third] = [of(0), of(1), of(2)].map(|t| plane.project(t).unwrap());
        prop_assert!((first[1] - second[1]).abs() < 1e-9 && first[0] < second[0] && third[1] > first[1]);
    }
}

#[test]
fn the_ends_are_exact() {
    let labels = Labels::new(&[0, 1], 2).unwrap();
    let certain = Probabilities::new(vec![1.0f64, 0.0, 0.0, 1.0], 2).unwrap();
    assert_eq!(wrong_class_mass(&certain, &labels).unwrap(), 0.0);
    assert_eq!(class_dispersion(&certain, &labels).unwrap(), 0.0);
    let uniform = Probabilities::new(vec![0.5f64; 4], 2).unwrap();
    assert_eq!(wrong_class_mass(&uniform, &labels).unwrap(), 1.0);
    // What is left for wrong classes is not lost in 1 − p.
    let saturated = Logits::new(&[0.0f64, -50.0], 2).unwrap();
    let mass = wrong_class_mass(&saturated, &Labels::new(&[0], 2).unwrap()).unwrap();
    assert!((mass / (2.0 * (-50.0f64).exp()) - 1.0).abs() < 1e-12, "{mass}");
}

#[test]
fn what_does_not_fit_is_named() {
    let logits = Logits::new(&[0.0f64; 4], 2).unwrap();
    let error = wrong_class_mass(&logits, &Labels::new(&[0], 2).unwrap()).unwrap_err();
    assert!(error.to_string().contains("expected 2 of 2 classes, found 1 of 2 classes"), "{error}");
    assert!(class_dispersion(&logits, &Labels::new(&[0, 1], 3).unwrap()).is_err());
    let line = TemplatePlane::new([&[0.0, 0.0], &[1.0, 1.0], &[3.0, 3.0]]).unwrap_err();
    assert!(matches!(line, Error::OutOfRange { .. }), "{line}");
    assert!(TemplatePlane::new([&[0.0, 0.0], &[0.0, 0.0], &[3.0, 3.0]]).is_err());
    assert!(TemplatePlane::new([&[0.0, 0.0], &[f64::NAN, 0.0], &[3.0, 3.0]]).is_err());
    assert!(TemplatePlane::new([&[0.0, 0.0], &[1.0], &[3.0, 3.0]]).is_err());
    let plane = TemplatePlane::new([&[0.0, 0.0], &[1.0, 0.0], &[0.0, 3.0]]).unwrap();
    assert!(plane.project(&[1.0]).is_err());
}
