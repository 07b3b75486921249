//! Divergences of students and teachers: against libtorch and f64, their gradients, and their edges.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside `#[test]` functions.

use softlabel_core::Temperature;
use softlabel_distill::{Distillation, Divergence, SoftScale};
use softlabel_losses::{CrossEntropy, Reduction, Target};
use tch::{Device, Kind, Tensor};

const KINDS: [Divergence; 6] = [
    Divergence::Forward,
    Divergence::Reverse,
    Divergence::Jeffreys,
    Divergence::JensenShannon { beta: 0.5, continuous: false },
    Divergence::JensenShannon { beta: 0.2, continuous: true },
    Divergence::JensenShannon { beta: 1.0, continuous: true },
];

fn wave(shape: &[i64], kind: Kind, phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.sin() * 3.0).view(shape).to_kind(kind)
}

fn soft(divergence: Divergence, temperature: f64) -> Distillation {
    Distillation::new(Temperature::new(temperature).unwrap(), 1.0, 0.0)
        .unwrap()
        .with_divergence(divergence)
        .unwrap()
}

fn loss(distillation: &Distillation, student: &Tensor, teacher: &Tensor) -> Tensor {
    let mut shape = student.size();
    shape.pop();
    let labels = Tensor::zeros(shape, (Kind::Int64, Device::Cpu));
    distillation.forward(student, teacher, &CrossEntropy::new(), Target::Hard(&labels)).unwrap()
}

fn number(tensor: &Tensor) -> f64 {
    f64::try_from(tensor).unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    number(&tensor.to_kind(Kind::Double).abs().max())
}

/// The formulas, in the dtype of the logits, through libtorch's operators.
fn formula(divergence: Divergence, student: &Tensor, teacher: &Tensor, temperature: f64) -> Tensor {
    let kind = student.kind();
    let log_softmax = |logits: &Tensor| (logits / temperature).log_softmax(-1, kind);
    let (log_p, log_q) = (log_softmax(student), log_softmax(teacher));
    let (p, q) = (log_p.exp(), log_q.exp());
    let kl = |a: &Tensor, log_a: &Tensor, log_b: &Tensor| {
        (a * (log_a - log_b)).sum_dim_intlist(-1, false, kind)
    };
    let rows = match divergence {
        Divergence::Forward => kl(&q, &log_q, &log_p),
        Divergence::Reverse | Divergence::JensenShannon { beta: 1.0, .. } => kl(&p, &log_p, &log_q),
        Divergence::Jeffreys => kl(&q, &log_q, &log_p) + kl(&p, &log_p, &log_q),
        Divergence::JensenShannon { beta, continuous } => {
            let log_m = (&q * beta + &p * (1.0 - beta)).log();
            let both = kl(&q, &log_q, &log_m) * beta + kl(&p, &log_p, &log_m) * (1.0 - beta);
            if continuous { both / (beta * (1.0 - beta)) } else { both }
        }
        other => unreachable!("{other:?}"),
    };
    rows.mean(kind) * temperature * temperature
}

fn backward(at: &Tensor, value: impl Fn(&Tensor) -> Tensor) -> (f64, Tensor) {
    let at = at.copy().set_requires_grad(true);
    let value = value(&at);
    value.backward();
    (number(&value), at.grad())
}

#[test]
fn every_divergence_is_its_formula() {
    for classes in [2i64, 7, 300] {
        let (student, teacher) =
            (wave(&[9, classes], Kind::Double, 0.1), wave(&[9, classes], Kind::Double, 2.0));
        for kind in KINDS {
            for temperature in [1.0, 4.0] {
                let (expected, truth) =
                    backward(&student, |at| formula(kind, at, &teacher, temperature));
                let (found, gradient) =
                    backward(&student, |at| loss(&soft(kind, temperature), at, &teacher));
                assert!((found - expected).abs() < 1e-12 * expected.max(1.0), "{kind:?}");
                assert!(largest(&(gradient - truth)) < 1e-13, "{kind:?} {classes} {temperature}");
            }
        }
    }
}

#[test]
fn the_forward_divergence_is_libtorchs_kl_div() {
    let (student, teacher) = (wave(&[5, 11], Kind::Double, 0.1), wave(&[5, 11], Kind::Double, 2.0));
    let log_p = (&student / 3.0).log_softmax(-1, Kind::Double);
    let log_q = (&teacher / 3.0).log_softmax(-1, Kind::Double);
    let expected = log_p.kl_div(&log_q, tch::Reduction::Sum, true) / 5.0 * 9.0;
    let found = loss(&soft(Divergence::Forward, 3.0), &student, &teacher);
    assert!((number(&found) - number(&expected)).abs() < 1e-13);
}

