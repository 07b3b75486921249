//! The real files, where `SOFTLABEL_DATA` names a folder that has them; they are large and not part of this project.

use std::env;
use std::path::PathBuf;

use softlabel_data::{Data, Source, SplitFractions, read_digits};

/// The data folder, if it has `name`; else says what is skipped.
fn root_with(name: &str) -> Option<PathBuf> {
    let root = env::var_os("SOFTLABEL_DATA").map(PathBuf::from);
    let found = root.filter(|root| root.join(name).exists());
    if found.is_none() {
        eprintln!("skipped: there is no {name} in SOFTLABEL_DATA");
    }
    found
}

fn load(source: &Source) -> Option<Data> {
    let root = root_with(source.name())?;
    Some(source.load(Some(&root)).unwrap())
}

#[test]
fn mnist() {
    let Some(data) = load(&Source::Mnist { path: None, classes: 10 }) else { return };
    let (train, test) = (data.pool(), data.test().unwrap());
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    assert_eq!((train.shape().to_string(), train.max_value()), ("1×28×28".into(), 255));
    assert_eq!(train.labels().as_slice()[..5], [5, 0, 4, 1, 9]);
    assert_eq!(test.labels().as_slice()[..5], [7, 2, 1, 0, 4]);
    // Class counts and mean pixel (0.1307) as they are known for MNIST.
    let counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
    assert_eq!(train.labels().counts(), counts);
    let sum: u64 = train.pixels().iter().map(|&pixel| u64::from(pixel)).sum();
    let mean = sum as f64 / train.pixels().len() as f64 / 255.0;
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");

    let splits = data.split(SplitFractions::new(0.1, 0.0).unwrap(), 1).unwrap();
    assert_eq!(splits.train.len() + splits.validation.len(), 60_000);
    assert!(splits.validation.len().abs_diff(6000) <= 1);
    assert_eq!(splits.test.len(), 10_000);
}

#[test]
fn cifar10() {
    let Some(data) = load(&Source::Cifar10 { path: None }) else { return };
    let (train, test) = (data.pool(), data.test().unwrap());
    // As many training batches as the folder has.
    assert!(train.len().is_multiple_of(10_000) && (1..=5).contains(&(train.len() / 10_000)));
    assert_eq!(test.len(), 10_000);
    assert_eq!(test.labels().counts(), [1000; 10]);
    // Cat, ship, ship, airplane, frog.
    assert_eq!(test.labels().as_slice()[..5], [3, 8, 8, 0, 6]);
    // Mean of red, green and blue over the test images, as published with many training recipes to three digits.
    let expected = [0.4942, 0.4851, 0.4504];
    for (channel, expected) in expected.into_iter().enumerate() {
        let planes = test.pixels().chunks_exact(1024).skip(channel).step_by(3);
        let sum: u64 = planes.flatten().map(|&pixel| u64::from(pixel)).sum();
        let mean = sum as f64 / 10_000.0 / 1024.0 / 255.0;
        assert!((mean - expected).abs() < 5e-4, "channel {channel}: {mean}");
    }
}

#[test]
fn digits_from_their_file_are_the_embedded_ones() {
    let Some(root) = root_with("digits/digits.csv.gz") else { return };
    let read = read_digits(&root.join("digits/digits.csv.gz")).unwrap();
    assert_eq!(read, softlabel_data::digits().unwrap());
}
