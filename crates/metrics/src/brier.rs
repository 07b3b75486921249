//! The squared distance between predictions and what happened.
//!
//! Brier score = 1/n Σ_i Σ_k (p_ik − 1\[k = y_i\])², in \[0, 2\]
//!
//! p: probabilities, `[rows, classes]`; y: labels, one a row.
//! This is Brier's own form, summed over all classes.
//! Some libraries use half of it for two classes (scikit-learn), others divide by the number of
//! classes: compare only what was computed alike.
//!
//! Numerical notes: a row's score is Σ p² − 2p_y + 1, from the row's statistics; its rounding error
//! is a few 1e-16, absolutely.
//!
//! Source: G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability" (1950).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The Brier score, summed over classes: 1/n Σ_i Σ_k (p_ik − 1\[k = y_i\])², in \[0, 2\].
///
/// This is the sum over all classes, twice what scikit-learn gives for two; undefined on no rows.
///
/// Source: G. W. Brier (1950).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, BrierScore};
///
/// let mut score = BrierScore::default();
/// score.update(&Probabilities::new(&[0.75f32, 0.25], 2)?, &Labels::new(&[1], 2)?)?;
/// assert_eq!(score.compute(), Some(2.0 * 0.75 * 0.75));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrierScore(Mean);

/// Σ_k (p_k − 1\[k = y\])² of one row.
pub(crate) fn brier_of(row: &RowStatistics) -> f64 {
    // Rounding may leave −1e-17 of a row that is sure and right.
    (row.sum_of_squares - 2.0 * row.label_probability + 1.0).max(0.0)
}

impl Accumulator for BrierScore {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        // Rounding may leave −1e-16 of a perfect row.
        self.0.add(brier_of(row), weight);
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

/// The Brier score, summed over classes: 1/n Σ_i Σ_k (p_ik − 1\[k = y_i\])², in \[0, 2\].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let wrong_and_sure = Probabilities::new(&[1.0f32, 0.0, 0.0], 3)?;
/// assert_eq!(softlabel_metrics::brier_score(&wrong_and_sure, &Labels::new(&[2], 3)?)?, 2.0);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn brier_score(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(BrierScore::default(), predictions, labels)
}
