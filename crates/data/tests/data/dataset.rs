//! What a data set may be made of, and what tells two of them apart.

use softlabel_core::{Error as ValueError, Labels};
use softlabel_data::{Data, Dataset, Error, ImageShape};

const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

fn dataset(pixels: &[u8], labels: &[u8], classes: usize) -> Result<Dataset, Error> {
    Dataset::new("made up", SHAPE, 16, pixels.to_vec(), Labels::new(labels, classes).unwrap())
}

#[test]
fn sizes_must_match() {
    for pixels in [&[0; 3][..], &[0; 5]] {
        let error = dataset(pixels, &[0, 1], 2).unwrap_err();
        let expected = "pixels: expected 2 images of 1×1×2 values, found";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn nothing_may_be_empty() {
    let error = dataset(&[], &[], 2).unwrap_err();
    assert!(matches!(error, Error::Values(ValueError::Empty { what: "the data set" })));

    let labels = Labels::new(&[0u8], 1).unwrap();
    let flat = ImageShape { height: 0, ..SHAPE };
    let error = Dataset::new("flat", flat, 1, vec![], labels.clone()).unwrap_err();
    assert!(matches!(error, Error::Values(ValueError::Empty { what: "the image shape" })));

    let error = Dataset::new("black", SHAPE, 0, vec![0, 0], labels).unwrap_err();
    assert!(matches!(error, Error::Values(ValueError::OutOfRange { .. })));
}

#[test]
fn a_shape_beyond_all_bounds_is_a_mismatch() {
    let huge = ImageShape { channels: usize::MAX, height: 2, width: 2 };
    let labels = Labels::new(&[0u8, 0], 1).unwrap();
    let error = Dataset::new("huge", huge, 1, vec![0; 8], labels).unwrap_err();
    assert!(matches!(error, Error::Values(ValueError::Mismatch { what: "pixels", .. })));
}

#[test]
fn classes_need_rows() {
    let error = dataset(&[0; 4], &[0, 1], 3).unwrap_err();
    let expected = ValueError::MoreClassesThanRows { what: "the data set", classes: 3, rows: 2 };
    assert!(matches!(error, Error::Values(found) if found == expected));
    assert!(dataset(&[0; 4], &[0, 1], 2).is_ok());
}

#[test]
fn the_first_pixel_above_white_is_named() {
    let error = dataset(&[16, 0, 0, 17, 18, 0], &[0, 1, 0], 2).unwrap_err();
    assert!(matches!(error, Error::Pixel { sample: 1, found: 17, maximum: 16 }));
}

#[test]
fn pixels_scale_to_one() {
    let dataset = dataset(&[0, 16, 4, 8], &[0, 1], 2).unwrap();
    assert_eq!(dataset.pixels_f32(), [0.0, 1.0, 0.25, 0.5]);
    assert_eq!(dataset.image(1), Some(&[4, 8][..]));
    assert_eq!(dataset.image(2), None);
}

#[test]
fn every_part_of_the_content_is_in_the_fingerprint() {
    let base = dataset(&[0, 1, 2, 3], &[0, 1], 2).unwrap();
    let same = Dataset::new("another name", SHAPE, 16, vec![0, 1, 2, 3], base.labels().clone());
    assert_eq!(same.unwrap().fingerprint(), base.fingerprint());

    let turned = ImageShape { channels: 1, height: 2, width: 1 };
    let labels = base.labels().clone();
    let others = [
        dataset(&[0, 1, 2, 4], &[0, 1], 2),
        dataset(&[0, 1, 2, 3], &[1, 0], 2),
        dataset(&[0, 1, 2, 3], &[0, 0], 1),
        dataset(&[0, 1, 2, 3], &[0, 0], 2),
        Dataset::new("made up", SHAPE, 15, vec![0, 1, 2, 3], labels.clone()),
        Dataset::new("made up", turned, 16, vec![0, 1, 2, 3], labels),
    ];
    let mut seen = vec![base.fingerprint()];
    for other in others {
        let fingerprint = other.unwrap().fingerprint();
        assert!(!seen.contains(&fingerprint));
        seen.push(fingerprint);
    }
}

/// Teacher caches and run folders compare fingerprints across versions, so they must never change.
#[test]
fn fingerprints_stay() {
    // hashlib.sha256(b"softlabel.dataset/1" + struct.pack("<6Q", 1797, 1, 8, 8, 16, 10)
    //     + pixels + b"".join(struct.pack("<I", label) for label in labels)).hexdigest()
    let expected = "da6479aa8f951aa6d7d0f67d2cc39b82b6d44b3ff1938b8c9937b1e8bac3b179";
    let digits = softlabel_data::digits().unwrap().fingerprint();
    assert_eq!(digits.to_string(), expected);
    assert_eq!(digits.short(), expected[..12]);
}

#[test]
fn a_test_set_must_look_like_its_training_set() {
    let train = dataset(&[0, 1, 2, 3], &[0, 1], 2).unwrap();
    let test = dataset(&[0, 1, 2, 3], &[0, 0], 1).unwrap();
    let error = Data::new(train.clone(), Some(test)).unwrap_err();
    assert!(matches!(error, Error::Values(ValueError::Mismatch { .. })));
    assert!(error.to_string().contains("2 classes, found"), "{error}");
    assert!(Data::new(train.clone(), Some(train)).is_ok());
}
