//! How far the probability of every class, not of the top class alone, lies from its frequency.
//!
//! For each class k, the n values p_ik are binned and compared with whether the label was k: with
//! N_mk of them in bin m, S_mk their sum and A_mk how often the label was k,
//!
//! - CE_k = Σ_m |S_mk − A_mk| / n_k, or in the quadratic norm
//!   CE_k = √(Σ_m N_mk/n_k · ((S_mk − A_mk)/N_mk)²)
//! - their mean 1/K Σ_k CE_k or their sum Σ_k CE_k; in the quadratic norm the root of the mean or
//!   the sum of their squares
//!
//! p: probabilities, `[rows, classes]`; n_k is n, or the number of p_ik that are counted where
//! those below a threshold are not.
//!
//! | bins | threshold | known as | here |
//! |---|---|---|---|
//! | equal width | none | classwise ECE, static calibration error (SCE), marginal error | [`ClasswiseCalibration`] |
//! | equal mass | none | adaptive calibration error (ACE) of Nixon et al. | [`AdaptiveCalibration`] |
//! | equal mass | 0.01 or so | thresholded adaptive calibration error (TACE) | [`AdaptiveCalibration::with_threshold`] |
//!
//! Both mean and sum are published: the tables of Kull et al. are sums, those of Nixon et al. and
//! Kumar et al. means, K times smaller.
//! With many classes nearly all values are nearly 0, and without a threshold they decide the
//! number.
//! The ACE of some libraries is another thing, the unweighted mean over the bins of the top class:
//! [`CalibrationNorm::BinAverage`].
//!
//! Ties are in one bin, as in [`EqualMassCalibration`](crate::EqualMassCalibration); its bins are
//! therefore weighted by what they hold, which is the plain mean over bins of Nixon et al. wherever
//! they hold equally much.
//!
//! Numerical notes: sums have compensation, counts are integers.
//! Of K classes and M bins the state over bins of equal width has K·M bins, whatever the number of
//! rows; the one over bins of equal mass has 8 bytes a counted value, 8·K·n without a threshold.
//!
//! Source: M. Kull et al., "Beyond Temperature Scaling: Obtaining Well-Calibrated Multiclass
//! Probabilities with Dirichlet Calibration" (2019); J. Nixon, M. Dusenberry, L. Zhang, G. Jerfel,
//! D. Tran, "Measuring Calibration in Deep Learning" (2019); A. Kumar, P. Liang, T. Ma, "Verified
//! Uncertainty Calibration" (2019), for the quadratic norm.

mod adaptive;

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};

use softlabel_kernels::EqualWidthBins;

use crate::accumulator::EMPTY;
use crate::bin::{Bin, error_over, rows_of};
use crate::predictions::{check, for_rows};
use crate::{
    Accumulator, CalibrationBins, CalibrationNorm, Observed, Predictions, ReliabilityDiagram,
    Weight,
};

pub use adaptive::{AdaptiveCalibration, adaptive_calibration_error};

/// The calibration error of one class.
///
/// ```
/// use softlabel_metrics::ClassCalibration;
/// let rare = ClassCalibration { values: 0, expected: None, root_mean_square: None };
/// assert_eq!(rare.values, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassCalibration {
    /// n_k, the number of values that are counted.
    pub values: u64,
    /// Σ_m |S_mk − A_mk| / n_k; `None` if no value is counted.
    pub expected: Option<f64>,
    /// √(Σ_m N_mk/n_k · ((S_mk − A_mk)/N_mk)²); `None` if no value is counted.
    pub root_mean_square: Option<f64>,
}

/// The calibration errors of all classes.
///
/// What is taken over all classes leaves out those of which a threshold left no value.
///
/// ```
/// use softlabel_metrics::{ClassCalibration, ClasswiseErrors};
///
/// let class = |error| ClassCalibration {
///     values: 8,
///     expected: Some(error),
///     root_mean_square: Some(error),
/// };
/// let errors = ClasswiseErrors { samples: 8, classes: vec![class(0.375), class(0.5)] };
/// assert_eq!((errors.mean(), errors.sum()), (Some(0.4375), Some(0.875)));
/// assert_eq!(errors.root_sum_of_squares(), Some(0.625));
/// assert_eq!(errors.root_mean_square(), Some((0.390625f64 / 2.0).sqrt()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClasswiseErrors {
    /// The number of rows.
    pub samples: u64,
    /// The classes, in their order.
    pub classes: Vec<ClassCalibration>,
}

