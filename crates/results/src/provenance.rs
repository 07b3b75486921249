//! `run.json`: what made the numbers, and how long it took.

use serde::{Deserialize, Serialize};

/// What made the numbers of a run; everything that is not a result, timings included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// [`Provenance::SCHEMA`].
    pub schema: String,
    /// Version of softlabel.
    pub softlabel: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// Device that trained, as `cpu` or `cuda:0`.
    pub device: String,
    /// Threads the run computed with.
    pub threads: usize,
    /// Whether it ended.
    pub state: RunState,
    /// The command line as it was typed.
    pub arguments: Vec<String>,
    /// Recipe file as it was named.
    pub recipe: String,
    /// The keys that were set, those that flags stand for included.
    pub overrides: Vec<String>,
    /// Folder in which data sets were looked for, if one was given.
    pub data_folder: Option<String>,
    /// Seeds of the repeats.
    pub seeds: Vec<u64>,
    /// Fingerprint of pixels and labels.
    pub dataset_fingerprint: String,
    /// Start of the run, seconds since 1970 (UTC).
    pub started_unix_seconds: u64,
    /// Wall time of the whole run in seconds.
    pub seconds: f64,
    /// Wall time of each training.
    pub timings: Vec<Timing>,
}

impl Provenance {
    /// The schema this version writes and reads.
    pub const SCHEMA: &str = "softlabel.run/1";
}

/// Whether a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on, or was stopped from outside.
    Running,
    /// All its files are there.
    Finished,
    /// It ended with an error.
    Failed,
}

/// How long one training took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The arm.
    pub arm: String,
    /// Its seed.
    pub seed: u64,
    /// Wall time in seconds, calibration and evaluation included.
    pub seconds: f64,
}
