//! [`LogitCacheWriter`]: a shard at a time, none of them half.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use softlabel_core::Error as ValueError;

use super::index::{Index, SCHEMA, Shard, runs};
use super::read::{SAMPLE_IDS, check_origin, check_shard};
use super::{CacheError, Encoding, Origin};
use crate::predictions::replace;
use crate::{Error, Fingerprint, Result};

/// Makes a logit cache, or goes on with one that was begun; see the [module](super).
///
/// The folder is locked for as long as the writer lives. Each shard is written beside its place, renamed, and only then
/// entered into the index, which is renamed as well: whenever the program is killed, what the index names is whole.
#[derive(Debug)]
pub struct LogitCacheWriter {
    folder: PathBuf,
    index: Index,
    written: HashSet<usize>,
    _lock: File,
}

impl LogitCacheWriter {
    /// Begins a cache in a folder, which is made if it is not there, or goes on with the one in it.
    ///
    /// The shards that are there are checked as when a cache is opened. One that is gone is forgotten: its samples
    /// are [missing](Self::missing) again.
    ///
    /// # Errors
    /// - [`CacheError::Origin`] if there is a cache that was made from something else, or holds something else.
    /// - [`CacheError::InUse`] if another writer is at work.
    /// - [`Error::Values`] for a number of classes, or a k, that cannot be.
    /// - What is wrong with a shard that is damaged, [`Error::InFile`]; remove that file to have it made again.
    pub fn open(
        folder: &Path,
        origin: &Origin,
        classes: usize,
        encoding: Encoding,
    ) -> Result<Self> {
        check_encoding(encoding, classes)?;
        let cannot = |action| move |source| Error::Io { action, path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(cannot("create"))?;
        let lock = File::open(folder).map_err(cannot("open"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CacheError::InUse { path: folder.to_owned() }.into());
            }
            Err(TryLockError::Error(source)) => return Err(cannot("lock")(source)),
        }
        let index = match Index::read(folder)? {
            None => Index::new(origin.clone(), classes, encoding),
            Some(index) => going_on(folder, index, origin, classes, encoding)?,
        };
        index.write(folder)?;
        let written = index.shards.iter().flat_map(Shard::ids).collect();
        Ok(Self { folder: folder.to_owned(), index, written, _lock: lock })
    }

