//! Every kind is its formula, its gradient is the formula's, and it costs nothing to agree.

use proptest::prelude::*;
use softlabel_core::Temperature;
use softlabel_distill::{Distillation, Divergence, Samples, SoftLoss, SoftScale};
use softlabel_losses::{ClassAxis, CrossEntropy, Normalizer, Reduction, Target};
use softlabel_tensor::gradient_check;
use tch::{Kind, Tensor};

use crate::{
    backward, forward, labels, largest, number, reference, soft, table, temperature, wave,
};

const KINDS: [SoftLoss; 9] = [
    SoftLoss::Divergence(Divergence::Forward),
    SoftLoss::Divergence(Divergence::Reverse),
    SoftLoss::Divergence(Divergence::Jeffreys),
    SoftLoss::Divergence(Divergence::JensenShannon { beta: 0.3, continuous: false }),
    SoftLoss::SquaredError,
    SoftLoss::Cosine,
    SoftLoss::Decoupled { alpha: 1.0, beta: 8.0 },
    SoftLoss::Decoupled { alpha: 0.5, beta: 0.0 },
    SoftLoss::Relational { inter: 1.0, intra: 2.0 },
];

fn usual(loss: SoftLoss) -> f64 {
    if loss == SoftLoss::Cosine { 1.0 } else { 4.0 }
}

