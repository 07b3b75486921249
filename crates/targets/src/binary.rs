//! Label smoothing for yes or no: binary and multi-label targets.
//!
//! A target y in [0, 1] becomes y·(1 − ε) + off:
//!
//! - `Half`: off = ε/2. Each label is a classification between two, smoothed as a mixture. Keras.
//! - `OverClasses`: off = ε/K, so yes is 1 − ε + ε/K. What multi-class smoothing would give the K labels of a sample
//!   that has one; timm's `BinaryCrossEntropy`. The sum over the classes keeps its size, and for many classes "no" is
//!   hardly smoothed.
//!
//! They agree at K = 2.

use serde::{Deserialize, Serialize};
use softlabel_core::{Epsilon, Error as Core, Scalar};

use crate::{Error, Result};

/// What is added to every target of a binary smoothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BinaryForm {
    /// ε/2.
    Half,
    /// ε/K.
    OverClasses,
}

/// How much a yes-or-no target is smoothed, and in which form.
///
/// In serialized form `{ epsilon = 0.1, form = "half" }`.
///
/// ```
/// use softlabel_core::Epsilon;
/// use softlabel_targets::{BinaryForm, BinarySmoothing};
///
/// let epsilon = Epsilon::new(0.5)?;
/// let half = BinarySmoothing::new(epsilon, BinaryForm::Half);
/// assert_eq!(half.smooth(&[1.0f32, 0.0, 0.0, 1.0], 4)?, [0.75, 0.25, 0.25, 0.75]);
/// let over_classes = BinarySmoothing::new(epsilon, BinaryForm::OverClasses);
/// assert_eq!(over_classes.smooth(&[1.0f32, 0.0, 0.0, 1.0], 4)?, [0.625, 0.125, 0.125, 0.625]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinarySmoothing {
    epsilon: Epsilon,
    form: BinaryForm,
}

impl BinarySmoothing {
    /// Smoothing with a form that is named.
    pub const fn new(epsilon: Epsilon, form: BinaryForm) -> Self {
        Self { epsilon, form }
    }

    /// y(1 − ε) + ε/2.
    ///
    /// # Errors
    /// If ε is not in [0, 1].
    ///
    /// ```
    /// use softlabel_targets::BinarySmoothing;
    /// assert_eq!(BinarySmoothing::half(0.5)?.smooth(&[1.0f32, 0.0], 1)?, [0.75, 0.25]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn half(epsilon: f64) -> Result<Self> {
        Ok(Self::new(Epsilon::new(epsilon)?, BinaryForm::Half))
    }

    /// y(1 − ε) + ε/K.
    ///
    /// # Errors
    /// If ε is not in [0, 1].
    ///
    /// ```
    /// use softlabel_targets::BinarySmoothing;
    /// let smoothed = BinarySmoothing::over_classes(0.5)?.smooth(&[1.0f32, 0.0, 0.0, 0.0], 4)?;
    /// assert_eq!(smoothed, [0.625, 0.125, 0.125, 0.125]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn over_classes(epsilon: f64) -> Result<Self> {
        Ok(Self::new(Epsilon::new(epsilon)?, BinaryForm::OverClasses))
    }

    /// ε.
    pub const fn epsilon(&self) -> Epsilon {
        self.epsilon
    }

    /// What is added.
    pub const fn form(&self) -> BinaryForm {
        self.form
    }

    /// The targets as a line: y becomes `scale`·y + `shift`.
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] without classes.
    pub fn fused(&self, classes: usize) -> Result<BinaryMasses> {
        let over = match self.form {
            _ if classes == 0 => {
                return Err(Error::TooFewClasses { what: "a target", classes });
            }
            BinaryForm::Half => 2.0,
            BinaryForm::OverClasses => classes as f64,
        };
        let epsilon = self.epsilon.get();
        Ok(BinaryMasses { scale: 1.0 - epsilon, shift: epsilon / over })
    }

    /// Targets, row-major `[samples, classes]` (one class for a binary task), smoothed: computed in f64, rounded once.
    ///
    /// # Errors
    /// If they are no multiple of `classes`, or one is not in [0, 1].
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn smooth<T: Scalar>(&self, targets: &[T], classes: usize) -> Result<Vec<f32>> {
        const WHAT: &str = "binary targets";
        let masses = self.fused(classes)?;
        if !targets.len().is_multiple_of(classes) {
            let expected = format!("a multiple of {classes} classes");
            return Err(Core::mismatch(WHAT, expected, format!("{} values", targets.len())).into());
        }
        let smooth = |(index, &y): (usize, &T)| {
            let found: f64 = y.into();
            if (0.0..=1.0).contains(&found) {
                return Ok((masses.scale * found + masses.shift) as f32);
            }
            let (expected, row, class) = ("in [0, 1]", index / classes, index % classes);
            Err(Core::BadValue { what: WHAT, expected, row, class, found }.into())
        };
        targets.iter().enumerate().map(smooth).collect()
    }
}

