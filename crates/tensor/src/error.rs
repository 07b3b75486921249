//! What can be wrong with a tensor.

use tch::{Device, Kind, TchError};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong with a tensor: what was expected and what came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value, label or distribution is not what it should be.
    #[error(transparent)]
    Core(#[from] softlabel_core::Error),
    /// A shape does not fit.
    #[error("{what}: expected shape {expected}, found {found:?}")]
    Shape {
        /// The tensor.
        what: &'static str,
        /// The shape that was expected.
        expected: String,
        /// The shape that came.
        found: Vec<i64>,
    },
    /// A dtype does not fit.
    #[error("{what}: expected {expected}, found {found:?}")]
    Kind {
        /// The tensor.
        what: &'static str,
        /// The dtypes that would do.
        expected: &'static str,
        /// The dtype that came.
        found: Kind,
    },
    /// Two tensors lie on different devices.
    #[error("{what}: expected on {expected:?} as the logits, found on {found:?}")]
    Device {
        /// The tensor.
        what: &'static str,
        /// Where the logits lie.
        expected: Device,
        /// Where the tensor lies.
        found: Device,
    },
    /// The device that was asked for is not there.
    #[error("device {asked} was asked for, but {problem}")]
    NoDevice {
        /// As it was asked for.
        asked: String,
        /// Why it cannot be had.
        problem: String,
    },
    /// The elements of a tensor cannot be lent as a slice.
    #[error("a slice needs {expected}, found {found}")]
    Memory {
        /// What the tensor has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A TorchScript file was saved in training mode.
    #[error(
        "the TorchScript file was saved in training mode ({part}): call `model.eval()` before \
         `torch.jit.script` or `torch.jit.trace`, and save it again"
    )]
    Training {
        /// The part that trains.
        part: String,
    },
    /// A TorchScript file cannot be read.
    #[error("not a TorchScript file that libtorch can read: {problem}")]
    Script {
        /// What libtorch said.
        problem: String,
    },
    /// An autograd node cannot be made or attached.
    #[error("autograd node {name}: {problem}")]
    Node {
        /// The name it was given.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// An error of another library, or of the caller's own, out of a forward or backward function.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// libtorch refused.
    #[error("libtorch: {}", without_backtrace(.0))]
    Torch(#[from] TchError),
}

impl Error {
    /// Wraps an error of the caller's own, or a message, so that it passes through a function that returns this one.
    ///
    /// ```
    /// let error = softlabel_tensor::Error::other("the cache is gone");
    /// assert_eq!(error.to_string(), "the cache is gone");
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// What libtorch says, without the C++ stack that it says it with.
fn without_backtrace(error: &TchError) -> String {
    let text = error.to_string();
    let message = text.split("\nException raised from").next().unwrap_or_default();
    message.trim_end().to_owned()
}
