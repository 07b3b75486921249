//! Losses of single samples on their way to one number.
//!
//! For losses ℓ_n of the samples that count, with weights w_n (1 if none), n in S:
//!
//! ```text
//! none          ℓ                     0 where a sample does not count
//! sum           Σ ℓ_n
//! weight sum    Σ ℓ_n / Σ w_n
//! count         Σ ℓ_n / |S|
//! items(m)      Σ ℓ_n / m
//! ```

use softlabel_core::{Error as CoreError, Normalizer, Reduction};
use softlabel_tensor::Error as TensorError;
use tch::{Kind, Tensor};

use crate::Result;

/// The loss of each sample, and what a mean over them divides by.
///
/// Losses that are added up, such as the two terms of a distillation, go through the same reduction this way.
///
/// ```
/// use softlabel_losses::{Normalizer, Reduction, RowLosses};
/// use tch::Tensor;
///
/// let ignored = Tensor::from_slice(&[false, true, false]);
/// let losses = RowLosses::new(Tensor::from_slice(&[1.0, 5.0, 2.0]), Some(&ignored))?;
/// let mean = losses.reduce(Reduction::Mean(Normalizer::Count))?;
/// assert_eq!(f64::try_from(&mean)?, 1.5);
/// # Ok::<(), softlabel_losses::Error>(())
/// ```
#[derive(Debug)]
pub struct RowLosses {
    losses: Tensor,
    count: f64,
    weight_sum: Option<Tensor>,
}

impl RowLosses {
    /// Takes one loss a sample; those of `ignored` samples, a mask of the same shape, become 0 and are not counted.
    ///
    /// # Errors
    /// If libtorch refuses the mask.
    pub fn new(losses: Tensor, ignored: Option<&Tensor>) -> Result<Self> {
        let all = losses.numel() as f64;
        Ok(match ignored {
            None => Self { losses, count: all, weight_sum: None },
            Some(ignored) => Self {
                losses: losses.f_masked_fill(ignored, 0.0)?,
                count: all - f64::try_from(ignored.f_sum(Kind::Int64)?)?,
                weight_sum: None,
            },
        })
    }

    /// With the sum of the samples' weights, a scalar; without it every weight is 1.
    #[must_use]
    pub fn with_weight_sum(mut self, weight_sum: Tensor) -> Self {
        self.weight_sum = Some(weight_sum);
        self
    }

    /// One number, or the losses as they are.
    ///
    /// # Errors
    /// A mean over no samples, over weights that sum to 0, or over a number of items that is not positive.
    pub fn reduce(&self, reduction: Reduction) -> Result<Tensor> {
        if reduction == Reduction::None {
            return Ok(self.losses.shallow_clone());
        }
        let sum = self.losses.f_sum(self.losses.f_kind()?)?;
        if reduction == Reduction::Sum {
            return Ok(sum);
        }
        let weight_sum = self.weight_sum.as_ref().map(f64::try_from).transpose()?;
        Ok(sum.f_div_scalar(divisor(reduction, self.count, weight_sum)?)?)
    }
}

/// What the sum of the losses is divided by, for samples of which `counted` count; 1 if it is not divided.
///
/// # Errors
/// A mean over no samples, over weights that sum to 0, or over a number of items that is not positive.
pub fn divisor(reduction: Reduction, counted: f64, weight_sum: Option<f64>) -> Result<f64> {
    let Reduction::Mean(normalizer) = reduction else { return Ok(1.0) };
    match (normalizer, weight_sum) {
        (Normalizer::Items(items), _) if items > 0.0 && items.is_finite() => Ok(items),
        (Normalizer::Items(found), _) => Err(TensorError::from(CoreError::OutOfRange {
            name: "the number of items that a mean divides by",
            expected: "positive and finite",
            found,
        })
        .into()),
        _ if counted == 0.0 => Err(empty("the batch that a mean is taken over")),
        (Normalizer::WeightSum, Some(total)) if total > 0.0 => Ok(total),
        (Normalizer::WeightSum, Some(_)) => {
            Err(empty("the weight of the batch that a mean is taken over"))
        }
        _ => Ok(counted),
    }
}

fn empty(what: &'static str) -> crate::Error {
    TensorError::from(CoreError::Empty { what }).into()
}
