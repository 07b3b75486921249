//! CIFAR-10 folders, whole and damaged.

use softlabel_core::Error as ValueError;
use softlabel_data::{Data, Error, ImageShape, cifar10};

use crate::files::{folder, gzip, inside, record};

fn batch(labels: impl IntoIterator<Item = u8>) -> Vec<u8> {
    labels.into_iter().flat_map(record).collect()
}

fn read(files: &[(&str, Vec<u8>)]) -> Result<Data, Error> {
    cifar10::read_folder(folder(files).path())
}

#[test]
fn batches_are_joined_in_the_order_of_their_numbers() {
    let (two, five) = (batch(0..4), batch([9, 8, 7, 6, 5, 4]));
    let data = read(&[
        ("data_batch_5.bin", five.clone()),
        ("data_batch_2.bin.gz", gzip(&two)),
        ("test_batch.bin", batch(0..10)),
        ("batches.meta.txt", b"airplane".to_vec()),
    ])
    .unwrap();
    let train = data.pool();
    assert_eq!(train.labels().as_slice(), [0, 1, 2, 3, 9, 8, 7, 6, 5, 4]);
    assert_eq!(train.shape(), ImageShape { channels: 3, height: 32, width: 32 });
    let image = train.image(4).unwrap();
    assert_eq!((image[0], image[1023], image[1024], image[2048], image[3071]), (9, 9, 19, 29, 29));
    assert_eq!((data.test().unwrap().len(), train.name()), (10, "cifar10/train"));

    let unpacked = read(&[
        ("cifar-10-batches-bin/data_batch_2.bin", two),
        ("cifar-10-batches-bin/data_batch_5.bin", five),
        ("cifar-10-batches-bin/test_batch.bin", batch(0..10)),
    ]);
    assert_eq!(unpacked.unwrap(), data);
}

#[test]
fn what_is_missing_is_named() {
    let error = read(&[]).unwrap_err();
    let Error::Missing { tried, .. } = &error else { panic!("{error:?}") };
    assert_eq!(tried.len(), 10);
    let message = error.to_string();
    for part in ["data_batch_5.bin.gz", "CIFAR-10 binary version", "SOFTLABEL_DATA", "`path`"] {
        assert!(message.contains(part), "{message} lacks {part}");
    }
    let error = read(&[("data_batch_1.bin", batch(0..10))]).unwrap_err();
    assert!(matches!(error, Error::Missing { what: "CIFAR-10 test batch", .. }), "{error}");
}

#[test]
fn damage_is_told_with_the_file() {
    let whole = batch(0..10);
    let damaged = |bytes: Vec<u8>| {
        let files = [
            ("data_batch_1.bin", whole.clone()),
            ("data_batch_2.bin", bytes),
            ("test_batch.bin", whole.clone()),
        ];
        inside(read(&files).unwrap_err(), "data_batch_2.bin")
    };
    for length in [0, 3072, 30729] {
        let error = damaged(whole[..length].to_vec());
        assert!(matches!(error, Error::Size { found, .. } if found == length), "{error}");
    }
    let error = damaged([&whole[..], &[0]].concat());
    assert_eq!(
        error.to_string(),
        "expected a whole number of records of 3073 bytes, at least one, found 30731 bytes"
    );
    let zipped = gzip(&whole);
    assert!(matches!(damaged(zipped[..zipped.len() - 9].to_vec()), Error::Gzip(_)));
    assert!(matches!(damaged([&zipped[..], b"\0"].concat()), Error::Gzip(_)));
    let error = damaged(batch([0, 1, 10]));
    let expected = ValueError::LabelOutOfRange { position: 2, found: 10, classes: 10 };
    assert!(matches!(error, Error::Values(found) if found == expected));
}
