//! What a batch of logits should have said.

use tch::Tensor;

/// What a batch of logits should have said.
///
/// Labels are class indices of any integer dtype, in the shape of the logits without the class axis. Soft rows are
/// distributions over the classes in the shape of the logits, in any float dtype, each summing to 1 within the
/// [tolerance](softlabel_tensor::soft_row_tolerance) of that dtype; no gradient flows into them. Numbers of samples come in row-major order.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// One label a sample.
    Hard(&'a Tensor),
    /// One distribution a sample.
    Soft(&'a Tensor),
    /// One distribution a sample, and a bool mask in the shape of the labels: where it is false, the sample counts for
    /// nothing and its row may hold anything. Both are in [`MaskedTargets`](softlabel_targets::MaskedTargets).
    Masked {
        /// The distributions.
        rows: &'a Tensor,
        /// False where a sample counts for nothing.
        counted: &'a Tensor,
    },
    /// Two labels a sample, as mixup and CutMix leave them: (1 − s)·t(first) + s·t(second), where t is the target of a
    /// label, smoothed as the loss says. A sample of which a label is ignored counts for nothing.
    Mixed {
        /// The labels of the samples themselves.
        first: &'a Tensor,
        /// The labels of what was mixed in.
        second: &'a Tensor,
        /// s, the share of the second, in [0, 1]: one a sample.
        share_of_second: &'a [f64],
    },
    /// One label a sample, and the classes that each allows: ε of the loss goes evenly to these,
    /// t = (1 − ε)·onehot(y) + ε/n·allowed, where the logits of the others may be −∞ and cost nothing.
    ///
    /// The smoothing of the loss is [`Smoothing::mixture`](softlabel_targets::Smoothing::mixture) or per class; for the same classes in all samples
    /// [`AllowedClasses`](softlabel_targets::AllowedClasses) is a prior. A sample that counts allows at least one class.
    ///
    /// ```
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use softlabel_targets::Smoothing;
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[0.0f64, 0.0, f64::NEG_INFINITY]).view((1, 3));
    /// let (labels, allowed) = (Tensor::from_slice(&[0i64]), Tensor::from_slice(&[true, true, false]).view((1, 3)));
    /// let loss = CrossEntropy::new().with_smoothing(Smoothing::mixture(0.1)?);
    /// let loss = loss.forward(&logits, Target::Allowed { labels: &labels, allowed: &allowed })?;
    /// assert!((f64::try_from(loss)? - 2f64.ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Allowed {
        /// The labels.
        labels: &'a Tensor,
        /// True where a class can be: bool, in the shape of the logits.
        allowed: &'a Tensor,
    },
    /// One label a sample, and an ε for each in the place of the ε of the loss, of which the prior counts.
    Smoothed {
        /// The labels.
        labels: &'a Tensor,
        /// ε of every sample, in [0, 1].
        epsilons: &'a [f64],
    },
}
