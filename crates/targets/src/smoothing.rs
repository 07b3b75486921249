//! Label smoothing.
//!
//! For a label y among K classes, with smoothing ε in [0, 1]:
//!
//! - `Mixture`: q = (1 − ε)·onehot(y) + ε/K. The label keeps 1 − ε + ε/K.
//!   Szegedy et al. 2016; PyTorch, timm, Keras, optax.
//! - `OffTarget`: q_y = 1 − ε, and ε/(K − 1) on every other class.
//!   fairseq, Megatron-LM, and the code that most tutorials print.
//!
//! They are one family: OffTarget(ε) = Mixture(ε·K/(K − 1)).
//! At K = 2 and ε = 0.1 the label keeps 0.95 under the first and 0.9 under the second.
//!
//! Sources: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision",
//! CVPR 2016, section 7; Müller, Kornblith, Hinton, "When Does Label Smoothing Help?", NeurIPS 2019.

use serde::{Deserialize, Serialize};
use softlabel_core::{Epsilon, Labels};

use crate::{Error, Result};

/// What ε means: spread over all classes, or over all but the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Convention {
    /// (1 − ε)·onehot + ε/K: every class receives ε/K, the label too.
    Mixture,
    /// 1 − ε on the label, ε/(K − 1) on every other class.
    OffTarget,
}

/// How much is smoothed, and in which convention.
///
/// ```
/// use softlabel_targets::{Convention, Smoothing};
///
/// let mixture = Smoothing::mixture(0.1)?;
/// let weights = mixture.weights(10)?;
/// assert!((weights.label - 0.91).abs() < 1e-15 && (weights.other - 0.01).abs() < 1e-15);
///
/// let off_target = Smoothing::off_target(0.09)?;
/// assert!((off_target.uniform_share(10)? - 0.1).abs() < 1e-15);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smoothing {
    epsilon: Epsilon,
    convention: Convention,
}

/// A smoothed target, the same for every label: what the label has and what each other class has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetWeights {
    /// Probability of the label.
    pub label: f64,
    /// Probability of each other class.
    pub other: f64,
}

impl Smoothing {
    /// No smoothing: one-hot targets, the same in both conventions.
    pub const NONE: Self = Self { epsilon: Epsilon::ZERO, convention: Convention::Mixture };

    /// Smoothing with a convention that is named.
    pub const fn new(epsilon: Epsilon, convention: Convention) -> Self {
        Self { epsilon, convention }
    }

    /// (1 − ε)·onehot + ε/K, as PyTorch's `label_smoothing`.
    ///
    /// # Errors
    /// If `epsilon` is not in [0, 1].
    pub fn mixture(epsilon: f64) -> Result<Self> {
        Ok(Self::new(Epsilon::new(epsilon)?, Convention::Mixture))
    }

    /// 1 − ε on the label, ε/(K − 1) on the others, as fairseq's `label_smoothing`.
    ///
    /// # Errors
    /// If `epsilon` is not in [0, 1].
    pub fn off_target(epsilon: f64) -> Result<Self> {
        Ok(Self::new(Epsilon::new(epsilon)?, Convention::OffTarget))
    }

    /// ε.
    pub const fn epsilon(&self) -> Epsilon {
        self.epsilon
    }

    /// What ε means.
    pub const fn convention(&self) -> Convention {
        self.convention
    }

    /// Whether targets stay one-hot.
    pub fn is_none(&self) -> bool {
        self.epsilon == Epsilon::ZERO
    }

    /// The ε' for which the target is (1 − ε')·onehot + ε'/K, whatever the convention.
    ///
    /// It exceeds 1 where `OffTarget` leaves the label less than the other classes have.
    /// This is the form in which losses consume a smoothing: cross-entropy is then
    /// (1 − ε')·(lse − z_y) + ε'·(lse − mean z).
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] without classes, or for `OffTarget` with ε > 0 and a single class.
    pub fn uniform_share(&self, classes: usize) -> Result<f64> {
        let epsilon = self.epsilon.get();
        match self.convention {
            _ if classes == 0 => Err(Error::TooFewClasses { what: "a target", classes }),
            Convention::Mixture => Ok(epsilon),
            Convention::OffTarget if self.is_none() => Ok(0.0),
            Convention::OffTarget if classes == 1 => {
                Err(Error::TooFewClasses { what: "off-target smoothing", classes })
            }
            Convention::OffTarget => Ok(epsilon * classes as f64 / (classes - 1) as f64),
        }
    }

    /// What the label and each other class have.
    ///
    /// # Errors
    /// As [`uniform_share`](Self::uniform_share).
    pub fn weights(&self, classes: usize) -> Result<TargetWeights> {
        let epsilon = self.epsilon.get();
        // Also where the label's weight does not need it: it checks the class count.
        let other = self.uniform_share(classes)? / classes as f64;
        let label = match self.convention {
            Convention::Mixture => 1.0 - other * (classes - 1) as f64,
            Convention::OffTarget => 1.0 - epsilon,
        };
        Ok(TargetWeights { label, other })
    }
}

impl Default for Smoothing {
    /// No smoothing.
    fn default() -> Self {
        Self::NONE
    }
}

impl std::fmt::Display for Smoothing {
    /// `none`, `0.1 (mixture)` or `0.1 (off target)`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.convention {
            _ if self.is_none() => formatter.write_str("none"),
            Convention::Mixture => write!(formatter, "{} (mixture)", self.epsilon),
            Convention::OffTarget => write!(formatter, "{} (off target)", self.epsilon),
        }
    }
}

