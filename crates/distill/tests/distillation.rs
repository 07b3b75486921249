//! Distillation against libtorch's operators in f64, against its gradient's formula, and at its edges.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)] // Helpers of tests, outside `#[test]` functions.

use softlabel_core::Temperature;
use softlabel_distill::{Distillation, Error, SoftScale, TeacherLogits};
use softlabel_losses::{ClassAxis, CrossEntropy, Normalizer, Reduction, Target};
use softlabel_targets::Smoothing;
use tch::{Device, Kind, Tensor};

fn wave(shape: &[i64], phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.sin() * 3.0).view(shape)
}

fn labels(count: i64, classes: i64) -> Tensor {
    Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(classes)
}

fn temperature(value: f64) -> Temperature {
    Temperature::new(value).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    f64::try_from((a - b).abs().max()).unwrap()
}

fn forward(distillation: Distillation, student: &Tensor, teacher: &Tensor) -> Tensor {
    let labels = labels(student.size()[0], student.size()[1]);
    distillation.forward(student, teacher, &CrossEntropy::new(), Target::Hard(&labels)).unwrap()
}

/// The gradient of the soft term alone.
fn soft_gradient(student: &Tensor, teacher: &Tensor, t: f64, scale: SoftScale) -> Tensor {
    let student = student.copy().set_requires_grad(true);
    let soft = Distillation::new(temperature(t), 1.0, 0.0).unwrap().with_scale(scale);
    forward(soft, &student, teacher).backward();
    student.grad()
}

#[test]
fn both_terms_follow_the_formula() {
    let (student, teacher) = (wave(&[5, 4], 0.1), wave(&[5, 4], 2.0));
    let t = 2.5;
    let p = (&student / t).log_softmax(-1, Kind::Double);
    let q = (&teacher / t).softmax(-1, Kind::Double);
    let divergence = (&q * (q.log() - p)).sum(Kind::Double) / 5.0;
    let hard =
        student.cross_entropy_loss::<Tensor>(&labels(5, 4), None, tch::Reduction::Mean, -100, 0.0);
    for (scale, factor) in [(SoftScale::TemperatureSquared, t * t), (SoftScale::One, 1.0)] {
        let distillation = Distillation::new(temperature(t), 0.7, 0.3).unwrap().with_scale(scale);
        let expected = &hard * 0.3 + &divergence * (0.7 * factor);
        let found = forward(distillation, &student, &teacher);
        assert!(largest_difference(&found, &expected) < 1e-14);
    }
}

#[test]
fn the_gradient_is_t_times_p_minus_q_over_rows() {
    let (student, teacher) = (wave(&[6, 3], 0.4), wave(&[6, 3], 1.0));
    for t in [0.5, 1.0, 4.0, 20.0] {
        let p = (&student / t).softmax(-1, Kind::Double);
        let q = (&teacher / t).softmax(-1, Kind::Double);
        let expected = (p - q) * (t / 6.0);
        let found = soft_gradient(&student, &teacher, t, SoftScale::TemperatureSquared);
        assert!(largest_difference(&found, &expected) < 1e-14, "T = {t}");
    }
}

#[test]
fn the_square_keeps_the_gradient_as_temperature_grows() {
    let (student, teacher) = (wave(&[6, 10], 0.4), wave(&[6, 10], 1.0));
    let norm =
        |t, scale| f64::try_from(soft_gradient(&student, &teacher, t, scale).norm()).unwrap();
    let with =
        norm(20.0, SoftScale::TemperatureSquared) / norm(10.0, SoftScale::TemperatureSquared);
    let without = norm(20.0, SoftScale::One) / norm(10.0, SoftScale::One);
    assert!((with - 1.0).abs() < 0.05, "{with}");
    assert!((without - 0.25).abs() < 0.05, "{without}");
}

#[test]
fn agreement_costs_nothing() {
    let logits = wave(&[5, 4], 0.1);
    let soft = Distillation::new(temperature(3.0), 1.0, 0.0).unwrap();
    assert!(f64::try_from(forward(soft, &logits, &logits)).unwrap().abs() < 1e-15);
    let gradient = soft_gradient(&logits, &logits, 3.0, SoftScale::TemperatureSquared);
    assert!(largest_difference(&gradient, &gradient.zeros_like()) < 1e-15);
}

