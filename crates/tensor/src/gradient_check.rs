//! The gradient of backward against central finite differences, in f64.
//!
//! For a function with output f(x) of any shape, the number L(x) = Σⱼ wⱼ·fⱼ(x) is differentiated, with fixed weights
//! wⱼ = cos(1.7·j) + 1.5 that are neither equal nor zero, so that gradients that are mixed up show.
//! For every element i of an input that requires grad, backward's ∂L/∂xᵢ is compared with
//! (L(x + h·eᵢ) − L(x − h·eᵢ)) / 2h. Its error is of order h² from the curvature and of order 2⁻⁵³·|L|/h from
//! rounding; a step of 1e-5 to 1e-6 balances them for values near 1.

use std::error::Error as StdError;

use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Where backward and finite differences are furthest apart, absolutely, for one input.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Deviation {
    /// The input.
    pub input: usize,
    /// The element of it, in row-major order.
    pub position: usize,
    /// The gradient of backward there.
    pub backward: f64,
    /// The finite difference there.
    pub difference: f64,
    /// |backward − difference|; infinite if either is not a number.
    pub absolute: f64,
    /// The absolute deviation over the largest |difference| of this input; infinite if all of them are 0 and the
    /// deviation is not.
    pub relative: f64,
}

/// What a [`gradient_check`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientCheck {
    deviations: Vec<Deviation>,
}

impl GradientCheck {
    /// The largest deviation of every input that requires grad, in the order of the inputs. Empty inputs have none.
    pub fn deviations(&self) -> &[Deviation] {
        &self.deviations
    }

    /// The largest of them, absolutely.
    pub fn worst(&self) -> Option<&Deviation> {
        self.deviations.iter().max_by(|a, b| a.absolute.total_cmp(&b.absolute))
    }

    /// Whether every input deviates by at most `absolute`, or by at most `relative` of its largest gradient.
    ///
    /// False if there was nothing to compare.
    pub fn is_within(&self, absolute: f64, relative: f64) -> bool {
        let within = |d: &Deviation| d.absolute <= absolute || d.relative <= relative;
        !self.deviations.is_empty() && self.deviations.iter().all(within)
    }
}

/// Compares the gradient of `function` with central finite differences of step `step`.
///
/// Every input that requires grad has to be f64, and is compared element by element, two evaluations each; other
/// inputs are passed on as they are. `function` gets copies, and its output may have any shape.
///
/// # Errors
/// [`Error::Kind`] if an input that requires grad, or the output, is not f64; [`Error::Other`] with what `function`
/// returns; [`Error::Torch`] with what backward says. That two gradients differ is not an error.
///
/// ```
/// use softlabel_tensor::gradient_check;
/// use tch::Tensor;
///
/// let x = Tensor::from_slice(&[0.5f64, -1.0]).set_requires_grad(true);
/// let check = gradient_check(|x: &[Tensor]| x[0].f_sin(), &[&x], 1e-5)?;
/// assert!(check.worst().is_some_and(|worst| worst.absolute < 1e-9));
///
/// // Cut out of the graph, sin(x) + x seems to have the gradient of x.
/// let wrong = gradient_check(|x: &[Tensor]| x[0].detach().sin().f_add(&x[0]), &[&x], 1e-5)?;
/// assert!(!wrong.is_within(0.5, 0.1));
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn gradient_check<F, E>(mut function: F, inputs: &[&Tensor], step: f64) -> Result<GradientCheck>
where
    F: FnMut(&[Tensor]) -> std::result::Result<Tensor, E>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut point = inputs.iter().map(|input| leaf(input)).collect::<Result<Vec<_>>>()?;
    let output = weighted(&mut function, &point)?;
    let wanted: Vec<usize> =
        (0..point.len()).filter(|&index| point[index].requires_grad()).collect();
    let leaves: Vec<_> = wanted.iter().map(|&index| &point[index]).collect();
    let gradients = if output.requires_grad() {
        Tensor::f_run_backward(&[&output], &leaves, false, false)?
    } else {
        leaves.iter().map(|leaf| leaf.f_zeros_like()).collect::<Result<_, _>>()?
    };
    let gradients = wanted
        .iter()
        .zip(&gradients)
        .map(|(&index, gradient)| {
            // Undefined where the output does not depend on the input.
            let gradient = if gradient.defined() {
                gradient.f_detach()?
            } else {
                point[index].f_zeros_like()?
            };
            values(&gradient)
        })
        .collect::<Result<Vec<_>>>()?;

    let mut deviations = Vec::new();
    for (&input, gradient) in wanted.iter().zip(gradients) {
        let (shape, device) = (point[input].size(), point[input].device());
        let at = values(&point[input])?;
        let mut differences = Vec::with_capacity(at.len());
        for position in 0..at.len() {
            let mut ends = [0.0; 2];
            for (end, sign) in ends.iter_mut().zip([1.0, -1.0]) {
                let mut moved = at.clone();
                moved[position] += sign * step;
                let moved = Tensor::f_from_slice(&moved)?.f_reshape(&shape)?.f_to_device(device)?;
                point[input] = moved.f_set_requires_grad(true)?;
                *end = f64::try_from(weighted(&mut function, &point)?.f_detach()?)?;
            }
            differences.push((ends[0] - ends[1]) / (2.0 * step));
        }
        point[input] = leaf(inputs[input])?;
        deviations.extend(furthest(input, &gradient, &differences));
    }
    Ok(GradientCheck { deviations })
}

/// A copy that gradients are taken in, or the input itself.
fn leaf(input: &Tensor) -> Result<Tensor> {
    if !input.requires_grad() {
        return Ok(input.shallow_clone());
    }
    let found = input.f_kind()?;
    if found != Kind::Double {
        return Err(Error::Kind { what: "input of a gradient check", expected: "f64", found });
    }
    Ok(input.f_detach()?.f_to_dtype(Kind::Double, false, true)?.f_set_requires_grad(true)?)
}

/// Σⱼ wⱼ·fⱼ.
fn weighted<F, E>(function: &mut F, inputs: &[Tensor]) -> Result<Tensor>
where
    F: FnMut(&[Tensor]) -> std::result::Result<Tensor, E>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let output = function(inputs).map_err(Error::other)?;
    let found = output.f_kind()?;
    if found != Kind::Double {
        return Err(Error::Kind { what: "output of a gradient check", expected: "f64", found });
    }
    let count = i64::try_from(output.numel()).unwrap_or(i64::MAX);
    let steps = Tensor::f_arange(count, (Kind::Double, output.device()))?;
    let weights = steps.f_mul_scalar(1.7)?.f_cos()?.f_add_scalar(1.5)?;
    Ok(output.f_reshape([-1])?.f_mul(&weights)?.f_sum(Kind::Double)?)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_reshape([-1])?;
    Ok(Vec::try_from(&flat)?)
}

fn furthest(input: usize, gradient: &[f64], differences: &[f64]) -> Option<Deviation> {
    let scale = differences.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let pairs = gradient.iter().zip(differences).enumerate();
    let deviations = pairs.map(|(position, (&backward, &difference))| {
        let apart = (backward - difference).abs();
        let absolute = if apart.is_nan() { f64::INFINITY } else { apart };
        let relative = if absolute == 0.0 { 0.0 } else { absolute / scale };
        Deviation { input, position, backward, difference, absolute, relative }
    });
    deviations.max_by(|a, b| a.absolute.total_cmp(&b.absolute))
}
