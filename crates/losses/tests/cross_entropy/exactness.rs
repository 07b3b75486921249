//! Against f64 truth: no further from it than libtorch is, at every size and in every dtype.

use softlabel_core::Epsilon;
use softlabel_losses::{CrossEntropy, Reduction, Target, cross_entropy};
use softlabel_targets::{ClassDistribution, ClassMatrix, Prior, Smoothing};
use tch::{Device, Kind, Tensor};

use crate::support::{backward, cycling, largest_difference, rows_of, wave};

fn libtorch(logits: &Tensor, labels: &Tensor, epsilon: f64) -> Tensor {
    logits.cross_entropy_loss(labels, None::<Tensor>, tch::Reduction::Mean, -100, epsilon)
}

/// Half a unit in the last place of 1.
fn unit(kind: Kind) -> f64 {
    match kind {
        Kind::Float => 2f64.powi(-24),
        Kind::BFloat16 => 2f64.powi(-9),
        _ => 2f64.powi(-12),
    }
}

/// That ours is as near to the truth as libtorch, and a rounding.
fn check(logits: &Tensor, labels: &Tensor, epsilon: f64) {
    let smoothing = Smoothing::mixture(epsilon).unwrap();
    compare(
        &format!("epsilon {epsilon}"),
        logits,
        |at| cross_entropy(at, labels, &smoothing).unwrap(),
        |at| libtorch(at, labels, epsilon),
    );
}

/// The same of any two that are the mean over the rows of the same formula, in the dtype of the logits and in f64.
fn compare(
    what: &str,
    logits: &Tensor,
    ours: impl Fn(&Tensor) -> Tensor,
    theirs: impl Fn(&Tensor) -> Tensor,
) {
    let kind = logits.kind();
    let (loss, gradient) = backward(&logits.to_kind(Kind::Double), &theirs);
    let (ours, theirs) = (backward(logits, ours), backward(logits, theirs));
    let name = format!("{:?} {kind:?}, {what}", logits.size());

    let [our_error, their_error] = [ours.0, theirs.0].map(|found| (found - loss).abs());
    // The loss is in f32 whatever the logits are, and so are the masses of the target.
    let rounding = 2.0 * unit(Kind::Float) * loss.abs().max(1.0);
    assert!(our_error <= their_error + rounding, "{name}: {our_error:e}, {their_error:e}");

    let [our_error, their_error] =
        [ours.1, theirs.1].map(|found| largest_difference(&found, &gradient));
    // A probability of nearly 1, less the label's mass, is known to an f32 rounding of 1.
    let largest = f64::try_from(gradient.abs().max()).unwrap();
    let rounding = unit(kind) * largest + 2.0 * unit(Kind::Float) / logits.size()[0] as f64;
    assert!(
        our_error <= their_error + rounding,
        "{name}: gradient off by {our_error}, {their_error}"
    );
}

