//! CIFAR-10 in its binary version.
//!
//! Format: records of 3,073 bytes: the label, then 32×32 pixels of red, of green and of blue, each row by row.
//! A batch is a file of such records (10,000 as distributed; any whole number is read), plain or gzip.
//!
//! Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.

use std::path::Path;

use softlabel_core::Labels;

use crate::file::{self, Content};
use crate::{Data, Dataset, Error, ImageShape, Result};

/// How to get the files; part of the errors that say that one is missing.
pub(crate) const HELP: &str = "CIFAR-10 comes from \"The CIFAR-10 dataset\" \
     (www.cs.toronto.edu/~kriz/cifar.html) as \"CIFAR-10 binary version\": data_batch_1.bin to data_batch_5.bin (at \
     least one of them) and test_batch.bin, plain or with .gz; put them, or the folder cifar-10-batches-bin with \
     them, into a folder and give it as `path`, or call it `cifar10` and set SOFTLABEL_DATA to the folder it lies in";

/// The folder in which the archive of the binary version puts its files.
const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";
const TRAIN_BATCHES: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
const RECORD: usize = 1 + 3 * 32 * 32;
const CLASSES: usize = 10;

/// Reads the batches of a folder, or of the folder `cifar-10-batches-bin` in it.
///
/// The training batches that are there, at least one of five, become the pool, in the order of their numbers, called
/// `cifar10/train`; `test_batch.bin` becomes the test set, called `cifar10/test`.
///
/// # Errors
/// - [`Error::Missing`] if there is no training batch or no test batch, [`Error::Io`] if a file cannot be read.
/// - [`Error::InFile`] with what is wrong in which file: gzip data, a size that is no whole number of records,
///   a label that is not below 10, at the position of its record.
/// - [`Error::Values`] if there are fewer images than classes.
///
/// ```
/// use softlabel_data::{Error, cifar10};
/// let error = cifar10::read_folder("no/such/folder".as_ref()).unwrap_err();
/// assert!(matches!(error, Error::Missing { what: "CIFAR-10 training batches", .. }));
/// ```
pub fn read_folder(folder: &Path) -> Result<Data> {
    let unpacked = folder.join(ARCHIVE_FOLDER);
    let folder = if unpacked.is_dir() { &unpacked } else { folder };

    let mut batches = Vec::new();
    let mut tried = Vec::new();
    for name in TRAIN_BATCHES {
        match file::read_first(folder, &[name], "CIFAR-10 training batches", HELP) {
            Ok(batch) => batches.push(batch),
            Err(Error::Missing { tried: paths, .. }) => tried.extend(paths),
            Err(error) => return Err(error),
        }
    }
    if batches.is_empty() {
        return Err(Error::Missing { what: "CIFAR-10 training batches", tried, help: HELP });
    }
    let test = file::read_first(folder, &["test_batch.bin"], "CIFAR-10 test batch", HELP)?;
    Data::new(parse("cifar10/train", &batches)?, Some(parse("cifar10/test", &[test])?))
}

/// All records of some batches as one data set.
fn parse(name: &str, batches: &[Content]) -> Result<Dataset> {
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for batch in batches {
        labels.extend(batch.parse(|bytes| parse_batch(bytes, &mut pixels))?);
    }
    Dataset::new(name, SHAPE, u8::MAX, pixels, Labels::new(&labels, CLASSES)?)
}

/// Appends the pixels of a batch and returns its labels, checked here so that positions are those in the file.
fn parse_batch(bytes: &[u8], pixels: &mut Vec<u8>) -> Result<Vec<u8>> {
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if records.is_empty() || !rest.is_empty() {
        let expected = format!("a whole number of records of {RECORD} bytes, at least one");
        return Err(Error::Size { expected, found: bytes.len() });
    }
    let labels: Vec<u8> = records.iter().map(|record| record[0]).collect();
    Labels::new(&labels, CLASSES)?;
    for record in records {
        pixels.extend_from_slice(&record[1..]);
    }
    Ok(labels)
}
