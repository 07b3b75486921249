//! What the Brier score of the top class is made of.
//!
//! The confidences c_i = max_k p_ik say how likely the top class is right, a_i says whether it was,
//! and their Brier score is BS = 1/n Σ_i (c_i − a_i)², in \[0, 1\].
//! Over the bins m of confidence, with N_m rows, means c̄_m and ā_m, and ā the accuracy,
//!
//! BS = REL − RES + UNC + WBV − 2 WBC
//!
//! - reliability: REL = Σ_m N_m/n (c̄_m − ā_m)², how far confidence and accuracy lie apart; it is
//!   RMSCE²
//! - resolution: RES = Σ_m N_m/n (ā_m − ā)², how far the bins' accuracies lie apart
//! - uncertainty: UNC = ā(1 − ā), which is no merit or fault of the confidences
//! - within-bin variance: WBV = 1/n Σ_m Σ_{i∈m} (c_i − c̄_m)²
//! - within-bin covariance: WBC = 1/n Σ_m Σ_{i∈m} (c_i − c̄_m)(a_i − ā_m)
//!
//! Murphy's own three terms are all there is where every bin holds a single confidence.
//! Elsewhere they do not sum to the score, and what is missing are the two terms within bins; with
//! them the sum is exact, for any bins.
//!
//! Probabilities are `[rows, classes]`, labels one a row; bins are those of
//! [`CalibrationBins`](crate::CalibrationBins).
//!
//! Numerical notes: within a bin, confidences are summed as differences from its middle, with
//! compensation, so the variance does not drown in Σ c²; the score itself is summed apart from the
//! terms, and they agree up to a few 1e-16.
//!
//! Source: A. H. Murphy, "A New Vector Partition of the Probability Score" (1973); D. B.
//! Stephenson, C. A. S. Coelho, I. T. Jolliffe, "Two Extra Components in the Brier Score
//! Decomposition" (2008), for the terms within bins.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::{CompensatedSum, EqualWidthBins, RowStatistics};

use crate::accumulator::value_over;
use crate::calibration::edges;
use crate::mean::Mean;
use crate::weight::Mass;
use crate::{Accumulator, Forecast, ForecastAccumulator, Observed, Predictions, Weight};

/// The rows of one bin; d is the confidence less the middle of the bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    /// Σ w.
    mass: Mass,
    /// Σ w over the rows that are right.
    correct: Mass,
    /// Σ w d.
    difference: CompensatedSum,
    /// Σ w d².
    square: CompensatedSum,
    /// Σ w d over the rows that are right.
    difference_of_correct: CompensatedSum,
}

/// The terms of the Brier score of the top class, over bins of equal width:
/// REL − RES + UNC + WBV − 2 WBC.
///
/// Undefined on no rows; the default has [`DEFAULT_BINS`](crate::DEFAULT_BINS) bins.
///
/// Source: Murphy (1973); Stephenson, Coelho and Jolliffe (2008).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, MurphyDecomposition};
///
/// // 75 % sure twice, right once: neither reliable nor able to tell the two apart.
/// let mut decomposition = MurphyDecomposition::new(15)?;
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25], 2)?;
/// decomposition.update(&probabilities, &Labels::new(&[0, 1], 2)?)?;
/// let terms = decomposition.compute().unwrap();
/// assert_eq!((terms.reliability, terms.resolution, terms.uncertainty), (0.0625, 0.0, 0.25));
/// assert_eq!(terms.brier, 0.3125);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
#[doc(alias("Brier decomposition", "reliability", "resolution", "refinement"))]
pub struct MurphyDecomposition {
    score: Mean,
    edges: EqualWidthBins,
    /// As many as `edges` counts.
    cells: Vec<Cell>,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    score: Mean,
    cells: Vec<Cell>,
}

impl MurphyDecomposition {
    /// The decomposition over `bins` bins of equal width.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million.
    ///
    /// ```
    /// use softlabel_metrics::MurphyDecomposition;
    /// assert_eq!(MurphyDecomposition::new(10)?.count(), 10);
    /// assert!(MurphyDecomposition::new(0).is_err());
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn new(bins: usize) -> Result<Self> {
        Ok(Self::empty(edges(bins)?))
    }

    fn empty(edges: EqualWidthBins) -> Self {
        Self { score: Mean::default(), cells: vec![Cell::default(); edges.count()], edges }
    }

    /// M, the number of bins.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// The middle of a bin.
    fn middle(&self, bin: usize) -> f64 {
        (bin as f64 + 0.5) / self.count() as f64
    }
}

impl Default for MurphyDecomposition {
    /// [`DEFAULT_BINS`](crate::DEFAULT_BINS) bins.
    fn default() -> Self {
        Self::empty(EqualWidthBins::default())
    }
}

impl TryFrom<State> for MurphyDecomposition {
    type Error = Error;

    fn try_from(State { score, cells }: State) -> Result<Self> {
        Ok(Self { score, edges: edges(cells.len())?, cells })
    }
}

impl From<MurphyDecomposition> for State {
    fn from(MurphyDecomposition { score, cells, .. }: MurphyDecomposition) -> Self {
        Self { score, cells }
    }
}

