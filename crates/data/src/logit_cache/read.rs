//! [`LogitCache`]: opening, checking, and finding rows.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::encoding::{Layout, place};
use super::index::{Index, Shard};
use super::{CacheError, Encoding, Origin};
use crate::predictions::header;
use crate::{Error, Fingerprint, Result};

/// Name of the tensor of sample ids in each shard.
pub(super) const SAMPLE_IDS: &str = "sample_ids";

/// A teacher's logits, found by sample id; see the [module](super).
///
/// `B` holds the bytes of a file: they are read whole by [`open`](LogitCache::open), or mapped into memory by whoever
/// calls [`open_with`](Self::open_with).
#[derive(Debug)]
pub struct LogitCache<B = Vec<u8>> {
    folder: PathBuf,
    index: Index,
    files: Vec<(B, Layout)>,
    /// Shard and row of every sample.
    places: HashMap<usize, (usize, usize)>,
}

impl LogitCache {
    /// Opens a cache and checks it: the index, and the length, SHA-256 and ids of every shard.
    ///
    /// # Errors
    /// - [`Error::Io`] if a file is not there or cannot be read.
    /// - [`Error::InFile`] with [`Error::Size`], [`CacheError::Checksum`], [`Error::Tensor`] or another error, if a file
    ///   is truncated, damaged, or not what it should be.
    /// - [`CacheError::Unfinished`] if not all samples were written.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with(folder, |path| std::fs::read(path))
    }
}

impl<B: AsRef<[u8]>> LogitCache<B> {
    /// Opens a cache whose files are made accessible by `map`: mapped into memory, say.
    ///
    /// # Errors
    /// As [`open`](LogitCache::open).
    pub fn open_with(folder: &Path, map: impl Fn(&Path) -> io::Result<B>) -> Result<Self> {
        let index = Index::read(folder)?.ok_or_else(|| {
            let path = Index::path(folder);
            Error::Io { action: "read", path, source: io::ErrorKind::NotFound.into() }
        })?;
        if !index.finished {
            let (path, samples) = (folder.to_owned(), index.samples());
            return Err(CacheError::Unfinished { path, samples }.into());
        }
        let mut cache =
            Self { folder: folder.to_owned(), places: HashMap::new(), files: Vec::new(), index };
        for (number, shard) in cache.index.shards.iter().enumerate() {
            let path = folder.join(&shard.file);
            let cannot = |source| Error::Io { action: "read", path: path.clone(), source };
            let bytes = map(&path).map_err(cannot)?;
            let layout =
                check_shard(shard, bytes.as_ref(), cache.index.encoding, cache.index.classes)
                    .map_err(|error| error.in_file(&path))?;
            for (row, sample) in shard.ids().enumerate() {
                if cache.places.insert(sample, (number, row)).is_some() {
                    let twice = Error::from(CacheError::Twice { sample });
                    return Err(twice.in_file(&Index::path(folder)));
                }
            }
            cache.files.push((bytes, layout));
        }
        Ok(cache)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the logits were made from.
    pub fn origin(&self) -> &Origin {
        &self.index.origin
    }

    /// What was kept of each row.
    pub fn encoding(&self) -> Encoding {
        self.index.encoding
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.index.classes
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.places.len()
    }

    /// Whether there are the logits of a sample.
    pub fn contains(&self, sample: usize) -> bool {
        self.places.contains_key(&sample)
    }

    /// Whether the logits are of these data.
    ///
    /// # Errors
    /// [`CacheError::Origin`] with both fingerprints if they are not.
    pub fn check_data(&self, data: &str) -> Result<()> {
        self.check(&Origin { data: data.to_owned(), ..self.index.origin.clone() })
    }

    /// Whether the logits were made from this.
    ///
    /// # Errors
    /// [`CacheError::Origin`] with the first part in which they differ.
    pub fn check(&self, expected: &Origin) -> Result<()> {
        check_origin(&self.folder, expected, &self.index.origin)
    }

    /// The logits of samples, row-major `[ids.len(), K]`, in the order of the ids.
    ///
    /// # Errors
    /// [`CacheError::UnknownSample`] with the first id that is not there.
    pub fn rows(&self, ids: &[usize]) -> Result<Vec<f32>> {
        let classes = self.index.classes;
        let mut logits = vec![0.0; ids.len() * classes];
        for (&sample, out) in ids.iter().zip(logits.chunks_exact_mut(classes)) {
            let unknown = || {
                let (path, samples) = (self.folder.clone(), self.samples());
                Error::from(CacheError::UnknownSample { path, sample, samples })
            };
            let &(shard, row) = self.places.get(&sample).ok_or_else(unknown)?;
            let (bytes, layout) = &self.files[shard];
            if !layout.decode(bytes.as_ref(), row, out) {
                let (expected, found) = (format!("row {row}"), "no such row".to_owned());
                let path = self.folder.join(&self.index.shards[shard].file);
                return Err(Error::Truncated { expected, found }.in_file(&path));
            }
        }
        Ok(logits)
    }

    /// The mean over all samples of the probability, at temperature 1, of the logits that were kept: 1 unless only the
    /// largest were.
    ///
    /// ```
    /// # use softlabel_data::logit_cache::{Encoding, LogitCache, LogitCacheWriter, Origin};
    /// # let folder = std::env::temp_dir().join(format!("softlabel-kept-{}", std::process::id()));
    /// # let text = String::new;
    /// # let origin = Origin { weights: text(), data: text(), augmentation: text(), smoothing: text() };
    /// let mut writer = LogitCacheWriter::open(&folder, &origin, 4, Encoding::TopK(1))?;
    /// writer.write(&[0], &[3f32.ln(), 0.0, 0.0, 0.0])?; // probabilities 1/2, 1/6, 1/6, 1/6
    /// writer.finish()?;
    /// assert!((LogitCache::open(&folder)?.kept_mass() - 0.5).abs() < 1e-7);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn kept_mass(&self) -> f64 {
        let masses =
            self.files.iter().zip(&self.index.shards).flat_map(|((bytes, layout), shard)| {
                let rows = 0..shard.rows().unwrap_or_default();
                rows.filter_map(|row| layout.kept_mass(bytes.as_ref(), row))
            });
        let (count, sum) = masses.fold((0usize, 0.0), |(count, sum), mass| (count + 1, sum + mass));
        if count == 0 { 1.0 } else { sum / count as f64 }
    }
}

