//! By how much the label leads.
//!
//! mean logit gap = 1/n Σ_i (z_{i,y_i} − max_{k≠y_i} z_ik), in (−∞, ∞)
//!
//! z: logits, `[rows, classes]`; y: labels, one a row.
//! Positive for rows that are right; training on hard labels drives it up without bound, label
//! smoothing towards a fixed value.
//! A difference of logits is a difference of log-probabilities, so all three kinds of prediction
//! give the same number.
//!
//! Numerical notes: a row's gap is −∞ if its label cannot be (logit −∞, probability 0), and +∞ if
//! no other class can be, which includes K = 1.
//! Such rows are counted apart; they make the mean infinite, or undefined where both kinds meet.
//!
//! Source: the margin of multiclass classification, K. Crammer and Y. Singer (2001).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::updated;
use crate::mean::Mean;
use crate::{Accumulator, Observed, Predictions, Weight};

/// The mean lead of the label's logit over the largest other: 1/n Σ (z_y − max_{k≠y} z_k).
///
/// −∞ if some label cannot be, +∞ if in some row nothing but the label can be; undefined if there
/// are rows of both kinds, and on no rows.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_metrics::{Accumulator, LogitGap};
///
/// let mut gap = LogitGap::default();
/// let logits = Logits::new(&[3.0f32, 1.0, 0.0, 3.0, 1.0, 0.0], 3)?;
/// gap.update(&logits, &Labels::new(&[0, 2], 3)?)?;
/// assert_eq!(gap.compute(), Some((2.0 - 3.0) / 2.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias = "margin")]
pub struct LogitGap {
    finite: Mean,
    /// Rows in which nothing but the label can be: a gap of +∞.
    unrivalled: u64,
    /// Rows whose label cannot be: a gap of −∞.
    impossible: u64,
}

impl Accumulator for LogitGap {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        match row.label_gap {
            f64::INFINITY => self.unrivalled += 1,
            f64::NEG_INFINITY => self.impossible += 1,
            gap => self.finite.add(gap, weight),
        }
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.finite.merge(&other.finite);
        self.unrivalled += other.unrivalled;
        self.impossible += other.impossible;
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        match (self.unrivalled > 0, self.impossible > 0) {
            (false, false) => self.finite.value(),
            (true, false) => Some(f64::INFINITY),
            (false, true) => Some(f64::NEG_INFINITY),
            (true, true) => None,
        }
    }

    fn samples(&self) -> u64 {
        self.finite.samples + self.unrivalled + self.impossible
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The mean lead of the label's logit over the largest other: 1/n Σ (z_y − max_{k≠y} z_k).
///
/// `None` where gaps of +∞ and −∞ meet; see [`LogitGap`].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.75f32, 0.25], 2)?;
/// let gap = softlabel_metrics::logit_gap(&probabilities, &Labels::new(&[0], 2)?)?;
/// assert!((gap.unwrap() - 3.0f64.ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias = "margin")]
pub fn logit_gap(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<Option<f64>> {
    Ok(updated(LogitGap::default(), predictions, labels)?.compute())
}
