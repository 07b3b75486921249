//! Divergences between predictions and a distribution that is given.
//!
//! For p = softmax(z) and a reference q, with 0·ln 0 = 0 in value and gradient:
//!
//! ```text
//! KL(q ‖ p) = Σ q_k (ln q_k − ln p_k)        target first: forward
//! KL(p ‖ q) = Σ p_k (ln p_k − ln q_k)        prediction first: reverse
//! JS(p, q)  = ½ KL(q ‖ m) + ½ KL(p ‖ m),     m = (p + q)/2
//! ```
//!
//! Sources: Kullback, Leibler, "On Information and Sufficiency", 1951; Lin, "Divergence Measures Based on the Shannon
//! Entropy", 1991.

use serde::{Deserialize, Serialize};
use softlabel_core::Error as CoreError;
use softlabel_tensor::Error as TensorError;
use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{logarithm, sum_classes, weigh, without_negative_infinity};
use crate::term::row_loss;
use crate::{Batch, Result};

/// Which distribution of a Kullback-Leibler divergence comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Direction {
    /// KL(q ‖ p), the reference first: p has to have mass wherever q has.
    Forward,
    /// KL(p ‖ q), the prediction first: p may have mass only where q has.
    Reverse,
}

/// The distribution that predictions are compared with.
///
/// Serialized as `"uniform"`, `"target"` or `{ prior = [0.5, 0.3, 0.2] }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reference {
    /// 1/K for every class, also for those with a logit of −∞.
    Uniform,
    /// The target of the batch: its soft rows, or its labels one-hot.
    Target,
    /// The same for every sample, such as the frequencies of the classes.
    Prior(Vec<f64>),
}

impl Reference {
    fn check(&self) -> Result<()> {
        match self {
            Self::Prior(prior) => crate::check::distribution("the prior of a divergence", 0, prior),
            _ => Ok(()),
        }
    }

    /// q in a shape that spreads over `[.., K]`.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let classes = batch.classes();
        match self {
            Self::Target => batch.target_rows(),
            Self::Uniform => {
                let options = (batch.kind()?, batch.logits().device());
                Ok(Tensor::f_full([classes as i64], 1.0 / classes as f64, options)?)
            }
            Self::Prior(prior) if prior.len() == classes => {
                let prior = Tensor::f_from_slice(prior)?.f_to_kind(batch.kind()?)?;
                Ok(prior.f_to_device(batch.logits().device())?)
            }
            Self::Prior(prior) => {
                let (expected, found) = (classes.to_string(), prior.len().to_string());
                let error = CoreError::mismatch("classes of a prior", expected, found);
                Err(TensorError::from(error).into())
            }
        }
    }
}

configuration! {
    /// The Kullback-Leibler divergence between predictions and a reference, in the direction that is named.
    ///
    /// Forward from the target it is cross-entropy less the target's entropy: the same gradient, and 0 at the optimum.
    /// Forward from the uniform distribution it is label smoothing's own term; in reverse from the uniform distribution
    /// it is ln K − H(p), a confidence penalty.
    /// Forward, a logit of −∞ under mass of q is an infinite loss; in reverse so is mass of p where q has none, always
    /// the case for labels and finite logits; such a sample has no gradient in reverse.
    /// Labels and soft targets will do.
    ///
    /// ```
    /// use softlabel_losses::{Direction, KlDivergence, LossOptions, LossTerm, Reference, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let kl = KlDivergence::new(Direction::Forward, Reference::Prior(vec![0.75, 0.25]))?;
    /// let loss = kl.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
    /// assert!((f64::try_from(loss)? - expected).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "kl_div")]
    KlDivergence {
        direction: Direction,
        reference: Reference,
    }
}

impl KlDivergence {
    /// In this direction, against this reference.
    ///
    /// # Errors
    /// If a prior is no distribution within 1e-6.
    pub fn new(direction: Direction, reference: Reference) -> Result<Self> {
        Self { direction, reference }.checked()
    }

    /// Which comes first.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// q.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    fn checked(self) -> Result<Self> {
        self.reference.check()?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let q = self.reference.rows(batch)?;
        let log_q = logarithm(&q)?;
        let log_p = batch.log_probabilities()?;
        match self.direction {
            Direction::Forward => {
                let q = q.f_expand_as(log_p)?;
                let own = weigh(&log_q, &q)?;
                sum_classes(&own.f_sub(&weigh(log_p, &q)?)?)
            }
            Direction::Reverse => {
                // Infinite where p has mass and q has none; without gradient then, rather than with NaN.
                let unmatched = log_q.f_isneginf()?.f_expand_as(log_p)?;
                let unmatched = unmatched.f_logical_and(&log_p.f_isneginf()?.f_logical_not()?)?;
                let log_q = without_negative_infinity(&log_q)?;
                let ratio = without_negative_infinity(log_p)?.f_sub(&log_q)?;
                let sums = sum_classes(&batch.probabilities()?.f_mul(&ratio)?)?;
                Ok(sums.f_masked_fill(&unmatched.f_any_dim(-1, false)?, f64::INFINITY)?)
            }
        }
    }
}

row_loss!(KlDivergence, "kl_divergence");

configuration! {
    /// The Jensen-Shannon divergence between predictions and a reference: symmetric, and at most ln 2 (Lin 1991).
    ///
    /// Against the target it is a loss that a wrong label can raise by little, as robust losses want it.
    /// Labels and soft targets will do. A logit of −∞ is a probability of 0.
    ///
    /// ```
    /// use softlabel_losses::{JsDivergence, LossOptions, LossTerm, Reference, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[f64::NEG_INFINITY, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let js = JsDivergence::new(Reference::Target)?;
    /// let loss = js.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - 2f64.ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    JsDivergence {
        reference: Reference,
    }
}

impl JsDivergence {
    /// Against this reference.
    ///
    /// # Errors
    /// If a prior is no distribution within 1e-6.
    pub fn new(reference: Reference) -> Result<Self> {
        Self { reference }.checked()
    }

    /// q.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    fn checked(self) -> Result<Self> {
        self.reference.check()?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let p = batch.probabilities()?;
        let q = self.reference.rows(batch)?.f_expand_as(p)?;
        let log_m = logarithm(&p.f_add(&q)?.f_mul_scalar(0.5)?)?;
        let of_q = weigh(&logarithm(&q)?, &q)?.f_sub(&weigh(&log_m, &q)?)?;
        let log_p = batch.log_probabilities()?;
        let of_p = weigh(log_p, p)?.f_sub(&weigh(&log_m, p)?)?;
        Ok(sum_classes(&of_q.f_add(&of_p)?)?.f_mul_scalar(0.5)?)
    }
}

row_loss!(JsDivergence, "js_divergence");
