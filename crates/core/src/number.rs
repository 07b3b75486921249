//! Numbers that may be infinite, in formats that know only finite ones: for `#[serde(with = …)]`.
//!
//! JSON has no infinity, and serde_json writes `null` in its place, which reads back as nothing.
//! Fields marked with [`or_infinite`], [`optional_or_infinite`] or [`all_or_infinite`] write the strings
//! `"inf"` and `"-inf"` instead, which Rust's `parse` and Python's `float` both read, and take them back.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Loss {
//!     #[serde(with = "softlabel_core::number::or_infinite")]
//!     nll: f64,
//! }
//! let loss = Loss { nll: f64::INFINITY };
//! let json = serde_json::to_string(&loss)?;
//! assert_eq!(json, r#"{"nll":"inf"}"#);
//! assert_eq!(serde_json::from_str::<Loss>(&json)?, loss);
//! # Ok::<(), serde_json::Error>(())
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number as it is written down; NaN has no such form of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, \"inf\" or \"-inf\"")]
pub enum Written {
    /// A number.
    Finite(f64),
    /// A string.
    Infinite(Infinite),
}

/// What is no number in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Infinite {
    /// `"inf"`.
    #[serde(rename = "inf")]
    Positive,
    /// `"-inf"`.
    #[serde(rename = "-inf")]
    Negative,
}

impl From<f64> for Written {
    fn from(number: f64) -> Self {
        match number {
            f64::INFINITY => Self::Infinite(Infinite::Positive),
            f64::NEG_INFINITY => Self::Infinite(Infinite::Negative),
            finite => Self::Finite(finite),
        }
    }
}

impl From<Written> for f64 {
    fn from(written: Written) -> Self {
        match written {
            Written::Finite(number) => number,
            Written::Infinite(Infinite::Positive) => f64::INFINITY,
            Written::Infinite(Infinite::Negative) => f64::NEG_INFINITY,
        }
    }
}

/// For fields of type `f64`.
pub mod or_infinite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    /// Writes it.
    ///
    /// # Errors
    /// The format's.
    // serde calls this with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(*number).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is neither a number nor such a string.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
        Written::deserialize(input).map(Into::into)
    }
}

/// For fields of type `Vec<f64>`.
pub mod all_or_infinite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    /// Writes it.
    ///
    /// # Errors
    /// The format's.
    pub fn serialize<S: Serializer>(numbers: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        let written: Vec<Written> = numbers.iter().copied().map(Written::from).collect();
        written.serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is neither a number nor such a string.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<f64>, D::Error> {
        let written = Vec::<Written>::deserialize(input)?;
        Ok(written.into_iter().map(Into::into).collect())
    }
}

/// For fields of type `Option<f64>`; `None` is `null`.
pub mod optional_or_infinite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    /// Writes it.
    ///
    /// # Errors
    /// The format's.
    // serde calls this with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref, clippy::ref_option)]
    pub fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(Written::from).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is neither a number nor such a string.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Written>::deserialize(input)?.map(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Numbers {
        #[serde(with = "or_infinite")]
        plain: f64,
        #[serde(with = "optional_or_infinite")]
        optional: Option<f64>,
    }

    #[test]
    fn every_number_comes_back() {
        for (plain, optional, json) in [
            (0.5, Some(2.0), r#"{"plain":0.5,"optional":2.0}"#),
            (f64::INFINITY, Some(f64::NEG_INFINITY), r#"{"plain":"inf","optional":"-inf"}"#),
            (f64::NEG_INFINITY, None, r#"{"plain":"-inf","optional":null}"#),
        ] {
            let numbers = Numbers { plain, optional };
            assert_eq!(serde_json::to_string(&numbers).unwrap(), json);
            assert_eq!(serde_json::from_str::<Numbers>(json).unwrap(), numbers);
        }
        let integer: Numbers = serde_json::from_str(r#"{"plain":1,"optional":-2}"#).unwrap();
        assert_eq!(integer, Numbers { plain: 1.0, optional: Some(-2.0) });
    }

    #[test]
    fn anything_else_is_an_error() {
        for json in [r#"{"plain":"nan","optional":1}"#, r#"{"plain":null,"optional":1}"#] {
            let error = serde_json::from_str::<Numbers>(json).unwrap_err().to_string();
            assert!(error.starts_with("expected a number, \"inf\" or \"-inf\""), "{error}");
        }
    }
}
