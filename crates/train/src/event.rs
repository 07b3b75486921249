//! What an observer of a run is told.

use serde::Serialize;
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
        /// How the validation split does; none if it is empty.
        validation: Option<Validation>,
    },
    /// What a teacher says of some samples was written to a cache.
    Recorded {
        /// Samples so far.
        samples: usize,
        /// Samples in all.
        of: usize,
    },
    /// A calibration map was fitted on the validation split.
    Fit {
        /// The arm.
        arm: String,
        /// Its seed.
        seed: u64,
        /// The map.
        calibration: Calibration,
        /// Negative log-likelihood of the validation split before.
        nll_before: f64,
        /// The same after.
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
    pub nll: f64,
    /// Expected calibration error.
    pub ece: f64,
}
