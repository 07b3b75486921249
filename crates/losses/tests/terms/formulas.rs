//! Values against formulas in f64.

use proptest::prelude::*;
use softlabel_losses::{
    BackwardCorrection, CorrectnessRanking, CrossEntropy, LossOptions, LossTerm, MaxSup, Mmce,
    Reduction, Target,
};
use softlabel_targets::Smoothing;
use tch::{Kind, Tensor};

use crate::cases::{Formula, all, log_softmax, matrix, softmax};
use crate::support::{CLASSES, correctness, cycling, number, numbers, value, with_reduction};

/// Rows from near uniform to very sure, also of the wrong class, far from 0, and all equal.
fn edge_rows() -> Vec<f64> {
    let mut rows = vec![
        [0.1, -0.2, 0.05, 0.3, 0.0],
        [30.0, 0.0, -1.0, 2.0, 1.0],
        [-25.0, 3.0, 30.0, 1.0, 2.0],
        [1000.0, 1001.0, 999.5, 1000.3, 998.0],
        [0.0, 5.0, -5.0, 2.5, 10.0],
    ];
    rows.push([4.0, 4.1, 4.2, 4.3, 4.4]);
    rows.concat()
}

fn check(case: &crate::cases::Case, values: &[f64], labels: &[i64]) {
    let rows = labels.len() as i64;
    let logits = Tensor::from_slice(values).view((rows, CLASSES));
    let target = Tensor::from_slice(labels);
    let options = with_reduction(Reduction::None);
    let found = value(&case.loss, &logits, Target::Hard(&target), &options, &correctness(rows));
    for ((z, &y), found) in values.chunks(5).zip(labels).zip(numbers(&found)) {
        let expected = case.of_label(z, usize::try_from(y).unwrap()).unwrap();
        let close = (found - expected).abs() <= 1e-11 * expected.abs().max(1.0);
        assert!(close || found == expected, "{:?}: {found} {expected} {z:?} {y}", case.loss);
    }
}

#[test]
fn edges_agree_with_the_formulas() {
    let values = edge_rows();
    for case in all().iter().filter(|case| !matches!(case.formula, Formula::Together)) {
        for first in 0..CLASSES {
            let labels: Vec<i64> = (0..6).map(|row| (first + row) % CLASSES).collect();
            check(case, &values, &labels);
        }
    }
}

#[test]
fn a_single_class_is_certain() {
    let logits = Tensor::from_slice(&[2.5f64, -1.0]).view((2, 1));
    let labels = Tensor::from_slice(&[0i64, 0]);
    let options = with_reduction(Reduction::None);
    for case in all() {
        // Those that name a number of classes do not fit.
        let batch = softlabel_losses::Batch::with_options(&logits, Target::Hard(&labels), &options);
        let batch = batch.unwrap().with_correctness(&[0.5, 0.5]).unwrap();
        let Ok(term) = case.loss.row_losses(&batch) else { continue };
        for (row, z) in numbers(&term.reduce(Reduction::None).unwrap()).iter().zip([2.5, -1.0]) {
            let expected = case.of_label(&[z], 0);
            let near = expected.is_none_or(|expected| (row - expected).abs() < 1e-14);
            assert!(row.is_finite() && near, "{:?}: {row} {expected:?}", case.loss);
        }
    }
}

#[test]
fn soft_targets_agree_with_the_formulas() {
    let values = edge_rows();
    let logits = Tensor::from_slice(&values).view((6, CLASSES));
    let rows = crate::support::soft_rows(6);
    // One row without mass on some classes.
    rows.get(2).copy_(&Tensor::from_slice(&[0.5, 0.0, 0.5, 0.0, 0.0]));
    let targets = numbers(&rows);
    let options = with_reduction(Reduction::None);
    for case in all() {
        let Formula::Rows(formula) = case.formula else { continue };
        let found = value(&case.loss, &logits, Target::Soft(&rows), &options, &correctness(6));
        let expected = values.chunks(5).zip(targets.chunks(5)).map(|(z, q)| formula(z, q));
        for (found, expected) in numbers(&found).into_iter().zip(expected) {
            let close = (found - expected).abs() <= 1e-11 * expected.abs().max(1.0);
            assert!(close || found == expected, "{:?}: {found} {expected}", case.loss);
        }
    }
}

/// The sum over consecutive pairs, the last with the first.
fn ranking(values: &[f64], shares: &[f64]) -> Vec<f64> {
    let sure: Vec<f64> =
        values.chunks(5).map(|z| softmax(z).into_iter().fold(0.0, f64::max)).collect();
    let pair = |i: usize| {
        let j = (i + 1) % shares.len();
        let gap = shares[i] - shares[j];
        let sign = if gap == 0.0 { 0.0 } else { gap.signum() };
        (gap.abs() - sign * (sure[i] - sure[j])).max(0.0)
    };
    (0..shares.len()).map(pair).collect()
}

