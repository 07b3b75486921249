//! Generalized cross-entropy.
//!
//! ```text
//! loss = (1 − p_y^q) / q,    q in (0, 1]
//! ```
//!
//! Computed as −expm1(q·ln p_y)/q, which does not cancel for small q.
//!
//! Source: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
//! NeurIPS 2018.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::complement;
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// Between cross-entropy (q → 0) and the mean absolute error (q = 1): (1 − p_y^q)/q (Zhang and Sabuncu 2018).
    ///
    /// q = 0.7 in the paper. Bounded by 1/q, so that one wrong label costs only so much; the larger q, the slower it
    /// learns. The paper's truncated form is not here. Needs labels. A label with a logit of −∞ costs 1/q.
    ///
    /// ```
    /// use softlabel_losses::{GeneralizedCrossEntropy, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 3f64.ln()]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = GeneralizedCrossEntropy::new(0.5)?
    ///     .forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - 1.0).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "GCE")]
    GeneralizedCrossEntropy {
        q: f64,
    }
}

impl GeneralizedCrossEntropy {
    /// With the exponent q.
    ///
    /// # Errors
    /// If q is not in (0, 1].
    pub fn new(q: f64) -> Result<Self> {
        Self { q }.checked()
    }

    /// q.
    pub fn q(&self) -> f64 {
        self.q
    }

    fn checked(self) -> Result<Self> {
        crate::check::positive_share("the q of generalized cross-entropy", self.q)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.label_log_probabilities(Self::NAME)?;
        Ok(complement(&log_p.f_mul_scalar(self.q)?)?.f_mul_scalar(self.q.recip())?)
    }
}

row_loss!(GeneralizedCrossEntropy, "generalized_cross_entropy");
