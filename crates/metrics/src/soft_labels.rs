//! How far predictions are from what people, or another model, said: a distribution a row.
//!
//! With q the target distribution of a row and p the predicted one,
//!
//! - cross-entropy: −Σ_k q_k ln p_k, in nats
//! - Kullback-Leibler divergence: Σ_k q_k ln(q_k/p_k), the cross-entropy less the entropy of q
//! - total variation: ½ Σ_k |p_k − q_k|, in \[0, 1\]
//! - Brier score to the distribution: Σ_k (p_k − q_k)², in \[0, 2\]
//! - agreement: whether the top classes of both are the same
//!
//! all of them means over the rows. Against hard labels as one-hot rows the first two are the NLL.
//! A row of counts, such as the votes of annotators, becomes a distribution by
//! [`Probabilities::renormalized`].
//!
//! Numerical notes: ln p of logits is their log-softmax. 0 ln p is 0 whatever p; a class with q_k > 0
//! and p_k = 0 makes cross-entropy and divergence +∞, which is what they are, and such rows are
//! counted apart.
//!
//! Source: J. C. Peterson, R. M. Battleday, T. L. Griffiths, O. Russakovsky, "Human Uncertainty Makes
//! Classification More Robust" (2019), for the cross-entropy to human labels.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Probabilities, Result, Scalar};

use crate::accumulator::EMPTY;
use crate::mean::Mean;
use crate::observations::weight_or_nothing;
use crate::{Predictions, Weight};
use softlabel_core::number::or_infinite;

/// Predictions against distributions, as a running state of a fixed size.
///
/// ```
/// use softlabel_core::Probabilities;
/// use softlabel_metrics::SoftLabelEvaluation;
///
/// let votes = Probabilities::renormalized(vec![3.0f64, 1.0], 2)?;
/// let mut evaluation = SoftLabelEvaluation::default();
/// evaluation.update(&Probabilities::new(&[0.5f64, 0.5], 2)?, &votes)?;
/// let scores = evaluation.compute().unwrap();
/// assert!((scores.cross_entropy - 2.0f64.ln()).abs() < 1e-15);
/// assert_eq!((scores.total_variation, scores.brier), (0.25, 0.125));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftLabelEvaluation {
    /// Over the rows whose target the prediction holds possible.
    cross_entropy: Mean,
    impossible: u64,
    target_entropy: Mean,
    /// Of the rows in `cross_entropy`.
    divergence: Mean,
    total_variation: Mean,
    brier: Mean,
    agreement: Mean,
}

/// What a [`SoftLabelEvaluation`] comes to.
///
/// ```
/// use softlabel_core::{Logits, Probabilities};
/// use softlabel_metrics::soft_label_evaluation;
/// let people = Probabilities::new(&[1.0f32, 0.0], 2)?;
/// let scores = soft_label_evaluation(&Logits::new(&[0.0f32, 0.0], 2)?, &people)?;
/// assert_eq!((scores.cross_entropy, scores.target_entropy), (2.0f64.ln(), 0.0));
/// assert_eq!(scores.kl_divergence, 2.0f64.ln());
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SoftLabelScores {
    /// The number of rows, at least 1.
    pub samples: u64,
    /// The mean of −Σ q ln p, possibly +∞.
    #[serde(with = "or_infinite")]
    pub cross_entropy: f64,
    /// The mean of Σ q ln(q/p), possibly +∞.
    #[serde(with = "or_infinite")]
    #[doc(alias("KL", "Kullback-Leibler"))]
    pub kl_divergence: f64,
    /// The mean of −Σ q ln q: the cross-entropy that nothing can be below.
    pub target_entropy: f64,
    /// The mean of ½ Σ |p − q|.
    pub total_variation: f64,
    /// The mean of Σ (p − q)².
    pub brier: f64,
    /// The share of rows in which the first largest classes of both are the same.
    pub agreement: f64,
    /// The number of rows that hold a class with q > 0 impossible; if there are any, cross-entropy
    /// and divergence are +∞.
    pub impossible_targets: u64,
}

impl SoftLabelEvaluation {
    /// Adds every row of `predictions` with its target distribution.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two are of different shapes; nothing is added then.
    pub fn update<T: Scalar>(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        targets: &Probabilities<'_, T>,
    ) -> Result<()> {
        check(predictions, targets)?;
        self.add_rows(predictions, targets, |_| Some(Weight::ONE));
        Ok(())
    }

    /// The same with a weight a row; rows of weight 0 are left out.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if predictions, targets and weights are of different shapes,
    /// [`Error::OutOfRange`] for NaN, a negative or an infinite weight; nothing is added then.
    pub fn update_weighted<T: Scalar>(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        targets: &Probabilities<'_, T>,
        weights: &[f64],
    ) -> Result<()> {
        check(predictions, targets)?;
        if weights.len() != targets.rows() {
            let expected = format!("{} rows", targets.rows());
            return Err(Error::mismatch("weights", expected, format!("{} weights", weights.len())));
        }
        let weights: Vec<Option<Weight>> =
            weights.iter().map(|&weight| weight_or_nothing(weight)).collect::<Result<_>>()?;
        self.add_rows(predictions, targets, |row| weights.get(row).copied().flatten());
        Ok(())
    }

