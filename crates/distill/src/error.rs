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
    /// Teacher and student do not have the same number of classes, and nothing says what to do about it.
    #[error(
        "the teacher has {teacher} classes, the student {student}: if the classes that both have are the same, say \
         `classes`: {remedy}",
        remedy = if teacher > student { "slice_teacher or pad_student" } else { "pad_teacher" }
    )]
    ClassCounts {
        /// The student's.
        student: i64,
        /// The teacher's.
        teacher: i64,
    },
    /// A loss that does not look at a temperature was given one.
    #[error("{loss} does not depend on a temperature: expected 1, found {found}")]
    NoTemperature {
        /// The loss.
        loss: &'static str,
        /// The temperature.
        found: f64,
    },
    /// A loss has nothing to say of so few classes.
    #[error("{loss} needs at least {least} classes, found {found}")]
    TooFewClasses {
        /// The loss.
        loss: &'static str,
        /// How many it needs.
        least: i64,
        /// How many there are.
        found: i64,
    },
    /// A loss that is about the batch as a whole was asked for samples or parts of it.
    #[error(
        "{loss} is one number about a whole batch: it has no temperatures or weights of samples, and no parts to add up"
    )]
    NotOfOneSample {
        /// The loss.
        loss: &'static str,
    },
    /// The teacher said something that is no number.
    #[error("teacher logits of sample {sample} are not finite: the teacher diverged")]
    TeacherNotFinite {
        /// The first such sample.
        sample: usize,
    },
    /// A teacher gives a class no probability at all, and the loss of a student that does give it some is infinite.
    #[error(
        "sample {sample}: the teacher gives class {class} no probability at all, under which `{loss}` is infinite: \
         take a map that clips zeros (`zeros = {{ clip = 1e-6 }}`), or a loss that bears them, such as `forward`"
    )]
    ImpossibleClass {
        /// The loss.
        loss: &'static str,
        /// The first such sample.
        sample: usize,
        /// Its first such class.
        class: i64,
    },
    /// Several teachers leave no class possible: of each, one of them says that it is impossible.
    #[error(
        "sample {sample} of the batch: the teachers hold every class impossible between them, so they have no \
         geometric mean: average their probabilities, or take maps that clip zeros (`zeros = {{ clip = 1e-6 }}`)"
    )]
    NothingPossible {
        /// Position of the first such sample in the batch.
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
    /// A sample was asked for whose id the teacher does not know.
    #[error(
        "sample {sample} was asked for, but is none of the {samples} that the teacher has seen"
    )]
    MissingSample {
        /// The id.
        sample: usize,
        /// How many the teacher has seen.
        samples: i64,
    },
    /// A sample id comes twice.
    #[error("sample {sample} comes twice among the ids of the teacher's logits")]
    SampleTwice {
        /// The id.
        sample: usize,
    },
    /// There is not one of each for every sample.
    #[error("teacher: expected {samples} {what}, one a sample, found {found}")]
    TeacherBatch {
        /// Inputs, sample ids or rows of logits.
        what: &'static str,
        /// The number of samples.
        samples: i64,
        /// How many there are.
        found: i64,
    },
    /// A teacher says something of other classes than it should.
    #[error("teacher: expected logits of {classes} classes, found shape {found:?}")]
    TeacherClasses {
        /// The number of classes.
        classes: i64,
        /// Shape of what it said.
        found: Vec<i64>,
    },
    /// A teacher is asked about inputs that lie elsewhere.
    #[error("the teacher is on {teacher:?}, its inputs on {inputs:?}: move one to the other")]
    TeacherDevice {
        /// Where the teacher computes.
        teacher: tch::Device,
        /// Where the inputs lie.
        inputs: tch::Device,
    },
    /// Weights or statistics of a teacher were written to since it was made.
    #[error(
        "`{variable}` of the teacher was changed: a teacher stays as it is \
         (does its function train, or an optimizer hold its variables?)"
    )]
    TeacherChanged {
        /// Name of the variable in its store.
        variable: String,
    },
    /// Where the logits were recorded, something is wrong.
    #[error("teacher: {0}")]
    Recorded(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// A schedule has an impossible value.
    #[error(transparent)]
    Schedule(#[from] softlabel_targets::Error),
    /// A calibration map does not fit the teacher.
    #[error(transparent)]
    Calibration(#[from] softlabel_posthoc::Error),
    /// A tensor does not fit, or libtorch refused.
    #[error(transparent)]
    Tensor(#[from] softlabel_tensor::Error),
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Tensor(error.into())
    }
}
