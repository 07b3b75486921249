//! An array in a file, and its bytes, a block of rows at a time.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::element::{Numbers, swap_bytes};
use super::file::ArrayInfo;
use super::npy;
use crate::{Error, Result};

/// How many bytes of an array are read at a time, if a row is not longer.
const BLOCK_BYTES: usize = 16 << 20;

/// An array whose header was read.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    pub(crate) info: ArrayInfo,
    /// Whether the first axis varies fastest.
    pub(crate) fortran: bool,
    pub(crate) big_endian: bool,
    pub(crate) place: Place,
}

/// Where the elements of an array lie.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In the file, from some byte on.
    Bytes { start: u64 },
    /// In a member of a zip archive, after a header.
    Member { index: usize },
}

impl Array {
    /// How many elements it has along the first axis.
    pub(crate) fn rows(&self) -> usize {
        self.info.shape.first().copied().unwrap_or(1)
    }

    /// How many elements a row has.
    pub(crate) fn width(&self) -> usize {
        self.info.shape.iter().skip(1).product()
    }

    /// Hands all elements to `take`, some rows at a time, with the position of the first of them.
    ///
    /// An array in Fortran order is held in memory, as its rows are not contiguous.
    pub(crate) fn for_each_block<E: From<Error>>(
        &self,
        path: &Path,
        take: &mut dyn FnMut(usize, Numbers) -> Result<(), E>,
    ) -> Result<(), E> {
        let cannot = |source| Error::Io { action: "read", path: path.to_owned(), source };
        let file = File::open(path).map_err(cannot)?;
        match self.place {
            Place::Bytes { start } => {
                let mut file = file;
                file.seek(SeekFrom::Start(start)).map_err(cannot)?;
                self.blocks_of(&mut file, path, take)
            }
            Place::Member { index } => {
                let mut archive = npy::archive(file).map_err(|error| error.in_file(path))?;
                let mut member =
                    archive.by_index(index).map_err(|error| Error::Archive(error).in_file(path))?;
                npy::skip_header(&mut member).map_err(|error| error.in_file(path))?;
                self.blocks_of(&mut member, path, take)
            }
        }
    }

    fn blocks_of<E: From<Error>>(
        &self,
        mut reader: impl Read,
        path: &Path,
        take: &mut dyn FnMut(usize, Numbers) -> Result<(), E>,
    ) -> Result<(), E> {
        let ArrayInfo { element, .. } = self.info;
        let (rows, width) = (self.rows(), self.width());
        let row_bytes = width * element.size();
        let at_once = if self.fortran && self.info.shape.len() > 1 {
            rows
        } else {
            (BLOCK_BYTES / row_bytes.max(1)).clamp(1, rows.max(1))
        };
        let mut bytes = Vec::new();
        let mut first = 0;
        while first < rows {
            let count = at_once.min(rows - first);
            bytes.clear();
            // Grows as bytes come, so that a size that a header only claims is not allocated.
            let read = reader.by_ref().take((count * row_bytes) as u64).read_to_end(&mut bytes);
            read.map_err(|source| Error::Unreadable(source).in_array(&self.info, path))?;
            if bytes.len() < count * row_bytes {
                let found = format!("{} bytes", first * row_bytes + bytes.len());
                let expected = format!("{} bytes of {}", rows * row_bytes, self.info);
                return Err(Error::Truncated { expected, found }.in_array(&self.info, path).into());
            }
            if self.big_endian {
                swap_bytes(element, &mut bytes);
            }
            if self.fortran && self.info.shape.len() > 1 {
                bytes = transposed(&bytes, rows, width, element.size());
            }
            take(first, Numbers::from_bytes(element, &bytes))?;
            first += count;
        }
        // A compressed or stored member is checked against its sum once its end is reached.
        let end = reader.read(&mut [0]);
        end.map_err(|source| Error::Unreadable(source).in_array(&self.info, path))?;
        Ok(())
    }

    /// All elements.
    pub(crate) fn read(&self, path: &Path) -> Result<Numbers> {
        let mut all: Option<Numbers> = None;
        self.for_each_block(path, &mut |_, block| -> Result<()> {
            match (&mut all, block) {
                (Some(Numbers::F32(all)), Numbers::F32(block)) => all.extend(block),
                (Some(Numbers::F64(all)), Numbers::F64(block)) => all.extend(block),
                (Some(Numbers::I64(all)), Numbers::I64(block)) => all.extend(block),
                (Some(Numbers::U64(all)), Numbers::U64(block)) => all.extend(block),
                // All blocks of an array are of one type.
                (all, block) => *all = Some(block),
            }
            Ok(())
        })?;
        Ok(all.unwrap_or_else(|| Numbers::from_bytes(self.info.element, &[])))
    }
}

/// Columns, one after another, as rows.
fn transposed(columns: &[u8], rows: usize, width: usize, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(columns.len());
    for row in 0..rows {
        for column in 0..width {
            let start = (column * rows + row) * size;
            bytes.extend_from_slice(&columns[start..start + size]);
        }
    }
    bytes
}

/// A file as it is read from its beginning, and its size.
pub(crate) fn open(path: &Path) -> Result<(BufReader<File>, u64)> {
    let cannot = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
        return Err(cannot(source));
    }
    Ok((BufReader::new(file), metadata.len()))
}
