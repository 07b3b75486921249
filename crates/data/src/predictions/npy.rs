//! NumPy's arrays, alone and in archives.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use npyz::{DType, Endianness, NpyHeader, Order};
use zip::ZipArchive;

use super::array::{Array, Place};
use super::element::ElementType;
use super::file::{ArrayInfo, checked_shape};
use crate::{Error, Result};

/// The longest header that is read, as long as NumPy's own limit.
const HEADER_LIMIT: u64 = 10_016;

/// The header that `reader` stands before; afterwards it stands before the elements.
fn header(reader: &mut impl Read) -> Result<NpyHeader> {
    NpyHeader::from_reader(reader.take(HEADER_LIMIT)).map_err(Error::Npy)
}

/// The array of a header.
fn array(name: Option<String>, header: &NpyHeader, place: Place) -> Result<Array> {
    let unknown = |found: String| Error::ElementType {
        name: name.clone().unwrap_or_default(),
        found,
        help: "save it with .astype(np.float32), or labels with .astype(np.int64)",
    };
    let DType::Plain(kind) = header.dtype() else {
        return Err(unknown(header.dtype().descr()));
    };
    let element = ElementType::of_numpy(kind.type_char(), kind.size_field())
        .ok_or_else(|| unknown(kind.to_string()))?;
    let shape = header.shape().iter().map(|&size| usize::try_from(size).ok());
    let shape = checked_shape(shape.collect::<Option<Vec<_>>>(), element)?;
    Ok(Array {
        info: ArrayInfo { name, element, shape },
        fortran: header.order() == Order::Fortran,
        big_endian: kind.endianness() == Endianness::Big,
        place,
    })
}

/// The array of an `.npy` file.
pub(crate) fn alone(mut file: BufReader<File>, size: u64) -> Result<Array> {
    let header = header(&mut file)?;
    let mut array = array(None, &header, Place::Bytes { start: 0 })?;
    let start = file.stream_position().map_err(Error::Npy)?;
    let bytes = (array.rows() * array.width() * array.info.element.size()) as u64;
    if size - start.min(size) != bytes {
        let expected = format!("{start} bytes of header and {bytes} of {}", array.info);
        return Err(Error::Truncated { expected, found: format!("{size} bytes") });
    }
    array.place = Place::Bytes { start };
    Ok(array)
}

pub(crate) fn archive(file: File) -> Result<ZipArchive<BufReader<File>>> {
    ZipArchive::new(BufReader::new(file)).map_err(Error::Archive)
}

/// The arrays of an `.npz` file; those of other elements than ours, by their names.
pub(crate) fn members(file: File) -> Result<(Vec<Array>, Vec<String>)> {
    let mut archive = archive(file)?;
    let (mut arrays, mut others) = (Vec::new(), Vec::new());
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(Error::Archive)?;
        let name = member.name().map_err(Error::Archive)?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
        let read = header(&mut member)
            .and_then(|header| array(Some(name.clone()), &header, Place::Member { index }));
        match read {
            Ok(array) => arrays.push(array),
            Err(Error::ElementType { name, found, .. }) => {
                others.push(format!("`{name}` ({found})"));
            }
            Err(error) => return Err(Error::InArray { name, source: Box::new(error) }),
        }
    }
    Ok((arrays, others))
}

/// Reads on to where the elements begin.
pub(crate) fn skip_header(reader: &mut impl Read) -> Result<()> {
    header(reader).map(|_| ())
}
