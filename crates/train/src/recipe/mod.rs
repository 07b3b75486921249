//! An experiment as data: what to train on, with what, and what to compare.
//!
//! A [`Recipe`] can only be made by parsing, which checks everything that can be checked without the data:
//! unknown keys, ranges, names that refer to each other. What holds one is right.

mod calibrate;
mod check;
mod distill;
mod error;
mod features;
mod loss;
mod maps;
mod overrides;
mod parse;
mod sample_numbers;
mod soft_labels;
mod teacher;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use softlabel_data::{Source, SplitFractions};
use softlabel_results::{Calibration, Metric};
use softlabel_targets::LabelNoise;

pub(crate) use calibrate::Fit;
pub(crate) use distill::Distill;
pub use error::RecipeError;
pub(crate) use features::{FeatureKind, FeatureTerm};
pub(crate) use loss::{Loss, Term, Weight};
pub(crate) use sample_numbers::SampleNumbers;
pub(crate) use teacher::{Pixels, TeacherSource};

/// A checked experiment. The keys of the file are the fields below.
///
/// ```
/// use softlabel_train::Recipe;
///
/// let text = r#"
/// name = "tiny"
/// [data]
/// source = { dataset = "digits" }
/// split = { validation = 0.2, test = 0.25 }
/// [training]
/// epochs = 5
/// batch_size = 64
/// learning_rate = 0.003
/// [models.small]
/// hidden = [16]
/// [arms.hard]
/// model = "small"
/// [arms.smoothed]
/// model = "small"
/// loss.smoothing = { epsilon = 0.1, convention = "mixture" }
/// "#;
/// let recipe = Recipe::parse("tiny.toml", text, &["seed=3".to_owned()])?;
/// assert_eq!(recipe.seeds(), [3]);
///
/// let error = Recipe::parse("tiny.toml", &text.replace("epochs", "epoch"), &[]).unwrap_err();
/// assert_eq!((error.line(), error.column()), (Some(7), Some(1)));
/// assert_eq!(error.nearest(), Some("epochs"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the experiment and of its run folder.
    pub(crate) name: String,
    /// What it shows, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Seed of the first repeat; the next have the numbers after it.
    #[serde(default)]
    pub(crate) seed: u64,
    /// How often everything is repeated, each time with another seed for splits, noise, weights and order.
    #[serde(default = "one")]
    pub(crate) repeats: u64,
    /// What to train on.
    pub(crate) data: DataSettings,
    /// How to train.
    pub(crate) training: Training,
    /// How to judge.
    #[serde(default)]
    pub(crate) evaluation: Evaluation,
    /// The models, by name.
    pub(crate) models: IndexMap<String, Model>,
    /// What is compared, by name, in this order.
    pub(crate) arms: IndexMap<String, Arm>,
    /// Demands on the numbers; one that is not met makes the program exit with 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<Demand>,
}

fn one() -> u64 {
    1
}

/// What to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSettings {
    pub(crate) source: Source,
    /// Stratified shares, of maps shares of the images; where the data bring a test set, `test` is left out.
    pub(crate) split: SplitFractions,
    /// What happens to the training labels. Validation and test labels stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noise: Option<LabelNoise>,
}

/// How to train; the same for every arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Training {
    pub(crate) epochs: u64,
    pub(crate) batch_size: usize,
    #[serde(default)]
    pub(crate) optimizer: OptimizerKind,
    pub(crate) learning_rate: f64,
    #[serde(default)]
    pub(crate) schedule: Schedule,
    /// L2 for `sgd` and `adam`, decoupled for `adamw`.
    #[serde(default)]
    pub(crate) weight_decay: f64,
    /// Of `sgd`.
    #[serde(default = "default_momentum")]
    pub(crate) momentum: f64,
}

fn default_momentum() -> f64 {
    0.9
}

/// The rule by which weights move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OptimizerKind {
    /// Kingma and Ba 2015.
    #[default]
    Adam,
    /// Loshchilov and Hutter 2019.
    Adamw,
    /// With momentum.
    Sgd,
}

/// How the learning rate goes from the first step to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine from the rate to 0.
    #[default]
    Cosine,
}

