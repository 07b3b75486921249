//! Whole files, plain or gzip, under one of several names.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The first two bytes of every gzip file (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file that was read: where it lay, and what it held once decompressed.
pub(crate) struct Content {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    /// Parses the bytes; an error says in which file it happened.
    pub(crate) fn parse<T>(&self, parser: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        parser(&self.bytes).map_err(|error| error.in_file(&self.path))
    }
}

/// Reads `path`, decompressing it if it begins as gzip does; `None` if there is no such file.
pub(crate) fn read(path: PathBuf) -> Result<Option<Content>> {
    let raw = match fs::read(&path) {
        Ok(raw) => raw,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { action: "read", path, source }),
    };
    let bytes = decompress(raw).map_err(|error| error.in_file(&path))?;
    Ok(Some(Content { path, bytes }))
}

/// Reads the first of `names` that `folder` has, each also with `.gz` appended.
///
/// `what` and `help` go into the error if it has none.
pub(crate) fn read_first(
    folder: &Path,
    names: &[&str],
    what: &'static str,
    help: &'static str,
) -> Result<Content> {
    let mut tried = Vec::new();
    for name in names {
        for path in [folder.join(name), folder.join(format!("{name}.gz"))] {
            match read(path.clone())? {
                Some(content) => return Ok(content),
                None => tried.push(path),
            }
        }
    }
    Err(Error::Missing { what, tried, help })
}

/// The bytes themselves, or what they decompress to if they begin as gzip does.
pub(crate) fn decompress(raw: Vec<u8>) -> Result<Vec<u8>> {
    if !raw.starts_with(&GZIP_MAGIC) {
        return Ok(raw);
    }
    let mut bytes = Vec::new();
    // Reads on until the last byte, so that whatever follows the compressed data is noticed.
    flate2::read::MultiGzDecoder::new(&raw[..]).read_to_end(&mut bytes).map_err(Error::Gzip)?;
    Ok(bytes)
}
