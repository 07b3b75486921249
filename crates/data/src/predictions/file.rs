//! A file of predictions, whatever its format: what it holds, and which of it are the scores and the labels.

use std::fmt;
use std::path::{Path, PathBuf};

use super::array::{self, Array};
use super::element::{ElementType, Numbers};
use super::names::{LABEL_NAMES, SCORE_NAMES, is_one_of, names_labels, names_something_else};
use super::scores::{ScoreKind, Scores, wrong_array};
use super::table::{Table, TopLabels};
use super::targets::{self, Targets};
use super::{npy, tensors};
use crate::{Error, Result};

/// A format of prediction files, known by the extension of their names.
///
/// ```
/// use std::path::Path;
/// use softlabel_data::predictions::Format;
/// assert_eq!(Format::of(Path::new("test.npz"))?, Format::Npz);
/// assert!(Format::of(Path::new("test.mat")).is_err());
/// # Ok::<(), softlabel_data::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// Named NumPy arrays in a zip archive.
    Npz,
    /// Named tensors.
    Safetensors,
    /// Numbers in columns.
    Csv,
}

impl Format {
    /// The format that the extension of a file's name says.
    ///
    /// # Errors
    /// [`Error::Format`] if it says none.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        match extension.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("npy") => Ok(Self::Npy),
            Some("npz") => Ok(Self::Npz),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("csv") => Ok(Self::Csv),
            _ => Err(Error::Format { path: path.to_owned() }),
        }
    }
}

/// An array in a file, but for its elements.
///
/// ```
/// use softlabel_data::predictions::{ArrayInfo, ElementType};
/// let info = ArrayInfo {
///     name: Some("logits".into()),
///     element: ElementType::F32,
///     shape: vec![10_000, 100],
/// };
/// assert_eq!(info.to_string(), "`logits` (f32 [10000, 100])");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Its name, if the format has names.
    pub name: Option<String>,
    /// The type of its elements.
    pub element: ElementType,
    /// How many elements it has along each axis.
    pub shape: Vec<usize>,
}

impl fmt::Display for ArrayInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, element, shape } = self;
        match name {
            Some(name) => write!(formatter, "`{name}` ({element} {shape:?})"),
            None => write!(formatter, "{element} {shape:?}"),
        }
    }
}

/// The sizes of a shape, if the bytes of all elements can be counted.
pub(crate) fn checked_shape(shape: Option<Vec<usize>>, element: ElementType) -> Result<Vec<usize>> {
    let fits = |shape: &Vec<usize>| {
        let bytes = shape.iter().copied().try_fold(element.size(), usize::checked_mul);
        bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
    };
    shape.filter(fits).ok_or(Error::TooLarge)
}

/// A file of predictions whose headers were read: what it holds is known, but no element of an array was looked at.
///
/// A CSV file alone is read whole, into 8 bytes a number.
///
/// ```
/// use softlabel_data::predictions::{PredictionFile, ScoreKind, Targets};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("test.csv");
/// std::fs::write(&path, "cat,dog,label\n0.75,0.25,0\n0.5,0.5,1\n")?;
///
/// let file = PredictionFile::open(&path)?;
/// let scores = file.scores(ScoreKind::Probabilities, None, None)?;
/// assert_eq!((scores.rows(), scores.classes()), (2, 2));
/// let Some(Targets::Classes(labels)) = file.labels(None, 2, false)? else { unreachable!() };
/// assert_eq!(labels.as_slice(), [0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PredictionFile {
    path: PathBuf,
    format: Format,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Arrays {
        arrays: Vec<Array>,
        /// Arrays of elements that are no numbers, with their types.
        others: Vec<String>,
    },
    Table(Table),
}

