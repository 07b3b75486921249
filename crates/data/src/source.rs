//! Which data set, by name, and where it lies: the part of a recipe that names the data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Data, Error, MapFiles, Result, cifar10, digit_maps, digits, idx, read_maps};

/// A data set by name, and where its files are.
///
/// In a file, `dataset` is `digits`, `mnist`, `cifar10`, `digit_maps` or `maps`. `mnist` and `cifar10` may have a `path`
/// to the folder with their files, and `mnist`, which reads any data set in MNIST's format, a number of `classes`.
/// `maps` has the keys of [`MapFiles`].
///
/// ```
/// use softlabel_data::Source;
///
/// let source: Source = toml::from_str(r#"dataset = "digits""#)?;
/// assert_eq!(source, Source::Digits);
///
/// let source: Source = toml::from_str(
///     r#"
///     dataset = "mnist"
///     path = "letters"
///     classes = 26
///     "#,
/// )?;
/// assert_eq!(source, Source::Mnist { path: Some("letters".into()), classes: 26 });
///
/// let error = toml::from_str::<Source>(r#"dataset = "imagenet""#).unwrap_err();
/// assert!(error.message().contains("expected one of `digits`, `mnist`, `cifar10`, "));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Flat", into = "Flat")]
pub enum Source {
    /// The digits that come with this crate: [`digits()`].
    Digits,
    /// A folder of the MNIST family: [`idx::read_folder`].
    Mnist {
        /// The folder; without it, `mnist` in the data folder.
        path: Option<PathBuf>,
        /// The class count.
        classes: usize,
    },
    /// CIFAR-10 in its binary version: [`cifar10::read_folder`].
    Cifar10 {
        /// The folder; without it, `cifar10` in the data folder.
        path: Option<PathBuf>,
    },
    /// Maps made of the digits that come with this crate: [`digit_maps()`].
    DigitMaps,
    /// Images whose pixels each have a label: [`read_maps`].
    Maps(MapFiles),
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Digits,
    Mnist,
    Cifar10,
    DigitMaps,
    Maps,
}

/// [`Source`] as it is written: a flat table, whose errors point at the line they are about.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    dataset: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore: Option<i64>,
}

impl Flat {
    fn of(dataset: Name) -> Self {
        Self {
            dataset,
            path: None,
            images: None,
            images_key: None,
            labels: None,
            labels_key: None,
            classes: None,
            ignore: None,
        }
    }

    /// Whether there is a key that maps alone have.
    fn has_keys_of_maps(&self) -> bool {
        let Self { images, images_key, labels, labels_key, ignore, .. } = self;
        let files = images.is_some() || labels.is_some();
        files || images_key.is_some() || labels_key.is_some() || ignore.is_some()
    }
}

impl TryFrom<Flat> for Source {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Self, String> {
        let built_in = |name: &str, what: &str| {
            Err(format!(
                "the {what} are built in: `dataset = \"{name}\"` takes no `path` and no `classes`"
            ))
        };
        if flat.has_keys_of_maps() && flat.dataset != Name::Maps {
            return Err(
                "`images`, `labels`, their keys and `ignore` go with `dataset = \"maps\"` alone"
                    .into(),
            );
        }
        match flat {
            Flat { dataset: Name::Digits, path: None, classes: None, .. } => Ok(Self::Digits),
            Flat { dataset: Name::Digits, .. } => built_in("digits", "digits"),
            Flat { dataset: Name::DigitMaps, path: None, classes: None, .. } => Ok(Self::DigitMaps),
            Flat { dataset: Name::DigitMaps, .. } => built_in("digit_maps", "maps of digits"),
            Flat { dataset: Name::Mnist, path, classes, .. } => {
                Ok(Self::Mnist { path, classes: classes.unwrap_or(idx::DEFAULT_CLASSES) })
            }
            Flat { dataset: Name::Cifar10, path, classes: None, .. } => Ok(Self::Cifar10 { path }),
            Flat { dataset: Name::Cifar10, .. } => {
                Err("CIFAR-10 has 10 classes: `dataset = \"cifar10\"` takes no `classes`".into())
            }
            Flat {
                dataset: Name::Maps,
                path: None,
                images: Some(images),
                images_key,
                labels: Some(labels),
                labels_key,
                classes: Some(classes),
                ignore,
            } => {
                let files = MapFiles { images, images_key, labels, labels_key, classes, ignore };
                Ok(Self::Maps(files))
            }
            Flat { dataset: Name::Maps, .. } => {
                Err("`dataset = \"maps\"` takes the files `images` and `labels` and a number of `classes`, and no `path`".into())
            }
        }
    }
}

