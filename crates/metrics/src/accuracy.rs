//! How often the top class is the label.
//!
//! accuracy = 1/n Σ_i 1\[argmax_k p_ik = y_i\], in \[0, 1\]
//!
//! p: probabilities, log-probabilities or logits, `[rows, classes]`, which all have the same
//! argmax;
//! y: labels, one a row. Of several largest values the first counts.
//! The state is two integers, so nothing is ever rounded.

use serde::{Deserialize, Serialize};
use softlabel_core::{Labels, Result};
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::{Accumulator, Predictions};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias = "top-1")]
pub struct Accuracy {
    samples: u64,
    correct: u64,
}

impl Accumulator for Accuracy {
    type Value = f64;

    fn add(&mut self, row: &RowStatistics) {
        self.samples += 1;
        self.correct += u64::from(row.is_correct());
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.samples += other.samples;
        self.correct += other.correct;
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.correct as f64 / self.samples as f64)
    }

    fn samples(&self) -> u64 {
        self.samples
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
pub fn accuracy(predictions: &(impl Predictions + ?Sized), labels: &Labels) -> Result<f64> {
    value_over(Accuracy::default(), predictions, labels)
}
