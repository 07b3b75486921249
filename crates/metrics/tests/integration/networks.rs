//! What real networks said: a reader for the `.npz` files and the reference values of the folder
//! that the environment variable `SOFTLABEL_DATA` names. Shared with the tests of
//! `softlabel-posthoc`.

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

pub(crate) const NAMES: [&str; 3] =
    ["wideresnet-16-4-cifar-10", "wideresnet-16-4-cifar-100", "lenet-5-cifar-10"];

/// The probabilities that a network gave, and the labels.
pub(crate) struct Network {
    pub(crate) name: &'static str,
    pub(crate) classes: usize,
    /// Row-major `[10000, classes]`.
    pub(crate) probabilities: Vec<f32>,
    pub(crate) labels: Vec<i64>,
    /// The reference values under `metrics` in `golden.json`.
    pub(crate) golden: Value,
}

impl Network {
    /// A number of the reference.
    pub(crate) fn golden(&self, key: &str) -> f64 {
        self.golden[key].as_f64().unwrap_or_else(|| panic!("golden.json: no number {key}"))
    }
}

/// The data folder; `None`, and a line that says so, if there is none.
pub(crate) fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SOFTLABEL_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped {test}: SOFTLABEL_DATA does not name a folder with golden.json");
    }
    folder
}

/// `golden.json`: f64 values computed with NumPy and SciPy from the files beside it.
pub(crate) fn golden(folder: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The three networks; none, and a line that says so, without the data folder.
pub(crate) fn networks(test: &str) -> impl Iterator<Item = Network> {
    let folder = folder(test);
    NAMES.into_iter().filter_map(move |name| Some(read(folder.as_ref()?, name)))
}

fn read(folder: &std::path::Path, name: &'static str) -> Network {
    let file = std::fs::File::open(folder.join(format!("predictions/{name}.npz"))).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut entry = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (predictions, labels) = (entry("predictions.npy"), entry("ground_truth.npy"));
    let (shape, values) = numpy_array::<4>(&predictions, "<f4");
    Network {
        name,
        classes: shape[1],
        probabilities: values.map(f32::from_le_bytes).collect(),
        labels: numpy_array::<8>(&labels, "<i8").1.map(i64::from_le_bytes).collect(),
        golden: golden(folder)["metrics"][name].clone(),
    }
}

/// The shape and the elements, of `N` bytes each, of an `.npy` file of version 1 in C order.
fn numpy_array<'a, const N: usize>(
    bytes: &'a [u8],
    kind: &str,
) -> (Vec<usize>, impl Iterator<Item = [u8; N]> + 'a) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).unwrap();
    assert!(header.contains(&format!("'descr': '{kind}'")), "{header}");
    assert!(header.contains("'fortran_order': False"), "{header}");
    let shape = header.split(['(', ')']).nth(1).unwrap();
    let shape = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    let (values, []) = bytes[end..].as_chunks::<N>() else { panic!("half an element") };
    (shape, values.iter().copied())
}
