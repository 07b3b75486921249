//! What can go wrong while a report is drawn.

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong while a report was drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The template could not be filled in.
    #[error("filling in the HTML report: {0}")]
    Template(#[from] askama::Error),
}
