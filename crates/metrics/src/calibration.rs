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
//! - unweighted mean over the B bins that hold rows: 1/B Σ_{m: N_m>0} |S_m − A_m| / N_m, which some
//!   libraries call average calibration error (ACE)
//! - debiased square: Σ_m N_m/n · (((S_m − A_m)/N_m)² − ā_m(1 − ā_m)/(N_m − 1)) over the bins with
//!   N_m ≥ 2, where ā_m = A_m/N_m
//!
//! All but the last are in \[0, 1\], and ECE ≤ RMSCE ≤ MCE.
//! They judge the top class only, depend on M, and are biased upwards on few rows: a calibrated
//! classifier does not get 0.
//! A bin with one row can decide the maximum; [`CalibrationNorm::Maximum`] can leave such bins out.
//! The debiased square takes away what chance alone adds to RMSCE²: a calibrated classifier gets 0
//! on average, so it gets a negative number as often as a positive one.
//!
//! Numerical notes: edges are computed once in `f64` and compared exactly; confidences are summed
//! with compensation and counts are integers, so nothing drifts.
//!
//! Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities
//! Using Bayesian Binning" (2015), for ECE and MCE; C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger,
//! "On Calibration of Modern Neural Networks" (2017), for the bins; D. Hendrycks, M. Mazeika, T.
//! Dietterich, "Deep Anomaly Detection with Outlier Exposure" (2019), for RMSCE; J. Bröcker,
//! "Estimating Reliability and Resolution of Probability Forecasts through Decomposition of the
//! Empirical Score" (2012), and A. Kumar, P. Liang, T. Ma, "Verified Uncertainty Calibration"
//! (2019), for the debiased square.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::{EqualWidthBins, RowStatistics};

use crate::accumulator::{EMPTY, updated, value_over};
use crate::bin::{Bin, debiased_absolute, debiased_square, error_over, rows_of};
use crate::{
    Accumulator, Forecast, ForecastAccumulator, Observed, Predictions, ReliabilityDiagram, Weight,
};

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
    /// The mean of their sizes, every bin that holds rows counting alike.
    ///
    /// A bin with one row weighs as much as one with thousands.
    /// Some libraries call it ACE; that of Nixon et al. (2019) is another one,
    /// [`AdaptiveCalibration`](crate::AdaptiveCalibration).
    #[doc(alias("average calibration error", "unweighted ACE"))]
    BinAverage,
}

