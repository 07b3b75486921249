//! How far confidence and accuracy lie apart, over bins that hold equally many rows.
//!
//! The n rows by ascending confidence are cut into M chunks, the first n mod M of which have one
//! row more than the others (NumPy's `array_split`).
//! The edge between two chunks is the midpoint of the last confidence of the one and the first of
//! the other; the bins are the intervals (lower, upper\] between distinct edges, from 0 to 1.
//! With N_m, S_m, A_m as for bins of equal width, the errors are the same functions of the bins:
//! Σ_m |S_m − A_m| / n and so on, see [`CalibrationNorm`].
//!
//! Ties: rows of equal confidence are always in one bin, so the error does not depend on the order
//! of the rows, and there may be fewer bins than M: a network that gives a quarter of its rows the
//! confidence 1 fills one bin with them.
//! Every bin holds rows; how many bins there are is the length of
//! [`bins`](ReliabilityDiagram::bins) in the diagram.
//! Cutting through ties instead makes the error depend on the order of the rows, or fails.
//!
//! Numerical notes: confidences are kept as they are and sorted, so merging is exact and order does
//! not matter to the last bit; sums have compensation.
//! The state has 8 bytes a row, and computing it sorts a copy: O(n log n).
//!
//! Source: K. Nguyen, B. O'Connor, "Posterior Calibration and Exploratory Analysis for Natural
//! Language Processing Models" (2015); J. Nixon, M. Dusenberry, L. Zhang, G. Jerfel, D. Tran,
//! "Measuring Calibration in Deep Learning" (2019); A. Kumar, P. Liang, T. Ma, "Verified Uncertainty
//! Calibration" (2019), for edges at midpoints.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::RowStatistics;

use crate::accumulator::{EMPTY, updated, value_over};
use crate::bin::{Bin, debiased_absolute, debiased_square, error_over};
use crate::calibration::edges;
use crate::ranking::{Ranking, TieGroup};
use crate::{
    Accumulator, CalibrationNorm, DEFAULT_BINS, DebiasedCalibrationError, Forecast,
    ForecastAccumulator, Observed, Predictions, ReliabilityDiagram, Weight,
};

/// All confidences, put into bins of equal mass when they are asked for: the state behind adaptive
/// calibration errors and the reliability diagram with such bins, of which it computes the latter.
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size, and merges exactly: parts
/// give what the whole gives, to the last bit.
/// Undefined on no rows; the default has [`DEFAULT_BINS`] bins.
///
/// Source: Nguyen and O'Connor (2015); Nixon et al. (2019).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, CalibrationNorm, EqualMassCalibration};
///
/// let mut calibration = EqualMassCalibration::new(2)?;
/// let sure = Probabilities::new(&[1.0f32, 0.0, 1.0, 0.0, 1.0, 0.0, 0.75, 0.25], 2)?;
/// calibration.update(&sure, &Labels::new(&[0, 0, 1, 0], 2)?)?;
/// // The edge would be at 1, in the middle of the tied rows: they stay together.
/// let diagram = calibration.compute().unwrap();
/// assert_eq!(diagram.bins.len(), 1);
/// assert_eq!(calibration.calibration_error(CalibrationNorm::Expected), Some(0.1875));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
#[doc(alias("adaptive calibration error", "equal-frequency bins", "quantile bins"))]
pub struct EqualMassCalibration {
    bins: usize,
    ranking: Ranking,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    bins: usize,
    ranking: Ranking,
}

impl EqualMassCalibration {
    /// At most `bins` bins.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million.
    ///
    /// ```
    /// use softlabel_metrics::EqualMassCalibration;
    /// assert_eq!(EqualMassCalibration::new(15)?.requested_bins(), 15);
    /// let error = EqualMassCalibration::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "number of bins must be in 1..=1000000, found 0");
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn new(bins: usize) -> Result<Self> {
        checked(bins).map(|bins| Self { bins, ranking: Ranking::default() })
    }

