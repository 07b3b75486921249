//! Max suppression.
//!
//! For logits z of one sample over the K classes that it has:
//!
//! ```text
//! loss = max_j z_j − (1/K) Σ_k z_k
//! ```
//!
//! Smoothed cross-entropy is CE + ε·(z_y − mean z); here the largest logit stands in the place of the label's.
//!
//! Source: Zhou, Li, Cheng, Yan, Dong, Fritz, Keuper, "MaxSup: Overcoming Representation Collapse in Label Smoothing",
//! NeurIPS 2025.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::Present;
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// How far the largest logit lies above the mean (Zhou et al. 2025).
    ///
    /// Label smoothing with share ε is cross-entropy plus ε·(z_y − mean z): it holds back the label's logit even where
    /// another one is larger. This term holds back the largest, and is the same where the prediction is right.
    /// The weight rises linearly from 0.1 to 0.2 over the training in the paper's main runs.
    /// It does not look at the target: labels and soft targets will do.
    /// A class with a logit of −∞ is none of the sample's and is left out of sum and count. Where several logits are
    /// the largest, one of them receives the gradient.
    ///
    /// ```
    /// use softlabel_losses::{LossOptions, LossTerm, MaxSup, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[1.0f64, 4.0, 1.0]).view((1, 3));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = MaxSup::new().forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert_eq!(f64::try_from(loss)?, 2.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Default)]
    MaxSup {}
}

impl MaxSup {
    /// z_max − mean z.
    pub fn new() -> Self {
        Self::default()
    }

    #[allow(clippy::unnecessary_wraps)] // The shape that all configurations have.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }

    #[allow(clippy::unused_self)] // The shape that all losses have.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let classes = Present::new(batch.logits())?;
        // The mean of differences, not the difference of means: logits may be far from 0.
        classes.mean(&classes.largest.f_sub(&classes.logits)?)
    }
}

row_loss!(MaxSup, "max_sup");
