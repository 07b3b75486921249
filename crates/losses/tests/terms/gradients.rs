//! Derivatives of every loss.

use softlabel_losses::{AnyLoss, LossOptions, Reduction, Target};
use tch::{Kind, Tensor};

use crate::cases::{acls, all};
use crate::support::{
    CLASSES, backward, correctness, cycling, finite_differences, largest_difference, number,
    numbers, soft_rows, value, wave, with_reduction,
};

const ROWS: i64 = 4;

#[test]
fn gradients_match_finite_differences() {
    let (labels, soft) = (cycling(&[ROWS], CLASSES), soft_rows(ROWS));
    let options = LossOptions::default();
    for case in all().iter().filter(|case| case.differentiable) {
        for (phase, target) in
            [(0.8, Target::Hard(&labels)), (2.1, Target::Hard(&labels)), (1.3, Target::Soft(&soft))]
        {
            if matches!(target, Target::Soft(_)) && !case.takes_soft() {
                continue;
            }
            let logits = wave(&[ROWS, CLASSES], phase);
            let loss = |at: &Tensor| value(&case.loss, at, target, &options, &correctness(ROWS));
            let (_, gradient) = backward(&logits, loss);
            let expected = finite_differences(&logits, |at| number(&loss(at)));
            let off = largest_difference(&gradient, &expected);
            // Rounding of differences of values up to 10 over a step of 1e-6.
            assert!(off < 1e-8, "{:?} {phase}: {off}", case.loss);
        }
    }
}

#[test]
fn the_largest_logit_is_a_constant_in_the_second_part_of_acls() {
    let case = all().into_iter().find(|case| matches!(case.loss, AnyLoss::Acls(_))).unwrap();
    let logits = wave(&[1, CLASSES], 0.8);
    let label = Tensor::from_slice(&[0i64]);
    let top = number(&logits.max());
    let options = LossOptions::default();
    let (_, gradient) = backward(&logits, |at| {
        value(&case.loss, at, Target::Hard(&label), &options, &correctness(1))
    });
    let expected = finite_differences(&logits, |at| acls(&numbers(at), top));
    assert!(largest_difference(&gradient, &expected) < 1e-8);
    assert!(number(&gradient.abs().max()) > 0.1);
}

#[test]
fn second_derivatives_match_finite_differences_of_first() {
    let labels = cycling(&[ROWS], CLASSES);
    let direction = wave(&[ROWS, CLASSES], 5.0);
    let options = LossOptions::default();
    for case in all().iter().filter(|case| case.differentiable) {
        let logits = wave(&[ROWS, CLASSES], 0.8).set_requires_grad(true);
        let shares = correctness(ROWS);
        let loss = |at: &Tensor| value(&case.loss, at, Target::Hard(&labels), &options, &shares);
        let slope = |at: &Tensor, keep: bool| {
            let value = loss(at);
            let gradient = Tensor::run_backward(&[&value], &[at], true, keep).remove(0);
            (gradient * &direction).sum(Kind::Double)
        };
        let along = slope(&logits, true);
        if !along.requires_grad() {
            // A first derivative that is constant, as between the kinks of a margin, has none of its own.
            continue;
        }
        let found = Tensor::run_backward(&[&along], &[&logits], false, false).remove(0);
        let expected = finite_differences(&logits.detach(), |at| {
            number(&slope(&at.copy().set_requires_grad(true), false).detach())
        });
        let off = largest_difference(&found, &expected);
        assert!(off < 1e-7, "{:?}: {off}", case.loss);
    }
}

#[test]
fn rows_sum_to_zero_where_a_constant_changes_nothing() {
    let labels = cycling(&[ROWS], CLASSES);
    let options = with_reduction(Reduction::Sum);
    for case in all() {
        let (_, gradient) = backward(&wave(&[ROWS, CLASSES], 0.8), |at| {
            value(&case.loss, at, Target::Hard(&labels), &options, &correctness(ROWS))
        });
        let sums = number(&gradient.sum_dim_intlist(-1, false, Kind::Double).abs().max());
        assert_eq!(sums < 1e-12, case.shift_invariant, "{:?}: {sums}", case.loss);
    }
}

#[test]
fn logit_norm_hardly_feels_the_length_of_the_logits() {
    let labels = cycling(&[ROWS], CLASSES);
    let case = all().into_iter().find(|case| matches!(case.loss, AnyLoss::LogitNorm(_))).unwrap();
    let logits = wave(&[ROWS, CLASSES], 0.8);
    let options = with_reduction(Reduction::Sum);
    let (_, gradient) = backward(&logits, |at| {
        value(&case.loss, at, Target::Hard(&labels), &options, &correctness(ROWS))
    });
    let along = (gradient * &logits).sum_dim_intlist(-1, false, Kind::Double).abs().max();
    assert!(number(&along) < 1e-6);
}

#[test]
fn a_certain_prediction_has_a_finite_gradient() {
    // p_y = 1 to the last bit: (1 − p_y)^γ has an infinite slope there for γ < 1.
    let logits = Tensor::from_slice(&[900.0f64, 0.0, -3.0, 1.0, 2.0]).view((1, CLASSES));
    let options = LossOptions::default();
    for label in [0i64, 1] {
        let label = Tensor::from_slice(&[label]);
        for case in all() {
            let (loss, gradient) = backward(&logits, |at| {
                value(&case.loss, at, Target::Hard(&label), &options, &[0.5])
            });
            let finite = |tensor: &Tensor| numbers(tensor).iter().all(|v| v.is_finite());
            assert!(finite(&loss) && finite(&gradient), "{:?} {gradient:?}", case.loss);
        }
    }
}
