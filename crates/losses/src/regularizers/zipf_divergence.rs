//! Zipf's law for the classes that are not the label.
//!
//! With p̂ the probabilities of the other classes, p̂_k = p_k/(1 − p_y), and r_k the rank of class k among them, 1 for the
//! largest logit:
//!
//! ```text
//! loss = Σ_{k≠y} d_k ln(d_k/p̂_k),   d_k = r_k^(−α) / Σ_j j^(−α)
//! ```
//!
//! The ranks are taken as they are: no gradient goes through d.
//!
//! Source: Liang, Li, Bing, Zhao, Tang, Lin, Fan, "Efficient One Pass Self-distillation with Zipf's Label Smoothing",
//! ECCV 2022, which adds 0.1 of it to cross-entropy, with α = 1.

use tch::{Kind, Tensor};

use crate::check::configuration;
use crate::numeric::{computing_kind, sum_classes, weigh, without_negative_infinity};
use crate::term::row_loss;
use crate::{Batch, Result};

configuration! {
    /// KL(d ‖ p without the label), d by the ranks of the other classes (Liang et al. 2022).
    ///
    /// What the network thinks of the other classes is kept in its order and given a heavy tail, where uniform
    /// smoothing flattens it. α = 0 is uniform over the others. Mixed into a target it is
    /// [`ZipfSmoothing`](softlabel_targets::ZipfSmoothing), which ranks classes with a logit of −∞ too.
    /// Needs labels. Equal logits are ranked in the order of the classes. A class with a logit of −∞ has no rank, and a
    /// sample with no other class than its label has the loss 0.
    /// Zhou et al. 2025 (MaxSup) report no gain from it on ImageNet: 76.21 against 76.16 %.
    ///
    /// ```
    /// use softlabel_losses::{LossOptions, LossTerm, Target, ZipfDivergence};
    /// use tch::Tensor;
    ///
    /// // The others have 2/3 and 1/3 of their share, which is Zipf's law for two.
    /// let logits = Tensor::from_slice(&[5.0f64, 2f64.ln(), 0.0]).view((1, 3));
    /// let loss = |label: i64| {
    ///     let label = Tensor::from_slice(&[label]);
    ///     let zipf = ZipfDivergence::new(1.0)?;
    ///     let loss = zipf.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    ///     Ok::<_, softlabel_losses::Error>(f64::try_from(loss)?)
    /// };
    /// assert!(loss(0)?.abs() < 1e-15);
    /// // Without class 1: e⁵ and 1, of which the first has 2/3.
    /// let (first, last) = (1.0 / (1.0 + (-5f64).exp()), 1.0 / (1.0 + 5f64.exp()));
    /// let expected = 2.0 / 3.0 * (2.0 / 3.0 / first).ln() + 1.0 / 3.0 * (1.0 / 3.0 / last).ln();
    /// assert!((loss(1)? - expected).abs() < 1e-14);
    /// # Ok::<(), softlabel_losses::Error>(())
    /// ```
    ZipfDivergence {
        exponent: f64,
    }
}

impl ZipfDivergence {
    /// With the exponent α.
    ///
    /// # Errors
    /// If α is negative or not finite.
    pub fn new(exponent: f64) -> Result<Self> {
        Self { exponent }.checked()
    }

    /// α.
    pub fn exponent(&self) -> f64 {
        self.exponent
    }

    fn checked(self) -> Result<Self> {
        crate::check::not_negative("the exponent of the Zipf divergence", self.exponent)?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let at_label = batch.labels(Self::NAME)?.f_unsqueeze(-1)?;
        let others = batch.logits().f_scatter_value(-1, &at_label, f64::NEG_INFINITY)?;
        let present = others.f_isneginf()?.f_logical_not()?;
        // A row without any would have a softmax of 0/0.
        let none = present.f_any_dim(-1, true)?.f_logical_not()?;
        let log_p = others.f_masked_fill(&none, 0.0)?.f_log_softmax(-1, None::<Kind>)?;
        let zipf = self.by_rank(&others.f_detach()?, &present)?;
        let log_zipf = without_negative_infinity(&zipf.f_log()?)?;
        sum_classes(&weigh(&log_zipf.f_sub(&without_negative_infinity(&log_p)?)?, &zipf)?)
    }

    /// d, 0 for classes that are not present.
    fn by_rank(&self, others: &Tensor, present: &Tensor) -> Result<Tensor> {
        let kind = computing_kind(others)?;
        let classes = others.size().last().copied().unwrap_or(0);
        let ranks = Tensor::f_arange_start(1, classes + 1, (kind, others.device()))?;
        let by_rank = ranks.f_pow_tensor_scalar(-self.exponent.min(1e30))?;
        let order = others.f_argsort_stable(true, -1, true)?;
        let zeros = others.f_zeros_like()?.f_to_kind(kind)?;
        let weights = zeros.f_scatter(-1, &order, &by_rank.f_expand_as(&order)?)?;
        let weights = weights.f_mul(&present.f_to_kind(kind)?)?;
        // The first rank has 1, wherever there is one.
        let sum = weights.f_sum_dim_intlist([-1_i64].as_slice(), true, kind)?;
        Ok(weights.f_div(&sum.f_clamp_min(1.0)?)?.f_to_kind(others.f_kind()?)?)
    }
}

row_loss!(ZipfDivergence, "zipf_divergence");
