//! Several predictions of the same rows: deep ensembles, or passes with dropout left on.
//!
//! With p_m the probabilities of member m of M and p̄ = 1/M Σ_m p_m their average,
//!
//! - predictive entropy: H(p̄), the uncertainty in all
//! - expected entropy: 1/M Σ_m H(p_m), the part that the members agree on (aleatoric)
//! - mutual information: H(p̄) − 1/M Σ_m H(p_m), the part that they do not (epistemic); in \[0, ln M\]
//! - disagreement: the share of pairs of members whose top classes differ
//!
//! all of them a row. The averaged prediction is a prediction like any other: every metric takes it.
//!
//! Numerical notes: in `f64`; mutual information is summed as a mean of divergences, which is never
//! negative: 1/M Σ_m Σ_k p_mk ln(p_mk/p̄_k).
//!
//! Source: B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and Scalable Predictive Uncertainty
//! Estimation using Deep Ensembles" (2017); Y. Gal, Z. Ghahramani, "Dropout as a Bayesian
//! Approximation" (2016); N. Houlsby et al., "Bayesian Active Learning for Classification and
//! Preference Learning" (2011), for mutual information.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Probabilities, Result};

use crate::accumulator::EMPTY;
use crate::soft_labels::first_largest;
use crate::{FullScores, Observed, Predictions, full_evaluation};

/// What the members of an ensemble say together.
///
/// ```
/// use softlabel_core::Probabilities;
/// use softlabel_metrics::Ensemble;
///
/// // Two members, each sure, of different classes.
/// let members = [
///     Probabilities::new(&[1.0f32, 0.0], 2)?,
///     Probabilities::new(&[0.0f32, 1.0], 2)?,
/// ];
/// let ensemble = Ensemble::of(&members)?;
/// assert_eq!(ensemble.average().as_slice(), [0.5, 0.5]);
/// let row = ensemble.rows()[0];
/// assert!((row.mutual_information - 2.0f64.ln()).abs() < 1e-15);
/// assert_eq!((row.expected_entropy, row.disagreement), (0.0, 1.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[doc(alias("deep ensemble", "MC dropout"))]
pub struct Ensemble {
    members: usize,
    average: Probabilities<'static, f64>,
    rows: Vec<EnsembleRow>,
}

/// What the members of an ensemble say of one row.
///
/// ```
/// use softlabel_metrics::EnsembleRow;
/// let row = EnsembleRow {
///     predictive_entropy: 0.75,
///     expected_entropy: 0.5,
///     mutual_information: 0.25,
///     disagreement: 0.0,
/// };
/// assert_eq!(row.predictive_entropy, row.expected_entropy + row.mutual_information);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleRow {
    /// H(p̄), in nats.
    #[doc(alias = "total uncertainty")]
    pub predictive_entropy: f64,
    /// 1/M Σ_m H(p_m).
    #[doc(alias = "aleatoric uncertainty")]
    pub expected_entropy: f64,
    /// 1/M Σ_m KL(p_m ‖ p̄), at least 0.
    #[doc(alias("epistemic uncertainty", "BALD"))]
    pub mutual_information: f64,
    /// The share of pairs of members whose top classes differ; 0 of a single member.
    pub disagreement: f64,
}

impl Ensemble {
    /// The members' predictions of the same rows, each of any kind and type.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no members or no rows, [`Error::Mismatch`] if they differ in
    /// shape.
    pub fn of<P: Predictions>(members: &[P]) -> Result<Self> {
        let members: Vec<&dyn Predictions> =
            members.iter().map(|m| m as &dyn Predictions).collect();
        Self::of_any(&members)
    }

    /// The same of members that differ in kind or type.
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn of_any(members: &[&dyn Predictions]) -> Result<Self> {
        let first = members.first().ok_or(Error::Empty { what: "the set of members" })?;
        let shape =
            |of: &dyn Predictions| format!("{} rows of {} classes", of.rows(), of.classes());
        if let Some(other) = members.iter().find(|member| shape(**member) != shape(*first)) {
            return Err(Error::mismatch("a member's predictions", shape(*first), shape(*other)));
        }
        if first.rows() == 0 {
            return Err(EMPTY);
        }
        let (classes, count) = (first.classes(), members.len() as f64);
        let mut averages = Vec::with_capacity(first.rows() * classes);
        let mut rows = Vec::with_capacity(first.rows());
        let mut of_members = vec![Vec::new(); members.len()];
        for row in 0..first.rows() {
            for (member, probabilities) in members.iter().zip(&mut of_members) {
                member.row_probabilities(row, probabilities);
            }
            let average: Vec<f64> = (0..classes)
                .map(|class| of_members.iter().filter_map(|p| p.get(class)).sum::<f64>() / count)
                .collect();
            rows.push(EnsembleRow::of(&of_members, &average));
            averages.extend(average);
        }
        // Members may be a rounding off a sum of 1, and so is their average.
        let average = Probabilities::new(averages, classes)?;
        Ok(Self { members: members.len(), average, rows })
    }

