//! Saved predictions: logits with what is needed to judge them, as a safetensors file.
//!
//! Format: safetensors (8 bytes of header length, a JSON header, raw little-endian values), with the tensors
//!
//! | name | type | shape | meaning |
//! |---|---|---|---|
//! | `logits` | F32 | `[n, K]` | unnormalized scores |
//! | `labels` | I64 | `[n]` | true classes |
//! | `sample_ids` | I64 | `[n]` | which sample a row is about: its index in the data set |
//! | `observed_labels` | I64 | `[n]` | optional: the noisy classes that training saw instead |
//!
//! and the metadata `schema` (`softlabel.predictions/1`), `arm`, `seed` and `split`.
//! Equal predictions are equal bytes: tensors and metadata have a fixed order.
//! Other tensors and other metadata in a file are ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;
use softlabel_core::{Error as ValueError, Labels, Logits};

use super::tensors;
use super::write::replace;
use crate::{Error, Result};

/// The value of the metadata key `schema`.
pub const SCHEMA: &str = "softlabel.predictions/1";

const LOGITS: &str = "logits";
const LABELS: &str = "labels";
const SAMPLE_IDS: &str = "sample_ids";
const OBSERVED_LABELS: &str = "observed_labels";

/// Where predictions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The arm of the experiment: what was done.
    pub arm: String,
    /// The seed of the run.
    pub seed: u64,
    /// The part of the data: `train`, `validation` or `test`.
    pub split: String,
}

impl Origin {
    /// As it stands in a file.
    pub(super) fn metadata<'a>(
        &'a self,
        schema: &'a str,
        seed: &'a str,
    ) -> BTreeMap<&'static str, &'a str> {
        BTreeMap::from([
            ("schema", schema),
            ("arm", self.arm.as_str()),
            ("seed", seed),
            ("split", self.split.as_str()),
        ])
    }
}

/// Logits `[n, K]` with the labels and ids of their n samples.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_data::SavedPredictions;
/// use softlabel_data::predictions::Origin;
///
/// let origin = Origin { arm: "smoothed".into(), seed: 7, split: "test".into() };
/// let logits = Logits::new(vec![2.0, 0.0, -1.0, 1.0], 2)?;
/// let labels = Labels::new(&[0u8, 1], 2)?;
/// let predictions = SavedPredictions::new(origin, logits, labels, vec![17, 4])?;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("test.safetensors");
/// predictions.write(&path)?;
/// assert_eq!(SavedPredictions::read(&path)?, predictions);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SavedPredictions {
    origin: Origin,
    logits: Logits<'static, f32>,
    labels: Labels,
    sample_ids: Vec<usize>,
    observed_labels: Option<Labels>,
}

impl SavedPredictions {
    /// Checks that everything is about the same n samples and K classes.
    ///
    /// # Errors
    /// [`Error::Values`] if the number of labels or ids is not that of the rows of logits, or the labels count other
    /// classes.
    pub fn new(
        origin: Origin,
        logits: Logits<'static, f32>,
        labels: Labels,
        sample_ids: Vec<usize>,
    ) -> Result<Self> {
        check_labels("labels", &labels, &logits)?;
        let (rows, ids) = (logits.rows(), sample_ids.len());
        if rows != ids {
            let (expected, found) = (format!("{rows}, one a row of logits"), ids.to_string());
            return Err(ValueError::mismatch("sample ids", expected, found).into());
        }
        Ok(Self { origin, logits, labels, sample_ids, observed_labels: None })
    }

    /// Adds the labels that training saw, where they are not the true ones.
    ///
    /// # Errors
    /// [`Error::Values`] if they are not about the same n samples and K classes.
    ///
    /// ```
    /// # use softlabel_core::{Labels, Logits};
    /// # use softlabel_data::{SavedPredictions, predictions::Origin};
    /// # let origin = Origin { arm: "noisy".into(), seed: 7, split: "train".into() };
    /// # let logits = Logits::new(vec![2.0, 0.0, -1.0, 1.0], 2)?;
    /// # let predictions = SavedPredictions::new(origin, logits, Labels::new(&[0u8, 1], 2)?, vec![0, 1])?;
    /// let noisy = predictions.with_observed_labels(Labels::new(&[1u8, 1], 2)?)?;
    /// assert_eq!(noisy.observed_labels().map(Labels::as_slice), Some(&[1, 1][..]));
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn with_observed_labels(mut self, observed: Labels) -> Result<Self> {
        check_labels("observed labels", &observed, &self.logits)?;
        self.observed_labels = Some(observed);
        Ok(self)
    }

