//! What an observer of a run is told.

use serde::{Serialize, Serializer};
use softlabel_core::number::{Written, or_infinite};
use softlabel_results::{Calibration, Metric};

/// Something that happened in a run; also a line of `metrics.jsonl`.
///
/// Seeds run side by side, so events of different seeds may alternate; those of one seed keep their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A training begins.
    Training {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// Epochs it will take.
        epochs: u64,
    },
    /// An epoch ended.
    Epoch {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Epochs of this training.
        epochs: u64,
        /// Mean loss over the training samples during the epoch.
        train_loss: f64,
        /// Mean mass of the teacher's classes that were kept, where only the likeliest are.
        #[serde(skip_serializing_if = "Option::is_none")]
        kept_mass: Option<f64>,
        /// How the validation split does; none if it is empty.
        validation: Option<Validation>,
    },
    /// An arm needed no training: an earlier one was trained the same.
    TrainedAlready {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The earlier arm.
        as_arm: String,
        /// Epochs that were saved.
        epochs: u64,
    },
    /// A constant was chosen on the validation split, to be added to the logit of a class.
    ClassBias {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The constant.
        bias: f64,
        /// Validation samples that are wrong without it.
        errors_before: usize,
        /// The same with it.
        errors_after: usize,
    },
    /// What a teacher says of some samples was written to a cache.
    Recorded {
        /// Samples so far.
        samples: usize,
        /// Samples in all.
        of: usize,
    },
    /// How often a trained arm is wrong.
    Errors {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// `train`, with its true labels, or `test`.
        split: &'static str,
        /// Samples of the split.
        samples: usize,
        /// Samples that are wrong.
        errors: usize,
        /// Those of each class.
        by_class: Vec<usize>,
        /// Samples of each class.
        samples_by_class: Vec<usize>,
    },
    /// What there is to learn from a trained arm at a temperature: of its training samples, where it teaches.
    Lesson {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// What its logits are divided by: 1, and the temperatures at which it teaches.
        temperature: f64,
        /// γ, see [`wrong_class_mass`](softlabel_metrics::wrong_class_mass).
        wrong_class_mass: f64,
        /// 1 − S, see [`class_dispersion`](softlabel_metrics::class_dispersion).
        class_dispersion: f64,
    },
    /// A calibration map was fitted on the validation split.
    Fit {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The map.
        calibration: Calibration,
        /// Which of the arm's teachers it was fitted to, from 0; none for what the arm itself says.
        #[serde(skip_serializing_if = "Option::is_none")]
        teacher: Option<usize>,
        /// Negative log-likelihood of the validation split before.
        #[serde(serialize_with = "or_infinite::serialize")]
        nll_before: f64,
        /// The same after.
        #[serde(serialize_with = "or_infinite::serialize")]
        nll_after: f64,
        /// Iterations of the fit.
        iterations: usize,
        /// Whether it ended at an optimum that the data determine.
        converged: bool,
        /// The temperature, if it is one.
        temperature: Option<f64>,
    },
    /// A row was judged on the test split.
    Score {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// What was done to its logits.
        calibration: Calibration,
        /// Name and value of each metric.
        #[serde(serialize_with = "scores")]
        metrics: Vec<(Metric, f64)>,
    },
}

/// How the validation split does after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Validation {
    /// Share of samples whose top class is the label.
    pub accuracy: f64,
    /// Negative log-likelihood.
    #[serde(serialize_with = "or_infinite::serialize")]
    pub nll: f64,
    /// Expected calibration error.
    pub ece: f64,
}

fn scores<S: Serializer>(metrics: &[(Metric, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(metrics.iter().map(|&(metric, value)| (metric, Written::from(value))))
}