#[test]
fn correctness_ranking_agrees_with_its_formula() {
    let values = edge_rows();
    let logits = Tensor::from_slice(&values).view((6, CLASSES));
    let labels = cycling(&[6], CLASSES);
    let options = with_reduction(Reduction::None);
    for shares in [correctness(6), vec![0.5, 0.5, 0.0, 1.0, 1.0, 0.25]] {
        let loss = CorrectnessRanking::new();
        let found = value(&loss, &logits, Target::Hard(&labels), &options, &shares);
        for (found, expected) in numbers(&found).into_iter().zip(ranking(&values, &shares)) {
            assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        }
    }
}

#[test]
fn mmce_agrees_with_its_double_sum() {
    let values = edge_rows();
    let logits = Tensor::from_slice(&values).view((6, CLASSES));
    let labels = Tensor::from_slice(&[3i64, 0, 1, 1, 2, 4]);
    let rows: Vec<(f64, f64)> = values
        .chunks(5)
        .zip(numbers(&labels))
        .map(|(z, y)| {
            let p = softmax(z);
            let best = (0..5).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
            (p[best], f64::from(u8::from(best as f64 == y)))
        })
        .collect();
    for width in [0.4, 0.1] {
        let pair = |(r, c): &(f64, f64), (s, d): &(f64, f64)| {
            (c - r) * (d - s) * (-(r - s).abs() / width).exp()
        };
        let sum: f64 = rows.iter().flat_map(|a| rows.iter().map(move |b| pair(a, b))).sum();
        let squared = sum / 36.0;
        let found = |loss: Mmce| {
            number(&loss.forward(&logits, Target::Hard(&labels), &LossOptions::default()).unwrap())
        };
        let loss = Mmce::new(width).unwrap();
        assert!((found(loss.clone()) - squared.sqrt()).abs() < 1e-14);
        assert!((found(loss.squared()) - squared).abs() < 1e-14);
    }
}

#[test]
fn a_batch_that_is_calibrated_has_no_mmce() {
    // Certain and right: the error is exactly 0, and its root has no infinite slope.
    let logits = Tensor::from_slice(&[800.0f64, 0.0]).view((1, 2));
    let labels = Tensor::from_slice(&[0i64]);
    let loss = Mmce::new(0.4).unwrap();
    let (loss, gradient) = crate::support::backward(&logits, |logits| {
        loss.forward(logits, Target::Hard(&labels), &LossOptions::default()).unwrap()
    });
    assert_eq!(number(&loss), 0.0);
    assert_eq!(numbers(&gradient), [0.0, 0.0]);
}

#[test]
fn smoothing_is_cross_entropy_plus_max_suppression_where_the_label_is_predicted() {
    // Zhou et al. 2025: LS = CE + ε·(z_y − mean z), and z_y is the largest logit here.
    let logits = crate::support::wave(&[8, CLASSES], 0.9);
    let labels = logits.argmax(-1, false);
    let loss = |loss: &dyn LossTerm| {
        number(&loss.forward(&logits, Target::Hard(&labels), &LossOptions::default()).unwrap())
    };
    let smoothed = CrossEntropy::new().with_smoothing(Smoothing::mixture(0.3).unwrap());
    let sum = loss(&CrossEntropy::new()) + 0.3 * loss(&MaxSup::new());
    assert!((loss(&smoothed) - sum).abs() < 1e-13);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_rows_agree_with_the_formulas(
        values in prop::collection::vec(-8.0..8.0f64, 15),
        labels in prop::collection::vec(0..5i64, 3),
    ) {
        for case in all().iter().filter(|case| !matches!(case.formula, Formula::Together)) {
            check(case, &values, &labels);
        }
    }

    #[test]
    fn backward_correction_is_unbiased(z in prop::collection::vec(-8.0..8.0f64, 5)) {
        // Over the observed labels of each true class, the mean is the cross-entropy of that class.
        let logits = Tensor::from_slice(&z).view((1, 5)).repeat([5, 1]);
        let observed = Tensor::arange(5, (Kind::Int64, tch::Device::Cpu));
        let loss = BackwardCorrection::new(matrix()).unwrap();
        let options = with_reduction(Reduction::None);
        let costs = numbers(&loss.forward(&logits, Target::Hard(&observed), &options).unwrap());
        for (row, log_p) in matrix().iter().zip(log_softmax(&z)) {
            let mean: f64 = row.iter().zip(&costs).map(|(t, cost)| t * cost).sum();
            prop_assert!((mean + log_p).abs() < 1e-11);
        }
    }
}
