//! Losses that are added up.

use softlabel_losses::{
    AnyLoss, Batch, Brier, ClassAxis, ConfidencePenalty, CorrectnessRanking, CrossEntropy,
    Direction, Focal, KlDivergence, LogitNorm, LogitPenalty, LossOptions, LossTerm,
    MarginSmoothing, MaxSup, Mmce, Normalizer, Objective, Reduction, Reference, Target,
};
use softlabel_targets::Smoothing;
use tch::Tensor;

use crate::support::{
    CLASSES, backward, correctness, cycling, largest_difference, number, soft_rows, wave,
};

fn parts() -> Vec<(f64, Box<dyn LossTerm + Send>)> {
    vec![
        (0.1, Box::new(MarginSmoothing::new(1.0).unwrap())),
        (-0.3, Box::new(ConfidencePenalty::new())),
        (0.02, Box::new(LogitPenalty::new())),
    ]
}

fn smoothed() -> CrossEntropy {
    CrossEntropy::new()
        .with_smoothing(Smoothing::mixture(0.1).unwrap())
        .with_class_weights(Tensor::from_slice(&[1.0f64, 0.5, 2.0, 0.1, 1.5]))
}

#[test]
fn the_sum_of_the_parts() {
    let logits = wave(&[6, CLASSES], 0.8);
    let labels = Tensor::from_slice(&[0i64, 4, -1, 2, 3, -1]);
    let soft = soft_rows(6);
    for reduction in [
        Reduction::None,
        Reduction::Sum,
        Reduction::default(),
        Reduction::Mean(Normalizer::Count),
        Reduction::Mean(Normalizer::Items(3.0)),
    ] {
        for target in [Target::Hard(&labels), Target::Soft(&soft)] {
            let whole = parts()
                .into_iter()
                .fold(Objective::new(smoothed()), |sum, (weight, loss)| sum.plus(weight, loss))
                .with_reduction(reduction)
                .with_ignore_index(-1);
            let (total, gradient) = backward(&logits, |at| whole.forward(at, target).unwrap());

            let alone = smoothed().with_reduction(reduction).with_ignore_index(-1);
            let (mut expected, mut expected_gradient) =
                backward(&logits, |at| alone.forward(at, target).unwrap());
            for (weight, loss) in parts() {
                let options = *whole.options();
                let (part, gradient) =
                    backward(&logits, |at| loss.forward(at, target, &options).unwrap());
                expected += part * weight;
                expected_gradient += gradient * weight;
            }
            assert!(largest_difference(&total, &expected) < 1e-13);
            assert!(largest_difference(&gradient, &expected_gradient) < 1e-13);
        }
    }
}

#[test]
fn terms_are_told_apart() {
    let logits = wave(&[6, CLASSES], 0.8).set_requires_grad(true);
    let labels = cycling(&[6], CLASSES);
    let objective = Objective::new(Focal::new(2.0).unwrap())
        .plus(0.5, Mmce::new(0.4).unwrap())
        .plus(0.0, Brier::new());
    let (total, terms) = objective.forward_with_terms(&logits, Target::Hard(&labels)).unwrap();
    let names: Vec<&str> = terms.iter().map(|term| term.name).collect();
    assert_eq!(names, ["focal", "mmce", "brier"]);
    let values: Vec<f64> =
        terms[..2].iter().map(|term| number(term.value.as_ref().unwrap())).collect();
    assert!((values[0] + 0.5 * values[1] - number(&total.detach())).abs() < 1e-14);
    assert!(terms.iter().all(|term| term.value.as_ref().is_none_or(|v| !v.requires_grad())));
    assert!(terms[2].value.is_none() && total.requires_grad());
}

