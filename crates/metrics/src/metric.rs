//! A metric that may be undefined, and why.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use softlabel_core::number::Written;

/// A number, or the reason why there is none. `metric.ok()` is the number as an option.
///
/// ```
/// use softlabel_metrics::{Metric, Undefined};
/// let metric: Metric = Err(Undefined::AllRight);
/// assert_eq!(metric.ok(), None);
/// assert_eq!(metric.unwrap_err().to_string(), "every row is right");
/// ```
pub type Metric = std::result::Result<f64, Undefined>;

/// Why a metric has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Undefined {
    /// There are no rows that count.
    #[error("there are no rows")]
    NoRows,
    /// The metric is about probabilities of all classes, and only that of the top class is known.
    #[error("it needs the probabilities of all classes, not the confidence in the top class alone")]
    TopClassOnly,
    /// Nothing can be told apart: no row is wrong.
    #[error("every row is right")]
    AllRight,
    /// Nothing can be told apart: no row is right.
    #[error("every row is wrong")]
    AllWrong,
    /// A mean over rows of +∞ and of −∞.
    #[error("infinities of both signs meet")]
    OppositeInfinities,
}

/// For fields of type [`Metric`]: a number, or an object that says why there is none.
pub(crate) mod serde_metric {
    use super::{Deserialize, Deserializer, Metric, Serialize, Serializer, Undefined, Written};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(Written),
        Reason { undefined: Undefined },
    }

    pub(crate) fn serialize<S: Serializer>(
        metric: &Metric,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let form = match *metric {
            Ok(number) => Form::Number(number.into()),
            Err(undefined) => Form::Reason { undefined },
        };
        form.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Metric, D::Error> {
        Ok(match Form::deserialize(input)? {
            Form::Number(number) => Ok(number.into()),
            Form::Reason { undefined } => Err(undefined),
        })
    }
}