/// Of a batch with [`labels`], before any T².
fn formula(loss: SoftLoss, z: &[Vec<f64>], u: &[Vec<f64>]) -> f64 {
    let classes = z[0].len();
    let mean = |row: &dyn Fn(usize) -> f64| (0..z.len()).map(row).sum::<f64>() / z.len() as f64;
    let (p, q) = (|n: usize| reference::softmax(&z[n]), |n: usize| reference::softmax(&u[n]));
    match loss {
        SoftLoss::Divergence(Divergence::Forward) => mean(&|n| reference::divergence(&q(n), &p(n))),
        SoftLoss::Divergence(Divergence::Reverse) => mean(&|n| reference::divergence(&p(n), &q(n))),
        SoftLoss::Divergence(Divergence::Jeffreys) => {
            mean(&|n| reference::divergence(&p(n), &q(n)) + reference::divergence(&q(n), &p(n)))
        }
        SoftLoss::Divergence(Divergence::JensenShannon { beta, .. }) => mean(&|n| {
            let m: Vec<f64> =
                p(n).iter().zip(q(n)).map(|(p, q)| beta * q + (1.0 - beta) * p).collect();
            beta * reference::divergence(&q(n), &m)
                + (1.0 - beta) * reference::divergence(&p(n), &m)
        }),
        SoftLoss::SquaredError => mean(&|n| reference::squared_error(&z[n], &u[n])),
        SoftLoss::Cosine => mean(&|n| 1.0 - reference::cosine(&z[n], &u[n])),
        SoftLoss::Decoupled { alpha, beta } => mean(&|n| {
            let (label, rest) = reference::decoupled(&z[n], &u[n], (n * 3 + 1) % classes);
            alpha * label + beta * rest
        }),
        SoftLoss::Relational { inter, intra } => {
            let (rows, columns) = reference::relational(z, u);
            inter * rows + intra * columns
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn every_kind_is_its_formula_under_every_scale() {
    for (samples, classes) in [(2, 3), (7, 5), (4, 300)] {
        let (student, teacher) = (wave(&[samples, classes], 0.1), wave(&[samples, classes], 2.0));
        for loss in KINDS {
            let t = usual(loss);
            let (z, u) = (table(&(&student / t)), table(&(&teacher / t)));
            let truth = formula(loss, &z, &u);
            for (scale, factor) in [(SoftScale::TemperatureSquared, t * t), (SoftScale::One, 1.0)] {
                let found = number(&forward(&soft(loss, t).with_scale(scale), &student, &teacher));
                let off = (found - factor * truth).abs();
                assert!(off < 1e-12 * (factor * truth).max(1.0), "{loss:?} {scale:?}: {off:e}");
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    let (student, teacher) = (wave(&[3, 5], 0.1).set_requires_grad(true), wave(&[3, 5], 2.0));
    for loss in KINDS {
        for standardize in [false, true] {
            let distillation = soft(loss, usual(loss)).with_standardization(standardize);
            let value = |at: &[Tensor]| -> softlabel_distill::Result<Tensor> {
                let labels = labels(3, 5);
                distillation.forward(&at[0], &teacher, &CrossEntropy::new(), Target::Hard(&labels))
            };
            let check = gradient_check(value, &[&student], 1e-5).unwrap();
            assert!(check.is_within(1e-8, 1e-6), "{loss:?} {standardize}: {:?}", check.worst());
        }
    }
}

#[test]
fn who_agrees_has_nothing_to_learn() {
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16, Kind::Half] {
        let same = wave(&[6, 11], 0.4).to_kind(kind);
        for loss in KINDS {
            let distillation = soft(loss, usual(loss));
            let (found, gradient) = backward(&same, |at| forward(&distillation, at, &same));
            assert_eq!((found, largest(&gradient)), (0.0, 0.0), "{loss:?} {kind:?}");
            let standardized = distillation.with_standardization(true);
            let (found, gradient) = backward(&same, |at| forward(&standardized, at, &same));
            assert_eq!((found, largest(&gradient)), (0.0, 0.0), "{loss:?} {kind:?}");
        }
    }
}

#[test]
fn half_precision_accumulates_in_single() {
    for kind in [Kind::BFloat16, Kind::Half] {
        let (student, teacher) =
            (wave(&[6, 40], 0.1).to_kind(kind), wave(&[6, 40], 2.0).to_kind(kind));
        for loss in KINDS {
            let t = usual(loss);
            let (z, u) = (
                table(&(student.to_kind(Kind::Double) / t)),
                table(&(teacher.to_kind(Kind::Double) / t)),
            );
            let truth = formula(loss, &z, &u);
            let found = forward(&soft(loss, t).with_scale(SoftScale::One), &student, &teacher);
            assert_eq!(found.kind(), Kind::Float, "{loss:?}");
            assert!((number(&found) - truth).abs() < 2e-6 * truth.max(1.0), "{loss:?} {kind:?}");
        }
    }
}

#[test]
fn hinton_is_decoupled_with_the_rest_weighed_by_the_teacher() {
    let (student, teacher) = (wave(&[1, 6], 0.1), wave(&[1, 6], 2.0));
    let rest = 1.0 - reference::softmax(&table(&teacher)[0])[1];
    let whole = forward(&soft(Divergence::Forward, 1.0), &student, &teacher);
    let parts =
        forward(&soft(SoftLoss::Decoupled { alpha: 1.0, beta: rest }, 1.0), &student, &teacher);
    assert!((number(&whole) - number(&parts)).abs() < 1e-14);
}

#[test]
fn far_up_hinton_is_the_squared_error() {
    // 1/(2K)·Σ (z − u)² of logits that sum to 0.
    let centred = |phase: f64| {
        let logits = wave(&[5, 8], phase);
        &logits - logits.mean_dim(-1, true, Kind::Double)
    };
    let (student, teacher) = (centred(0.1), centred(2.0));
    let hinton = number(&forward(&soft(Divergence::Forward, 1e4), &student, &teacher));
    let squared = number(&forward(&soft(SoftLoss::SquaredError, 1e4), &student, &teacher));
    assert!((hinton / (squared / 16.0) - 1.0).abs() < 1e-3, "{hinton} {squared}");
}

#[test]
fn a_hard_teacher_is_its_largest_logit() {
    let (student, teacher) = (wave(&[6, 4], 0.1), wave(&[6, 4], 2.0));
    let (s, t) = (table(&student), table(&teacher));
    let largest_of = |row: &[f64]| (0..4).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let truth =
        s.iter().zip(&t).map(|(s, t)| reference::cross_entropy(s, largest_of(t))).sum::<f64>()
            / 6.0;
    let found = number(&forward(&soft(SoftLoss::TeacherLabel, 1.0), &student, &teacher));
    assert!((found - truth).abs() < 1e-14);
}

#[test]
fn a_student_may_have_a_temperature_of_its_own() {
    let (student, teacher) = (wave(&[3, 5], 0.1), wave(&[3, 5], 2.0));
    let untempered =
        soft(Divergence::Forward, 4.0).with_student_temperature(Temperature::ONE).unwrap();
    let (s, u) = (table(&student), table(&(&teacher / 4.0)));
    // The square is the student's: 1.
    let truth = formula(Divergence::Forward.into(), &s, &u);
    let (found, gradient) = backward(&student, |at| forward(&untempered, at, &teacher));
    assert!((found - truth).abs() < 1e-13);
    let expected =
        (student.softmax(-1, Kind::Double) - (&teacher / 4.0).softmax(-1, Kind::Double)) / 3.0;
    assert!(largest(&(gradient - expected)) < 1e-15);
}

#[test]
fn samples_may_have_temperatures_and_weights_of_their_own() {
    let (student, teacher, labels) = (wave(&[3, 5], 0.1), wave(&[3, 5], 2.0), labels(3, 5));
    let temperatures = [1.0, 2.0, 5.0];
    let weights = [1.0, 0.0, 0.25];
    let none = CrossEntropy::new().with_reduction(Reduction::None);
    let losses = [
        SoftLoss::default(),
        Divergence::Jeffreys.into(),
        Divergence::JensenShannon { beta: 0.4, continuous: true }.into(),
        SoftLoss::SquaredError,
        SoftLoss::Decoupled { alpha: 1.0, beta: 2.0 },
    ];
    for loss in losses {
        let samples = Samples { temperatures: Some(&temperatures), soft_weights: Some(&weights) };
        let together = |at: &Tensor| {
            soft(loss, 9.0)
                .forward_samples(at, &teacher, &none, Target::Hard(&labels), samples)
                .unwrap()
        };
        let (_, gradient) = backward(&student, |at| together(at).sum(Kind::Double));
        let rows = together(&student);
        for (n, (t, weight)) in temperatures.into_iter().zip(weights).enumerate() {
            let row = |tensor: &Tensor| tensor.narrow(0, n as i64, 1);
            let label = row(&labels);
            let (alone, slope) = backward(&row(&student), |at| {
                soft(loss, t)
                    .forward(at, &row(&teacher), &CrossEntropy::new(), Target::Hard(&label))
                    .unwrap()
            });
            assert!((rows.double_value(&[n as i64]) - weight * alone).abs() < 1e-13, "{loss:?}");
            assert!(largest(&(row(&gradient) - slope * weight)) < 1e-13, "{loss:?}");
        }
    }
}

#[test]
fn layouts_masks_and_reductions_are_those_of_the_labels() {
    let (student, teacher, labels) = (wave(&[12, 4], 0.1), wave(&[12, 4], 2.0), labels(12, 4));
    for loss in KINDS {
        let distillation = soft(loss, usual(loss));
        let expected = number(&forward(&distillation, &student, &teacher));
        // [N, K, H, W]
        let image = |logits: &Tensor| logits.view((1, 3, 4, 4)).movedim_int(-1, 1);
        let second = CrossEntropy::new().with_class_axis(ClassAxis::Second);
        let target = labels.view((1, 3, 4));
        let found = distillation.forward(
            &image(&student),
            &image(&teacher),
            &second,
            Target::Hard(&target),
        );
        assert!((number(&found.unwrap()) - expected).abs() < 1e-13, "{loss:?}");
        // [N, T, K], padded with NaN.
        let padded = |logits: &Tensor| {
            let padding = Tensor::full([3, 1, 4], f64::NAN, (Kind::Double, tch::Device::Cpu));
            Tensor::cat(&[logits.view((3, 4, 4)), padding], 1)
        };
        let nothing = Tensor::full([3, 1], -1, (Kind::Int64, tch::Device::Cpu));
        let target = Tensor::cat(&[labels.view((3, 4)), nothing], 1);
        for standardize in [false, true] {
            let distillation = distillation.with_standardization(standardize);
            let expected = number(&forward(&distillation, &student, &teacher));
            let ignoring = CrossEntropy::new().with_ignore_index(-1);
            let (found, gradient) = backward(&padded(&student), |at| {
                distillation
                    .forward(at, &padded(&teacher), &ignoring, Target::Hard(&target))
                    .unwrap()
            });
            assert!((found - expected).abs() < 1e-13, "{loss:?}");
            assert_eq!(largest(&gradient.narrow(1, 4, 1)), 0.0, "{loss:?}");
            assert!(largest(&gradient).is_finite(), "{loss:?}");
        }
        for (reduction, factor) in [
            (Reduction::Sum, 12.0),
            (Reduction::Mean(Normalizer::Items(3.0)), 4.0),
            (Reduction::Mean(Normalizer::Count), 1.0),
        ] {
            let hard = CrossEntropy::new().with_reduction(reduction);
            let found = distillation.forward(&student, &teacher, &hard, Target::Hard(&labels));
            assert!((number(&found.unwrap()) - factor * expected).abs() < 1e-11, "{loss:?}");
        }
    }
}

#[test]
fn sums_of_parts_over_counts_of_parts_are_the_whole() {
    // Batches of different size: a mean of their means would weigh the samples of the small one more.
    let (student, teacher, labels) = (wave(&[7, 4], 0.1), wave(&[7, 4], 2.0), labels(7, 4));
    let distillation = Distillation::new(temperature(2.0), 0.7, 0.3).unwrap();
    let hard = CrossEntropy::new().with_ignore_index(0);
    let whole =
        number(&distillation.forward(&student, &teacher, &hard, Target::Hard(&labels)).unwrap());
    let (mut sum, mut count, mut means) = (0.0, 0.0, 0.0);
    for (start, length) in [(0, 2), (2, 5)] {
        let part = |tensor: &Tensor| tensor.narrow(0, start, length);
        let labels = part(&labels);
        let target = Target::Hard(&labels);
        let sums = distillation
            .sums(&part(&student), &part(&teacher), &hard, target, Samples::default())
            .unwrap();
        let parts =
            number(sums.soft.as_ref().unwrap()) * 0.7 + number(sums.hard.as_ref().unwrap()) * 0.3;
        assert!((number(&sums.loss) - parts).abs() < 1e-13);
        sum += number(&sums.loss);
        count += sums.count;
        means += number(&sums.loss) / sums.count / 2.0;
    }
    assert_eq!(count, 5.0);
    assert!((sum / count - whole).abs() < 1e-14);
    assert!((means - whole).abs() > 1e-3);
}

#[test]
fn the_batch_mean_is_k_times_the_element_mean() {
    let (student, teacher) = (wave(&[5, 10], 0.1), wave(&[5, 10], 2.0));
    let log_p = student.log_softmax(-1, Kind::Double);
    let elements = teacher.softmax(-1, Kind::Double);
    let elements = (&elements * (elements.log() - log_p)).mean(Kind::Double);
    let found = number(&forward(&soft(Divergence::Forward, 1.0), &student, &teacher));
    assert!((found / number(&elements) - 10.0).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_negative_and_shifts_do_not_matter(
        logits in prop::collection::vec(-8.0..8.0f64, 24),
        shift in -50.0..50.0f64,
        t in 0.5..8.0f64,
    ) {
        let both = Tensor::from_slice(&logits).view((2, 3, 4));
        let (student, teacher) = (both.get(0), both.get(1));
        for loss in KINDS {
            let t = if loss == SoftLoss::Cosine { 1.0 } else { t };
            let value = number(&forward(&soft(loss, t), &student, &teacher));
            prop_assert!(value >= 0.0 && value.is_finite(), "{:?}: {}", loss, value);
            // A constant added to all logits of a side changes no softmax.
            if !matches!(loss, SoftLoss::Cosine | SoftLoss::SquaredError) {
                let shifted = number(&forward(&soft(loss, t), &(&student + shift), &(&teacher - shift)));
                prop_assert!((shifted - value).abs() < 1e-9 * value.max(1.0), "{:?}", loss);
            }
            // Standardized, neither shift nor size of the logits does.
            let standardized = soft(loss, t).with_standardization(true);
            let value = number(&forward(&standardized, &student, &teacher));
            let moved = number(&forward(&standardized, &(&student * 3.0 + shift), &teacher));
            prop_assert!((moved - value).abs() < 1e-5 * value.max(1.0), "{:?}", loss);
        }
    }
}
