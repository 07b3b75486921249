//! Autograd nodes in Rust against libtorch's own, and everything that may go wrong in them.
#![allow(clippy::unwrap_used, clippy::unnecessary_wraps)] // Helpers of tests, outside `#[test]` functions.

mod failures;
mod gradients;
mod memory;
mod threads;

use softlabel_tensor::autograd::{Backward, differentiable};
use softlabel_tensor::{Error, Result};
use tch::{Device, Kind, TchError, Tensor};

fn values(values: &[f64]) -> Tensor {
    Tensor::from_slice(values)
}

fn leaf(from: &[f64]) -> Tensor {
    values(from).set_requires_grad(true)
}

fn list(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_device(Device::Cpu).flatten(0, -1)).unwrap()
}

/// x², with the gradient 2·x·g.
fn square(x: &Tensor) -> Result<Tensor> {
    differentiable("Square", &[x], |inputs| Ok(inputs[0].f_square()?), square_backward)
}

fn square_backward(backward: &mut Backward<'_>) -> Result<Vec<Option<Tensor>>> {
    let gradient = backward.gradient(0).unwrap();
    Ok(vec![Some(gradient.f_mul(&backward.saved()[0])?.f_mul_scalar(2.0)?)])
}

/// The gradients of the sum of `output` in `inputs`.
fn gradients(output: &Tensor, inputs: &[&Tensor], keep: bool) -> Vec<Tensor> {
    Tensor::run_backward(&[output.sum(Kind::Double)], inputs, keep, false)
}

fn message(error: TchError) -> String {
    let text = Error::from(error).to_string();
    text.strip_prefix("libtorch: Internal torch error: ").unwrap().to_owned()
}

/// What backward says when it fails, without the C++ stack.
fn failure(output: &Tensor) -> String {
    message(output.sum(Kind::Double).f_backward().unwrap_err())
}
