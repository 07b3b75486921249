//! What can stop a run.

use tch::TchError;

use crate::RecipeError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What stopped a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data are missing, broken, or cannot be split as the recipe says.
    #[error(transparent)]
    Data(#[from] softlabel_data::Error),
    /// There is nothing to report on.
    #[error("the {split} split is empty: give data.split.{split} a share above 0")]
    EmptySplit {
        /// `validation` or `test`.
        split: &'static str,
    },
    /// No pixel of a split counts.
    #[error("all pixels of the {split} split are ignored: nothing is left to {use_of}")]
    AllIgnored {
        /// `training`, `validation` or `test`.
        split: &'static str,
        /// What it is there for.
        use_of: &'static str,
    },
    /// Something is about images that have one label.
    #[error("{what}: expected images that have one label, found maps, whose pixels have labels")]
    OfMaps {
        /// What was wanted.
        what: &'static str,
    },
    /// The images are too small for the model.
    #[error(
        "model `{model}`: {convolutions} convolutions halve images of {height}×{width} to nothing"
    )]
    ImageTooSmall {
        /// The model.
        model: String,
        /// How many convolutions it has.
        convolutions: usize,
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
    },
    /// The model would not fit into memory.
    #[error(
        "model `{model}`: expected at most {limit} weights for images of \
         {channels}×{height}×{width}, found {found}"
    )]
    ModelTooLarge {
        /// The model.
        model: String,
        /// How many weights it may have.
        limit: usize,
        /// How many it would have.
        found: usize,
        /// Channels of the images.
        channels: usize,
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
    },
    /// The loss is no number any more.
    #[error(
        "arm `{arm}`, seed {seed}: the loss is {loss} in epoch {epoch}: training diverged \
         (a smaller training.learning_rate?)"
    )]
    Diverged {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// The loss.
        loss: f64,
    },
    /// The loss is no number before anything is trained.
    #[error(
        "the loss of the first samples is {loss} before anything is trained: what is asked of the student is \
         infinite for this teacher (classes that only one of the two has, temperatures far apart)"
    )]
    Untrainable {
        /// The loss.
        loss: f64,
    },
    /// A loss about samples together does not exist for as few as the last batch of an epoch has.
    #[error(
        "the last batch of an epoch has {samples} samples ({source}): expected another `training.batch_size`"
    )]
    LastBatch {
        /// How many it has.
        samples: usize,
        /// What was expected of them.
        source: Box<Error>,
    },
    /// The network says nothing any more.
    #[error(
        "arm `{arm}`, seed {seed}: logits are not finite after epoch {epoch}: training diverged \
         (a smaller training.learning_rate?)"
    )]
    NotFinite {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The epoch, from 1.
        epoch: u64,
    },
    /// A target cannot be made.
    #[error(transparent)]
    Target(#[from] softlabel_targets::Error),
    /// A part of an arm's loss does not go with the data, or with another part.
    #[error("{key}: {source}")]
    Loss {
        /// The key of the recipe.
        key: String,
        /// Why not.
        source: Box<Error>,
    },
    /// A loss refused its input.
    #[error(transparent)]
    LossInput(#[from] softlabel_losses::Error),
    /// The keys of a distillation do not go together at some step.
    #[error("distill: {0}")]
    Distillation(String),
    /// Saved weights are those of another network.
    #[error("{}: expected weights of shapes {expected:?}, found {found:?}; remove the file to train anew", .path.display())]
    Weights {
        /// The file.
        path: std::path::PathBuf,
        /// Shapes of the network's weights.
        expected: Vec<Vec<i64>>,
        /// Shapes in the file.
        found: Vec<Vec<i64>>,
    },
    /// A layer that a network does not have.
    #[error("{key}: expected a layer in 0..{layers}, convolutions first, found {found}")]
    NoLayer {
        /// The key of the recipe.
        key: String,
        /// The number of the layer.
        found: usize,
        /// How many layers there are before the logits.
        layers: usize,
    },
    /// A teacher was asked about other data than it knows.
    #[error("{}: the teacher's run was on data {found}, not on data {expected}", .path.display())]
    TeacherData {
        /// The run folder of the teacher.
        path: std::path::PathBuf,
        /// Fingerprint of the data of this experiment.
        expected: String,
        /// Fingerprint of the data of the teacher's.
        found: String,
    },
    /// A TorchScript file cannot teach.
    #[error("{}: {source}", .path.display())]
    Script {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: softlabel_tensor::Error,
    },
    /// A TorchScript file has other classes than it is said to have.
    #[error(
        "{}: expected logits of {expected} classes, found shape {found:?}: say how many classes it has with `classes` \
         (of a teacher in a recipe) or --classes (of `softlabel teach`)", .path.display()
    )]
    ScriptClasses {
        /// The file.
        path: std::path::PathBuf,
        /// As many as the data, unless something else was said.
        expected: i64,
        /// The shape of what it said.
        found: Vec<i64>,
    },
    /// What a cache has of its teacher is not enough for what is to be taught.
    #[error(
        "{}: the cache has the {kept} largest logits of a sample, and of the others their mass at a temperature of 1: \
         expected `top_k` of at most {kept}, with a `temperature` of 1 or `tail = \"renormalized\"`, one teacher \
         and no `teacher_calibration` (for all else write it with `--encoding f16`)", .path.display()
    )]
    LargestAlone {
        /// The folder of the cache.
        path: std::path::PathBuf,
        /// How many it has.
        kept: usize,
    },
    /// There is no such arm.
    #[error("there is no arm `{arm}`; expected one of: {}", .arms.join(", "))]
    NoArm {
        /// As it was asked for.
        arm: String,
        /// Those there are.
        arms: Vec<String>,
    },
    /// A distillation refused its input.
    #[error(transparent)]
    Distill(#[from] softlabel_distill::Error),
    /// A calibration map could not be fitted or applied.
    #[error("arm `{arm}`, seed {seed}, calibration by `{map}`: {source}")]
    Calibration {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The map, as the recipe names it.
        map: String,
        /// Why not.
        source: Box<softlabel_posthoc::Error>,
    },
    /// Predictions or labels are not what they should be.
    #[error(transparent)]
    Value(#[from] softlabel_core::Error),
    /// A tensor is not what it should be, or libtorch refused.
    #[error(transparent)]
    Tensor(#[from] softlabel_tensor::Error),
    /// The run folder cannot be written.
    #[error(transparent)]
    Results(#[from] softlabel_results::Error),
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Tensor(error.into())
    }
}
