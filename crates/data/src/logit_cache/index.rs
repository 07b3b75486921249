//! `index.json`: what the cache was made from, and which samples lie in which shard.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CacheError, Encoding};
use crate::predictions::replace;
use crate::{Error, Fingerprint, Result};

/// The schema of the index that this version writes and reads.
pub const SCHEMA: &str = "softlabel.logit-cache/1";

/// What logits were made from, each part a fingerprint or a few words; two are the same if all parts are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The teacher's weights.
    pub weights: String,
    /// The samples that it was asked about.
    pub data: String,
    /// What was done to them.
    pub augmentation: String,
    /// What the teacher was trained on.
    pub smoothing: String,
}

impl Origin {
    /// One fingerprint of all parts.
    ///
    /// ```
    /// use softlabel_data::logit_cache::Origin;
    /// let part = |text: &str| text.to_owned();
    /// let origin = Origin { weights: part("a"), data: part("b"), augmentation: part(""), smoothing: part("") };
    /// let other = Origin { weights: part("ab"), data: part(""), ..origin.clone() };
    /// assert_ne!(origin.fingerprint(), other.fingerprint());
    /// ```
    pub fn fingerprint(&self) -> Fingerprint {
        let mut text = String::new();
        for (_, part) in self.parts() {
            // The length first, so that no two origins run into the same text.
            let _ = write!(text, "{}:{part}", part.len());
        }
        Fingerprint::of(text.as_bytes())
    }

    fn parts(&self) -> [(&'static str, &str); 4] {
        let Self { weights, data, augmentation, smoothing } = self;
        [
            ("weights", weights),
            ("data", data),
            ("augmentation", augmentation),
            ("smoothing", smoothing),
        ]
    }

    /// The first part in which two differ: its name, and both.
    pub(super) fn difference<'a>(
        &'a self,
        other: &'a Self,
    ) -> Option<(&'static str, &'a str, &'a str)> {
        let mut pairs = self.parts().into_iter().zip(other.parts());
        let pair = pairs.find(|(ours, theirs)| ours.1 != theirs.1)?;
        Some((pair.0.0, pair.0.1, pair.1.1))
    }
}

/// The whole index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) schema: String,
    /// [`Origin::fingerprint`], for people.
    pub(super) fingerprint: String,
    pub(super) origin: Origin,
    pub(super) classes: usize,
    pub(super) encoding: Encoding,
    /// Whether all samples are there.
    pub(super) finished: bool,
    pub(super) shards: Vec<Shard>,
    /// Of the index without it.
    pub(super) sha256: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shard {
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// First and last id of each run of ids without a gap, ascending: the rows are in this order.
    pub(super) samples: Vec<[usize; 2]>,
}

impl Shard {
    /// The ids, in the order of the rows.
    pub(super) fn ids(&self) -> impl Iterator<Item = usize> {
        self.samples.iter().flat_map(|&[first, last]| first..=last)
    }

    /// How many ids there are, if so many can be counted; the ranges are ascending.
    pub(super) fn rows(&self) -> Option<usize> {
        let mut ranges = self.samples.iter();
        ranges
            .try_fold(0usize, |sum, [first, last]| sum.checked_add((last - first).checked_add(1)?))
    }
}

/// Runs of ascending ids.
pub(super) fn runs(ids: impl IntoIterator<Item = usize>) -> Vec<[usize; 2]> {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some([_, last]) if last.checked_add(1) == Some(id) => *last = id,
            _ => runs.push([id, id]),
        }
    }
    runs
}

impl Index {
    pub(super) fn new(origin: Origin, classes: usize, encoding: Encoding) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            fingerprint: origin.fingerprint().to_string(),
            origin,
            classes,
            encoding,
            finished: false,
            shards: Vec::new(),
            sha256: String::new(),
        }
    }

    /// The same with the checksum of what it holds.
    fn sealed(&self) -> Result<Self, CacheError> {
        let open = Self { sha256: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&open).map_err(CacheError::Index)?;
        Ok(Self { sha256: Fingerprint::of(&text).to_string(), ..open })
    }

    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("index.json")
    }

    /// Reads the index of a folder and checks all that can be checked without the shards; none if there is no file.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = Self::path(folder);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        };
        Self::parse(&bytes).map(Some).map_err(|error| Error::from(error).in_file(&path))
    }

    fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        // The schema before the rest, so that a newer version is named as such.
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(CacheError::Index)?;
        let schema = value.get("schema").and_then(serde_json::Value::as_str).unwrap_or("none");
        if schema != SCHEMA {
            return Err(CacheError::Malformed(format!("expected schema {SCHEMA}, found {schema}")));
        }
        let index: Self = serde_json::from_value(value).map_err(CacheError::Index)?;
        index.encoding.check(index.classes).map_err(CacheError::Malformed)?;
        let shards = index.shards.iter();
        for shard in shards {
            let Shard { file, bytes, samples, .. } = shard;
            // A name, no way out of the folder.
            if Path::new(file).file_name().is_none_or(|name| name != file.as_str()) {
                return Err(CacheError::Malformed(format!("`{file}` is no name of a file")));
            }
            let ascend = samples.iter().all(|[first, last]| first <= last)
                && samples.windows(2).all(|pair| pair[0][1] < pair[1][0]);
            // Each row has an id of 8 bytes.
            let fits = || shard.rows().is_some_and(|rows| rows as u64 <= bytes / 8);
            if !ascend || !fits() {
                let message = format!("the samples of `{file}` are no ascending ranges");
                return Err(CacheError::Malformed(message));
            }
        }
        let expected = index.sealed()?.sha256;
        if expected != index.sha256 {
            return Err(CacheError::Checksum { expected, found: index.sha256 });
        }
        Ok(index)
    }

    /// Writes the index beside its place and renames it.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec(&self.sealed()?).map_err(CacheError::Index)?;
        text.push(b'\n');
        replace(&Self::path(folder), &text)
    }

    pub(super) fn samples(&self) -> usize {
        self.shards.iter().filter_map(Shard::rows).sum()
    }
}
