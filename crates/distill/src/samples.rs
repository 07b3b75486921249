//! Numbers of single samples on their way into a loss, and what a loss of many samples comes to before it is divided.

use tch::Tensor;

/// What is one number a sample in a batch, in row-major order of the samples.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_distill::{Distillation, Samples};
/// use softlabel_losses::{CrossEntropy, Reduction, Target};
/// use tch::Tensor;
///
/// let teacher = Tensor::from_slice(&[3f64.ln(), 0.0, 3f64.ln(), 0.0]).view((2, 2));
/// let student = Tensor::from_slice(&[0.0f64; 4]).view((2, 2));
/// let labels = Tensor::from_slice(&[0i64, 0]);
/// let hard = CrossEntropy::new().with_reduction(Reduction::None);
/// let samples = Samples { soft_weights: Some(&[1.0, 0.5]), ..Samples::default() };
/// let rows = Distillation::new(Temperature::ONE, 1.0, 0.0)?
///     .forward_samples(&student, &teacher, &hard, Target::Hard(&labels), samples)?;
/// assert_eq!(rows.double_value(&[0]), 2.0 * rows.double_value(&[1]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Samples<'a> {
    /// T of every sample, in the place of the one temperature. Positive and finite.
    pub temperatures: Option<&'a [f64]>,
    /// What the soft loss of every sample is multiplied by, besides the soft weight. Finite and not negative.
    /// A mean still divides by the number of samples.
    pub soft_weights: Option<&'a [f64]>,
}

/// Sums over the samples that count, and how many these are.
///
/// Batches of different size, or gradients that are accumulated over several, are put together exactly: Σ sums / Σ
/// counts. A mean of means is not that.
#[derive(Debug)]
#[non_exhaustive]
pub struct DistillationSums {
    /// soft_weight · Σ soft + hard_weight · Σ hard, differentiable.
    pub loss: Tensor,
    /// Σ of the soft losses before their weight, detached; nothing if the weight is 0.
    pub soft: Option<Tensor>,
    /// Σ of the hard losses before their weight, detached; nothing if the weight is 0.
    pub hard: Option<Tensor>,
    /// The samples that count.
    pub count: f64,
}
