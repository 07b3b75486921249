//! Writing scores, a block of rows at a time.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use softlabel_core::Labels;
use tempfile::NamedTempFile;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::file::Format;
use super::saved::temporary_file;
use super::targets::Targets;
use crate::{Error, Result};

/// What is going to be written.
///
/// ```
/// use softlabel_data::predictions::WrittenScores;
/// let scores = WrittenScores { name: "probs".into(), rows: 10, classes: 3, double: false };
/// assert_eq!(scores.rows * scores.classes, 30);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenScores {
    /// What the array is called, in formats with names; in CSV, what column names begin with.
    pub name: String,
    /// The number of rows.
    pub rows: usize,
    /// K, the number of classes.
    pub classes: usize,
    /// Whether to write `f64`; otherwise `f32`.
    pub double: bool,
}

/// Writes scores, with labels or without, in the format that the extension of the file's name says.
///
/// The file is written under another name and renamed when it is complete, replacing what was there.
/// An `.npy` file has no place for labels, and gets none.
///
/// ```
/// use softlabel_data::predictions::{PredictionFile, PredictionWriter, ScoreKind, WrittenScores};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("test.npz");
/// let scores = WrittenScores { name: "probs".into(), rows: 2, classes: 2, double: true };
/// let mut writer = PredictionWriter::new(&path, scores, None)?;
/// writer.write(&[0.75, 0.25])?;
/// writer.write(&[0.5, 0.5])?;
/// writer.finish()?;
///
/// let file = PredictionFile::open(&path)?;
/// assert_eq!(file.scores(ScoreKind::Probabilities, None, None)?.rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PredictionWriter<'a> {
    path: PathBuf,
    scores: WrittenScores,
    labels: Option<&'a Targets>,
    output: Output,
    /// How many numbers were written.
    written: usize,
}

#[derive(Debug)]
enum Output {
    /// Bytes of numbers, after a header.
    Plain(BufWriter<NamedTempFile>),
    Archive(Box<ZipWriter<BufWriter<NamedTempFile>>>),
    Text(BufWriter<NamedTempFile>),
}

