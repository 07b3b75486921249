//! The entropy of predictions, to be raised or lowered.
//!
//! With p = softmax(z) and H(p) = −Σ_k p_k ln p_k, 0·ln 0 being 0 in value and gradient:
//!
//! ```text
//! entropy              H(p)                   lowering it makes predictions sure
//! confidence penalty   −H(p)                  lowering it makes them unsure
//!   with threshold Γ   max(0, Γ − H(p))       until the entropy is Γ
//! ```
//!
//! Sources: Pereyra, Tucker, Chorowski, Kaiser, Hinton, "Regularizing Neural Networks by Penalizing Confident Output
//! Distributions", ICLR workshop 2017; Grandvalet, Bengio, "Semi-supervised Learning by Entropy Minimization",
//! NeurIPS 2004.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{sum_classes, without_negative_infinity};
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// −H(p): rewards entropy, so that predictions stay unsure (Pereyra et al. 2017).
    ///
    /// Added to cross-entropy with a weight β, 0.1 being the usual one. It does not look at the target: it also
    /// flattens predictions that are rightly sure. Labels and soft targets will do.
    /// Alone it has a least value, −ln K, at the uniform distribution.
    ///
    /// ```
    /// use softlabel_losses::{ConfidencePenalty, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// // A class that cannot be costs nothing: the entropy is that of the other two.
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0, f64::NEG_INFINITY]).view((1, 3));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let penalty = ConfidencePenalty::new();
    /// let penalty = penalty.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(penalty)? + 2f64.ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Default)]
    ConfidencePenalty {
        #[serde(default)]
        threshold: Option<f64>,
    }
}

impl ConfidencePenalty {
    /// −H(p).
    pub fn new() -> Self {
        Self::default()
    }

    /// max(0, Γ − H(p)): nothing is asked of predictions whose entropy is Γ or more.
    ///
    /// # Errors
    /// If Γ is not positive and finite.
    pub fn with_threshold(threshold: f64) -> Result<Self> {
        Self { threshold: Some(threshold) }.checked()
    }

    /// Γ.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    fn checked(self) -> Result<Self> {
        if let Some(threshold) = self.threshold {
            crate::check::positive("the entropy threshold of a confidence penalty", threshold)?;
        }
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let negative = negative_entropy(batch)?;
        match self.threshold {
            None => Ok(negative),
            Some(threshold) => Ok(negative.f_add_scalar(threshold)?.f_relu()?),
        }
    }
}

row_loss!(ConfidencePenalty, "confidence_penalty");

configuration! {
    /// H(p), which a positive weight lowers and a negative one raises.
    ///
    /// With a positive weight it is entropy minimization (Grandvalet and Bengio 2004), meant for samples whose label is
    /// unknown or unsure; with weight −β it is [`ConfidencePenalty`] with weight β. Labels and soft targets will do.
    ///
    /// ```
    /// use softlabel_losses::{Entropy, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let entropy = Entropy::new().forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// let expected = -0.75 * 0.75f64.ln() - 0.25 * 0.25f64.ln();
    /// assert!((f64::try_from(entropy)? - expected).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Default)]
    Entropy {}
}

impl Entropy {
    /// H(p).
    pub fn new() -> Self {
        Self::default()
    }

    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // The shape that all configurations have.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }

    #[allow(clippy::unused_self)] // The shape that all losses have.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        Ok(negative_entropy(batch)?.f_neg()?)
    }
}

row_loss!(Entropy, "entropy");

/// Σ_k p_k ln p_k.
fn negative_entropy(batch: &Batch) -> Result<Tensor> {
    let log_p = without_negative_infinity(batch.log_probabilities()?)?;
    sum_classes(&batch.probabilities()?.f_mul(&log_p)?)
}