impl Accumulator for MurphyDecomposition {
    type Value = MurphyTerms;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if self.count() != other.count() {
            let bins = |of: &Self| format!("{} bins", of.count());
            return Err(Error::mismatch("accumulator to merge", bins(self), bins(other)));
        }
        self.score.merge(&other.score);
        for (cell, other) in self.cells.iter_mut().zip(&other.cells) {
            cell.mass.merge(&other.mass);
            cell.correct.merge(&other.correct);
            cell.difference.merge(other.difference);
            cell.square.merge(other.square);
            cell.difference_of_correct.merge(other.difference_of_correct);
        }
        Ok(())
    }

    fn compute(&self) -> Option<MurphyTerms> {
        let brier = self.score.value()?;
        let rows = self.score.mass.value();
        let correct: f64 = self.cells.iter().map(|cell| cell.correct.value()).sum();
        let accuracy = correct / rows;
        let [mut reliability, mut resolution, mut variance, mut covariance] =
            [CompensatedSum::default(); 4];
        for (bin, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.mass.value() > 0.0)
        {
            let count = cell.mass.value();
            let share = cell.correct.value() / count;
            let difference = cell.difference.value();
            let gap = self.middle(bin) + difference / count - share;
            reliability.add(count * gap * gap);
            resolution.add(count * (share - accuracy).powi(2));
            // Rounding may leave −1e-17 of equal confidences.
            variance.add((cell.square.value() - difference * difference / count).max(0.0));
            covariance.add(cell.difference_of_correct.value() - difference * share);
        }
        Some(MurphyTerms {
            brier,
            reliability: reliability.value() / rows,
            resolution: resolution.value() / rows,
            uncertainty: accuracy * (1.0 - accuracy),
            within_bin_variance: variance.value() / rows,
            within_bin_covariance: covariance.value() / rows,
        })
    }

    fn samples(&self) -> u64 {
        self.score.samples
    }

    fn reset(&mut self) {
        self.score = Mean::default();
        self.cells.fill(Cell::default());
    }
}

impl ForecastAccumulator for MurphyDecomposition {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.score.add(forecast.residual().powi(2), forecast.weight);
        let bin = self.edges.index(forecast.probability);
        let difference = forecast.probability - self.middle(bin);
        let cell = &mut self.cells[bin];
        let weight = forecast.weight.get();
        cell.mass.add(weight);
        cell.difference.add(weight * difference);
        cell.square.add(weight * difference * difference);
        if forecast.happened {
            cell.correct.add(weight);
            cell.difference_of_correct.add(weight * difference);
        }
    }
}

/// What a [`MurphyDecomposition`] comes to.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
///
/// // Two confidences in one bin, the larger of them right: that is in their covariance alone.
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 1.0, 0.0], 2)?;
/// let labels = Labels::new(&[1, 0], 2)?;
/// let terms = softlabel_metrics::murphy_decomposition(&probabilities, &labels, 1)?;
/// assert_eq!((terms.resolution, terms.within_bin_covariance), (0.0, 0.0625));
/// assert_eq!(terms.brier, 0.5625 / 2.0);
/// assert!((terms.sum() - terms.brier).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MurphyTerms {
    /// The Brier score of the top class, 1/n Σ (c − a)², in \[0, 1\].
    ///
    /// Not that over all classes, which is [`BrierScore`](crate::BrierScore).
    pub brier: f64,
    /// REL: how far confidence and accuracy lie apart; lower is better.
    pub reliability: f64,
    /// RES: how far the accuracies of the bins lie apart; higher is better.
    pub resolution: f64,
    /// UNC: the variance of being right.
    pub uncertainty: f64,
    /// WBV: the variance of confidence within bins.
    pub within_bin_variance: f64,
    /// WBC: the covariance of confidence and being right within bins; higher is better.
    pub within_bin_covariance: f64,
}

impl MurphyTerms {
    /// REL − RES + UNC + WBV − 2 WBC, which is the Brier score up to rounding.
    ///
    /// ```
    /// use softlabel_metrics::MurphyTerms;
    /// let terms = MurphyTerms {
    ///     brier: 0.25,
    ///     reliability: 0.25,
    ///     resolution: 0.25,
    ///     uncertainty: 0.25,
    ///     within_bin_variance: 0.125,
    ///     within_bin_covariance: 0.0625,
    /// };
    /// assert_eq!(terms.sum(), terms.brier);
    /// ```
    pub fn sum(&self) -> f64 {
        self.reliability - self.resolution + self.uncertainty + self.within_bin_variance
            - 2.0 * self.within_bin_covariance
    }
}

/// The terms of the Brier score of the top class over `bins` bins of equal width; see
/// [`MurphyDecomposition`].
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.5, 0.5], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let terms = softlabel_metrics::murphy_decomposition(&probabilities, &labels, 15)?;
/// assert_eq!((terms.brier, terms.reliability), (0.125, 0.125));
/// assert_eq!((terms.resolution, terms.uncertainty), (0.25, 0.25));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn murphy_decomposition(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<MurphyTerms> {
    value_over(MurphyDecomposition::new(bins)?, predictions, labels)
}
