//! Stratified splits.

use proptest::prelude::*;
use softlabel_core::Labels;
use softlabel_data::split::{Split, stratified};
use softlabel_data::{Data, Dataset, Error, ImageShape, SplitFractions};

/// Labels with so many samples in each class, mixed.
fn labels(counts: &[usize]) -> Labels {
    let longest = counts.iter().copied().max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|round| (0..counts.len()).map(move |class| (round, class)));
    let values: Vec<u64> = rounds
        .filter(|&(round, class)| round < counts[class])
        .map(|(_, class)| class as u64)
        .collect();
    Labels::new(&values, counts.len()).unwrap()
}

fn fractions(validation: f64, test: f64) -> SplitFractions {
    SplitFractions::new(validation, test).unwrap()
}

fn dataset(n: usize) -> Dataset {
    let shape = ImageShape { channels: 1, height: 1, width: 1 };
    Dataset::new("made up", shape, 255, vec![0; n], labels(&[n / 2, n - n / 2])).unwrap()
}

#[test]
fn fractions_must_leave_something_to_train_on() {
    for (validation, test) in
        [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.9, 0.2), (-0.1, 0.2), (0.1, -0.2), (f64::NAN, 0.0)]
    {
        assert!(SplitFractions::new(validation, test).is_err(), "{validation} {test}");
    }
    assert!(SplitFractions::new(0.0, 0.0).is_ok());
}

#[test]
fn fractions_in_files_are_checked() {
    let parse = |text| toml::from_str::<SplitFractions>(text).map_err(|error| error.to_string());
    assert_eq!(parse("validation = 0.1\ntest = 0.2").unwrap(), fractions(0.1, 0.2));
    assert!(parse("validation = 0.8\ntest = 0.2").unwrap_err().contains("below 1, found 1"));
    assert!(parse("validation = 0.8\ntrain = 0.2").unwrap_err().contains("unknown field `train`"));
    assert_eq!(toml::to_string(&fractions(0.1, 0.2)).unwrap(), "validation = 0.1\ntest = 0.2\n");
}

#[test]
fn three_samples_are_enough_for_three_parts() {
    let Split { train, validation, test } =
        stratified(&labels(&[3, 3]), fractions(0.2, 0.2), 0).unwrap();
    assert_eq!((train.len(), validation.len(), test.len()), (2, 2, 2));
}

#[test]
fn too_small_a_class_is_named() {
    let error = stratified(&labels(&[10, 2, 1]), fractions(0.2, 0.2), 0).unwrap_err();
    assert!(matches!(error, Error::ClassTooSmall { class: 1, found: 2, .. }), "{error}");
    // Its share of the test would be a tenth of a sample and one of training is worth more.
    let error = stratified(&labels(&[100, 10]), fractions(0.01, 0.01), 0).unwrap_err();
    assert!(matches!(error, Error::ClassTooSmall { class: 1, found: 10, .. }), "{error}");
    // Two parts need two samples.
    assert!(stratified(&labels(&[10, 2]), fractions(0.5, 0.0), 0).is_ok());
}

#[test]
fn a_class_without_samples_is_left_out() {
    let split = stratified(&labels(&[0, 10]), fractions(0.2, 0.2), 0).unwrap();
    assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (6, 2, 2));
}

#[test]
fn seeds_differ_and_repeat() {
    let labels = labels(&[50, 50]);
    let split = |seed| stratified(&labels, fractions(0.2, 0.2), seed).unwrap();
    assert_eq!(split(1), split(1));
    assert_ne!(split(1), split(2));
}

/// The same samples on every machine and in every version.
#[test]
fn splits_stay() {
    let split = stratified(&labels(&[5, 5]), fractions(0.2, 0.2), 42).unwrap();
    assert_eq!((split.validation, split.test), (vec![7, 8], vec![2, 5]));
}

#[test]
fn a_test_set_that_comes_along_is_the_test_part() {
    let data = Data::new(dataset(20), Some(dataset(8))).unwrap();
    let splits = data.split(fractions(0.2, 0.0), 0).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len()), (16, 4));
    assert_eq!(splits.test.ids(), (0..8).collect::<Vec<_>>());
    assert_eq!(splits.test.dataset(), data.test().unwrap());

    let error = data.split(fractions(0.2, 0.1), 0).unwrap_err();
    assert!(matches!(error, Error::OwnTestSet { samples: 8, found: 0.1, .. }), "{error}");
}

#[test]
fn subsets_carry_the_pixels_and_labels_of_their_ids() {
    let data = Data::new(softlabel_data::digits().unwrap(), None).unwrap();
    let splits = data.split(fractions(0.2, 0.2), 7).unwrap();
    for subset in [splits.train, splits.validation, splits.test] {
        let pixels = subset.pixels();
        for (position, &id) in subset.ids().iter().enumerate() {
            assert_eq!(pixels[64 * position..][..64], *data.pool().image(id).unwrap());
            assert_eq!(subset.labels().as_slice()[position], data.pool().labels().as_slice()[id]);
        }
        assert_eq!(pixels.len(), 64 * subset.len());
        assert!(
            subset
                .pixels_f32()
                .iter()
                .zip(&pixels)
                .all(|(&x, &pixel)| x * 16.0 == f32::from(pixel))
        );
    }
}

proptest! {
    /// Classes of 40 and more with shares of 5 % and more: every part gets something of every class.
    #[test]
    fn parts_are_disjoint_complete_and_in_proportion(
        counts in prop::collection::vec(40..400_usize, 1..30),
        validation in 0.05..0.45_f64,
        test in prop_oneof![Just(0.0), 0.05..0.45_f64],
        seed: u64,
    ) {
        let labels = labels(&counts);
        let fractions = fractions(validation, test);
        let Split { train, validation, test } = stratified(&labels, fractions, seed).unwrap();

        let mut all = [&train[..], &validation, &test].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());

        let shares = [fractions.train(), fractions.validation(), fractions.test()];
        for (part, share) in [train, validation, test].iter().zip(shares) {
            prop_assert!(part.is_sorted());
            for (found, &count) in labels.select(part).unwrap().counts().iter().zip(&counts) {
                let off = *found as f64 - share * count as f64;
                prop_assert!(off.abs() < 1.0 + 1e-9, "{found} of {count} at {share}");
            }
            let off = part.len() as f64 - share * labels.len() as f64;
            prop_assert!(off.abs() < 2.0, "{} of {} at {share}", part.len(), labels.len());
        }
    }

    /// Whatever the counts: complete, or an error about a class that really is small.
    #[test]
    fn small_classes_are_complete_or_an_error(
        counts in prop::collection::vec(0..12_usize, 1..10),
        validation in 0.0..0.5_f64,
        test in 0.0..0.5_f64,
        seed: u64,
    ) {
        let labels = labels(&counts);
        match stratified(&labels, fractions(validation, test), seed) {
            Ok(split) => {
                prop_assert_eq!(split.train.len() + split.validation.len() + split.test.len(), labels.len());
                for (found, count) in labels.select(&split.train).unwrap().counts().iter().zip(&counts) {
                    prop_assert_eq!(*found > 0, *count > 0);
                }
            }
            Err(Error::ClassTooSmall { class, found, .. }) => {
                prop_assert_eq!(found, counts[class]);
                let smallest = [validation, test, 1.0 - validation - test]
                    .into_iter()
                    .filter(|&share| share > 0.0)
                    .fold(1.0, f64::min);
                prop_assert!((found as f64) * smallest < 1.0);
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}
