//! What every row came to, in order: what resampling and the comparison of two models need.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::RowStatistics;

use crate::brier::brier_of;
use crate::predictions::in_blocks;
use crate::{Forecast, Forecasts, Observed, Predictions, RiskCoverageCurve, Weight};
use softlabel_core::number::all_or_infinite;

/// Of every row that counts the confidence, whether the top class is right, the negative
/// log-likelihood, the Brier score and the weight: 25 bytes, 33 with weights.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::RowScores;
///
/// let probabilities = Probabilities::new(&[0.75f64, 0.25], 2)?;
/// let rows = RowScores::of(&probabilities, &Labels::new(&[1], 2)?)?;
/// assert_eq!(rows.top_label().iter().next().unwrap().probability, 0.75);
/// assert_eq!(rows.negative_log_likelihoods(), [4.0f64.ln()]);
/// assert_eq!(rows.brier_scores(), [1.125]);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct RowScores {
    top_label: Forecasts,
    /// One a row, or none at all if the probabilities of the classes are not known.
    negative_log_likelihoods: Vec<f64>,
    brier_scores: Vec<f64>,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    top_label: Forecasts,
    #[serde(with = "all_or_infinite")]
    negative_log_likelihoods: Vec<f64>,
    brier_scores: Vec<f64>,
}

impl RowScores {
    /// Those of predictions under their labels.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if predictions and labels do not fit.
    pub fn of(
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
    ) -> Result<Self> {
        let add = |part: &mut Self, row: &RowStatistics, weight, _: &[f64]| part.push(row, weight);
        let mut rows = Self::default();
        for part in in_blocks(predictions, labels, &rows, add)? {
            rows.append(&part);
        }
        Ok(rows)
    }

    /// The confidence of every row and whether its top class is right.
    pub fn top_label(&self) -> &Forecasts {
        &self.top_label
    }

    /// −ln p_y of every row; empty if only confidences are known.
    pub fn negative_log_likelihoods(&self) -> &[f64] {
        &self.negative_log_likelihoods
    }

    /// Σ_k (p_k − 1\[k = y\])² of every row; empty if only confidences are known.
    pub fn brier_scores(&self) -> &[f64] {
        &self.brier_scores
    }

    /// Risk against coverage, the surest rows first; none of no rows.
    ///
    /// ```
    /// use softlabel_metrics::{Forecasts, RowScores};
    /// let rows = RowScores::from(Forecasts::new(&[0.9, 0.6], &[true, false])?);
    /// let points = rows.risk_coverage().unwrap().points;
    /// assert_eq!((points[0].coverage, points[0].risk), (0.5, 0.0));
    /// assert_eq!((points[1].coverage, points[1].risk), (1.0, 0.5));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn risk_coverage(&self) -> Option<RiskCoverageCurve> {
        let groups = self.top_label.tie_groups();
        (!groups.is_empty()).then(|| RiskCoverageCurve::of(&groups))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.top_label.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.top_label.is_empty()
    }

    pub(crate) fn push(&mut self, row: &RowStatistics, weight: Weight) {
        // Of log-probabilities the confidence may be a rounding above 1.
        let forecast = Forecast::top_label_of_row(row, weight);
        self.top_label.push(Forecast { probability: forecast.probability.min(1.0), ..forecast });
        self.negative_log_likelihoods.push(-row.label_log_probability);
        self.brier_scores.push(brier_of(row));
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.top_label.append(&other.top_label);
        self.negative_log_likelihoods.extend_from_slice(&other.negative_log_likelihoods);
        self.brier_scores.extend_from_slice(&other.brier_scores);
    }
}

impl From<Forecasts> for RowScores {
    /// Confidences in a top class, with nothing known of the other classes.
    fn from(top_label: Forecasts) -> Self {
        Self { top_label, ..Self::default() }
    }
}

impl TryFrom<State> for RowScores {
    type Error = Error;

    fn try_from(state: State) -> Result<Self> {
        let State { top_label, negative_log_likelihoods, brier_scores } = state;
        for (what, found) in [
            ("negative log-likelihoods", negative_log_likelihoods.len()),
            ("Brier scores", brier_scores.len()),
        ] {
            if found != top_label.len() && !(found == 0 && brier_scores.is_empty()) {
                let expected = format!("{} rows", top_label.len());
                return Err(Error::mismatch(what, expected, found.to_string()));
            }
        }
        Ok(Self { top_label, negative_log_likelihoods, brier_scores })
    }
}

impl From<RowScores> for State {
    fn from(rows: RowScores) -> Self {
        let RowScores { top_label, negative_log_likelihoods, brier_scores } = rows;
        Self { top_label, negative_log_likelihoods, brier_scores }
    }
}
