//! An activation in plain Rust with a gradient of its own: SiLU, x·σ(x), beside libtorch's, and in a network.

use std::f64::consts::PI;

use anyhow::Result;
use softlabel::tensor::autograd::{Node, Saved};
use softlabel::tensor::buffers::uninit;
use softlabel::tensor::slices::{slice, uninit_slice_mut};
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Kind, Tensor, nn};

fn main() -> Result<()> {
    let steps = if std::env::args().any(|argument| argument == "--quick") { 20 } else { 500 };

    let x = Tensor::linspace(-6.0, 6.0, 1001, (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let (ours, theirs) = (silu(&x)?, x.silu());
    let gradient =
        |y: &Tensor| Tensor::run_backward(&[y.sum(Kind::Float)], &[&x], false, false).remove(0);
    println!("furthest from libtorch's silu: {:.1e}", apart(&ours, &theirs)?);
    println!("and in the gradient:           {:.1e}", apart(&gradient(&ours), &gradient(&theirs))?);

    tch::manual_seed(0);
    let store = nn::VarStore::new(Device::Cpu);
    let hidden = nn::linear(store.root() / "hidden", 1, 32, nn::LinearConfig::default());
    let output = nn::linear(store.root() / "output", 32, 1, nn::LinearConfig::default());
    let mut optimizer = nn::Adam::default().build(&store, 0.01)?;
    let x = Tensor::linspace(-PI, PI, 256, (Kind::Float, Device::Cpu)).view((-1, 1));
    for step in 0..=steps {
        let found = output.forward(&silu(&hidden.forward(&x))?);
        let error = found.mse_loss(&x.sin(), tch::Reduction::Mean);
        if step % steps == 0 {
            println!(
                "sine after {step:>3} steps: mean squared error {:.5}",
                f64::try_from(&error)?
            );
        }
        optimizer.backward_step(&error);
    }
    Ok(())
}

/// One pass forward, one backward, and nothing is kept but the input.
fn silu(x: &Tensor) -> softlabel::tensor::Result<Tensor> {
    let node = Node::new("Silu", &[x])?;
    let output = map(x, x, |x, _| x * sigmoid(x))?;
    node.attach_one(output, &[Saved::Tensor(x)], |backward| {
        let Some(gradient) = backward.gradient(0) else { return Ok(vec![None]) };
        let slope = |x: f32| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
        Ok(vec![Some(map(&backward.saved()[0], gradient, |x, gradient| slope(x) * gradient)?)])
    })
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A new tensor from two of the same shape, element by element.
fn map(
    a: &Tensor,
    b: &Tensor,
    function: impl Fn(f32, f32) -> f32,
) -> softlabel::tensor::Result<Tensor> {
    // Slices ask for contiguous tensors; a gradient may come in any layout.
    let (a, b) = (a.f_contiguous()?, b.f_contiguous()?);
    let mut result = uninit::<f32>(&a.size())?;
    let pairs = slice::<f32>(&a)?.iter().zip(slice::<f32>(&b)?);
    for (to, (&a, &b)) in uninit_slice_mut::<f32>(&mut result)?.iter_mut().zip(pairs) {
        to.write(function(a, b));
    }
    Ok(result)
}

fn apart(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(f64::try_from((a - b).abs().max())?)
}
