//! One error type for data that is absent, damaged or does not fit together.

use std::io;
use std::path::{Path, PathBuf};

use crate::logit_cache::CacheError;
use crate::predictions::ArrayInfo;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong with a data set, a file or a split: what was expected, what was found, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Values do not fit their type, or each other.
    #[error(transparent)]
    Values(#[from] softlabel_core::Error),
    /// A logit cache is not what it should be, or was asked for what it does not have.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A pixel is brighter than white.
    #[error("pixel {found} in image {sample} is above the maximum value {maximum}")]
    Pixel {
        /// Index of the image.
        sample: usize,
        /// The pixel.
        found: u8,
        /// The largest value a pixel may have.
        maximum: u8,
    },
    /// A pixel is infinite or no number.
    #[error("pixel {found} in image {sample}: expected a finite number")]
    PixelNotFinite {
        /// Index of the image.
        sample: usize,
        /// The pixel.
        found: f32,
    },
    /// The label of a pixel is no class.
    #[error(
        "label of row {row}, column {column} of image {sample}: expected a class in 0..{classes}{}, found {found}",
        ignored(*ignore)
    )]
    PixelLabel {
        /// Index of the image.
        sample: usize,
        /// Row of the pixel, from 0.
        row: usize,
        /// Column of the pixel, from 0.
        column: usize,
        /// The label.
        found: i64,
        /// The class count.
        classes: usize,
        /// The label of pixels that do not count, if there is one.
        ignore: Option<i64>,
    },
    /// The content of a file is wrong.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; positions count from the start of this file.
        source: Box<Error>,
    },
    /// The operating system could not read or write a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No folder was named in which a data set could lie.
    #[error("no folder to read {dataset} from: neither `path` nor SOFTLABEL_DATA is set; {help}")]
    NoFolder {
        /// The data set.
        dataset: &'static str,
        /// How to get the data and where to put it.
        help: &'static str,
    },
    /// A file of a data set is not where it should be, under none of its names.
    #[error("{what} not found: there is no {}; {help}", list(tried))]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The files that were looked for.
        tried: Vec<PathBuf>,
        /// How to get the data and where to put it.
        help: &'static str,
    },
    /// A compressed file cannot be decompressed: truncated, damaged, or followed by something else.
    #[error("the gzip data is damaged or incomplete: {0}")]
    Gzip(#[source] io::Error),
    /// A file does not begin as its format does.
    #[error("expected {expected}, found magic number {found:#010x}")]
    Magic {
        /// The format, with its magic number.
        expected: &'static str,
        /// The first four bytes, as a big-endian number.
        found: u32,
    },
    /// A file, decompressed, is shorter or longer than its format says.
    #[error("expected {expected}, found {found} bytes")]
    Size {
        /// The size, or which sizes.
        expected: String,
        /// Number of bytes.
        found: usize,
    },
    /// A line of a text file cannot be read.
    #[error("line {line}: expected {expected}, found {found}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// What a line holds.
        expected: String,
        /// What it held.
        found: String,
    },
    /// A class has too few samples for each part of a split to get one.
    #[error(
        "class {class} has {found} samples, too few to give each part of a split one \
         (train {train}, validation {validation}, test {test})"
    )]
    ClassTooSmall {
        /// The class.
        class: usize,
        /// How many samples it has.
        found: usize,
        /// The share that stays for training.
        train: f64,
        /// The share for validation.
        validation: f64,
        /// The share for the test.
        test: f64,
    },
    /// There are too few maps for each part of a split to get one.
    #[error(
        "{found} maps are too few to give each part of a split one \
         (train {train}, validation {validation}, test {test})"
    )]
    TooFewMaps {
        /// How many there are.
        found: usize,
        /// The share that stays for training.
        train: f64,
        /// The share for validation.
        validation: f64,
        /// The share for the test.
        test: f64,
    },
    /// A test fraction was given for a data set that brings its own test set.
    #[error(
        "{dataset} brings its own test set of {samples} samples: the test fraction must be 0, found {found}"
    )]
    OwnTestSet {
        /// The data set.
        dataset: String,
        /// Size of its test set.
        samples: usize,
        /// The fraction.
        found: f64,
    },
    /// A safetensors file has a header that cannot be understood.
    #[error("not a safetensors file: {0}")]
    Header(#[source] serde_json::Error),
    /// A safetensors file lacks a tensor, or it has another type or shape.
    #[error("tensor `{name}`: expected {expected}, found {found}")]
    Tensor {
        /// The name.
        name: &'static str,
        /// Type and shape that were expected.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A safetensors file lacks an entry of its metadata, or it has another value.
    #[error("metadata `{key}`: expected {expected}, found {found}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// What was expected.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
    /// The extension of a file's name says no format.
    #[error(
        "{}: expected a file of predictions, named *.npy, *.npz, *.safetensors or *.csv",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A NumPy array has a header that cannot be understood.
    #[error("not a NumPy array: {0}")]
    Npy(#[source] io::Error),
    /// An archive of NumPy arrays cannot be understood.
    #[error("not an archive of NumPy arrays, or an incomplete one: {0}")]
    Archive(#[source] zip::result::ZipError),
    /// The content of a file is damaged, or the operating system could not read it.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// An array claims to be larger than any memory.
    #[error("the header claims an array that is larger than any memory")]
    TooLarge,
    /// There are fewer or more bytes than the header says.
    #[error("incomplete or damaged: expected {expected}, found {found}")]
    Truncated {
        /// How much there should be.
        expected: String,
        /// How much there is.
        found: String,
    },
    /// The elements of an array are no numbers that are understood.
    #[error("expected numbers, found elements of type {found}: {help}")]
    ElementType {
        /// The array.
        name: String,
        /// The type of its elements.
        found: String,
        /// How to save it otherwise.
        help: &'static str,
    },
    /// The content of an array is wrong.
    #[error("array `{name}`: {source}")]
    InArray {
        /// The name of the array.
        name: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A line of a text file is wrong.
    #[error("line {line}: {source}")]
    InLine {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong in it.
        source: Box<Error>,
    },
    /// A file does not have what was looked for.
    #[error("no {what} in the file, which has {found}{}", name_with(help))]
    NoArray {
        /// What was looked for.
        what: String,
        /// What the file has.
        found: String,
        /// The option that names it, or nothing.
        help: &'static str,
    },
    /// Several arrays could be what was looked for.
    #[error("several arrays could be the {what}: {candidates}; name one with {option}")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// The arrays.
        candidates: String,
        /// The option that names it.
        option: &'static str,
    },
    /// An array has another type or shape than it must have.
    #[error("expected {expected}, found {found}")]
    Array {
        /// What was expected.
        expected: String,
        /// The array.
        found: String,
    },
}

impl Error {
    /// Says in which array of which file it happened.
    pub(crate) fn in_array(self, array: &ArrayInfo, path: &Path) -> Self {
        let error = match &array.name {
            Some(name) => Self::InArray { name: name.clone(), source: Box::new(self) },
            None => self,
        };
        error.in_file(path)
    }

    /// Says in which file it happened.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}

fn ignored(label: Option<i64>) -> String {
    label.map_or_else(String::new, |label| format!(" or the ignored {label}"))
}

fn name_with(option: &str) -> String {
    if option.is_empty() { String::new() } else { format!("; name it with {option}") }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", no ")
}
