//! The Brier score as a loss.
//!
//! ```text
//! loss = Σ_k (p_k − q_k)²
//! ```
//!
//! Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::sum_classes;
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// The squared distance of p from the target, summed over the classes: in [0, 2] (Brier 1950).
    ///
    /// A proper score that stays bounded where cross-entropy does not, with gradients that vanish for predictions that
    /// are surely wrong. Some define it with a mean over the classes, K times smaller.
    /// Labels and soft targets will do. A logit of −∞ is a probability of 0.
    ///
    /// ```
    /// use softlabel_losses::{Brier, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Brier::new().forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - 0.125).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Default)]
    Brier {}
}

impl Brier {
    /// Σ_k (p_k − q_k)².
    pub fn new() -> Self {
        Self::default()
    }

    #[allow(clippy::unnecessary_wraps)] // The shape that all configurations have.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }

    #[allow(clippy::unused_self)] // The shape that all losses have.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        sum_classes(&batch.probabilities()?.f_sub(&batch.target_rows()?)?.f_square()?)
    }
}

row_loss!(Brier, "brier");
