//! Ignored samples, reductions, dtypes, layouts, logits of −∞.

use softlabel_losses::{
    AnyLoss, Batch, ClassAxis, ConfidencePenalty, Direction, DualFocal, Focal, Focal53,
    ForwardCorrection, KlDivergence, LossOptions, LossTerm, Normalizer, Reduction, Reference,
    Target, ZipfDivergence,
};
use tch::{Kind, Tensor};

use crate::cases::{all, zipf};
use crate::support::{
    CLASSES, backward, correctness, cycling, largest_difference, number, numbers, value, wave,
    with_reduction,
};

/// Logits and labels of which rows 1 and 4 are ignored, and hold what cannot be computed with.
fn with_ignored(index: i64) -> (Tensor, Tensor, [i64; 4]) {
    let logits = wave(&[6, CLASSES], 0.8);
    let labels = Tensor::from_slice(&[0i64, index, 3, 4, index, 1]);
    let _ = logits.get(1).fill_(f64::NAN);
    logits.get(4).copy_(&Tensor::from_slice(&[
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NEG_INFINITY,
        0.0,
        f64::NAN,
    ]));
    (logits, labels, [0, 2, 3, 5])
}

#[test]
fn ignored_samples_are_as_if_they_were_not_there() {
    // Outside 0..K, and a class that is not otherwise used.
    for index in [-100, 2] {
        let (logits, labels, kept) = with_ignored(index);
        let kept = Tensor::from_slice(&kept);
        let shares = correctness(6);
        let kept_shares: Vec<f64> = numbers(&Tensor::from_slice(&shares).index_select(0, &kept));
        let (few_logits, few_labels) =
            (logits.index_select(0, &kept), labels.index_select(0, &kept));
        for case in all() {
            for reduction in reductions() {
                if case.is_about_batch() && reduction == Reduction::None {
                    continue;
                }
                let options =
                    LossOptions { ignore_index: Some(index), ..with_reduction(reduction) };
                let (loss, gradient) = backward(&logits, |at| {
                    value(&case.loss, at, Target::Hard(&labels), &options, &shares)
                });
                let few = with_reduction(reduction);
                let (expected, expected_gradient) = backward(&few_logits, |at| {
                    value(&case.loss, at, Target::Hard(&few_labels), &few, &kept_shares)
                });
                let context = format!("{:?} {reduction:?} {index}", case.loss);
                if reduction == Reduction::None {
                    assert_eq!(numbers(&loss)[1], 0.0, "{context}");
                    assert_eq!(numbers(&loss)[4], 0.0, "{context}");
                    let loss = loss.index_select(0, &kept);
                    assert!(largest_difference(&loss, &expected) < 1e-14, "{context}");
                } else {
                    assert!(largest_difference(&loss, &expected) < 1e-13, "{context}");
                }
                for row in [1, 4] {
                    assert_eq!(numbers(&gradient.get(row)), [0.0; 5], "{context}");
                }
                if reduction == Reduction::None {
                    // The root of a loss of 0 has an infinite slope.
                    let (_, of_root) = backward(&logits, |at| {
                        value(&case.loss, at, Target::Hard(&labels), &options, &shares).sqrt()
                    });
                    for row in [1, 4] {
                        assert_eq!(numbers(&of_root.get(row)), [0.0; 5], "{context}");
                    }
                }
                let gradient = gradient.index_select(0, &kept);
                assert!(largest_difference(&gradient, &expected_gradient) < 1e-13, "{context}");
            }
        }
    }
}

fn reductions() -> [Reduction; 5] {
    [
        Reduction::None,
        Reduction::Sum,
        Reduction::Mean(Normalizer::WeightSum),
        Reduction::Mean(Normalizer::Count),
        Reduction::Mean(Normalizer::Items(7.0)),
    ]
}

#[test]
fn one_valid_sample_is_enough() {
    let logits = wave(&[3, CLASSES], 0.8);
    let _ = logits.get(0).fill_(f64::NAN);
    let labels = Tensor::from_slice(&[-1i64, 3, -1]);
    let options = LossOptions { ignore_index: Some(-1), ..LossOptions::default() };
    for case in all() {
        let found = value(&case.loss, &logits, Target::Hard(&labels), &options, &correctness(3));
        let alone = value(
            &case.loss,
            &logits.narrow(0, 1, 1),
            Target::Hard(&labels.narrow(0, 1, 1)),
            &LossOptions::default(),
            &[0.3],
        );
        assert!(largest_difference(&found, &alone) < 1e-14, "{:?}", case.loss);
    }
}

