//! Cross-entropy over hard, smoothed, soft and mixed targets.
//!
//! For logits x of one sample, scores z = a·x, or c·tanh(a·x/c) under a cap c, log-probabilities l = z − lse(z), its
//! target t (see [`Target`] and [`Smoothing`]), class weights w (1 if none) and the coefficient ζ of the z-loss:
//!
//! ```text
//! loss = −Σ_k w_k·t_k·l_k + ζ·lse(z)²
//! ```
//!
//! Shapes: logits `[.., K]` or `[N, K, d1, ..]` (see [`ClassAxis`]); labels without the class axis; soft rows as the
//! logits. Losses accumulate in f32, or f64 for f64 logits.
//!
//! With class weights the smoothing mass is weighted too, class by class, as in PyTorch; the z-loss is not.
//! A −∞ logit costs nothing where the target has no mass and is an infinite loss where it has; with a soft cap c it is
//! −c, and no mask any more.
//!
//! # How it is computed
//!
//! On CPU tensors by the fused kernels of [`softlabel_kernels::rows`]: the logits are read once, and the gradient, which
//! is computed with the loss, is written once, into a buffer of its own or [over the
//! logits](CrossEntropy::forward_in_place). No row of a target that is described by its labels is built, and no
//! log-probability is kept. What is neither contiguous nor `[N, K, ..]` with the classes second is copied first.
//! On other devices, and [where it is asked for](CrossEntropy::with_second_derivatives), by libtorch's operators.
//!
//! # Sources
//!
//! Label smoothing: Szegedy et al. 2016. z-loss: Chowdhery et al. 2022 ("PaLM", section 5). Soft-capped logits: Gemma
//! Team 2024 ("Gemma 2"). The reductions are those of [`RowLosses`].

mod allowed;
mod fused;
mod linear;
mod numbers;
mod operators;
mod plan;
mod prepare;
mod target;

pub(crate) use allowed::{checked_mask, class_last_mask};

use std::sync::{Arc, OnceLock};

use softlabel_core::Reduction;
use softlabel_kernels::rows::Options;
use softlabel_targets::Smoothing;
use softlabel_tensor::{ClassAxis, class_last, contiguous};
use tch::{Device, Kind, Tensor};

use self::fused::{Place, Wanted};
pub use self::linear::LinearCrossEntropy;
use self::plan::Plan;
use self::prepare::{Prepared, Way};
pub use self::target::Target;
use crate::row_losses::divisor;
use crate::{Result, RowLosses};

/// What is done to logits before the softmax, and to lse after it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct LogitOptions {
    scale: f64,
    softcap: Option<f64>,
    z_loss: f64,
}

impl Default for LogitOptions {
    fn default() -> Self {
        Self { scale: 1.0, softcap: None, z_loss: 0.0 }
    }
}

impl LogitOptions {
    fn for_kernels(&self) -> Options {
        Options { scale: self.scale, softcap: self.softcap, z_loss: self.z_loss }
    }
}

/// A loss, and what else is known once it has been computed.
#[derive(Debug)]
#[non_exhaustive]
pub struct CrossEntropyOutput {
    /// What [`CrossEntropy::forward`] returns.
    pub loss: Tensor,
    /// lse(z) of every sample in the shape of the labels, without gradient; 0 where a sample is ignored.
    /// Nothing if it was not asked for.
    pub log_sum_exp: Option<Tensor>,
    /// Whether the label is the (first) largest logit: bool, in the shape of the labels, false where a sample is
    /// ignored. Of mixed labels it is the first. Nothing if it was not asked for, and for soft targets.
    pub correct: Option<Tensor>,
}

