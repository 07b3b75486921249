//! Files made up for the tests.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use softlabel_data::Error;
use tempfile::TempDir;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// An array as NumPy writes it, format 1.0: magic, version, length of the header, header, elements.
pub(crate) fn npy(descr: &str, fortran: bool, shape: &str, elements: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    let header = header + &" ".repeat(padding) + "\n";
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), elements].concat()
}

/// Magic number, sizes and values of an IDX file.
pub(crate) fn idx(magic: u32, sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let header = [&[magic], sizes].concat();
    let header = header.iter().flat_map(|word| word.to_be_bytes());
    header.chain(values.iter().copied()).collect()
}

/// A CIFAR-10 record whose red, green and blue planes hold `label`, `label + 10` and `label + 20`.
pub(crate) fn record(label: u8) -> Vec<u8> {
    [vec![label], vec![label; 1024], vec![label + 10; 1024], vec![label + 20; 1024]].concat()
}

/// The error inside an `InFile`, which must name the file called `name`.
pub(crate) fn inside(error: Error, name: &str) -> Error {
    match error {
        Error::InFile { path, source } => {
            assert_eq!(path.file_name(), Path::new(name).file_name());
            *source
        }
        other => panic!("expected an error in {name}, found {other:?}"),
    }
}