impl std::fmt::Display for BinarySmoothing {
    /// `none`, `0.1 (half)` or `0.1 (over classes)`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.form {
            _ if self.epsilon == Epsilon::ZERO => formatter.write_str("none"),
            BinaryForm::Half => write!(formatter, "{} (half)", self.epsilon),
            BinaryForm::OverClasses => write!(formatter, "{} (over classes)", self.epsilon),
        }
    }
}

/// A smoothed yes-or-no target: y becomes `scale`·y + `shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryMasses {
    /// 1 − ε.
    pub scale: f64,
    /// ε/2 or ε/K.
    pub shift: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softlabel_core::Labels;

    use super::*;
    use crate::Smoothing;

    #[test]
    fn what_is_no_target_is_refused() {
        let half = BinarySmoothing::new(Epsilon::ZERO, BinaryForm::Half);
        assert_eq!(half.to_string(), "none");
        assert!(half.smooth(&[0.5_f32, 1.5], 1).is_err());
        assert!(half.smooth(&[f64::NAN], 1).is_err());
        assert!(half.smooth(&[0.0_f32; 3], 2).is_err());
        assert!(half.smooth(&[0.0_f32; 3], 0).is_err());
        for bad in [
            r#"{"epsilon":0.1}"#,
            r#"{"epsilon":1.1,"form":"half"}"#,
            r#"{"epsilon":0.1,"form":"half","k":1}"#,
        ] {
            assert!(serde_json::from_str::<BinarySmoothing>(bad).is_err());
        }
        let text = r#"{"epsilon":0.1,"form":"over_classes"}"#;
        let over: BinarySmoothing = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&over).unwrap(), text);
    }

    proptest! {
        /// One label of two, seen as two classes and smoothed as a mixture.
        #[test]
        fn half_is_a_mixture_of_two(epsilon in 0.0..=1.0, yes: bool) {
            let half = BinarySmoothing::new(Epsilon::new(epsilon).unwrap(), BinaryForm::Half);
            let found = half.smooth(&[f64::from(u8::from(yes))], 1).unwrap();
            let labels = Labels::new(&[u8::from(yes)], 2).unwrap();
            let rows = Smoothing::mixture(epsilon).unwrap().fused(2).unwrap().rows(&labels).unwrap();
            prop_assert!((found[0] - rows[1]).abs() < 1e-7);
        }

        /// A sample with one label, smoothed as a mixture over the classes.
        #[test]
        fn over_classes_is_a_mixture_of_all(epsilon in 0.0..=1.0, label in 0..6_usize) {
            let mut one_hot = [0.0_f32; 6];
            one_hot[label] = 1.0;
            let over = BinarySmoothing::new(Epsilon::new(epsilon).unwrap(), BinaryForm::OverClasses);
            let found = over.smooth(&one_hot, 6).unwrap();
            let labels = Labels::new(&[label], 6).unwrap();
            let rows = Smoothing::mixture(epsilon).unwrap().fused(6).unwrap().rows(&labels).unwrap();
            for (a, b) in found.iter().zip(rows) {
                prop_assert!((a - b).abs() < 1e-7);
            }
        }
    }
}
