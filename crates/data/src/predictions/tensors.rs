//! The header of safetensors files.

use std::io::Read;

use safetensors::tensor::Metadata;

use super::array::{Array, Place};
use super::element::ElementType;
use super::file::{ArrayInfo, checked_shape};
use crate::{Error, Result};

/// The longest header that is read, as long as the safetensors crate's own limit.
const HEADER_LIMIT: u64 = 100_000_000;

/// Reads the header of a file of `size` bytes, which has been checked against that size then, and where the values
/// begin.
pub(crate) fn header(mut reader: impl Read, size: u64) -> Result<(Metadata, u64)> {
    let wrong = |expected: String| Error::Size {
        expected,
        found: usize::try_from(size).unwrap_or(usize::MAX),
    };
    let mut length = [0; 8];
    reader
        .read_exact(&mut length)
        .map_err(|_| wrong("a safetensors file, at least 8 bytes".into()))?;
    let length = u64::from_le_bytes(length);
    let too_short = || wrong(format!("a safetensors file with a header of {length} bytes"));
    if length > HEADER_LIMIT {
        return Err(too_short());
    }
    let mut header = Vec::new();
    reader.take(length).read_to_end(&mut header).map_err(Error::Unreadable)?;
    if (header.len() as u64) < length {
        return Err(too_short());
    }
    // Checks that the tensors lie one after another without gaps, as long as their shapes say.
    let header: Metadata = serde_json::from_slice(&header).map_err(Error::Header)?;
    let (before, values) = (8 + length, header.data_len() as u64);
    if before + values != size {
        return Err(wrong(format!("{before} bytes of header and {values} of values")));
    }
    Ok((header, before))
}

/// The tensors of a file, by their places; those of other elements than ours, by their names.
pub(crate) fn tensors(reader: impl Read, size: u64) -> Result<(Vec<Array>, Vec<String>)> {
    let (header, values) = header(reader, size)?;
    let (mut arrays, mut others) = (Vec::new(), Vec::new());
    for (name, info) in header.tensors() {
        let Some(element) = ElementType::of_tensor(info.dtype) else {
            others.push(format!("`{name}` ({})", info.dtype));
            continue;
        };
        let start = values + info.data_offsets.0 as u64;
        let shape = checked_shape(Some(info.shape.clone()), element)?;
        arrays.push((
            start,
            Array {
                info: ArrayInfo { name: Some(name), element, shape },
                fortran: false,
                big_endian: false,
                place: Place::Bytes { start },
            },
        ));
    }
    // The header is a map without an order.
    arrays.sort_by_key(|(start, array)| (*start, array.info.name.clone()));
    others.sort();
    Ok((arrays.into_iter().map(|(_, array)| array).collect(), others))
}
