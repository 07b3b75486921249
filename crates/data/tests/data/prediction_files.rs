//! Files that other programs wrote: the same numbers, whatever the format, the type and the order of the bytes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use softlabel_data::predictions::{
    Checked, PredictionFile, PredictionWriter, ScoreBlock, ScoreKind, Targets, WrittenScores,
};

use crate::files::npy;

/// Exact in every type; 3 rows of 2 classes.
const LOGITS: [f64; 6] = [0.5, -1.0, 2.0, 0.25, -3.0, 1.5];

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn bytes<const N: usize>(values: &[f64], element: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| element(value)).collect()
}

/// All scores of a file as f64.
fn logits(path: &Path, key: Option<&str>) -> Vec<f64> {
    let file = PredictionFile::open(path).unwrap();
    match file.scores(ScoreKind::Logits, key, None).unwrap().read().unwrap() {
        ScoreBlock::Single(Checked::Logits(rows)) => {
            rows.as_slice().iter().map(|&value| value.into()).collect()
        }
        ScoreBlock::Double(Checked::Logits(rows)) => rows.as_slice().to_vec(),
        other => panic!("asked for logits, got {other:?}"),
    }
}

fn error(path: &Path) -> String {
    let scores = PredictionFile::open(path)
        .and_then(|file| file.scores(ScoreKind::Probabilities, None, None)?.read().map(|_| ()));
    scores.unwrap_err().to_string()
}

#[test]
fn numpy_types_and_orders_give_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    #[allow(clippy::cast_possible_truncation)] // Exact.
    let single = |value: f64| value as f32;
    let columns: Vec<f64> = [0, 2, 4, 1, 3, 5].map(|place: usize| LOGITS[place]).into();
    let cases = [
        ("<f2", false, bytes(&LOGITS, |v| f16::from_f64(v).to_le_bytes())),
        (">f2", false, bytes(&LOGITS, |v| f16::from_f64(v).to_be_bytes())),
        ("<f4", false, bytes(&LOGITS, |v| single(v).to_le_bytes())),
        (">f4", false, bytes(&LOGITS, |v| single(v).to_be_bytes())),
        ("<f8", false, bytes(&LOGITS, f64::to_le_bytes)),
        (">f8", false, bytes(&LOGITS, f64::to_be_bytes)),
        ("<f4", true, bytes(&columns, |v| single(v).to_le_bytes())),
        (">f8", true, bytes(&columns, f64::to_be_bytes)),
    ];
    for (descr, fortran, elements) in cases {
        let path = write(folder.path(), "a.npy", &npy(descr, fortran, "3, 2", &elements));
        assert_eq!(logits(&path, None), LOGITS, "{descr} {fortran}");
    }
}

#[test]
fn safetensors_of_every_float() {
    let folder = tempfile::tempdir().unwrap();
    #[allow(clippy::cast_possible_truncation)] // Exact.
    let cases = [
        (Dtype::BF16, bytes(&LOGITS, |v| bf16::from_f64(v).to_le_bytes())),
        (Dtype::F16, bytes(&LOGITS, |v| f16::from_f64(v).to_le_bytes())),
        (Dtype::F32, bytes(&LOGITS, |v| (v as f32).to_le_bytes())),
        (Dtype::F64, bytes(&LOGITS, f64::to_le_bytes)),
    ];
    for (dtype, elements) in cases {
        let logit = TensorView::new(dtype, vec![3, 2], &elements).unwrap();
        let file = safetensors::serialize([("logits", logit)], None).unwrap();
        let path = write(folder.path(), "a.safetensors", &file);
        assert_eq!(logits(&path, None), LOGITS, "{dtype:?}");
    }
}