/// How to judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluation {
    /// Equal-width bins of the expected calibration error.
    #[serde(default = "default_bins")]
    pub(crate) bins: usize,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { bins: default_bins() }
    }
}

fn default_bins() -> usize {
    15
}

/// A network: convolutions first if there are any, then fully connected layers, ReLU between all. For maps the
/// convolutions keep the size, and the fully connected layers see each pixel alone, as 1×1 convolutions do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Width of each hidden fully connected layer.
    #[serde(default)]
    pub(crate) hidden: Vec<usize>,
    /// Channels of each 3×3 convolution; each is followed by a 2×2 maximum, but for maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) convolutions: Vec<usize>,
    /// Share of the outputs of each hidden layer that a training step drops.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) dropout: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // What serde calls.
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// One thing that is compared: a model, what it learns from, and how its predictions are calibrated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arm {
    /// Name of the model.
    pub(crate) model: String,
    /// What its mistakes cost.
    #[serde(default)]
    pub(crate) loss: Loss,
    /// The teacher, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distill: Option<Distill>,
    /// Whether the last layer and the loss are one, so that the logits of a batch are never there as a whole.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) fuse_last_layer: bool,
    /// By how many pixels at most each image is moved, in each direction, anew every epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shift: Option<usize>,
    /// Classes of which it sees no sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) omit_classes: Vec<usize>,
    /// A constant on the logit of a class, chosen on the validation split once it is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class_bias: Option<ClassBias>,
    /// Of which samples the run folder keeps what the last layer sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) save_features: Option<SaveFeatures>,
    /// Maps fitted on the validation split, each a row of the table of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) calibrate: Vec<Fit>,
    /// Name of an earlier arm that this one is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compare_with: Option<String>,
}

impl Arm {
    /// Whether both are trained alike; they may be calibrated, compared and kept otherwise.
    pub(crate) fn trains_as(&self, other: &Self) -> bool {
        let trained = |arm: &Self| {
            let Self { model, loss, distill, fuse_last_layer, shift, omit_classes, .. } =
                arm.clone();
            (model, loss, distill, fuse_last_layer, shift, omit_classes)
        };
        trained(self) == trained(other)
    }

    /// What its row with this calibration is made by.
    pub(crate) fn shown(&self, calibration: &Calibration) -> Option<&Fit> {
        self.calibrate.iter().find(|fit| fit.calibration == *calibration)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // What serde calls.
fn is_false(value: &bool) -> bool {
    !value
}

/// Constants from `from` to `to`, of which the one with the fewest errors is added to the logit of a class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassBias {
    pub(crate) class: usize,
    #[serde(default)]
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) step: f64,
}

impl ClassBias {
    /// The constants, from the smallest.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        let Self { from, to, step, .. } = *self;
        (0..).map(move |index| from + f64::from(index) * step).take_while(move |bias| *bias <= to)
    }
}

/// The first samples of some classes, of the training and of the test split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaveFeatures {
    pub(crate) classes: Vec<usize>,
    /// Of each class, at most.
    pub(crate) samples: usize,
}

fn no_calibration() -> Calibration {
    Calibration::NONE
}

/// What a mean over the seeds must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demand {
    pub(crate) arm: String,
    #[serde(default = "no_calibration")]
    pub(crate) calibration: Calibration,
    pub(crate) metric: Metric,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
}

impl Recipe {
    /// Name of the experiment.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the experiment shows, in a sentence; may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// One seed a repeat.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.repeats).map(|repeat| self.seed + repeat).collect()
    }

    /// Names of the arms, in order.
    pub fn arms(&self) -> impl ExactSizeIterator<Item = &str> {
        self.arms.keys().map(String::as_str)
    }

    /// Epochs of each training.
    pub fn epochs(&self) -> u64 {
        self.training.epochs
    }

    /// The recipe as a file that parses to the same, defaults written out.
    ///
    /// # Errors
    /// [`RecipeError`] if it cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string_pretty(self)
            .map_err(|error| RecipeError::new(&self.name, error.to_string()))
    }
}