#[test]
fn weights_change_between_steps() {
    let logits = wave(&[6, CLASSES], 0.8);
    let labels = cycling(&[6], CLASSES);
    let mut objective = Objective::new(CrossEntropy::new()).plus(0.1, MaxSup::new());
    let at =
        |objective: &Objective| number(&objective.forward(&logits, Target::Hard(&labels)).unwrap());
    let (first, options) = (at(&objective), LossOptions::default());
    objective.set_weight(1, 0.2).unwrap();
    let term = number(&MaxSup::new().forward(&logits, Target::Hard(&labels), &options).unwrap());
    assert!((at(&objective) - first - 0.1 * term).abs() < 1e-13);
    let weights: Vec<_> = objective.weights().collect();
    assert_eq!(weights, [(1.0, "cross_entropy"), (0.2, "max_sup")]);

    let error = objective.set_weight(2, 0.1).unwrap_err().to_string();
    assert_eq!(error, "terms of an objective: expected an index below 2, found 2");
    let error = objective.set_weight(0, f64::NAN).unwrap_err().to_string();
    assert_eq!(error, "the weight of a term must be finite, found NaN");
    let bad = Objective::new(CrossEntropy::new()).plus(f64::INFINITY, MaxSup::new());
    assert!(bad.forward(&logits, Target::Hard(&labels)).is_err());
    objective.set_weight(0, 0.0).unwrap();
    objective.set_weight(1, 0.0).unwrap();
    let error = objective.forward(&logits, Target::Hard(&labels)).unwrap_err().to_string();
    assert!(error.starts_with("the objective (no term has a weight"), "{error}");
}

#[test]
fn a_weight_of_zero_leaves_nothing_of_an_infinite_term() {
    let logits = Tensor::from_slice(&[0.0f64, 1.0, f64::NEG_INFINITY]).view((1, 3));
    let labels = Tensor::from_slice(&[0i64]);
    let infinite = KlDivergence::new(Direction::Forward, Reference::Uniform).unwrap();
    let mut objective = Objective::new(CrossEntropy::new()).plus(0.0, infinite);
    let at =
        |objective: &Objective| number(&objective.forward(&logits, Target::Hard(&labels)).unwrap());
    assert!((at(&objective) - (1.0 + 1f64.exp()).ln()).abs() < 1e-15);
    objective.set_weight(1, 1e-9).unwrap();
    assert_eq!(at(&objective), f64::INFINITY);
}

#[test]
fn a_cross_entropy_brings_its_options_along() {
    let logits = wave(&[2, CLASSES, 3], 0.8);
    let labels = Tensor::from_slice(&[0i64, 4, -1, 2, 3, -1]).view((2, 3));
    let loss = || {
        smoothed()
            .with_class_axis(ClassAxis::Second)
            .with_ignore_index(-1)
            .with_reduction(Reduction::Sum)
    };
    let objective = Objective::from(loss());
    let found = objective.forward(&logits, Target::Hard(&labels)).unwrap();
    let expected = loss().forward(&logits, Target::Hard(&labels)).unwrap();
    assert!(largest_difference(&found, &expected) < 1e-13);

    // Added to others without its options, it is refused, not misread.
    let flat = Objective::new(CrossEntropy::new().with_ignore_index(-1));
    let labels = Tensor::from_slice(&[0i64, 1]);
    let error = flat.forward(&logits.select(2, 0), Target::Hard(&labels)).unwrap_err().to_string();
    let expected = "ignore index of a cross-entropy: expected None as in the batch, found Some(-1)";
    assert_eq!(error, expected);
    let second = Objective::new(CrossEntropy::new().with_class_axis(ClassAxis::Second));
    let error = second.forward(&logits.select(2, 0), Target::Hard(&labels)).unwrap_err();
    assert!(error.to_string().starts_with("class axis of a cross-entropy"), "{error}");
}

