//! How often the top class is the label.
//!
//! accuracy = 1/n Σ_i 1\[argmax_k p_ik = y_i\], in \[0, 1\]
//!
//! p: probabilities, log-probabilities or logits, `[rows, classes]`, which all have the same
//! argmax;
//! y: labels, one a row. Of several largest values the first counts.
//! The state is two integers, so nothing is ever rounded.

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The share of rows whose top class is the label: 1/n Σ 1\[argmax p = y\].
///
/// Undefined on no rows.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_metrics::{Accumulator, Accuracy};
///
/// let mut accuracy = Accuracy::default();
/// accuracy.update(&Logits::new(&[1.0f32, 0.0, 1.0, 0.0], 2)?, &Labels::new(&[0, 1], 2)?)?;
/// assert_eq!(accuracy.compute(), Some(0.5));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "top-1")]
pub struct Accuracy(Mean);

impl Accumulator for Accuracy {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.0.add(f64::from(u8::from(row.is_correct())), weight);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.merge(&other.0);
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        self.0.value()
    }

    fn samples(&self) -> u64 {
        self.0.samples
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The share of rows whose top class is the label: 1/n Σ 1\[argmax p = y\].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.25f32, 0.75, 0.5, 0.5], 2)?;
/// let accuracy = softlabel_metrics::accuracy(&probabilities, &Labels::new(&[1, 1], 2)?)?;
/// assert_eq!(accuracy, 0.5); // of a tie the first class counts
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias = "top-1")]
pub fn accuracy(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(Accuracy::default(), predictions, labels)
}