#[test]
fn every_kind_of_target_in_every_dtype() {
    let epsilon = 0.1;
    for (classes, rows) in [(2i64, 5i64), (10, 130), (41, 70), (64, 130), (1000, 5), (32_000, 2)] {
        let labels = cycling(&[rows], classes);
        let smoothed = |prior: Prior| {
            let epsilon = Epsilon::new(epsilon).unwrap();
            CrossEntropy::new().with_smoothing(Smoothing::towards(epsilon, prior))
        };
        // Rows of the labels, built in the dtype of the logits as its users must.
        let built = |at: &Tensor, prior: &Tensor| {
            let prior = (prior * epsilon).to_kind(at.kind());
            let own = Tensor::full([rows, 1], 1.0 - epsilon, (at.kind(), Device::Cpu));
            let target = prior.scatter_add(-1, &labels.unsqueeze(-1), &own);
            at.cross_entropy_loss(&target, None::<Tensor>, tch::Reduction::Mean, -100, 0.0)
        };
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let logits = wave(&[rows, classes], kind, 0.3);
            let soft = wave(&[rows, classes], Kind::Double, 0.8).softmax(-1, Kind::Double);
            let soft = soft.to_kind(kind);
            let dense = CrossEntropy::new();
            compare(
                "soft rows",
                &logits,
                |at| dense.forward(at, Target::Soft(&soft)).unwrap(),
                |at| {
                    let soft = soft.to_kind(at.kind());
                    at.cross_entropy_loss(&soft, None::<Tensor>, tch::Reduction::Mean, -100, 0.0)
                },
            );

            let vector = wave(&[classes], Kind::Double, 0.4).softmax(-1, Kind::Double);
            let prior = ClassDistribution::new(rows_of(&vector)).unwrap();
            let loss = smoothed(Prior::from(prior));
            compare(
                "a vector",
                &logits,
                |at| loss.forward(at, Target::Hard(&labels)).unwrap(),
                |at| built(at, &vector.expand([rows, classes], false).contiguous()),
            );

            let weights = wave(&[classes], Kind::Float, 0.5).abs() + 0.1;
            let loss = CrossEntropy::new()
                .with_smoothing(Smoothing::mixture(epsilon).unwrap())
                .with_class_weights(weights.copy());
            compare(
                "class weights",
                &logits,
                |at| loss.forward(at, Target::Hard(&labels)).unwrap(),
                |at| {
                    let weights = Some(weights.to_kind(at.kind()));
                    at.cross_entropy_loss(&labels, weights, tch::Reduction::Mean, -100, epsilon)
                },
            );

            if classes <= 1000 {
                let matrix = wave(&[classes, classes], Kind::Double, 0.6);
                let matrix = matrix.softmax(-1, Kind::Double);
                let rows = Vec::<Vec<f64>>::try_from(&matrix).unwrap();
                let loss = smoothed(Prior::from(ClassMatrix::new(&rows).unwrap()));
                compare(
                    "a matrix",
                    &logits,
                    |at| loss.forward(at, Target::Hard(&labels)).unwrap(),
                    |at| built(at, &matrix.index_select(0, &labels)),
                );
            }
        }
    }
}

#[test]
fn every_size_in_every_dtype() {
    let sizes = [1i64, 2, 3, 31, 41, 668, 1128, 32000, 50257, 128_256, 262_144];
    for classes in sizes {
        for rows in if classes > 2000 { vec![1, 3] } else { vec![1, 5, 64] } {
            let labels = cycling(&[rows], classes);
            for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
                for epsilon in [0.0, 0.1, 1.0] {
                    check(&wave(&[rows, classes], kind, 0.3), &labels, epsilon);
                }
            }
        }
    }
}

#[test]
fn confident_rows() {
    // The label far above the rest, at the rest's height, and far below: gaps beyond what exp of f32 can hold.
    for gap in [10.0, 20.0, 88.5, 105.0, 1000.0] {
        for classes in [3i64, 100, 5000] {
            let logits = wave(&[6, classes], Kind::Float, 0.1);
            let labels = cycling(&[6], classes);
            let bump = labels.one_hot(classes).to_kind(Kind::Float);
            for sign in [1.0, -1.0] {
                for epsilon in [0.0, 0.1] {
                    check(&(&logits + &bump * (gap * sign)), &labels, epsilon);
                }
            }
        }
    }
}

#[test]
fn large_logits_do_not_cancel() {
    // All logits around 30000: a sum of them loses the digits that the differences have.
    for classes in [10i64, 5000] {
        let logits = wave(&[4, classes], Kind::Float, 0.1) + 30000.0;
        check(&logits, &cycling(&[4], classes), 0.1);
    }
}

#[test]
fn the_gradient_of_large_rows_is_fifty_times_nearer_than_libtorchs_away_from_the_label() {
    for classes in [32_000i64, 128_256] {
        let logits = wave(&[4, classes], Kind::Float, 0.3);
        let labels = cycling(&[4], classes);
        let smoothing = Smoothing::mixture(0.1).unwrap();
        let (_, truth) = backward(&logits.to_kind(Kind::Double), |at| libtorch(at, &labels, 0.1));
        let (_, ours) = backward(&logits, |at| cross_entropy(at, &labels, &smoothing).unwrap());
        let (_, theirs) = backward(&logits, |at| libtorch(at, &labels, 0.1));
        // The label's entry is K times larger than the others, and its rounding hides theirs.
        let others = labels.one_hot(classes).logical_not().to_kind(Kind::Double);
        let others = |gradient: &Tensor| gradient.to_kind(Kind::Double) * &others;
        let [ours, theirs] =
            [ours, theirs].map(|found| largest_difference(&others(&found), &others(&truth)));
        assert!(50.0 * ours <= theirs, "{classes}: {ours:e}, {theirs:e}");
    }
}