/// One-hot rows, smoothed: what tutorials write as `smooth_one_hot(labels, classes, epsilon)`, with the convention
/// named and the class count taken from the labels.
///
/// Returns row-major `[labels.len(), labels.classes()]` values, each row summing to 1 up to rounding.
/// Computed in f64 and rounded once.
///
/// # Errors
/// [`Error::TooFewClasses`] for `OffTarget` with ε > 0 and a single class.
///
/// ```
/// use softlabel_core::{Epsilon, Labels};
/// use softlabel_targets::{Convention, smooth_one_hot};
///
/// let labels = Labels::new(&[0i64, 1], 2)?;
/// let rows = smooth_one_hot(&labels, Epsilon::new(0.1)?, Convention::OffTarget)?;
/// assert_eq!(rows, [0.9, 0.1, 0.1, 0.9]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[doc(alias = "smooth_labels")]
#[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
pub fn smooth_one_hot(
    labels: &Labels,
    epsilon: Epsilon,
    convention: Convention,
) -> Result<Vec<f32>> {
    let classes = labels.classes();
    let weights = Smoothing::new(epsilon, convention).weights(classes)?;
    let mut rows = vec![weights.other as f32; labels.len() * classes];
    for (row, label) in rows.chunks_exact_mut(classes).zip(labels.iter()) {
        row[label] = weights.label as f32;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_conventions_at_two_classes() {
        let weights = |smoothing: Smoothing| smoothing.weights(2).unwrap();
        let mixture = weights(Smoothing::mixture(0.1).unwrap());
        assert_eq!((mixture.label, mixture.other), (0.95, 0.05));
        let off_target = weights(Smoothing::off_target(0.1).unwrap());
        assert_eq!((off_target.label, off_target.other), (0.9, 0.1));
    }

    #[test]
    fn the_ends() {
        let uniform = Smoothing::mixture(1.0).unwrap().weights(4).unwrap();
        assert_eq!((uniform.label, uniform.other), (0.25, 0.25));
        let none = Smoothing::off_target(1.0).unwrap().weights(5).unwrap();
        assert_eq!((none.label, none.other), (0.0, 0.25));
        assert_eq!(Smoothing::NONE.weights(3).unwrap().label, 1.0);
    }

    #[test]
    fn a_single_class() {
        assert_eq!(Smoothing::mixture(0.3).unwrap().weights(1).unwrap().label, 1.0);
        assert_eq!(Smoothing::off_target(0.0).unwrap().weights(1).unwrap().label, 1.0);
        let error = Smoothing::off_target(0.3).unwrap().weights(1).unwrap_err();
        assert_eq!(error.to_string(), "off-target smoothing needs at least 2 classes, found 1");
        assert!(Smoothing::NONE.weights(0).is_err());
    }

    #[test]
    fn serde_names_the_convention_and_refuses_strangers() {
        let text = r#"{"epsilon":0.1,"convention":"off_target"}"#;
        let smoothing: Smoothing = serde_json::from_str(text).unwrap();
        assert_eq!(smoothing, Smoothing::off_target(0.1).unwrap());
        assert_eq!(serde_json::to_string(&smoothing).unwrap(), text);
        for bad in [
            r#"{"epsilon":0.1}"#,
            r#"{"epsilon":-0.1,"convention":"mixture"}"#,
            r#"{"epsilon":0.1,"convention":"mixture","alpha":1}"#,
        ] {
            assert!(serde_json::from_str::<Smoothing>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn weights_sum_to_one(epsilon in 0.0..=1.0, classes in 2..2000_usize, mixture: bool) {
            let smoothing = if mixture { Smoothing::mixture(epsilon) } else { Smoothing::off_target(epsilon) };
            let weights = smoothing.unwrap().weights(classes).unwrap();
            let sum = weights.label + weights.other * (classes - 1) as f64;
            prop_assert!((sum - 1.0).abs() < 1e-12);
        }

        #[test]
        fn off_target_is_a_mixture_with_more(epsilon in 0.0..0.5, classes in 2..2000_usize) {
            let off_target = Smoothing::off_target(epsilon).unwrap();
            let share = epsilon * classes as f64 / (classes as f64 - 1.0);
            let mixture = Smoothing::mixture(share).unwrap();
            let (a, b) = (off_target.weights(classes).unwrap(), mixture.weights(classes).unwrap());
            prop_assert!((a.label - b.label).abs() < 1e-12 && (a.other - b.other).abs() < 1e-12);
        }

        #[test]
        fn dense_rows_hold_the_weights(
            labels in prop::collection::vec(0..7_u32, 0..20), epsilon in 0.0..=1.0
        ) {
            let labels = Labels::new(&labels, 7).unwrap();
            let epsilon = Epsilon::new(epsilon).unwrap();
            let rows = smooth_one_hot(&labels, epsilon, Convention::Mixture).unwrap();
            for (row, label) in rows.chunks(7).zip(labels.iter()) {
                for (class, &q) in row.iter().enumerate() {
                    let onehot = f64::from(u8::from(class == label));
                    let expected = (1.0 - epsilon.get()) * onehot + epsilon.get() / 7.0;
                    prop_assert!((f64::from(q) - expected).abs() < 1e-7);
                }
            }
        }
    }
}
