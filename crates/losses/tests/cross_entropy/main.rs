//! Cross-entropy against libtorch's own operator, against f64 formulas, and by property.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)] // Helpers of tests, outside `#[test]` functions.

mod exactness;
mod linear;
mod support;
mod targets;
mod ways;

use proptest::prelude::*;
use softlabel_core::{Epsilon, Error as CoreError};
use softlabel_losses::{
    ClassAxis, CrossEntropy, Error, Normalizer, Reduction, Target, cross_entropy,
};
use softlabel_targets::{ClassMatrix, Prior, Smoothing};
use softlabel_tensor::Error as TensorError;
use tch::{Device, Kind, Tensor};

use support::{backward, cycling, largest_difference, wave};

const NO_WEIGHTS: Option<Tensor> = None;

/// Ours against libtorch's cross_entropy in f64, loss and gradient.
fn check_against_libtorch(
    ours: &CrossEntropy,
    logits: &Tensor,
    target: Target<'_>,
    weights: Option<Tensor>,
    reduction: tch::Reduction,
    ignore_index: i64,
    epsilon: f64,
) {
    let theirs = |logits: &Tensor| match target {
        Target::Hard(target) | Target::Soft(target) => {
            logits.cross_entropy_loss(target, weights.as_ref(), reduction, ignore_index, epsilon)
        }
        other => unreachable!("no peer for {other:?}"),
    };
    let (expected, expected_gradient) = backward(logits, theirs);
    let (found, gradient) = backward(logits, |logits| ours.forward(logits, target).unwrap());
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} {expected}");
    assert!(largest_difference(&gradient, &expected_gradient) < 1e-12);
}

#[test]
fn hard_targets_agree_with_libtorch() {
    for (rows, classes) in [(1, 1), (1, 2), (7, 3), (33, 10), (5, 1000)] {
        let logits = wave(&[rows, classes], Kind::Double, 0.1);
        let labels = cycling(&[rows], classes);
        let weights = wave(&[classes], Kind::Double, 2.0).abs() + 0.1;
        for epsilon in [0.0, 0.1, 0.7, 1.0] {
            for (reduction, theirs) in [
                (Reduction::default(), tch::Reduction::Mean),
                (Reduction::Sum, tch::Reduction::Sum),
            ] {
                let plain = CrossEntropy::new()
                    .with_smoothing(Smoothing::mixture(epsilon).unwrap())
                    .with_reduction(reduction);
                let target = Target::Hard(&labels);
                check_against_libtorch(&plain, &logits, target, NO_WEIGHTS, theirs, -100, epsilon);
                let weighted = plain.with_class_weights(weights.copy());
                let weights = Some(weights.copy());
                check_against_libtorch(&weighted, &logits, target, weights, theirs, -100, epsilon);
            }
        }
    }
}

#[test]
fn ignored_labels_agree_with_libtorch() {
    let logits = wave(&[20, 6], Kind::Double, 0.4);
    let labels = cycling(&[20], 6);
    let weights = wave(&[6], Kind::Double, 1.0).abs() + 0.1;
    // Inside 0..K and outside of it.
    for ignored in [2, -100] {
        let labels = labels.masked_fill(&labels.eq(4), ignored);
        for epsilon in [0.0, 0.1] {
            let ours = CrossEntropy::new()
                .with_smoothing(Smoothing::mixture(epsilon).unwrap())
                .with_ignore_index(ignored)
                .with_class_weights(weights.copy());
            check_against_libtorch(
                &ours,
                &logits,
                Target::Hard(&labels),
                Some(weights.copy()),
                tch::Reduction::Mean,
                ignored,
                epsilon,
            );
        }
    }
}

