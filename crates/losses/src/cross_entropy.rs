//! Cross-entropy over hard, smoothed and soft targets.
//!
//! For logits z of one sample, log-probabilities l = z − lse(z), target distribution q (a one-hot row or a soft row),
//! smoothing share ε (see [`Smoothing`]) and class weights w (1 if none):
//!
//! ```text
//! loss = −Σ_k w_k · ((1 − ε)·q_k + ε/K) · l_k
//! ```
//!
//! Shapes: logits `[.., K]` or `[N, K, d1, ..]` (see [`ClassAxis`]); hard labels without the class axis; soft targets
//! as the logits. Losses accumulate in f32, or f64 for f64 logits.
//!
//! With class weights the smoothing mass is weighted too, class by class, as in PyTorch.
//! A −∞ logit costs nothing where the target has no mass and is an infinite loss where it has.
//!
//! Source of the smoothing: Szegedy et al. 2016. The reductions are those of [`RowLosses`].

use softlabel_core::{Error as CoreError, Reduction};
use softlabel_targets::Smoothing;
use softlabel_tensor::{
    ClassAxis, Error as TensorError, check_labels, check_same_device, check_soft_rows, class_last,
};
use tch::{Kind, Tensor};

use crate::{Result, RowLosses};

/// What a batch of logits should have said.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// Class indices of any integer dtype, in the shape of the logits without the class axis.
    Hard(&'a Tensor),
    /// Distributions over the classes in the shape of the logits, each summing to 1 within 1e-3.
    Soft(&'a Tensor),
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
#[derive(Debug, Default)]
pub struct CrossEntropy {
    smoothing: Smoothing,
    reduction: Reduction,
    class_axis: ClassAxis,
    ignore_index: Option<i64>,
    class_weights: Option<Tensor>,
}

impl CrossEntropy {
    /// No smoothing, no weights, nothing ignored, class axis last, mean over the samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Smooths every target, hard or soft.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: Smoothing) -> Self {
        self.smoothing = smoothing;
        self
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
    /// The index may be a class or lie outside 0..K. It does not apply to soft targets.
    #[must_use]
    pub fn with_ignore_index(mut self, ignore_index: i64) -> Self {
        self.ignore_index = Some(ignore_index);
        self
    }

    /// One weight a class, `[K]`, not negative, on the device of the logits.
    #[must_use]
    pub fn with_class_weights(mut self, class_weights: Tensor) -> Self {
        self.class_weights = Some(class_weights);
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
    /// distributions; weights that are negative, NaN or of another count; a mean over no samples at all
    /// (where libtorch returns NaN).
    pub fn forward(&self, logits: &Tensor, target: Target<'_>) -> Result<Tensor> {
        let logits = class_last(logits, self.class_axis, "logits")?;
        let weights = self.class_weights.as_ref().map(|w| check_weights(w, &logits)).transpose()?;
        let losses = match target {
            Target::Hard(labels) => self.hard(&logits, labels, weights.as_ref())?,
            Target::Soft(rows) => self.soft(&logits, rows, weights.as_ref())?,
        };
        losses.reduce(self.reduction)
    }

    /// A mask of the samples that count for nothing, in the shape of the labels; none where all count.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn ignored(&self, target: Target<'_>) -> Result<Option<Tensor>> {
        match (target, self.ignore_index) {
            (Target::Hard(labels), Some(index)) => Ok(Some(labels.f_eq(index)?)),
            _ => Ok(None),
        }
    }

    fn hard(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<RowLosses> {
        let labels = check_labels(labels, logits, self.ignore_index)?;
        let ignored = self.ignored(Target::Hard(&labels))?;
        // An ignored row is replaced before anything is computed from it: no NaN in, exactly 0 out.
        let (logits, labels) = match &ignored {
            None => (logits.shallow_clone(), labels),
            Some(ignored) => (
                logits.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?,
                labels.f_masked_fill(ignored, 0)?,
            ),
        };
        let classes = class_count(&logits);
        let share = self.smoothing.uniform_share(classes)?;
        if weights.is_none() && share < 1.0 {
            return RowLosses::new(libtorch_losses(&logits, &labels, share)?, ignored.as_ref());
        }
        let log_p = log_softmax(&logits)?;
        let at_label = labels.f_unsqueeze(-1)?;
        let label_log_p = log_p.f_gather(-1, &at_label, false)?.f_squeeze_dim(-1)?;
        let label_weights = weights.map(|weights| weights.f_take(&labels)).transpose()?;
        let label_losses = match &label_weights {
            None => label_log_p.f_neg()?,
            Some(weights) => weigh(&label_log_p, weights)?.f_neg()?,
        };
        let losses = if share == 0.0 {
            label_losses
        } else if share <= 1.0 {
            mix(&label_losses, &weighted_mean(&log_p, weights)?.f_neg()?, share)?
        } else {
            // The label has less than the others have: it is left out of their sum, so that no infinity meets another.
            let masses = self.smoothing.weights(classes)?;
            let others = log_p.f_scatter_value(-1, &at_label, 0.0)?;
            let others = weighted_mean(&others, weights)?;
            let others = others.f_mul_scalar(-masses.other * classes as f64)?;
            if masses.label == 0.0 {
                others
            } else {
                others.f_add(&label_losses.f_mul_scalar(masses.label)?)?
            }
        };
        let losses = RowLosses::new(losses, ignored.as_ref())?;
        match label_weights {
            None => Ok(losses),
            Some(weights) => {
                let counted = match &ignored {
                    None => weights,
                    Some(ignored) => weights.f_masked_fill(ignored, 0.0)?,
                };
                Ok(losses.with_weight_sum(counted.f_sum(counted.f_kind()?)?))
            }
        }
    }

    fn soft(&self, logits: &Tensor, rows: &Tensor, weights: Option<&Tensor>) -> Result<RowLosses> {
        let rows = class_last(rows, self.class_axis, "soft targets")?;
        check_soft_rows(&rows, logits)?;
        let log_p = log_softmax(logits)?;
        let kind = log_p.f_kind()?;
        let weighted_rows = match weights {
            None => rows.f_to_kind(kind)?,
            Some(weights) => rows.f_to_kind(kind)?.f_mul(weights)?,
        };
        let terms = weigh(&log_p, &weighted_rows)?;
        let mut losses = terms.f_sum_dim_intlist([-1_i64].as_slice(), false, kind)?.f_neg()?;
        let share = self.smoothing.uniform_share(class_count(logits))?;
        if share != 0.0 {
            losses = mix(&losses, &weighted_mean(&log_p, weights)?.f_neg()?, share)?;
        }
        let losses = RowLosses::new(losses, None)?;
        match weights {
            None => Ok(losses),
            Some(_) => Ok(losses.with_weight_sum(weighted_rows.f_sum(kind)?)),
        }
    }
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

/// In f32 or better.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
    Ok(logits.f_log_softmax(-1, kind)?)
}

/// What libtorch's own operator, which reads the log-probabilities fewer times, makes of the usual case: one loss a
/// label, no weights, a share below 1.
fn libtorch_losses(logits: &Tensor, labels: &Tensor, share: f64) -> Result<Tensor> {
    /// A label that there is not: ignored samples are the caller's.
    const NONE: i64 = i64::MIN;
    let classes = class_count(logits) as i64;
    let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
    let rows = logits.f_to_kind(kind)?.f_reshape([-1, classes])?;
    let labels_flat = labels.f_reshape([-1])?;
    let weights = None::<Tensor>;
    let losses =
        rows.f_cross_entropy_loss(&labels_flat, weights, tch::Reduction::None, NONE, share)?;
    Ok(losses.f_reshape(labels.size().as_slice())?)
}

/// (1/K)·Σ_k w_k·l_k.
fn weighted_mean(log_p: &Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
    let weighted = match weights {
        None => log_p.shallow_clone(),
        Some(weights) => weigh(log_p, weights)?,
    };
    Ok(weighted.f_mean_dim([-1_i64].as_slice(), false, log_p.f_kind()?)?)
}

/// w·l, 0 where w is 0 whatever l is: no mass costs nothing, even under a logit of −∞.
fn weigh(log_p: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(log_p.f_masked_fill(&weights.f_eq(0.0)?, 0.0)?.f_mul(weights)?)
}

fn class_count(logits: &Tensor) -> usize {
    logits.size().last().and_then(|&k| usize::try_from(k).ok()).unwrap_or_default()
}

/// (1 − share)·losses + share·uniform; a share of 1 leaves nothing of the losses, not even an infinity.
fn mix(losses: &Tensor, uniform: &Tensor, share: f64) -> Result<Tensor> {
    let uniform = uniform.f_mul_scalar(share)?;
    if share == 1.0 {
        Ok(uniform)
    } else {
        Ok(losses.f_mul_scalar(1.0 - share)?.f_add(&uniform)?)
    }
}

fn check_weights(weights: &Tensor, logits: &Tensor) -> Result<Tensor> {
    const WHAT: &str = "class weights";
    let weights = class_last(weights, ClassAxis::Last, WHAT)?;
    let classes = logits.size().last().copied().unwrap_or_default();
    if weights.size() != [classes] {
        let (expected, found) = (format!("[{classes}]"), weights.size());
        return Err(TensorError::Shape { what: WHAT, expected, found }.into());
    }
    check_same_device(&weights, logits, WHAT)?;
    let lowest = f64::try_from(weights.f_min()?)?;
    let highest = f64::try_from(weights.f_max()?)?;
    if !(lowest >= 0.0 && highest < f64::INFINITY) {
        let found = if lowest >= 0.0 { highest } else { lowest };
        let (name, expected) = ("class weight", "finite and not negative");
        return Err(TensorError::from(CoreError::OutOfRange { name, expected, found }).into());
    }
    let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
    Ok(weights.f_to_kind(kind)?)
}
