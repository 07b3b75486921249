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

    /// A mark of a page cannot be read, or asks for what the run does not have.
    #[error("line {line}: {what}")]
    Mark {
        /// Where the mark stands, from 1.
        line: usize,
        /// What was expected and what is there.
        what: String,
    },

    /// A page has no place for the tables of a run.
    #[error(
        "no line `<!-- softlabel {run} … -->` says where the tables of this run belong; the page has lines for {}",
        or_none(runs)
    )]
    NoMark {
        /// The run.
        run: String,
        /// The runs that the page has places for.
        runs: Vec<String>,
    },
}

fn or_none(runs: &[String]) -> String {
    if runs.is_empty() { "no run".to_owned() } else { runs.join(", ") }
}
