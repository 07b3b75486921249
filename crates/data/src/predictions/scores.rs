//! The scores of a file: checked predictions, a block of rows at a time.

use std::path::Path;

use softlabel_core::{Error as ValueError, LogProbabilities, Logits, Probabilities, Scalar};

use super::array::Array;
use super::element::{ElementType, Numbers};
use super::table::Table;
use crate::{Error, Result};

/// What scores mean.
///
/// ```
/// use softlabel_data::predictions::ScoreKind;
/// assert_ne!(ScoreKind::Logits, ScoreKind::Probabilities);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreKind {
    /// Unnormalized scores, whose softmax are the probabilities.
    Logits,
    /// Logarithms of probabilities.
    LogProbabilities,
    /// Probabilities.
    Probabilities,
}

impl ScoreKind {
    /// What arrays of this kind are usually called.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Logits => &["logits", "logit"],
            Self::LogProbabilities => {
                &["log_probs", "log_probabilities", "logprobs", "log_softmax", "y_log_proba"]
            }
            Self::Probabilities => {
                &["probs", "probabilities", "prob", "softmax", "y_prob", "y_proba"]
            }
        }
    }
}

/// Rows of one kind whose values were checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked<T: Scalar> {
    /// Unnormalized scores.
    Logits(Logits<'static, T>),
    /// Logarithms of probabilities.
    LogProbabilities(LogProbabilities<'static, T>),
    /// Probabilities.
    Probabilities(Probabilities<'static, T>),
}

impl<T: Scalar> Checked<T> {
    fn new(kind: ScoreKind, values: Vec<T>, classes: usize) -> Result<Self, ValueError> {
        Ok(match kind {
            ScoreKind::Logits => Self::Logits(Logits::new(values, classes)?),
            ScoreKind::LogProbabilities => {
                Self::LogProbabilities(LogProbabilities::new(values, classes)?)
            }
            ScoreKind::Probabilities => Self::Probabilities(Probabilities::new(values, classes)?),
        })
    }
}

/// Some rows of scores; `f16` and `bf16` become `f32`, which holds them exactly, and `f32` stays `f32`.
#[derive(Debug, Clone, PartialEq)]
pub enum ScoreBlock {
    /// Single precision.
    Single(Checked<f32>),
    /// Double precision.
    Double(Checked<f64>),
}

/// The scores in a [`PredictionFile`](super::PredictionFile), which are read when they are asked for.
#[derive(Debug, Clone)]
pub struct Scores<'a> {
    path: &'a Path,
    source: Source<'a>,
    kind: ScoreKind,
    rows: usize,
    /// How many numbers a row has in the file.
    width: usize,
    renormalize: bool,
    /// The least that a probability may be.
    clip: f64,
}

#[derive(Debug, Clone)]
enum Source<'a> {
    Array(&'a Array),
    Table(&'a Table, Vec<usize>),
}

impl<'a> Scores<'a> {
    pub(crate) fn of_array(path: &'a Path, array: &'a Array, kind: ScoreKind) -> Result<Self> {
        let info = &array.info;
        let (rows, width) = match info.shape.as_slice() {
            [rows] => (*rows, 1),
            [rows, width] => (*rows, *width),
            _ => return Err(wrong_array(array, "scores of shape [rows, classes]")),
        };
        if !info.element.is_float() {
            return Err(wrong_array(array, "scores of f16, bf16, f32 or f64"));
        }
        Self::new(path, Source::Array(array), kind, rows, width)
    }

    pub(crate) fn of_table(
        path: &'a Path,
        table: &'a Table,
        columns: Vec<usize>,
        kind: ScoreKind,
    ) -> Result<Self> {
        let width = columns.len();
        Self::new(path, Source::Table(table, columns), kind, table.rows(), width)
    }

    fn new(
        path: &'a Path,
        source: Source<'a>,
        kind: ScoreKind,
        rows: usize,
        width: usize,
    ) -> Result<Self> {
        for (size, what) in [(rows, "the set of rows"), (width, "the set of classes")] {
            if size == 0 {
                return Err(ValueError::Empty { what }.into());
            }
        }
        Ok(Self { path, source, kind, rows, width, renormalize: false, clip: 0.0 })
    }

    /// The same scores, with every row of probabilities divided by its sum.
    ///
    /// Values must still be finite and not negative, and their sum positive.
    /// Of log-probabilities the logarithm of that sum is subtracted; logits have no sum to divide by and stay as they
    /// are.
    #[must_use]
    pub fn renormalized(self) -> Self {
        Self { renormalize: true, ..self }
    }

    /// The same scores, with every probability that is below `least` raised to it, and rows divided by their sums: for maps
    /// that cannot repair a label of probability 0. Logits stay as they are.
    ///
    /// # Errors
    /// [`Error::Values`] unless 0 < `least` < 1/K.
    pub fn clipped(self, least: f64) -> Result<Self> {
        if !(least > 0.0 && least * (self.classes() as f64) < 1.0) {
            let (name, expected) = ("the least probability", "above 0 and below 1/K");
            return Err(ValueError::OutOfRange { name, expected, found: least }.into());
        }
        Ok(Self { clip: least, ..self })
    }

    /// How far from 1 the sum of a row may be that was rounded to the type it came in, where that is less precise than f32:
    /// such rows are divided by their sums.
    fn rounding(&self) -> Option<f64> {
        match &self.source {
            Source::Array(array) if array.info.element == ElementType::BF16 => Some(1e-2),
            Source::Array(array) if array.info.element == ElementType::F16 => Some(2e-3),
            _ => None,
        }
    }

    /// The number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K, the number of classes: at least 2, as a single number a row is the score of class 1 of two.
    pub fn classes(&self) -> usize {
        self.width.max(2)
    }

    /// What the scores mean.
    pub fn kind(&self) -> ScoreKind {
        self.kind
    }

    /// The name of the array, if it has one.
    pub fn name(&self) -> Option<&str> {
        match &self.source {
            Source::Array(array) => array.info.name.as_deref(),
            Source::Table(..) => None,
        }
    }

    /// Whether the file has them in double precision.
    pub fn is_double(&self) -> bool {
        match &self.source {
            Source::Array(array) => array.info.element == ElementType::F64,
            Source::Table(..) => true,
        }
    }

    /// Hands all rows to `take`, a block at a time, with the position of the first row of each.
    ///
    /// A block has a few million numbers, so memory does not grow with the file; but an array in Fortran order is one
    /// block, as its rows are not contiguous.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::Values`] for the first value or row that is not what the scores are said to be,
    /// [`Error::Truncated`] or [`Error::Unreadable`] if the file ends early or is damaged; and what `take` returns.
    pub fn for_each_block<E: From<Error>>(
        &self,
        mut take: impl FnMut(usize, ScoreBlock) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.source {
            Source::Array(array) => array.for_each_block(self.path, &mut |first, numbers| {
                let checked = self.checked(numbers).map_err(|error| {
                    Error::Values(in_row(error, first)).in_array(&array.info, self.path)
                })?;
                take(first, checked)
            }),
            Source::Table(table, columns) => {
                let values = table.columns(columns).map_err(|error| error.in_file(self.path))?;
                let checked = self.checked(Numbers::F64(values)).map_err(|error| {
                    let line = row_of(&error).map(|row| table.line(row));
                    let error = Error::Values(error);
                    match line {
                        Some(line) => Error::InLine { line, source: Box::new(error) },
                        None => error,
                    }
                    .in_file(self.path)
                })?;
                take(0, checked)
            }
        }
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`for_each_block`](Self::for_each_block).
    pub fn read(&self) -> Result<ScoreBlock> {
        let (mut single, mut double) = (Vec::new(), Vec::new());
        self.for_each_block(|_, block| -> Result<()> {
            match block {
                ScoreBlock::Single(block) => append(&mut single, &block),
                ScoreBlock::Double(block) => append(&mut double, &block),
            }
            Ok(())
        })?;
        let classes = self.classes();
        // Checked block by block already; the types have no way around a second look.
        Ok(if single.is_empty() {
            ScoreBlock::Double(Checked::new(self.kind, double, classes)?)
        } else {
            ScoreBlock::Single(Checked::new(self.kind, single, classes)?)
        })
    }

    fn checked(&self, numbers: Numbers) -> Result<ScoreBlock, ValueError> {
        match numbers {
            // What is clipped may be too small for f32.
            Numbers::F32(values) if self.width > 1 && self.clip == 0.0 => {
                let values = self.prepared(values, |value| {
                    #[allow(clippy::cast_possible_truncation)] // Rounded to the type it came in.
                    let rounded = value as f32;
                    rounded
                })?;
                Ok(ScoreBlock::Single(Checked::new(self.kind, values, self.width)?))
            }
            numbers if self.width > 1 => {
                let values = self.prepared(numbers.into_f64(), |value| value)?;
                Ok(ScoreBlock::Double(Checked::new(self.kind, values, self.width)?))
            }
            numbers => {
                let values = self.of_two_classes(&numbers.into_f64())?;
                Ok(ScoreBlock::Double(Checked::new(self.kind, values, 2)?))
            }
        }
    }

    /// The values as they came, or each row clipped and divided by its sum. Without being asked to, rows are divided whose
    /// sum is off by the rounding of their type; what else is wrong with them is said where they are checked.
    fn prepared<T: Scalar>(
        &self,
        mut values: Vec<T>,
        round: impl Fn(f64) -> T,
    ) -> Result<Vec<T>, ValueError> {
        let is_asked = self.renormalize || self.clip > 0.0;
        let rounding = if is_asked { Some(f64::INFINITY) } else { self.rounding() };
        let Some(tolerance) = rounding.filter(|_| self.kind != ScoreKind::Logits) else {
            return Ok(values);
        };
        for (row, values) in values.chunks_exact_mut(self.width).enumerate() {
            let wide: Vec<f64> = values.iter().map(|&value| value.into()).collect();
            let divided = if self.kind == ScoreKind::Probabilities {
                self.divided(row, wide, tolerance)
            } else {
                self.shifted(row, wide, tolerance)
            };
            match divided {
                Ok(Some(row)) => {
                    for (to, from) in values.iter_mut().zip(row) {
                        *to = round(from);
                    }
                }
                Err(error) if is_asked => return Err(error),
                _ => {}
            }
        }
        Ok(values)
    }

    /// A row of probabilities divided by its sum, if that is close to 1.
    fn divided(
        &self,
        row: usize,
        mut values: Vec<f64>,
        tolerance: f64,
    ) -> Result<Option<Vec<f64>>, ValueError> {
        let bad = |expected, class, found| {
            Err(ValueError::BadValue { what: "Probabilities", expected, row, class, found })
        };
        let fits = |value: f64| (0.0..f64::INFINITY).contains(&value);
        if let Some(class) = values.iter().position(|&value| !fits(value)) {
            return bad("finite and at least 0", class, values[class]);
        }
        let sum: f64 = values.iter().sum();
        if sum <= 0.0 {
            return bad("a positive sum of the row", 0, sum);
        }
        if (sum - 1.0).abs() > tolerance {
            return Ok(None);
        }
        for value in &mut values {
            *value = (*value / sum).max(self.clip);
        }
        if self.clip > 0.0 {
            let sum: f64 = values.iter().sum();
            for value in &mut values {
                *value /= sum;
            }
        }
        Ok(Some(values))
    }

    /// A row of log-probabilities less the logarithm of their sum, if that is close to 0.
    fn shifted(
        &self,
        row: usize,
        mut values: Vec<f64>,
        tolerance: f64,
    ) -> Result<Option<Vec<f64>>, ValueError> {
        let bad = |expected, class, found| {
            Err(ValueError::BadValue { what: "LogProbabilities", expected, row, class, found })
        };
        let fits = |value: f64| (f64::NEG_INFINITY..f64::INFINITY).contains(&value);
        if let Some(class) = values.iter().position(|&value| !fits(value)) {
            return bad("finite or -inf", class, values[class]);
        }
        let log_sum = |values: &[f64]| {
            let highest = values.iter().copied().fold(f64::NAN, f64::max);
            let sum: f64 = values.iter().map(|&value| (value - highest).exp()).sum();
            highest + sum.ln()
        };
        let shift = log_sum(&values);
        if !shift.is_finite() {
            return bad("one finite value a row", 0, f64::NEG_INFINITY);
        }
        if shift.abs() > tolerance {
            return Ok(None);
        }
        for value in &mut values {
            *value = (*value - shift).max(self.clip.ln());
        }
        if self.clip > 0.0 {
            let shift = log_sum(&values);
            for value in &mut values {
                *value -= shift;
            }
        }
        Ok(Some(values))
    }

    /// Rows of two classes, from the score of class 1.
    fn of_two_classes(&self, values: &[f64]) -> Result<Vec<f64>, ValueError> {
        let outside = match self.kind {
            ScoreKind::Logits => None,
            ScoreKind::LogProbabilities => {
                let outside = |value: &f64| !(f64::NEG_INFINITY..=0.0).contains(value);
                values.iter().position(outside).map(|row| (row, "at most 0"))
            }
            ScoreKind::Probabilities => {
                let outside = |value: &f64| !(0.0..=1.0).contains(value);
                values.iter().position(outside).map(|row| (row, "in [0, 1]"))
            }
        };
        if let Some((row, expected)) = outside {
            let what = match self.kind {
                ScoreKind::LogProbabilities => "LogProbabilities",
                _ => "Probabilities",
            };
            return Err(ValueError::BadValue { what, expected, row, class: 1, found: values[row] });
        }
        let clip = self.clip;
        let values: Vec<f64> = match self.kind {
            ScoreKind::Logits => values.to_vec(),
            ScoreKind::LogProbabilities => {
                values.iter().map(|value| value.clamp(clip.ln(), (-clip).ln_1p())).collect()
            }
            ScoreKind::Probabilities => {
                values.iter().map(|value| value.clamp(clip, 1.0 - clip)).collect()
            }
        };
        let pair = |&value: &f64| match self.kind {
            ScoreKind::Logits => [0.0, value],
            // ln(1 − eˡ), which keeps its digits at both ends.
            ScoreKind::LogProbabilities if value > -std::f64::consts::LN_2 => {
                [(-value.exp_m1()).ln(), value]
            }
            ScoreKind::LogProbabilities => [(-value.exp()).ln_1p(), value],
            ScoreKind::Probabilities => [1.0 - value, value],
        };
        Ok(values.iter().flat_map(pair).collect())
    }
}

fn append<T: Scalar>(all: &mut Vec<T>, block: &Checked<T>) {
    let values = match block {
        Checked::Logits(rows) => rows.as_slice(),
        Checked::LogProbabilities(rows) => rows.as_slice(),
        Checked::Probabilities(rows) => rows.as_slice(),
    };
    all.extend_from_slice(values);
}

/// An array of another type or shape than it should have.
pub(crate) fn wrong_array(array: &Array, expected: impl Into<String>) -> Error {
    Error::Array { expected: expected.into(), found: array.info.to_string() }
}

/// The same error about rows that begin with row `first` of the file.
fn in_row(mut error: ValueError, first: usize) -> ValueError {
    if let ValueError::BadValue { row, .. } | ValueError::RowSum { row, .. } = &mut error {
        *row += first;
    }
    error
}

/// The row that an error is about.
fn row_of(error: &ValueError) -> Option<usize> {
    match error {
        ValueError::BadValue { row, .. } | ValueError::RowSum { row, .. } => Some(*row),
        _ => None,
    }
}
