//! Label relaxation.
//!
//! With α in (0, 1), the target is the set of all distributions that give the label 1 − α or more, and the loss is the
//! divergence from the nearest of them:
//!
//! ```text
//! loss = 0                                                          if p_y ≥ 1 − α
//!        (1 − α) ln((1 − α)/p_y) + α ln(α/(1 − p_y))                else
//! ```
//!
//! ln(1 − p_y) is the logarithm of the sum of the other probabilities, never a difference.
//!
//! Source: Lienen, Hüllermeier, "From Label Smoothing to Label Relaxation", AAAI 2021.

use tch::Tensor;

use crate::check::configuration;
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// Nothing is asked once the label has 1 − α or more, and nothing of how the rest is spread (Lienen and Hüllermeier
    /// 2021).
    ///
    /// α = 0.1 is usual. Value and gradient are continuous where p_y = 1 − α. Needs labels.
    /// A label with a logit of −∞ is an infinite loss.
    ///
    /// ```
    /// use softlabel_losses::{LabelRelaxation, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let relaxation = LabelRelaxation::new(0.1)?;
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = |first: f64| {
    ///     let logits = Tensor::from_slice(&[first, 0.0]).view((1, 2));
    ///     let options = LossOptions::default();
    ///     relaxation.forward(&logits, Target::Hard(&label), &options).and_then(|l| Ok(f64::try_from(l)?))
    /// };
    /// assert_eq!(loss(19f64.ln())?, 0.0); // p_y = 0.95
    /// assert!((loss(0.0)? - (0.9 * 1.8f64.ln() + 0.1 * 0.2f64.ln())).abs() < 1e-15);
    /// # Ok::<(), softlabel_losses::Error>(())
    /// ```
    LabelRelaxation {
        alpha: f64,
    }
}

impl LabelRelaxation {
    /// With α, what the other classes may have together.
    ///
    /// # Errors
    /// If α is not in (0, 1).
    pub fn new(alpha: f64) -> Result<Self> {
        Self { alpha }.checked()
    }

    /// α.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    fn checked(self) -> Result<Self> {
        crate::check::inner_share("the alpha of label relaxation", self.alpha)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let (alpha, rest) = (self.alpha, 1.0 - self.alpha);
        let log_p = batch.label_log_probabilities(Self::NAME)?;
        let satisfied = log_p.f_ge(rest.ln())?;
        let at_label = batch.labels(Self::NAME)?.f_unsqueeze(-1)?;
        let others = batch.log_probabilities()?;
        let others = others.f_scatter_value(-1, &at_label, f64::NEG_INFINITY)?;
        // No gradient passes a satisfied row: the others may have nothing at all there.
        let others = others.f_masked_fill(&satisfied.f_unsqueeze(-1)?, 0.0)?;
        let log_others = others.f_logsumexp([-1_i64].as_slice(), false)?;
        let divergence = log_p
            .f_masked_fill(&satisfied, 0.0)?
            .f_mul_scalar(-rest)?
            .f_sub(&log_others.f_mul_scalar(alpha)?)?
            .f_add_scalar(rest * rest.ln() + alpha * alpha.ln())?;
        Ok(divergence.f_masked_fill(&satisfied, 0.0)?)
    }
}

row_loss!(LabelRelaxation, "label_relaxation");