    fn add_rows<T: Scalar>(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        targets: &Probabilities<'_, T>,
        weight: impl Fn(usize) -> Option<Weight>,
    ) {
        let (mut logarithms, mut target) = (Vec::new(), vec![0.0; targets.classes()]);
        for (row, wide) in targets.matrix().iter().enumerate() {
            if let Some(weight) = weight(row) {
                T::widen(wide, &mut target);
                predictions.row_log_probabilities(row, &mut logarithms);
                self.add_row(&logarithms, &target, weight);
            }
        }
    }

    fn add_row(&mut self, logarithms: &[f64], target: &[f64], weight: Weight) {
        let (mut cross_entropy, mut entropy) = (0.0, 0.0);
        let (mut variation, mut brier) = (0.0, 0.0);
        for (&l, &q) in logarithms.iter().zip(target) {
            let p = l.exp();
            // Of a target of 0 nothing is asked.
            if q > 0.0 {
                cross_entropy -= q * l;
                entropy -= q * q.ln();
            }
            variation += (p - q).abs();
            brier += (p - q) * (p - q);
        }
        if cross_entropy == f64::INFINITY {
            self.impossible += 1;
        } else {
            self.cross_entropy.add(cross_entropy, weight);
            self.divergence.add(cross_entropy - entropy, weight);
        }
        self.target_entropy.add(entropy, weight);
        self.total_variation.add(variation / 2.0, weight);
        self.brier.add(brier, weight);
        let agrees = first_largest(logarithms) == first_largest(target);
        self.agreement.add(f64::from(u8::from(agrees)), weight);
    }

    /// Adds everything that was added to `other`.
    pub fn merge(&mut self, other: &Self) {
        self.impossible += other.impossible;
        for (mean, other) in [
            (&mut self.cross_entropy, &other.cross_entropy),
            (&mut self.target_entropy, &other.target_entropy),
            (&mut self.divergence, &other.divergence),
            (&mut self.total_variation, &other.total_variation),
            (&mut self.brier, &other.brier),
            (&mut self.agreement, &other.agreement),
        ] {
            mean.merge(other);
        }
    }

    /// The means over all rows added so far; `None` of no rows.
    pub fn compute(&self) -> Option<SoftLabelScores> {
        let finite =
            |mean: &Mean| if self.impossible > 0 { Some(f64::INFINITY) } else { mean.value() };
        Some(SoftLabelScores {
            samples: self.samples(),
            cross_entropy: finite(&self.cross_entropy)?,
            kl_divergence: finite(&self.divergence)?,
            target_entropy: self.target_entropy.value()?,
            total_variation: self.total_variation.value()?,
            brier: self.brier.value()?,
            agreement: self.agreement.value()?,
            impossible_targets: self.impossible,
        })
    }

    /// How many rows were added.
    pub fn samples(&self) -> u64 {
        self.target_entropy.samples
    }

    /// Forgets all rows.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

fn check<T: Scalar>(
    predictions: &(impl Predictions + ?Sized),
    targets: &Probabilities<'_, T>,
) -> Result<()> {
    let shape = |rows: usize, classes: usize| format!("{rows} rows of {classes} classes");
    let expected = shape(predictions.rows(), predictions.classes());
    let found = shape(targets.rows(), targets.classes());
    if expected != found {
        return Err(Error::mismatch("soft labels", expected, found));
    }
    Ok(())
}

/// The first index of the largest value.
pub(crate) fn first_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (class, value) in values.iter().enumerate() {
        if values.get(best).is_none_or(|largest| value > largest) {
            best = class;
        }
    }
    best
}

/// Predictions against distributions such as the labels of several people; see
/// [`SoftLabelEvaluation`].
///
/// # Errors
/// [`Error::Mismatch`] if the two are of different shapes, [`Error::Empty`] if there are no rows.
///
/// ```
/// use softlabel_core::Probabilities;
/// let certain = Probabilities::new(&[1.0f32, 0.0], 2)?;
/// let people = Probabilities::new(&[0.75f32, 0.25], 2)?;
/// let scores = softlabel_metrics::soft_label_evaluation(&certain, &people)?;
/// assert_eq!((scores.kl_divergence, scores.impossible_targets), (f64::INFINITY, 1));
/// assert_eq!((scores.total_variation, scores.agreement), (0.25, 1.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("human labels", "soft labels", "annotators"))]
pub fn soft_label_evaluation<T: Scalar>(
    predictions: &(impl Predictions + ?Sized),
    targets: &Probabilities<'_, T>,
) -> Result<SoftLabelScores> {
    let mut evaluation = SoftLabelEvaluation::default();
    evaluation.update(predictions, targets)?;
    evaluation.compute().ok_or(EMPTY)
}