#[test]
fn no_further_from_the_truth_than_libtorch() {
    for classes in [10i64, 1000, 32_000] {
        let exact =
            [0.1, 2.0].map(|phase| wave(&[4, classes], Kind::Float, phase).to_kind(Kind::Double));
        let single = [0, 1].map(|side| exact[side].to_kind(Kind::Float));
        for kind in KINDS {
            let (truth, true_gradient) =
                backward(&exact[0], |at| formula(kind, at, &exact[1], 4.0));
            let (theirs, their_gradient) =
                backward(&single[0], |at| formula(kind, at, &single[1], 4.0));
            let (ours, our_gradient) =
                backward(&single[0], |at| loss(&soft(kind, 4.0), at, &single[1]));
            let unit = 2f64.powi(-24);
            let (off, limit) = ((ours - truth).abs(), (theirs - truth).abs());
            assert!(
                off <= limit + 4.0 * unit * truth.max(1.0),
                "{kind:?} {classes}: {off:e}, {limit:e}"
            );
            let size = largest(&true_gradient);
            let [off, limit] =
                [our_gradient, their_gradient].map(|g| largest(&(g - &true_gradient)));
            assert!(off <= limit + 8.0 * unit * size, "{kind:?} {classes}: {off:e}, {limit:e}");
        }
    }
}

#[test]
fn who_agrees_has_nothing_to_learn() {
    for dtype in [Kind::Double, Kind::Float, Kind::BFloat16, Kind::Half] {
        let same = wave(&[6, 130], dtype, 0.4);
        for kind in KINDS {
            let (found, gradient) = backward(&same, |at| loss(&soft(kind, 2.0), at, &same));
            assert_eq!((found, largest(&gradient)), (0.0, 0.0), "{kind:?} {dtype:?}");
        }
    }
}

#[test]
fn directions_differ_where_one_side_is_sure() {
    // The teacher holds two classes likely, the student one of them.
    let teacher = Tensor::from_slice(&[4.0f64, 4.0, -4.0]).view((1, 3));
    let student = Tensor::from_slice(&[4.0f64, -4.0, -4.0]).view((1, 3));
    let value = |kind| number(&loss(&soft(kind, 1.0), &student, &teacher));
    assert!(value(Divergence::Forward) > 3.0 && value(Divergence::Reverse) < 0.75);
}

#[test]
fn the_squared_temperature_keeps_the_gradient_in_size() {
    let (student, teacher) = (wave(&[9, 20], Kind::Double, 0.1), wave(&[9, 20], Kind::Double, 2.0));
    let norm = |temperature: f64, scale: SoftScale| {
        let distillation = soft(Divergence::Forward, temperature).with_scale(scale);
        let (_, gradient) = backward(&student, |at| loss(&distillation, at, &teacher));
        number(&gradient.square().sum(Kind::Double)).sqrt()
    };
    // Far up the gradient is (s − mean s − t + mean t)/K whatever T is.
    let [low, high] = [30.0, 300.0].map(|t| norm(t, SoftScale::TemperatureSquared));
    assert!((low / high - 1.0).abs() < 0.05, "{low} {high}");
    let [low, high] = [30.0, 300.0].map(|t| norm(t, SoftScale::One));
    assert!((low / high / 100.0 - 1.0).abs() < 0.05, "{low} {high}");
}

#[test]
fn gradients_are_finite_differences() {
    let (student, teacher) = (wave(&[2, 5], Kind::Double, 0.1), wave(&[2, 5], Kind::Double, 2.0));
    for kind in KINDS {
        let value = |at: &Tensor| loss(&soft(kind, 1.7), at, &teacher);
        let (_, gradient) = backward(&student, value);
        for index in 0..10i64 {
            let at = |sign: f64| {
                let moved = student.copy();
                let flat = moved.view(-1);
                let _ = flat.get(index).fill_(flat.double_value(&[index]) + sign * 1e-6);
                number(&value(&moved))
            };
            let slope = (at(1.0) - at(-1.0)) / 2e-6;
            assert!((slope - gradient.view(-1).double_value(&[index])).abs() < 1e-8, "{kind:?}");
        }
    }
}

#[test]
fn impossible_classes_and_ignored_samples() {
    let infinite = f64::NEG_INFINITY;
    let teacher = Tensor::from_slice(&[1.0, infinite, 0.0, 1.0, 2.0, 3.0]).view((2, 3));
    let student =
        Tensor::from_slice(&[0.5, infinite, 0.0, f64::NAN, f64::INFINITY, 0.0]).view((2, 3));
    let labels = Tensor::from_slice(&[0i64, -1]);
    let hard = CrossEntropy::new().with_ignore_index(-1);
    for kind in KINDS {
        let (found, gradient) = backward(&student, |at| {
            soft(kind, 2.0).forward(at, &teacher, &hard, Target::Hard(&labels)).unwrap()
        });
        assert!(found.is_finite() && found > 0.0, "{kind:?}: {found}");
        let row: Vec<f64> = Vec::try_from(gradient.get(0)).unwrap();
        assert!(row.iter().all(|entry| entry.is_finite()) && row[1] == 0.0, "{kind:?}: {row:?}");
        assert_eq!(largest(&gradient.get(1)), 0.0);
    }
}

