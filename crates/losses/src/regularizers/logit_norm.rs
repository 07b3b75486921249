//! Logit normalization.
//!
//! ```text
//! z' = z / ((‖z‖ + 1e-7) · τ)          loss = CE(z')
//! ```
//!
//! Source: Wei, Xie, Cheng, Feng, An, Li, "Mitigating Neural Network Overconfidence with Logit Normalization",
//! ICML 2022.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{computing_kind, root, without_negative_infinity};
use crate::{Batch, CrossEntropy, LossTerm, Result, Term};

configuration! {
    /// Cross-entropy of logits that are brought to the norm 1/τ, so that it cannot be lowered by making them larger
    /// (Wei et al. 2022).
    ///
    /// τ = 0.04 is often quoted, and the published commands for CIFAR-10 have 0.01: it is to be searched for. At test
    /// time the network's logits are used as they are, or go through [`normalize`](Self::normalize) as well.
    /// Other than most terms here it feels a constant added to all logits; their length it hardly feels at all.
    /// Alone it is the plain cross-entropy of the normalized logits; [`around`](Self::around) puts any other loss
    /// there. Labels and soft targets will do. A logit of −∞ stays one and is left out of the norm.
    ///
    /// ```
    /// use softlabel_losses::{LogitNorm, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3.0f64, -4.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let norm = LogitNorm::new(0.5)?;
    /// let loss = norm.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// // The logits become 1.2 and −1.6.
    /// assert!((f64::try_from(loss)? - (1.0 + (-2.8f64).exp()).ln()).abs() < 1e-7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    LogitNorm {
        temperature: f64,
    }
}

impl LogitNorm {
    /// The name under which recipes know it.
    pub const NAME: &'static str = "logit_norm";

    /// With the temperature τ.
    ///
    /// # Errors
    /// If τ is not positive and finite.
    pub fn new(temperature: f64) -> Result<Self> {
        Self { temperature }.checked()
    }

    /// τ.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// z' of logits `[.., K]`, in f32, or f64 for f64. All-zero logits stay zero, without gradient from the norm.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn normalize(&self, logits: &Tensor) -> Result<Tensor> {
        const TINY: f64 = 1e-7;
        let logits = logits.f_to_kind(computing_kind(logits)?)?;
        let squares = without_negative_infinity(&logits)?.f_square()?;
        let last = [-1_i64].as_slice();
        let norm = root(&squares.f_sum_dim_intlist(last, true, logits.f_kind()?)?)?;
        let scale = norm.f_add_scalar(TINY)?.f_mul_scalar(self.temperature)?;
        let absent = logits.f_isneginf()?;
        let normalized = logits.f_masked_fill(&absent, 0.0)?.f_div(&scale)?;
        Ok(normalized.f_masked_fill(&absent, f64::NEG_INFINITY)?)
    }

    /// Another loss on the normalized logits; `CrossEntropy::new()` is the fused, faster form of what this loss is by
    /// itself, which can be differentiated twice.
    ///
    /// ```
    /// use softlabel_losses::{Focal, LogitNorm, LossTerm};
    /// assert_eq!(LogitNorm::new(0.04)?.around(Focal::new(2.0)?).name(), "logit_norm");
    /// # Ok::<(), softlabel_losses::Error>(())
    /// ```
    pub fn around<L: LossTerm>(&self, inner: L) -> NormalizedLogits<L> {
        NormalizedLogits { norm: self.clone(), inner }
    }

    fn checked(self) -> Result<Self> {
        crate::check::positive("the temperature of logit normalization", self.temperature)?;
        Ok(self)
    }
}

impl LossTerm for LogitNorm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn term(&self, batch: &Batch) -> Result<Term> {
        self.around(CrossEntropy::new().with_second_derivatives()).term(batch)
    }
}

/// A loss on logits that [`LogitNorm`] normalized.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalizedLogits<L> {
    norm: LogitNorm,
    inner: L,
}

impl<L: LossTerm> LossTerm for NormalizedLogits<L> {
    fn name(&self) -> &'static str {
        LogitNorm::NAME
    }

    fn term(&self, batch: &Batch) -> Result<Term> {
        self.inner.term(&batch.with_logits(&self.norm.normalize(batch.logits())?)?)
    }
}
