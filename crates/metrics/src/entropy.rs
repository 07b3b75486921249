//! How undecided the predictions are.
//!
//! mean entropy = −1/n Σ_i Σ_k p_ik ln p_ik, in \[0, ln K\], in nats
//!
//! p: probabilities, `[rows, classes]`; 0 ln 0 is 0.
//!
//! Source: C. E. Shannon, "A Mathematical Theory of Communication" (1948).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The mean entropy of the rows: −1/n Σ_i Σ_k p_ik ln p_ik, in nats.
///
/// Undefined on no rows.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, MeanEntropy};
///
/// let mut entropy = MeanEntropy::default();
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.5, 0.5], 2)?;
/// entropy.update(&probabilities, &Labels::new(&[1, 1], 2)?)?;
/// assert_eq!(entropy.compute(), Some(0.5 * 2.0f64.ln()));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeanEntropy(Mean);

impl Accumulator for MeanEntropy {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.0.add(row.entropy, weight);
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

/// The mean entropy of the rows: −1/n Σ_i Σ_k p_ik ln p_ik, in nats.
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// let undecided = Logits::new(&[7.0f32; 4], 4)?;
/// let entropy = softlabel_metrics::mean_entropy(&undecided, &Labels::new(&[2], 4)?)?;
/// assert!((entropy - 4.0f64.ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn mean_entropy(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(MeanEntropy::default(), predictions, labels)
}
