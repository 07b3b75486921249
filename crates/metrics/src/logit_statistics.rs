//! How large logits are, and how far apart: what training does to them before it shows in a metric.
//!
//! Of the finite logits z of a row: ‖z‖₁, ‖z‖₂, max_k z_k, max_k z_k − min_k z_k, the lead of the
//! largest over the second, and ln Σ e^z, each as the mean over rows.
//! Cross-entropy alone drives norms and leads up without bound, which is what overconfidence is made
//! of; label smoothing, logit norms and penalties on the maximum hold them.
//!
//! Numerical notes: classes that cannot be (−∞) are left out; of a row with one class that can be the
//! lead is +∞, and such rows are left out of its mean.
//!
//! Source: H. Wei et al., "Mitigating Neural Network Overconfidence with Logit Normalization" (2022),
//! for norms as what overconfidence is made of.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Logits, Result, Scalar};
use softlabel_kernels::RowStatistics;

use crate::Weight;
use crate::mean::Mean;

/// Norms, maxima, spreads and leads of logits, as a running state of a fixed size.
///
/// Unlabeled: for the lead of the label's logit see [`LogitGap`](crate::LogitGap).
///
/// ```
/// use softlabel_core::Logits;
/// use softlabel_metrics::LogitStatistics;
/// let mut statistics = LogitStatistics::default();
/// statistics.update(&Logits::new(&[3.0f32, -4.0], 2)?)?;
/// let means = statistics.compute().unwrap();
/// assert_eq!((means.l1_norm, means.l2_norm, means.maximum), (7.0, 5.0, 3.0));
/// assert_eq!((means.spread, means.lead), (7.0, Some(7.0)));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias("logit norm", "logit margin"))]
pub struct LogitStatistics {
    l1_norm: Mean,
    l2_norm: Mean,
    maximum: Mean,
    spread: Mean,
    lead: Mean,
    log_sum_exp: Mean,
}

/// What [`LogitStatistics`] come to: means over rows.
///
/// ```
/// use softlabel_core::Logits;
/// let means = softlabel_metrics::logit_statistics(&Logits::new(&[0.0f64, 0.0], 2)?)?;
/// assert!((means.log_sum_exp - 2.0f64.ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogitMeans {
    /// The number of rows, at least 1.
    pub samples: u64,
    /// ‖z‖₁.
    pub l1_norm: f64,
    /// ‖z‖₂.
    pub l2_norm: f64,
    /// max z.
    pub maximum: f64,
    /// max z − min z.
    pub spread: f64,
    /// The largest less the second; `None` if no row has a second.
    pub lead: Option<f64>,
    /// ln Σ e^z.
    pub log_sum_exp: f64,
}

impl LogitStatistics {
    /// Adds every row.
    ///
    /// # Errors
    /// None for logits as they are checked when they are made; a row without a finite value would be
    /// an [`Error::Empty`].
    pub fn update<T: Scalar>(&mut self, logits: &Logits<'_, T>) -> Result<()> {
        let mut wide = vec![0.0; logits.classes()];
        for row in logits.matrix().iter() {
            T::widen(row, &mut wide);
            self.add_row(&mut wide)?;
        }
        Ok(())
    }

    fn add_row(&mut self, row: &mut [f64]) -> Result<()> {
        let (mut absolute, mut squares, mut lowest) = (0.0, 0.0, f64::INFINITY);
        for &logit in row.iter().filter(|logit| logit.is_finite()) {
            absolute += logit.abs();
            squares += logit * logit;
            lowest = lowest.min(logit);
        }
        let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first = row.iter().position(|&logit| logit == maximum).unwrap_or(0);
        let statistics = RowStatistics::from_logits_in_place(row, first);
        let statistics = statistics.ok_or(Error::Empty { what: "a row of logits" })?;
        self.l1_norm.add(absolute, Weight::ONE);
        self.l2_norm.add(squares.sqrt(), Weight::ONE);
        self.maximum.add(maximum, Weight::ONE);
        self.spread.add(maximum - lowest, Weight::ONE);
        if statistics.label_gap.is_finite() {
            self.lead.add(statistics.label_gap, Weight::ONE);
        }
        self.log_sum_exp.add(statistics.log_sum_exp.unwrap_or(maximum), Weight::ONE);
        Ok(())
    }

    /// Adds everything that was added to `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mean, other) in [
            (&mut self.l1_norm, &other.l1_norm),
            (&mut self.l2_norm, &other.l2_norm),
            (&mut self.maximum, &other.maximum),
            (&mut self.spread, &other.spread),
            (&mut self.lead, &other.lead),
            (&mut self.log_sum_exp, &other.log_sum_exp),
        ] {
            mean.merge(other);
        }
    }

    /// The means over all rows added so far; `None` of no rows.
    pub fn compute(&self) -> Option<LogitMeans> {
        Some(LogitMeans {
            samples: self.samples(),
            l1_norm: self.l1_norm.value()?,
            l2_norm: self.l2_norm.value()?,
            maximum: self.maximum.value()?,
            spread: self.spread.value()?,
            lead: self.lead.value(),
            log_sum_exp: self.log_sum_exp.value()?,
        })
    }

    /// How many rows were added.
    pub fn samples(&self) -> u64 {
        self.l1_norm.samples
    }

    /// Forgets all rows.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Norms, maxima, spreads and leads of logits; see [`LogitStatistics`].
///
/// # Errors
/// [`Error::Empty`] if there are no rows.
///
/// ```
/// use softlabel_core::Logits;
/// let logits = Logits::new(&[1.0f32, 0.0, 0.0, 3.0], 2)?;
/// assert_eq!(softlabel_metrics::logit_statistics(&logits)?.lead, Some(2.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn logit_statistics<T: Scalar>(logits: &Logits<'_, T>) -> Result<LogitMeans> {
    let mut statistics = LogitStatistics::default();
    statistics.update(logits)?;
    statistics.compute().ok_or(crate::accumulator::EMPTY)
}
