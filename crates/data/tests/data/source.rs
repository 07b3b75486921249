//! Naming data in a file, and finding it.

use std::collections::BTreeMap;
use std::path::Path;

use softlabel_data::{Error, MapFiles, Source};

use crate::files::{folder, idx, record};

fn parse(text: &str) -> Result<Source, String> {
    // A table of a larger file, as in a recipe.
    let file = format!("[data]\n{text}");
    let parsed: BTreeMap<String, Source> =
        toml::from_str(&file).map_err(|error| error.to_string())?;
    Ok(parsed["data"].clone())
}

fn check_round_trip(source: &Source, text: &str) {
    assert_eq!(toml::to_string(source).unwrap(), text);
    assert_eq!(&parse(text).unwrap(), source);
}

#[test]
fn sources_are_written_and_read() {
    check_round_trip(&Source::Digits, "dataset = \"digits\"\n");
    check_round_trip(
        &Source::Mnist { path: None, classes: 10 },
        "dataset = \"mnist\"\nclasses = 10\n",
    );
    check_round_trip(
        &Source::Cifar10 { path: Some("here".into()) },
        "dataset = \"cifar10\"\npath = \"here\"\n",
    );
    check_round_trip(&Source::DigitMaps, "dataset = \"digit_maps\"\n");
    let maps = "dataset = \"maps\"\nimages = \"x.npz\"\nimages_key = \"x\"\nlabels = \"y.npy\"\nclasses = 3\n\
        ignore = 255\n";
    let files = MapFiles {
        images: "x.npz".into(),
        images_key: Some("x".into()),
        labels: "y.npy".into(),
        labels_key: None,
        classes: 3,
        ignore: Some(255),
    };
    check_round_trip(&Source::Maps(files), maps);
    let short = parse("dataset = \"mnist\"").unwrap();
    assert_eq!(short, Source::Mnist { path: None, classes: 10 });
}

#[test]
fn mistakes_are_pointed_at() {
    for (text, complaint) in [
        ("dataset = \"mnits\"", "expected one of `digits`, `mnist`, `cifar10`"),
        ("dataset = \"digits\"\npaht = \"x\"", "unknown field `paht`"),
        ("dataset = \"digits\"\npath = \"x\"", "takes no `path`"),
        ("dataset = \"cifar10\"\nclasses = 10", "takes no `classes`"),
        ("dataset = \"digit_maps\"\nclasses = 11", "are built in"),
        ("dataset = \"digits\"\nignore = 3", "go with `dataset = \"maps\"` alone"),
        (
            "dataset = \"maps\"\nimages = \"x.npy\"\nclasses = 3",
            "takes the files `images` and `labels`",
        ),
        ("dataset = \"maps\"\nimages = \"x.npy\"\nlabels = \"y.npy\"", "and a number of `classes`"),
        ("path = \"x\"", "missing field `dataset`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(complaint), "{error} lacks {complaint}");
        assert!(error.contains("line "), "{error}");
    }
}

#[test]
fn an_explicit_path_goes_before_the_root() {
    let bytes = || (0..10).flat_map(record).collect::<Vec<u8>>();
    let root = folder(&[
        ("cifar10/data_batch_1.bin", bytes()),
        ("cifar10/test_batch.bin", bytes()),
        ("elsewhere/data_batch_1.bin", bytes().repeat(2)),
        ("elsewhere/test_batch.bin", bytes()),
    ]);
    let load =
        |path, root: Option<&Path>| Source::Cifar10 { path }.load(root).unwrap().pool().len();
    assert_eq!(load(None, Some(root.path())), 10);
    let elsewhere = root.path().join("elsewhere");
    assert_eq!(load(Some(elsewhere.clone()), Some(root.path())), 20);
    assert_eq!(load(Some(elsewhere), None), 20);
}

#[test]
fn relatives_of_mnist_are_called_like_their_folder() {
    let images = idx(0x0803, &[2, 1, 1], &[0, 1]);
    let labels = idx(0x0801, &[2], &[0, 1]);
    let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
    let files = |folder: &str| {
        names.map(|name| {
            let bytes = if name.contains("images") { images.clone() } else { labels.clone() };
            (format!("{folder}/{name}-ubyte"), bytes)
        })
    };
    let files = [files("fashion"), files("mnist")].concat();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let root = folder(&files);

    let path = Some(root.path().join("fashion"));
    let fashion = Source::Mnist { path, classes: 2 }.load(None).unwrap();
    assert_eq!(fashion.pool().name(), "fashion/train");
    let mnist = Source::Mnist { path: None, classes: 2 }.load(Some(root.path())).unwrap();
    assert_eq!(mnist.test().unwrap().name(), "mnist/test");
}

#[test]
fn nowhere_to_look_is_an_error_of_its_own() {
    let error = Source::Mnist { path: None, classes: 10 }.load(None).unwrap_err();
    assert!(matches!(error, Error::NoFolder { dataset: "MNIST", .. }));
    assert!(error.to_string().contains("SOFTLABEL_DATA"), "{error}");
}

#[test]
fn an_empty_root_says_where_it_looked() {
    let root = folder(&[]);
    for (source, file) in [
        (Source::Mnist { path: None, classes: 10 }, "mnist/train-images-idx3-ubyte.gz"),
        (Source::Cifar10 { path: None }, "cifar10/data_batch_1.bin"),
    ] {
        let error = source.load(Some(root.path())).unwrap_err();
        let place = root.path().join(file);
        assert!(error.to_string().contains(&place.display().to_string()), "{error}");
    }
}
