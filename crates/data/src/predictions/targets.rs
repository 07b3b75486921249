//! What was true: a class a row, or a distribution over the classes.

use std::path::Path;

use softlabel_core::{Error as ValueError, Labels, Probabilities};

use super::array::Array;
use super::element::Numbers;
use super::scores::wrong_array;
use super::table::Table;
use crate::{Error, Result};

/// The labels of the rows of a file.
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_data::predictions::Targets;
/// let targets = Targets::Classes(Labels::new(&[0, 2], 3)?);
/// assert_eq!((targets.rows(), targets.classes()), (2, 3));
/// # Ok::<(), softlabel_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class a row.
    Classes(Labels),
    /// One distribution over the classes a row, such as the votes of annotators.
    Distributions(Probabilities<'static, f64>),
}

impl Targets {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(labels) => labels.len(),
            Self::Distributions(rows) => rows.rows(),
        }
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Self::Classes(labels) => labels.classes(),
            Self::Distributions(rows) => rows.classes(),
        }
    }
}

/// The labels in an array.
pub(crate) fn of_array(
    path: &Path,
    array: &Array,
    classes: usize,
    renormalize: bool,
) -> Result<Targets> {
    match array.info.shape.as_slice() {
        [_] | [_, 1] => match array.read(path)? {
            Numbers::I64(values) => Ok(Targets::Classes(Labels::new(&values, classes)?)),
            Numbers::U64(values) => Ok(Targets::Classes(Labels::new(&values, classes)?)),
            numbers => of_floats(&numbers.into_f64(), classes)
                .ok_or_else(|| wrong_array(array, "labels that are whole numbers"))?,
        },
        [_, width] if *width == classes => rows(array.read(path)?.into_f64(), classes, renormalize),
        _ => {
            let expected = format!("labels of shape [rows] or [rows, {classes}], as the scores");
            Err(wrong_array(array, expected))
        }
    }
}

/// A number a class in the rows of an array.
pub(crate) fn rows_of_array(path: &Path, array: &Array, classes: usize) -> Result<Vec<f64>> {
    if has_columns(array, classes) {
        return Ok(array.read(path)?.into_f64());
    }
    Err(wrong_array(array, format!("an array of shape [rows, {classes}]")))
}

/// Whether an array has so many columns, for one of which no axis is needed.
pub(crate) fn has_columns(array: &Array, columns: usize) -> bool {
    match array.info.shape[..] {
        [_] => columns == 1,
        [_, width] => width == columns,
        _ => false,
    }
}

/// A number a class in the columns of a table.
pub(crate) fn rows_of_columns(
    table: &Table,
    columns: &[usize],
    classes: usize,
) -> Result<Vec<f64>> {
    if columns.len() == classes {
        return table.columns(columns);
    }
    let expected = format!("{classes} columns, one a class");
    Err(Error::Array { expected, found: table.to_string() })
}

/// The labels in columns of a table.
pub(crate) fn of_columns(
    table: &Table,
    columns: &[usize],
    classes: usize,
    renormalize: bool,
) -> Result<Targets> {
    let values = table.columns(columns)?;
    match columns {
        [_] => Ok(Targets::Classes(Labels::new(&table.classes(&values)?, classes)?)),
        _ if columns.len() == classes => rows(values, classes, renormalize),
        _ => Err(Error::Array {
            expected: format!("one column of labels or {classes}, one a class"),
            found: table.to_string(),
        }),
    }
}

/// Labels that were saved as floating-point numbers; `None` if one is not whole.
fn of_floats(values: &[f64], classes: usize) -> Option<Result<Targets>> {
    #[allow(clippy::cast_possible_truncation)] // Whole, and what saturates is no class either.
    let whole = |&value: &f64| (value.fract() == 0.0).then_some(value as i64);
    let values = values.iter().map(whole).collect::<Option<Vec<i64>>>()?;
    Some(Labels::new(&values, classes).map(Targets::Classes).map_err(Error::Values))
}

/// Rows over the classes: one-hot, counts or distributions.
fn rows(mut values: Vec<f64>, classes: usize, renormalize: bool) -> Result<Targets> {
    let rows = || values.chunks_exact(classes);
    let one_hot = |row: &[f64]| {
        let mut ones = row.iter().enumerate().filter(|&(_, &value)| value != 0.0);
        match (ones.next(), ones.next()) {
            (Some((class, &1.0)), None) => Some(class as u64),
            _ => None,
        }
    };
    if let Some(labels) = rows().map(one_hot).collect::<Option<Vec<_>>>() {
        return Ok(Targets::Classes(Labels::new(&labels, classes)?));
    }
    let counts = values.iter().all(|value| value.fract() == 0.0);
    if counts || renormalize {
        for (row, values) in values.chunks_exact_mut(classes).enumerate() {
            let bad = |expected, class, found| {
                let what = "labels";
                Err(ValueError::BadValue { what, expected, row, class, found }.into())
            };
            let fits = |value: &f64| (0.0..f64::INFINITY).contains(value);
            if let Some(class) = values.iter().position(|value| !fits(value)) {
                return bad("finite and at least 0", class, values[class]);
            }
            let sum: f64 = values.iter().sum();
            if sum <= 0.0 {
                return bad("a positive sum of the row", 0, sum);
            }
            for value in values {
                *value /= sum;
            }
        }
    }
    Ok(Targets::Distributions(Probabilities::new(values, classes)?))
}
