//! The serialized form of a distillation.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use softlabel_core::Temperature;
use tch::Tensor;

use crate::{Error, Result, SoftLoss, SoftScale};

/// What happens where student and teacher have different numbers of classes, as vocabularies of a family of models
/// often have. Class k is the same for both, as far as both have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClassMatch {
    /// It is an error.
    #[default]
    Equal,
    /// A teacher of more classes is cut to the student's; what it says is renormalized over these.
    SliceTeacher,
    /// A student of fewer classes holds the others impossible (−∞). The forward divergence is +∞ then, unless the
    /// teacher holds them impossible too; the reverse one and Jensen-Shannon's stay finite.
    PadStudent,
    /// A teacher of fewer classes holds the others impossible (−∞): the forward divergence draws the student away from
    /// them.
    PadTeacher,
}

impl ClassMatch {
    /// Both sides, `[.., K]`, with as many classes.
    pub(crate) fn apply(self, student: Tensor, teacher: Tensor) -> Result<(Tensor, Tensor)> {
        let classes =
            |logits: &Tensor| -> i64 { logits.size().last().copied().unwrap_or_default() };
        let (of_student, of_teacher) = (classes(&student), classes(&teacher));
        let more = of_teacher - of_student;
        match self {
            _ if more == 0 => Ok((student, teacher)),
            Self::SliceTeacher if more > 0 => {
                let teacher = teacher.f_narrow(-1, 0, of_student)?;
                Ok((student, teacher))
            }
            Self::PadStudent if more > 0 => Ok((padded(&student, more)?, teacher)),
            Self::PadTeacher if more < 0 => Ok((student, padded(&teacher, -more)?)),
            _ => Err(Error::ClassCounts { student: of_student, teacher: of_teacher }),
        }
    }
}

fn padded(logits: &Tensor, more: i64) -> Result<Tensor> {
    Ok(logits.f_pad([0, more].as_slice(), "constant", f64::NEG_INFINITY)?)
}

/// How the soft losses of a batch become one number. There is but one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SoftReduction {
    /// The sum over the classes, the mean over the samples that count.
    #[default]
    BatchMean,
}

impl<'de> Deserialize<'de> for SoftReduction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "batch_mean" => Ok(Self::BatchMean),
            "mean" => Err(de::Error::custom(
                "the reduction `mean` divides by the number of classes K too, which makes the soft term K times too \
                 small beside the hard one: write `batch_mean`, and say by the soft weight what weight it shall have",
            )),
            other => Err(de::Error::custom(format!(
                "unknown reduction `{other}`, expected `batch_mean` (the hard loss says how batches are reduced)"
            ))),
        }
    }
}

/// What is written, with temperature and weights that are numbers or schedules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings<T, W> {
    pub(crate) temperature: T,
    pub(crate) soft_weight: W,
    pub(crate) hard_weight: W,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) student_temperature: Option<Temperature>,
    #[serde(default)]
    pub(crate) scale: SoftScale,
    #[serde(default)]
    pub(crate) standardize: bool,
    #[serde(default)]
    pub(crate) classes: ClassMatch,
    #[serde(default)]
    pub(crate) reduction: SoftReduction,
    #[serde(default)]
    pub(crate) kind: SoftLoss,
}