impl From<Source> for Flat {
    fn from(source: Source) -> Self {
        match source {
            Source::Digits => Self::of(Name::Digits),
            Source::DigitMaps => Self::of(Name::DigitMaps),
            Source::Mnist { path, classes } => {
                Self { path, classes: Some(classes), ..Self::of(Name::Mnist) }
            }
            Source::Cifar10 { path } => Self { path, ..Self::of(Name::Cifar10) },
            Source::Maps(MapFiles { images, images_key, labels, labels_key, classes, ignore }) => {
                Self {
                    images: Some(images),
                    images_key,
                    labels: Some(labels),
                    labels_key,
                    classes: Some(classes),
                    ignore,
                    ..Self::of(Name::Maps)
                }
            }
        }
    }
}

impl Source {
    /// The name of the data set, as it is written in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist { .. } => "mnist",
            Self::Cifar10 { .. } => "cifar10",
            Self::DigitMaps => "digit_maps",
            Self::Maps(_) => "maps",
        }
    }

    /// Whether each pixel has a label, not each image.
    pub fn is_of_maps(&self) -> bool {
        matches!(self, Self::DigitMaps | Self::Maps(_))
    }

    /// Reads the data.
    ///
    /// The folder is `path` if there is one, used as it is written, else the folder called like the data set in
    /// `root`, which is what the program found in `SOFTLABEL_DATA`.
    /// A data set of the MNIST family that has a `path` is called like its folder, not `mnist`.
    ///
    /// # Errors
    /// - [`Error::NoFolder`] if files are needed and there is neither a `path` nor a `root`.
    /// - [`Error::Missing`] if a file is not there, with all places where it was looked for and how to get it.
    /// - What reading finds wrong: see [`idx::read_folder`], [`cifar10::read_folder`] and [`read_maps`].
    ///
    /// ```
    /// use softlabel_data::{Error, Source};
    ///
    /// let data = Source::Digits.load(None)?;
    /// assert_eq!(data.pool().len(), 1797);
    /// assert!(data.test().is_none());
    ///
    /// let error = Source::Cifar10 { path: None }.load(None).unwrap_err();
    /// assert!(matches!(error, Error::NoFolder { dataset: "CIFAR-10", .. }));
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn load(&self, root: Option<&Path>) -> Result<Data> {
        let folder = |path: &Option<PathBuf>, dataset, help| {
            let in_root = || root.map(|root| root.join(self.name()));
            path.clone().or_else(in_root).ok_or(Error::NoFolder { dataset, help })
        };
        match self {
            Self::Digits => Data::new(digits()?, None),
            Self::DigitMaps => Data::new(digit_maps()?, None),
            Self::Maps(files) => Data::new(read_maps(files)?, None),
            Self::Mnist { path, classes } => {
                let folder = folder(path, "MNIST", idx::HELP)?;
                let named = path.as_deref().and_then(Path::file_name);
                let name = named.map_or(self.name().into(), |name| name.to_string_lossy());
                idx::read_folder(&folder, &name, *classes)
            }
            Self::Cifar10 { path } => {
                cifar10::read_folder(&folder(path, "CIFAR-10", cifar10::HELP)?)
            }
        }
    }
}