#[test]
fn classes_that_cannot_be() {
    // The first 4096 logits −∞, which is a block of the kernels and more; then all but one; then the label's.
    for classes in [8i64, 5000] {
        let gone = classes * 4 / 5;
        let logits = wave(&[3, classes], Kind::Float, 0.2);
        let _ = logits.narrow(1, 0, gone).fill_(f64::NEG_INFINITY);
        let labels = Tensor::full([3], classes - 1, (Kind::Int64, Device::Cpu));
        check(&logits, &labels, 0.0);

        let _ = logits.narrow(1, 0, classes - 1).fill_(f64::NEG_INFINITY);
        let (loss, gradient) =
            backward(&logits, |at| cross_entropy(at, &labels, &Smoothing::NONE).unwrap());
        assert_eq!(loss, 0.0);
        assert_eq!(largest_difference(&gradient, &gradient.zeros_like()), 0.0);

        let label = Tensor::zeros([3], (Kind::Int64, Device::Cpu));
        let (loss, gradient) =
            backward(&logits, |at| cross_entropy(at, &label, &Smoothing::NONE).unwrap());
        assert_eq!(loss, f64::INFINITY);
        // p − t, with p_label = 0.
        let row = rows_of(&gradient.get(0));
        assert!((row[0] + 1.0 / 3.0).abs() < 1e-7);
        assert!((row[row.len() - 1] - 1.0 / 3.0).abs() < 1e-7);
    }
}

#[test]
fn a_row_of_nothing_costs_infinitely_much_and_no_more() {
    for second_derivatives in [false, true] {
        let logits = wave(&[3, 6], Kind::Float, 0.2);
        let _ = logits.get(1).fill_(f64::NEG_INFINITY);
        let loss = CrossEntropy::new().with_reduction(Reduction::None);
        let loss = if second_derivatives { loss.with_second_derivatives() } else { loss };
        let logits = logits.set_requires_grad(true);
        let losses = loss.forward(&logits, Target::Hard(&cycling(&[3], 6))).unwrap();
        losses.sum(Kind::Float).backward();
        let gradient = rows_of(&logits.grad());
        assert_eq!(gradient[6..12], [0.0; 6]);
        assert!(gradient.iter().all(|entry| entry.is_finite()) && gradient[0] != 0.0);
        let losses = rows_of(&losses);
        assert_eq!(losses[1], f64::INFINITY);
        assert!(losses[0].is_finite() && losses[2].is_finite());
    }
}

#[test]
fn masks_with_the_least_finite_number() {
    for (kind, least) in
        [(Kind::Float, f64::from(f32::MIN)), (Kind::BFloat16, -3.389e38), (Kind::Half, -65504.0)]
    {
        let logits = wave(&[4, 12], kind, 0.2);
        let _ = logits.narrow(1, 0, 5).fill_(least);
        let labels = Tensor::from_slice(&[5i64, 6, 7, 11]);
        check(&logits, &labels, 0.0);
    }
}

