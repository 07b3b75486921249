//! What can be wrong with a logit cache.

use std::path::PathBuf;

/// What was wrong with a logit cache, and which one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The cache was made from something else than what it is used for.
    #[error("{}: the logit cache was made from {part} {found}, not from {part} {expected}", path.display())]
    Origin {
        /// The folder.
        path: PathBuf,
        /// `weights`, `data`, `augmentation`, `smoothing`, or what the logits are stored as.
        part: &'static str,
        /// What it is to be used for.
        expected: String,
        /// What it was made from.
        found: String,
    },
    /// Not all samples were written yet.
    #[error(
        "{}: the logit cache is not finished, {samples} samples were written: build it again as before, \
         it goes on from there", path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
        /// Samples so far.
        samples: usize,
    },
    /// A sample was asked for that is not there.
    #[error("{}: sample {sample} is not among the {samples} samples of this cache", path.display())]
    UnknownSample {
        /// The folder.
        path: PathBuf,
        /// The id.
        sample: usize,
        /// How many samples there are.
        samples: usize,
    },
    /// A sample comes twice.
    #[error("sample {sample} comes twice")]
    Twice {
        /// The id.
        sample: usize,
    },
    /// A logit is a NaN, infinite, or too large for 16 bits.
    #[error("the logits of sample {sample} are {expected}: found {found} for class {class}")]
    Logit {
        /// The id.
        sample: usize,
        /// The class.
        class: usize,
        /// What they have to be.
        expected: &'static str,
        /// The logit.
        found: f32,
    },
    /// A file is not what was written: its content has another checksum than the one that was kept.
    #[error("damaged, or changed by hand: expected SHA-256 {expected}, found {found}")]
    Checksum {
        /// Of a shard, as the index has it; of the index, as its content is.
        expected: String,
        /// Of a shard, as its content is; of the index, as it says.
        found: String,
    },
    /// The index cannot be understood.
    #[error("not the index of a logit cache: {0}")]
    Index(#[source] serde_json::Error),
    /// A number of the index cannot be.
    #[error("not the index of a logit cache: {0}")]
    Malformed(String),
    /// Somebody else writes to the cache.
    #[error("{}: another program is writing this logit cache", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}
