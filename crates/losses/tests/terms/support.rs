//! Deterministic inputs, and the ways to a value and its derivatives.

use softlabel_losses::{Batch, LossOptions, LossTerm, Reduction, Target};
use tch::{Device, Kind, Tensor};

pub(crate) const CLASSES: i64 = 5;

/// Values that are neither ordered nor repeated, without libtorch's global seed.
pub(crate) fn wave(shape: &[i64], phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.sin() * 3.0).view(shape)
}

pub(crate) fn cycling(shape: &[i64], classes: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    (Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 7).remainder(classes).view(shape)
}

pub(crate) fn soft_rows(rows: i64) -> Tensor {
    wave(&[rows, CLASSES], 0.4).softmax(-1, Kind::Double)
}

/// How often sample `i` was right: elevenths, each different from its neighbours'.
pub(crate) fn correctness(samples: i64) -> Vec<f64> {
    (0..samples).map(|i| f64::from(u8::try_from(i * 4 % 11).unwrap()) / 11.0).collect()
}

pub(crate) fn with_reduction(reduction: Reduction) -> LossOptions {
    LossOptions { reduction, ..LossOptions::default() }
}

/// The loss of a batch that knows of past correctness.
pub(crate) fn value(
    loss: &dyn LossTerm,
    logits: &Tensor,
    target: Target<'_>,
    options: &LossOptions,
    correctness: &[f64],
) -> Tensor {
    let batch = Batch::with_options(logits, target, options).unwrap();
    let batch = batch.with_correctness(correctness).unwrap();
    loss.term(&batch).unwrap().reduce(options.reduction, loss.name()).unwrap()
}

/// Loss and gradient in the logits.
pub(crate) fn backward(logits: &Tensor, loss: impl Fn(&Tensor) -> Tensor) -> (Tensor, Tensor) {
    let logits = logits.copy().set_requires_grad(true);
    let loss = loss(&logits);
    loss.sum(loss.kind()).backward();
    (loss.detach(), logits.grad())
}

/// Central differences of a function with one value, in f64.
pub(crate) fn finite_differences(at: &Tensor, of: impl Fn(&Tensor) -> f64) -> Tensor {
    const STEP: f64 = 1e-6;
    let slopes = (0..at.numel() as i64).map(|index| {
        let offset = Tensor::zeros([at.numel() as i64], (Kind::Double, Device::Cpu));
        let _ = offset.get(index).fill_(STEP);
        let offset = offset.view(at.size().as_slice());
        (of(&(at + &offset)) - of(&(at - &offset))) / (2.0 * STEP)
    });
    Tensor::from_slice(&slopes.collect::<Vec<_>>()).view(at.size().as_slice())
}

pub(crate) fn number(tensor: &Tensor) -> f64 {
    f64::try_from(tensor).unwrap()
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    number(&(a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max())
}
