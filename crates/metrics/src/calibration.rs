//! How far confidence and accuracy lie apart.
//!
//! The rows are put into M bins of equal width by their confidence c = max_k p_k: bin m is
//! (m/M, (m+1)/M\], and c = 0 belongs to the first.
//! With N_m rows in bin m, S_m the sum of their confidences and A_m the number of them whose top
//! class is the label, n rows in all:
//!
//! - expected calibration error: ECE = Σ_m |S_m − A_m| / n
//! - root mean square calibration error: RMSCE = √(Σ_m N_m/n · ((S_m − A_m)/N_m)²)
//! - maximum calibration error: MCE = max_{m: N_m>0} |S_m − A_m| / N_m
//!
//! All are in \[0, 1\], and ECE ≤ RMSCE ≤ MCE.
//! They judge the top class only, depend on M, and are biased upwards on few rows: a calibrated
//! classifier does not get 0.
//! A bin with one row can decide the maximum; [`CalibrationNorm::Maximum`] can leave such bins out.
//!
//! Numerical notes: edges are computed once in `f64` and compared exactly; confidences are summed
//! with compensation and counts are integers, so nothing drifts.
//!
//! Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities
//! Using Bayesian Binning" (2015), for ECE and MCE; C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger,
//! "On Calibration of Modern Neural Networks" (2017), for the bins; D. Hendrycks, M. Mazeika, T.
//! Dietterich, "Deep Anomaly Detection with Outlier Exposure" (2019), for RMSCE.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Labels, Result};
use softlabel_kernels::{CompensatedSum, EqualWidthBins, RowStatistics};

use crate::accumulator::value_over;
use crate::{Accumulator, Predictions, ReliabilityBin, ReliabilityDiagram};

/// The number of bins that most papers report: 15, after Guo et al. (2017).
pub const DEFAULT_BINS: usize = EqualWidthBins::DEFAULT_COUNT;

/// How the gaps between confidence and accuracy of all bins become one number.
///
/// ```
/// use softlabel_metrics::CalibrationNorm;
/// assert_eq!(CalibrationNorm::default(), CalibrationNorm::Expected);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CalibrationNorm {
    /// The mean of their sizes, weighted by rows: ECE.
    #[default]
    #[doc(alias("ECE", "L1"))]
    Expected,
    /// The root of the mean of their squares, weighted by rows: RMSCE.
    #[doc(alias("RMSCE", "L2"))]
    RootMeanSquare,
    /// The largest: MCE.
    #[doc(alias = "MCE")]
    Maximum {
        /// Bins with fewer rows are left out; 0 and 1 leave out the empty ones alone.
        minimum_count: u64,
    },
}

/// The rows of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bin {
    count: u64,
    correct: u64,
    confidence: CompensatedSum,
}

impl Bin {
    /// |S_m − A_m|.
    fn distance(&self) -> f64 {
        (self.confidence.value() - self.correct as f64).abs()
    }

    fn per_row(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.count as f64)
    }
}

/// Rows counted by confidence: the state behind calibration errors and the reliability diagram, of
/// which it computes the latter.
///
/// Bin m of M is (m/M, (m+1)/M\]; a confidence of 0 belongs to the first.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, CalibrationBins, CalibrationNorm};
///
/// let mut bins = CalibrationBins::new(10)?;
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25], 2)?;
/// bins.update(&probabilities, &Labels::new(&[0, 1], 2)?)?;
/// assert_eq!(bins.calibration_error(CalibrationNorm::Expected), Some(0.25));
/// assert_eq!(bins.compute().unwrap().bins[7].count, 2);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Bin>", into = "Vec<Bin>")]
pub struct CalibrationBins {
    edges: EqualWidthBins,
    /// As many as `edges` counts.
    bins: Vec<Bin>,
}

impl CalibrationBins {
    /// `bins` bins of equal width, all empty.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million.
    ///
    /// ```
    /// use softlabel_metrics::CalibrationBins;
    /// assert_eq!(CalibrationBins::new(15)?.count(), 15);
    /// let error = CalibrationBins::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "number of bins must be in 1..=1000000, found 0");
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn new(bins: usize) -> Result<Self> {
        Ok(Self::empty(edges(bins)?))
    }

