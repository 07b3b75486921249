//! The calibration error over as many bins of equal mass as the accuracy stays monotone over.
//!
//! b is the largest number of bins such that with every number up to b the accuracies of the bins of
//! equal mass do not fall; the error is Σ_m |S_m − A_m| / n over b bins, or another norm of them.
//! Few rows get few bins and many rows many, without a choice, which takes most of the bias away.
//!
//! Source: R. Roelofs, N. Cain, J. Shlens, M. C. Mozer, "Mitigating Bias in Calibration Error
//! Estimation" (2022).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::bin::{Bin, error_over};
use crate::equal_mass::bins_of_equal_mass;
use crate::ranking::Ranking;
use crate::{Accumulator, CalibrationNorm, Forecast, ForecastAccumulator, Weight};

/// The calibration error over the largest number of bins of equal mass whose accuracies are monotone.
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size.
/// Undefined on no rows.
///
/// Source: Roelofs et al. (2022).
///
/// ```
/// use softlabel_metrics::{ForecastAccumulator, Forecasts, SweepCalibrationError};
///
/// let forecasts = Forecasts::new(&[0.25f64, 0.5, 0.75, 1.0], &[false, true, true, true])?;
/// let sweep = SweepCalibrationError::default().value_of(&forecasts)?;
/// assert_eq!((sweep.bins, sweep.error), (4, (0.25 + 0.5 + 0.25) / 4.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "ECE sweep")]
pub struct SweepCalibrationError(Ranking);

/// What a [`SweepCalibrationError`] comes to.
///
/// ```
/// use softlabel_metrics::SweepCalibration;
/// assert_eq!(SweepCalibration { bins: 1, error: 0.5 }.bins, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepCalibration {
    /// The number of bins; where scores are tied, fewer than b.
    pub bins: usize,
    /// The expected calibration error over them.
    pub error: f64,
}

impl SweepCalibrationError {
    /// The same in another norm; `None` of no rows, or if no bin counts.
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationNorm, ForecastAccumulator, Forecasts, SweepCalibrationError};
    /// let mut sweep = SweepCalibrationError::default();
    /// sweep.update_forecasts(&Forecasts::new(&[0.5f64, 1.0], &[false, true])?);
    /// let found = sweep.calibration_error(CalibrationNorm::RootMeanSquare).unwrap();
    /// assert_eq!(found.error, 0.125f64.sqrt());
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn calibration_error(&self, norm: CalibrationNorm) -> Option<SweepCalibration> {
        let groups = self.0.tie_groups();
        let contents = |count: usize| -> Vec<Bin> {
            bins_of_equal_mass(&groups, count).into_iter().map(|(bin, _)| bin).collect()
        };
        let monotone = |bins: &[Bin]| bins.is_sorted_by_key(Bin::accuracy);
        let (mut bins, mut best) = (1, contents(1));
        while bins < groups.len() {
            let next = contents(bins + 1);
            if !monotone(&next) {
                break;
            }
            (bins, best) = (bins + 1, next);
        }
        Some(SweepCalibration { bins: best.len(), error: error_over(&best, norm)? })
    }
}

impl Accumulator for SweepCalibrationError {
    type Value = SweepCalibration;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.merge(&other.0);
        Ok(())
    }

    fn compute(&self) -> Option<SweepCalibration> {
        self.calibration_error(CalibrationNorm::Expected)
    }

    fn samples(&self) -> u64 {
        self.0.samples()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

impl ForecastAccumulator for SweepCalibrationError {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.0.add(forecast.probability, forecast.happened, forecast.weight);
    }
}
