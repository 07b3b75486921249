//! Numbers that may be infinite, in formats that know only finite ones.
//!
//! JSON has no infinity, and serde_json writes `null` in its place, which reads back as nothing.
//! Fields marked with [`or_infinite`] or [`optional_or_infinite`] write the strings `"inf"` and
//! `"-inf"` instead, which Rust's `parse` and Python's `float` both read, and take them back.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, \"inf\" or \"-inf\"")]
pub(crate) enum Written {
    Finite(f64),
    Infinite(Infinite),
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Infinite {
    #[serde(rename = "inf")]
    Positive,
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
pub(crate) mod or_infinite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    // serde calls this with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(*number).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
        Written::deserialize(input).map(Into::into)
    }
}

/// For fields of type `Vec<f64>`.
pub(crate) mod all_or_infinite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    pub(crate) fn serialize<S: Serializer>(
        numbers: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written: Vec<Written> = numbers.iter().copied().map(Written::from).collect();
        written.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<f64>, D::Error> {
        let written = Vec::<Written>::deserialize(input)?;
        Ok(written.into_iter().map(Into::into).collect())
    }
}

/// For fields of type `Option<f64>`; `None` is `null`.
pub(crate) mod optional_or_infinite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Written};

    // serde calls this with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref, clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(Written::from).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<f64>, D::Error> {
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