impl ClasswiseErrors {
    /// 1/K Σ_k CE_k; `None` if no class has values.
    #[doc(alias("SCE", "cwECE"))]
    pub fn mean(&self) -> Option<f64> {
        Some(self.sum()? / self.defined().count() as f64)
    }

    /// Σ_k CE_k; `None` if no class has values.
    pub fn sum(&self) -> Option<f64> {
        self.defined().map(|(expected, _)| expected).reduce(|sum, error| sum + error)
    }

    /// (1/K Σ_k CE_k²)^½ with CE_k in the quadratic norm, the marginal calibration error of Kumar
    /// et al.; `None` if no class has values.
    #[doc(alias = "marginal calibration error")]
    pub fn root_mean_square(&self) -> Option<f64> {
        Some((self.sum_of_squares()? / self.defined().count() as f64).sqrt())
    }

    /// (Σ_k CE_k²)^½ with CE_k in the quadratic norm; `None` if no class has values.
    pub fn root_sum_of_squares(&self) -> Option<f64> {
        self.sum_of_squares().map(f64::sqrt)
    }

    fn sum_of_squares(&self) -> Option<f64> {
        self.defined().map(|(_, error)| error * error).reduce(|sum, square| sum + square)
    }

    /// Both errors of every class that has them.
    fn defined(&self) -> impl Iterator<Item = (f64, f64)> {
        self.classes.iter().filter_map(|class| Some((class.expected?, class.root_mean_square?)))
    }

    /// The errors of bins, class by class.
    fn of(samples: u64, classes: impl Iterator<Item = Vec<Bin>>) -> Option<Self> {
        let class = |bins: Vec<Bin>| ClassCalibration {
            values: rows_of(&bins),
            expected: error_over(&bins, CalibrationNorm::Expected),
            root_mean_square: error_over(&bins, CalibrationNorm::RootMeanSquare),
        };
        (samples > 0).then(|| Self { samples, classes: classes.map(class).collect() })
    }
}

/// Values of a few thousand rows counted without weights and summed without compensation: what of
/// K·M bins can be touched for every row.
pub(crate) struct Tally {
    rows: u32,
    edges: EqualWidthBins,
    /// Of every class its bins, in order: how many values, how many of them of the label, their sum.
    values: Vec<u32>,
    labels: Vec<u32>,
    sums: Vec<f64>,
}

impl Tally {
    /// After so many rows a plain sum is off by at most 4e-13 of its size.
    const ROWS: u32 = 4096;

    fn add(&mut self, label: usize, probabilities: &[f64]) {
        self.rows += 1;
        let count = self.edges.count();
        let classes = self.values.chunks_exact_mut(count).zip(self.sums.chunks_exact_mut(count));
        for ((values, sums), &p) in classes.zip(probabilities) {
            let bin = self.edges.index(p);
            values[bin] += 1;
            sums[bin] += p;
        }
        if let Some(&p) = probabilities.get(label) {
            self.labels[label * count + self.edges.index(p)] += 1;
        }
    }
}

/// Checks that predictions are of so many classes.
fn check_classes(expected: usize, predictions: &(impl Predictions + ?Sized)) -> Result<()> {
    if predictions.classes() == expected {
        return Ok(());
    }
    let [expected, found] =
        [expected, predictions.classes()].map(|count| format!("{count} classes"));
    Err(Error::mismatch("predictions", expected, found))
}

/// Checks that the states of all classes take these predictions, then gives each its probability of
/// every row and whether the class was the label; how many rows there are.
fn add_rows<S>(
    classes: &mut [S],
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    add: impl Fn(&mut S, f64, bool, Weight),
) -> Result<u64> {
    check(predictions, labels)?;
    check_classes(classes.len(), predictions)?;
    let mut rows = 0;
    for_rows(predictions, labels, 0..predictions.rows(), |row, weight, probabilities| {
        rows += 1;
        for (class, (state, &probability)) in classes.iter_mut().zip(probabilities).enumerate() {
            add(state, probability, class == row.label, weight);
        }
    })?;
    Ok(rows)
}

