//! Labelled maps: from files of every format, made of the digits, split by image, and what is wrong with them.

use std::collections::HashSet;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use softlabel_core::Error as ValueError;
use softlabel_data::{
    Data, Dataset, Error, ImageShape, MapFiles, Pixels, SplitFractions, digit_maps, digits,
    read_maps,
};

use crate::files::{folder, npy};

/// Two maps of 2×3 with one channel, and their labels of three classes.
const BYTES: [u8; 12] = [0, 51, 102, 153, 204, 255, 255, 0, 0, 0, 0, 51];
const LABELS: [u8; 12] = [0, 1, 2, 255, 255, 0, 255, 255, 2, 1, 1, 255];

fn files(folder: &Path, images: &str, labels: &str) -> MapFiles {
    MapFiles {
        images: folder.join(images),
        images_key: None,
        labels: folder.join(labels),
        labels_key: None,
        classes: 3,
        ignore: Some(255),
    }
}

#[test]
fn bytes_are_divided_by_255_and_numbers_taken_as_they_are() {
    let floats: Vec<u8> = BYTES.iter().flat_map(|&b| (f32::from(b) - 7.0).to_le_bytes()).collect();
    let doubles: Vec<u8> = BYTES.iter().flat_map(|&b| f64::from(b).to_be_bytes()).collect();
    let wide: Vec<u8> = LABELS.iter().flat_map(|&l| i64::from(l).to_le_bytes()).collect();
    let folder = folder(&[
        ("bytes.npy", npy("|u1", false, "2, 2, 3", &BYTES)),
        ("floats.npy", npy("<f4", false, "2, 1, 2, 3", &floats)),
        ("doubles.npy", npy(">f8", false, "2, 2, 3", &doubles)),
        ("labels.npy", npy("|u1", false, "2, 2, 3", &LABELS)),
        ("wide.npy", npy("<i8", false, "2, 2, 3", &wide)),
    ]);
    let read = |images: &str, labels: &str| {
        let maps = read_maps(&files(folder.path(), images, labels)).unwrap();
        assert_eq!((maps.len(), maps.classes(), maps.labels().len()), (2, 3, 7));
        assert_eq!(maps.labels().as_slice(), [0, 1, 2, 0, 2, 1, 1]);
        let labelled = maps.labelled().unwrap();
        assert_eq!([labelled.pixels(0), labelled.pixels(1)].concat(), [0, 1, 2, 5, 2, 3, 4]);
        maps.pixels_f32()
    };
    let expected = |map: fn(f32) -> f32| BYTES.map(|byte| map(f32::from(byte))).to_vec();
    assert_eq!(read("bytes.npy", "wide.npy"), expected(|byte| byte / 255.0));
    assert_eq!(read("floats.npy", "labels.npy"), expected(|byte| byte - 7.0));
    assert_eq!(read("doubles.npy", "labels.npy"), expected(|byte| byte));
}

#[test]
fn several_arrays_of_a_file_are_told_apart_by_name() {
    let shape = || vec![2, 2, 3];
    let images = TensorView::new(Dtype::U8, shape(), &BYTES).unwrap();
    let labels = TensorView::new(Dtype::U8, shape(), &LABELS).unwrap();
    let both = safetensors::serialize([("x", images), ("y", labels)], None).unwrap();
    let folder = folder(&[("both.safetensors", both)]);
    let unnamed = files(folder.path(), "both.safetensors", "both.safetensors");
    let error = read_maps(&unnamed).unwrap_err().to_string();
    assert!(error.contains("several arrays could be the images: "), "{error}");
    let named = |x: &str| MapFiles {
        images_key: Some(x.into()),
        labels_key: Some("y".into()),
        ..unnamed.clone()
    };
    assert_eq!(read_maps(&named("x")).unwrap().labels().len(), 7);
    let error = read_maps(&named("z")).unwrap_err().to_string();
    assert!(error.contains("no array `z` for the images in the file"), "{error}");
}

