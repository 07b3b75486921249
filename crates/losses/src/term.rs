//! What a loss is, so that losses can be used alone or added up.

use std::fmt::Debug;

use softlabel_core::{Error as CoreError, Normalizer, Reduction};
use softlabel_tensor::{ClassAxis, Error as TensorError};
use tch::Tensor;

use crate::{Batch, Error, Result, RowLosses, Target};

/// What losses that are added up have in common: how they are reduced, where the classes are, what is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossOptions {
    /// How the losses of the samples become one number.
    pub reduction: Reduction,
    /// Where the class axis of the logits (and of soft targets) lies.
    pub class_axis: ClassAxis,
    /// Samples with this label count for nothing. It does not apply to soft targets.
    pub ignore_index: Option<i64>,
}

/// What a loss makes of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub enum Term {
    /// One loss a sample.
    Rows(RowLosses),
    /// One number about all samples together, of the size of a mean, and how many samples it is about.
    Batch {
        /// The number.
        value: Tensor,
        /// The samples that count.
        counted: i64,
    },
}

impl Term {
    /// One number, or the losses as they are.
    ///
    /// A number about a batch is a mean already: it stays as it is under a mean over the samples or their weights, is
    /// multiplied by the number of samples for a sum, and that sum is divided under [`Normalizer::Items`].
    ///
    /// # Errors
    /// As [`RowLosses::reduce`]; [`Error::BatchTerm`] if one loss a sample is asked of a number about the batch.
    pub fn reduce(&self, reduction: Reduction, loss: &'static str) -> Result<Tensor> {
        let (value, counted) = match self {
            Self::Rows(rows) => return rows.reduce(reduction),
            Self::Batch { value, counted } => (value, *counted),
        };
        match reduction {
            Reduction::Mean(Normalizer::WeightSum | Normalizer::Count) if counted == 0 => {
                let what = "the batch that a mean is taken over";
                Err(TensorError::from(CoreError::Empty { what }).into())
            }
            Reduction::Mean(Normalizer::WeightSum | Normalizer::Count) => Ok(value.shallow_clone()),
            Reduction::Sum => Ok(value.f_mul_scalar(counted as f64)?),
            Reduction::Mean(Normalizer::Items(items)) => {
                crate::check::positive("the number of items that a mean divides by", items)?;
                Ok(value.f_mul_scalar(counted as f64 / items)?)
            }
            _ => Err(Error::BatchTerm { loss }),
        }
    }
}

/// A loss or a regularizer: what a batch costs, a sample at a time or as a whole.
///
/// Everything behind it runs on any device and computes in f32, or f64 for f64 logits. All but
/// [`CrossEntropy`](crate::CrossEntropy), which has a way of its own to it, is made of libtorch's operators and
/// differentiable more than once.
///
/// ```
/// use softlabel_losses::{Focal, LossOptions, LossTerm, Target};
/// use tch::Tensor;
///
/// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
/// let labels = Tensor::from_slice(&[0i64]);
/// let loss = Focal::new(2.0)?.forward(&logits, Target::Hard(&labels), &LossOptions::default())?;
/// assert!((f64::try_from(loss)? - 0.25 * 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait LossTerm: Debug {
    /// The name under which recipes know it, such as `focal`.
    fn name(&self) -> &'static str;

    /// What the batch costs.
    ///
    /// # Errors
    /// [`Error::NeedsLabels`] where soft targets have no meaning, and what else the loss states.
    fn term(&self, batch: &Batch) -> Result<Term>;

    /// What the batch costs, a sample at a time.
    ///
    /// # Errors
    /// As [`term`](Self::term), and [`Error::BatchTerm`] for a loss that is about the batch as a whole.
    fn row_losses(&self, batch: &Batch) -> Result<RowLosses> {
        match self.term(batch)? {
            Term::Rows(rows) => Ok(rows),
            Term::Batch { .. } => Err(Error::BatchTerm { loss: self.name() }),
        }
    }

    /// The loss of a batch as one number, times a weight; a loss that can do this with less work than one after the
    /// other says how.
    ///
    /// # Errors
    /// As [`term`](Self::term) and [`Term::reduce`].
    fn weighted(&self, batch: &Batch, reduction: Reduction, weight: f64) -> Result<Tensor> {
        let value = self.term(batch)?.reduce(reduction, self.name())?;
        Ok(if weight == 1.0 { value } else { value.f_mul_scalar(weight)? })
    }

    /// The loss alone: checks the batch, computes, reduces.
    ///
    /// # Errors
    /// As [`Batch::new`], [`term`](Self::term) and [`Term::reduce`].
    fn forward(
        &self,
        logits: &Tensor,
        target: Target<'_>,
        options: &LossOptions,
    ) -> Result<Tensor> {
        let batch = Batch::with_options(logits, target, options)?;
        self.weighted(&batch, options.reduction, 1.0)
    }
}

impl<T: LossTerm + ?Sized> LossTerm for Box<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn term(&self, batch: &Batch) -> Result<Term> {
        (**self).term(batch)
    }

    fn row_losses(&self, batch: &Batch) -> Result<RowLosses> {
        (**self).row_losses(batch)
    }

    fn weighted(&self, batch: &Batch, reduction: Reduction, weight: f64) -> Result<Tensor> {
        (**self).weighted(batch, reduction, weight)
    }
}

/// Implements [`LossTerm`] for a loss with a method `rows(&self, &Batch) -> Result<Tensor>`: one loss a sample, of
/// which those of ignored samples may be anything finite.
macro_rules! row_loss {
    ($type:ty, $name:literal) => {
        impl crate::LossTerm for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn term(&self, batch: &crate::Batch) -> crate::Result<crate::Term> {
                Ok(crate::Term::Rows(batch.row_losses(self.rows(batch)?)?))
            }
        }

        impl $type {
            /// The name under which recipes know it.
            pub const NAME: &'static str = $name;
        }
    };
}
pub(crate) use row_loss;
