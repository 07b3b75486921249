//! Tensors without a random seed, and what is done with them.

use softlabel_losses::CrossEntropy;
use tch::{Device, Kind, Tensor};

/// Values that are neither ordered nor repeated, without libtorch's global seed.
pub(crate) fn wave(shape: &[i64], kind: Kind, phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.sin() * 3.0).view(shape).to_kind(kind)
}

pub(crate) fn cycling(shape: &[i64], classes: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    (Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 7).remainder(classes).view(shape)
}

/// Loss and gradient in the logits.
pub(crate) fn backward(logits: &Tensor, loss: impl Fn(&Tensor) -> Tensor) -> (f64, Tensor) {
    let logits = logits.copy().set_requires_grad(true);
    let loss = loss(&logits);
    loss.backward();
    (f64::try_from(&loss).unwrap(), logits.grad())
}

pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    f64::try_from((a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max()).unwrap()
}

/// How the values are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Fused,
    Operators,
}

pub(crate) const WAYS: [Way; 2] = [Way::Fused, Way::Operators];

impl Way {
    pub(crate) fn of(self, loss: CrossEntropy) -> CrossEntropy {
        match self {
            Way::Fused => loss,
            Way::Operators => loss.with_second_derivatives(),
        }
    }
}

pub(crate) fn rows_of(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}
