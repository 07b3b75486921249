//! One batch, checked once, and what the losses that are added up compute from it together.
//!
//! Logits come class-last and in f32 or better, those of ignored samples replaced by zeros before anything is computed
//! from them. The log-probabilities l = z − lse(z) are computed when the first loss asks for them and kept.

use std::cell::OnceCell;

use softlabel_core::Error as CoreError;
use softlabel_tensor::{
    ClassAxis, Error as TensorError, check_labels, check_soft_rows, class_last,
};
use tch::{Kind, Tensor};

use crate::cross_entropy::{checked_mask, class_last_mask};
use crate::{CrossEntropy, Error, LossOptions, Result, RowLosses, Target};

/// Logits and target of one batch, checked, with the samples that count for nothing set aside.
///
/// ```
/// use softlabel_losses::{Batch, ClassAxis, Target};
/// use tch::Tensor;
///
/// let logits = Tensor::from_slice(&[0.0f32, 0.0, f32::NAN, 1.0]).view((2, 2));
/// let labels = Tensor::from_slice(&[1i64, -1]);
/// let batch = Batch::new(&logits, Target::Hard(&labels), ClassAxis::Last, Some(-1))?;
/// assert_eq!((batch.classes(), batch.counted()?), (2, 1));
/// let log_p = batch.log_probabilities()?;
/// assert!((log_p.double_value(&[0, 1]) + 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), softlabel_losses::Error>(())
/// ```
#[derive(Debug)]
pub struct Batch {
    /// Class-last, in their own dtype, ignored ones as they came.
    given_logits: Tensor,
    given_target: Given,
    logits: Tensor,
    target: Checked,
    ignored: Option<Tensor>,
    class_axis: ClassAxis,
    ignore_index: Option<i64>,
    correctness: Option<Tensor>,
    log_probabilities: OnceCell<Tensor>,
    probabilities: OnceCell<Tensor>,
    label_log_probabilities: OnceCell<Tensor>,
}

#[derive(Debug)]
enum Checked {
    /// `i64`, ignored ones replaced by 0.
    Hard(Tensor),
    /// In the dtype of the logits.
    Soft(Tensor),
}

/// A [`Target`] that is kept; soft rows are class-last.
#[derive(Debug)]
enum Given {
    Hard(Tensor),
    Soft(Tensor),
    Masked { rows: Tensor, counted: Tensor },
    Mixed { first: Tensor, second: Tensor, share_of_second: Vec<f64> },
    Smoothed { labels: Tensor, epsilons: Vec<f64> },
    Allowed { labels: Tensor, allowed: Tensor },
}

impl Given {
    fn new(target: Target<'_>, axis: ClassAxis) -> Result<Self> {
        let last =
            |rows: &Tensor| Ok::<_, Error>(class_last(&rows.f_detach()?, axis, "soft targets")?);
        Ok(match target {
            Target::Hard(labels) => Self::Hard(labels.shallow_clone()),
            Target::Soft(rows) => Self::Soft(last(rows)?),
            Target::Masked { rows, counted } => {
                Self::Masked { rows: last(rows)?, counted: counted.shallow_clone() }
            }
            Target::Mixed { first, second, share_of_second } => Self::Mixed {
                first: first.shallow_clone(),
                second: second.shallow_clone(),
                share_of_second: share_of_second.to_vec(),
            },
            Target::Smoothed { labels, epsilons } => {
                Self::Smoothed { labels: labels.shallow_clone(), epsilons: epsilons.to_vec() }
            }
            Target::Allowed { labels, allowed } => Self::Allowed {
                labels: labels.shallow_clone(),
                allowed: class_last_mask(allowed, axis)?,
            },
        })
    }

    fn target(&self) -> Target<'_> {
        match self {
            Self::Hard(labels) => Target::Hard(labels),
            Self::Soft(rows) => Target::Soft(rows),
            Self::Masked { rows, counted } => Target::Masked { rows, counted },
            Self::Mixed { first, second, share_of_second } => {
                Target::Mixed { first, second, share_of_second }
            }
            Self::Smoothed { labels, epsilons } => Target::Smoothed { labels, epsilons },
            Self::Allowed { labels, allowed } => Target::Allowed { labels, allowed },
        }
    }
}

