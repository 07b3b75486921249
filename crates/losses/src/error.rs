//! What can be wrong with the inputs of a loss.

use tch::TchError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong with the inputs of a loss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor does not fit, or libtorch refused.
    #[error(transparent)]
    Tensor(#[from] softlabel_tensor::Error),
    /// The target does not exist for this class count.
    #[error(transparent)]
    Target(#[from] softlabel_targets::Error),
    /// The loss has no meaning without one label a sample.
    #[error("{loss} needs hard labels, found soft targets")]
    NeedsLabels {
        /// The loss.
        loss: &'static str,
    },
    /// The loss ranks samples by how often they were right, and the batch does not say.
    #[error("{loss} needs to know how often each sample was right: see Batch::with_correctness")]
    NeedsCorrectness {
        /// The loss.
        loss: &'static str,
    },
    /// The loss is one number about the whole batch.
    #[error("{loss} is one number about a whole batch, not one loss a sample")]
    BatchTerm {
        /// The loss.
        loss: &'static str,
    },
    /// The inverse of a matrix would blow up what it is multiplied with, or there is none.
    #[error("{what}: its inverse multiplies by up to {found}, at most {limit} is of use")]
    IllConditioned {
        /// The matrix.
        what: &'static str,
        /// The largest row sum of absolute values of its inverse; infinite if there is none.
        found: f64,
        /// What is still accepted.
        limit: f64,
    },
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Tensor(error.into())
    }
}