/// The number of classes, if it is one.
fn checked_classes(classes: usize) -> Result<usize> {
    if classes == 0 {
        return Err(Error::Empty { what: "the class axis" });
    }
    Ok(classes)
}

/// Probabilities counted class by class in bins of equal width: the state behind the classwise
/// calibration error.
///
/// It looks at every probability of a row, not at its [`RowStatistics`](crate::RowStatistics)
/// alone, so it is no [`Accumulator`](crate::Accumulator) but has the same methods.
/// The state has a fixed size: as many bins for each class, whatever the number of rows.
///
/// Source: Kull et al. (2019); Nixon et al. (2019).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::ClasswiseCalibration;
///
/// let mut calibration = ClasswiseCalibration::new(3, 15)?;
/// calibration.update(
///     &Probabilities::new(&[0.5f32, 0.25, 0.25, 0.5, 0.25, 0.25], 3)?,
///     &Labels::new(&[0, 1], 3)?,
/// )?;
/// let errors = calibration.compute().unwrap();
/// // The frequencies are 1/2, 1/2 and 0.
/// let of_classes: Vec<_> = errors.classes.iter().map(|class| class.expected).collect();
/// assert_eq!(of_classes, [Some(0.0), Some(0.25), Some(0.25)]);
/// assert_eq!(errors.sum(), Some(0.5));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WidthState", into = "WidthState")]
#[doc(alias("cwECE", "SCE", "static calibration error", "marginal calibration error"))]
pub struct ClasswiseCalibration {
    samples: u64,
    /// At least one, all of the same number of bins.
    classes: Vec<CalibrationBins>,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WidthState {
    samples: u64,
    classes: Vec<CalibrationBins>,
}

impl ClasswiseCalibration {
    /// `bins` bins of equal width for each of `classes` classes.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Empty`] if `classes` is 0.
    ///
    /// ```
    /// use softlabel_metrics::ClasswiseCalibration;
    /// assert_eq!(ClasswiseCalibration::new(10, 15)?.compute(), None);
    /// assert!(ClasswiseCalibration::new(0, 15).is_err());
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn new(classes: usize, bins: usize) -> Result<Self> {
        let classes = checked_classes(classes)?;
        Ok(Self { samples: 0, classes: vec![CalibrationBins::new(bins)?; classes] })
    }

    /// Adds every row of `predictions` that counts, with its label and its weight.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one label a row, or if predictions or labels are of
    /// another number of classes; nothing is added then.
    pub fn update(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
    ) -> Result<()> {
        check(predictions, labels)?;
        check_classes(self.classes.len(), predictions)?;
        let mut tally = self.tally();
        for_rows(predictions, labels, 0..predictions.rows(), |row, weight, probabilities| {
            self.add_row(&mut tally, row.label, weight, probabilities);
        })?;
        self.take(&mut tally);
        Ok(())
    }

    /// An empty tally of these bins.
    pub(crate) fn tally(&self) -> Tally {
        let edges = self.classes.first().map(CalibrationBins::edges).cloned().unwrap_or_default();
        let cells = edges.count() * self.classes.len();
        Tally {
            rows: 0,
            edges,
            values: vec![0; cells],
            labels: vec![0; cells],
            sums: vec![0.0; cells],
        }
    }

    /// Adds the probabilities of a row, those of weight 1 to the tally, which is taken from time to
    /// time and must be at the end.
    pub(crate) fn add_row(
        &mut self,
        tally: &mut Tally,
        label: usize,
        weight: Weight,
        probabilities: &[f64],
    ) {
        if weight != Weight::ONE {
            self.samples += 1;
            for (class, (bins, &p)) in self.classes.iter_mut().zip(probabilities).enumerate() {
                bins.count_value(p, class == label, weight);
            }
            return;
        }
        tally.add(label, probabilities);
        if tally.rows >= Tally::ROWS {
            self.take(tally);
        }
    }

    /// Adds what the tally holds and empties it.
    pub(crate) fn take(&mut self, tally: &mut Tally) {
        self.samples += u64::from(tally.rows);
        let bins = self.classes.iter_mut().flat_map(CalibrationBins::contents_mut);
        let cells = tally.values.iter_mut().zip(&mut tally.labels).zip(&mut tally.sums);
        for (bin, ((values, labels), sum)) in
            bins.zip(cells).filter(|(_, ((values, _), _))| **values > 0)
        {
            bin.add_rows(u64::from(*values), u64::from(*labels), *sum);
            (*values, *labels, *sum) = (0, 0, 0.0);
        }
        tally.rows = 0;
    }