#[test]
fn a_batch_may_know_more_than_logits_and_target() {
    let (logits, labels) = (wave(&[6, CLASSES], 0.8), cycling(&[6], CLASSES));
    let objective = Objective::new(CrossEntropy::new()).plus(1.0, CorrectnessRanking::new());
    assert!(objective.forward(&logits, Target::Hard(&labels)).is_err());
    let batch = Batch::with_options(&logits, Target::Hard(&labels), objective.options()).unwrap();
    let batch = batch.with_correctness(&correctness(6)).unwrap();
    let (total, terms) = objective.forward_batch(&batch).unwrap();
    let sum: f64 = terms.iter().map(|term| number(term.value.as_ref().unwrap())).sum();
    assert!((number(&total) - sum).abs() < 1e-14);
}

#[test]
fn any_loss_may_see_normalized_logits() {
    let (logits, labels) = (wave(&[6, CLASSES], 0.8), cycling(&[6], CLASSES));
    let norm = LogitNorm::new(0.3).unwrap();
    let focal = Focal::new(2.0).unwrap();
    let options = LossOptions::default();
    let wrapped = norm.around(focal.clone()).forward(&logits, Target::Hard(&labels), &options);
    let normalized = norm.normalize(&logits).unwrap();
    let expected = focal.forward(&normalized, Target::Hard(&labels), &options);
    assert!(largest_difference(&wrapped.unwrap(), &expected.unwrap()) < 1e-15);
    let lengths = normalized.square().sum_dim_intlist(-1, false, tch::Kind::Double).sqrt();
    assert!(largest_difference(&lengths, &(lengths.ones_like() / 0.3)) < 1e-6);
}

#[test]
fn objectives_move_between_threads() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let any: AnyLoss = Brier::new().into();
    let objective = sent(Objective::new(CrossEntropy::new()).plus(0.1, any));
    assert_eq!(objective.weights().count(), 2);
}

/// A loss that knows a shorter way to its value times a weight, and tells by it.
#[derive(Debug)]
struct Short;

impl LossTerm for Short {
    fn name(&self) -> &'static str {
        "short"
    }

    fn term(&self, batch: &Batch) -> softlabel_losses::Result<softlabel_losses::Term> {
        LogitPenalty::new().term(batch)
    }

    fn weighted(&self, _: &Batch, _: Reduction, weight: f64) -> softlabel_losses::Result<Tensor> {
        Ok(Tensor::from(100.0 * weight))
    }
}

/// In a box, and in a box in a box.
#[test]
fn the_short_way_of_a_term_is_taken() {
    let logits = wave(&[2, CLASSES], 0.8);
    let labels = Tensor::from_slice(&[0i64, 4]);
    let boxed: Box<dyn LossTerm + Send> = Box::new(Short);
    for sum in [
        Objective::new(Short),
        Objective::new(boxed),
        Objective::new(LogitPenalty::new()).plus(1.0, Short),
    ] {
        assert!(number(&sum.forward(&logits, Target::Hard(&labels)).unwrap()) >= 100.0);
    }
    let options = LossOptions::default();
    let alone = Short.forward(&logits, Target::Hard(&labels), &options).unwrap();
    assert_eq!(number(&alone), 100.0);
}

#[test]
fn a_cross_entropy_of_another_reduction_is_refused() {
    let logits = wave(&[2, CLASSES], 0.8);
    let labels = Tensor::from_slice(&[0i64, 4]);
    for own in [Reduction::Sum, Reduction::None, Reduction::Mean(Normalizer::Items(8.0))] {
        let loss = || CrossEntropy::new().with_reduction(own);
        let sum = Objective::new(loss());
        let error = sum.forward(&logits, Target::Hard(&labels)).unwrap_err().to_string();
        assert!(error.starts_with("reduction of a cross-entropy: expected "), "{error}");
        let alone =
            LossTerm::forward(&loss(), &logits, Target::Hard(&labels), &LossOptions::default());
        assert!(alone.is_err());
        let both = Objective::new(loss()).with_reduction(own);
        let expected = loss().forward(&logits, Target::Hard(&labels)).unwrap();
        let found = both.forward(&logits, Target::Hard(&labels)).unwrap();
        assert!(largest_difference(&found, &expected) < 1e-15);
    }
}
