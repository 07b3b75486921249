//! The embedded digits, and files like them.

use softlabel_core::Error as ValueError;
use softlabel_data::{Error, ImageShape, digits, read_digits};

use crate::files::{folder, gzip, inside};

/// Ten images, one a digit, as a text file.
fn ten() -> String {
    let line = |digit: u8| format!("{}{digit}\n", "0,".repeat(64));
    (0..10).map(line).collect()
}

fn read(text: impl Into<Vec<u8>>) -> Result<softlabel_data::Dataset, Error> {
    let folder = folder(&[("digits.csv", text.into())]);
    read_digits(&folder.path().join("digits.csv"))
}

#[test]
fn the_embedded_digits_are_what_they_should_be() {
    let digits = digits().unwrap();
    assert_eq!(digits.shape(), ImageShape { channels: 1, height: 8, width: 8 });
    assert_eq!((digits.len(), digits.classes()), (1797, 10));
    assert_eq!(digits.labels().as_slice()[..5], [0, 1, 2, 3, 4]);
    assert_eq!(digits.image(0).unwrap()[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
    // The number of images, and the sum of all pixels, as numpy has them for scikit-learn's copy.
    assert_eq!(digits.pixels().iter().map(|&pixel| u64::from(pixel)).sum::<u64>(), 561_718);
    assert_eq!(digits.pixels().iter().max(), Some(&16));
}

#[test]
fn plain_and_gzip_files_read_alike() {
    let plain = read(ten()).unwrap();
    assert_eq!(plain, read(gzip(ten().as_bytes())).unwrap());
    assert_eq!(plain, read(ten().replace('\n', "\r\n")).unwrap());
    assert_eq!(plain.len(), 10);
}

#[test]
fn bad_lines_are_named() {
    let lines = |edit: fn(&mut Vec<&str>)| {
        let text = ten();
        let mut lines = text.lines().collect();
        edit(&mut lines);
        inside(read(lines.join("\n")).unwrap_err(), "digits.csv")
    };
    let error = lines(|lines| lines[2] = "1,2,3");
    assert!(matches!(&error, Error::Line { line: 3, found, .. } if found == "3 values"), "{error}");
    let error = lines(|lines| lines[1] = "0,1,256");
    assert!(matches!(&error, Error::Line { line: 2, found, .. } if found == "`256`"), "{error}");
    let error = lines(|lines| lines.truncate(9));
    assert!(matches!(error, Error::Values(ValueError::MoreClassesThanRows { rows: 9, .. })));
}

#[test]
fn values_are_checked() {
    let error = inside(read(ten().replacen("0,", "17,", 1)).unwrap_err(), "digits.csv");
    assert!(matches!(error, Error::Pixel { sample: 0, found: 17, maximum: 16 }), "{error}");
    let error = inside(read(ten().replace(",9\n", ",10\n")).unwrap_err(), "digits.csv");
    let expected = ValueError::LabelOutOfRange { position: 9, found: 10, classes: 10 };
    assert!(matches!(error, Error::Values(found) if found == expected));
    let error = inside(read("").unwrap_err(), "digits.csv");
    assert!(matches!(error, Error::Values(ValueError::Empty { .. })));
}

#[test]
fn damaged_gzip_is_said_to_be_so() {
    let good = gzip(ten().as_bytes());
    for bad in [
        good[..good.len() / 2].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"more"].concat(),
    ] {
        let error = inside(read(bad).unwrap_err(), "digits.csv");
        assert!(matches!(error, Error::Gzip(_)), "{error}");
    }
}