#[test]
fn soft_targets_agree_with_libtorch() {
    let logits = wave(&[9, 5], Kind::Double, 0.2);
    let soft = wave(&[9, 5], Kind::Double, 1.2).softmax(-1, Kind::Double);
    let weights = wave(&[5], Kind::Double, 1.0).abs() + 0.1;
    for epsilon in [0.0, 0.2] {
        // libtorch divides soft targets by the number of rows, weights or not.
        let ours = CrossEntropy::new()
            .with_smoothing(Smoothing::mixture(epsilon).unwrap())
            .with_reduction(Reduction::Mean(Normalizer::Count))
            .with_class_weights(weights.copy());
        check_against_libtorch(
            &ours,
            &logits,
            Target::Soft(&soft),
            Some(weights.copy()),
            tch::Reduction::Mean,
            -100,
            epsilon,
        );
    }
}

#[test]
fn sequences_and_images_agree_with_their_flat_form() {
    let flat = wave(&[24, 4], Kind::Double, 0.3);
    let labels = cycling(&[24], 4);
    let loss = |ours: CrossEntropy, logits: &Tensor, labels: &Tensor| {
        let ours = ours.with_smoothing(Smoothing::off_target(0.2).unwrap());
        f64::try_from(ours.forward(logits, Target::Hard(labels)).unwrap()).unwrap()
    };
    let expected = loss(CrossEntropy::new(), &flat, &labels);

    let sequence = flat.view((2, 12, 4));
    let found = loss(CrossEntropy::new(), &sequence, &labels.view((2, 12)));
    assert!((found - expected).abs() < 1e-14);

    // [N, K, H, W], as a view with strides that are not those of a contiguous tensor.
    let image = flat.view((2, 3, 4, 4)).movedim_int(-1, 1);
    let dense = CrossEntropy::new().with_class_axis(ClassAxis::Second);
    let found = loss(dense, &image, &labels.view((2, 3, 4)));
    assert!((found - expected).abs() < 1e-14);
}

#[test]
fn published_value() {
    // logits [2, 1, 0, −1, 0.5], label 0, ε = 0.1: PyTorch's documented convention gives 0.7244379.
    let logits = Tensor::from_slice(&[2.0f64, 1.0, 0.0, -1.0, 0.5]).view((1, 5));
    let label = Tensor::from_slice(&[0i64]);
    let loss = cross_entropy(&logits, &label, &Smoothing::mixture(0.1).unwrap()).unwrap();
    assert!((f64::try_from(loss).unwrap() - 0.724_437_9).abs() < 5e-8);
}

#[test]
fn smoothing_is_cross_entropy_plus_a_logit_term() {
    // The identity behind MaxSup (Zhou et al. 2025): LS = CE + ε·(z_y − mean z), and so are the gradients.
    let logits = wave(&[8, 6], Kind::Double, 0.9);
    let labels = cycling(&[8], 6);
    let (smoothed, gradient) = backward(&logits, |at| {
        cross_entropy(at, &labels, &Smoothing::mixture(0.3).unwrap()).unwrap()
    });
    let (sum, gradient_of_sum) = backward(&logits, |at| {
        let plain = cross_entropy(at, &labels, &Smoothing::NONE).unwrap();
        let picked = at.gather(-1, &labels.unsqueeze(-1), false).squeeze_dim(-1);
        let gap = (picked - at.mean_dim(-1, false, Kind::Double)).mean(Kind::Double);
        plain + gap * 0.3
    });
    assert!((smoothed - sum).abs() < 1e-14);
    assert!(largest_difference(&gradient, &gradient_of_sum) < 1e-15);
}

#[test]
fn hard_and_one_hot_agree_under_every_normalizer() {
    let logits = wave(&[11, 4], Kind::Double, 0.5);
    let labels = cycling(&[11], 4);
    let one_hot = labels.one_hot(4).to_kind(Kind::Double);
    for normalizer in [Normalizer::WeightSum, Normalizer::Count, Normalizer::Items(3.0)] {
        let ours = CrossEntropy::new()
            .with_smoothing(Smoothing::mixture(0.1).unwrap())
            .with_reduction(Reduction::Mean(normalizer))
            .with_class_weights(Tensor::from_slice(&[1.0f64, 2.0, 0.0, 0.5]));
        let hard = ours.forward(&logits, Target::Hard(&labels)).unwrap();
        let soft = ours.forward(&logits, Target::Soft(&one_hot)).unwrap();
        assert!(largest_difference(&hard, &soft) < 1e-14, "{normalizer:?}");
    }
}

