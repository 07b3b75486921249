//! Which row is the first that is no distribution, against the definition.

use std::mem::MaybeUninit;

use half::{bf16, f16};

use proptest::prelude::*;
use softlabel_kernels::rows::{
    BadRow, Dense, DenseRows, Element, Masses, MassesBy, Options, Outputs, Scale, Target,
    TargetError, first_bad_row, spatial_cross_entropy, spatial_cross_entropy_gradient,
    spatial_cross_entropy_in_place,
};

const TOLERANCE: f64 = 1e-2;

/// One row after the other, one value after the other.
fn by_definition(
    values: &[f64],
    classes: usize,
    spatial: usize,
    ignored: &[bool],
) -> Option<usize> {
    (0..ignored.len()).filter(|&row| !ignored[row]).find(|row| {
        let (item, column) = (row / spatial, row % spatial);
        let of = |class| values[(item * classes + class) * spatial + column];
        let sum: f64 = (0..classes).map(of).sum();
        (0..classes).any(|class| of(class).is_nan() || of(class) < 0.0)
            || (sum - 1.0).abs() > TOLERANCE
    })
}

fn row_of(bad: BadRow) -> usize {
    match bad {
        BadRow::Value { row, .. } | BadRow::Sum { row, .. } => row,
    }
}

proptest! {
    #[test]
    fn the_first_bad_row_is_found(
        items in 1usize..6,
        classes in prop_oneof![1usize..40, 65usize..150],
        spatial in prop::sample::select(vec![1usize, 3, 16, 600]),
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4), 0..4),
        skipped in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        threads in 1usize..4,
    ) {
        let mut values = vec![1.0 / classes as f64; items * classes * spatial];
        for (at, how) in spoiled {
            let at = at.index(values.len());
            values[at] = [-0.5, f64::NAN, 3.0, f64::INFINITY][how];
        }
        let mut ignored = vec![false; items * spatial];
        for at in skipped {
            let at = at.index(ignored.len());
            ignored[at] = true;
        }
        let expected = by_definition(&values, classes, spatial, &ignored);
        let find = |found: Option<BadRow>| found.map(row_of);
        #[allow(clippy::cast_possible_truncation)] // Rounded as the rows of a user are.
        let single: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let half: Vec<bf16> = values.iter().map(|&value| bf16::from_f64(value)).collect();
        let small: Vec<f16> = values.iter().map(|&value| f16::from_f64(value)).collect();
        let ignored = Some(&ignored[..]);
        let limit = TOLERANCE;
        prop_assert_eq!(find(first_bad_row(DenseRows::F64(&values), classes, spatial, ignored, limit, threads).unwrap()), expected);
        prop_assert_eq!(find(first_bad_row(DenseRows::F32(&single), classes, spatial, ignored, limit, threads).unwrap()), expected);
        prop_assert_eq!(find(first_bad_row(DenseRows::Bf16(&half), classes, spatial, ignored, limit, threads).unwrap()), expected);
        prop_assert_eq!(find(first_bad_row(DenseRows::F16(&small), classes, spatial, ignored, limit, threads).unwrap()), expected);
        for rows in [DenseRows::F32(&single), DenseRows::Bf16(&half), DenseRows::F16(&small)] {
            let of = |share: f32| passes::<f32>(rows, classes, spatial, share, ignored, threads);
            for found in of(1.0).into_iter().chain(of(0.9)) {
                prop_assert_eq!(find(found), expected);
            }
        }
        for rows in [DenseRows::F64(&values), DenseRows::F32(&single)] {
            for found in passes::<f64>(rows, classes, spatial, 1.0, ignored, threads) {
                prop_assert_eq!(find(found), expected);
            }
        }
        for found in passes::<f32>(DenseRows::F64(&values), classes, spatial, 1.0, ignored, threads) {
            prop_assert_eq!(find(found), expected);
        }
    }
}

/// What the cross-entropy says of rows that are smoothed towards uniform: forward alone, with a gradient, and in
/// place, which must leave the logits alone if a row is bad.
fn passes<T: Element<Sum: From<f32>> + Default + PartialEq>(
    rows: DenseRows<'_>,
    classes: usize,
    spatial: usize,
    share: f32,
    ignored: Option<&[bool]>,
    threads: usize,
) -> Vec<Option<BadRow>> {
    let uniform = (1.0 - share) / classes as f32;
    let masses = Masses { label: 0.0f32.into(), uniform: uniform.into(), dense: share.into() };
    let target = Target {
        labels: None,
        masses: MassesBy::All(masses),
        dense: Dense::Rows(rows),
        ignored,
        tolerance: Some(TOLERANCE),
        ..Target::labels(&[], 0.0f32.into())
    };
    let mut logits = vec![T::default(); rows.len()];
    let mut losses = vec![T::Sum::default(); rows.len() / classes];
    let options = Options::default();
    let scale = Scale::All(1.0f32.into());
    let bad = |result: Result<(), TargetError>| match result {
        Ok(()) => None,
        Err(TargetError::Row(bad)) => Some(bad),
        Err(other) => panic!("{other}"),
    };
    let outputs = Outputs::losses(&mut losses);
    let forward =
        spatial_cross_entropy(&logits, classes, spatial, &target, &options, outputs, threads);
    let mut gradient = vec![MaybeUninit::uninit(); logits.len()];
    let outputs = Outputs::losses(&mut losses);
    let backward = spatial_cross_entropy_gradient(
        &logits,
        classes,
        spatial,
        &target,
        &options,
        scale,
        &mut gradient,
        outputs,
        threads,
    );
    let outputs = Outputs::losses(&mut losses);
    let in_place = spatial_cross_entropy_in_place(
        &mut logits,
        classes,
        spatial,
        &target,
        &options,
        scale,
        outputs,
        threads,
    );
    assert!(in_place.is_ok() || logits.iter().all(|logit| *logit == T::default()));
    [forward, backward, in_place].map(bad).to_vec()
}

