//! A loss of any kind, for programs that learn the kind at run time.

use serde::{Deserialize, Serialize};

use crate::{
    Acls, BackwardCorrection, Batch, BinaryCrossEntropy, Bootstrap, Brier, ConfidencePenalty,
    CorrectnessRanking, DualFocal, Entropy, Focal, Focal53, ForwardCorrection,
    GeneralizedCrossEntropy, JsDivergence, KlDivergence, LabelRelaxation, LogitNorm, LogitPenalty,
    LossTerm, MarginSmoothing, MaxSup, Mmce, Poly, Result, SymmetricCrossEntropy, Term,
    ZipfDivergence,
};

/// The enum, its conversions and its names, from one line a loss.
macro_rules! any_of {
    ($($(#[$meta:meta])* $kind:literal => $loss:ident),+ $(,)?) => {
        /// A loss or regularizer of any kind, read from a table that names its `kind`.
        ///
        /// An unknown kind, an unknown key and a value out of its range are errors that name it.
        ///
        /// ```
        /// use softlabel_losses::{AnyLoss, LossTerm};
        ///
        /// let loss: AnyLoss = toml::from_str("kind = 'margin_smoothing'\nmargin = 10")?;
        /// assert_eq!(loss.name(), "margin_smoothing");
        ///
        /// let error = toml::from_str::<AnyLoss>("kind = 'focal'\ngamma = -1").unwrap_err();
        /// assert!(error.to_string().contains("the gamma of a focal loss must be"));
        /// # Ok::<(), toml::de::Error>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum AnyLoss {
            $(
                $(#[$meta])*
                #[serde(rename = $kind)]
                $loss($loss),
            )+
        }

        $(
            impl From<$loss> for AnyLoss {
                fn from(loss: $loss) -> Self {
                    Self::$loss(loss)
                }
            }
        )+

        impl AnyLoss {
            /// The kinds that there are, as they are written.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];
        }

        impl LossTerm for AnyLoss {
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$loss(_) => $loss::NAME,)+
                }
            }

            fn term(&self, batch: &Batch) -> Result<Term> {
                match self {
                    $(Self::$loss(loss) => loss.term(batch),)+
                }
            }
        }
    };
}

any_of! {
    /// −H(p).
    "confidence_penalty" => ConfidencePenalty,
    /// H(p).
    "entropy" => Entropy,
    /// Logits more than a margin below the largest.
    "margin_smoothing" => MarginSmoothing,
    /// Squares of logits beyond a margin.
    "acls" => Acls,
    /// The largest logit less the mean.
    "max_sup" => MaxSup,
    /// ½‖z‖².
    "logit_penalty" => LogitPenalty,
    /// Cross-entropy of logits of one length.
    "logit_norm" => LogitNorm,
    /// Confidences in the order of past correctness.
    "correctness_ranking" => CorrectnessRanking,
    /// Calibration error in a kernel space.
    "mmce" => Mmce,
    /// Kullback-Leibler divergence.
    "kl_divergence" => KlDivergence,
    /// Jensen-Shannon divergence.
    "js_divergence" => JsDivergence,
    /// Divergence of the other classes from Zipf's law.
    "zipf_divergence" => ZipfDivergence,
    /// Squared distance from the target.
    "brier" => Brier,
    /// Focal loss.
    "focal" => Focal,
    /// Focal loss with γ by probability.
    "focal_53" => Focal53,
    /// Focal loss with the class behind the label.
    "dual_focal" => DualFocal,
    /// Poly-1.
    "poly" => Poly,
    /// Divergence from the nearest distribution that would do.
    "label_relaxation" => LabelRelaxation,
    /// A target that is partly the prediction.
    "bootstrap" => Bootstrap,
    /// Between cross-entropy and mean absolute error.
    "generalized_cross_entropy" => GeneralizedCrossEntropy,
    /// Cross-entropy and its reverse.
    "symmetric_cross_entropy" => SymmetricCrossEntropy,
    /// Cross-entropy of what would be observed.
    "forward_correction" => ForwardCorrection,
    /// A loss that is unbiased under label noise.
    "backward_correction" => BackwardCorrection,
    /// A yes-or-no question a class.
    "binary_cross_entropy" => BinaryCrossEntropy,
}