impl<'a> PredictionWriter<'a> {
    /// Begins a file; the labels have their name first.
    ///
    /// # Errors
    /// [`Error::Format`] if the extension is unknown, [`Error::Io`] if the folder cannot be written to.
    pub fn new(
        path: &Path,
        scores: WrittenScores,
        labels: Option<(&str, &'a Targets)>,
    ) -> Result<Self> {
        let format = Format::of(path)?;
        let cannot = |source| Error::Io { action: "write", path: path.to_owned(), source };
        // The parent of a bare file name is "", which is the working folder.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = temporary_file(folder.unwrap_or(Path::new("."))).map_err(cannot)?;
        let file = BufWriter::new(file);
        let output = match format {
            Format::Npy => begin_npy(file, &scores),
            Format::Npz => begin_npz(file, &scores, labels),
            Format::Safetensors => begin_tensors(file, &scores, labels),
            Format::Csv => begin_csv(file, &scores, labels),
        };
        Ok(Self {
            path: path.to_owned(),
            output: output.map_err(cannot)?,
            scores,
            labels: labels.map(|(_, labels)| labels),
            written: 0,
        })
    }

    /// Writes some more rows.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written, [`Error::Values`] if they are no whole rows.
    pub fn write(&mut self, rows: &[f64]) -> Result<()> {
        let WrittenScores { classes, double, .. } = self.scores;
        if !rows.len().is_multiple_of(classes.max(1)) {
            let expected = format!("a multiple of {classes} classes");
            let found = format!("{} values", rows.len());
            return Err(softlabel_core::Error::mismatch("scores", expected, found).into());
        }
        let written = match &mut self.output {
            Output::Plain(writer) => write_numbers(writer, rows, double),
            Output::Archive(writer) => write_numbers(writer, rows, double),
            Output::Text(writer) => {
                let first = self.written / classes.max(1);
                write_lines(writer, rows, classes, double, self.labels, first)
            }
        };
        self.written += rows.len();
        written.map_err(|source| self.cannot(source))
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Values`] if another number of rows was written than was said.
    pub fn finish(self) -> Result<()> {
        let expected = self.scores.rows * self.scores.classes;
        if self.written != expected {
            let [expected, found] = [expected, self.written].map(|count| format!("{count} values"));
            return Err(softlabel_core::Error::mismatch("scores", expected, found).into());
        }
        let path = self.path;
        let cannot = |source| Error::Io { action: "write", path: path.clone(), source };
        let writer = match self.output {
            Output::Plain(writer) | Output::Text(writer) => writer,
            Output::Archive(writer) => writer.finish().map_err(|error| cannot(error.into()))?,
        };
        let file = writer.into_inner().map_err(|error| cannot(error.into_error()))?;
        file.as_file().sync_all().map_err(cannot)?;
        file.persist(&path).map_err(|error| cannot(error.error))?;
        Ok(())
    }

    fn cannot(&self, source: io::Error) -> Error {
        Error::Io { action: "write", path: self.path.clone(), source }
    }
}

#[allow(clippy::cast_possible_truncation)] // Single precision is what is asked for.
fn write_numbers(writer: &mut impl Write, values: &[f64], double: bool) -> io::Result<()> {
    for &value in values {
        if double {
            writer.write_all(&value.to_le_bytes())?;
        } else {
            writer.write_all(&(value as f32).to_le_bytes())?;
        }
    }
    Ok(())
}

/// Labels as the numbers that are written: their shape and their values.
fn write_labels(writer: &mut impl Write, labels: &Targets) -> io::Result<()> {
    match labels {
        Targets::Classes(labels) => labels
            .as_slice()
            .iter()
            .try_for_each(|&label| writer.write_all(&i64::from(label).to_le_bytes())),
        Targets::Distributions(rows) => write_numbers(writer, rows.as_slice(), true),
    }
}

fn shape_of(labels: &Targets) -> Vec<usize> {
    match labels {
        Targets::Classes(labels) => vec![labels.len()],
        Targets::Distributions(rows) => vec![rows.rows(), rows.classes()],
    }
}

/// Writes the header of an array of little-endian numbers.
fn npy_header(writer: &mut impl Write, element: &str, shape: &[usize]) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let kind = element.parse().map_err(io::Error::other)?;
    npyz::WriteOptions::new_header_only()
        .dtype(npyz::DType::new_scalar(kind))
        .shape(&shape)
        .writer(writer)
        .write_header_only()
        .map(|_| ())
}

fn element(double: bool) -> &'static str {
    if double { "<f8" } else { "<f4" }
}

fn begin_npy(mut file: BufWriter<NamedTempFile>, scores: &WrittenScores) -> io::Result<Output> {
    npy_header(&mut file, element(scores.double), &[scores.rows, scores.classes])?;
    Ok(Output::Plain(file))
}

fn begin_npz(
    file: BufWriter<NamedTempFile>,
    scores: &WrittenScores,
    labels: Option<(&str, &Targets)>,
) -> io::Result<Output> {
    let mut archive = ZipWriter::new(file);
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(true);
    if let Some((name, labels)) = labels {
        archive.start_file(format!("{name}.npy"), options)?;
        let element = if matches!(labels, Targets::Classes(_)) { "<i8" } else { "<f8" };
        npy_header(&mut archive, element, &shape_of(labels))?;
        write_labels(&mut archive, labels)?;
    }
    archive.start_file(format!("{}.npy", scores.name), options)?;
    npy_header(&mut archive, element(scores.double), &[scores.rows, scores.classes])?;
    Ok(Output::Archive(Box::new(archive)))
}

fn begin_tensors(
    mut file: BufWriter<NamedTempFile>,
    scores: &WrittenScores,
    labels: Option<(&str, &Targets)>,
) -> io::Result<Output> {
    let mut header = BTreeMap::new();
    let mut end = 0;
    let mut push = |name: &str, dtype, shape: Vec<usize>, size: usize| {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        header.insert(name.to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) });
    };
    if let Some((name, labels)) = labels {
        let dtype = if matches!(labels, Targets::Classes(_)) { Dtype::I64 } else { Dtype::F64 };
        push(name, dtype, shape_of(labels), 8);
    }
    let (dtype, size) = if scores.double { (Dtype::F64, 8) } else { (Dtype::F32, 4) };
    push(&scores.name, dtype, vec![scores.rows, scores.classes], size);
    let mut header = serde_json::to_vec(&header)?;
    // The values begin at a multiple of 8 bytes, for those who map files into memory.
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    if let Some((_, labels)) = labels {
        write_labels(&mut file, labels)?;
    }
    Ok(Output::Plain(file))
}

fn begin_csv(
    mut file: BufWriter<NamedTempFile>,
    scores: &WrittenScores,
    labels: Option<(&str, &Targets)>,
) -> io::Result<Output> {
    let scores = (0..scores.classes).map(|class| format!("{}_{class}", scores.name));
    let labels = match labels {
        None => Vec::new(),
        Some((name, Targets::Classes(_))) => vec![name.to_owned()],
        Some((name, Targets::Distributions(rows))) => {
            (0..rows.classes()).map(|class| format!("{name}_{class}")).collect()
        }
    };
    let names: Vec<String> = scores.chain(labels).collect();
    let mut header = csv::Writer::from_writer(&mut file);
    header.write_record(&names)?;
    header.flush()?;
    drop(header);
    Ok(Output::Text(file))
}

fn write_lines(
    writer: &mut impl Write,
    values: &[f64],
    classes: usize,
    double: bool,
    labels: Option<&Targets>,
    first: usize,
) -> io::Result<()> {
    for (position, row) in values.chunks_exact(classes.max(1)).enumerate() {
        for (class, &value) in row.iter().enumerate() {
            let comma = if class == 0 { "" } else { "," };
            if double {
                write!(writer, "{comma}{value}")?;
            } else {
                #[allow(clippy::cast_possible_truncation)] // Single precision is asked for.
                let value = value as f32;
                write!(writer, "{comma}{value}")?;
            }
        }
        let position = first + position;
        match labels {
            None => {}
            Some(Targets::Classes(labels)) => {
                write_label(writer, labels, position)?;
            }
            Some(Targets::Distributions(rows)) => {
                for value in rows.matrix().iter().nth(position).unwrap_or_default() {
                    write!(writer, ",{value}")?;
                }
            }
        }
        writeln!(writer)?;
    }
    Ok(())
}

fn write_label(writer: &mut impl Write, labels: &Labels, position: usize) -> io::Result<()> {
    match labels.as_slice().get(position) {
        Some(label) => write!(writer, ",{label}"),
        None => write!(writer, ","),
    }
}

/// Writes a file whole: under another name first, renamed once it is complete, replacing what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = |source| Error::Io { action: "write", path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = temporary_file(folder.unwrap_or(Path::new("."))).map_err(cannot)?;
    file.write_all(bytes).map_err(cannot)?;
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    Ok(())
}
