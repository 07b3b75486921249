//! Numbers that JSON has no digits for: an NLL is infinite where a label was given the probability 0.
//!
//! Finite numbers are numbers; the others are the strings `inf`, `-inf` and `nan`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that is written so, and read back as what it was.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Number {
    Finite(f64),
    Other(Other),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Other {
    Inf,
    #[serde(rename = "-inf")]
    NegativeInf,
    Nan,
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Finite(value)
        } else if value.is_nan() {
            Self::Other(Other::Nan)
        } else if value > 0.0 {
            Self::Other(Other::Inf)
        } else {
            Self::Other(Other::NegativeInf)
        }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Finite(value) => value,
            Number::Other(Other::Inf) => f64::INFINITY,
            Number::Other(Other::NegativeInf) => f64::NEG_INFINITY,
            Number::Other(Other::Nan) => f64::NAN,
        }
    }
}

/// For `#[serde(with = "number")]`.
#[allow(clippy::trivially_copy_pass_by_ref)] // What serde calls.
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number::from(*value).serialize(serializer)
}

/// For `#[serde(with = "number")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Number::deserialize(deserializer)?.into())
}