#[test]
fn saturated_rows_stay_finite() {
    let teacher = Tensor::from_slice(&[1000.0f32, 0.0, -1000.0]).view((1, 3));
    let student = Tensor::from_slice(&[-1000.0f32, 0.0, 1000.0]).view((1, 3));
    for kind in KINDS {
        let (found, gradient) = backward(&student, |at| loss(&soft(kind, 1.0), at, &teacher));
        assert!(found.is_finite() && largest(&gradient).is_finite(), "{kind:?}: {found}");
    }
}

#[test]
fn parts_add_up_to_the_whole_and_reductions_are_the_hard_loss_s() {
    let (student, teacher) = (wave(&[8, 5], Kind::Double, 0.1), wave(&[8, 5], Kind::Double, 2.0));
    let labels = Tensor::zeros([8], (Kind::Int64, Device::Cpu));
    let sum = CrossEntropy::new().with_reduction(Reduction::Sum);
    let of = |rows: std::ops::Range<i64>| {
        let part = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.end - rows.start);
        let target = part(&labels);
        let target = Target::Hard(&target);
        number(
            &soft(Divergence::Forward, 2.0)
                .forward(&part(&student), &part(&teacher), &sum, target)
                .unwrap(),
        )
    };
    assert!((of(0..8) - of(0..3) - of(3..8)).abs() < 1e-13);
    let none = CrossEntropy::new().with_reduction(Reduction::None);
    let rows = soft(Divergence::Forward, 2.0)
        .forward(&student, &teacher, &none, Target::Hard(&labels))
        .unwrap();
    assert_eq!(rows.size(), [8]);
    assert!((number(&rows.sum(Kind::Double)) - of(0..8)).abs() < 1e-13);
}

#[test]
fn settings_are_read_back_and_checked() {
    let distillation = soft(Divergence::JensenShannon { beta: 0.3, continuous: true }, 4.0);
    let json = serde_json::to_string(&distillation).unwrap();
    assert_eq!(serde_json::from_str::<Distillation>(&json).unwrap(), distillation);
    let least = r#"{"temperature": 4, "soft_weight": 0.9, "hard_weight": 0.1}"#;
    let least: Distillation = serde_json::from_str(least).unwrap();
    assert_eq!(least, Distillation::new(Temperature::new(4.0).unwrap(), 0.9, 0.1).unwrap());
    let bad = |text: &str| serde_json::from_str::<Distillation>(text).unwrap_err().to_string();
    let error = bad(r#"{"temperature": 4, "soft_weight": 1, "hard_weight": 0,
            "kind": {"jensen_shannon": {"beta": 1.0}}}"#);
    assert!(
        error.starts_with("beta of a Jensen-Shannon divergence must be in (0, 1), found 1"),
        "{error}"
    );
    assert!(
        bad(r#"{"temperature": 0, "soft_weight": 1, "hard_weight": 0}"#).contains("temperature")
    );
    assert!(
        bad(r#"{"temperature": 1, "soft_weight": -1, "hard_weight": 0}"#).contains("soft_weight")
    );
}

/// Before a scaled gradient arrives f16 must not have lost the small entries, whatever T² and the batch are.
#[test]
fn f16_has_room_for_hot_teachers_and_large_batches() {
    const ARRIVING: f64 = 65536.0;
    let shape = [1024, 200];
    let exact_student = wave(&shape, Kind::Half, 0.3).to_kind(Kind::Double).set_requires_grad(true);
    let teacher = wave(&shape, Kind::Half, 1.1);
    let distillation = soft(Divergence::Forward, 20.0);
    let exact = loss(&distillation, &exact_student, &teacher.to_kind(Kind::Double)) * ARRIVING;
    exact.backward();
    let student = wave(&shape, Kind::Half, 0.3).set_requires_grad(true);
    (loss(&distillation, &student, &teacher).to_kind(Kind::Float) * ARRIVING).backward();
    let truth = exact_student.grad();
    let off = (student.grad().to_kind(Kind::Double) - &truth).abs();
    // Two roundings to f16 of an entry; 1e-4 of the largest where they are small.
    let bound = truth.abs() * 2f64.powi(-10) + truth.abs().max() * 1e-4;
    assert!(bool::try_from(off.le_tensor(&bound).all()).unwrap(), "{off:?}");
}