impl PredictionFile {
    /// Reads what a file holds; the extension of its name says its format.
    ///
    /// # Errors
    /// - [`Error::Format`] if the extension is unknown.
    /// - [`Error::Io`] if the file is not there or cannot be read.
    /// - [`Error::InFile`] with what is wrong in it.
    pub fn open(path: &Path) -> Result<Self> {
        let format = Format::of(path)?;
        let (reader, size) = array::open(path)?;
        let content = match format {
            Format::Npy => npy::alone(reader, size)
                .map(|array| Content::Arrays { arrays: vec![array], others: Vec::new() }),
            Format::Npz => npy::members(reader.into_inner())
                .map(|(arrays, others)| Content::Arrays { arrays, others }),
            Format::Safetensors => tensors::tensors(reader, size)
                .map(|(arrays, others)| Content::Arrays { arrays, others }),
            Format::Csv => Table::read(reader).map(Content::Table),
        };
        let content = content.map_err(|error| error.in_file(path))?;
        Ok(Self { path: path.to_owned(), format, content })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The arrays in the file; none in a CSV file, which has columns.
    pub fn arrays(&self) -> Vec<&ArrayInfo> {
        match &self.content {
            Content::Arrays { arrays, .. } => arrays.iter().map(|array| &array.info).collect(),
            Content::Table(_) => Vec::new(),
        }
    }

    /// Whether the file holds the confidence of the top class alone: a CSV file with the columns `true_label`,
    /// `pred_label` and `confidence`.
    pub fn has_top_labels(&self) -> bool {
        matches!(&self.content, Content::Table(table) if table.has_top_labels())
    }

    /// The confidence of the top class of every row, where the file holds just that.
    ///
    /// # Errors
    /// [`Error::InFile`] if the file lacks a column or a value is not what it has to be.
    pub fn top_labels(&self) -> Result<TopLabels> {
        let top_labels = match &self.content {
            Content::Table(table) => table.top_labels(),
            Content::Arrays { .. } => Err(self.absent("a top-label table", "--scores-key")),
        };
        top_labels.map_err(|error| error.in_file(&self.path))
    }

    /// The scores: those of a name, or the only ones there are.
    ///
    /// Among arrays these are the only one of floating-point numbers with two axes; of several, the only one with a
    /// usual name such as `logits`, `probs` or `predictions`.
    /// Of one axis, the elements are the score of class 1 of two.
    /// In a CSV file they are all columns but the labels, or those whose names begin with `key`, or are in it if it is a list
    /// of names with commas between. Without a key a column that is called as something else is (`id`, nothing at all)
    /// is an error.
    ///
    /// `labels_key` is the name of the labels, which are no scores.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::NoArray`], [`Error::Ambiguous`] or [`Error::Array`] if there are none, several,
    /// or such of another type or shape.
    pub fn scores(
        &self,
        kind: ScoreKind,
        key: Option<&str>,
        labels_key: Option<&str>,
    ) -> Result<Scores<'_>> {
        let scores = match &self.content {
            Content::Arrays { arrays, .. } => self
                .score_array(arrays, kind, key, labels_key)
                .and_then(|array| Scores::of_array(&self.path, array, kind)),
            Content::Table(table) => table
                .score_columns(key, &label_columns(table, labels_key))
                .and_then(|columns| Scores::of_table(&self.path, table, columns, kind)),
        };
        scores.map_err(|error| error.in_file(&self.path))
    }

    /// The labels: those of a name, or the only ones there are; `None` if there are none.
    ///
    /// Among arrays these are the one with a usual name such as `labels`, `targets` or `ground_truth`, of several the one of
    /// integers with one axis; where none has such a name, the only one of integers with one axis that is not called as
    /// something else is (`index`, `fold`, `predictions`).
    /// In a CSV file they are the column with a usual name, or the columns `labels_0`, `labels_1`, …; a key is the name of
    /// a column, or how the names of several begin.
    /// If there is only one array in the file that could not be scores of the same file, as in a file of labels, see
    /// [`only_labels`](Self::only_labels).
    /// With two axes they are rows over the `classes` classes: one-hot, counts (whole numbers, which are divided by
    /// their sum), or distributions, which are divided by their sum if `renormalize`.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::Ambiguous`] if there are several, with [`Error::NoArray`] if there is none of the
    /// name, with [`Error::Array`] or [`Error::Values`] if they are not labels of so many classes.
    pub fn labels(
        &self,
        key: Option<&str>,
        classes: usize,
        renormalize: bool,
    ) -> Result<Option<Targets>> {
        self.read_labels(self.label_place(key, false), classes, renormalize)
    }

    /// The labels of a file that holds no scores: as [`labels`](Self::labels), but a single array or column is enough.
    ///
    /// # Errors
    /// As [`labels`](Self::labels), and [`Error::NoArray`] if there are none.
    pub fn only_labels(
        &self,
        key: Option<&str>,
        classes: usize,
        renormalize: bool,
    ) -> Result<Targets> {
        let labels = self.read_labels(self.label_place(key, true), classes, renormalize)?;
        labels.ok_or_else(|| self.absent("labels", "--labels-key").in_file(&self.path))
    }