#[test]
fn no_valid_sample_is_an_error_for_a_mean_and_zero_for_a_sum() {
    let logits = wave(&[2, CLASSES], 0.8);
    let _ = logits.get(0).fill_(f64::NAN);
    let labels = Tensor::from_slice(&[-1i64, -1]);
    let sum = LossOptions { ignore_index: Some(-1), ..with_reduction(Reduction::Sum) };
    for case in all() {
        let (loss, gradient) = backward(&logits, |at| {
            value(&case.loss, at, Target::Hard(&labels), &sum, &correctness(2))
        });
        assert_eq!(number(&loss), 0.0, "{:?}", case.loss);
        assert_eq!(numbers(&gradient), [0.0; 10], "{:?}", case.loss);
        let batch = Batch::with_options(&logits, Target::Hard(&labels), &sum).unwrap();
        let batch = batch.with_correctness(&[0.0, 0.0]).unwrap();
        let error = case.loss.term(&batch).unwrap().reduce(Reduction::default(), "");
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("the batch that a mean is taken over is empty"), "{error}");
    }
}

#[test]
fn an_empty_batch_sums_to_zero() {
    let logits = wave(&[0, CLASSES], 0.0);
    let labels = cycling(&[0], CLASSES);
    for case in all() {
        let options = with_reduction(Reduction::Sum);
        let found = value(&case.loss, &logits, Target::Hard(&labels), &options, &[]);
        assert_eq!(number(&found), 0.0, "{:?}", case.loss);
    }
}

#[test]
fn reductions_are_those_of_the_rows() {
    let (logits, labels) = (wave(&[6, CLASSES], 0.8), cycling(&[6], CLASSES));
    for case in all() {
        let of = |reduction| {
            let options = with_reduction(reduction);
            value(&case.loss, &logits, Target::Hard(&labels), &options, &correctness(6))
        };
        let sum = number(&of(Reduction::Sum));
        if !case.is_about_batch() {
            let rows = of(Reduction::None);
            assert_eq!(rows.size(), [6]);
            assert!((number(&rows.sum(Kind::Double)) - sum).abs() < 1e-12, "{:?}", case.loss);
        }
        let divided = |normalizer| number(&of(Reduction::Mean(normalizer)));
        for (normalizer, count) in
            [(Normalizer::WeightSum, 6.0), (Normalizer::Count, 6.0), (Normalizer::Items(2.5), 2.5)]
        {
            assert!((divided(normalizer) - sum / count).abs() < 1e-13, "{:?}", case.loss);
        }
    }
}

#[test]
fn half_precision_logits_are_computed_in_single() {
    let labels = cycling(&[8], CLASSES);
    let options = LossOptions::default();
    for kind in [Kind::BFloat16, Kind::Half, Kind::Float] {
        let logits = wave(&[8, CLASSES], 0.3).to_kind(kind);
        for case in all() {
            let of = |at: &Tensor| {
                value(&case.loss, at, Target::Hard(&labels), &options, &correctness(8))
            };
            let (found, gradient) = backward(&logits, of);
            let (truth, true_gradient) = backward(&logits.to_kind(Kind::Double), of);
            assert_eq!((found.kind(), gradient.kind()), (Kind::Float, kind));
            let scale = number(&truth).abs().max(1.0);
            let off = largest_difference(&found, &truth) / scale;
            assert!(off < 2e-6, "{:?} {kind:?}: {off}", case.loss);
            // One rounding to the dtype of the logits.
            let step = match kind {
                Kind::BFloat16 => 4e-3,
                Kind::Half => 5e-4,
                _ => 1e-6,
            };
            let off = largest_difference(&gradient, &true_gradient);
            let scale = number(&true_gradient.abs().max()).max(1.0);
            assert!(off < step * scale, "{:?} {kind:?}: {off}", case.loss);
        }
    }
}