/// Cross-entropy, configured once and used for every batch.
///
/// ```
/// use softlabel_losses::{ClassAxis, CrossEntropy, Reduction, Target};
/// use tch::{Device, Kind, Tensor};
///
/// // Dense prediction: 2 images, 4 classes, 3×3 pixels; unlabelled pixels are -1.
/// let logits = Tensor::zeros([2, 4, 3, 3], (Kind::Float, Device::Cpu));
/// let labels = Tensor::full([2, 3, 3], -1, (Kind::Int64, Device::Cpu));
/// let _ = labels.get(0).fill_(2);
/// let loss = CrossEntropy::new()
///     .with_class_axis(ClassAxis::Second)
///     .with_ignore_index(-1)
///     .with_reduction(Reduction::None)
///     .forward(&logits, Target::Hard(&labels))?;
/// assert_eq!(loss.size(), [2, 3, 3]);
/// assert!((loss.double_value(&[0, 0, 0]) - 4f64.ln()).abs() < 1e-6);
/// assert_eq!(loss.double_value(&[1, 0, 0]), 0.0);
/// # Ok::<(), softlabel_losses::Error>(())
/// ```
///
/// A clone shares what was worked out of the smoothing and the class weights, K² numbers for a prior that is a matrix.
#[derive(Debug, Default)]
pub struct CrossEntropy {
    smoothing: Arc<Smoothing>,
    reduction: Reduction,
    class_axis: ClassAxis,
    ignore_index: Option<i64>,
    class_weights: Option<Tensor>,
    options: LogitOptions,
    second_derivatives: bool,
    /// Of the first class count that was seen, by this loss and by those that differ from it in how they reduce.
    plan: Arc<OnceLock<Arc<Plan>>>,
}

