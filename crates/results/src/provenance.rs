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
    /// Recipe file as it was named.
    pub recipe: String,
    /// Overrides as they were typed.
    pub overrides: Vec<String>,
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