#[test]
fn transposed_and_strided_logits() {
    let labels = cycling(&[7], 9);
    let smoothing = Smoothing::mixture(0.1).unwrap();
    let plain = wave(&[7, 9], Kind::Float, 0.2);
    let (loss, truth) = backward(&plain, |at| cross_entropy(at, &labels, &smoothing).unwrap());
    // A gradient of a view reaches what it is a view of.
    let transposed = plain.tr().contiguous();
    let (found, gradient) =
        backward(&transposed, |at| cross_entropy(&at.tr(), &labels, &smoothing).unwrap());
    assert_eq!(found, loss);
    assert_eq!(rows_of(&gradient.tr().contiguous()), rows_of(&truth));
    let wide = Tensor::cat(&[&plain, &plain], 1);
    let (found, gradient) =
        backward(&wide, |at| cross_entropy(&at.narrow(1, 9, 9), &labels, &smoothing).unwrap());
    assert_eq!(found, loss);
    assert_eq!(rows_of(&gradient.narrow(1, 9, 9).contiguous()), rows_of(&truth));
    assert_eq!(largest_difference(&gradient.narrow(1, 0, 9), &truth.zeros_like()), 0.0);
    // One element off any alignment.
    let flat = Tensor::cat(&[&plain.view(-1).narrow(0, 0, 1), &plain.view(-1)], 0);
    let (found, _) = backward(&flat, |at| {
        cross_entropy(&at.narrow(0, 1, 63).view((7, 9)), &labels, &smoothing).unwrap()
    });
    assert_eq!(found, loss);
}

#[test]
fn an_empty_batch_has_no_mean() {
    let logits = wave(&[0, 9], Kind::Float, 0.2);
    let labels = cycling(&[0], 9);
    assert!(cross_entropy(&logits, &labels, &Smoothing::NONE).is_err());
    let none = CrossEntropy::new().with_reduction(Reduction::None);
    assert_eq!(none.forward(&logits, Target::Hard(&labels)).unwrap().size(), [0]);
}

#[test]
fn steps_that_are_accumulated_are_one_step() {
    use softlabel_losses::Normalizer;
    let logits = wave(&[12, 5], Kind::Double, 0.2);
    let labels = cycling(&[12], 5).masked_fill(&cycling(&[12], 12).eq(3), -1);
    let loss = |normalizer| {
        CrossEntropy::new().with_ignore_index(-1).with_reduction(Reduction::Mean(normalizer))
    };
    let (_, whole) =
        backward(&logits, |at| loss(Normalizer::Count).forward(at, Target::Hard(&labels)).unwrap());
    let (_, parts) = backward(&logits, |at| {
        let part = |start| {
            let labels = labels.narrow(0, start, 4);
            let part = at.narrow(0, start, 4);
            loss(Normalizer::Items(11.0)).forward(&part, Target::Hard(&labels)).unwrap()
        };
        part(0) + part(4) + part(8)
    });
    assert!(largest_difference(&whole, &parts) < 1e-16);
}

/// A weight of any sign and size is the same before and after the loss, in f16 too.
#[test]
fn weights_are_part_of_the_loss() {
    let labels = Tensor::from_slice(&[0i64, 2, 1]);
    for kind in [Kind::Half, Kind::Float] {
        let values = Tensor::from_slice(&[0.5, -1.0, 2.0, 0.25, 0.0, -3.0, 1.0, 1.5, -0.5]);
        let leaf = || values.view((3, 3)).to_kind(kind).set_requires_grad(true);
        for weight in [-0.1, 1e-3, 1e6] {
            let (inside, outside) = (leaf(), leaf());
            let loss = CrossEntropy::new();
            let whole = loss.forward_weighted(&inside, Target::Hard(&labels), weight).unwrap();
            // What would be too large for f16 is scaled back, as gradient scaling does.
            (whole / weight).backward();
            loss.forward(&outside, Target::Hard(&labels)).unwrap().backward();
            let off = (inside.grad() - outside.grad()).to_kind(Kind::Double).abs().max();
            let rounding = if kind == Kind::Half { 1e-3 } else { 1e-6 };
            assert!(f64::try_from(off).unwrap() < rounding, "{kind:?} {weight}");
        }
    }
    let logits = values_of_one();
    let error = CrossEntropy::new()
        .forward_weighted(&logits, Target::Hard(&Tensor::from_slice(&[0i64])), f64::NAN)
        .unwrap_err();
    assert!(error.to_string().contains("the weight of a loss"), "{error}");
}

fn values_of_one() -> Tensor {
    Tensor::from_slice(&[0.0f32, 1.0]).view((1, 2))
}
