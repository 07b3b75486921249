//! What can be wrong between a teacher and a student.

use tch::TchError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong between a teacher and a student.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Teacher and student do not speak of the same samples and classes.
    #[error("teacher logits: expected shape {student:?} as the student's, found {teacher:?}")]
    TeacherShape {
        /// Shape of the student's logits.
        student: Vec<i64>,
        /// Shape of the teacher's logits.
        teacher: Vec<i64>,
    },
    /// The teacher said something that is no number.
    #[error("teacher logits of sample {sample} are not finite: the teacher diverged")]
    TeacherNotFinite {
        /// The first such sample.
        sample: usize,
    },
    /// A sample was asked for that the teacher has not seen.
    #[error("sample {sample} was asked for, but the teacher has seen samples 0..{samples}")]
    UnknownSample {
        /// The id.
        sample: i64,
        /// How many the teacher has seen.
        samples: i64,
    },
    /// A weight is negative or not finite, or both are zero.
    #[error(
        "soft_weight and hard_weight must be finite, not negative and not both 0, found {soft} and {hard}"
    )]
    Weights {
        /// Weight of the teacher.
        soft: f64,
        /// Weight of the labels.
        hard: f64,
    },
    /// The loss on the labels.
    #[error(transparent)]
    Loss(#[from] softlabel_losses::Error),
    /// A tensor does not fit, or libtorch refused.
    #[error(transparent)]
    Tensor(#[from] softlabel_tensor::Error),
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Tensor(error.into())
    }
}
