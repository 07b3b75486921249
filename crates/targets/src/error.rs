//! What can be wrong with a target.

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong with a target or a noise model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value, label or shape is not what it should be.
    #[error(transparent)]
    Core(#[from] softlabel_core::Error),
    /// There is no other class to give anything to.
    #[error("{what} needs at least 2 classes, found {classes}")]
    TooFewClasses {
        /// What was asked for.
        what: &'static str,
        /// The class count that came.
        classes: usize,
    },
    /// A setting that the chosen kind needs is missing, or one that it does not know is there.
    #[error("label noise of kind {kind} {problem}")]
    NoiseSettings {
        /// The kind of noise.
        kind: &'static str,
        /// What is missing or too much.
        problem: &'static str,
    },
    /// As for noise, of something else that comes in kinds.
    #[error("{what} of kind {kind} {problem}")]
    Settings {
        /// What comes in kinds.
        what: &'static str,
        /// The kind.
        kind: &'static str,
        /// What is missing or too much.
        problem: String,
    },
    /// A smoothing lacks a key that it must have.
    #[error("missing field `{key}` of a smoothing (or `{alternative}`)")]
    MissingKey {
        /// The key that is usual.
        key: &'static str,
        /// The one that may stand in its place.
        alternative: &'static str,
    },
    /// Two settings exclude each other.
    #[error("a smoothing takes `{first}` or `{second}`, not both")]
    Exclusive {
        /// The one.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// What was asked has an answer only for one ε in [0, 1] and a uniform prior.
    #[error("{what} takes one epsilon and a uniform prior, found smoothing {found}")]
    NotUniform {
        /// What was asked.
        what: &'static str,
        /// The smoothing.
        found: String,
    },
}