#[test]
fn arrays_of_an_archive_are_found_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let scores = npy("<f8", false, "3, 2", &bytes(&LOGITS, f64::to_le_bytes));
    let labels = npy("<u2", false, "3,", &[1, 0, 0, 0, 1, 0]);
    let archive = |members: &[(&str, &[u8])]| {
        let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for (name, member) in members {
            let options = zip::write::SimpleFileOptions::default();
            archive.start_file(format!("{name}.npy"), options).unwrap();
            archive.write_all(member).unwrap();
        }
        archive.finish().unwrap();
    };
    archive(&[("a", &scores), ("b", &labels)]);
    assert_eq!(logits(&path, None), LOGITS);
    let found = PredictionFile::open(&path).unwrap().labels(None, 2, false).unwrap();
    let Some(Targets::Classes(found)) = found else { panic!("{found:?}") };
    assert_eq!(found.as_slice(), [1, 0, 1]);

    archive(&[("a", &scores), ("b", &scores)]);
    assert_eq!(logits(&path, Some("b")), LOGITS);
    let file = PredictionFile::open(&path).unwrap();
    let error = file.scores(ScoreKind::Logits, None, None).unwrap_err().to_string();
    assert!(error.contains("`a` (f64 [3, 2]), `b` (f64 [3, 2])"), "{error}");
    assert!(error.contains("--scores-key"), "{error}");
    let error = file.scores(ScoreKind::Logits, Some("c"), None).unwrap_err().to_string();
    assert!(error.contains("no array `c` for the scores"), "{error}");
}

#[test]
fn labels_may_be_one_hot_counts_or_distributions() {
    let folder = tempfile::tempdir().unwrap();
    let labels = |values: &[f64], renormalize| {
        let array = npy("<f8", false, "2, 2", &bytes(values, f64::to_le_bytes));
        let path = write(folder.path(), "labels.npy", &array);
        PredictionFile::open(&path).unwrap().only_labels(None, 2, renormalize)
    };
    let Targets::Classes(classes) = labels(&[0.0, 1.0, 1.0, 0.0], false).unwrap() else {
        panic!("one-hot rows are classes")
    };
    assert_eq!(classes.as_slice(), [1, 0]);
    for (values, renormalize) in [([3.0, 1.0, 0.0, 2.0], false), ([1.5, 0.5, 0.0, 0.5], true)] {
        let Targets::Distributions(rows) = labels(&values, renormalize).unwrap() else {
            panic!("{values:?} are distributions")
        };
        assert_eq!(rows.as_slice(), [0.75, 0.25, 0.0, 1.0]);
    }
    assert!(labels(&[1.5, 0.5, 0.0, 0.5], false).is_err());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let probabilities = |values: &[f64], shape: &str| {
        let array = npy("<f8", false, shape, &bytes(values, f64::to_le_bytes));
        write(folder.path(), "p.npy", &array)
    };
    let cases: [(&[f64], &str, &str); 5] = [
        (&[0.5, 0.5, f64::NAN, 0.5], "2, 2", "row 1, class 0"),
        (&[0.5, 0.5, 1.5, -0.5], "2, 2", "row 1"),
        (&[0.5, 0.5, 0.5, 0.4], "2, 2", "row 1"),
        (&[0.5, 0.5], "2, 2", "expected 128 bytes of header and 32 of f64 [2, 2]"),
        (&[], "0, 2", "set of rows"),
    ];
    for (values, shape, expected) in cases {
        let path = probabilities(values, shape);
        let error = error(&path);
        assert!(error.contains("p.npy") && error.contains(expected), "{error}");
    }
    let csv = write(folder.path(), "p.csv", b"a,b\n0.5,0.5\n0.5,x\n");
    let message = error(&csv);
    assert!(
        message.contains("p.csv: line 3: expected a number in column `b`, found `x`"),
        "{message}"
    );
    assert!(error(&folder.path().join("p.mat")).contains("*.npz"));
    assert!(error(&folder.path().join("absent.npy")).contains("cannot read"));
}