    fn empty(edges: EqualWidthBins) -> Self {
        Self { bins: vec![Bin::default(); edges.count()], edges }
    }

    /// M, the number of bins.
    pub fn count(&self) -> usize {
        self.bins.len()
    }

    /// The calibration error over all rows so far; `None` if no bin counts.
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationBins, CalibrationNorm};
    /// let empty = CalibrationBins::default();
    /// assert_eq!(empty.calibration_error(CalibrationNorm::Expected), None);
    /// ```
    pub fn calibration_error(&self, norm: CalibrationNorm) -> Option<f64> {
        let samples = self.samples();
        if samples == 0 {
            return None;
        }
        let samples = samples as f64;
        let filled = self.bins.iter().filter(|bin| bin.count > 0);
        match norm {
            CalibrationNorm::Expected => Some(filled.map(Bin::distance).sum::<f64>() / samples),
            CalibrationNorm::RootMeanSquare => {
                let square = |bin: &Bin| bin.distance().powi(2) / bin.count as f64;
                Some((filled.map(square).sum::<f64>() / samples).sqrt())
            }
            CalibrationNorm::Maximum { minimum_count } => filled
                .filter(|bin| bin.count >= minimum_count)
                .map(|bin| bin.distance() / bin.count as f64)
                .reduce(f64::max),
        }
    }
}

impl Default for CalibrationBins {
    /// [`DEFAULT_BINS`] bins.
    fn default() -> Self {
        Self::empty(EqualWidthBins::default())
    }
}

/// The edges of `count` bins, or the error of the vocabulary.
fn edges(count: usize) -> Result<EqualWidthBins> {
    EqualWidthBins::new(count).map_err(|error| Error::OutOfRange {
        name: "number of bins",
        expected: "in 1..=1000000",
        found: error.found as f64,
    })
}

impl TryFrom<Vec<Bin>> for CalibrationBins {
    type Error = Error;

    fn try_from(bins: Vec<Bin>) -> Result<Self> {
        Ok(Self { edges: edges(bins.len())?, bins })
    }
}

impl From<CalibrationBins> for Vec<Bin> {
    fn from(bins: CalibrationBins) -> Self {
        bins.bins
    }
}

impl Accumulator for CalibrationBins {
    type Value = ReliabilityDiagram;

    fn add(&mut self, row: &RowStatistics) {
        let bin = &mut self.bins[self.edges.index(row.confidence)];
        bin.count += 1;
        bin.correct += u64::from(row.is_correct());
        bin.confidence.add(row.confidence);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if self.count() != other.count() {
            let bins = |of: &Self| format!("{} bins", of.count());
            return Err(Error::mismatch("accumulator to merge", bins(self), bins(other)));
        }
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += other.count;
            bin.correct += other.correct;
            bin.confidence.merge(other.confidence);
        }
        Ok(())
    }

    fn compute(&self) -> Option<ReliabilityDiagram> {
        let samples = self.samples();
        let bins = self.edges.intervals().zip(&self.bins);
        let bins = bins.map(|((lower, upper), bin)| ReliabilityBin {
            lower,
            upper,
            count: bin.count,
            mean_confidence: bin.per_row(bin.confidence.value()),
            accuracy: bin.per_row(bin.correct as f64),
        });
        (samples > 0).then(|| ReliabilityDiagram { samples, bins: bins.collect() })
    }

    fn samples(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    fn reset(&mut self) {
        self.bins.fill(Bin::default());
    }
}

