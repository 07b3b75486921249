//! A teacher's raw logits on disk, found by sample id: [`LogitCache`], and [`LogitCacheWriter`], which makes one.
//!
//! A teacher that is asked once and read from disk afterwards costs a student nothing.
//! What such caches are known to go wrong with is shut out by how this one is made:
//!
//! | mistake | here |
//! |---|---|
//! | rows and shuffled samples do not match | rows are asked for by sample id; an id that is not there is an error |
//! | the logits are another teacher's, or of other data | [`Origin`] says what they were made from, and is compared |
//! | probabilities were stored, so no temperature can be applied | raw logits are stored |
//! | a file is cut off or damaged | every file has a length and a SHA-256, both checked when the cache is opened |
//! | the program was killed while it wrote | files are written beside their place and renamed; writing goes on where it stopped |
//!
//! # Format
//!
//! A folder with `index.json` (`softlabel.logit-cache/1`: origin, encoding, number of classes, and for every shard its
//! file, length, SHA-256 and ranges of sample ids) and shards `shard-NNNNN.safetensors`, whose rows are in the order of
//! their ids:
//!
//! | [`Encoding`] | tensors of a shard | bytes a row | error of a logit |
//! |---|---|---|---|
//! | `f32` | `logits` F32 `[n, K]` | 4·K | none |
//! | `f16` | `logits` F16 `[n, K]` | 2·K | at most 2⁻¹¹ of it, 2⁻²⁵ near 0 |
//! | `top_k` | `values` F32 `[n, k]`, `classes` I32 `[n, k]`, `tail` F32 `[n]` | 8·k + 4 | none for the k largest |
//!
//! and `sample_ids` I64 `[n]` in each.
//! Of all but the k largest logits `top_k` keeps the log-sum-exp, so that at temperature 1 the k probabilities and the
//! mass of the rest are exact; where all K logits are asked for, the rest share that mass evenly.
//! Renormalizing the k instead would make a teacher out of thin air: with k = 1 it would be certain.
//!
//! ```
//! use softlabel_data::logit_cache::{Encoding, LogitCache, LogitCacheWriter, Origin};
//!
//! let folder = std::env::temp_dir().join(format!("softlabel-cache-{}", std::process::id()));
//! let origin = Origin {
//!     weights: "a1b2".into(), data: "c3d4".into(), augmentation: "none".into(), smoothing: "none".into(),
//! };
//! let mut writer = LogitCacheWriter::open(&folder, &origin, 2, Encoding::F32)?;
//! writer.write(&[7, 3], &[2.0, 0.5, -1.0, 1.0])?; // sample 7, then sample 3
//! writer.finish()?;
//!
//! let cache = LogitCache::open(&folder)?;
//! cache.check_data("c3d4")?;
//! assert_eq!(cache.rows(&[3, 7, 3])?, [-1.0, 1.0, 2.0, 0.5, -1.0, 1.0]);
//! let error = cache.rows(&[4]).unwrap_err().to_string();
//! assert!(error.contains("sample 4 is not among the 2 samples of this cache"), "{error}");
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), softlabel_data::Error>(())
//! ```

mod encoding;
mod error;
mod index;
mod read;
mod write;

pub use encoding::Encoding;
pub use error::CacheError;
pub use index::{Origin, SCHEMA};
pub use read::LogitCache;
pub use write::LogitCacheWriter;
