//! How surprised the predictions are by the labels.
//!
//! NLL = −1/n Σ_i ln p_{i,y_i}, in \[0, ∞\], in nats
//!
//! p: probabilities, `[rows, classes]`; y: labels, one a row.
//! The cross-entropy of hard labels is the same number.
//!
//! Numerical notes: of logits, ln p is computed by log-softmax, never as the logarithm of a rounded
//! probability.
//! A label with probability 0 makes the mean +∞, which is what it is; nothing is clipped.
//! Such rows are counted apart, so the state stays finite and says how many there were.
//!
//! Source: as a score for forecasts I. J. Good, "Rational Decisions" (1952).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The mean negative log-likelihood of the labels: −1/n Σ ln p_y, in nats.
///
/// +∞ if a label has probability 0 ([`zero_probability_labels`](Self::zero_probability_labels) says
/// how many have); undefined on no rows.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, NegativeLogLikelihood};
///
/// let mut nll = NegativeLogLikelihood::default();
/// nll.update(&Probabilities::new(&[0.25f32, 0.75], 2)?, &Labels::new(&[0], 2)?)?;
/// assert_eq!(nll.compute(), Some(4.0f64.ln()));
///
/// nll.update(&Probabilities::new(&[1.0f32, 0.0], 2)?, &Labels::new(&[1], 2)?)?;
/// assert_eq!(nll.compute(), Some(f64::INFINITY));
/// assert_eq!(nll.zero_probability_labels(), 1);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias("NLL", "log loss", "cross-entropy"))]
pub struct NegativeLogLikelihood {
    /// Over the rows whose label has a probability.
    finite: Mean,
    zero_probability_labels: u64,
}

impl NegativeLogLikelihood {
    /// The number of rows whose label has the probability 0: each alone makes the mean +∞.
    ///
    /// ```
    /// use softlabel_metrics::NegativeLogLikelihood;
    /// assert_eq!(NegativeLogLikelihood::default().zero_probability_labels(), 0);
    /// ```
    pub fn zero_probability_labels(&self) -> u64 {
        self.zero_probability_labels
    }
}

impl Accumulator for NegativeLogLikelihood {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        if row.label_log_probability == f64::NEG_INFINITY {
            self.zero_probability_labels += 1;
        } else {
            self.finite.add(-row.label_log_probability, weight);
        }
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.finite.merge(&other.finite);
        self.zero_probability_labels += other.zero_probability_labels;
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        if self.zero_probability_labels > 0 { Some(f64::INFINITY) } else { self.finite.value() }
    }

    fn samples(&self) -> u64 {
        self.finite.samples + self.zero_probability_labels
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The mean negative log-likelihood of the labels: −1/n Σ ln p_y, in nats; +∞ if one of them has
/// probability 0.
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// let logits = Logits::new(vec![0.0f64, 3.0f64.ln()], 2)?;
/// let nll = softlabel_metrics::negative_log_likelihood(&logits, &Labels::new(&[1], 2)?)?;
/// assert!((nll - (4.0f64 / 3.0).ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("NLL", "log loss", "cross-entropy"))]
pub fn negative_log_likelihood(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(NegativeLogLikelihood::default(), predictions, labels)
}
