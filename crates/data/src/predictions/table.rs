//! CSV files: numbers in columns.

use std::fmt;
use std::io::Read;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::names::{names_label_of_class, names_labels, names_something_else};
use crate::{Error, Result};

/// The columns of a file that holds the confidence of the top class alone.
const TOP_LABEL_COLUMNS: [&str; 3] = ["true_label", "pred_label", "confidence"];

/// A first line that is one column to us and several to whoever wrote it.
fn check_separator(line: u64, record: &StringRecord) -> Result<()> {
    let only = if record.len() == 1 { record.get(0).unwrap_or_default() } else { "" };
    let found = match only.chars().find(|c| matches!(c, ';' | '\t' | '|')) {
        None => return Ok(()),
        Some('\t') => "tabs",
        Some(';') => "semicolons",
        Some(_) => "bars",
    };
    let expected = "columns with commas between them".to_owned();
    Err(Error::Line { line, expected, found: found.to_owned() })
}

/// What a classifier said of its top class alone, and what was true.
///
/// ```
/// use softlabel_data::predictions::TopLabels;
/// let top = TopLabels { labels: vec![1], predicted: vec![1], confidences: vec![0.75] };
/// assert_eq!(top.labels, top.predicted);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TopLabels {
    /// The true class of every row.
    pub labels: Vec<u64>,
    /// The top class of every row.
    pub predicted: Vec<u64>,
    /// The probability of the top class, in \[0, 1\].
    pub confidences: Vec<f64>,
}

/// A CSV file, read: its numbers, and which columns hold something else.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Empty if the first line has numbers alone.
    names: Vec<String>,
    width: usize,
    /// Row by row; what is no number is NaN.
    values: Vec<f64>,
    /// For each column, the first line with something else than a number, and what it is.
    strange: Vec<Option<(u64, String)>>,
    /// The line of each row.
    lines: Vec<u64>,
}

impl Table {
    pub(crate) fn read(reader: impl Read) -> Result<Self> {
        let mut reader =
            ReaderBuilder::new().has_headers(false).trim(Trim::All).from_reader(reader);
        let mut record = StringRecord::new();
        let mut table = Self {
            names: Vec::new(),
            width: 0,
            values: Vec::new(),
            strange: Vec::new(),
            lines: Vec::new(),
        };
        while reader.read_record(&mut record).map_err(in_line)? {
            let line = record.position().map_or(0, csv::Position::line);
            if table.width == 0 {
                table.width = record.len();
                check_separator(line, &record)?;
                table.strange = vec![None; record.len()];
                if record.iter().any(|cell| cell.parse::<f64>().is_err()) {
                    table.names = record.iter().map(clean).collect();
                    continue;
                }
            }
            table.lines.push(line);
            for (cell, strange) in record.iter().zip(&mut table.strange) {
                let value = cell.parse().unwrap_or_else(|_| {
                    strange.get_or_insert_with(|| (line, cell.to_owned()));
                    f64::NAN
                });
                table.values.push(value);
            }
        }
        if table.lines.is_empty() {
            return Err(softlabel_core::Error::Empty { what: "the set of rows" }.into());
        }
        Ok(table)
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn rows(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn name(&self, column: usize) -> Option<&str> {
        self.names.get(column).map(String::as_str)
    }

    /// The line of the file that a row is in.
    pub(crate) fn line(&self, row: usize) -> u64 {
        self.lines.get(row).copied().unwrap_or_default()
    }

    /// The numbers of some columns, row by row.
    pub(crate) fn columns(&self, columns: &[usize]) -> Result<Vec<f64>> {
        for &column in columns {
            if let Some(Some((line, text))) = self.strange.get(column) {
                let expected = format!("a number in column {}", self.described(column));
                return Err(Error::Line { line: *line, expected, found: format!("`{text}`") });
            }
        }
        let rows = self.values.chunks_exact(self.width.max(1));
        Ok(rows.flat_map(|row| columns.iter().map(|&column| row[column])).collect())
    }

    /// A column by its name, or by its number from 0 if columns have no names.
    fn column(&self, key: &str) -> Result<usize> {
        let found = if self.names.is_empty() {
            key.parse().ok().filter(|&column| column < self.width)
        } else {
            self.names.iter().position(|name| name == key)
        };
        found.ok_or_else(|| Error::NoArray {
            what: format!("column `{key}`"),
            found: self.to_string(),
            help: "",
        })
    }

    /// The columns of the labels: the one of a name or, if there is none, those whose names begin so; without a name the
    /// one with a usual name, or those of all classes. None if there are none.
    pub(crate) fn label_columns(&self, key: Option<&str>) -> Result<Vec<usize>> {
        let with = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..self.width).filter(|&column| self.name(column).is_some_and(wanted)).collect()
        };
        if let Some(key) = key {
            let error = match self.column(key) {
                Ok(column) => return Ok(vec![column]),
                Err(error) => error,
            };
            let columns = with(&|name| name.starts_with(key));
            return if columns.is_empty() { Err(error) } else { Ok(columns) };
        }
        let found = with(&names_labels);
        match found.as_slice() {
            [] => Ok(with(&names_label_of_class)),
            [_] => Ok(found),
            _ => {
                let candidates = found.iter().map(|&column| self.described(column));
                Err(Error::Ambiguous {
                    what: "labels",
                    candidates: candidates.collect::<Vec<_>>().join(", "),
                    option: "--labels-key",
                })
            }
        }
    }

