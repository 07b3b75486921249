//! How sure the predictions are of their top class.
//!
//! mean confidence = 1/n Σ_i max_k p_ik, in \[1/K, 1\]
//!
//! p: probabilities, `[rows, classes]`.
//! Less the accuracy it is the overconfidence
//! ([`Scores::overconfidence`](crate::Scores::overconfidence)).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The mean of the largest probability of each row: 1/n Σ_i max_k p_ik.
///
/// Undefined on no rows.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, MeanConfidence};
///
/// let mut confidence = MeanConfidence::default();
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.5, 0.5], 2)?;
/// confidence.update(&probabilities, &Labels::new(&[1, 1], 2)?)?;
/// assert_eq!(confidence.compute(), Some(0.625));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeanConfidence(Mean);

impl Accumulator for MeanConfidence {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.0.add(row.confidence, weight);
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

/// The mean of the largest probability of each row: 1/n Σ_i max_k p_ik.
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// let undecided = Logits::new(&[7.0f32; 4], 4)?;
/// assert_eq!(softlabel_metrics::mean_confidence(&undecided, &Labels::new(&[2], 4)?)?, 0.25);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn mean_confidence(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(MeanConfidence::default(), predictions, labels)
}
