//! Single numbers that are checked once: [`Epsilon`], [`Temperature`], [`Fraction`].

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A checked `f64` newtype: constructor, getter, serde through the constructor, `Display`.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $label:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Checks the number.
            ///
            /// # Errors
            /// [`Error::OutOfRange`] if it is not
            #[doc = concat!($expected, ".")]
            pub fn new(value: f64) -> Result<Self> {
                let valid: fn(f64) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value))
                } else {
                    Err(Error::OutOfRange { name: $label, expected: $expected, found: value })
                }
            }

            /// The number.
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = Error;

            fn try_from(value: f64) -> Result<Self> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

checked! {
    /// How much of a target is taken from the label and given to a prior: ε in [0, 1].
    ///
    /// What ε means for a single class depends on the convention, so an `Epsilon` alone never reaches a loss:
    /// `softlabel-targets` pairs it with one.
    ///
    /// ```
    /// use softlabel_core::Epsilon;
    /// assert_eq!(Epsilon::new(0.1)?.get(), 0.1);
    /// assert_eq!(Epsilon::new(1.5).unwrap_err().to_string(), "epsilon must be in [0, 1], found 1.5");
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    Epsilon, "epsilon", "in [0, 1]", |value| (0.0..=1.0).contains(&value)
}

checked! {
    /// A share of a whole: in [0, 1].
    ///
    /// ```
    /// use softlabel_core::Fraction;
    /// assert_eq!(Fraction::new(0.25)?.get(), 0.25);
    /// assert!(Fraction::new(-0.1).is_err());
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    Fraction, "fraction", "in [0, 1]", |value| (0.0..=1.0).contains(&value)
}

checked! {
    /// What logits are divided by before a softmax: positive and finite.
    ///
    /// Above 1 it softens a distribution, below 1 it sharpens it; the order of the classes stays.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// assert_eq!(Temperature::new(2.0)?.inverse(), 0.5);
    /// assert!(Temperature::new(0.0).is_err());
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    Temperature, "temperature", "positive and finite", |value| value > 0.0 && value.is_finite()
}

impl Epsilon {
    /// No smoothing.
    pub const ZERO: Self = Self(0.0);
}

impl Fraction {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
}

impl Temperature {
    /// The temperature that changes nothing.
    pub const ONE: Self = Self(1.0);

    /// 1/T.
    pub fn inverse(self) -> f64 {
        self.0.recip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_the_ranges() {
        assert!(Epsilon::new(0.0).is_ok() && Epsilon::new(1.0).is_ok());
        for bad in [-f64::MIN_POSITIVE, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY] {
            assert!(Epsilon::new(bad).is_err(), "{bad}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Temperature::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn serde_goes_through_the_constructor() {
        assert_eq!(serde_json::from_str::<Epsilon>("0.1").unwrap().get(), 0.1);
        assert_eq!(serde_json::to_string(&Temperature::ONE).unwrap(), "1.0");
        let error = serde_json::from_str::<Epsilon>("2").unwrap_err().to_string();
        assert!(error.starts_with("epsilon must be in [0, 1], found 2"), "{error}");
    }
}