    /// The columns of the scores: those of a list of names, those whose names begin with `key`, or all but the labels.
    pub(crate) fn score_columns(&self, key: Option<&str>, labels: &[usize]) -> Result<Vec<usize>> {
        if let Some(list) = key.filter(|key| key.contains(',')) {
            return list.split(',').map(|name| self.column(name.trim())).collect();
        }
        let wanted = |&column: &usize| {
            let named = key.is_none_or(|prefix| {
                self.name(column).is_some_and(|name| name.starts_with(prefix))
            });
            named && !labels.contains(&column)
        };
        let columns: Vec<usize> = (0..self.width).filter(wanted).collect();
        if columns.is_empty() {
            let what = key.map_or("scores".to_owned(), |prefix| {
                format!("column whose name begins with `{prefix}`")
            });
            return Err(Error::NoArray { what, found: self.to_string(), help: "--scores-key" });
        }
        let strange = |column: &&usize| self.name(**column).is_some_and(names_something_else);
        if let Some(&column) = columns.iter().find(strange).filter(|_| key.is_none()) {
            let expected = "columns of scores and labels alone (say which are the scores with \
                            --scores-key: how their names begin, or a list `a,b,c`)";
            let found = format!("column {} beside them", self.described(column));
            return Err(Error::Array { expected: expected.to_owned(), found });
        }
        Ok(columns)
    }

    pub(crate) fn has_top_labels(&self) -> bool {
        TOP_LABEL_COLUMNS.iter().all(|name| self.names.iter().any(|found| found == name))
    }

    pub(crate) fn top_labels(&self) -> Result<TopLabels> {
        let [labels, predicted, confidences] = TOP_LABEL_COLUMNS
            .map(|name| self.column(name).and_then(|column| self.columns(&[column])));
        let (labels, predicted, confidences) = (labels?, predicted?, confidences?);
        let outside = |&confidence: &f64| !(0.0..=1.0).contains(&confidence);
        if let Some(row) = confidences.iter().position(outside) {
            return Err(Error::Line {
                line: self.line(row),
                expected: "a confidence in [0, 1]".to_owned(),
                found: confidences[row].to_string(),
            });
        }
        Ok(TopLabels {
            labels: self.classes(&labels)?,
            predicted: self.classes(&predicted)?,
            confidences,
        })
    }

    /// Numbers that are classes: whole and not negative.
    pub(crate) fn classes(&self, values: &[f64]) -> Result<Vec<u64>> {
        // Up to here every whole number is an f64.
        let class = |(row, &value): (usize, &f64)| {
            let whole = (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked.
            whole.then_some(value as u64).ok_or_else(|| Error::Line {
                line: self.line(row),
                expected: "a class, counted from 0".to_owned(),
                found: value.to_string(),
            })
        };
        values.iter().enumerate().map(class).collect()
    }

    fn described(&self, column: usize) -> String {
        self.name(column).map_or_else(|| column.to_string(), |name| format!("`{name}`"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return write!(formatter, "{} columns without names", self.width);
        }
        let (shown, more) = self.names.split_at(self.names.len().min(12));
        let names: Vec<String> = shown.iter().map(|name| format!("`{name}`")).collect();
        write!(formatter, "the columns {}", names.join(", "))?;
        if more.is_empty() { Ok(()) } else { write!(formatter, " and {} more", more.len()) }
    }
}

/// A name without the mark that some programs put before the first one.
fn clean(name: &str) -> String {
    name.trim_start_matches('\u{feff}').trim().to_owned()
}

/// What the csv crate says, with the line.
fn in_line(error: csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::Unreadable(source),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Error::Line {
            line,
            expected: format!("{expected_len} columns, as in the first line"),
            found: len.to_string(),
        },
        csv::ErrorKind::Utf8 { .. } => {
            Error::Line { line, expected: "UTF-8 text".to_owned(), found: "other bytes".to_owned() }
        }
        other => Error::Line {
            line,
            expected: "comma-separated values".to_owned(),
            found: format!("{other:?}"),
        },
    }
}
