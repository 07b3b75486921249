//! Functions with a gradient of their own: nodes of libtorch's graph whose backward is a Rust closure.
//!
//! An operation put together from libtorch's own keeps what each of them needs for its gradient, and reads and writes
//! memory once for each. Where the gradient is known in closed form, the value can be computed in any way that suits,
//! in plain Rust on [slices](crate::slices) for example, and the gradient be given by a closure.
//! The result is a tensor like any other: `backward`, optimizers and other operations do not see a difference, on the
//! CPU and on CUDA.
//!
//! The softplus f(x) = ln(1 + eˣ) has the gradient f′(x) = σ(x):
//!
//! ```
//! use softlabel_tensor::autograd::differentiable;
//! use softlabel_tensor::{Result, gradient_check};
//! use tch::{Kind, Tensor};
//!
//! fn softplus(x: &Tensor) -> Result<Tensor> {
//!     differentiable(
//!         "Softplus",
//!         &[x],
//!         |inputs| Ok(inputs[0].f_exp()?.f_log1p()?),
//!         |backward| {
//!             let slope = backward.saved()[0].f_sigmoid()?;
//!             Ok(vec![backward.gradient(0).map(|gradient| gradient.f_mul(&slope)).transpose()?])
//!         },
//!     )
//! }
//!
//! let x = Tensor::from_slice(&[-1.0f64, 0.0, 2.0]).set_requires_grad(true);
//! let y = softplus(&x)?;
//! y.sum(Kind::Double).backward();
//! assert!((y.double_value(&[1]) - 2f64.ln()).abs() < 1e-15);
//! assert_eq!(x.grad().double_value(&[1]), 0.5);
//!
//! let check = gradient_check(|x: &[Tensor]| softplus(&x[0]), &[&x], 1e-5)?;
//! assert!(check.is_within(1e-9, 1e-7));
//! # Ok::<(), softlabel_tensor::Error>(())
//! ```
//!
//! [`differentiable`] is for one output that saves its inputs. For several outputs, for outputs without gradient, for
//! what else is to be saved, make a [`Node`], compute, and [attach](Node::attach) the outputs. Where the gradient comes
//! for free with the value, a [`KnownGradient`] is all that is to be kept.
//!
//! # What holds
//!
//! - The closure is called once a backward, on the thread that runs it: the calling thread for CPU tensors, a thread
//!   of libtorch's for CUDA. It is never called twice at a time. Grad mode is off in it, unless the backward is to be
//!   differentiable.
//! - It is dropped exactly once: after the first backward that does not keep the graph, or with the last tensor of
//!   the graph. What it holds lives as long, so it may hold a gradient that forward has computed already.
//! - Outputs belong to [`Saved::Output`], never into the closure: a closure that holds an output of its own node
//!   keeps itself alive for ever.
//! - An error or a panic in the closure is an error of `f_backward` and `f_run_backward` (a panic of `backward`) whose
//!   message names the node.
//! - A gradient has to have the shape, the dtype and the device of its input; libtorch would sum and convert silently.
//! - A second derivative is an error, unless the closure says that it is differentiable itself:
//!   [`Node::differentiable_backward`].
//! - Forward-mode derivatives and `vmap` of libtorch are not supported.

mod call;
mod known;
mod node;

pub use call::Backward;
pub use known::KnownGradient;
pub use node::{Node, Saved, bump_version};
use tch::{Tensor, no_grad_guard};

use crate::Result;

/// A function of `inputs` with one output, whose gradient `backward` computes.
///
/// `forward` runs at once, without recording, on the inputs as they were given.
/// The inputs are saved: in `backward`, [`Backward::saved`] are the inputs, in order. It returns one gradient an input;
/// `None` for those that need none. See the [module](self) for an example and for what holds.
///
/// # Errors
/// What `forward` returns; [`Error::Node`](crate::Error::Node) if its output has a gradient history.
pub fn differentiable<F, B>(
    name: &str,
    inputs: &[&Tensor],
    forward: F,
    backward: B,
) -> Result<Tensor>
where
    F: FnOnce(&[&Tensor]) -> Result<Tensor>,
    B: FnMut(&mut Backward<'_>) -> Result<Vec<Option<Tensor>>> + Send + 'static,
{
    let node = Node::new(name, inputs)?;
    let output = {
        let _guard = no_grad_guard();
        forward(inputs)?
    };
    let saved: Vec<_> = inputs.iter().map(|&input| Saved::Tensor(input)).collect();
    node.attach_one(output, &saved, backward)
}