    /// Adds everything that was added to `other`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two differ in classes or bins; `self` is then as it was.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let shape = |of: &Self| (of.classes.len(), of.classes.first().map(CalibrationBins::count));
        if shape(self) != shape(other) {
            let words = |of: &Self| {
                let (classes, bins) = shape(of);
                format!("{classes} classes of {} bins", bins.unwrap_or(0))
            };
            return Err(Error::mismatch("accumulator to merge", words(self), words(other)));
        }
        self.samples += other.samples;
        for (bins, other) in self.classes.iter_mut().zip(&other.classes) {
            bins.merge_bins(other);
        }
        Ok(())
    }

    /// The errors over all rows added so far; `None` of no rows.
    pub fn compute(&self) -> Option<ClasswiseErrors> {
        let classes = self.classes.iter();
        ClasswiseErrors::of(self.samples, classes.map(|bins| bins.contents().to_vec()))
    }

    /// The reliability diagram of every class: its probabilities against how often it was the label.
    ///
    /// No rows have no diagrams.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::ClasswiseCalibration;
    /// let mut calibration = ClasswiseCalibration::new(2, 2)?;
    /// let probabilities = Probabilities::new(&[0.75f32, 0.25], 2)?;
    /// calibration.update(&probabilities, &Labels::new(&[1], 2)?)?;
    /// let diagrams = calibration.diagrams();
    /// assert_eq!(diagrams[0].bins[1].gap(), Some(-0.75));
    /// assert_eq!(diagrams[1].bins[0].gap(), Some(0.75));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    #[doc(alias("calibration by class", "calibration curve"))]
    pub fn diagrams(&self) -> Vec<ReliabilityDiagram> {
        self.classes.iter().filter_map(Accumulator::compute).collect()
    }

    /// The calibration error of every class in any norm, in their order; `None` for classes of which
    /// no bin counts.
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationNorm, ClasswiseCalibration};
    /// let empty = ClasswiseCalibration::new(3, 15)?;
    /// assert_eq!(empty.calibration_errors(CalibrationNorm::BinAverage), [None; 3]);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn calibration_errors(&self, norm: CalibrationNorm) -> Vec<Option<f64>> {
        self.classes.iter().map(|bins| bins.calibration_error(norm)).collect()
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// How many rows were added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Forgets all rows and keeps the configuration.
    pub fn reset(&mut self) {
        self.samples = 0;
        self.classes.iter_mut().for_each(CalibrationBins::clear);
    }
}

impl TryFrom<WidthState> for ClasswiseCalibration {
    type Error = Error;

    fn try_from(WidthState { samples, classes }: WidthState) -> Result<Self> {
        checked_classes(classes.len())?;
        let count = |of: Option<&CalibrationBins>| of.map_or(0, CalibrationBins::count);
        if let Some(other) = classes.iter().find(|bins| bins.count() != count(classes.first())) {
            let words = |of| format!("{} bins", count(of));
            let [expected, found] = [classes.first(), Some(other)].map(words);
            return Err(Error::mismatch("state of a class", expected, found));
        }
        Ok(Self { samples, classes })
    }
}

impl From<ClasswiseCalibration> for WidthState {
    fn from(ClasswiseCalibration { samples, classes }: ClasswiseCalibration) -> Self {
        Self { samples, classes }
    }
}

/// The mean over classes of the calibration error over `bins` bins of equal width; see
/// [`ClasswiseCalibration`], which also has the sum and the quadratic norm.
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.75f32, 0.25], 2)?;
/// let labels = Labels::new(&[1], 2)?;
/// let error = softlabel_metrics::classwise_calibration_error(&probabilities, &labels, 15)?;
/// assert_eq!(error, 0.75);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("cwECE", "SCE"))]
pub fn classwise_calibration_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<f64> {
    let mut calibration = ClasswiseCalibration::new(predictions.classes(), bins)?;
    calibration.update(predictions, labels)?;
    calibration.compute().and_then(|errors| errors.mean()).ok_or(EMPTY)
}
