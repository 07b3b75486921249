//! How far predictions of ordered classes are from the label, in cumulative probabilities.
//!
//! RPS = 1/n Σ_i Σ_{k<K−1} (F_ik − 1\[y_i ≤ k\])², F_ik = Σ_{j≤k} p_ij, in \[0, K − 1\]
//!
//! p: probabilities, `[rows, classes]`, of classes in their order; y: labels, one a row.
//! Of two classes it is half the Brier score. Others divide by K − 1, which makes 1 the worst:
//! [`RankedProbabilityScore::normalized`].
//!
//! Source: E. S. Epstein, "A Scoring System for Probability Forecasts of Ranked Categories" (1969);
//! A. H. Murphy, "A Note on the Ranked Probability Score" (1971).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};

use crate::accumulator::EMPTY;
use crate::mean::Mean;
use crate::predictions::for_each_row;
use crate::{Observed, Predictions};

/// The ranked probability score of ordered classes: 1/n Σ_i Σ_k (F_ik − 1\[y_i ≤ k\])².
///
/// It looks at every probability of a row, not at its [`RowStatistics`](crate::RowStatistics) alone,
/// so it is no [`Accumulator`](crate::Accumulator) but has the same methods.
/// Undefined on no rows; of predictions of one number of classes.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::RankedProbabilityScore;
///
/// // One class off, and two.
/// let mut score = RankedProbabilityScore::new(3)?;
/// let sure = Probabilities::new(&[1.0f32, 0.0, 0.0], 3)?;
/// score.update(&sure, &Labels::new(&[1], 3)?)?;
/// assert_eq!(score.compute(), Some(1.0));
/// score.update(&sure, &Labels::new(&[2], 3)?)?;
/// assert_eq!((score.compute(), score.normalized()), (Some(1.5), Some(0.75)));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias = "RPS")]
pub struct RankedProbabilityScore {
    classes: usize,
    mean: Mean,
}

impl RankedProbabilityScore {
    /// Of predictions of so many classes.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] of less than two classes, which have no order.
    pub fn new(classes: usize) -> Result<Self> {
        if classes < 2 {
            let (name, expected) = ("class count", "at least 2");
            return Err(Error::OutOfRange { name, expected, found: classes as f64 });
        }
        Ok(Self { classes, mean: Mean::default() })
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
        if predictions.classes() != self.classes {
            let [expected, found] =
                [self.classes, predictions.classes()].map(|count| format!("{count} classes"));
            return Err(Error::mismatch("predictions", expected, found));
        }
        for_each_row(predictions, labels, |row, weight, probabilities| {
            let mut cumulative = 0.0;
            let inner = probabilities.iter().take(probabilities.len() - 1).enumerate();
            let terms = inner.map(|(class, p)| {
                cumulative += p;
                let at_most = f64::from(u8::from(row.label <= class));
                (cumulative - at_most).powi(2)
            });
            self.mean.add(terms.sum(), weight);
        })
    }

    /// Adds everything that was added to `other`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two differ in classes; `self` is then as it was.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            let [expected, found] =
                [self.classes, other.classes].map(|count| format!("{count} classes"));
            return Err(Error::mismatch("accumulator to merge", expected, found));
        }
        self.mean.merge(&other.mean);
        Ok(())
    }

    /// The score, in \[0, K − 1\]; `None` of no rows.
    pub fn compute(&self) -> Option<f64> {
        self.mean.value()
    }

    /// The score divided by K − 1, in \[0, 1\]; `None` of no rows.
    pub fn normalized(&self) -> Option<f64> {
        Some(self.compute()? / (self.classes - 1) as f64)
    }

    /// How many rows were added.
    pub fn samples(&self) -> u64 {
        self.mean.samples
    }

    /// Forgets all rows and keeps the configuration.
    pub fn reset(&mut self) {
        self.mean = Mean::default();
    }
}

/// The ranked probability score of ordered classes; see [`RankedProbabilityScore`].
///
/// # Errors
/// [`Error::OutOfRange`] of less than two classes, [`Error::Mismatch`] if predictions and labels do
/// not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.25f64, 0.5, 0.25], 3)?;
/// let labels = Labels::new(&[1], 3)?;
/// assert_eq!(softlabel_metrics::ranked_probability_score(&probabilities, &labels)?, 0.125);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias = "RPS")]
pub fn ranked_probability_score(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<f64> {
    let mut score = RankedProbabilityScore::new(predictions.classes())?;
    score.update(predictions, labels)?;
    score.compute().ok_or(EMPTY)
}