/// What is wrong is named, with the file that it is in.
#[test]
fn what_is_wrong_with_maps_is_named() {
    let not_finite: Vec<u8> =
        (0..12).flat_map(|i| if i == 7 { f32::NAN } else { 0.0 }.to_le_bytes()).collect();
    let floats = [0; 48];
    let mut bad_label = LABELS;
    bad_label[10] = 3;
    let folder = folder(&[
        ("x.npy", npy("|u1", false, "2, 2, 3", &BYTES)),
        ("flat.npy", npy("|u1", false, "2, 6", &BYTES)),
        ("signed.npy", npy("|i1", false, "2, 2, 3", &BYTES)),
        ("nan.npy", npy("<f4", false, "2, 2, 3", &not_finite)),
        ("none.npy", npy("|u1", false, "0, 2, 3", &[])),
        ("y.npy", npy("|u1", false, "2, 2, 3", &LABELS)),
        ("turned.npy", npy("|u1", false, "2, 3, 2", &LABELS)),
        ("fewer.npy", npy("|u1", false, "1, 2, 3", &LABELS[..6])),
        ("floats.npy", npy("<f4", false, "2, 2, 3", &floats)),
        ("bad.npy", npy("|u1", false, "2, 2, 3", &bad_label)),
        ("ignored.npy", npy("|u1", false, "2, 2, 3", &[255; 12])),
        ("table.csv", b"a,b\n1,2\n".to_vec()),
    ]);
    for (images, labels, expected) in [
        (
            "flat.npy",
            "y.npy",
            "flat.npy: expected images [n, channels, height, width] or [n, height, width], found u8 [2, 6]",
        ),
        (
            "signed.npy",
            "y.npy",
            "signed.npy: expected images of bytes (u8) or of floating-point numbers, found i8 [2, 2, 3]",
        ),
        ("nan.npy", "y.npy", "nan.npy: pixel NaN in image 1: expected a finite number"),
        (
            "x.npy",
            "turned.npy",
            "turned.npy: expected labels [2, 2, 3], one for each pixel of the images, found u8 [2, 3, 2]",
        ),
        (
            "x.npy",
            "fewer.npy",
            "fewer.npy: expected labels [2, 2, 3], one for each pixel of the images, found u8 [1, 2, 3]",
        ),
        ("x.npy", "floats.npy", "floats.npy: expected labels of integers, found f32 [2, 2, 3]"),
        (
            "x.npy",
            "bad.npy",
            "bad.npy: label of row 1, column 1 of image 1: expected a class in 0..3 or the ignored 255, found 3",
        ),
        ("x.npy", "ignored.npy", "the labels that are not ignored"),
        ("none.npy", "none.npy", "expected labels of one or more maps of 2×3, found 0 labels"),
        ("table.csv", "y.npy", "no images in the file"),
        ("x.npy", "absent.npy", "absent.npy"),
        ("x.npy", "y.txt", "y.txt: expected a file of predictions"),
    ] {
        let error = read_maps(&files(folder.path(), images, labels)).unwrap_err().to_string();
        assert!(error.contains(expected), "{images}, {labels}: {error}");
    }
    let strict = MapFiles { ignore: None, ..files(folder.path(), "x.npy", "y.npy") };
    let error = read_maps(&strict).unwrap_err().to_string();
    assert!(
        error.ends_with("row 1, column 0 of image 0: expected a class in 0..3, found 255"),
        "{error}"
    );
    let many = MapFiles { classes: 8, ..files(folder.path(), "x.npy", "y.npy") };
    let error = read_maps(&many).unwrap_err();
    let Error::InFile { source, .. } = &error else { panic!("{error}") };
    let few = ValueError::MoreClassesThanRows { what: "the data set", classes: 8, rows: 7 };
    assert!(matches!(&**source, Error::Values(error) if *error == few), "{error}");
}

/// Maps whose first pixel says which they are.
fn numbered(maps: u16) -> Data {
    let shape = ImageShape { channels: 1, height: 2, width: 2 };
    let pixels = (0..maps).flat_map(|map| [f32::from(map), 0.0, 0.0, 0.0]).collect();
    let labels: Vec<i64> = (0..maps).flat_map(|map| [i64::from(map % 2), 0, -1, 1]).collect();
    let maps = Dataset::maps("numbered", shape, Pixels::Floats(pixels), &labels, 2, Some(-1));
    Data::new(maps.unwrap(), None).unwrap()
}