    /// Rows of a number a class, as they are: such as the votes of annotators before anything is added to them.
    ///
    /// Without a key the only array of `classes` columns, or all columns of a table but those that are called as labels
    /// are. A key is the name of the array, or how the names of the columns begin. Of one column, `[rows]` and `[rows, 1]`
    /// are the same.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::NoArray`] if there is no such array, with [`Error::Ambiguous`] if there are
    /// several, with [`Error::Array`] if there are not so many columns.
    pub fn only_rows(&self, key: Option<&str>, classes: usize) -> Result<Vec<f64>> {
        const WHAT: &str = "rows of a number a class";
        let read = || match &self.content {
            Content::Arrays { arrays, .. } => {
                let fits = |array: &&Array| targets::has_columns(array, classes);
                let fitting: Vec<_> = arrays.iter().filter(fits).collect();
                let array = match (key, &fitting[..]) {
                    (Some(key), _) => self.named(arrays, WHAT, key)?,
                    (None, [array]) => array,
                    (None, []) => return Err(self.absent(WHAT, "a key")),
                    (None, several) => return Err(ambiguous(WHAT, "a key", several)),
                };
                targets::rows_of_array(&self.path, array, classes)
            }
            Content::Table(table) => {
                let is_wanted = |&column: &usize| match (table.name(column), key) {
                    (Some(name), Some(key)) => name.starts_with(key),
                    (Some(name), None) => !names_labels(name),
                    (None, key) => key.is_none(),
                };
                let columns: Vec<_> = (0..table.width()).filter(is_wanted).collect();
                targets::rows_of_columns(table, &columns, classes)
            }
        };
        read().map_err(|error| error.in_file(&self.path))
    }

    /// The array of a name, or the only one there is, whatever its shape.
    pub(crate) fn only_array(
        &self,
        what: &'static str,
        key: Option<&str>,
    ) -> Result<(ArrayInfo, Numbers)> {
        let find = || match (&self.content, key) {
            (Content::Table(_), _) => Err(self.absent(what, "")),
            (Content::Arrays { arrays, .. }, Some(key)) => self.named(arrays, what, key),
            (Content::Arrays { arrays, .. }, None) => match &arrays[..] {
                [array] => Ok(array),
                [] => Err(self.absent(what, "")),
                several => Err(ambiguous(what, "a key", &several.iter().collect::<Vec<_>>())),
            },
        };
        let array = find().map_err(|error| error.in_file(&self.path))?;
        Ok((array.info.clone(), array.read(&self.path)?))
    }

    /// The name of the labels that [`labels`](Self::labels) would read, if they have one.
    ///
    /// # Errors
    /// As [`labels`](Self::labels).
    pub fn labels_name(&self, key: Option<&str>) -> Result<Option<String>> {
        let place = self.label_place(key, false).map_err(|error| error.in_file(&self.path))?;
        Ok(match (place, &self.content) {
            (Some(LabelPlace::Array(array)), _) => array.info.name.clone(),
            (Some(LabelPlace::Columns(columns)), Content::Table(table)) => {
                columns.first().and_then(|&column| table.name(column)).map(str::to_owned)
            }
            _ => None,
        })
    }

    fn read_labels(
        &self,
        place: Result<Option<LabelPlace<'_>>>,
        classes: usize,
        renormalize: bool,
    ) -> Result<Option<Targets>> {
        let read = |place| match (place, &self.content) {
            (LabelPlace::Array(array), _) => {
                targets::of_array(&self.path, array, classes, renormalize)
            }
            (LabelPlace::Columns(columns), Content::Table(table)) => {
                targets::of_columns(table, &columns, classes, renormalize)
            }
            (LabelPlace::Columns(_), Content::Arrays { .. }) => {
                Err(self.absent("labels", "--labels-key"))
            }
        };
        place
            .and_then(|place| place.map(read).transpose())
            .map_err(|error| error.in_file(&self.path))
    }