#[test]
fn the_direction_is_teacher_to_student() {
    // A teacher that is certain and a student that is not: KL(q ‖ p) = ln 2 up to e⁻³⁰, KL(p ‖ q) ≈ 14.
    let teacher = Tensor::from_slice(&[30.0f64, 0.0]).view((1, 2));
    let student = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    let soft = Distillation::new(Temperature::ONE, 1.0, 0.0).unwrap();
    let found = f64::try_from(forward(soft, &student, &teacher)).unwrap();
    assert!((found - 2f64.ln()).abs() < 1e-9, "{found}");
}

#[test]
fn no_soft_weight_is_plain_cross_entropy_bit_for_bit() {
    let student = wave(&[5, 4], 0.1).to_kind(Kind::Float);
    let hard = CrossEntropy::new().with_smoothing(Smoothing::mixture(0.1).unwrap());
    let labels = labels(5, 4);
    let target = Target::Hard(&labels);
    let distillation = Distillation::new(temperature(4.0), 0.0, 1.0).unwrap();
    let found = distillation.forward(&student, &wave(&[5, 4], 1.0), &hard, target).unwrap();
    assert_eq!(
        f64::try_from(found).unwrap().to_bits(),
        f64::try_from(hard.forward(&student, target).unwrap()).unwrap().to_bits()
    );
}

#[test]
fn saturated_rows_stay_finite() {
    let teacher = Tensor::from_slice(&[1e4f32, -1e4, 0.0]).view((1, 3));
    let student = Tensor::from_slice(&[-1e4f32, 1e4, 0.0]).view((1, 3)).set_requires_grad(true);
    let soft = Distillation::new(Temperature::ONE, 1.0, 0.0).unwrap();
    let loss = forward(soft, &student, &teacher);
    loss.backward();
    assert_eq!(f64::try_from(loss).unwrap(), 2e4);
    assert_eq!(Vec::<f32>::try_from(student.grad().get(0)).unwrap(), [-1.0, 1.0, 0.0]);
}

#[test]
fn the_teacher_gets_no_gradient() {
    let teacher = wave(&[2, 3], 0.0).set_requires_grad(true);
    let student = wave(&[2, 3], 1.0).set_requires_grad(true);
    forward(Distillation::new(temperature(2.0), 0.5, 0.5).unwrap(), &student, &teacher).backward();
    assert!(!teacher.grad().defined() && student.grad().defined());
    assert!(!TeacherLogits::new(&teacher).unwrap().batch(&labels(2, 2)).unwrap().requires_grad());
}

#[test]
fn images_and_padded_sequences_agree_with_their_flat_form() {
    let (student, teacher) = (wave(&[12, 4], 0.1), wave(&[12, 4], 2.0));
    let labels = labels(12, 4);
    let distillation = Distillation::new(temperature(2.0), 0.7, 0.3).unwrap();
    let loss = |hard: CrossEntropy, student: &Tensor, teacher: &Tensor, labels: &Tensor| {
        distillation.forward(student, teacher, &hard, Target::Hard(labels)).unwrap()
    };
    let expected = loss(CrossEntropy::new(), &student, &teacher, &labels);

    // [N, K, H, W]
    let image = |logits: &Tensor| logits.view((1, 3, 4, 4)).movedim_int(-1, 1);
    let second = CrossEntropy::new().with_class_axis(ClassAxis::Second);
    let found = loss(second, &image(&student), &image(&teacher), &labels.view((1, 3, 4)));
    assert!(largest_difference(&found, &expected) < 1e-14);

    // [N, T, K], the last of each sequence padded and full of NaN, which counts for nothing.
    let padded = |logits: &Tensor| {
        let padding = Tensor::full([3, 1, 4], f64::NAN, (Kind::Double, Device::Cpu));
        Tensor::cat(&[logits.view((3, 4, 4)), padding], 1)
    };
    let nothing = Tensor::full([3, 1], -1, (Kind::Int64, Device::Cpu));
    let padded_labels = Tensor::cat(&[labels.view((3, 4)), nothing], 1);
    let student = padded(&student).set_requires_grad(true);
    let ignoring = CrossEntropy::new().with_ignore_index(-1);
    let found = loss(ignoring, &student, &padded(&teacher), &padded_labels);
    assert!(largest_difference(&found, &expected) < 1e-14);
    found.backward();
    assert_eq!(f64::try_from(student.grad().narrow(1, 4, 1).abs().max()).unwrap(), 0.0);
}

