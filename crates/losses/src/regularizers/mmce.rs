//! Maximum mean calibration error.
//!
//! For the n samples of a batch that count, r_i = max_k p_k the confidence and c_i whether the prediction is the label:
//!
//! ```text
//! MMCE² = (1/n²) Σ_i Σ_j (c_i − r_i)(c_j − r_j) exp(−|r_i − r_j| / w)
//! loss  = √MMCE²
//! ```
//!
//! Computed in O(n²). Source: Kumar, Sarawagi, Jain, "Trainable Calibration Measures for Neural Networks from Kernel
//! Mean Embeddings", ICML 2018.

use crate::check::configuration;
use crate::numeric::root;
use crate::{Batch, LossTerm, Result, Term};

configuration! {
    /// A calibration error that has a gradient: the distance of confidences from correctness in a kernel space
    /// (Kumar et al. 2018).
    ///
    /// A number about the batch, not about samples: see [`Term::Batch`] for what reductions make of it.
    /// Kernel width w = 0.4 is the paper's, with weights about 1.
    /// Whether a prediction is right is a constant for the gradient. By [`squared`](Self::squared) the root is left
    /// out: smoother at 0, and much smaller. The paper's reweighted variant is not here.
    /// Needs labels. Where the error is 0, so is the gradient.
    ///
    /// ```
    /// use softlabel_losses::{LossOptions, LossTerm, Mmce, Target};
    /// use tch::Tensor;
    ///
    /// // One sample, right with probability 3/4: the error is 1/4.
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Mmce::new(0.4)?.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? - 0.25).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "MMCE")]
    Mmce {
        width: f64,
        #[serde(default)]
        squared: bool,
    }
}

impl Mmce {
    /// The name under which recipes know it.
    pub const NAME: &'static str = "mmce";

    /// With a Laplacian kernel of width w.
    ///
    /// # Errors
    /// If w is not positive and finite.
    pub fn new(width: f64) -> Result<Self> {
        Self { width, squared: false }.checked()
    }

    /// MMCE² instead of its root.
    #[must_use]
    pub fn squared(mut self) -> Self {
        self.squared = true;
        self
    }

    /// w.
    pub fn width(&self) -> f64 {
        self.width
    }

    fn checked(self) -> Result<Self> {
        crate::check::positive("the kernel width of MMCE", self.width)?;
        Ok(self)
    }
}

impl LossTerm for Mmce {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn term(&self, batch: &Batch) -> Result<Term> {
        let labels = batch.labels(Self::NAME)?;
        let (confidence, predicted) = batch.probabilities()?.f_max_dim(-1, false)?;
        let correct = predicted.f_eq_tensor(labels)?.f_to_kind(batch.kind()?)?;
        let mut gaps = correct.f_sub(&confidence)?;
        if let Some(ignored) = batch.ignored() {
            gaps = gaps.f_masked_fill(ignored, 0.0)?;
        }
        let counted = batch.counted()?;
        let (gaps, confidence) = (gaps.f_reshape([-1])?, confidence.f_reshape([-1])?);
        let distances = confidence.f_unsqueeze(1)?.f_sub(&confidence.f_unsqueeze(0)?)?.f_abs()?;
        let kernel = distances.f_mul_scalar(-self.width.recip())?.f_exp()?;
        let sum = kernel.f_mv(&gaps)?.f_mul(&gaps)?.f_sum(batch.kind()?)?;
        let samples = counted.max(1) as f64;
        let error = sum.f_mul_scalar((samples * samples).recip())?;
        let value = if self.squared { error } else { root(&error)? };
        Ok(Term::Batch { value, counted })
    }
}
