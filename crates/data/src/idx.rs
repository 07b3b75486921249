//! IDX files, the format of MNIST and its family (Fashion-MNIST, KMNIST, EMNIST).
//!
//! Format: a big-endian `u32` magic number (0x803: bytes in three dimensions, 0x801: in one), one big-endian `u32` a
//! dimension, then the bytes, row-major.
//! Images `[n, height, width]` and labels `[n]` lie in a file each; files may be gzip, whatever their name.
//!
//! Source: Y. LeCun, C. Cortes and C. J. C. Burges, *The MNIST Database of Handwritten Digits*, 1998.

use std::path::Path;

use softlabel_core::Labels;

use crate::file::{self, Content};
use crate::{Data, Dataset, Error, ImageShape, Result};

/// The class count of MNIST and of most of its relatives.
pub const DEFAULT_CLASSES: usize = 10;

/// How to get the files; part of the errors that say that one is missing.
pub(crate) const HELP: &str = "MNIST comes from the site \"The MNIST Database of Handwritten Digits\" \
     (yann.lecun.com/exdb/mnist), its relatives from theirs, as train-images-idx3-ubyte, \
     train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain or with .gz; put the four \
     files into one folder and give it as `path`, or call it `mnist` and set SOFTLABEL_DATA to the folder it lies in";

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;

/// Reads the four files of a folder.
///
/// The files have their usual names, `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, with or without `.gz`.
/// The training images become the pool, called `<name>/train`, the test images the test set, called `<name>/test`.
/// `classes` is how many classes they have: [`DEFAULT_CLASSES`], if in doubt.
///
/// # Errors
/// - [`Error::Missing`] if there is no file under any of these names, [`Error::Io`] if one cannot be read.
/// - [`Error::InFile`] with what is wrong in which file: gzip data, magic number, size, a label not below `classes`,
///   another number of labels than of images.
/// - [`Error::Values`] if the test images have another size than the training images.
///
/// ```
/// use softlabel_data::{Error, idx};
/// let error = idx::read_folder("no/such/folder".as_ref(), "mnist", idx::DEFAULT_CLASSES).unwrap_err();
/// assert!(matches!(error, Error::Missing { what: "MNIST training images", .. }));
/// ```
pub fn read_folder(folder: &Path, name: &str, classes: usize) -> Result<Data> {
    let train = read_pair(
        folder,
        "train",
        ["MNIST training images", "MNIST training labels"],
        format!("{name}/train"),
        classes,
    )?;
    let test = read_pair(
        folder,
        "t10k",
        ["MNIST test images", "MNIST test labels"],
        format!("{name}/test"),
        classes,
    )?;
    Data::new(train, Some(test))
}

fn read_pair(
    folder: &Path,
    prefix: &str,
    what: [&'static str; 2],
    name: String,
    classes: usize,
) -> Result<Dataset> {
    let find = |what: &'static str, kind: &str| -> Result<Content> {
        let names = [
            format!("{prefix}-{kind}-ubyte"),
            format!("{prefix}-{}-ubyte", kind.replace('-', ".")),
        ];
        file::read_first(folder, &[&names[0], &names[1]], what, HELP)
    };
    let images = find(what[0], "images-idx3")?;
    let labels = find(what[1], "labels-idx1")?;
    let (shape, pixels) = images.parse(parse_images)?;
    let labels_checked = labels.parse(|bytes| parse_labels(bytes, classes))?;
    Dataset::new(name, shape, u8::MAX, pixels, labels_checked)
        .map_err(|error| error.in_file(&images.path))
}

fn parse_images(bytes: &[u8]) -> Result<(ImageShape, Vec<u8>)> {
    let ([_, height, width], pixels) = parse(bytes, IMAGES_MAGIC, "IDX images (0x00000803)")?;
    Ok((ImageShape { channels: 1, height, width }, pixels.to_vec()))
}

fn parse_labels(bytes: &[u8], classes: usize) -> Result<Labels> {
    let ([_], labels) = parse(bytes, LABELS_MAGIC, "IDX labels (0x00000801)")?;
    Ok(Labels::new(labels, classes)?)
}

/// The sizes of the D dimensions, and the bytes after them: exactly as many as the sizes say.
fn parse<'a, const D: usize>(
    bytes: &'a [u8],
    magic: u32,
    format: &'static str,
) -> Result<([usize; D], &'a [u8])> {
    let header = 4 * (D + 1);
    let too_short = || Error::Size {
        expected: format!("{format}, a header of {header} bytes"),
        found: bytes.len(),
    };
    let mut words = bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_be_bytes(word));
    match words.next() {
        Some(found) if found != magic => return Err(Error::Magic { expected: format, found }),
        Some(_) => {}
        None => return Err(too_short()),
    }
    let mut sizes = [0; D];
    for size in &mut sizes {
        *size = words.next().ok_or_else(too_short)? as usize;
    }
    let values = sizes.iter().try_fold(1, |product: usize, &size| product.checked_mul(size));
    let data = &bytes[header..];
    if values == Some(data.len()) {
        return Ok((sizes, data));
    }
    let sizes = sizes.map(|size| size.to_string()).join(" × ");
    Err(Error::Size {
        expected: format!("{header} bytes of header and {sizes} of data"),
        found: bytes.len(),
    })
}