    /// M, the number of bins that was asked for; there may be fewer.
    pub fn requested_bins(&self) -> usize {
        self.bins
    }

    /// The calibration error over all rows so far; `None` if no bin counts.
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationNorm, EqualMassCalibration};
    /// let empty = EqualMassCalibration::default();
    /// assert_eq!(empty.calibration_error(CalibrationNorm::Expected), None);
    /// ```
    pub fn calibration_error(&self, norm: CalibrationNorm) -> Option<f64> {
        error_over(&self.contents(), norm)
    }

    /// The squared calibration error over all rows so far without its bias, and its root; `None` of
    /// no rows.
    ///
    /// See [`CalibrationBins`](crate::CalibrationBins::debiased_calibration_error); bins of equal
    /// mass are those of its source.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Accumulator, EqualMassCalibration};
    /// let mut calibration = EqualMassCalibration::default();
    /// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25], 2)?;
    /// calibration.update(&probabilities, &Labels::new(&[0, 1], 2)?)?;
    /// assert_eq!(calibration.debiased_calibration_error().unwrap().squared, 0.0625 - 0.25);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn debiased_calibration_error(&self) -> Option<DebiasedCalibrationError> {
        debiased_square(&self.contents())
    }

    /// The expected calibration error over all rows so far without its bias; see
    /// [`CalibrationBins`](crate::CalibrationBins::debiased_expected_error).
    pub fn debiased_expected_error(&self) -> Option<f64> {
        debiased_absolute(&self.contents())
    }

    fn contents(&self) -> Vec<Bin> {
        bins_of_equal_mass(&self.ranking.tie_groups(), self.bins).into_iter().map(|b| b.0).collect()
    }
}

/// The number of bins, if it is one.
pub(crate) fn checked(bins: usize) -> Result<usize> {
    edges(bins).map(|edges| edges.count())
}

/// At most `count` bins over groups by ascending confidence, each with rows and its upper edge.
pub(crate) fn bins_of_equal_mass(groups: &[TieGroup], count: usize) -> Vec<(Bin, f64)> {
    let mut bins: Vec<(Bin, f64)> = Vec::new();
    let mut edges = inner_edges(groups, count).into_iter().chain([1.0]).peekable();
    for group in groups {
        while edges.next_if(|&edge| edge < place(group)).is_some() {}
        let upper = edges.peek().copied().unwrap_or(1.0);
        // Edges that were passed without a row between them have made no bin.
        if bins.last().is_none_or(|&(_, last)| last != upper) {
            bins.push((Bin::default(), upper));
        }
        if let Some((bin, _)) = bins.last_mut() {
            bin.add_group(group);
        }
    }
    if let Some((_, upper)) = bins.last_mut() {
        *upper = 1.0;
    }
    bins
}

/// Bins with their upper edges as plain data.
pub(crate) fn diagram(bins: &[(Bin, f64)], samples: u64) -> ReliabilityDiagram {
    let mut lower = 0.0;
    let bins = bins.iter().map(|(bin, upper)| {
        let bin = bin.between(lower, *upper);
        lower = *upper;
        bin
    });
    ReliabilityDiagram { samples, bins: bins.collect() }
}

/// Where a group lies between the edges: log-probabilities may be a rounding above 0, and what they
/// say above 1 belongs to the last bin.
fn place(group: &TieGroup) -> f64 {
    group.score.min(1.0)
}