    /// M, the number of members.
    pub fn members(&self) -> usize {
        self.members
    }

    /// p̄, the averaged prediction.
    pub fn average(&self) -> &Probabilities<'static, f64> {
        &self.average
    }

    /// What the members say of each row.
    pub fn rows(&self) -> &[EnsembleRow] {
        &self.rows
    }

    /// The means over all rows.
    pub fn means(&self) -> EnsembleRow {
        let count = self.rows.len() as f64;
        let mean = |of: fn(&EnsembleRow) -> f64| self.rows.iter().map(of).sum::<f64>() / count;
        EnsembleRow {
            predictive_entropy: mean(|row| row.predictive_entropy),
            expected_entropy: mean(|row| row.expected_entropy),
            mutual_information: mean(|row| row.mutual_information),
            disagreement: mean(|row| row.disagreement),
        }
    }
}

impl EnsembleRow {
    fn of(members: &[Vec<f64>], average: &[f64]) -> Self {
        let count = members.len() as f64;
        let entropy_term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let entropy = |row: &[f64]| row.iter().map(|&p| entropy_term(p)).sum::<f64>();
        let divergence = |row: &[f64]| -> f64 {
            let terms = row.iter().zip(average).filter(|(p, _)| **p > 0.0);
            terms.map(|(&p, &mean)| p * (p / mean).ln()).sum()
        };
        let mut votes = vec![0.0; average.len()];
        for member in members {
            if let Some(votes) = votes.get_mut(first_largest(member)) {
                *votes += 1.0;
            }
        }
        let agreeing: f64 = votes.iter().map(|votes| votes * (votes - 1.0)).sum();
        let pairs = count * (count - 1.0);
        Self {
            predictive_entropy: entropy(average),
            expected_entropy: members.iter().map(|row| entropy(row)).sum::<f64>() / count,
            mutual_information: members.iter().map(|row| divergence(row)).sum::<f64>().max(0.0)
                / count,
            disagreement: if pairs > 0.0 { 1.0 - agreeing / pairs } else { 0.0 },
        }
    }
}

/// How every member does alone, and how their average does; see [`ensemble_evaluation`].
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let members = [Probabilities::new(&[0.75f32, 0.25], 2)?];
/// let scores = softlabel_metrics::ensemble_evaluation(&members, &Labels::new(&[0], 2)?, 15)?;
/// assert_eq!(scores.members, [scores.average]);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnsembleScores {
    /// The metrics of each member.
    pub members: Vec<FullScores>,
    /// The metrics of the averaged prediction, the pooled calibration.
    pub average: FullScores,
    /// The means over rows of entropies, mutual information and disagreement.
    pub uncertainty: EnsembleRow,
}

/// All metrics of every member and of their average, with `bins` bins for the calibration errors.
///
/// Averaging calibrated but diverse members makes them underconfident; the two sides show it.
///
/// # Errors
/// Those of [`Ensemble::of`] and of [`full_evaluation`].
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let members = [
///     Probabilities::new(&[1.0f32, 0.0], 2)?,
///     Probabilities::new(&[0.5f32, 0.5], 2)?,
/// ];
/// let scores = softlabel_metrics::ensemble_evaluation(&members, &Labels::new(&[0], 2)?, 15)?;
/// assert_eq!((scores.average.mean_confidence, scores.members[0].ece), (0.75, 0.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn ensemble_evaluation<P: Predictions>(
    members: &[P],
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<EnsembleScores> {
    let ensemble = Ensemble::of(members)?;
    let of_member = |member: &P| full_evaluation(member, labels, bins);
    Ok(EnsembleScores {
        members: members.iter().map(of_member).collect::<Result<_>>()?,
        average: full_evaluation(ensemble.average(), labels, bins)?,
        uncertainty: ensemble.means(),
    })
}
