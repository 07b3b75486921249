//! The share of the probabilities' length that points at the label.
//!
//! spherical score = 1/n Σ_i p_{i,y_i} / ‖p_i‖₂, in \[0, 1\]; higher is better
//!
//! p: probabilities, `[rows, classes]`; y: labels, one a row.
//! A proper score, as NLL and Brier score are: bounded unlike the first, and 1 of a row that is sure
//! and right.
//!
//! Source: I. J. Good, comment on "Measuring Information and Uncertainty" (1971); T. Gneiting, A. E.
//! Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation" (2007).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The spherical score: 1/n Σ p_y / ‖p‖₂; higher is better.
///
/// Undefined on no rows.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, SphericalScore};
/// let mut score = SphericalScore::default();
/// score.update(&Probabilities::new(&[0.6f64, 0.4], 2)?, &Labels::new(&[0], 2)?)?;
/// assert!((score.compute().unwrap() - 0.6 / 0.52f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SphericalScore(Mean);

impl Accumulator for SphericalScore {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.0.add(row.label_probability / row.sum_of_squares.sqrt(), weight);
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

/// The spherical score: 1/n Σ p_y / ‖p‖₂; see [`SphericalScore`].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let sure = Probabilities::new(&[1.0f32, 0.0, 1.0, 0.0], 2)?;
/// assert_eq!(softlabel_metrics::spherical_score(&sure, &Labels::new(&[0, 1], 2)?)?, 0.5);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn spherical_score(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(SphericalScore::default(), predictions, labels)
}
