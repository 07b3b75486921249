//! What is ignored is never counted, never changed, and has no mass.
#![allow(clippy::unwrap_used)] // Tests fail by panicking.

use proptest::prelude::*;
use softlabel_core::{Epsilon, Labels, Logits, Probabilities};
use softlabel_targets::{
    Convention, DisturbLabel, Error, LabelNoise, OnlineLabelSmoothing, PaddedLabels, Smoothing,
    ZipfSmoothing,
};

const CLASSES: usize = 4;

fn is_padding(label: i64) -> bool {
    label == -100
}

/// Labels with padding, and a row of positive numbers for each.
fn padded() -> impl Strategy<Value = (Vec<i64>, Vec<f64>)> {
    let label = prop_oneof![Just(-100i64), 0..CLASSES as i64];
    prop::collection::vec((label, prop::collection::vec(0.01..1.0, CLASSES)), 1..20)
        .prop_map(|rows| rows.into_iter().unzip())
        .prop_map(|(labels, rows): (Vec<i64>, Vec<Vec<f64>>)| (labels, rows.concat()))
}

fn normalized(rows: &[f64]) -> Vec<f64> {
    let row = |row: &[f64]| {
        let sum: f64 = row.iter().sum();
        row.iter().map(|value| value / sum).collect::<Vec<_>>()
    };
    rows.chunks_exact(CLASSES).flat_map(row).collect()
}

proptest! {
    #[test]
    fn what_counts_is_what_the_same_labels_are_without_padding((values, rows) in padded(), seed: u64) {
        let labels = PaddedLabels::new(&values, CLASSES, -100).unwrap();
        prop_assert_eq!(labels.values(), values.clone());
        let kept: Vec<usize> = (0..values.len()).filter(|&at| !is_padding(values[at])).collect();
        let alone: Vec<i64> = kept.iter().map(|&at| values[at]).collect();
        let alone = Labels::new(&alone, CLASSES).unwrap();
        let alone_rows: Vec<f64> =
            kept.iter().flat_map(|&at| rows[at * CLASSES..(at + 1) * CLASSES].to_vec()).collect();
        prop_assert_eq!(labels.positions(), &kept[..]);
        prop_assert_eq!(labels.counted(), &alone);

        // Accumulators.
        let epsilon = Epsilon::new(0.2).unwrap();
        let update = |rows: Vec<f64>, labels: &Labels| {
            let mut online = OnlineLabelSmoothing::new(CLASSES, epsilon).unwrap();
            online.update(&Probabilities::new(normalized(&rows), CLASSES).unwrap(), labels).unwrap();
            online
        };
        prop_assert_eq!(
            update(labels.rows_of(&rows).unwrap(), labels.counted()),
            update(alone_rows.clone(), &alone)
        );

        // Labels of labels.
        let noise = LabelNoise::symmetric(0.7).unwrap();
        let disturb = DisturbLabel::new(0.7).unwrap();
        for (noisy, expected) in [
            (labels.map(|l| noise.corrupt(l, seed)), noise.corrupt(&alone, seed)),
            (labels.map(|l| disturb.disturb(l, seed)), disturb.disturb(&alone, seed)),
        ] {
            let noisy = noisy.unwrap();
            prop_assert_eq!(noisy.counted(), &expected.unwrap());
            for (before, after) in values.iter().zip(noisy.values()) {
                prop_assert_eq!(is_padding(*before), is_padding(after));
            }
        }

        // Dense rows.
        let smoothing = Smoothing::new(epsilon, Convention::OffTarget).fused(CLASSES).unwrap();
        let zipf = ZipfSmoothing::new(1.0).unwrap();
        let logits = Logits::new(alone_rows, CLASSES).unwrap();
        for dense in
            [smoothing.rows(&alone).unwrap(), zipf.rows(&logits, &alone, epsilon).unwrap()]
        {
            let all = labels.spread(&dense).unwrap();
            prop_assert_eq!(all.len(), values.len() * CLASSES);
            prop_assert_eq!(labels.rows_of(&all).unwrap(), dense);
            for (row, label) in all.chunks_exact(CLASSES).zip(&values) {
                let sum: f32 = row.iter().sum();
                let expected = if is_padding(*label) { 0.0 } else { 1.0 };
                prop_assert!((sum - expected).abs() < 1e-6, "{:?}", row);
            }
        }
    }
}

#[test]
fn an_ignored_class_is_none_that_counts() {
    let labels = PaddedLabels::new(&[0u8, 2, 1], 3, 2).unwrap();
    assert_eq!((labels.positions(), labels.values()), (&[0, 2][..], vec![0, 2, 1]));
    let error = labels.map(|_| Ok::<_, Error>(Labels::new(&[2, 1], 3)?)).unwrap_err();
    assert!(error.to_string().contains("none that is ignored, found 2"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let labels = PaddedLabels::new(&[0, -1, 1], 2, -1).unwrap();
    let error = labels.map(|_| Ok::<_, Error>(Labels::new(&[1], 2)?)).unwrap_err();
    assert!(error.to_string().contains("expected 2 of 2 classes, found 1 of 2 classes"), "{error}");
    assert!(labels.rows_of(&[0.0; 4]).is_err());
    assert!(labels.spread(&[0.0; 3]).is_err());
    let error = PaddedLabels::new(&[-1, 0, -2], 2, -1).unwrap_err();
    assert_eq!(error.to_string(), "label -2 at position 2 is not in 0..2");
    assert!(PaddedLabels::new(&[-1], 0, -1).is_err());
}

#[test]
fn all_may_be_padding() {
    let labels = PaddedLabels::new(&[-100; 3], 2, -100).unwrap();
    assert!(labels.counted().is_empty() && !labels.is_empty());
    assert_eq!(labels.spread::<f32>(&[]).unwrap(), [0.0; 6]);
    assert_eq!(labels.rows_of(&[0.5; 6]).unwrap(), [0.0; 0]);
    assert!(labels.spread(&[1.0]).is_err());
}