#[test]
fn images_agree_with_their_flat_form() {
    let flat = wave(&[12, CLASSES], 0.3);
    let labels = cycling(&[12], CLASSES);
    let image = flat.view((2, 6, CLASSES)).movedim_int(-1, 1);
    let dense = LossOptions { class_axis: ClassAxis::Second, ..LossOptions::default() };
    for case in all() {
        let shares = correctness(12);
        let expected =
            value(&case.loss, &flat, Target::Hard(&labels), &LossOptions::default(), &shares);
        let of_image =
            value(&case.loss, &image, Target::Hard(&labels.view((2, 6))), &dense, &shares);
        assert!(largest_difference(&of_image, &expected) < 1e-13, "{:?}", case.loss);
        if !case.is_about_batch() {
            let none = LossOptions { reduction: Reduction::None, ..dense };
            let rows =
                value(&case.loss, &image, Target::Hard(&labels.view((2, 6))), &none, &shares);
            assert_eq!(rows.size(), [2, 6]);
        }
        if case.takes_soft() {
            let soft = crate::support::soft_rows(12);
            let default = LossOptions::default();
            let expected = value(&case.loss, &flat, Target::Soft(&soft), &default, &shares);
            let soft = soft.view((2, 6, CLASSES)).movedim_int(-1, 1);
            let found = value(&case.loss, &image, Target::Soft(&soft), &dense, &shares);
            assert!(largest_difference(&found, &expected) < 1e-13, "{:?}", case.loss);
        }
    }
}

#[test]
fn a_class_that_cannot_be_has_no_gradient() {
    let logits = wave(&[3, CLASSES], 0.8);
    let labels = Tensor::from_slice(&[0i64, 1, 2]);
    let _ = logits.narrow(1, 3, 1).fill_(f64::NEG_INFINITY);
    let _ = logits.get(2).get(4).fill_(f64::NEG_INFINITY);
    let options = with_reduction(Reduction::None);
    for case in all() {
        let options = if case.is_about_batch() { LossOptions::default() } else { options };
        let (loss, gradient) = backward(&logits, |at| {
            value(&case.loss, at, Target::Hard(&labels), &options, &correctness(3))
        });
        if !case.finite_beside {
            assert!(numbers(&loss).iter().all(|v| v.is_infinite()), "{:?} {loss:?}", case.loss);
            continue;
        }
        assert!(numbers(&loss).iter().all(|v| v.is_finite()), "{:?}", case.loss);
        for (z, g) in numbers(&logits).into_iter().zip(numbers(&gradient)) {
            assert!(g.is_finite() && (z.is_finite() || g == 0.0), "{:?} {z} {g}", case.loss);
        }
        for (row, found) in numbers(&loss).into_iter().enumerate() {
            let z = numbers(&logits.get(row as i64));
            if let Some(expected) = case.of_label(&z, row) {
                assert!((found - expected).abs() < 1e-12, "{:?} {found} {expected}", case.loss);
            }
        }
    }
}

#[test]
fn what_cannot_be_is_infinite_and_touches_no_other_sample() {
    // q has no mass where p has some; a label that is never observed.
    let reverse = KlDivergence::new(Direction::Reverse, Reference::Target).unwrap();
    let never = vec![vec![1.0, 0.0], vec![1.0, 0.0]];
    let never = ForwardCorrection::new(never).unwrap();
    let logits = Tensor::from_slice(&[0.3f64, 0.1, f64::NAN, 0.0, 0.3, 0.1]).view((3, 2));
    let labels = Tensor::from_slice(&[1i64, -1, 1]);
    let options = LossOptions { ignore_index: Some(-1), ..with_reduction(Reduction::None) };
    for loss in [&reverse as &dyn LossTerm, &never] {
        let (losses, gradient) =
            backward(&logits, |at| loss.forward(at, Target::Hard(&labels), &options).unwrap());
        assert_eq!(numbers(&losses), [f64::INFINITY, 0.0, f64::INFINITY]);
        assert_eq!(numbers(&gradient), [0.0; 6]);
    }
}

#[test]
fn an_ignored_sample_costs_nothing_where_class_zero_is_impossible() {
    // Ignored labels are replaced by 0, of which this matrix says that it is never observed.
    let never = ForwardCorrection::new(vec![vec![0.0, 1.0], vec![0.0, 1.0]]).unwrap();
    let logits = Tensor::from_slice(&[0.3f64, 0.1, f64::NAN, 0.0]).view((2, 2));
    let labels = Tensor::from_slice(&[1i64, -1]);
    let options = LossOptions { ignore_index: Some(-1), ..LossOptions::default() };
    let (loss, gradient) =
        backward(&logits, |at| never.forward(at, Target::Hard(&labels), &options).unwrap());
    assert!(number(&loss).abs() < 1e-15);
    assert!(numbers(&gradient).iter().all(|g| g.abs() < 1e-15));
}

