//! How far confidence and accuracy lie apart, without bins.
//!
//! KS = max_j |Σ_{i≤j} (c_i − a_i)| / n, in \[0, 1\]
//!
//! c_1 ≤ … ≤ c_n: the confidences max_k p_k in ascending order, of probabilities `[rows, classes]`;
//! a_i: 1 if the top class of row i is the label, else 0.
//! It is the largest distance between two cumulative distributions over confidence, that of what
//! was said and that of what happened, as in the test of Kolmogorov and Smirnov.
//! Where all confidences err to the same side it equals the size of the overconfidence, and it is
//! never below that.
//!
//! Ties: j runs over the ends of groups of equal confidence.
//! Inside such a group the sum depends on the order of its rows, which means nothing: evaluated
//! there, a constant confidence of 1/2 that is right in every second row would get anything between
//! 0 and 1/4.
//!
//! Numerical notes: confidences are kept as they are and sorted, the sum has compensation; merging
//! is exact and order does not matter to the last bit.
//! The state has 8 bytes a row, and computing it sorts a copy: O(n log n).
//!
//! Source: K. Gupta, A. Rahimi, T. Ajanthan, T. Mensink, C. Sminchisescu, R. Hartley, "Calibration
//! of Neural Networks using Splines" (2021).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::cumulative::CumulativeDifference;
use crate::ranking::Ranking;
use crate::{Accumulator, Forecast, ForecastAccumulator, Observed, Predictions, Weight};

/// The Kolmogorov-Smirnov calibration error: max_j |Σ_{i≤j} (c_i − a_i)| / n over rows by ascending
/// confidence, in \[0, 1\].
///
/// It needs no bins, and keeps 8 bytes for every row instead, unlike accumulators of fixed size;
/// parts give what the whole gives, to the last bit.
/// Undefined on no rows.
///
/// Source: Gupta et al. (2021).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, KolmogorovSmirnovError};
///
/// let mut error = KolmogorovSmirnovError::default();
/// // 50 % sure and right, 75 % sure and wrong: the sums are −1/2 and 1/4.
/// let probabilities = Probabilities::new(&[0.5f32, 0.5, 0.75, 0.25], 2)?;
/// error.update(&probabilities, &Labels::new(&[0, 1], 2)?)?;
/// assert_eq!(error.compute(), Some(0.25));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias("KS", "KS error"))]
pub struct KolmogorovSmirnovError(Ranking);

impl Accumulator for KolmogorovSmirnovError {
    type Value = f64;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.merge(&other.0);
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        let path = CumulativeDifference::of(&self.0.tie_groups())?;
        Some(path.largest().max(-path.lowest()))
    }

    fn samples(&self) -> u64 {
        self.0.samples()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

impl ForecastAccumulator for KolmogorovSmirnovError {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.0.add(forecast.probability, forecast.happened, forecast.weight);
    }
}

/// The Kolmogorov-Smirnov calibration error: max_j |Σ_{i≤j} (c_i − a_i)| / n over rows by ascending
/// confidence; see [`KolmogorovSmirnovError`].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let half = Probabilities::new(&[0.5f32; 8], 2)?;
/// let labels = Labels::new(&[0, 0, 1, 1], 2)?;
/// assert_eq!(softlabel_metrics::kolmogorov_smirnov_error(&half, &labels)?, 0.0);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("KS", "KS error"))]
pub fn kolmogorov_smirnov_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    value_over(KolmogorovSmirnovError::default(), predictions, labels)
}
