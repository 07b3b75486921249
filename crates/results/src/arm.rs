//! What is known of an arm beside its rows: who taught it, how often it is wrong, what there is to learn from it.

use serde::{Deserialize, Serialize};

use crate::{Calibration, Statistic};

/// What is known of an arm beside its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The arm, as the recipe names it.
    pub name: String,
    /// Who taught it and how; none for an arm that learned from labels alone.
    pub taught: Option<Taught>,
    /// How often it is wrong on its training samples, with their true labels.
    pub training_errors: Errors,
    /// How often it is wrong on the test samples.
    pub test_errors: Errors,
    /// The constant that was chosen on the validation split for the logit of a class, if the arm has one.
    pub class_bias: Option<Statistic>,
    /// What there is to learn from it, a temperature each; empty for an arm that teaches nobody.
    pub lessons: Vec<Lesson>,
}

/// Who taught an arm, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taught {
    /// The teachers: the names of arms, or what they are in words.
    pub teachers: Vec<String>,
    /// What was done to the logits of the teachers before they taught.
    pub calibration: Calibration,
    /// What logits are divided by; none where each sample has a temperature of its own, or the loss has none.
    pub temperature: Option<Range>,
    /// The weight of what the teachers say.
    pub soft_weight: Range,
    /// The weight of the labels.
    pub hard_weight: Range,
    /// Mass of the teachers' classes that were kept in the last epoch, where only the likeliest are.
    pub kept_mass: Option<Statistic>,
}

/// A number of a recipe over the steps of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The least it is.
    pub least: f64,
    /// The most it is; the same for a constant.
    pub most: f64,
}

/// How often an arm is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Samples of each class.
    pub samples_by_class: Vec<Statistic>,
    /// Those of them that are wrong.
    pub by_class: Vec<Statistic>,
    /// Samples that are wrong.
    pub count: Statistic,
    /// The share of the samples that is wrong.
    pub share: Statistic,
}

/// What there is to learn from an arm at a temperature, over its training samples, where it teaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    /// What its logits are divided by.
    pub temperature: f64,
    /// γ, see [`wrong_class_mass`](softlabel_metrics::wrong_class_mass).
    pub wrong_class_mass: Statistic,
    /// 1 − S, see [`class_dispersion`](softlabel_metrics::class_dispersion).
    pub class_dispersion: Statistic,
}