/// Whether two origins are the same.
pub(super) fn check_origin(folder: &Path, expected: &Origin, found: &Origin) -> Result<()> {
    let Some((part, expected, found)) = expected.difference(found) else { return Ok(()) };
    let (path, expected, found) = (folder.to_owned(), expected.to_owned(), found.to_owned());
    Err(CacheError::Origin { path, part, expected, found }.into())
}

/// Whether a shard is what the index says; where its tensors lie.
pub(super) fn check_shard(
    shard: &Shard,
    bytes: &[u8],
    encoding: Encoding,
    classes: usize,
) -> Result<Layout> {
    if bytes.len() as u64 != shard.bytes {
        let expected = format!("{} bytes, as index.json says", shard.bytes);
        return Err(Error::Size { expected, found: bytes.len() });
    }
    let found = Fingerprint::of(bytes).to_string();
    if found != shard.sha256 {
        return Err(CacheError::Checksum { expected: shard.sha256.clone(), found }.into());
    }
    let (header, start) = header(bytes, bytes.len() as u64)?;
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let rows = shard.rows().unwrap_or_default();
    let ids = place(&header, start, SAMPLE_IDS, Dtype::I64, &[rows])?;
    let stored = bytes.get(ids..).unwrap_or_default().as_chunks::<8>().0.iter().take(rows);
    if !stored.map(|id| i64::from_le_bytes(*id)).eq(shard.ids().map(|id| id as i64)) {
        let (expected, found) = ("the ids of index.json".to_owned(), "others".to_owned());
        return Err(Error::Tensor { name: SAMPLE_IDS, expected, found });
    }
    encoding.layout(&header, start, rows, classes)
}
