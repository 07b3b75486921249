//! Focal loss and two of its kin.
//!
//! With p = softmax(z), label y, and p_j the largest probability strictly below p_y (0 if there is none):
//!
//! ```text
//! focal        −(1 − p_y)^γ ln p_y
//! focal 53     the same, with γ = 5 where p_y < 0.2 and γ = 3 elsewhere
//! dual focal   −(1 − p_y + p_j)^γ ln p_y
//! ```
//!
//! 1 − p_y is computed from ln p_y without further cancellation; f32 cannot tell ln p_y from 0 where 1 − p_y is below
//! about 6e-8, and the loss is 0 there. At p_y = 1 loss and gradient are 0 for every γ ≥ 0.
//! A label with a logit of −∞ is an infinite loss, and its gradient that of cross-entropy, to which all three tend there.
//!
//! Sources: Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", ICCV 2017; Mukhoti et al.,
//! "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020; Tao, Dong, Xu, "Dual Focal Loss for
//! Calibration", ICML 2023.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{complement, power};
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// Cross-entropy that counts less the surer the label is predicted: −(1 − p_y)^γ ln p_y (Lin et al. 2017).
    ///
    /// γ = 2 in the paper, 3 where calibration is the purpose (Mukhoti et al. 2020); γ = 0 is cross-entropy.
    /// For some p_y the factor makes the gradient larger than that of cross-entropy.
    /// There is no class factor α here. Needs labels.
    ///
    /// ```
    /// use softlabel_losses::{Focal, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Focal::new(2.0)?.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? + 0.25f64.powi(2) * 0.75f64.ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Focal {
        gamma: f64,
    }
}

impl Focal {
    /// With the exponent γ.
    ///
    /// # Errors
    /// If γ is negative or not finite.
    pub fn new(gamma: f64) -> Result<Self> {
        Self { gamma }.checked()
    }

    /// γ.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    fn checked(self) -> Result<Self> {
        crate::check::not_negative("the gamma of a focal loss", self.gamma)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.label_log_probabilities(Self::NAME)?;
        focus(log_p, &power(&complement(log_p)?, self.gamma)?)
    }
}

row_loss!(Focal, "focal");

configuration! {
    /// Focal loss with γ = 5 where p_y < 0.2 and γ = 3 elsewhere, the FLSD-53 of Mukhoti et al. 2020.
    ///
    /// Which γ holds is a constant for the gradient, and the loss jumps where it changes. Needs labels.
    ///
    /// ```
    /// use softlabel_losses::{Focal53, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 9f64.ln()]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Focal53::new().forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? + 0.9f64.powi(5) * 0.1f64.ln()).abs() < 1e-14);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "FLSD-53")]
    #[derive(Default)]
    Focal53 {}
}

impl Focal53 {
    /// γ = 5 below 0.2, 3 from there on.
    pub fn new() -> Self {
        Self::default()
    }

    #[allow(clippy::unnecessary_wraps)] // The shape that all configurations have.
    fn checked(self) -> Result<Self> {
        Ok(self)
    }

    #[allow(clippy::unused_self)] // The shape that all losses have.
    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.label_log_probabilities(Self::NAME)?;
        let unsure = complement(log_p)?;
        let cube = unsure.f_pow_tensor_scalar(3.0)?;
        let low = log_p.f_exp()?.f_lt(0.2)?;
        let factor = cube.f_mul(&unsure.f_square()?)?.f_where_self(&low, &cube)?;
        focus(log_p, &factor)
    }
}

row_loss!(Focal53, "focal_53");

configuration! {
    /// −(1 − p_y + p_j)^γ ln p_y with p_j the largest probability strictly below p_y (Tao et al. 2023).
    ///
    /// The factor asks for a distance between the label and the class behind it, and is larger than focal loss's, which
    /// leaves predictions less unsure. γ has to be searched for; the published code has 0, that is cross-entropy,
    /// unless told otherwise. Where p_y is the least probability of all, p_j is 0. Gradient flows through p_j.
    /// The loss jumps where p_j changes from one class to another that is as probable as the label. Needs labels.
    ///
    /// ```
    /// use softlabel_losses::{DualFocal, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let dual = DualFocal::new(2.0)?;
    /// let loss = dual.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? + 0.5f64.powi(2) * 0.75f64.ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    DualFocal {
        gamma: f64,
    }
}

impl DualFocal {
    /// With the exponent γ.
    ///
    /// # Errors
    /// If γ is negative or not finite.
    pub fn new(gamma: f64) -> Result<Self> {
        Self { gamma }.checked()
    }

    /// γ.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    fn checked(self) -> Result<Self> {
        crate::check::not_negative("the gamma of a dual focal loss", self.gamma)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let log_p = batch.label_log_probabilities(Self::NAME)?;
        let all = batch.log_probabilities()?;
        // Compared as logarithms, which tell apart what underflows as a probability.
        let not_below = all.f_ge_tensor(&log_p.f_unsqueeze(-1)?)?;
        let below = batch.probabilities()?.f_masked_fill(&not_below, 0.0)?;
        let next = below.f_max_dim(-1, false)?.0;
        focus(log_p, &power(&complement(log_p)?.f_add(&next)?, self.gamma)?)
    }
}

row_loss!(DualFocal, "dual_focal");

/// −factor·ln p_y.
fn focus(log_p: &Tensor, factor: &Tensor) -> Result<Tensor> {
    // 0 times −∞ is not what the factor adds to the gradient of a label that cannot be, but nothing.
    let factor = factor.f_detach()?.f_where_self(&log_p.f_isneginf()?, factor)?;
    Ok(factor.f_mul(log_p)?.f_neg()?)
}