#[test]
fn a_column_of_scores_is_that_of_class_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.csv", b"prob,label\n0.75,1\n0.5,0\n");
    let file = PredictionFile::open(&path).unwrap();
    let scores = file.scores(ScoreKind::Probabilities, None, None).unwrap();
    let block = scores.read().unwrap();
    let ScoreBlock::Double(Checked::Probabilities(rows)) = block else { panic!("{block:?}") };
    assert_eq!(rows.as_slice(), [0.25, 0.75, 0.5, 0.5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_read(
        values in prop::collection::vec(-50.0f64..50.0, 12),
        extension in prop::sample::select(vec!["npy", "npz", "safetensors", "csv"]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("a.{extension}"));
        let scores = WrittenScores { name: "logits".into(), rows: 4, classes: 3, double: true };
        let mut writer = PredictionWriter::new(&path, scores, None).unwrap();
        writer.write(&values[..3]).unwrap();
        writer.write(&values[3..]).unwrap();
        writer.finish().unwrap();
        prop_assert_eq!(logits(&path, None), values);
    }

    #[test]
    fn no_bytes_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0usize..200,
        extension in prop::sample::select(vec!["npy", "npz", "safetensors", "csv"]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let array = npy("<f8", false, "3, 2", &bytes(&LOGITS, f64::to_le_bytes));
        let kept = &array[..cut.min(array.len())];
        let path = write(folder.path(), &format!("a.{extension}"), &[kept, &noise].concat());
        if let Ok(file) = PredictionFile::open(&path)
            && let Ok(scores) = file.scores(ScoreKind::Logits, None, None)
        {
            _ = scores.read();
        }
    }
}

/// A `.safetensors` file of three rows of two classes and some arrays of integers or floats beside them.
fn beside(folder: &Path, arrays: &[(&str, Dtype, Vec<usize>)]) -> PathBuf {
    #[allow(clippy::cast_possible_truncation)] // Exact.
    let scores = bytes(&LOGITS, |value| (value as f32).to_le_bytes());
    // 0, 1, 1 of integers; of two columns one-hot rows of the same.
    let of = |dtype: Dtype, columns: usize| -> Vec<u8> {
        let values: &[u8] = if columns == 2 { &[1, 0, 0, 1, 0, 1] } else { &[0, 1, 1] };
        match dtype {
            Dtype::I64 => values.iter().flat_map(|&v| i64::from(v).to_le_bytes()).collect(),
            Dtype::U8 => values.to_vec(),
            _ => values.iter().flat_map(|&v| f32::from(v).to_le_bytes()).collect(),
        }
    };
    let mut owned = vec![("logits", Dtype::F32, vec![3, 2], scores)];
    for (name, dtype, shape) in arrays {
        let columns = shape.get(1).copied().unwrap_or(1);
        owned.push((name, *dtype, shape.clone(), of(*dtype, columns)));
    }
    let views = owned.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    write(folder, "beside.safetensors", &safetensors::serialize(views, None).unwrap())
}

/// What is called labels is labels, whatever lies beside it; and what is called something else is not, even alone.
#[test]
fn labels_are_what_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let labels = |arrays: &[(&str, Dtype, Vec<usize>)]| {
        let file = PredictionFile::open(&beside(folder.path(), arrays)).unwrap();
        file.labels(None, 2, false)
    };
    for named in [
        ("labels", Dtype::F32, vec![3]),
        ("labels", Dtype::I64, vec![3, 1]),
        ("y", Dtype::U8, vec![3, 2]),
        ("targets", Dtype::F32, vec![3, 2]),
    ] {
        let fold = ("fold", Dtype::I64, vec![3]);
        let other = ("whatever", Dtype::U8, vec![3]);
        let found = labels(&[named.clone(), fold, other]).unwrap().unwrap();
        let found = match found {
            Targets::Classes(labels) => labels.iter().collect(),
            Targets::Distributions(rows) => {
                rows.matrix().iter().map(|row| usize::from(row[1] == 1.0)).collect::<Vec<_>>()
            }
        };
        assert_eq!(found, [0, 1, 1], "{named:?}");
    }
    for name in ["index", "predictions", "Fold", "ids", "pred"] {
        assert_eq!(labels(&[(name, Dtype::I64, vec![3])]).unwrap(), None, "{name}");
    }
    assert!(labels(&[("whatever", Dtype::I64, vec![3])]).unwrap().is_some());
    let two = [("this", Dtype::I64, vec![3]), ("that", Dtype::I64, vec![3])];
    assert!(labels(&two).unwrap_err().to_string().contains("--labels-key"));
}

#[test]
fn scores_of_a_usual_name_are_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = beside(folder.path(), &[("probs", Dtype::I64, vec![3])]);
    let file = PredictionFile::open(&path).unwrap();
    let said = file.scores(ScoreKind::Probabilities, None, None).unwrap_err().to_string();
    assert!(said.contains("expected scores of f16, bf16, f32 or f64, found `probs`"), "{said}");
}

