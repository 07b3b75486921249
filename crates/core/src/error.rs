//! One error type for everything that can be wrong with values, labels and predictions.

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong with an input: what was expected, what was found, and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number lies outside the range in which it has a meaning.
    #[error("{name} must be {expected}, found {found}")]
    OutOfRange {
        /// The quantity, as its user knows it.
        name: &'static str,
        /// The range, in words or as an interval.
        expected: &'static str,
        /// The number that came.
        found: f64,
    },
    /// A label is negative or not below the class count.
    #[error("label {found} at position {position} is not in 0..{classes}")]
    LabelOutOfRange {
        /// Index of the label in its slice.
        position: usize,
        /// The label that came.
        found: i64,
        /// The class count.
        classes: usize,
    },
    /// One value of a matrix cannot be what the matrix is said to hold.
    #[error("{what}: expected {expected}, found {found} in row {row}, class {class}")]
    BadValue {
        /// What the matrix holds.
        what: &'static str,
        /// Which values it may hold.
        expected: &'static str,
        /// Row of the first bad value.
        row: usize,
        /// Class (column) of the first bad value.
        class: usize,
        /// The value.
        found: f64,
    },
    /// A row that should be a distribution does not sum to one.
    #[error("{what}: row {row} sums to {found}, expected 1 ± {tolerance}")]
    RowSum {
        /// What the matrix holds.
        what: &'static str,
        /// The first such row.
        row: usize,
        /// Its sum.
        found: f64,
        /// How far from one a sum may be.
        tolerance: f64,
    },
    /// Two things that belong together differ in length or shape.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// What does not fit.
        what: &'static str,
        /// The count or shape that was expected.
        expected: String,
        /// The count or shape that came.
        found: String,
    },
    /// There is nothing to work on.
    #[error("{what} is empty: expected at least one")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// Fewer rows than classes: usually a transposed matrix or far too little data to fit on.
    #[error(
        "{what}: {classes} classes but only {rows} rows; at least one row a class is needed \
         (is the matrix transposed?)"
    )]
    MoreClassesThanRows {
        /// What was given.
        what: &'static str,
        /// Number of classes.
        classes: usize,
        /// Number of rows.
        rows: usize,
    },
}

impl Error {
    /// A [`Mismatch`](Error::Mismatch) between what was expected and what was found.
    pub fn mismatch(
        what: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Mismatch { what, expected: expected.into(), found: found.into() }
    }
}
