//! Numbers of a summary, which may be infinite, as an NLL where a label was given the probability 0, or undefined, as the mean
//! of nothing: what is infinite is a string, NaN is null.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use softlabel_core::number::Written;

pub(crate) fn written(number: f64) -> Option<Written> {
    (!number.is_nan()).then(|| number.into())
}

pub(crate) fn read(written: Option<Written>) -> f64 {
    written.map_or(f64::NAN, f64::from)
}

/// For `#[serde(with = "number")]`.
#[allow(clippy::trivially_copy_pass_by_ref)] // What serde calls.
pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    written(*number).serialize(serializer)
}

/// For `#[serde(with = "number")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(read(Option::deserialize(deserializer)?))
}
