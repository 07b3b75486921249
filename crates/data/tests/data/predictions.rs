//! Saved predictions: what is written is read back, and what is damaged is not.

use std::fs;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize};
use softlabel_core::{Error as ValueError, Labels, Logits};
use softlabel_data::predictions::{Origin, SCHEMA};
use softlabel_data::{Error, SavedPredictions};

use crate::files::inside;

fn origin() -> Origin {
    Origin { arm: "smoothed \"0.1\" é".into(), seed: u64::MAX, split: "test".into() }
}

/// Three samples, two classes, one class ruled out for one sample.
fn three() -> SavedPredictions {
    let logits = Logits::new(vec![2.0, -1.5, f32::NEG_INFINITY, 0.25, 1e-30, 3e30], 2).unwrap();
    let labels = Labels::new(&[0u8, 1, 1], 2).unwrap();
    SavedPredictions::new(origin(), logits, labels, vec![5, 0, 1 << 40]).unwrap()
}

fn noisy() -> SavedPredictions {
    three().with_observed_labels(Labels::new(&[1u8, 1, 0], 2).unwrap()).unwrap()
}

/// A file written by the safetensors crate itself from some tensors and metadata entries.
struct Foreign {
    tensors: Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: Vec<(&'static str, &'static str)>,
}

impl Foreign {
    /// Two samples, two classes.
    fn good() -> Self {
        let integers = |values: [i64; 2]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let logits = [1f32, 0.0, 0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            tensors: vec![
                ("logits", Dtype::F32, vec![2, 2], logits),
                ("labels", Dtype::I64, vec![2], integers([0, 1])),
                ("sample_ids", Dtype::I64, vec![2], integers([3, 4])),
            ],
            metadata: vec![("schema", SCHEMA), ("arm", "a"), ("seed", "1"), ("split", "test")],
        }
    }

    fn read(&self) -> Result<SavedPredictions, Error> {
        let view = |(name, dtype, shape, bytes): &'_ (&'static str, Dtype, Vec<usize>, Vec<u8>)| {
            (*name, *dtype, shape.clone(), bytes.clone())
        };
        let owned: Vec<_> = self.tensors.iter().map(view).collect();
        let views = owned.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = self.metadata.iter().map(|&(key, value)| (key.into(), value.into()));
        SavedPredictions::from_bytes(&serialize(views, Some(metadata.collect())).unwrap())
    }
}

#[test]
fn files_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    for predictions in [three(), noisy()] {
        let path = folder.path().join("predictions.safetensors");
        predictions.write(&path).unwrap();
        assert_eq!(SavedPredictions::read(&path).unwrap(), predictions);
    }
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn others_can_read_the_file() {
    let bytes = noisy().to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("logits").unwrap();
    assert_eq!((logits.dtype(), logits.shape()), (Dtype::F32, &[3, 2][..]));
    assert_eq!(logits.data()[..4], 2f32.to_le_bytes());
    for name in ["labels", "observed_labels", "sample_ids"] {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::I64, &[3][..]));
    }
    assert_eq!(file.tensor("sample_ids").unwrap().data()[..8], 5i64.to_le_bytes());
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert!(header.is_multiple_of(8));
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(metadata["schema"], "softlabel.predictions/1");
    assert_eq!(metadata["seed"], u64::MAX.to_string());
}

/// Equal predictions, equal bytes: run folders are compared byte by byte.
#[test]
fn the_header_has_one_order() {
    let bytes = noisy().to_bytes().unwrap();
    let header = String::from_utf8_lossy(&bytes[8..]);
    let expected = concat!(
        r#"{"__metadata__":{"arm":"smoothed \"0.1\" é","schema":"softlabel.predictions/1","#,
        r#""seed":"18446744073709551615","split":"test"},"#,
        r#""labels":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},"#,
        r#""logits":{"dtype":"F32","shape":[3,2],"data_offsets":[72,96]},"#,
        r#""observed_labels":{"dtype":"I64","shape":[3],"data_offsets":[24,48]},"#,
        r#""sample_ids":{"dtype":"I64","shape":[3],"data_offsets":[48,72]}}"#,
    );
    assert!(header.starts_with(expected), "{header}");
    assert_eq!(bytes, noisy().to_bytes().unwrap());
}

