use proptest::prelude::*;

use super::*;
use crate::TiltedMoments;
use crate::rows::with_cpu_features;

/// The cumulants of d, by their recursion from central moments.
fn cumulants(row: &[f32], beta: f64) -> [f64; ORDER + 1] {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let each = || {
        let possible = row.iter().filter(|z| z.is_finite());
        possible.map(|z| f64::from(*z) - f64::from(highest)).map(|d| (d, (beta * d).exp()))
    };
    let total: f64 = each().map(|(_, e)| e).sum();
    let mean = each().map(|(d, e)| d * e).sum::<f64>() / total;
    let central = [0, 1, 2, 3, 4, 5, 6]
        .map(|power| each().map(|(d, e)| (d - mean).powi(power) * e).sum::<f64>() / total);
    let choose = |n: usize, k: usize| (1..=k).fold(1.0, |c, i| c * (n + 1 - i) as f64 / i as f64);
    let mut cumulants = [0.0; ORDER + 1];
    for n in 2..=ORDER {
        let lower = (2..n).map(|k| choose(n - 1, k - 1) * cumulants[k] * central[n - k]);
        cumulants[n] = central[n] - lower.sum::<f64>();
    }
    cumulants
}

proptest! {
    /// The sums over rows are those of one row at a time, with every set of instructions.
    #[test]
    fn agrees_with_single_rows(
        classes in 1..40usize,
        seed in prop::collection::vec(-20.0..20.0f32, 1..400),
        beta in 0.01..5.0f64,
        masked in 0..3usize,
    ) {
        let count = seed.len().div_ceil(classes);
        let mut rows: Vec<f32> = seed.iter().copied().cycle().take(count * classes).collect();
        for row in rows.chunks_mut(classes) {
            for value in row.iter_mut().skip(1).take(masked) {
                *value = f32::NEG_INFINITY;
            }
        }
        let weights: Vec<f64> = (0..count).map(|row| 1.0 + row as f64).collect();
        let gap = |_: usize, row: &[f32], highest: f64| f64::from(row[0]) - highest;
        let survey = RowSurvey::new(Rows::new(&rows, classes, 1), gap, Some(&weights), beta, true);
        let (mut before, mut expected) = (0.0, [0.0; ORDER + 1]);
        for (row, weight) in rows.chunks(classes).zip(&weights) {
            let moments = TiltedMoments::new(row, 0, beta).unwrap();
            before += weight * TiltedMoments::new(row, 0, 1.0).unwrap().cross_entropy;
            let mut values = cumulants(row, beta);
            values[..3].copy_from_slice(&[moments.cross_entropy, moments.slope, moments.curvature]);
            for (sum, value) in expected.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        let size = (count * count) as f64 * 40.0;
        prop_assert!((survey.unscaled.unwrap() - before).abs() < 1e-15 * size);
        for features in ["avx512", "avx2", "portable"] {
            let sums = with_cpu_features(features, || {
                let RowSurvey { highest, gaps, .. } = &survey;
                TiltedSums::new(Rows::new(&rows, classes, 1), highest, gaps, Some(&weights), beta)
            });
            let Some(sums) = sums.flatten() else { continue };
            if features == crate::rows::cpu_features() {
                prop_assert_eq!(sums, survey.sums);
            }
            let found = [&[sums.cross_entropy], &sums.derivatives[..]].concat();
            for (power, (found, expected)) in (0..).zip(found.into_iter().zip(expected)) {
                let size = size * 40.0f64.powi(power);
                prop_assert!((found - expected).abs() < 1e-14 * size, "{found}, {expected}");
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let sums = |rows: &[f64], gaps: &[f64], weights: Option<&[f64]>| {
        TiltedSums::new(Rows::new(rows, 2, 1), &[0.0], gaps, weights, 1.0)
    };
    assert!(sums(&[0.0; 2], &[0.0], None).is_some());
    assert!(sums(&[0.0; 4], &[0.0], None).is_none());
    assert!(sums(&[0.0; 2], &[], None).is_none());
    assert!(sums(&[0.0; 2], &[0.0], Some(&[])).is_none());
}

#[test]
fn nothing_to_look_at() {
    let gap = |_: usize, _: &[f64], _: f64| 0.0;
    for classes in [0, 2] {
        let rows = Rows::new(&[1.0f64][..1 - classes / 2], classes, 1);
        let survey = RowSurvey::new(rows, gap, None, 1.0, true);
        assert!(rows.is_empty());
        assert_eq!((survey.highest.len(), survey.unscaled), (0, Some(0.0)));
    }
    assert!(TiltedSums::new::<f64>(Rows::new(&[], 0, 1), &[], &[], None, 1.0).is_some());
}

/// Every so many-th row is looked at as if the others were not there.
#[test]
fn a_sample_is_read_where_it_lies() {
    let rows: Vec<f32> = (0..70).map(|i| (i * i % 23) as f32 * 0.3).collect();
    let gap = |index: usize, row: &[f32], highest: f64| f64::from(row[index % 7]) - highest;
    let third: Vec<f32> = rows.chunks(7).step_by(3).flatten().copied().collect();
    let whole = RowSurvey::new(Rows::new(&third, 7, 1), gap, None, 0.5, true);
    let sample = Rows::new(&rows, 7, 3);
    assert_eq!(sample.len(), 4);
    assert_eq!(RowSurvey::new(sample, gap, None, 0.5, true), whole);
    let sums = TiltedSums::new(sample, &whole.highest, &whole.gaps, None, 0.5);
    assert_eq!(sums, Some(whole.sums));
    let unasked = RowSurvey::new(sample, gap, None, 0.5, false);
    assert_eq!((unasked.unscaled, unasked.sums), (None, whole.sums));
    let at_one = RowSurvey::new(sample, gap, None, 1.0, true);
    assert!((at_one.unscaled.unwrap() - whole.unscaled.unwrap()).abs() < 1e-14);
}

/// The highest and the mean distance from it are those of the numbers, in every type and at every length.
#[test]
fn the_highest_and_the_spread_of_rows_in_every_type() {
    fn check<T: Copy + Into<f64> + PartialOrd + Sync>(number: impl Fn(f64) -> T) {
        for classes in 1..70 {
            // The highest is at another place in every row.
            let rows: Vec<T> = (0..classes)
                .flat_map(|row| {
                    (0..classes).map(
                        move |class| if row == class { 3.0 } else { -0.5 * (class % 7) as f64 },
                    )
                })
                .map(&number)
                .collect();
            let gap = |_: usize, row: &[T], highest: f64| row[0].into() - highest;
            let survey = RowSurvey::new(Rows::new(&rows, classes, 1), gap, None, 1.0, false);
            assert_eq!(survey.highest, vec![3.0; classes]);
            let spread: f64 = rows.iter().map(|&z| 3.0 - z.into()).sum::<f64>() / classes as f64;
            assert!((survey.spread - spread).abs() <= 1e-12 * spread, "{classes}");
        }
    }
    check(|number| number);
    #[allow(clippy::cast_possible_truncation)] // Exact.
    check(|number| number as f32);
    check(half::bf16::from_f64);
    check(half::f16::from_f64);
}

/// Differences of any size: what is far below adds nothing, and no sum becomes infinite.
#[test]
fn logits_far_apart() {
    let gap = |_: usize, row: &[f64], highest: f64| row[0] - highest;
    for far in [1e3, 1e10, 1e50, 1e100, 1e300, f64::MAX, f64::INFINITY] {
        for beta in [1e-3, 1.0, 1e3] {
            let row = [0.0, -far, -1.0, -far, 0.5];
            let survey = RowSurvey::new(Rows::new(&row, 5, 1), gap, None, beta, true);
            let near = [0.0, -1.0, 0.5];
            let alone = RowSurvey::new(Rows::new(&near, 3, 1), gap, None, beta, true);
            let difference = (survey.sums.cross_entropy - alone.sums.cross_entropy).abs();
            let share = (-beta * far).exp();
            assert!(difference <= 2.0 * share + 1e-15, "{far}, {beta}: {difference}");
            if share < 1e-300 {
                for (one, other) in survey.sums.derivatives.into_iter().zip(alone.sums.derivatives)
                {
                    assert!((one - other).abs() <= 1e-15 * (1.0 + other.abs()), "{far}, {beta}");
                }
                assert!(survey.unscaled.unwrap().is_finite());
            }
        }
    }
}

/// NaN is not taken for a class that cannot be, wherever it is.
#[test]
fn a_logit_that_is_not_a_number_is_seen() {
    let gap = |_: usize, row: &[f64], highest: f64| row[0] - highest;
    for classes in [3, 8, 11, 40] {
        for place in 0..classes {
            let mut row: Vec<f64> = (0..classes).map(|class| class as f64 * 0.1).collect();
            row[place] = f64::NAN;
            let survey = RowSurvey::new(Rows::new(&row, classes, 1), gap, None, 0.5, true);
            let sums = survey.sums;
            assert!(sums.cross_entropy.is_nan() && survey.unscaled.unwrap().is_nan(), "{place}");
            assert!(sums.derivatives[0].is_nan(), "{place} of {classes}");
        }
    }
}
