//! The squared norm of the logits.
//!
//! ```text
//! loss = ½ Σ_k z_k²
//! ```
//!
//! Source: Dauphin, Cubuk, "Deconstructing the Regularization of BatchNorm", ICLR 2021 (as "functional L2"); Kornblith,
//! Chen, Lee, Norouzi, "Why Do Better Loss Functions Lead to Less Transferable Features?", NeurIPS 2021.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{sum_classes, without_negative_infinity};
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// ½‖z‖²: the sum over the classes, halved; a mean is taken over samples only.
    ///
    /// So its gradient is z itself, divided by the number of samples under a mean. Code that averages over the classes
    /// too needs a weight K times larger for the same effect. Weights are small: 2e-3 for a thousand classes is in use.
    /// Other than most terms here it feels a constant added to all logits.
    /// It does not look at the target: labels and soft targets will do. A class with a logit of −∞ is left out.
    ///
    /// ```
    /// use softlabel_losses::{LogitPenalty, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3.0f64, -4.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let penalty = LogitPenalty::new();
    /// let loss = penalty.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert_eq!(f64::try_from(loss)?, 12.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Default)]
    LogitPenalty {}
}

impl LogitPenalty {
    /// ½‖z‖².
    pub fn new() -> Self {
        Self::default()
    }

    #[allow(clippy::unnecessary_wraps)] // The shape that all configurations have.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }

    #[allow(clippy::unused_self)] // The shape that all losses have.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let logits = without_negative_infinity(batch.logits())?;
        Ok(sum_classes(&logits.f_square()?)?.f_mul_scalar(0.5)?)
    }
}

row_loss!(LogitPenalty, "logit_penalty");