#[test]
fn maps_are_split_as_a_whole() {
    let data = numbered(40);
    let fractions = SplitFractions::new(0.25, 0.25).unwrap();
    let splits = data.split(fractions, 9).unwrap();
    assert_eq!(
        [&splits.train, &splits.validation, &splits.test].map(softlabel_data::Subset::len),
        [20, 10, 10]
    );
    let mut seen = HashSet::new();
    for subset in [&splits.train, &splits.validation, &splits.test] {
        let pixels = subset.pixels_f32();
        assert_eq!(pixels.len(), 4 * subset.len());
        for (position, &id) in subset.ids().iter().enumerate() {
            assert!(seen.insert(id));
            assert_eq!(pixels[4 * position], id as f32);
            let rows = subset.rows(position);
            assert_eq!(subset.row_ids()[rows.clone()], [4 * id, 4 * id + 1, 4 * id + 3]);
            assert_eq!(subset.labels().as_slice()[rows], [u32::try_from(id % 2).unwrap(), 0, 1]);
        }
    }
    assert_eq!(seen.len(), 40);
    assert_eq!(data.split(fractions, 9).unwrap(), splits);
    assert_ne!(data.split(fractions, 10).unwrap().test, splits.test);
    let error = numbered(2).split(fractions, 9).unwrap_err();
    assert!(matches!(error, Error::TooFewMaps { found: 2, .. }), "{error}");
}

#[test]
fn fingerprints_see_pixels_labels_and_what_is_ignored() {
    let shape = ImageShape { channels: 1, height: 1, width: 3 };
    let maps = |pixels: Vec<f32>, labels: &[i64]| {
        let pixels = Pixels::Floats(pixels);
        Dataset::maps("any", shape, pixels, labels, 2, Some(9)).unwrap().fingerprint()
    };
    let base = maps(vec![0.0; 6], &[0, 1, 9, 9, 1, 0]);
    assert_eq!(base, maps(vec![0.0; 6], &[0, 1, 9, 9, 1, 0]));
    let mut other = vec![0.0; 6];
    other[5] = 1.0;
    assert_ne!(base, maps(other, &[0, 1, 9, 9, 1, 0]));
    // The same labels in the same order, of other pixels, of another class, of other images.
    assert_ne!(base, maps(vec![0.0; 6], &[0, 9, 1, 9, 1, 0]));
    assert_ne!(base, maps(vec![0.0; 6], &[0, 0, 9, 9, 1, 0]));
    assert_ne!(base, maps(vec![0.0; 6], &[0, 9, 9, 1, 1, 0]));
    // Images with one label are others than maps of one pixel.
    let one = ImageShape { channels: 1, height: 1, width: 1 };
    let bytes = || Pixels::Bytes { values: vec![0, 1], maximum: 1 };
    let of_pixels = Dataset::maps("any", one, bytes(), &[0, 1], 2, None).unwrap();
    let labels = softlabel_core::Labels::new(&[0, 1], 2).unwrap();
    let of_images = Dataset::new("any", one, 1, vec![0, 1], labels).unwrap();
    assert_ne!(of_pixels.fingerprint(), of_images.fingerprint());
}

#[test]
fn maps_of_digits_hold_each_digit_once() {
    let maps = digit_maps().unwrap();
    let counts = maps.labels().counts();
    // No class is rare, and the background is the largest.
    assert!(counts[..10].iter().all(|&count| count < counts[10]), "{counts:?}");
    assert!(counts[..10].iter().all(|&count| count > 1000), "{counts:?}");
    // The corners, where nothing overlaps, are those of digits that are all different images of the data set.
    let digits = digits().unwrap();
    let mut left: Vec<usize> = (0..digits.len()).collect();
    let labels = maps.labels().as_slice();
    for map in 0..maps.len() {
        let (image, labels) = (maps.image(map).unwrap(), &labels[map * 196..][..196]);
        // Of the digit on the upper left: its six upper rows and six left columns are nobody else's.
        let corner = |digit: &&usize| {
            let digit = digits.image(**digit).unwrap();
            (0..36).all(|at| digit[at / 6 * 8 + at % 6] == image[at / 6 * 14 + at % 6])
        };
        let found = *left.iter().find(corner).unwrap();
        left.retain(|&digit| digit != found);
        let label = digits.labels().as_slice()[found];
        // Where the 3×3 pixels around are its own too.
        for (row, column) in (1..5).flat_map(|row| (1..5).map(move |column| (row, column))) {
            let near = (0..9).map(|at| image[(row + at / 3 - 1) * 14 + column + at % 3 - 1]);
            let ink: u32 = near.map(u32::from).sum();
            let expected = if ink >= 36 { label } else { 10 };
            assert_eq!(labels[row * 14 + column], expected, "map {map}");
        }
    }
}
