//! Adaptive and conditional label smoothing.
//!
//! For logits z of one sample with K classes, ẑ = max_j z_j without gradient, margin m, weights λ₁ and λ₂:
//!
//! ```text
//! loss = λ₁ Σ_{k: z_k = ẑ} max(0, z_k − m)²  +  λ₂/(K − 1) Σ_{k: z_k < ẑ} max(0, ẑ − z_k − m)²
//! ```
//!
//! Source: Park, Noh, Oh, Baek, Ham, "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
//! ICCV 2023.

use tch::Tensor;

use crate::check::configuration;
use crate::numeric::{Present, sum_classes};
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// Smooths more where the logits lie farther apart, and not at all within a margin (Park et al. 2023).
    ///
    /// λ₁ = 1, λ₂ = 0.1, m = 10 and weight 0.1 are the authors' choice for image classification.
    /// This is the form of the code published with the paper, where the first part holds the largest logit itself, not
    /// its distance to the others, against the margin. So a constant added to all logits changes the loss.
    /// In the second part the largest logit is a constant: only the others are pulled up.
    /// Where several logits are the largest, all of them count in the first part.
    /// It does not look at the target: labels and soft targets will do.
    /// A class with a logit of −∞ is none of the sample's, and is left out of sums and counts.
    ///
    /// ```
    /// use softlabel_losses::{Acls, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[12.0f64, -1.0, 5.0]).view((1, 3));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let acls = Acls::new(10.0, 1.0, 0.1)?;
    /// let loss = acls.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - (1.0 * 4.0 + 0.1 * 9.0 / 2.0)).abs() < 1e-12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "ACLS")]
    Acls {
        margin: f64,
        positive: f64,
        negative: f64,
    }
}

impl Acls {
    /// With the margin m and the weights of the largest logit, λ₁, and of the others, λ₂.
    ///
    /// # Errors
    /// If one of them is negative or not finite.
    pub fn new(margin: f64, positive: f64, negative: f64) -> Result<Self> {
        Self { margin, positive, negative }.checked()
    }

    /// m.
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// λ₁.
    pub fn positive(&self) -> f64 {
        self.positive
    }

    /// λ₂.
    pub fn negative(&self) -> f64 {
        self.negative
    }

    fn checked(self) -> Result<Self> {
        crate::check::not_negative("the margin of ACLS", self.margin)?;
        crate::check::not_negative("the weight of the largest logit in ACLS", self.positive)?;
        crate::check::not_negative("the weight of the other logits in ACLS", self.negative)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let classes = Present::new(batch.logits())?;
        let largest = classes.largest.f_detach()?;
        let is_largest = classes.logits.f_eq_tensor(&largest)?;
        let is_largest = is_largest.f_to_kind(batch.kind()?)?.f_mul(&classes.mask)?;
        let others = classes.mask.f_sub(&is_largest)?;
        let above = classes.logits.f_sub_scalar(self.margin)?.f_relu()?.f_square()?;
        let below = largest.f_sub(&classes.logits)?.f_sub_scalar(self.margin)?.f_relu()?;
        let below = below.f_square()?.f_mul_scalar(self.negative)?;
        let other_count = classes.count.f_sub_scalar(1.0)?.f_clamp_min(1.0)?;
        let positive = above.f_mul(&is_largest)?.f_mul_scalar(self.positive)?;
        sum_classes(&positive.f_add(&below.f_mul(&others)?.f_div(&other_count)?)?)
    }
}

row_loss!(Acls, "acls");