impl CrossEntropy {
    /// No smoothing, no weights, nothing ignored, class axis last, mean over the samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Smooths every target, hard or soft.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: Smoothing) -> Self {
        self.set_smoothing(smoothing);
        self
    }

    /// Smooths every target by something else from here on, as a schedule does from step to step. Clones that were
    /// made before keep theirs. The same smoothing again costs nothing but the comparison.
    ///
    /// ```
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use softlabel_targets::Smoothing;
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[2.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let mut loss = CrossEntropy::new();
    /// let hard = f64::try_from(loss.forward(&logits, Target::Hard(&label))?)?;
    /// loss.set_smoothing(Smoothing::mixture(0.1)?);
    /// let smoothed = f64::try_from(loss.forward(&logits, Target::Hard(&label))?)?;
    /// // LS = CE + ε·(z_y − mean z).
    /// assert!((smoothed - (hard + 0.1 * (2.0 - 1.0))).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_smoothing(&mut self, smoothing: Smoothing) {
        if *self.smoothing != smoothing {
            self.smoothing = Arc::new(smoothing);
            self.plan = Arc::default();
        }
    }

    /// How the losses of the samples become one number.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Where the class axis of the logits (and of soft targets) lies.
    #[must_use]
    pub fn with_class_axis(mut self, class_axis: ClassAxis) -> Self {
        self.class_axis = class_axis;
        self
    }

    /// Samples with this label count for nothing: loss and gradient are exactly 0, whatever their logits hold.
    /// The index may be a class or lie outside 0..K. It does not apply to soft targets, which have
    /// [`Target::Masked`].
    #[must_use]
    pub fn with_ignore_index(mut self, ignore_index: i64) -> Self {
        self.ignore_index = Some(ignore_index);
        self
    }

    /// One weight a class, `[K]`, not negative, on the device of the logits.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // Another handle may still write to what is given away.
    pub fn with_class_weights(mut self, class_weights: Tensor) -> Self {
        self.class_weights = Some(class_weights.copy());
        self.plan = Arc::default();
        self
    }

    /// Multiplies the logits by a number: 1/T for a temperature T, 1/√D for unscaled products.
    ///
    /// # Errors
    /// Unless it is in [1e-30, 1e30], which f32 has room for.
    pub fn with_logit_scale(mut self, scale: f64) -> Result<Self> {
        crate::check::factor("the scale of the logits", scale)?;
        self.options.scale = scale;
        Ok(self)
    }

    /// Keeps the scaled logits within ±`cap`, smoothly: c·tanh(z/c). A logit of −∞ becomes −c, and its class is masked
    /// no more: where classes are masked, cap the logits before that.
    ///
    /// # Errors
    /// Unless it is in [1e-30, 1e30], which f32 has room for.
    pub fn with_softcap(mut self, cap: f64) -> Result<Self> {
        crate::check::factor("the cap of the logits", cap)?;
        self.options.softcap = Some(cap);
        Ok(self)
    }

    /// Adds ζ·lse(z)² to the loss of every sample that counts, which keeps logits from drifting off together.
    /// Class weights do not touch it.
    ///
    /// # Errors
    /// Unless it is finite and not negative.
    ///
    /// ```
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[1i64]);
    /// let loss = CrossEntropy::new().with_z_loss(0.5)?.forward(&logits, Target::Hard(&label))?;
    /// let lse = 2f64.ln();
    /// assert!((f64::try_from(loss)? - (lse + 0.5 * lse * lse)).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_z_loss(mut self, coefficient: f64) -> Result<Self> {
        crate::check::not_negative("the coefficient of the z-loss", coefficient)?;
        self.options.z_loss = coefficient;
        Ok(self)
    }

    /// Computes through libtorch's operators on the CPU too, slower and in several times the memory, so that the
    /// gradient can be differentiated again: for gradient penalties and second-order methods. The values are the same
    /// but for rounding. The fused kernels' gradient has no second derivative: asking for it is an error.
    #[must_use]
    pub fn with_second_derivatives(mut self) -> Self {
        self.second_derivatives = true;
        self
    }

    /// The smoothing.
    pub fn smoothing(&self) -> &Smoothing {
        &self.smoothing
    }

    /// Where the class axis of the logits lies.
    pub fn class_axis(&self) -> ClassAxis {
        self.class_axis
    }

    /// How the losses of the samples become one number.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// The label of samples that count for nothing.
    pub fn ignore_index(&self) -> Option<i64> {
        self.ignore_index
    }

    /// The weights of the classes.
    pub fn class_weights(&self) -> Option<&Tensor> {
        self.class_weights.as_ref()
    }

    /// The loss: a scalar, or one value a sample under [`Reduction::None`].
    ///
    /// # Errors
    /// Shapes, dtypes or devices that do not fit; a label outside 0..K (with its position); soft rows that are no
    /// distributions; shares or epsilons outside [0, 1]; weights that are negative, NaN or of another count; a mean over
    /// no samples at all (where libtorch returns NaN).
    pub fn forward(&self, logits: &Tensor, target: Target<'_>) -> Result<Tensor> {
        self.forward_weighted(logits, target, 1.0)
    }

    /// The loss times a number: the same as multiplying it, without the pass over the gradient that this would take in
    /// backward.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and for a weight that is not finite.
    ///
    /// ```
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2)).set_requires_grad(true);
    /// let label = Tensor::from_slice(&[1i64]);
    /// let loss = CrossEntropy::new().forward_weighted(&logits, Target::Hard(&label), 0.5)?;
    /// assert!((f64::try_from(&loss)? - 0.5 * 2f64.ln()).abs() < 1e-15);
    /// loss.backward();
    /// assert_eq!(Vec::<f64>::try_from(logits.grad().flatten(0, -1))?, [0.25, -0.25]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_weighted(
        &self,
        logits: &Tensor,
        target: Target<'_>,
        weight: f64,
    ) -> Result<Tensor> {
        crate::check::finite("the weight of a loss", weight)?;
        Ok(self.compute(logits.shallow_clone(), target, Asked::Loss, weight)?.loss)
    }

    /// The loss with lse and correctness of every sample, which cost no second pass over the logits.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// ```
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::{Kind, Tensor};
    ///
    /// let logits = Tensor::from_slice(&[0.0f32, 0.0, 3.0, 0.0]).view((2, 2));
    /// let labels = Tensor::from_slice(&[0i64, 1]);
    /// let output = CrossEntropy::new().forward_with_statistics(&logits, Target::Hard(&labels))?;
    /// let correct = output.correct.expect("there are labels");
    /// assert_eq!(f64::try_from(correct.to_kind(Kind::Float).mean(Kind::Float))?, 0.5);
    /// let lse = output.log_sum_exp.expect("it was asked for");
    /// assert!((lse.double_value(&[0]) - 2f64.ln()).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_with_statistics(
        &self,
        logits: &Tensor,
        target: Target<'_>,
    ) -> Result<CrossEntropyOutput> {
        self.compute(logits.shallow_clone(), target, Asked::Statistics, 1.0)
    }

    /// The loss, with its gradient written over the logits: forward and backward together need no memory of the size
    /// of the logits.
    ///
    /// The logits have to be given up: contiguous, on the CPU, the only handle to their memory, and the result of an
    /// operation that does not hold them for its own gradient, as a matrix product does not and `exp` does. A linear
    /// layer on more than two axes may return a view, which is refused: flatten before it.
    /// If no gradient is asked for, and on other devices than the CPU, they are only read.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if the logits are not given up; they are unchanged then.
    ///
    /// ```
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::{Kind, Tensor};
    ///
    /// let hidden = Tensor::from_slice(&[1.0f64, 0.0]).view((1, 2));
    /// let weight = Tensor::from_slice(&[0.0f64; 4]).view((2, 2)).set_requires_grad(true);
    /// let label = Tensor::from_slice(&[1i64]);
    /// let loss = CrossEntropy::new().forward_in_place(hidden.matmul(&weight), Target::Hard(&label))?;
    /// loss.backward();
    /// assert_eq!(Vec::<f64>::try_from(weight.grad().flatten(0, -1))?, [0.5, -0.5, 0.0, 0.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_in_place(&self, logits: Tensor, target: Target<'_>) -> Result<Tensor> {
        Ok(self.compute(logits, target, Asked::InPlace, 1.0)?.loss)
    }

    /// A mask of the samples that count for nothing, in the shape of the labels; none where all count.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn ignored(&self, target: Target<'_>) -> Result<Option<Tensor>> {
        // As i64: an index that the labels' own dtype cannot hold would wrap around to a class.
        let of = |labels: &Tensor| -> Result<Option<Tensor>> {
            let Some(index) = self.ignore_index else { return Ok(None) };
            Ok(Some(labels.f_to_kind(Kind::Int64)?.f_eq(index)?))
        };
        Ok(match target {
            Target::Hard(labels)
            | Target::Smoothed { labels, .. }
            | Target::Allowed { labels, .. } => of(labels)?,
            Target::Mixed { first, second, .. } => match (of(first)?, of(second)?) {
                (Some(first), Some(second)) => Some(first.f_logical_or(&second)?),
                _ => None,
            },
            Target::Masked { counted, .. } => Some(counted.f_logical_not()?),
            Target::Soft(_) => None,
        })
    }

    /// The loss of every sample, and what a mean over them divides by.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), but for the mean.
    pub fn row_losses(&self, logits: &Tensor, target: Target<'_>) -> Result<RowLosses> {
        let rows = self.with_asked(Reduction::None).compute(
            logits.shallow_clone(),
            target,
            Asked::Loss,
            1.0,
        )?;
        let losses = RowLosses::new(rows.loss, self.ignored(target)?.as_ref())?;
        if self.class_weights.is_none() {
            return Ok(losses);
        }
        let last = class_last(logits, self.class_axis, "logits")?;
        let weighed = self.with_asked(Reduction::default());
        match Prepared::new(&weighed, &last, target, Way::Checked)?.weight_sum {
            None => Ok(losses),
            Some(sum) => Ok(losses.with_weight_sum(Tensor::from(sum))),
        }
    }

    /// The same loss for a batch that is class-last.
    pub(crate) fn in_batch(&self, ignore_index: Option<i64>) -> Self {
        Self { class_axis: ClassAxis::Last, ignore_index, ..self.clone() }
    }

    /// The rows of a target, `[.., K]`, uniform where a sample is ignored, and which samples are.
    pub(crate) fn target_rows(
        &self,
        logits: &Tensor,
        target: Target<'_>,
        kind: Kind,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let prepared = Prepared::new(self, logits, target, Way::Checked)?;
        let rows = operators::target_rows(&prepared, kind)?;
        let ignored = prepared.ignored()?;
        let rows = match &ignored {
            None => rows,
            Some(ignored) => {
                rows.f_masked_fill(&ignored.f_unsqueeze(-1)?, 1.0 / prepared.plan.classes as f64)?
            }
        };
        Ok((rows, ignored))
    }

    fn with_asked(&self, reduction: Reduction) -> Self {
        self.clone().with_reduction(reduction)
    }

    /// The targets of a class count.
    fn plan(&self, classes: usize) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plan.get().filter(|plan| plan.classes == classes) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(&self.smoothing, self.class_weights.as_ref(), classes)?);
        // A second class count is worked out every time.
        let _ = self.plan.set(Arc::clone(&plan));
        Ok(plan)
    }

    fn compute(
        &self,
        input: Tensor,
        target: Target<'_>,
        asked: Asked,
        weight: f64,
    ) -> Result<CrossEntropyOutput> {
        let last = class_last(&input, self.class_axis, "logits")?;
        let second = self.class_axis == ClassAxis::Second && input.dim() > 2;
        let fused = input.device() == Device::Cpu && !self.second_derivatives;
        let spatial = fused && second && input.is_contiguous();
        let way = if fused { Way::Kernels { spatial } } else { Way::Checked };
        let prepared = Prepared::new(self, &last, target, way)?;
        let divisor = divisor(self.reduction, prepared.counted, prepared.weight_sum)?;
        if !fused {
            let mut output = self.through_operators(&last, &prepared, divisor, asked)?;
            if weight != 1.0 {
                output.loss = output.loss.f_mul_scalar(weight)?;
            }
            return Ok(output);
        }
        let place = if spatial {
            let spatial = prepared.shape.iter().skip(1).product::<i64>();
            let spatial = usize::try_from(spatial).unwrap_or_default();
            let values = contiguous(&input)?;
            Place {
                values,
                spatial,
                class_axis: 1,
                moved: false,
                given_up: asked == Asked::InPlace,
                input,
            }
        } else {
            let values = contiguous(&last)?;
            let given_up = asked == Asked::InPlace;
            Place { values, spatial: 1, class_axis: -1, moved: second, given_up, input }
        };
        drop(last);
        let statistics = asked == Asked::Statistics;
        let wanted = Wanted { reduction: self.reduction, divisor, weight, statistics };
        fused::cross_entropy(place, &prepared, &self.options, wanted)
    }

    fn through_operators(
        &self,
        logits: &Tensor,
        prepared: &Prepared,
        divisor: f64,
        asked: Asked,
    ) -> Result<CrossEntropyOutput> {
        let statistics = asked == Asked::Statistics;
        let rows = operators::cross_entropy(logits, prepared, &self.options, statistics)?;
        let loss = match self.reduction {
            Reduction::None => rows.losses,
            _ => rows.losses.f_sum(rows.losses.f_kind()?)?.f_div_scalar(divisor)?,
        };
        Ok(CrossEntropyOutput { loss, log_sum_exp: rows.log_sum_exp, correct: rows.correct })
    }
}