    /// Whether a teacher of yet unknown weights may go on with what is in a folder, if anything is: all but the weights is
    /// compared, and nothing is written.
    ///
    /// # Errors
    /// As [`open`](Self::open), of what is known before a teacher is trained.
    ///
    /// ```
    /// use softlabel_data::logit_cache::{Encoding, LogitCacheWriter, Origin};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let part = |text: &str| text.to_owned();
    /// let origin = Origin { weights: part("a"), data: part("b"), augmentation: part(""), smoothing: part("") };
    /// LogitCacheWriter::open(folder.path(), &origin, 3, Encoding::F32)?;
    /// let unknown = Origin { weights: part(""), ..origin.clone() };
    /// assert!(LogitCacheWriter::check(folder.path(), &unknown, 3, Encoding::F32).is_ok());
    /// assert!(LogitCacheWriter::check(folder.path(), &unknown, 3, Encoding::F16).is_err());
    /// let other = Origin { data: part("c"), ..origin };
    /// assert!(LogitCacheWriter::check(folder.path(), &other, 3, Encoding::F32).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(folder: &Path, origin: &Origin, classes: usize, encoding: Encoding) -> Result<()> {
        check_encoding(encoding, classes)?;
        let Some(index) = Index::read(folder)? else { return Ok(()) };
        let origin = Origin { weights: index.origin.weights.clone(), ..origin.clone() };
        check_same(folder, &index, &origin, classes, encoding)
    }

    /// Those of some samples that were not written yet, in their order, each once.
    pub fn missing(&self, ids: &[usize]) -> Vec<usize> {
        let mut seen = HashSet::new();
        let missing = ids.iter().copied().filter(|id| !self.written.contains(id));
        missing.filter(|id| seen.insert(*id)).collect()
    }

    /// How many samples were written.
    pub fn samples(&self) -> usize {
        self.written.len()
    }

    /// Writes logits `[ids.len(), K]`, row-major, as one shard.
    ///
    /// # Errors
    /// - [`CacheError::Twice`] for a sample that is there already, or comes twice.
    /// - [`CacheError::Logit`] with the sample whose logits are not finite, or beyond what half precision holds.
    /// - [`Error::Values`] if there are not K logits for every sample, or no samples.
    /// - [`Error::Io`] if a file cannot be written; the cache is then as it was before.
    pub fn write(&mut self, ids: &[usize], logits: &[f32]) -> Result<()> {
        let classes = self.index.classes;
        if ids.is_empty() {
            return Err(ValueError::Empty { what: "a shard of a logit cache" }.into());
        }
        if ids.len().checked_mul(classes) != Some(logits.len()) {
            let expected = format!("{} rows of {classes}", ids.len());
            let found = format!("{} values", logits.len());
            return Err(ValueError::mismatch("teacher logits", expected, found).into());
        }
        let mut rows: Vec<(usize, &[f32])> =
            ids.iter().copied().zip(logits.chunks_exact(classes)).collect();
        rows.sort_by_key(|(id, _)| *id);
        let twice = rows.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0);
        let twice = twice.or_else(|| ids.iter().copied().find(|id| self.written.contains(id)));
        if let Some(sample) = twice {
            return Err(CacheError::Twice { sample }.into());
        }
        let (ids, rows): (Vec<usize>, Vec<&[f32]>) = rows.into_iter().unzip();
        let mut tensors = self.index.encoding.encode(&ids, &rows, classes)?;
        let stored = ids.iter().map(|&id| {
            let too_large = ValueError::OutOfRange {
                name: "sample id",
                expected: "in 0..2^63",
                found: id as f64,
            };
            i64::try_from(id).map_err(|_| Error::from(too_large))
        });
        tensors.push_integers(SAMPLE_IDS, &stored.collect::<Result<Vec<i64>>>()?);
        let metadata =
            BTreeMap::from([("schema", SCHEMA), ("fingerprint", self.index.fingerprint.as_str())]);
        let bytes = tensors.into_file(metadata)?;
        let file = self.free_name();
        replace(&self.folder.join(&file), &bytes)?;
        let (length, sha256) = (bytes.len() as u64, Fingerprint::of(&bytes).to_string());
        let samples = runs(ids.iter().copied());
        let mut index = self.index.clone();
        index.finished = false;
        index.shards.push(Shard { file, bytes: length, sha256, samples });
        index.write(&self.folder)?;
        self.index = index;
        self.written.extend(ids);
        Ok(())
    }

    /// Says that all samples are there: from now on the cache can be opened.
    ///
    /// # Errors
    /// [`Error::Values`] if there are none, [`Error::Io`] if the index cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if self.written.is_empty() {
            return Err(ValueError::Empty { what: "a logit cache" }.into());
        }
        self.index.finished = true;
        self.index.write(&self.folder)
    }

    /// The first name that no shard of the index has; what a kill left under it is replaced.
    fn free_name(&self) -> String {
        let name = |number: usize| format!("shard-{number:05}.safetensors");
        let taken = |name: &String| self.index.shards.iter().any(|shard| shard.file == *name);
        let mut numbers = self.index.shards.len()..;
        numbers
            .find_map(|number| Some(name(number)).filter(|name| !taken(name)))
            .unwrap_or_default()
    }
}

/// The index of a cache that was begun, if it is of the same kind, without the shards that are gone.
fn going_on(
    folder: &Path,
    mut index: Index,
    origin: &Origin,
    classes: usize,
    encoding: Encoding,
) -> Result<Index> {
    check_same(folder, &index, origin, classes, encoding)?;
    let mut shards = Vec::new();
    for shard in index.shards {
        let path = folder.join(&shard.file);
        match fs::read(&path) {
            Ok(bytes) => {
                check_shard(&shard, &bytes, encoding, classes)
                    .map_err(|error| error.in_file(&path))?;
                shards.push(shard);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => index.finished = false,
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        }
    }
    index.shards = shards;
    Ok(index)
}

/// Whether what an index is of is what is to be written.
fn check_same(
    folder: &Path,
    index: &Index,
    origin: &Origin,
    classes: usize,
    encoding: Encoding,
) -> Result<()> {
    check_origin(folder, origin, &index.origin)?;
    let kind = |classes, encoding: Encoding| format!("{classes} classes as {encoding}");
    let (expected, found) = (kind(classes, encoding), kind(index.classes, index.encoding));
    if expected == found {
        return Ok(());
    }
    let (path, part) = (folder.to_owned(), "logits of");
    Err(CacheError::Origin { path, part, expected, found }.into())
}

fn check_encoding(encoding: Encoding, classes: usize) -> Result<()> {
    if encoding.check(classes).is_ok() {
        return Ok(());
    }
    let expected = format!("fewer than the classes, and at least 1, of which there are {classes}");
    Err(ValueError::mismatch("k of a logit cache", expected, encoding.to_string()).into())
}
