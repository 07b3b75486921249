//! Correctness ranking: confidences in the order in which samples turned out right.
//!
//! For consecutive samples i and j of a batch (the last is followed by the first), κ = max_k p_k the confidence and
//! c in [0, 1] how often a sample was right so far:
//!
//! ```text
//! loss_i = max(0, |c_i − c_j| − sign(c_i − c_j)·(κ_i − κ_j))
//! ```
//!
//! Source: Moon, Kim, Shin, Hwang, "Confidence-Aware Learning for Deep Neural Networks", ICML 2020.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use softlabel_core::Error as CoreError;
use softlabel_tensor::Error as TensorError;
use tch::Tensor;

use crate::check::configuration;
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// Asks that samples that were right more often be predicted with more confidence (Moon et al. 2020).
    ///
    /// Added to cross-entropy with weight 1. The confidence is the largest probability; the paper also tries the margin
    /// and the entropy, which are not here.
    /// How often a sample was right comes from a [`CorrectnessHistory`] by way of
    /// [`Batch::with_correctness`](crate::Batch::with_correctness); it has no gradient.
    /// Ignored samples are taken out before the others are paired, so that none is paired with them; where the class
    /// axis is not all there is, pairs follow the samples in row-major order. One sample alone is paired with itself
    /// and costs 0. Labels and soft targets will do: the target itself is not looked at.
    ///
    /// ```
    /// use softlabel_losses::{Batch, ClassAxis, CorrectnessRanking, LossTerm, Reduction, Target};
    /// use tch::Tensor;
    ///
    /// // The first sample was always right and is unsure, the second never and is sure.
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0, 3f64.ln(), 0.0]).view((2, 2));
    /// let labels = Tensor::from_slice(&[0i64, 1]);
    /// let batch = Batch::new(&logits, Target::Hard(&labels), ClassAxis::Last, None)?
    ///     .with_correctness(&[1.0, 0.0])?;
    /// let losses = CorrectnessRanking::new().row_losses(&batch)?.reduce(Reduction::None)?;
    /// assert!((losses.double_value(&[0]) - (1.0 - (0.5 - 0.75))).abs() < 1e-15);
    /// # Ok::<(), softlabel_losses::Error>(())
    /// ```
    #[doc(alias = "CRL")]
    #[derive(Default)]
    CorrectnessRanking {}
}

impl CorrectnessRanking {
    /// On the largest probability.
    pub fn new() -> Self {
        Self::default()
    }

    #[allow(clippy::unnecessary_wraps)] // The shape that all configurations have.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }

    #[allow(clippy::unused_self)] // The shape that all losses have.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let correctness = batch.correctness(Self::NAME)?.f_reshape([-1])?;
        let confidence = batch.probabilities()?.f_max_dim(-1, false)?.0;
        let shape = confidence.size();
        let confidence = confidence.f_reshape([-1])?;
        let Some(ignored) = batch.ignored() else {
            return Ok(ranking(&confidence, &correctness)?.f_reshape(shape.as_slice())?);
        };
        let counted = ignored.f_reshape([-1])?.f_logical_not()?.f_nonzero()?.f_squeeze_dim(-1)?;
        let losses = ranking(
            &confidence.f_index_select(0, &counted)?,
            &correctness.f_index_select(0, &counted)?,
        )?;
        let all = confidence.f_detach()?.f_zeros_like()?;
        Ok(all.f_index_copy(0, &counted, &losses)?.f_reshape(shape.as_slice())?)
    }
}

row_loss!(CorrectnessRanking, "correctness_ranking");

fn ranking(confidence: &Tensor, correctness: &Tensor) -> Result<Tensor> {
    let next = |values: &Tensor| values.f_roll([-1_i64].as_slice(), [0_i64].as_slice());
    let gap = correctness.f_sub(&next(correctness)?)?;
    let lead = confidence.f_sub(&next(confidence)?)?;
    Ok(gap.f_abs()?.f_sub(&gap.f_sign()?.f_mul(&lead)?)?.f_relu()?)
}

/// How often each sample was predicted right, by the sample's id.
///
/// Counts, so that the histories of several workers add up in any order; saved and read through serde.
///
/// ```
/// use softlabel_losses::CorrectnessHistory;
///
/// let mut history = CorrectnessHistory::new();
/// history.record(&[7, 8], &[true, false])?;
/// history.record(&[7, 8], &[true, true])?;
/// assert_eq!(history.correctness(&[8, 7, 9]), [0.5, 1.0, 0.0]);
/// # Ok::<(), softlabel_losses::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectnessHistory {
    samples: BTreeMap<u64, Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
struct Count {
    right: u64,
    seen: u64,
}

impl TryFrom<(u64, u64)> for Count {
    type Error = String;

    fn try_from((right, seen): (u64, u64)) -> Result<Self, String> {
        if right <= seen && seen > 0 {
            Ok(Self { right, seen })
        } else {
            Err(format!("a sample cannot be right {right} of {seen} times"))
        }
    }
}

impl From<Count> for (u64, u64) {
    fn from(count: Count) -> Self {
        (count.right, count.seen)
    }
}

impl CorrectnessHistory {
    /// Of no sample.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records whether the predictions of some samples were right.
    ///
    /// # Errors
    /// [`Mismatch`](CoreError::Mismatch) unless there is one answer an id; nothing is recorded then.
    pub fn record(&mut self, ids: &[u64], right: &[bool]) -> Result<()> {
        if ids.len() != right.len() {
            let (expected, found) = (ids.len().to_string(), right.len().to_string());
            let error = CoreError::mismatch("answers to sample ids", expected, found);
            return Err(TensorError::from(error).into());
        }
        for (&id, &right) in ids.iter().zip(right) {
            let count = self.samples.entry(id).or_default();
            count.right += u64::from(right);
            count.seen += 1;
        }
        Ok(())
    }

    /// The share of the recorded predictions that were right, for each id; 0 for a sample never seen.
    ///
    /// The code published with the paper divides all counts by the largest number of epochs instead, after taking off
    /// the least count: the same order, other distances.
    pub fn correctness(&self, ids: &[u64]) -> Vec<f64> {
        let share = |id| self.samples.get(id).map_or(0.0, |c| c.right as f64 / c.seen as f64);
        ids.iter().map(share).collect()
    }

    /// Adds what another history has seen.
    pub fn merge(&mut self, other: &Self) {
        for (&id, count) in &other.samples {
            let own = self.samples.entry(id).or_default();
            own.right += count.right;
            own.seen += count.seen;
        }
    }

    /// The number of samples that were seen.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether no sample was seen.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}