    /// Where the predictions come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The logits, `[n, K]`.
    pub fn logits(&self) -> &Logits<'static, f32> {
        &self.logits
    }

    /// The true labels, `[n]`.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Which sample each row is about, `[n]`.
    pub fn sample_ids(&self) -> &[usize] {
        &self.sample_ids
    }

    /// The labels that training saw, `[n]`, where they are not the true ones.
    pub fn observed_labels(&self) -> Option<&Labels> {
        self.observed_labels.as_ref()
    }

    /// Writes the file: under another name first, renamed once it is complete, replacing what was there.
    ///
    /// # Errors
    /// - [`Error::Io`] if the folder does not exist or cannot be written to.
    /// - [`Error::Values`] if a sample id does not fit an `i64`.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace(path, &self.to_bytes()?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// - [`Error::Io`] if it is not there or cannot be read.
    /// - [`Error::InFile`] with what is wrong in it: [`Error::Size`] if it is truncated or too long,
    ///   [`Error::Header`], [`Error::Tensor`] or [`Error::Metadata`] if it does not hold what it should,
    ///   [`Error::Values`] if lengths, labels or logits do not fit.
    pub fn read(path: &Path) -> Result<Self> {
        let cannot = |source| Error::Io { action: "read", path: PathBuf::from(path), source };
        let bytes = std::fs::read(path).map_err(cannot)?;
        Self::from_bytes(&bytes).map_err(|error| error.in_file(path))
    }

    /// The content of a file.
    ///
    /// # Errors
    /// [`Error::Values`] if a sample id does not fit an `i64`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let rows = self.logits.rows();
        let mut tensors = Tensors::default();
        tensors.push_integers(LABELS, self.labels.as_slice());
        if let Some(observed) = &self.observed_labels {
            tensors.push_integers(OBSERVED_LABELS, observed.as_slice());
        }
        let ids =
            self.sample_ids.iter().map(|&id| i64::try_from(id).map_err(|_| bad_id(id as f64)));
        tensors.push_integers(SAMPLE_IDS, &ids.collect::<Result<Vec<i64>>>()?);
        let logits = self.logits.as_slice().iter().flat_map(|value| value.to_le_bytes());
        tensors.push(LOGITS, Dtype::F32, vec![rows, self.logits.classes()], logits);

        let seed = self.origin.seed.to_string();
        tensors.into_file(self.origin.metadata(SCHEMA, &seed))
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read), without the file's name.
    ///
    /// ```
    /// use softlabel_data::{Error, SavedPredictions};
    /// let error = SavedPredictions::from_bytes(b"").unwrap_err();
    /// assert!(matches!(error, Error::Size { found: 0, .. }));
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = File::parse(bytes)?;
        let origin = file.origin(SCHEMA)?;
        let (logits, classes) = file.floats(LOGITS, "[n, K]")?;
        let logits = Logits::new(logits, classes)?;
        let labels = Labels::new(&file.integers(LABELS)?, classes)?;
        let id = |value: i64| usize::try_from(value).map_err(|_| bad_id(value as f64));
        let ids = file.integers(SAMPLE_IDS)?.into_iter().map(id).collect::<Result<_>>()?;
        let predictions = Self::new(origin, logits, labels, ids)?;
        if file.has(OBSERVED_LABELS) {
            let observed = Labels::new(&file.integers(OBSERVED_LABELS)?, classes)?;
            return predictions.with_observed_labels(observed);
        }
        Ok(predictions)
    }
}

fn check_labels(what: &'static str, labels: &Labels, logits: &Logits<'static>) -> Result<()> {
    let describe = |rows, classes| format!("{rows} of {classes} classes");
    let expected = describe(logits.rows(), logits.classes());
    let found = describe(labels.len(), labels.classes());
    if expected == found { Ok(()) } else { Err(ValueError::mismatch(what, expected, found).into()) }
}

fn bad_id(found: f64) -> Error {
    ValueError::OutOfRange { name: "sample id", expected: "in 0..2^63", found }.into()
}