/// An estimate of the squared calibration error without its bias, and its root.
///
/// ```
/// use softlabel_metrics::DebiasedCalibrationError;
/// let error = DebiasedCalibrationError { squared: -0.01, root: 0.0 };
/// assert!(error.squared < error.root);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebiasedCalibrationError {
    /// Σ_m N_m/n · (((S_m − A_m)/N_m)² − ā_m(1 − ā_m)/(N_m − 1)); negative where chance alone would
    /// have led to larger gaps.
    pub squared: f64,
    /// The root of `squared`; 0 where that is negative.
    pub root: f64,
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
        error_over(&self.bins, norm)
    }

    /// The squared calibration error over all rows so far without its bias, and its root; `None` of
    /// no rows.
    ///
    /// Bins with one row have no estimate of their variance and add nothing.
    ///
    /// Source: Bröcker (2012); Kumar, Liang and Ma (2019).
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Accumulator, CalibrationBins};
    ///
    /// // 75 % sure, half of two right: the gap is 1/4, and the variance of ā is 1/4.
    /// let mut bins = CalibrationBins::default();
    /// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25], 2)?;
    /// bins.update(&probabilities, &Labels::new(&[0, 1], 2)?)?;
    /// let error = bins.debiased_calibration_error().unwrap();
    /// assert_eq!((error.squared, error.root), (0.0625 - 0.25, 0.0));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    #[doc(alias("debiased L2", "debiased RMSCE"))]
    pub fn debiased_calibration_error(&self) -> Option<DebiasedCalibrationError> {
        debiased_square(&self.bins)
    }

    /// The expected calibration error without its bias; `None` of no rows, and if a bin holds a single
    /// row, of whose accuracy nothing is known.
    ///
    /// 2 ECE − E\[ECE(R)\], R_m ~ N(ā_m, ā_m(1 − ā_m)/N_m) in place of the accuracies; the mean is that
    /// of a folded normal variable, and no sample of it is drawn. It may be negative.
    ///
    /// Source: Kumar, Liang and Ma (2019).
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationBins, ForecastAccumulator, Forecasts};
    /// let mut bins = CalibrationBins::default();
    /// bins.update_forecasts(&Forecasts::new(&[0.5f64, 0.5], &[true, false])?);
    /// // The gap is 0, and chance alone leads to one of √(2/π)·√(1/8) on average.
    /// let chance = (2.0 / std::f64::consts::PI / 8.0).sqrt();
    /// assert!((bins.debiased_expected_error().unwrap() + chance).abs() < 1e-15);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    #[doc(alias("debiased L1", "debiased ECE"))]
    pub fn debiased_expected_error(&self) -> Option<f64> {
        debiased_absolute(&self.bins)
    }

    /// Counts a value that was said, and whether what it was said of happened.
    pub(crate) fn count_value(&mut self, value: f64, happened: bool, weight: Weight) {
        self.bins[self.edges.index(value)].add(value, happened, weight);
    }

    /// Adds the bins of `other`, of which there are as many.
    pub(crate) fn merge_bins(&mut self, other: &Self) {
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.merge(other);
        }
    }

    /// What the bins hold.
    pub(crate) fn contents(&self) -> &[Bin] {
        &self.bins
    }

    /// What the bins hold, to be added to.
    pub(crate) fn contents_mut(&mut self) -> &mut [Bin] {
        &mut self.bins
    }

    /// Where the bins begin and end.
    pub(crate) fn edges(&self) -> &EqualWidthBins {
        &self.edges
    }

    /// Empties all bins.
    pub(crate) fn clear(&mut self) {
        self.bins.fill(Bin::default());
    }
}

impl Default for CalibrationBins {
    /// [`DEFAULT_BINS`] bins.
    fn default() -> Self {
        Self::empty(EqualWidthBins::default())
    }
}

/// The edges of `count` bins, or the error of the vocabulary.
pub(crate) fn edges(count: usize) -> Result<EqualWidthBins> {
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

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if self.count() != other.count() {
            let bins = |of: &Self| format!("{} bins", of.count());
            return Err(Error::mismatch("accumulator to merge", bins(self), bins(other)));
        }
        self.merge_bins(other);
        Ok(())
    }

    fn compute(&self) -> Option<ReliabilityDiagram> {
        let samples = self.samples();
        let bins = self.edges.intervals().zip(&self.bins);
        let bins = bins.map(|((lower, upper), bin)| bin.between(lower, upper));
        (samples > 0).then(|| ReliabilityDiagram { samples, bins: bins.collect() })
    }

    fn samples(&self) -> u64 {
        rows_of(&self.bins)
    }

    fn reset(&mut self) {
        self.clear();
    }
}

impl ForecastAccumulator for CalibrationBins {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.count_value(forecast.probability, forecast.happened, forecast.weight);
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
/// - the mean of |S_m − A_m| / N_m over the bins that hold rows in the norm
///   [`BinAverage`](CalibrationNorm::BinAverage),
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

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
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

impl ForecastAccumulator for CalibrationError {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.bins.add_forecast(forecast);
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
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<f64> {
    value_over(CalibrationError::new(bins, CalibrationNorm::Expected)?, predictions, labels)
}

/// The squared calibration error over `bins` bins of equal width without its bias, and its root;
/// see [`CalibrationBins::debiased_calibration_error`].
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.25, 0.75], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let error = softlabel_metrics::debiased_calibration_error(&probabilities, &labels, 15)?;
/// assert_eq!(error.root, 0.25); // two of two right: their accuracy has no variance
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("debiased L2", "debiased RMSCE"))]
pub fn debiased_calibration_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<DebiasedCalibrationError> {
    let bins = updated(CalibrationBins::new(bins)?, predictions, labels)?;
    bins.debiased_calibration_error().ok_or(EMPTY)
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
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<ReliabilityDiagram> {
    value_over(CalibrationBins::new(bins)?, predictions, labels)
}
