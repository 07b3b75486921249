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
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Tensor(error.into())
    }
}