/// The midpoints between consecutive chunks, ascending and perhaps with repetitions.
///
/// Rows that all weigh 1 are cut as NumPy's `array_split` cuts them; others where their weights reach
/// m/M of the whole.
fn inner_edges(groups: &[TieGroup], count: usize) -> Vec<f64> {
    let ends = |mass: fn(&TieGroup) -> f64| -> Vec<f64> {
        let ends = groups.iter().scan(0.0, |end, group| {
            *end += mass(group);
            Some(*end)
        });
        ends.collect()
    };
    let (rows, masses) = (ends(|group| group.rows as f64), ends(TieGroup::mass));
    let Some((&total_rows, &total)) = rows.last().zip(masses.last()) else { return Vec::new() };
    // The middle of what lies on both sides of a cut.
    let middle = |ends: &[f64], cut: f64| {
        let [below, above] =
            [ends.partition_point(|&end| end < cut), ends.partition_point(|&end| end <= cut)];
        let last = groups.len() - 1;
        f64::midpoint(place(&groups[below.min(last)]), place(&groups[above.min(last)]))
    };
    if groups.iter().any(|group| group.mass() != group.rows as f64) {
        return (1..count).map(|cut| middle(&masses, total * cut as f64 / count as f64)).collect();
    }
    let count = total_rows.min(count as f64);
    // The first rows mod count chunks have one row more than the others.
    let (each, more) = ((total_rows / count).floor(), total_rows % count);
    let starts = (1..).map(f64::from).take_while(|&chunk| chunk < count);
    starts.map(|chunk| middle(&rows, chunk * each + chunk.min(more))).collect()
}

impl Default for EqualMassCalibration {
    /// [`DEFAULT_BINS`] bins.
    fn default() -> Self {
        Self { bins: DEFAULT_BINS, ranking: Ranking::default() }
    }
}

impl TryFrom<State> for EqualMassCalibration {
    type Error = Error;

    fn try_from(State { bins, ranking }: State) -> Result<Self> {
        checked(bins).map(|bins| Self { bins, ranking })
    }
}

impl From<EqualMassCalibration> for State {
    fn from(EqualMassCalibration { bins, ranking }: EqualMassCalibration) -> Self {
        Self { bins, ranking }
    }
}

impl Accumulator for EqualMassCalibration {
    type Value = ReliabilityDiagram;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if self.bins != other.bins {
            let bins = |of: &Self| format!("{} bins", of.bins);
            return Err(Error::mismatch("accumulator to merge", bins(self), bins(other)));
        }
        self.ranking.merge(&other.ranking);
        Ok(())
    }

    fn compute(&self) -> Option<ReliabilityDiagram> {
        let bins = bins_of_equal_mass(&self.ranking.tie_groups(), self.bins);
        (self.samples() > 0).then(|| diagram(&bins, self.samples()))
    }

    fn samples(&self) -> u64 {
        self.ranking.samples()
    }

    fn reset(&mut self) {
        self.ranking.reset();
    }
}

impl ForecastAccumulator for EqualMassCalibration {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.ranking.add(forecast.probability, forecast.happened, forecast.weight);
    }
}

/// The expected calibration error over at most `bins` bins of equal mass, Σ_m |S_m − A_m| / n; see
/// [`EqualMassCalibration`], which also has the other norms.
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.875f32, 0.125, 0.75, 0.25], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let error = softlabel_metrics::equal_mass_calibration_error(&probabilities, &labels, 2)?;
/// assert_eq!(error, (0.125 + 0.75) / 2.0);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("adaptive ECE", "AdaECE"))]
pub fn equal_mass_calibration_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<f64> {
    let calibration = updated(EqualMassCalibration::new(bins)?, predictions, labels)?;
    calibration.calibration_error(CalibrationNorm::Expected).ok_or(EMPTY)
}

/// The reliability diagram over at most `bins` bins of equal mass: in each the number of rows,
/// their mean confidence and their accuracy.
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.875f32, 0.125, 0.75, 0.25], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let diagram = softlabel_metrics::equal_mass_reliability_diagram(&probabilities, &labels, 2)?;
/// assert_eq!((diagram.bins[0].upper, diagram.bins[1].count), (0.8125, 1));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn equal_mass_reliability_diagram(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<ReliabilityDiagram> {
    value_over(EqualMassCalibration::new(bins)?, predictions, labels)
}
