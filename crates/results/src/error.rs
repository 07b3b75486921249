//! What can go wrong with a run folder.

use std::path::PathBuf;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with a run folder, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder holds something already.
    #[error("{} is not empty: choose another folder, or replace the run in it with --overwrite", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Replacing was asked for, but what is there is not a run: nothing was touched.
    #[error("{} holds no softlabel run (no run.json), so it is not overwritten: choose another folder", .path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Another run is going on in the folder.
    #[error("another run is going on in {}: wait for it, or choose another folder", .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The run in the folder has no results.
    #[error("the run in {} did not finish: it is still going on, or was stopped; run its recipe.toml again", .path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// "reading", "writing", "creating", "locking" or "removing".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {source}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why it could not be understood.
        source: serde_json::Error,
    },
    /// A file is of another schema, for instance of a newer version.
    #[error("{}: expected schema {expected}, found {found}", .path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema this version reads.
        expected: &'static str,
        /// The schema of the file.
        found: String,
    },
}