#[test]
fn parts_must_be_as_long() {
    let logits = || Logits::new(vec![0.0; 6], 2).unwrap();
    let labels = |n, classes| Labels::new(&vec![0u8; n], classes).unwrap();
    let check = |labels, ids, what| {
        let error = SavedPredictions::new(origin(), logits(), labels, ids).unwrap_err();
        assert!(
            matches!(error, Error::Values(ValueError::Mismatch { what: found, .. }) if found == what)
        );
    };
    check(labels(2, 2), vec![0, 1, 2], "labels");
    check(labels(3, 3), vec![0, 1, 2], "labels");
    check(labels(3, 2), vec![0, 1], "sample ids");
    assert!(three().with_observed_labels(labels(4, 2)).is_err());
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictions.safetensors");
    fs::write(&path, "before").unwrap();
    let logits = Logits::new(vec![0.0, 0.0], 2).unwrap();
    let labels = Labels::new(&[0u8], 2).unwrap();
    let unwritable = SavedPredictions::new(origin(), logits, labels, vec![usize::MAX]).unwrap();
    assert!(matches!(unwritable.write(&path), Err(Error::Values(ValueError::OutOfRange { .. }))));
    assert_eq!(fs::read(&path).unwrap(), b"before");
    three().write(&path).unwrap();
    assert_eq!(SavedPredictions::read(&path).unwrap(), three());

    let error = three().write(&folder.path().join("none/predictions.safetensors")).unwrap_err();
    assert!(matches!(error, Error::Io { action: "write", .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn the_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
    three().write(&ours).unwrap();
    fs::write(&plain, "").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(ours), mode(plain));
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = noisy().to_bytes().unwrap();
    for length in 0..bytes.len() {
        let error = SavedPredictions::from_bytes(&bytes[..length]).unwrap_err();
        assert!(matches!(error, Error::Size { found, .. } if found == length), "{length}: {error}");
    }
    let error = SavedPredictions::from_bytes(&[&bytes[..], b"\0"].concat()).unwrap_err();
    assert!(matches!(error, Error::Size { .. }), "{error}");
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    let error = SavedPredictions::read(&path).unwrap_err();
    assert!(matches!(error, Error::Io { action: "read", .. }), "{error}");
    fs::write(&path, b"\x02\0\0\0\0\0\0\0[]").unwrap();
    let error = SavedPredictions::read(&path).unwrap_err();
    assert!(error.to_string().contains("bad.safetensors: not a safetensors file"), "{error}");
    assert!(matches!(inside(error, "bad.safetensors"), Error::Header(_)));
}

/// Sizes that only fit together if they overflow.
#[test]
fn a_hostile_header_is_an_error() {
    let half = usize::MAX / 2;
    let header = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{half}],"data_offsets":[0,{half}]}},"b":{{"dtype":"U8","shape":[{half}],"data_offsets":[{half},{}]}}}}"#,
        2 * half
    );
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    assert!(SavedPredictions::from_bytes(&bytes).is_err());
    assert!(SavedPredictions::from_bytes(&[0xff; 16]).is_err());
}

#[test]
fn foreign_files_are_fine_if_they_hold_what_they_should() {
    let mut file = Foreign::good();
    file.tensors.push(("features", Dtype::U8, vec![1], vec![0]));
    file.metadata.push(("comment", "ignored"));
    let read = file.read().unwrap();
    assert_eq!(read.logits().as_slice(), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!((read.labels().as_slice(), read.sample_ids()), (&[0, 1][..], &[3, 4][..]));
    assert!(read.observed_labels().is_none());
}

#[test]
fn missing_tensors_are_named() {
    for (index, name) in ["logits", "labels", "sample_ids"].into_iter().enumerate() {
        let mut file = Foreign::good();
        file.tensors.remove(index);
        let error = file.read().unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Tensor { name: found, .. } if found == name), "{message}");
        assert!(message.ends_with("found nothing"), "{message}");
    }
}

