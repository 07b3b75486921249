//! Bootstrapping: the target is mixed with the prediction.
//!
//! ```text
//! soft   −Σ_k (β q_k + (1 − β) p_k) ln p_k
//! hard   −Σ_k (β q_k + (1 − β) [k = argmax p]) ln p_k
//! ```
//!
//! Source: Reed, Lee, Anguelov, Szegedy, Erhan, Rabinovich, "Training Deep Neural Networks on Noisy Labels with
//! Bootstrapping", ICLR workshop 2015.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{sum_classes, without_negative_infinity};
use crate::term::row_loss;
use crate::{Batch, Result};

/// What of the prediction is mixed into the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BootstrapMode {
    /// The distribution.
    Soft,
    /// The most probable class.
    Hard,
}

configuration! {
    /// Cross-entropy with a target that is partly the prediction itself (Reed et al. 2015).
    ///
    /// β = 0.95 for soft and 0.8 for hard bootstrapping are the paper's. β = 1 is cross-entropy.
    /// In the soft form the loss is β·CE + (1 − β)·H(p), and gradient flows through the p of the target as well, so
    /// that it is entropy minimization; code that detaches it has another gradient. In the hard form the chosen class
    /// is a constant. Labels and soft targets will do. A logit of −∞ costs nothing where the target has no mass.
    ///
    /// ```
    /// use softlabel_losses::{Bootstrap, BootstrapMode, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 3f64.ln()]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let hard = Bootstrap::new(BootstrapMode::Hard, 0.8)?;
    /// let loss = hard.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? + 0.8 * 0.25f64.ln() + 0.2 * 0.75f64.ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Bootstrap {
        mode: BootstrapMode,
        beta: f64,
    }
}

impl Bootstrap {
    /// With β, the share of the target that stays the given one.
    ///
    /// # Errors
    /// If β is not in [0, 1].
    pub fn new(mode: BootstrapMode, beta: f64) -> Result<Self> {
        Self { mode, beta }.checked()
    }

    /// What is mixed in.
    pub fn mode(&self) -> BootstrapMode {
        self.mode
    }

    /// β.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    fn checked(self) -> Result<Self> {
        crate::check::share("the beta of bootstrapping", self.beta)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.log_probabilities()?;
        let own = match self.mode {
            BootstrapMode::Soft => {
                sum_classes(&batch.probabilities()?.f_mul(&without_negative_infinity(log_p)?)?)?
            }
            BootstrapMode::Hard => log_p.f_max_dim(-1, false)?.0,
        };
        let own = own.f_mul_scalar(1.0 - self.beta)?;
        if self.beta == 0.0 {
            return Ok(own.f_neg()?);
        }
        let given = batch.target_log_probabilities()?.f_mul_scalar(self.beta)?;
        Ok(given.f_add(&own)?.f_neg()?)
    }
}

row_loss!(Bootstrap, "bootstrap");
