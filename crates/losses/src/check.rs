//! Parameters of losses: their ranges, and types that are read back through the same checks.

use softlabel_core::Error as CoreError;
use softlabel_tensor::Error as TensorError;

use crate::Result;

fn in_range(name: &'static str, expected: &'static str, found: f64, valid: bool) -> Result<()> {
    if valid {
        Ok(())
    } else {
        Err(TensorError::from(CoreError::OutOfRange { name, expected, found }).into())
    }
}

pub(crate) fn not_negative(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "finite and not negative", value, value >= 0.0 && value.is_finite())
}

pub(crate) fn positive(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "positive and finite", value, value > 0.0 && value.is_finite())
}

/// A factor that has an inverse, and both have room in every dtype of arithmetic.
pub(crate) fn factor(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "in [1e-30, 1e30]", value, (1e-30..=1e30).contains(&value))
}

pub(crate) fn negative(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "negative and finite", value, value < 0.0 && value.is_finite())
}

pub(crate) fn finite(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "finite", value, value.is_finite())
}

pub(crate) fn share(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "in [0, 1]", value, (0.0..=1.0).contains(&value))
}

pub(crate) fn positive_share(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "in (0, 1]", value, value > 0.0 && value <= 1.0)
}

pub(crate) fn inner_share(name: &'static str, value: f64) -> Result<()> {
    in_range(name, "in (0, 1)", value, value > 0.0 && value < 1.0)
}

/// A distribution within 1e-6.
pub(crate) fn distribution(what: &'static str, row: usize, values: &[f64]) -> Result<()> {
    const TOLERANCE: f64 = 1e-6;
    let bad = values.iter().position(|value| !(0.0..=1.0).contains(value));
    let sum: f64 = values.iter().sum();
    let error = if let Some(class) = bad {
        let (expected, found) = ("a probability", values[class]);
        CoreError::BadValue { what, expected, row, class, found }
    } else if values.is_empty() {
        CoreError::Empty { what }
    } else if (sum - 1.0).abs() > TOLERANCE {
        CoreError::RowSum { what, row, found: sum, tolerance: TOLERANCE }
    } else {
        return Ok(());
    };
    Err(TensorError::from(error).into())
}

/// A configuration whose fields are private, that is checked by `checked`, and that serde reads through it.
/// Attributes of fields are those of serde, for reading; unknown keys are errors.
macro_rules! configuration {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name {
            $($field: $type,)*
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Settings {
                    $($(#[$field_meta])* $field: $type,)*
                }
                let Settings { $($field),* } = Settings::deserialize(deserializer)?;
                Self { $($field),* }.checked().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use configuration;