#[test]
fn both_terms_are_reduced_alike() {
    let (student, teacher, labels) = (wave(&[5, 4], 0.1), wave(&[5, 4], 2.0), labels(5, 4));
    let distillation = Distillation::new(temperature(2.0), 0.7, 0.3).unwrap();
    let loss = |reduction| {
        let hard = CrossEntropy::new().with_reduction(reduction);
        distillation.forward(&student, &teacher, &hard, Target::Hard(&labels)).unwrap()
    };
    let rows = loss(Reduction::None);
    assert_eq!(rows.size(), [5]);
    let sum = rows.sum(Kind::Double);
    assert!(largest_difference(&loss(Reduction::Sum), &sum) < 1e-14);
    let mean = &sum / 5.0;
    assert!(largest_difference(&loss(Reduction::default()), &mean) < 1e-14);
    let items = Reduction::Mean(Normalizer::Items(10.0));
    assert!(largest_difference(&loss(items), &(sum / 10.0)) < 1e-14);
}

#[test]
fn a_class_that_both_hold_impossible_costs_nothing() {
    let masked = f64::NEG_INFINITY;
    let student = Tensor::from_slice(&[1.0, masked, 0.0]).view((1, 3)).set_requires_grad(true);
    let teacher = Tensor::from_slice(&[0.0, masked, 1.0]).view((1, 3));
    let soft = Distillation::new(Temperature::ONE, 1.0, 0.0).unwrap();
    let found = forward(soft, &student, &teacher);
    found.backward();
    let without = |logits: [f64; 2]| Tensor::from_slice(&logits).view((1, 2));
    let expected = forward(soft, &without([1.0, 0.0]), &without([0.0, 1.0]));
    assert!(largest_difference(&found, &expected) < 1e-15);
    let gradient = Vec::<f64>::try_from(student.grad().get(0)).unwrap();
    assert!(gradient[1] == 0.0 && gradient.iter().all(|slope| slope.is_finite()), "{gradient:?}");
}

#[test]
fn rows_are_found_by_position() {
    let teacher = TeacherLogits::new(&wave(&[4, 3], 0.3)).unwrap();
    let ids = Tensor::from_slice(&[3i64, 0]);
    let batch = teacher.batch(&ids).unwrap();
    assert_eq!(largest_difference(&batch.get(0), &wave(&[4, 3], 0.3).get(3)), 0.0);
    let error = teacher.batch(&Tensor::from_slice(&[1i64, 4])).unwrap_err();
    assert_eq!(error.to_string(), "sample 4 was asked for, but the teacher has seen samples 0..4");
}

#[test]
fn bad_inputs_are_named() {
    let error = Distillation::new(Temperature::ONE, -0.1, 1.0).unwrap_err();
    assert!(matches!(error, Error::Weights { .. }));
    assert!(Distillation::new(Temperature::ONE, 0.0, 0.0).is_err());
    let soft = Distillation::new(Temperature::ONE, 1.0, 0.0).unwrap();
    let labels = labels(2, 3);
    let error = soft
        .forward(
            &wave(&[2, 3], 0.0),
            &wave(&[2, 4], 0.0),
            &CrossEntropy::new(),
            Target::Hard(&labels),
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the teacher has 4 classes, the student 3: if the classes that both have are the same, say `classes`: \
         slice_teacher or pad_student"
    );
    let (student, fewer) = (wave(&[2, 3], 0.0), wave(&[1, 3], 0.0));
    let error = soft.forward(&student, &fewer, &CrossEntropy::new(), Target::Hard(&labels));
    let error = error.unwrap_err();
    assert!(
        matches!(&error, Error::TeacherShape { student, teacher } if *student == [2, 3] && *teacher == [1, 3]),
        "{error}"
    );
    let diverged = Tensor::from_slice(&[0.0f32, 1.0, f32::NAN, 0.0]).view((2, 2));
    let error = TeacherLogits::new(&diverged).unwrap_err();
    assert!(matches!(error, Error::TeacherNotFinite { sample: 1 }));
    assert!(TeacherLogits::new(&Tensor::from_slice(&[0.0f32])).is_err());
    let teacher = TeacherLogits::new(&wave(&[2, 2], 0.0)).unwrap();
    assert!(teacher.scaled(temperature(1e-308)).is_err());
    assert!(teacher.batch(&Tensor::from_slice(&[0.5])).is_err());
    let nothing = wave(&[0, 3], 0.0);
    let labels = Tensor::from_slice::<i64>(&[]);
    let empty = soft.forward(&nothing, &nothing, &CrossEntropy::new(), Target::Hard(&labels));
    assert!(empty.unwrap_err().to_string().contains("is empty"));
}
