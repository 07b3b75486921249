//! What a batch of logits should have said.

use tch::Tensor;

/// What a batch of logits should have said.
///
/// Labels are class indices of any integer dtype, in the shape of the logits without the class axis. Soft rows are
/// distributions over the classes in the shape of the logits, in any float dtype, each summing to 1 within 1e-3; no
/// gradient flows into them. Numbers of samples come in row-major order.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// One label a sample.
    Hard(&'a Tensor),
    /// One distribution a sample.
    Soft(&'a Tensor),
    /// One distribution a sample, and a bool mask in the shape of the labels: where it is false, the sample counts for
    /// nothing and its row may hold anything. [`Svls`](softlabel_targets::Svls) makes both of a map with ignored pixels.
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
    /// One label a sample, and an ε for each in the place of the ε of the loss, of which the prior counts.
    Smoothed {
        /// The labels.
        labels: &'a Tensor,
        /// ε of every sample, in [0, 1].
        epsilons: &'a [f64],
    },
}
