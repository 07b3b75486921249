//! PolyLoss with its first coefficient changed.
//!
//! ```text
//! loss = CE(z, q) + ε·(1 − Σ_k q_k p_k)
//! ```
//!
//! Source: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", ICLR 2022.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{complement, sum_classes};
use crate::term::row_loss;
use crate::{Batch, Result, Target};

configuration! {
    /// Cross-entropy plus ε·(1 − p_y), Poly-1 (Leng et al. 2022).
    ///
    /// ε = 2 for image classification, −1 for detection and segmentation; ε = 0 is cross-entropy.
    /// A positive ε makes predictions surer, a negative one less sure; below −1 the loss falls as the label's
    /// probability falls, where that is large already. Labels and soft targets will do; 1 − p_y is then 1 − Σ_k q_k
    /// p_k.
    ///
    /// ```
    /// use softlabel_losses::{LossOptions, LossTerm, Poly, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Poly::new(2.0)?.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - (2f64.ln() + 1.0)).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "PolyLoss")]
    Poly {
        epsilon: f64,
    }
}

impl Poly {
    /// With the coefficient ε, which may be negative.
    ///
    /// # Errors
    /// If ε is not finite.
    pub fn new(epsilon: f64) -> Result<Self> {
        Self { epsilon }.checked()
    }

    /// ε.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    fn checked(self) -> Result<Self> {
        crate::check::finite("the epsilon of a poly loss", self.epsilon)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.target_log_probabilities()?;
        let missing = match batch.target() {
            Target::Soft(rows) => {
                let hit = sum_classes(&batch.probabilities()?.f_mul(rows)?)?;
                hit.f_neg()?.f_add_scalar(1.0)?
            }
            _ => complement(&log_p)?,
        };
        Ok(missing.f_mul_scalar(self.epsilon)?.f_sub(&log_p)?)
    }
}

row_loss!(Poly, "poly");