    fn label_place(&self, key: Option<&str>, alone: bool) -> Result<Option<LabelPlace<'_>>> {
        match &self.content {
            Content::Arrays { arrays, .. } => {
                Ok(self.label_array(arrays, key, alone)?.map(LabelPlace::Array))
            }
            Content::Table(table) => {
                let columns = match table.label_columns(key)? {
                    columns if !columns.is_empty() => Some(columns),
                    _ if alone => Some((0..table.width()).collect()),
                    _ => None,
                };
                Ok(columns.map(LabelPlace::Columns))
            }
        }
    }

    fn named<'a>(&self, arrays: &'a [Array], what: &'static str, key: &str) -> Result<&'a Array> {
        let named = arrays.iter().find(|array| array.info.name.as_deref() == Some(key));
        named.ok_or_else(|| Error::NoArray {
            what: format!("array `{key}` for the {what}"),
            found: self.inventory(),
            help: "",
        })
    }

    fn score_array<'a>(
        &self,
        arrays: &'a [Array],
        kind: ScoreKind,
        key: Option<&str>,
        labels_key: Option<&str>,
    ) -> Result<&'a Array> {
        if let Some(key) = key {
            return self.named(arrays, "scores", key);
        }
        if let (Format::Npy, [array]) = (self.format, arrays) {
            return Ok(array);
        }
        // Rather than take what is not called so.
        let is_of_kind =
            |array: &&Array| is_named(array, kind.names()) && !array.info.element.is_float();
        if let Some(array) = arrays.iter().find(is_of_kind) {
            return Err(wrong_array(array, "scores of f16, bf16, f32 or f64"));
        }
        let of_axes = |axes: usize| {
            let fits = move |array: &&Array| {
                array.info.element.is_float()
                    && array.info.shape.len() == axes
                    && !is_named(array, &LABEL_NAMES)
                    && (labels_key.is_none() || array.info.name.as_deref() != labels_key)
            };
            arrays.iter().filter(fits).collect::<Vec<_>>()
        };
        let candidates = Some(of_axes(2)).filter(|found| !found.is_empty());
        let candidates = candidates.unwrap_or_else(|| of_axes(1));
        match only(&candidates, &[kind.names(), &SCORE_NAMES]) {
            Some(array) => Ok(array),
            None if candidates.is_empty() => Err(self.absent("scores", "--scores-key")),
            None => Err(ambiguous("scores", "--scores-key", &candidates)),
        }
    }

    fn label_array<'a>(
        &self,
        arrays: &'a [Array],
        key: Option<&str>,
        alone: bool,
    ) -> Result<Option<&'a Array>> {
        if let Some(key) = key {
            return self.named(arrays, "labels", key).map(Some);
        }
        if let (true, [array]) = (alone, arrays) {
            return Ok(Some(array));
        }
        let is_whole =
            |array: &&Array| !array.info.element.is_float() && array.info.shape.len() == 1;
        let named: Vec<_> = arrays.iter().filter(|array| is_named(array, &LABEL_NAMES)).collect();
        let whole: Vec<_> = named.iter().copied().filter(is_whole).collect();
        let nameless = |array: &&Array| {
            let name = array.info.name.as_deref().unwrap_or_default();
            is_whole(array) && !is_one_of(name, &SCORE_NAMES) && !names_something_else(name)
        };
        match (named.as_slice(), whole.as_slice()) {
            ([array], _) | (_, [array]) => Ok(Some(array)),
            ([], _) => match arrays.iter().filter(nameless).collect::<Vec<_>>().as_slice() {
                [] => Ok(None),
                [array] => Ok(Some(array)),
                several => Err(ambiguous("labels", "--labels-key", several)),
            },
            _ => Err(ambiguous("labels", "--labels-key", &named)),
        }
    }

    /// There is nothing in the file that could be `what`.
    fn absent(&self, what: &str, option: &'static str) -> Error {
        Error::NoArray { what: what.to_owned(), found: self.inventory(), help: option }
    }

    /// What the file holds, in words.
    fn inventory(&self) -> String {
        match &self.content {
            Content::Arrays { arrays, others } => {
                let arrays = arrays.iter().map(|array| array.info.to_string());
                let all: Vec<String> = arrays.chain(others.iter().cloned()).collect();
                if all.is_empty() { "no array".to_owned() } else { all.join(", ") }
            }
            Content::Table(table) => table.to_string(),
        }
    }
}

/// Where labels lie in a file.
enum LabelPlace<'a> {
    Array(&'a Array),
    Columns(Vec<usize>),
}

/// The columns that are no scores; a key that is not there is an error where labels are read, if they are.
fn label_columns(table: &Table, key: Option<&str>) -> Vec<usize> {
    table.label_columns(key).unwrap_or_default()
}

/// Whether an array has one of these names.
fn is_named(array: &Array, names: &[&str]) -> bool {
    let name = array.info.name.as_deref();
    name.is_some_and(|name| is_one_of(name, names))
}

/// The only candidate, or the only one with a name of the first list that has any.
fn only<'a>(candidates: &[&'a Array], lists: &[&[&str]]) -> Option<&'a Array> {
    if let [only] = candidates {
        return Some(only);
    }
    let of_list = |names: &&[&str]| {
        let named = candidates.iter().filter(|array| is_named(array, names)).copied();
        Some(named.collect::<Vec<_>>()).filter(|named| !named.is_empty())
    };
    match lists.iter().find_map(of_list)?.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

fn ambiguous(what: &'static str, option: &'static str, candidates: &[&Array]) -> Error {
    let candidates = candidates.iter().map(|array| array.info.to_string());
    Error::Ambiguous { what, candidates: candidates.collect::<Vec<_>>().join(", "), option }
}
