//! Saved features: what the last layer of a network sees of some samples, as a safetensors file.
//!
//! | name | type | shape | meaning |
//! |---|---|---|---|
//! | `features` | F32 | `[n, D]` | the input of the last layer |
//! | `labels` | I64 | `[n]` | true classes |
//! | `classes` | I64 | `[C]` | the classes that the samples are of |
//! | `templates` | F32 | `[C, D]` | the last layer's weights of these classes |
//!
//! and the metadata `schema` (`softlabel.features/1`), `arm`, `seed` and `split`.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use softlabel_core::Error as ValueError;

use super::saved::{File, Origin, Tensors};
use crate::{Error, Result};

/// The value of the metadata key `schema`.
const SCHEMA: &str = "softlabel.features/1";

const FEATURES: &str = "features";
const LABELS: &str = "labels";
const CLASSES: &str = "classes";
const TEMPLATES: &str = "templates";

/// Features `[n, D]` of samples of some classes, and the templates `[C, D]` of these.
///
/// A network's logit of a class is the inner product of a sample's features with the class's template, but for a
/// constant: how features lie about the templates is what the network knows of the samples.
///
/// ```
/// use softlabel_data::predictions::{Origin, SavedFeatures};
///
/// let origin = Origin { arm: "smoothed".into(), seed: 7, split: "test".into() };
/// let (features, templates) = (vec![0.0, 1.0, 2.0, 3.0], vec![1.0, 0.0, 0.0, 1.0]);
/// let saved = SavedFeatures::new(origin, features, vec![8, 3], vec![3, 8], templates)?;
/// assert_eq!(saved.width(), 2);
/// assert_eq!(SavedFeatures::from_bytes(&saved.to_bytes()?)?, saved);
/// assert_eq!(saved.rows().next(), Some((8, &[0.0, 1.0][..])));
/// # Ok::<(), softlabel_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SavedFeatures {
    origin: Origin,
    features: Vec<f32>,
    labels: Vec<usize>,
    classes: Vec<usize>,
    templates: Vec<f32>,
}

impl SavedFeatures {
    /// Checks that the shapes go together and each label is one of the classes.
    ///
    /// # Errors
    /// [`Error::Values`] if they do not.
    pub fn new(
        origin: Origin,
        features: Vec<f32>,
        labels: Vec<usize>,
        classes: Vec<usize>,
        templates: Vec<f32>,
    ) -> Result<Self> {
        let width = templates.len().checked_div(classes.len()).unwrap_or_default();
        let check = |what, expected: usize, found: usize| {
            if expected == found {
                return Ok(());
            }
            Err(ValueError::mismatch(what, expected.to_string(), found.to_string()))
        };
        check("values of templates", width.max(1) * classes.len().max(1), templates.len())?;
        check("values of features", width * labels.len(), features.len())?;
        if let Some(label) = labels.iter().find(|label| !classes.contains(label)) {
            let expected = format!("one of {classes:?}");
            return Err(
                ValueError::mismatch("label of features", expected, label.to_string()).into()
            );
        }
        Ok(Self { origin, features, labels, classes, templates })
    }

    /// Where the features come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// D, the number of features of a sample.
    pub fn width(&self) -> usize {
        self.templates.len() / self.classes.len()
    }

    /// The classes, in the order of their templates.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// The template of each class, in their order.
    pub fn templates(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.templates.chunks_exact(self.width())
    }

    /// Label and features of each sample.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (usize, &[f32])> {
        self.labels.iter().copied().zip(self.features.chunks_exact(self.width()))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not there or cannot be read, [`Error::InFile`] with what is wrong in it.
    pub fn read(path: &Path) -> Result<Self> {
        let cannot = |source| Error::Io { action: "read", path: PathBuf::from(path), source };
        let bytes = std::fs::read(path).map_err(cannot)?;
        Self::from_bytes(&bytes).map_err(|error| error.in_file(path))
    }

    /// The content of a file.
    ///
    /// # Errors
    /// [`Error::Values`] if a class does not fit an `i64`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let integers = |classes: &[usize]| {
            let integer = |&class| i64::try_from(class).map_err(|_| bad_class(class as f64));
            classes.iter().map(integer).collect::<Result<Vec<i64>>>()
        };
        let bytes = |values: &[f32]| -> Vec<u8> {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        let width = self.width();
        let mut tensors = Tensors::default();
        tensors.push_integers(CLASSES, &integers(&self.classes)?);
        tensors.push_integers(LABELS, &integers(&self.labels)?);
        let shape = vec![self.labels.len(), width];
        tensors.push(FEATURES, Dtype::F32, shape, bytes(&self.features).into_iter());
        let shape = vec![self.classes.len(), width];
        tensors.push(TEMPLATES, Dtype::F32, shape, bytes(&self.templates).into_iter());
        tensors.into_file(self.origin.metadata(SCHEMA, &self.origin.seed.to_string()))
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read), without the file's name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = File::parse(bytes)?;
        let origin = file.origin(SCHEMA)?;
        let class = |value: i64| usize::try_from(value).map_err(|_| bad_class(value as f64));
        let integers =
            |name| file.integers(name)?.into_iter().map(class).collect::<Result<Vec<usize>>>();
        let (features, _) = file.floats(FEATURES, "[n, D]")?;
        let (templates, _) = file.floats(TEMPLATES, "[C, D]")?;
        Self::new(origin, features, integers(LABELS)?, integers(CLASSES)?, templates)
    }
}

fn bad_class(found: f64) -> Error {
    ValueError::OutOfRange { name: "class", expected: "in 0..2^63", found }.into()
}
