//! Losses on logits against formulas in f64 that are written out here, against finite differences, and at their edges.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests, outside `#[test]` functions.

mod edges;
mod kinds;
mod reference;
mod settings;
mod teachers;
mod tokens;

use softlabel_core::Temperature;
use softlabel_distill::{Distillation, SoftLoss};
use softlabel_losses::{CrossEntropy, Target};
use tch::{Device, Kind, Tensor};

/// Numbers without a pattern, of size 3.
fn wave(shape: &[i64], phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.sin() * 3.0).view(shape)
}

fn labels(count: i64, classes: i64) -> Tensor {
    (Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 3 + 1).remainder(classes)
}

fn temperature(value: f64) -> Temperature {
    Temperature::new(value).unwrap()
}

/// The soft term alone, with weight 1.
fn soft(loss: impl Into<SoftLoss>, t: f64) -> Distillation {
    Distillation::new(temperature(t), 1.0, 0.0).unwrap().with_loss(loss).unwrap()
}

/// The mean of a batch whose labels are [`labels`].
fn forward(distillation: &Distillation, student: &Tensor, teacher: &Tensor) -> Tensor {
    let size = student.size();
    let labels = labels(size[0], size[1]);
    distillation.forward(student, teacher, &CrossEntropy::new(), Target::Hard(&labels)).unwrap()
}

fn number(tensor: &Tensor) -> f64 {
    f64::try_from(tensor).unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    number(&tensor.to_kind(Kind::Double).abs().max())
}

/// Value and gradient.
fn backward(at: &Tensor, value: impl Fn(&Tensor) -> Tensor) -> (f64, Tensor) {
    let at = at.copy().set_requires_grad(true);
    let value = value(&at);
    value.backward();
    (number(&value), at.grad())
}

fn table(rows: &Tensor) -> Vec<Vec<f64>> {
    let rows = rows.to_kind(Kind::Double);
    (0..rows.size()[0]).map(|row| Vec::try_from(rows.get(row)).unwrap()).collect()
}