#[test]
fn a_batch_shares_its_log_probabilities() {
    let logits = wave(&[3, CLASSES], 0.8);
    let labels = cycling(&[3], CLASSES);
    let batch = Batch::new(&logits, Target::Hard(&labels), ClassAxis::Last, None).unwrap();
    let first = batch.log_probabilities().unwrap().data_ptr();
    ConfidencePenalty::new().term(&batch).unwrap();
    assert_eq!(batch.log_probabilities().unwrap().data_ptr(), first);
}

/// The label cannot be: the loss is infinite, and its gradient that of cross-entropy.
#[test]
fn the_focal_losses_of_an_impossible_label_have_the_gradient_of_cross_entropy() {
    let values = [f64::NEG_INFINITY, 0.5, 0.0, 1.0, -2.0, 0.0, 1.5, 0.0, 0.3, -1.0];
    let logits = Tensor::from_slice(&values).view((2, 5));
    let labels = Tensor::from_slice(&[0i64, 1]);
    let of_row = |loss: &AnyLoss| {
        let at = logits.copy().set_requires_grad(true);
        let loss = loss.forward(&at, Target::Hard(&labels), &LossOptions::default()).unwrap();
        assert_eq!(f64::try_from(&loss).unwrap(), f64::INFINITY);
        loss.backward();
        let gradient = Vec::<f64>::try_from(at.grad().flatten(0, -1)).unwrap();
        assert!(gradient[5..].iter().all(|entry| entry.is_finite()));
        gradient[..5].to_vec()
    };
    let truth = of_row(&Focal::new(0.0).unwrap().into());
    assert!((truth[0] + 0.5).abs() < 1e-15);
    for loss in [
        AnyLoss::from(Focal::new(2.0).unwrap()),
        Focal::new(0.5).unwrap().into(),
        Focal53::new().into(),
        DualFocal::new(3.0).unwrap().into(),
    ] {
        for (found, truth) in of_row(&loss).into_iter().zip(&truth) {
            assert!((found - truth).abs() < 1e-14, "{loss:?}: {found} {truth}");
        }
    }
}

#[test]
fn other_devices_agree() {
    if !tch::Cuda::is_available() {
        eprintln!("skipped: there is no CUDA device");
        return;
    }
    let (logits, labels, _) = with_ignored(-100);
    let device = tch::Device::Cuda(0);
    let (far_logits, far_labels) = (logits.to_device(device), labels.to_device(device));
    let shares = correctness(6);
    for case in all() {
        for reduction in reductions() {
            if case.is_about_batch() && reduction == Reduction::None {
                continue;
            }
            let options = LossOptions { ignore_index: Some(-100), ..with_reduction(reduction) };
            let of = |logits: &Tensor, labels: &Tensor| {
                let of_labels =
                    |at: &Tensor| value(&case.loss, at, Target::Hard(labels), &options, &shares);
                let (loss, gradient) = backward(logits, of_labels);
                (loss.to_device(tch::Device::Cpu), gradient.to_device(tch::Device::Cpu))
            };
            let (expected, truth) = of(&logits, &labels);
            let (found, gradient) = of(&far_logits, &far_labels);
            let context = format!("{:?} {reduction:?}", case.loss);
            assert!(largest_difference(&found, &expected) < 1e-12, "{context}");
            assert!(largest_difference(&gradient, &truth) < 1e-12, "{context}");
        }
    }
}

#[test]
fn equal_logits_are_ranked_in_the_order_of_the_classes() {
    let logits = [0.5, 2.0, 0.5, 2.0, 0.5, -1.0];
    let tensor = Tensor::from_slice(&logits).view((1, 6));
    for label in [0usize, 1, 2, 5] {
        for exponent in [0.7, 1.0, 3.0] {
            let labels = Tensor::from_slice(&[label as i64]);
            let loss = ZipfDivergence::new(exponent).unwrap();
            let found =
                loss.forward(&tensor, Target::Hard(&labels), &LossOptions::default()).unwrap();
            let expected = zipf(&logits, label, exponent);
            assert!((number(&found) - expected).abs() < 1e-14, "{label} {exponent}");
        }
    }
    // With one other class there is nothing to rank, with none nothing to compare.
    for (classes, label) in [(2, 1i64), (1, 0)] {
        let tensor = Tensor::from_slice(&logits[..classes]).view((1, -1));
        let labels = Tensor::from_slice(&[label]);
        let loss = ZipfDivergence::new(1.0).unwrap();
        let found = loss.forward(&tensor, Target::Hard(&labels), &LossOptions::default());
        assert_eq!(number(&found.unwrap()), 0.0);
    }
}