/// A row that is ignored for its label may hold anything, whichever way rows are checked.
#[test]
fn ignored_rows_need_not_be_distributions() {
    let of = |rows: &[f32]| {
        let masses = Masses { label: 0.0f32, uniform: 0.0, dense: 1.0 };
        let target = Target {
            masses: MassesBy::All(masses),
            dense: Dense::Rows(DenseRows::F32(rows)),
            ignore_index: Some(-100),
            tolerance: Some(TOLERANCE),
            ..Target::labels(&[-100, 0], 0.0)
        };
        let (options, scale) = (Options::default(), Scale::All(1.0));
        let (mut logits, mut losses) = ([0.5f32; 4], [0.0f32; 2]);
        let mut gradient = [MaybeUninit::uninit(); 4];
        let outputs = Outputs::losses(&mut losses);
        let apart = spatial_cross_entropy_gradient(
            &logits,
            2,
            1,
            &target,
            &options,
            scale,
            &mut gradient,
            outputs,
            1,
        );
        let outputs = Outputs::losses(&mut losses);
        let in_place =
            spatial_cross_entropy_in_place(&mut logits, 2, 1, &target, &options, scale, outputs, 1);
        assert_eq!(apart, in_place);
        apart
    };
    assert_eq!(of(&[f32::NAN, f32::NAN, 0.5, 0.5]), Ok(()));
    let bad = BadRow::Value { row: 1, class: 1, found: -0.5 };
    assert_eq!(of(&[f32::NAN, f32::NAN, 1.5, -0.5]), Err(TargetError::Row(bad)));
}

/// Where the sum of the losses alone is asked for, rows of few classes are checked as they are computed, many at a
/// time.
#[test]
fn one_bad_row_of_many_is_found() {
    const CLASSES: usize = 5;
    const ROWS: usize = 200;
    let logits = [0.5f32; ROWS * CLASSES];
    let of = |values: &[f32], ignored: &[bool]| {
        let masses = Masses { label: 0.0f32, uniform: 0.02, dense: 0.9 };
        let target = Target {
            labels: None,
            masses: MassesBy::All(masses),
            dense: Dense::Rows(DenseRows::F32(values)),
            ignored: Some(ignored),
            tolerance: Some(TOLERANCE),
            ..Target::labels(&[], 0.0)
        };
        let (mut losses, mut total) = ([0.0; ROWS], f64::NAN);
        let mut gradient = [MaybeUninit::uninit(); ROWS * CLASSES];
        let outputs = Outputs::losses(&mut losses).with_total_alone(&mut total);
        let (options, scale) = (Options::default(), Scale::All(1.0));
        let gradient_of = spatial_cross_entropy_gradient;
        gradient_of(&logits, CLASSES, 1, &target, &options, scale, &mut gradient, outputs, 1)
            .map(|()| total)
    };
    let rows = [0.2f32; ROWS * CLASSES];
    let truth = ROWS as f64 * 5f64.ln();
    let total = of(&rows, &[false; ROWS]).unwrap();
    assert!((total / truth - 1.0).abs() < 1e-6, "{total} for {truth}");
    for bad in [0, 63, 64, 130, 199] {
        let at = bad * CLASSES + 3;
        for found in [-0.2f32, 0.3, f32::NAN] {
            let mut rows = rows;
            rows[at] = found;
            // A sum of 1, but negative.
            rows[at - 1] += if found < 0.0 { 0.4 } else { 0.0 };
            match of(&rows, &[false; ROWS]).unwrap_err() {
                TargetError::Row(BadRow::Sum { row, found: sum }) => {
                    assert!(row == bad && (sum - 1.1).abs() < 1e-6 && found > 0.0);
                }
                TargetError::Row(BadRow::Value { row, class: 3, .. }) if row == bad => {}
                other => panic!("row {bad}, {found}: {other}"),
            }
            let mut ignored = [false; ROWS];
            ignored[bad] = true;
            let total = of(&rows, &ignored).unwrap();
            let truth = (ROWS - 1) as f64 * 5f64.ln();
            assert!((total / truth - 1.0).abs() < 1e-6, "{total} for {truth}");
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let rows = [0.5f32, 0.5, 0.5, 0.5, 0.25, -0.25, 1.0, 0.0, 0.5, 0.6, 0.0, 0.0];
    let find = |values: &[f32]| first_bad_row(DenseRows::F32(values), 4, 1, None, 1e-3, 2).unwrap();
    assert_eq!(find(&rows[..4]), Some(BadRow::Sum { row: 0, found: 2.0 }));
    assert_eq!(find(&rows[4..]), Some(BadRow::Value { row: 0, class: 1, found: -0.25 }));
    assert_eq!(find(&[]), None);
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    assert!(first_bad_row(DenseRows::F32(&[0.5; 3]), 2, 1, None, 0.1, 1).is_err());
    assert!(first_bad_row(DenseRows::F32(&[0.5; 4]), 2, 1, Some(&[false]), 0.1, 1).is_err());
    assert!(first_bad_row(DenseRows::F32(&[0.5; 4]), 0, 1, None, 0.1, 1).is_err());
}