#[test]
fn an_ignored_row_may_hold_anything() {
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
    let values = [0.5f32, -1.0, 2.0, 0.0].into_iter().chain(bad).collect::<Vec<_>>();
    let logits = Tensor::from_slice(&values).view((2, 4));
    let labels = Tensor::from_slice(&[2i64, -100]);
    for epsilon in [0.0, 0.1] {
        let smoothing = Smoothing::mixture(epsilon).unwrap();
        let ours = CrossEntropy::new().with_smoothing(smoothing.clone()).with_ignore_index(-100);
        let (loss, gradient) =
            backward(&logits, |logits| ours.forward(logits, Target::Hard(&labels)).unwrap());
        let (alone, _) = backward(&logits.narrow(0, 0, 1), |logits| {
            cross_entropy(logits, &labels.narrow(0, 0, 1), &smoothing).unwrap()
        });
        assert_eq!(loss, alone);
        assert_eq!(Vec::<f32>::try_from(gradient.get(1)).unwrap(), [0.0; 4]);
    }
}

#[test]
fn a_masked_class_costs_nothing_without_mass() {
    let logits = Tensor::from_slice(&[1.0f64, f64::NEG_INFINITY, 0.0]).view((1, 3));
    let one_hot = Tensor::from_slice(&[1.0f64, 0.0, 0.0]).view((1, 3));
    let expected = (1.0 + (-1.0f64).exp()).ln();
    let label = Tensor::from_slice(&[0i64]);
    for target in [Target::Hard(&label), Target::Soft(&one_hot)] {
        let (loss, gradient) =
            backward(&logits, |logits| CrossEntropy::new().forward(logits, target).unwrap());
        assert!((loss - expected).abs() < 1e-15);
        assert_eq!(gradient.double_value(&[0, 1]), 0.0);
    }
    let smoothed = cross_entropy(&logits, &label, &Smoothing::mixture(0.1).unwrap()).unwrap();
    assert_eq!(f64::try_from(smoothed).unwrap(), f64::INFINITY);
}

#[test]
fn a_label_that_cannot_be_costs_nothing_without_mass() {
    // The label's own logit is −∞: no mass on it because its class weighs nothing, or because off-target smoothing
    // with ε = 1 leaves it none.
    let logits = Tensor::from_slice(&[f64::NEG_INFINITY, 1.0, 0.0]).view((1, 3));
    let label = Tensor::from_slice(&[0i64]);
    let weightless = CrossEntropy::new()
        .with_class_weights(Tensor::from_slice(&[0.0f64, 1.0, 1.0]))
        .with_reduction(Reduction::Sum);
    let loss = weightless.forward(&logits, Target::Hard(&label)).unwrap();
    assert_eq!(f64::try_from(loss).unwrap(), 0.0);

    let loss = cross_entropy(&logits, &label, &Smoothing::off_target(1.0).unwrap()).unwrap();
    let lse = (1.0f64.exp() + 1.0).ln();
    assert!((f64::try_from(loss).unwrap() - (lse - 0.5)).abs() < 1e-15);
}

#[test]
fn half_precision_logits_are_computed_in_single() {
    for kind in [Kind::BFloat16, Kind::Half] {
        let logits = wave(&[16, 1000], kind, 0.3);
        let labels = cycling(&[16], 1000);
        let smoothing = Smoothing::mixture(0.1).unwrap();
        let loss = cross_entropy(&logits, &labels, &smoothing).unwrap();
        assert_eq!(loss.kind(), Kind::Float);
        let truth = cross_entropy(&logits.to_kind(Kind::Double), &labels, &smoothing).unwrap();
        // A few roundings of f32 at a loss of about 8; bf16 arithmetic would be off by 0.03.
        assert!(largest_difference(&loss, &truth) < 4e-6);
    }
}

