//! What can go wrong when a map is fitted, applied or read.

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong when a map is fitted, applied or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Predictions, labels or parameters are not what they have to be.
    #[error(transparent)]
    Input(#[from] softlabel_core::Error),
    /// A label has the logit −∞, so no map that keeps impossible classes impossible can explain it.
    #[error(
        "row {row}: its label {label} has the logit -inf, that is, probability 0 under every map"
    )]
    ImpossibleLabel {
        /// The first such row.
        row: usize,
        /// Its label.
        label: usize,
    },
    /// A class has the logit −∞, and the map multiplies every class into every other.
    #[error(
        "row {row}: class {class} has the logit -inf, that is, probability 0, which the {method} \
         map cannot multiply; put a floor under the probabilities first"
    )]
    ImpossibleClass {
        /// The map that was to be fitted or applied.
        method: &'static str,
        /// The first such row.
        row: usize,
        /// Its first such class.
        class: usize,
    },
    /// The fit of a map knows nothing of what its targets carry.
    #[error("{method} cannot be fitted with {what}: {why}")]
    Unsupported {
        /// The map that was to be fitted.
        method: &'static str,
        /// What its fit does not know.
        what: &'static str,
        /// Why it has no use for that.
        why: &'static str,
    },
    /// The optimum was not reached.
    #[error("{method} scaling did not converge within {iterations} iterations{}", of_class(*class))]
    NotConverged {
        /// The map that was fitted.
        method: &'static str,
        /// The class, for maps that are fitted class by class.
        class: Option<usize>,
        /// How many iterations were made.
        iterations: usize,
    },
    /// The map is for another number of classes than the predictions have.
    #[error("the map was fitted on {expected} classes, found predictions of {found}")]
    ClassCount {
        /// The number of classes that the map knows.
        expected: usize,
        /// The number of classes of the predictions.
        found: usize,
    },
    /// A document that is not about a calibrator.
    #[error("expected a document of schema {expected:?}, found {found:?}")]
    UnknownSchema {
        /// The schema that this version writes.
        expected: &'static str,
        /// The schema that the document names.
        found: String,
    },
    /// A document that a newer version wrote.
    #[error(
        "the document has version {found} of its schema, but at most {supported} is understood"
    )]
    NewerSchema {
        /// The version of the document.
        found: u64,
        /// The newest version that this version reads.
        supported: u64,
    },
    /// A document about a map that this version does not know.
    #[error("unknown method {found:?}, expected one of {}", known.join(", "))]
    UnknownMethod {
        /// The methods that this version knows.
        known: &'static [&'static str],
        /// The method that the document names.
        found: String,
    },
    /// A signal has a value that it cannot have.
    #[error("signal {signal:?}: expected {expected}, found {found} in row {row}")]
    BadSignal {
        /// The name of the signal.
        signal: String,
        /// The first such row.
        row: usize,
        /// What it can be.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// No method could be cross-validated.
    #[error("no method could be cross-validated: {}", reasons.join("; "))]
    NoCandidate {
        /// The name of every method, and why it could not.
        reasons: Vec<String>,
    },
    /// A stage of a composition went wrong.
    #[error("stage {stage} ({method}): {source}")]
    Stage {
        /// Which one, counted from 1.
        stage: usize,
        /// Its map.
        method: String,
        /// What went wrong.
        source: Box<Error>,
    },
    /// A document about another map than the one that was asked for.
    #[error("expected a document of the method {expected:?}, found {found:?}")]
    OtherMethod {
        /// The method that was asked for.
        expected: &'static str,
        /// The method of the document.
        found: String,
    },
    /// A document that is no JSON, or lacks something, or has too much.
    #[error("a calibrator cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What went wrong in the stage with this index.
    pub(crate) fn stage(index: usize, method: &str, source: Self) -> Self {
        Self::Stage { stage: index + 1, method: method.to_owned(), source: Box::new(source) }
    }
}

fn of_class(class: Option<usize>) -> String {
    class.map_or_else(String::new, |class| format!(" (class {class})"))
}