impl Batch {
    /// Checks logits and target: see [`CrossEntropy::forward`](crate::CrossEntropy::forward) for the shapes.
    /// The ignore index may be a class or lie outside 0..K; it does not apply to soft targets.
    ///
    /// # Errors
    /// Shapes, dtypes or devices that do not fit; a label outside 0..K (with its position); soft rows that are no
    /// distributions.
    pub fn new(
        logits: &Tensor,
        target: Target<'_>,
        class_axis: ClassAxis,
        ignore_index: Option<i64>,
    ) -> Result<Self> {
        let given_logits = class_last(logits, class_axis, "logits")?;
        let given_target = Given::new(target, class_axis)?;
        let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
        let (target, ignored) = match &given_target {
            Given::Hard(labels)
            | Given::Smoothed { labels, .. }
            | Given::Allowed { labels, .. } => {
                if let Given::Allowed { allowed, .. } = &given_target {
                    let _ = checked_mask(allowed, &given_logits, ClassAxis::Last)?;
                }
                if let Given::Smoothed { epsilons, .. } = &given_target {
                    check_epsilons(labels, epsilons)?;
                }
                let labels = check_labels(labels, &given_logits, ignore_index)?;
                let ignored = ignore_index.map(|index| labels.f_eq(index)).transpose()?;
                let labels = match &ignored {
                    None => labels,
                    Some(ignored) => labels.f_masked_fill(ignored, 0)?,
                };
                (Checked::Hard(labels), ignored)
            }
            Given::Soft(rows) => {
                check_soft_rows(rows, &given_logits, None)?;
                (Checked::Soft(rows.f_to_kind(kind)?), None)
            }
            Given::Masked { .. } | Given::Mixed { .. } => {
                let loss = CrossEntropy::new();
                let loss = match ignore_index {
                    None => loss,
                    Some(index) => loss.with_ignore_index(index),
                };
                let (rows, ignored) =
                    loss.target_rows(&given_logits, given_target.target(), kind)?;
                (Checked::Soft(rows), ignored)
            }
        };
        let logits = match &ignored {
            None => given_logits.shallow_clone(),
            Some(ignored) => given_logits.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?,
        };
        let logits = logits.f_to_kind(kind)?;
        Ok(Self {
            given_logits,
            given_target,
            logits,
            target,
            ignored,
            class_axis,
            ignore_index,
            correctness: None,
            log_probabilities: OnceCell::new(),
            probabilities: OnceCell::new(),
            label_log_probabilities: OnceCell::new(),
        })
    }