#[test]
fn the_gradient_matches_finite_differences() {
    let logits = wave(&[3, 4], Kind::Double, 0.8);
    let soft = wave(&[3, 4], Kind::Double, 0.1).softmax(-1, Kind::Double);
    let (first, second) = (cycling(&[3], 4), cycling(&[3], 4).flip([0]));
    let targets = [
        Target::Soft(&soft),
        Target::Hard(&first),
        Target::Mixed { first: &first, second: &second, share_of_second: &[0.2, 0.5, 0.9] },
    ];
    let plain = || CrossEntropy::new().with_smoothing(Smoothing::off_target(0.15).unwrap());
    let matrix = ClassMatrix::new(
        &[[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1], [0.1, 0.1, 0.7, 0.1], [0.0, 0.0, 0.1, 0.9]]
            .map(Vec::from),
    )
    .unwrap();
    let towards = Smoothing::towards(Epsilon::new(0.4).unwrap(), Prior::from(matrix));
    let losses = [
        plain(),
        plain().with_class_weights(Tensor::from_slice(&[1.0f64, 0.5, 2.0, 0.1])),
        plain().with_smoothing(towards),
        plain().with_z_loss(0.1).and_then(|loss| loss.with_softcap(4.0)).unwrap(),
        plain().with_logit_scale(0.3).unwrap().with_reduction(Reduction::Sum),
    ];
    let step = 1e-6;
    for loss in &losses {
        for target in targets {
            let value = |logits: &Tensor| loss.forward(logits, target).unwrap();
            let (_, gradient) = backward(&logits, value);
            for index in 0..12 {
                let offset = Tensor::zeros([12], (Kind::Double, Device::Cpu));
                let _ = offset.get(index).fill_(step);
                let offset = offset.view((3, 4));
                let difference = value(&(&logits + &offset)) - value(&(&logits - &offset));
                let slope = f64::try_from(difference).unwrap() / (2.0 * step);
                let found = gradient.flatten(0, -1).double_value(&[index]);
                assert!((slope - found).abs() < 1e-8, "{loss:?} {target:?}: {slope} {found}");
            }
        }
    }
}

#[test]
fn bad_inputs_are_named() {
    let logits = wave(&[2, 3], Kind::Float, 0.0);
    let fail = |ours: &CrossEntropy, target: Target<'_>| ours.forward(&logits, target).unwrap_err();
    let plain = CrossEntropy::new();
    let label = |values: &[i64]| Tensor::from_slice(values);

    let error = fail(&plain, Target::Hard(&label(&[0, 3])));
    assert_eq!(error.to_string(), "label 3 at position 1 is not in 0..3");
    let error = fail(&plain, Target::Hard(&label(&[0, 1, 2])));
    assert_eq!(error.to_string(), "labels: expected shape [2] for logits [2, 3], found [3]");
    let error = fail(&plain, Target::Soft(&wave(&[2, 4], Kind::Float, 0.0)));
    assert!(matches!(error, Error::Tensor(TensorError::Shape { .. })), "{error}");
    let error = fail(&plain, Target::Soft(&Tensor::ones([2, 3], (Kind::Float, Device::Cpu))));
    assert_eq!(error.to_string(), "soft targets: row 0 sums to 3, expected 1 ± 0.001");

    let weighted = CrossEntropy::new().with_class_weights(Tensor::from_slice(&[1.0f32, -1.0, 0.0]));
    let error = fail(&weighted, Target::Hard(&label(&[0, 1])));
    assert_eq!(error.to_string(), "class weight must be finite and not negative, found -1");
    let weighted = CrossEntropy::new().with_class_weights(Tensor::from_slice(&[0.0f32, 0.0, 1.0]));
    let error = fail(&weighted, Target::Hard(&label(&[0, 1])));
    assert!(error.to_string().starts_with("the weight of the batch"), "{error}");

    let ignoring = CrossEntropy::new().with_ignore_index(-1);
    let error = fail(&ignoring, Target::Hard(&label(&[-1, -1])));
    let expected = Error::Tensor(TensorError::Core(CoreError::Empty {
        what: "the batch that a mean is taken over",
    }));
    assert_eq!(error.to_string(), expected.to_string());
    let outside = CrossEntropy::new().with_reduction(Reduction::Mean(Normalizer::Items(0.0)));
    assert!(outside.forward(&logits, Target::Hard(&label(&[0, 1]))).is_err());
}