impl Clone for CrossEntropy {
    fn clone(&self) -> Self {
        Self {
            smoothing: Arc::clone(&self.smoothing),
            // They were copied when they were given, and nobody writes to them.
            class_weights: self.class_weights.as_ref().map(Tensor::shallow_clone),
            plan: Arc::clone(&self.plan),
            ..*self
        }
    }
}

/// What to compute, and whether the logits may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Loss,
    Statistics,
    InPlace,
}

/// Mean cross-entropy of hard labels, smoothed: what PyTorch computes as
/// `cross_entropy(logits, labels, label_smoothing=ε)` for `Smoothing::mixture(ε)`.
///
/// # Errors
/// As [`CrossEntropy::forward`].
///
/// ```
/// use softlabel_losses::cross_entropy;
/// use softlabel_targets::Smoothing;
/// use tch::Tensor;
///
/// let logits = Tensor::from_slice(&[0.0f32, 0.0, 0.0]).view((1, 3));
/// let loss = cross_entropy(&logits, &Tensor::from_slice(&[1i64]), &Smoothing::mixture(0.1)?)?;
/// assert!((f64::try_from(loss)? - 3f64.ln()).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: &Smoothing) -> Result<Tensor> {
    CrossEntropy::new().with_smoothing(smoothing.clone()).forward(logits, Target::Hard(labels))
}
