//! Margin-based label smoothing.
//!
//! For logits z of one sample over the K classes that it has, and a margin m ≥ 0:
//!
//! ```text
//! loss = (1/K) Σ_k max(0, max_j z_j − z_k − m)
//! ```
//!
//! Source: Liu, Ben Ayed, Galdran, Dolz, "The Devil is in the Margin: Margin-based Label Smoothing for Network
//! Calibration", CVPR 2022.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::Present;
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// Penalizes logits that lie more than a margin below the largest one (Liu et al. 2022).
    ///
    /// m = 10 with weight 0.1 for image classification, m = 5 for segmentation. With m = 0 it pulls all logits together
    /// as label smoothing does. It does not look at the target: labels and soft targets will do.
    /// A class with a logit of −∞ is none of the sample's and is left out of sum and count.
    /// The largest logit receives gradient too. The code published with the paper averages over all classes of all
    /// samples, which is this loss under a mean over the samples.
    ///
    /// ```
    /// use softlabel_losses::{LossOptions, LossTerm, MarginSmoothing, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[12.0f64, 0.0, 5.0, -1.0]).view((1, 4));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let margin = MarginSmoothing::new(10.0)?;
    /// let loss = margin.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert_eq!(f64::try_from(loss)?, (2.0 + 3.0) / 4.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "MbLS")]
    MarginSmoothing {
        margin: f64,
    }
}

impl MarginSmoothing {
    /// With the margin m.
    ///
    /// # Errors
    /// If m is negative or not finite.
    pub fn new(margin: f64) -> Result<Self> {
        Self { margin }.checked()
    }

    /// m.
    pub fn margin(&self) -> f64 {
        self.margin
    }

    fn checked(self) -> Result<Self> {
        crate::check::not_negative("the margin of margin smoothing", self.margin)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let classes = Present::new(batch.logits())?;
        let below = classes.largest.f_sub(&classes.logits)?.f_sub_scalar(self.margin)?;
        classes.mean(&below.f_relu()?)
    }
}

row_loss!(MarginSmoothing, "margin_smoothing");