#[test]
fn all_ignored_is_zero_where_nothing_is_divided() {
    let logits = wave(&[2, 3], Kind::Float, 0.0);
    let labels = Tensor::from_slice(&[-1i64, -1]);
    let ours = CrossEntropy::new().with_ignore_index(-1).with_reduction(Reduction::Sum);
    let (loss, gradient) =
        backward(&logits, |logits| ours.forward(logits, Target::Hard(&labels)).unwrap());
    assert_eq!(loss, 0.0);
    assert_eq!(largest_difference(&gradient, &gradient.zeros_like()), 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn off_target_is_a_mixture_with_more(
        values in prop::collection::vec(-5.0..5.0f64, 12), epsilon in 0.0..0.6
    ) {
        let logits = Tensor::from_slice(&values).view((3, 4));
        let labels = Tensor::from_slice(&[0i64, 3, 1]);
        let off_target = Smoothing::off_target(epsilon).unwrap();
        let mixture = Smoothing::mixture(epsilon * 4.0 / 3.0).unwrap();
        let a = cross_entropy(&logits, &labels, &off_target).unwrap();
        let b = cross_entropy(&logits, &labels, &mixture).unwrap();
        prop_assert!(largest_difference(&a, &b) < 1e-13);
    }

    #[test]
    fn smoothing_equals_the_dense_rows(
        values in prop::collection::vec(-5.0..5.0f64, 12),
        // Above 3/4 off-target smoothing leaves the label less than the others have.
        epsilon in 0.0..=1.0,
        mixture: bool,
    ) {
        let logits = Tensor::from_slice(&values).view((3, 4));
        let labels = Tensor::from_slice(&[0i64, 3, 1]);
        let smoothing =
            if mixture { Smoothing::mixture(epsilon) } else { Smoothing::off_target(epsilon) };
        let weights = smoothing.clone().unwrap().weights(4).unwrap();
        let one_hot = labels.one_hot(4).to_kind(Kind::Double);
        let dense = &one_hot * weights.label + (one_hot.ones_like() - &one_hot) * weights.other;
        let fused = cross_entropy(&logits, &labels, &smoothing.unwrap()).unwrap();
        let reference = CrossEntropy::new().forward(&logits, Target::Soft(&dense)).unwrap();
        prop_assert!(largest_difference(&fused, &reference) < 1e-13);
    }

    #[test]
    fn gradient_rows_sum_to_zero(values in prop::collection::vec(-30.0..30.0f64, 12)) {
        let logits = Tensor::from_slice(&values).view((3, 4));
        let labels = Tensor::from_slice(&[0i64, 3, 1]);
        let smoothing = Smoothing::mixture(0.1).unwrap();
        let (_, gradient) =
            backward(&logits, |logits| cross_entropy(logits, &labels, &smoothing).unwrap());
        let sums = gradient.sum_dim_intlist(-1, false, Kind::Double).abs().max();
        prop_assert!(f64::try_from(sums).unwrap() < 1e-15);
    }
}
