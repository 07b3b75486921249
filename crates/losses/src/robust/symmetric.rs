//! Symmetric cross-entropy.
//!
//! ```text
//! loss = α·CE(q, p) + β·RCE,     RCE = −Σ_k p_k max(ln q_k, A)
//! ```
//!
//! with A < 0 in the place of ln 0. For a label, RCE = −A·(1 − p_y).
//!
//! Source: Wang, Ma, Chen, Luo, Yi, Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
//! ICCV 2019.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{complement, logarithm, sum_classes};
use crate::term::row_loss;
use crate::{Batch, Result, Target};

configuration! {
    /// Cross-entropy and its reverse, in which the label is what is measured (Wang et al. 2019).
    ///
    /// α = 0.1 and β = 1 for ten classes, α = 6 and β = 0.1 for a hundred, A = −4 in the paper. Code that clamps
    /// one-hot targets at 1e-4 has A = ln 1e-4 = −9.21 instead, so A has to be said.
    /// The reverse part is, for labels, the mean absolute error times −A/2: bounded, and blind to which wrong class.
    /// Labels and soft targets will do.
    ///
    /// ```
    /// use softlabel_losses::{LossOptions, LossTerm, SymmetricCrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = SymmetricCrossEntropy::new(0.1, 1.0, -4.0)?
    ///     .forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - (0.1 * 2f64.ln() + 2.0)).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "SCE")]
    SymmetricCrossEntropy {
        alpha: f64,
        beta: f64,
        log_zero: f64,
    }
}

impl SymmetricCrossEntropy {
    /// With the weights of cross-entropy, α, and of its reverse, β, and A in the place of ln 0.
    ///
    /// # Errors
    /// If α or β is negative or not finite, or A is not negative and finite.
    pub fn new(alpha: f64, beta: f64, log_zero: f64) -> Result<Self> {
        Self { alpha, beta, log_zero }.checked()
    }

    /// α.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// β.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// A.
    pub fn log_zero(&self) -> f64 {
        self.log_zero
    }

    fn checked(self) -> Result<Self> {
        crate::check::not_negative("the alpha of symmetric cross-entropy", self.alpha)?;
        crate::check::not_negative("the beta of symmetric cross-entropy", self.beta)?;
        crate::check::negative("the log_zero of symmetric cross-entropy", self.log_zero)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.target_log_probabilities()?;
        let reverse = match batch.target() {
            Target::Soft(rows) => {
                let log_q = logarithm(rows)?.f_clamp_min(self.log_zero)?;
                sum_classes(&batch.probabilities()?.f_mul(&log_q)?)?.f_mul_scalar(-self.beta)?
            }
            _ => complement(&log_p)?.f_mul_scalar(-self.log_zero * self.beta)?,
        };
        if self.alpha == 0.0 {
            return Ok(reverse);
        }
        Ok(reverse.f_sub(&log_p.f_mul_scalar(self.alpha)?)?)
    }
}

row_loss!(SymmetricCrossEntropy, "symmetric_cross_entropy");
