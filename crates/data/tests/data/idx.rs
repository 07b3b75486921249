//! IDX folders, whole and damaged.

use softlabel_core::Error as ValueError;
use softlabel_data::{Data, Error, ImageShape, idx};

use crate::files::{self, folder, gzip, inside};

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;
const TRAIN_IMAGES: usize = 0;
const TRAIN_LABELS: usize = 1;
const TEST_LABELS: usize = 3;

type Files = [(&'static str, Vec<u8>); 4];

/// Three training and two test images of 2×1 pixels in two classes.
fn tiny() -> Files {
    [
        ("train-images-idx3-ubyte", files::idx(IMAGES, &[3, 2, 1], &[0, 255, 1, 2, 3, 4])),
        ("train-labels-idx1-ubyte", files::idx(LABELS, &[3], &[1, 0, 1])),
        ("t10k-images-idx3-ubyte", files::idx(IMAGES, &[2, 2, 1], &[5, 6, 7, 8])),
        ("t10k-labels-idx1-ubyte", files::idx(LABELS, &[2], &[0, 1])),
    ]
}

fn read(files: &[(&str, Vec<u8>)]) -> Result<Data, Error> {
    idx::read_folder(folder(files).path(), "tiny", 2)
}

/// What reading says, about the file at `index`, once `edit` has changed it.
fn damaged(index: usize, edit: impl FnOnce(&mut Vec<u8>)) -> Error {
    let mut files = tiny();
    edit(&mut files[index].1);
    let name = files[index].0;
    inside(read(&files).unwrap_err(), name)
}

#[test]
fn bytes_become_images_and_labels() {
    let data = read(&tiny()).unwrap();
    let (train, test) = (data.pool(), data.test().unwrap());
    assert_eq!((train.name(), test.name()), ("tiny/train", "tiny/test"));
    assert_eq!(train.shape(), ImageShape { channels: 1, height: 2, width: 1 });
    assert_eq!((train.max_value(), train.classes()), (255, 2));
    assert_eq!(train.pixels(), [0, 255, 1, 2, 3, 4]);
    assert_eq!(train.labels().as_slice(), [1, 0, 1]);
    assert_eq!((test.pixels(), test.labels().as_slice()), (&[5, 6, 7, 8][..], &[0, 1][..]));
}

#[test]
fn names_and_compression_do_not_matter() {
    let expected = read(&tiny()).unwrap();
    let dotted = tiny().map(|(name, bytes)| (name.replace("-idx", ".idx"), bytes));
    let gzipped = tiny().map(|(name, bytes)| (format!("{name}.gz"), gzip(&bytes)));
    let dotted_gzipped = dotted.clone().map(|(name, bytes)| (format!("{name}.gz"), gzip(&bytes)));
    // Browsers unpack files without renaming them, and people rename files without unpacking them.
    let misnamed = tiny().map(|(name, bytes)| (format!("{name}.gz"), bytes));
    let hidden = tiny().map(|(name, bytes)| (name.to_owned(), gzip(&bytes)));
    for files in [dotted, gzipped, dotted_gzipped, misnamed, hidden] {
        let files = files.each_ref().map(|(name, bytes)| (name.as_str(), bytes.clone()));
        assert_eq!(read(&files).unwrap(), expected);
    }
}

#[test]
fn a_missing_file_is_named_with_every_place_and_the_way_to_get_it() {
    let whole = tiny();
    for missing in 0..4 {
        let rest: Vec<_> =
            (0..4).filter(|&index| index != missing).map(|index| whole[index].clone()).collect();
        let error = read(&rest).unwrap_err();
        let Error::Missing { tried, .. } = &error else { panic!("{error:?}") };
        assert_eq!(tried.len(), 4);
        let message = error.to_string();
        for part in [whole[missing].0, "SOFTLABEL_DATA", "`path`", "The MNIST Database"] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
}

#[test]
fn a_wrong_magic_number_is_shown() {
    let error = damaged(TRAIN_IMAGES, |bytes| bytes[2] = 0x0d);
    assert!(matches!(error, Error::Magic { found: 0x0d03, .. }), "{error}");
    // Labels where images should be.
    let error = damaged(TRAIN_IMAGES, |bytes| *bytes = files::idx(LABELS, &[3], &[0, 1, 0]));
    assert!(matches!(error, Error::Magic { found: LABELS, .. }), "{error}");
}

#[test]
fn truncated_and_overlong_files_tell_their_sizes() {
    let error = damaged(TRAIN_IMAGES, |bytes| bytes.truncate(21));
    assert_eq!(
        error.to_string(),
        "expected 16 bytes of header and 3 × 2 × 1 of data, found 21 bytes"
    );
    for length in [0, 3, 4, 15] {
        let error = damaged(TRAIN_IMAGES, |bytes| bytes.truncate(length));
        assert!(matches!(error, Error::Size { found, .. } if found == length), "{error}");
    }
    let error = damaged(TEST_LABELS, |bytes| bytes.push(0));
    assert_eq!(error.to_string(), "expected 8 bytes of header and 2 of data, found 11 bytes");
}

#[test]
fn sizes_beyond_all_bounds_are_an_error() {
    let error = damaged(TRAIN_IMAGES, |bytes| *bytes = files::idx(IMAGES, &[u32::MAX; 3], &[0]));
    assert!(matches!(error, Error::Size { found: 17, .. }), "{error}");
}

#[test]
fn a_file_without_images_is_an_error() {
    let mut files = tiny();
    files[TRAIN_IMAGES].1 = files::idx(IMAGES, &[0, 2, 1], &[]);
    files[TRAIN_LABELS].1 = files::idx(LABELS, &[0], &[]);
    let error = inside(read(&files).unwrap_err(), files[TRAIN_IMAGES].0);
    assert!(matches!(error, Error::Values(ValueError::Empty { .. })), "{error}");
}

#[test]
fn truncated_gzip_is_said_to_be_so() {
    let error = damaged(TRAIN_IMAGES, |bytes| {
        *bytes = gzip(bytes);
        bytes.truncate(bytes.len() - 4);
    });
    assert!(matches!(error, Error::Gzip(_)), "{error}");
}

#[test]
fn a_label_out_of_range_is_named_with_its_position() {
    let error = damaged(TEST_LABELS, |bytes| bytes[9] = 2);
    let expected = ValueError::LabelOutOfRange { position: 1, found: 2, classes: 2 };
    assert!(matches!(error, Error::Values(found) if found == expected));
}

#[test]
fn images_and_labels_must_be_as_many() {
    let mut files = tiny();
    files[TRAIN_LABELS].1 = files::idx(LABELS, &[2], &[1, 0]);
    let error = inside(read(&files).unwrap_err(), files[TRAIN_IMAGES].0);
    assert!(matches!(error, Error::Values(ValueError::Mismatch { .. })), "{error}");
}
