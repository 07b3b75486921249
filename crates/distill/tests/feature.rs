//! Feature losses against loops in f64, against finite differences, and at their edges.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside `#[test]` functions.

use softlabel_distill::Result;
use softlabel_distill::feature::{
    attention_transfer, correlation_congruence, hint, probabilistic_transfer, relational_angle,
    relational_distance, similarity_preserving,
};
use softlabel_tensor::{Error as TensorError, gradient_check};
use tch::{Device, Kind, Tensor};

type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Those that take any width, and the fewest samples that they need.
const PAIRS: [(&str, Loss, i64); 5] = [
    ("relational_distance", relational_distance, 2),
    ("relational_angle", relational_angle, 3),
    ("similarity_preserving", similarity_preserving, 1),
    ("probabilistic_transfer", probabilistic_transfer, 1),
    ("correlation_congruence", |s, t| correlation_congruence(s, t, 0.4), 1),
];

fn wave(shape: &[i64], phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.square().sin() * 3.0).view(shape)
}

fn value(loss: Result<Tensor>) -> f64 {
    f64::try_from(loss.unwrap()).unwrap()
}

fn matrix(features: &Tensor) -> Vec<Vec<f64>> {
    Vec::try_from(features).unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn huber(x: f64) -> f64 {
    if x.abs() < 1.0 { 0.5 * x * x } else { x.abs() - 0.5 }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let lengths = dot(a, a).sqrt() * dot(b, b).sqrt();
    if lengths == 0.0 { 0.0 } else { dot(a, b) / lengths }
}

/// The mean of `term` over all ordered pairs.
fn over_pairs(n: usize, term: impl Fn(usize, usize) -> f64) -> f64 {
    (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| term(i, j)).sum::<f64>()
        / (n * n) as f64
}

#[test]
fn pair_losses_follow_their_formulas() {
    let (student, teacher) = (wave(&[5, 3], 0.2), wave(&[5, 4], 1.3));
    let (s, t) = (matrix(&student), matrix(&teacher));
    let n = 5;

    let distance = |x: &[Vec<f64>], i: usize, j: usize| {
        let difference = minus(&x[i], &x[j]);
        dot(&difference, &difference).sqrt()
    };
    let mean = |x: &[Vec<f64>]| over_pairs(n, |i, j| distance(x, i, j)) * 25.0 / 20.0;
    let (mean_s, mean_t) = (mean(&s), mean(&t));
    let expected =
        over_pairs(n, |i, j| huber(distance(&s, i, j) / mean_s - distance(&t, i, j) / mean_t));
    assert!((value(relational_distance(&student, &teacher)) - expected).abs() < 1e-14);

    let angle = |x: &[Vec<f64>], i: usize, j: usize, k: usize| {
        cosine(&minus(&x[j], &x[i]), &minus(&x[k], &x[i]))
    };
    let expected = (0..n)
        .map(|i| over_pairs(n, |j, k| huber(angle(&s, i, j, k) - angle(&t, i, j, k))))
        .sum::<f64>()
        / 5.0;
    assert!((value(relational_angle(&student, &teacher)) - expected).abs() < 1e-14);

    let gram = |x: &[Vec<f64>], i: usize, j: usize| {
        let row: Vec<f64> = x.iter().map(|other| dot(&x[i], other)).collect();
        row[j] / dot(&row, &row).sqrt()
    };
    let expected = over_pairs(n, |i, j| (gram(&s, i, j) - gram(&t, i, j)).powi(2));
    assert!((value(similarity_preserving(&student, &teacher)) - expected).abs() < 1e-14);

    let neighbour = |x: &[Vec<f64>], i: usize, j: usize| {
        let near = |j: usize| 1.0 + cosine(&x[i], &x[j]);
        near(j) / (0..n).map(near).sum::<f64>()
    };
    let expected = 5.0
        * over_pairs(n, |i, j| {
            let (p, q) = (neighbour(&s, i, j), neighbour(&t, i, j));
            q * (q / p).ln()
        });
    assert!((value(probabilistic_transfer(&student, &teacher)) - expected).abs() < 1e-14);

    let kernel =
        |x: &[Vec<f64>], i: usize, j: usize| (-0.7 * (2.0 - 2.0 * cosine(&x[i], &x[j]))).exp();
    let expected = over_pairs(n, |i, j| (kernel(&s, i, j) - kernel(&t, i, j)).powi(2));
    assert!((value(correlation_congruence(&student, &teacher, 0.7)) - expected).abs() < 1e-14);
}

#[test]
fn gradients_agree_with_finite_differences() {
    let (student, teacher) = (wave(&[4, 3], 0.2).set_requires_grad(true), wave(&[4, 2], 1.3));
    for (name, loss, _) in PAIRS {
        let check = gradient_check(
            |x: &[Tensor]| loss(&x[0], &teacher).map_err(TensorError::other),
            &[&student],
            1e-6,
        );
        assert!(check.unwrap().is_within(1e-8, 1e-6), "{name}");
    }
    let (student, teacher) =
        (wave(&[2, 3, 2, 2], 0.2).set_requires_grad(true), wave(&[2, 5, 2, 2], 1.3));
    let check = gradient_check(
        |x: &[Tensor]| attention_transfer(&x[0], &teacher).map_err(TensorError::other),
        &[&student],
        1e-6,
    );
    assert!(check.unwrap().is_within(1e-8, 1e-6));
}

#[test]
fn what_agrees_costs_nothing_and_the_teacher_gets_no_gradient() {
    for (name, loss, _) in PAIRS {
        let student = wave(&[4, 3], 0.2).set_requires_grad(true);
        let teacher = student.copy().detach().set_requires_grad(true);
        let found = loss(&student, &teacher).unwrap();
        assert!(f64::try_from(&found).unwrap().abs() < 1e-15, "{name}");
        found.backward();
        assert!(f64::try_from(student.grad().abs().max()).unwrap() < 1e-15, "{name}");
        assert!(!teacher.grad().defined(), "{name}");
    }
}

#[test]
fn gradients_are_finite_where_features_coincide_or_vanish() {
    let teacher = wave(&[4, 2], 1.3);
    let same = wave(&[1, 3], 0.2).repeat([4, 1]);
    for start in [Tensor::zeros([4, 3], (Kind::Double, Device::Cpu)), same] {
        for kind in [Kind::Double, Kind::Float] {
            for (name, loss, _) in PAIRS {
                // A leaf of its own: what is converted already is returned as it is.
                let student = start.to_kind(kind).copy().set_requires_grad(true);
                let found = loss(&student, &teacher).unwrap();
                found.backward();
                let finite = |x: &Tensor| bool::try_from(x.isfinite().all()).unwrap();
                assert!(finite(&found) && finite(&student.grad()), "{name}: {start:?}, {kind:?}");
            }
        }
    }
    let student = Tensor::zeros([2, 3, 2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    attention_transfer(&student, &wave(&[2, 5, 2, 2], 1.3)).unwrap().backward();
    assert!(bool::try_from(student.grad().isfinite().all()).unwrap());
}

#[test]
fn a_nan_is_not_hidden() {
    let student = wave(&[4, 3], 0.2);
    let _ = student.get(1).get(1).fill_(f64::NAN);
    for (name, loss, _) in PAIRS {
        assert!(value(loss(&student, &wave(&[4, 2], 1.3))).is_nan(), "{name}");
        assert!(value(loss(&wave(&[4, 2], 1.3), &student)).is_nan(), "{name}: teacher");
    }
}

#[test]
fn halves_are_computed_in_f32() {
    let (student, teacher) = (wave(&[4, 3], 0.2), wave(&[4, 2], 1.3));
    for kind in [Kind::Half, Kind::BFloat16] {
        let (half, other) = (student.to_kind(kind), teacher.to_kind(kind));
        for (name, loss, _) in PAIRS {
            let found = loss(&half, &other).unwrap();
            assert_eq!(found.kind(), Kind::Float, "{name}");
            let exact = value(loss(&half.to_kind(Kind::Double), &other.to_kind(Kind::Double)));
            assert!((f64::try_from(found).unwrap() - exact).abs() < 1e-5, "{name}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let message = |found: Result<Tensor>| found.unwrap_err().to_string();
    for (name, loss, least) in PAIRS {
        let found = message(loss(&wave(&[4, 3], 0.0), &wave(&[5, 3], 0.0)));
        let expected = "teacher features: expected shape [4, ..], as many samples as the student's, found [5, 3]";
        assert_eq!(found, expected, "{name}");
        if least > 1 {
            let few = wave(&[least - 1, 3], 0.0);
            assert!(message(loss(&few, &few)).contains(&format!("at least {least} samples")));
        }
        let labels = Tensor::from_slice(&[1i64, 2, 3, 4]);
        assert!(message(loss(&labels, &labels)).contains("a float dtype"), "{name}");
        let empty = Tensor::zeros([0, 3], (Kind::Float, Device::Cpu));
        assert!(message(loss(&empty, &empty)).contains("at least one element"), "{name}");
    }
    let found = message(hint(&wave(&[4, 3], 0.0), &wave(&[4, 2], 0.0)));
    assert_eq!(found, "teacher features: expected shape [4, 3] as the student's, found [4, 2]");
    let found = message(attention_transfer(&wave(&[4, 3], 0.0), &wave(&[4, 3], 0.0)));
    assert!(found.contains("[samples, channels, height, width]"), "{found}");
    let found = message(attention_transfer(&wave(&[2, 3, 2, 2], 0.0), &wave(&[2, 3, 4, 1], 0.0)));
    assert!(found.contains("[2, channels, 2, 2]"), "{found}");
    for gamma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let found =
            message(correlation_congruence(&wave(&[4, 3], 0.0), &wave(&[4, 3], 0.0), gamma));
        assert!(found.contains("gamma of a correlation"), "{found}");
    }
}