/// A temporary file that, once renamed, has the permissions that any new file would have.
pub(crate) fn temporary_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// The JSON header; maps in the order of their keys, unlike the one of the safetensors crate.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<&'static str, &'a str>,
    #[serde(flatten)]
    tensors: BTreeMap<&'static str, TensorInfo>,
}

/// The values of a file, one tensor after another, and where each lies.
#[derive(Default)]
pub(crate) struct Tensors {
    infos: BTreeMap<&'static str, TensorInfo>,
    bytes: Vec<u8>,
}

impl Tensors {
    pub(crate) fn push_integers<T: Copy + Into<i64>>(&mut self, name: &'static str, values: &[T]) {
        let bytes = values.iter().flat_map(|&value| value.into().to_le_bytes());
        self.push(name, Dtype::I64, vec![values.len()], bytes);
    }

    pub(crate) fn push(
        &mut self,
        name: &'static str,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: impl Iterator<Item = u8>,
    ) {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        let data_offsets = (start, self.bytes.len());
        self.infos.insert(name, TensorInfo { dtype, shape, data_offsets });
    }

    /// The whole file; the same tensors and metadata are the same bytes.
    pub(crate) fn into_file(self, metadata: BTreeMap<&'static str, &str>) -> Result<Vec<u8>> {
        let header = Header { metadata, tensors: self.infos };
        let mut header = serde_json::to_vec(&header).map_err(Error::Header)?;
        // The values begin at a multiple of 8 bytes, for those who map files into memory.
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes()[..], &header, &self.bytes].concat())
    }
}

/// A safetensors file taken apart; the header has been checked against the size of the file.
pub(super) struct File<'a> {
    header: Metadata,
    values: &'a [u8],
}

impl<'a> File<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (header, start) = tensors::header(bytes, bytes.len() as u64)?;
        let values = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
        Ok(Self { header, values: values.unwrap_or_default() })
    }

    fn metadata(&self, key: &'static str, expected: &'static str) -> Result<&str> {
        let entry = self.header.metadata().as_ref().and_then(|entries| entries.get(key));
        let absent = || Error::Metadata { key, expected, found: "nothing".into() };
        entry.map(String::as_str).ok_or_else(absent)
    }

    fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// The bytes of a tensor that has this type, and its D sizes.
    fn tensor<const D: usize>(
        &self,
        name: &'static str,
        dtype: Dtype,
        shape: &str,
    ) -> Result<([usize; D], &'a [u8])> {
        let wrong = |found: String| {
            let expected = format!("{dtype} of shape {shape}");
            Error::Tensor { name, expected, found }
        };
        let info = self.header.info(name).ok_or_else(|| wrong("nothing".into()))?;
        let (start, end) = info.data_offsets;
        let sizes = <[usize; D]>::try_from(info.shape.as_slice());
        match (sizes, self.values.get(start..end)) {
            (Ok(sizes), Some(bytes)) if info.dtype == dtype => Ok((sizes, bytes)),
            _ => Err(wrong(format!("{} of shape {:?}", info.dtype, info.shape))),
        }
    }

    pub(super) fn integers(&self, name: &'static str) -> Result<Vec<i64>> {
        let ([_], bytes) = self.tensor(name, Dtype::I64, "[n]")?;
        Ok(bytes.as_chunks().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect())
    }

    /// A matrix, row by row, and the length of a row.
    pub(super) fn floats(&self, name: &'static str, shape: &str) -> Result<(Vec<f32>, usize)> {
        let ([_, columns], bytes) = self.tensor(name, Dtype::F32, shape)?;
        let values = bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk));
        Ok((values.collect(), columns))
    }

    /// Where the values come from, in a file of the schema.
    pub(super) fn origin(&self, schema: &'static str) -> Result<Origin> {
        let found = self.metadata("schema", schema)?;
        if found != schema {
            let found = format!("`{found}`");
            return Err(Error::Metadata { key: "schema", expected: schema, found });
        }
        let expected = "an unsigned 64-bit number";
        let seed = self.metadata("seed", expected)?;
        let bad_seed = |_| Error::Metadata { key: "seed", expected, found: format!("`{seed}`") };
        Ok(Origin {
            arm: self.metadata("arm", "a name")?.to_owned(),
            seed: seed.parse().map_err(bad_seed)?,
            split: self.metadata("split", "a name")?.to_owned(),
        })
    }
}
