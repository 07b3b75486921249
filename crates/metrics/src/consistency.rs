//! Whether a calibration error is more than chance: what it would be if what was said were true.
//!
//! A replicate keeps the probabilities and draws anew whether each event happens, with the
//! probability that was said of it. The calibration errors of B such replicates are what a calibrated
//! forecaster with these probabilities gets on so many rows, and the p-value is
//! (1 + number of replicates with at least the error that was found) / (B + 1), exact on any number of
//! rows.
//! The accuracies of the replicates give each bin of the reliability diagram its consistency bar: how
//! far it may stray from the diagonal by chance.
//!
//! Source: J. Bröcker, L. A. Smith, "Increasing the Reliability of Reliability Diagrams" (2007); J.
//! Vaicenavicius et al., "Evaluating Model Calibration in Classification" (2019).

use rand::Rng;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use softlabel_core::Result;

use crate::accumulator::EMPTY;
use crate::bin::{Bin, error_over};
use crate::bootstrap::quantile;
use crate::calibration::edges;
use crate::{Bootstrap, CalibrationNorm, Forecast, Forecasts};

/// What [`consistency_test`] comes to.
///
/// ```
/// use softlabel_metrics::{Bootstrap, CalibrationNorm, Forecasts, consistency_test};
/// let forecasts = Forecasts::new(&[1.0f64], &[true])?;
/// let norm = CalibrationNorm::Expected;
/// let test = consistency_test(&forecasts, 1, norm, &Bootstrap::new(99, 0)?)?;
/// assert_eq!((test.error, test.p_value), (0.0, 1.0));
/// assert_eq!(test.bars, [Some((1.0, 1.0))]);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyTest {
    /// The calibration error that was found.
    pub error: f64,
    /// The mean of those of the replicates: what a calibrated forecaster gets by chance.
    pub expected_error: f64,
    /// (1 + number of replicates with at least this error) / (B + 1).
    pub p_value: f64,
    /// For each bin of the reliability diagram, between which accuracies it lies at the level of the
    /// bootstrap if what was said is true; `None` of an empty bin.
    pub bars: Vec<Option<(f64, f64)>>,
}

/// Whether the calibration error over `bins` bins of equal width is more than chance.
///
/// # Errors
/// [`Error::Empty`](crate::Error::Empty) if there are no forecasts or no bin counts,
/// [`Error::OutOfRange`](crate::Error::OutOfRange) if `bins` is 0 or above a million.
///
/// ```
/// use softlabel_metrics::{Bootstrap, CalibrationNorm, Forecasts, consistency_test};
///
/// let bootstrap = Bootstrap::new(999, 0)?;
/// let norm = CalibrationNorm::Expected;
/// let happened: Vec<bool> = (0..100).map(|row| row % 2 == 0).collect();
/// let overconfident = Forecasts::new(&[0.75f64; 100], &happened)?;
/// assert_eq!(consistency_test(&overconfident, 15, norm, &bootstrap)?.p_value, 0.001);
/// let calibrated = Forecasts::new(&[0.5f64; 100], &happened)?;
/// assert_eq!(consistency_test(&calibrated, 15, norm, &bootstrap)?.p_value, 1.0);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("consistency resampling", "consistency bars"))]
pub fn consistency_test(
    forecasts: &Forecasts,
    bins: usize,
    norm: CalibrationNorm,
    bootstrap: &Bootstrap,
) -> Result<ConsistencyTest> {
    let edges = edges(bins)?;
    let placed: Vec<(usize, Forecast)> =
        forecasts.iter().map(|forecast| (edges.index(forecast.probability), forecast)).collect();
    let binned = |happened: &mut dyn FnMut(&Forecast) -> bool| {
        let mut found = vec![Bin::default(); bins];
        for (bin, forecast) in &placed {
            found[*bin].add(forecast.probability, happened(forecast), forecast.weight);
        }
        found
    };
    let error = error_over(&binned(&mut |forecast| forecast.happened), norm).ok_or(EMPTY)?;
    let replicate = |number: usize| {
        let mut generator = bootstrap.generator(number);
        let found = binned(&mut |forecast| {
            // 53 bits of a number in [0, 1): one in [0, c) has the probability c.
            let uniform = (generator.next_u64() >> 11) as f64 * 2f64.powi(-53);
            uniform < forecast.probability
        });
        let accuracies: Vec<Option<f64>> = found.iter().map(Bin::accuracy).collect();
        (error_over(&found, norm).unwrap_or(0.0), accuracies)
    };
    let replicates: Vec<(f64, Vec<Option<f64>>)> =
        (0..bootstrap.replicates()).into_par_iter().map(replicate).collect();
    let count = replicates.len() as f64;
    let as_large = replicates.iter().filter(|(value, _)| *value >= error).count() as f64;
    let tail = (1.0 - bootstrap.level()) / 2.0;
    let bar = |bin: usize| {
        let mut accuracies: Vec<f64> =
            replicates.iter().filter_map(|(_, bins)| *bins.get(bin)?).collect();
        accuracies.sort_unstable_by(f64::total_cmp);
        (!accuracies.is_empty())
            .then(|| (quantile(&accuracies, tail), quantile(&accuracies, 1.0 - tail)))
    };
    Ok(ConsistencyTest {
        error,
        expected_error: replicates.iter().map(|(value, _)| value).sum::<f64>() / count,
        p_value: (1.0 + as_large) / (count + 1.0),
        bars: (0..bins).map(bar).collect(),
    })
}