    /// As [`new`](Self::new), with the layout and the ignore index of the options.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(
        logits: &Tensor,
        target: Target<'_>,
        options: &LossOptions,
    ) -> Result<Self> {
        Self::new(logits, target, options.class_axis, options.ignore_index)
    }

    /// With how often each sample was right so far, a share in [0, 1] in the shape of the labels: what
    /// [`CorrectnessRanking`](crate::CorrectnessRanking) ranks by.
    ///
    /// # Errors
    /// [`Mismatch`](CoreError::Mismatch) unless there is one value a sample;
    /// [`OutOfRange`](CoreError::OutOfRange) for a value that is no share.
    pub fn with_correctness(mut self, correctness: &[f64]) -> Result<Self> {
        let shape = self.sample_shape();
        let samples: i64 = shape.iter().product();
        if correctness.len() as i64 != samples {
            let (expected, found) = (samples.to_string(), correctness.len().to_string());
            let error = CoreError::mismatch("past correctness of the samples", expected, found);
            return Err(TensorError::from(error).into());
        }
        for &share in correctness {
            crate::check::share("past correctness", share)?;
        }
        let values = Tensor::f_from_slice(correctness)?.f_reshape(shape.as_slice())?;
        self.correctness = Some(values.f_to_device(self.logits.device())?.f_to_kind(self.kind()?)?);
        Ok(self)
    }

    /// The same targets under other logits, class-last and of the same shape, such as
    /// [`LogitNorm`](crate::LogitNorm) makes them.
    ///
    /// # Errors
    /// [`Shape`](TensorError::Shape) if the shape differs.
    pub fn with_logits(&self, logits: &Tensor) -> Result<Self> {
        if logits.size() != self.logits.size() {
            let (expected, found) = (format!("{:?}", self.logits.size()), logits.size());
            return Err(TensorError::Shape { what: "logits", expected, found }.into());
        }
        let given_logits = logits.f_to_kind(self.kind()?)?;
        let logits = match &self.ignored {
            None => given_logits.shallow_clone(),
            Some(ignored) => given_logits.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?,
        };
        Ok(Self {
            given_logits,
            // Its rows are class-last already.
            given_target: Given::new(self.given_target.target(), ClassAxis::Last)?,
            logits,
            target: match &self.target {
                Checked::Hard(labels) => Checked::Hard(labels.shallow_clone()),
                Checked::Soft(rows) => Checked::Soft(rows.shallow_clone()),
            },
            ignored: self.ignored.as_ref().map(Tensor::shallow_clone),
            class_axis: self.class_axis,
            ignore_index: self.ignore_index,
            correctness: self.correctness.as_ref().map(Tensor::shallow_clone),
            log_probabilities: OnceCell::new(),
            probabilities: OnceCell::new(),
            label_log_probabilities: OnceCell::new(),
        })
    }

    /// The logits `[.., K]`, f32 or f64, zero where a sample is ignored.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// l = z − lse(z), `[.., K]`.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn log_probabilities(&self) -> Result<&Tensor> {
        cached(&self.log_probabilities, || Ok(self.logits.f_log_softmax(-1, self.kind()?)?))
    }

    /// p = exp(l), `[.., K]`.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn probabilities(&self) -> Result<&Tensor> {
        cached(&self.probabilities, || Ok(self.log_probabilities()?.f_exp()?))
    }

    /// The labels as `i64`, 0 where a sample is ignored.
    ///
    /// # Errors
    /// [`Error::NeedsLabels`] with the name of the loss if the target is soft.
    pub fn labels(&self, loss: &'static str) -> Result<&Tensor> {
        match &self.target {
            Checked::Hard(labels) => Ok(labels),
            Checked::Soft(_) => Err(Error::NeedsLabels { loss }),
        }
    }

    /// l_y of every sample.
    ///
    /// # Errors
    /// As [`labels`](Self::labels).
    pub fn label_log_probabilities(&self, loss: &'static str) -> Result<&Tensor> {
        let labels = self.labels(loss)?;
        cached(&self.label_log_probabilities, || {
            let at_label = labels.f_unsqueeze(-1)?;
            Ok(self.log_probabilities()?.f_gather(-1, &at_label, false)?.f_squeeze_dim(-1)?)
        })
    }

    /// The target as distributions `[.., K]`: soft rows as they are, labels one-hot.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn target_rows(&self) -> Result<Tensor> {
        match &self.target {
            Checked::Soft(rows) => Ok(rows.shallow_clone()),
            Checked::Hard(labels) => {
                let zeros = self.logits.f_detach()?.f_zeros_like()?;
                Ok(zeros.f_scatter_value(-1, &labels.f_unsqueeze(-1)?, 1.0)?)
            }
        }
    }

    /// Σ_k q_k·l_k of every sample, 0·(−∞) being 0.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn target_log_probabilities(&self) -> Result<Tensor> {
        match &self.target {
            Checked::Hard(_) => Ok(self.label_log_probabilities("")?.shallow_clone()),
            Checked::Soft(rows) => crate::numeric::sum_classes(&crate::numeric::weigh(
                self.log_probabilities()?,
                rows,
            )?),
        }
    }

    /// The target as it was checked, class-last: labels, or distributions for everything else. Mixed labels have the
    /// rows of the two, unsmoothed; epsilons of samples are left to those who [ask](Self::given).
    pub fn target(&self) -> Target<'_> {
        match &self.target {
            Checked::Hard(labels) => Target::Hard(labels),
            Checked::Soft(rows) => Target::Soft(rows),
        }
    }

    /// Logits and target as they came, but for the class axis, which is the last.
    ///
    /// For losses that skip ignored samples and widen half precision themselves.
    pub fn given(&self) -> (&Tensor, Target<'_>) {
        (&self.given_logits, self.given_target.target())
    }

    /// A mask of the samples that count for nothing; none where all count.
    pub fn ignored(&self) -> Option<&Tensor> {
        self.ignored.as_ref()
    }

    /// How often each sample was right so far.
    ///
    /// # Errors
    /// [`Error::NeedsCorrectness`] with the name of the loss if the batch was not told.
    pub fn correctness(&self, loss: &'static str) -> Result<&Tensor> {
        self.correctness.as_ref().ok_or(Error::NeedsCorrectness { loss })
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.logits.size().last().and_then(|&k| usize::try_from(k).ok()).unwrap_or_default()
    }

    /// The number of samples that count.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn counted(&self) -> Result<i64> {
        let all: i64 = self.sample_shape().iter().product();
        Ok(match &self.ignored {
            None => all,
            Some(ignored) => all - i64::try_from(ignored.f_sum(Kind::Int64)?)?,
        })
    }

    /// The dtype that everything is computed in: f32, or f64 for f64 logits.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn kind(&self) -> Result<Kind> {
        Ok(self.logits.f_kind()?)
    }

    /// One loss a sample, 0 where a sample is ignored.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn row_losses(&self, losses: Tensor) -> Result<RowLosses> {
        RowLosses::new(losses, self.ignored.as_ref())
    }

    /// The layout in which the logits came; all that a batch hands out is class-last.
    pub fn class_axis(&self) -> ClassAxis {
        self.class_axis
    }

    /// The label of samples that count for nothing.
    pub fn ignore_index(&self) -> Option<i64> {
        self.ignore_index
    }

    fn sample_shape(&self) -> Vec<i64> {
        let mut shape = self.logits.size();
        shape.pop();
        shape
    }
}

fn cached(cell: &OnceCell<Tensor>, compute: impl FnOnce() -> Result<Tensor>) -> Result<&Tensor> {
    if let Some(tensor) = cell.get() {
        return Ok(tensor);
    }
    let tensor = compute()?;
    Ok(cell.get_or_init(|| tensor))
}

fn check_epsilons(labels: &Tensor, epsilons: &[f64]) -> Result<()> {
    if epsilons.len() != labels.numel() {
        let expected = format!("{}, one a sample", labels.numel());
        let error = CoreError::mismatch("epsilons", expected, epsilons.len().to_string());
        return Err(TensorError::from(error).into());
    }
    epsilons.iter().try_for_each(|&epsilon| crate::check::share("epsilon", epsilon))
}