#[test]
fn wrong_types_and_shapes_are_shown() {
    let check = |index: usize, dtype, shape: &[usize], bytes: usize, complaint: &str| {
        let mut file = Foreign::good();
        let name = file.tensors[index].0;
        file.tensors[index] = (name, dtype, shape.to_vec(), vec![0; bytes]);
        assert_eq!(file.read().unwrap_err().to_string(), complaint);
    };
    check(
        0,
        Dtype::F64,
        &[2, 2],
        32,
        "tensor `logits`: expected F32 of shape [n, K], found F64 of shape [2, 2]",
    );
    check(
        0,
        Dtype::F32,
        &[4],
        16,
        "tensor `logits`: expected F32 of shape [n, K], found F32 of shape [4]",
    );
    check(
        1,
        Dtype::I32,
        &[2],
        8,
        "tensor `labels`: expected I64 of shape [n], found I32 of shape [2]",
    );
    check(2, Dtype::I64, &[3], 24, "sample ids: expected 2, one a row of logits, found 3");
    check(1, Dtype::I64, &[1], 8, "labels: expected 2 of 2 classes, found 1 of 2 classes");
    check(0, Dtype::F32, &[2, 0], 0, "the class axis is empty: expected at least one");
}

#[test]
fn bad_values_are_errors() {
    let with = |index: usize, bytes: &[u8]| {
        let mut file = Foreign::good();
        file.tensors[index].3[..bytes.len()].copy_from_slice(bytes);
        file.read().unwrap_err()
    };
    assert!(matches!(with(0, &f32::NAN.to_le_bytes()), Error::Values(ValueError::BadValue { .. })));
    let error = with(1, &2i64.to_le_bytes());
    assert!(matches!(
        error,
        Error::Values(ValueError::LabelOutOfRange { position: 0, found: 2, .. })
    ));
    let error = with(2, &(-1i64).to_le_bytes());
    assert_eq!(error.to_string(), "sample id must be in 0..2^63, found -1");
}

#[test]
fn metadata_is_checked() {
    for (index, key) in ["schema", "arm", "seed", "split"].into_iter().enumerate() {
        let mut file = Foreign::good();
        file.metadata.remove(index);
        let error = file.read().unwrap_err();
        assert!(matches!(error, Error::Metadata { key: found, .. } if found == key), "{error}");
    }
    let with = |index: usize, value| {
        let mut file = Foreign::good();
        file.metadata[index].1 = value;
        file.read().unwrap_err().to_string()
    };
    assert_eq!(
        with(0, "softlabel.predictions/2"),
        "metadata `schema`: expected softlabel.predictions/1, found `softlabel.predictions/2`"
    );
    assert_eq!(with(2, "-1"), "metadata `seed`: expected an unsigned 64-bit number, found `-1`");
}

proptest! {
    #[test]
    fn any_predictions_survive_the_file(
        (classes, rows) in (1..6_usize, 0..40_usize),
        seed: u64,
        arm in ".*",
    ) {
        let mut numbers = softlabel_data::seed::stream(seed, "test");
        let mut next = move || rand_chacha::rand_core::Rng::next_u32(&mut numbers);
        let finite = |bits: u32| Some(f32::from_bits(bits)).filter(|z| z.is_finite()).unwrap_or(0.0);
        let logits = Logits::new((0..rows * classes).map(|_| finite(next())).collect::<Vec<_>>(), classes).unwrap();
        let values: Vec<_> = (0..rows).map(|_| next() % u32::try_from(classes).unwrap()).collect();
        let labels = Labels::new(&values, classes).unwrap();
        let origin = Origin { arm, seed, split: String::new() };
        let predictions = SavedPredictions::new(origin, logits, labels, (0..rows).rev().collect()).unwrap();
        let bytes = predictions.to_bytes().unwrap();
        let read = SavedPredictions::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &predictions);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
    }

    /// Damage is an error or other predictions, never a panic.
    #[test]
    fn damaged_bytes_do_not_panic(changes in prop::collection::vec((0..600_usize, any::<u8>()), 1..8)) {
        let mut bytes = noisy().to_bytes().unwrap();
        let length = bytes.len();
        for (position, byte) in changes {
            bytes[position % length] = byte;
        }
        if let Ok(read) = SavedPredictions::from_bytes(&bytes) {
            prop_assert_eq!(read.labels().len(), read.logits().rows());
        }
    }
}
