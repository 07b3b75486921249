//! Data that are missing, damaged or strange: the file is named, and nothing is written.

use std::fs;

use crate::{Place, TINY, example};

/// An IDX file: sizes of the dimensions, then bytes.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let magic = 0x0800 + u32::try_from(sizes.len()).unwrap();
    let header = [&[magic], sizes].concat();
    let header: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
    [header, bytes.to_vec()].concat()
}

/// A folder with a recipe and the data set `tiles` of a few classes: images of 2×2, the first pixel bright for odd
/// labels.
fn place(classes: u8, train: u8, test: u8) -> Place {
    let source = format!("{{ dataset = \"mnist\", path = \"tiles\", classes = {classes} }}");
    let recipe = TINY.replace("{ dataset = \"digits\" }", &source).replace(", test = 0.25", "");
    let place = Place::new(&recipe);
    fs::create_dir(place.path("tiles")).unwrap();
    for (name, count) in [("train", train), ("t10k", test)] {
        let labels: Vec<u8> = (0..count).map(|sample| sample % classes).collect();
        let pixels: Vec<u8> = labels.iter().flat_map(|y| [y % 2 * 200, 20, 0, 9]).collect();
        let images = idx(&[count.into(), 2, 2], &pixels);
        fs::write(place.path(&format!("tiles/{name}-images-idx3-ubyte")), images).unwrap();
        let labels = idx(&[count.into()], &labels);
        fs::write(place.path(&format!("tiles/{name}-labels-idx1-ubyte")), labels).unwrap();
    }
    place
}

const IMAGES: &str = "tiles/train-images-idx3-ubyte";
const LABELS: &str = "tiles/train-labels-idx1-ubyte";

/// Data in which one file is replaced; the error names the file and what is wrong with it.
fn check(file: &str, content: &[u8], expected: &str) {
    let place = place(2, 40, 10);
    fs::remove_file(place.path(file.trim_end_matches(".gz"))).unwrap();
    fs::write(place.path(file), content).unwrap();
    check_refused(&place, &[file, expected]);
}

fn check_refused(place: &Place, expected: &[&str]) {
    let before = place.names(".");
    let said = place.run(&[]).failure();
    for expected in expected {
        assert!(said.contains(expected), "no {expected} in: {said}");
    }
    assert_eq!(place.names("."), before);
}

#[test]
fn a_data_set_of_ones_own_can_be_trained_on() {
    let place = place(2, 40, 10);
    place.run(&["--out", "run", "--quiet"]).success();
    let summary: serde_json::Value = serde_json::from_str(&place.read("run/summary.json")).unwrap();
    let dataset = &summary["dataset"];
    assert_eq!(dataset["name"], "tiles/train");
    assert_eq!((&dataset["classes"], &dataset["samples"]["test"]), (&2.into(), &10.into()));
    // Of the pool and of the test set.
    assert_eq!(dataset["fingerprint"].as_str().unwrap().len(), 64 + 1 + 64);
}

#[test]
fn data_that_nobody_named_are_explained() {
    for (name, file) in [("mnist", "train-images-idx3-ubyte"), ("cifar10", "data_batch_1.bin")] {
        let place = Place::new(&example(&format!("{name}.toml")));
        check_refused(&place, &["neither `path` nor SOFTLABEL_DATA is set", file, "comes from"]);
    }
}

#[test]
fn data_that_are_not_where_they_should_be_are_explained() {
    for (name, file) in [("mnist", "train-images-idx3-ubyte"), ("cifar10", "data_batch_1.bin")] {
        let place = Place::new(&example(&format!("{name}.toml")));
        let said = place.run(&["--data", "absent"]).failure();
        let looked = format!("there is no absent/{name}/{file}, no absent/{name}/{file}.gz");
        assert!(said.contains(&looked) && said.contains("comes from"), "{said}");
        assert_eq!(place.names("."), ["recipe.toml"]);
    }
}

#[test]
fn an_empty_environment_variable_is_none() {
    let run = |recipe: &str| {
        let place = Place::new(recipe);
        let mut command = place.command(&["run", "recipe.toml", "--dry-run"]);
        crate::Finished::new(&command.env("SOFTLABEL_DATA", "").output().unwrap())
    };
    run(TINY).success();
    let said = run(&example("mnist.toml")).failure();
    assert!(said.contains("neither `path` nor SOFTLABEL_DATA is set"), "{said}");
}

#[test]
fn a_damaged_file_is_named() {
    let images = idx(&[40, 2, 2], &[0; 160]);
    check(IMAGES, &images[..170], "header and 40 × 2 × 2 of data, found 170 bytes");
    check(IMAGES, b"", "found 0 bytes");
    check(IMAGES, &idx(&[40], &[0; 40]), "found magic number 0x00000801");
    check(LABELS, &idx(&[40], &[7; 40]), "label 7 at position 0 is not in 0..2");
    check(LABELS, &idx(&[u32::MAX], &[0; 39]), "4294967295 of data, found 47 bytes");
}

#[test]
fn another_number_of_labels_than_of_images_is_refused() {
    let place = place(2, 40, 10);
    fs::write(place.path(LABELS), idx(&[39], &[0; 39])).unwrap();
    check_refused(&place, &["tiles/train-", "expected 39 images", "found 160 values"]);
}

#[test]
fn damaged_gzip_data_are_named() {
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let gz = format!("{IMAGES}.gz");
    check(&gz, &header, "the gzip data is damaged or incomplete");
    // A stored block that breaks off.
    let truncated = [&header[..], &[1, 176, 0, 79, 255], &idx(&[40, 2, 2], &[0; 99])].concat();
    check(&gz, &truncated, "the gzip data is damaged or incomplete");
    check(&gz, &[&header[..], &[0xff; 50]].concat(), "the gzip data is damaged or incomplete");
}

#[test]
fn a_file_that_is_missing_among_others_is_named() {
    let place = place(2, 40, 10);
    fs::remove_file(place.path("tiles/t10k-labels-idx1-ubyte")).unwrap();
    check_refused(&place, &["MNIST test labels not found", "tiles/t10k-labels-idx1-ubyte"]);
}

#[test]
fn more_classes_than_samples_are_refused() {
    check_refused(&place(50, 40, 10), &["50", "40"]);
}

#[test]
fn a_single_class_is_refused() {
    check_refused(&place(1, 40, 10), &["number of classes must be at least 2, found 1"]);
}

#[test]
fn a_class_too_small_to_be_split_is_refused() {
    check_refused(&place(20, 39, 20), &["class 19 has 1 samples, too few"]);
}

#[test]
fn a_test_share_beside_a_test_set_is_refused() {
    let place = place(2, 40, 10);
    let said = place.run(&["--set", "data.split.test=0.1"]).failure();
    assert!(said.contains("brings its own test set of 10 samples"), "{said}");
}