/// Columns that are neither scores nor labels are not counted as classes.
#[test]
fn columns_of_a_table_are_chosen_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        |text: &str| PredictionFile::open(&write(folder.path(), "a.csv", text.as_bytes())).unwrap();
    for name in ["", "id", "Unnamed: 0", "pred", "fold"] {
        let file = open(&format!("{name},cat,dog,label\n0,0.75,0.25,0\n1,0.5,0.5,1\n"));
        let said = file.scores(ScoreKind::Probabilities, None, None).unwrap_err().to_string();
        assert!(said.contains(&format!("found column `{name}` beside them")), "{said}");
        let scores = file.scores(ScoreKind::Probabilities, Some("dog, cat"), None).unwrap();
        let ScoreBlock::Double(Checked::Probabilities(rows)) = scores.read().unwrap() else {
            panic!("no probabilities in double precision")
        };
        assert_eq!(rows.as_slice(), [0.25, 0.75, 0.5, 0.5]);
    }
    let file = open("p_0,p_1,labels_0,labels_1\n0.75,0.25,1,0\n0.5,0.5,0,1\n");
    for (scores_key, labels_key) in [(None, None), (Some("p"), Some("labels"))] {
        let scores = file.scores(ScoreKind::Probabilities, scores_key, labels_key).unwrap();
        assert_eq!(scores.classes(), 2);
        let labels = file.labels(labels_key, 2, false).unwrap().unwrap();
        let Targets::Classes(labels) = labels else { panic!("expected one-hot rows") };
        assert_eq!(labels.iter().collect::<Vec<_>>(), [0, 1]);
    }
    let said = file.labels(Some("none"), 2, false).unwrap_err().to_string();
    assert!(said.contains("column `none`"), "{said}");
}

/// Probabilities in half precision sum to 1 up to the rounding of their type, and are divided by their sum.
#[test]
fn probabilities_of_half_precision_are_taken_as_they_are_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let read = |dtype: Dtype, bytes: &[u8]| {
        let view = TensorView::new(dtype, vec![1, 3], bytes).unwrap();
        let file = safetensors::serialize([("probs", view)], None).unwrap();
        let path = write(folder.path(), "half.safetensors", &file);
        let file = PredictionFile::open(&path).unwrap();
        file.scores(ScoreKind::Probabilities, None, None).and_then(|scores| scores.read())
    };
    let thirds = bytes(&[1.0 / 3.0; 3], |value| bf16::from_f64(value).to_le_bytes());
    let ScoreBlock::Single(Checked::Probabilities(rows)) = read(Dtype::BF16, &thirds).unwrap()
    else {
        panic!("no probabilities in single precision")
    };
    assert!(rows.as_slice().iter().all(|&p| (p - 1.0 / 3.0).abs() < 1e-7), "{rows:?}");
    for (dtype, off) in [
        (Dtype::BF16, bytes(&[0.35; 3], |value| bf16::from_f64(value).to_le_bytes())),
        (Dtype::F16, bytes(&[0.335; 3], |value| f16::from_f64(value).to_le_bytes())),
    ] {
        assert!(read(dtype, &off).unwrap_err().to_string().contains("sums to"), "{dtype:?}");
    }
}

/// What is below the least probability is raised to it, whatever it is given as.
#[test]
fn probabilities_are_clipped_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.csv", b"a,b,c,label\n1,0,0,1\n0.5,0.5,0,0\n");
    let file = PredictionFile::open(&path).unwrap();
    let scores = || file.scores(ScoreKind::Probabilities, None, None).unwrap();
    let ScoreBlock::Double(Checked::Probabilities(rows)) =
        scores().clipped(0.01).unwrap().read().unwrap()
    else {
        panic!("no probabilities in double precision")
    };
    let expected = [1.0 / 1.02, 0.01 / 1.02, 0.01 / 1.02, 0.5 / 1.01, 0.5 / 1.01, 0.01 / 1.01];
    for (found, expected) in rows.as_slice().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-15, "{rows:?}");
    }
    for least in [0.0, 0.5, -1.0, f64::NAN] {
        assert!(scores().clipped(least).is_err(), "{least}");
    }
    let path = write(folder.path(), "b.csv", b"p,label\n1,1\n0.25,0\n");
    let file = PredictionFile::open(&path).unwrap();
    let scores = file.scores(ScoreKind::Probabilities, None, None).unwrap();
    let ScoreBlock::Double(Checked::Probabilities(rows)) =
        scores.clipped(0.125).unwrap().read().unwrap()
    else {
        panic!("no probabilities in double precision")
    };
    assert_eq!(rows.as_slice(), [0.125, 0.875, 0.75, 0.25]);
}