/// The calibration error in one of its norms, over bins of equal width.
///
/// With N_m rows in bin m, S_m the sum of their confidences, A_m the number of them that are right,
/// and n rows in all, it is
///
/// - Σ_m |S_m − A_m| / n in the norm [`Expected`](CalibrationNorm::Expected) (ECE),
/// - √(Σ_m N_m/n · ((S_m − A_m)/N_m)²) in the norm
///   [`RootMeanSquare`](CalibrationNorm::RootMeanSquare) (RMSCE),
/// - max_m |S_m − A_m| / N_m in the norm [`Maximum`](CalibrationNorm::Maximum) (MCE),
///
/// with ECE ≤ RMSCE ≤ MCE.
/// It judges the top class only, depends on the bins, and is biased upwards on few rows.
/// In \[0, 1\]; undefined on no rows, and where [`CalibrationNorm::Maximum`] leaves out every bin.
/// The default is the expected calibration error over [`DEFAULT_BINS`] bins.
///
/// Source: Naeini, Cooper and Hauskrecht (2015) and Guo et al. (2017); RMSCE: Hendrycks, Mazeika
/// and Dietterich (2019).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, CalibrationError, CalibrationNorm};
///
/// // Sure of both rows, right in one of them.
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 1.0, 0.0], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let mut expected = CalibrationError::default();
/// expected.update(&probabilities, &labels)?;
/// assert_eq!(expected.compute(), Some(0.5));
///
/// // No bin has three rows.
/// let mut maximum = CalibrationError::new(15, CalibrationNorm::Maximum { minimum_count: 3 })?;
/// maximum.update(&probabilities, &labels)?;
/// assert_eq!(maximum.compute(), None);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias("ECE", "MCE", "RMSCE"))]
pub struct CalibrationError {
    norm: CalibrationNorm,
    bins: CalibrationBins,
}

impl CalibrationError {
    /// The error in the norm `norm` over `bins` bins.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million.
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationError, CalibrationNorm};
    /// assert!(CalibrationError::new(10, CalibrationNorm::RootMeanSquare).is_ok());
    /// assert!(CalibrationError::new(0, CalibrationNorm::Expected).is_err());
    /// ```
    pub fn new(bins: usize, norm: CalibrationNorm) -> Result<Self> {
        Ok(Self { norm, bins: CalibrationBins::new(bins)? })
    }

    /// The norm.
    pub fn norm(&self) -> CalibrationNorm {
        self.norm
    }

    /// The bins.
    pub fn bins(&self) -> &CalibrationBins {
        &self.bins
    }
}

impl Accumulator for CalibrationError {
    type Value = f64;

    fn add(&mut self, row: &RowStatistics) {
        self.bins.add(row);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if self.norm != other.norm {
            let norm = |of: &Self| format!("{:?}", of.norm);
            return Err(Error::mismatch("accumulator to merge", norm(self), norm(other)));
        }
        self.bins.merge(&other.bins)
    }

    fn compute(&self) -> Option<f64> {
        self.bins.calibration_error(self.norm)
    }

    fn samples(&self) -> u64 {
        self.bins.samples()
    }

    fn reset(&mut self) {
        self.bins.reset();
    }
}

/// The expected calibration error over `bins` bins of equal width, Σ_m |S_m − A_m| / n; see
/// [`CalibrationError`], which also has the other norms.
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.25, 0.75], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let error = softlabel_metrics::calibration_error(&probabilities, &labels, 15)?;
/// assert_eq!(error, 0.25); // 75 % sure, 100 % right
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias = "ECE")]
pub fn calibration_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &Labels,
    bins: usize,
) -> Result<f64> {
    value_over(CalibrationError::new(bins, CalibrationNorm::Expected)?, predictions, labels)
}

/// The reliability diagram over `bins` bins of equal width: in each the number of rows, their mean
/// confidence and their accuracy.
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.75f32, 0.25], 2)?;
/// let labels = Labels::new(&[0], 2)?;
/// let diagram = softlabel_metrics::reliability_diagram(&probabilities, &labels, 4)?;
/// assert_eq!((diagram.bins[2].lower, diagram.bins[2].upper), (0.5, 0.75));
/// assert_eq!(diagram.bins[2].count, 1);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn reliability_diagram(
    predictions: &(impl Predictions + ?Sized),
    labels: &Labels,
    bins: usize,
) -> Result<ReliabilityDiagram> {
    value_over(CalibrationBins::new(bins)?, predictions, labels)
}
