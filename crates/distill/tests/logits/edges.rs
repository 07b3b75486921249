//! Saturated rows, impossible classes, what is refused and what the refusal says.

use softlabel_core::Temperature;
use softlabel_distill::{
    ClassMatch, Distillation, Divergence, Error, Samples, SoftLoss, standardize,
};
use softlabel_losses::{ClassAxis, CrossEntropy, Reduction, Target};
use tch::{Kind, Tensor};

use crate::{backward, forward, labels, largest, number, reference, soft, table, wave};

const ALL: [SoftLoss; 8] = [
    SoftLoss::Divergence(Divergence::Forward),
    SoftLoss::Divergence(Divergence::Reverse),
    SoftLoss::Divergence(Divergence::JensenShannon { beta: 0.5, continuous: false }),
    SoftLoss::SquaredError,
    SoftLoss::Cosine,
    SoftLoss::Decoupled { alpha: 1.0, beta: 8.0 },
    SoftLoss::Relational { inter: 1.0, intra: 1.0 },
    SoftLoss::TeacherLabel,
];

fn rows(values: &[f64], classes: i64) -> Tensor {
    Tensor::from_slice(values).view((-1, classes))
}

#[test]
fn saturated_rows_stay_finite() {
    // p_y is 1 and 1 − p_y is 0 in every precision: ln(1 − p_y) of the public form is −∞.
    let teacher = rows(&[0.0, 1e3, -1e3, 5.0, 1e3, 0.0, 0.0, 0.0], 4);
    let student = rows(&[1e3, 0.0, -1e3, 7.0, -1e3, 1e3, 0.0, 0.0], 4);
    for kind in [Kind::Double, Kind::Float] {
        for loss in ALL {
            let (found, gradient) = backward(&student.to_kind(kind), |at| {
                forward(&soft(loss, 1.0), at, &teacher.to_kind(kind))
            });
            assert!(found.is_finite() && largest(&gradient).is_finite(), "{loss:?}: {found}");
        }
    }
}

#[test]
fn decoupled_rows_that_saturate_have_the_limit_of_the_formula() {
    // The student is sure of the label by d, the teacher is not: KL(b_q ‖ b_p) = d/2 − ln 2 up to e^{-d}.
    let teacher = rows(&[0.0, 2f64.ln(), 0.0], 3);
    let student = rows(&[0.0, 800.0 + 2f64.ln(), 0.0], 3);
    let loss = soft(SoftLoss::Decoupled { alpha: 1.0, beta: 1.0 }, 1.0);
    let (found, gradient) = backward(&student, |at| forward(&loss, at, &teacher));
    assert!((found - (400.0 - 2f64.ln())).abs() < 1e-10, "{found}");
    // σ(d_p) − σ(d_q) = ½ at the label, and the rest shares the opposite.
    assert_eq!(table(&gradient), [[-0.25, 0.5, -0.25]]);
}

#[test]
fn a_class_that_both_hold_impossible_costs_nothing() {
    let never = f64::NEG_INFINITY;
    let student = rows(&[1.0, 0.5, never, 0.0, 0.3, -0.5, never, 1.0], 4);
    let teacher = rows(&[0.0, 2.0, never, 1.0, 1.0, -1.0, never, 0.5], 4);
    let without =
        |logits: &Tensor| Tensor::cat(&[logits.narrow(1, 0, 2), logits.narrow(1, 3, 1)], 1);
    let labels = Tensor::from_slice(&[1i64, 0]);
    for loss in ALL {
        for standardize in [false, true] {
            let distillation = soft(loss, 1.0).with_standardization(standardize);
            let value = |at: &Tensor, teacher: &Tensor| {
                distillation
                    .forward(at, teacher, &CrossEntropy::new(), Target::Hard(&labels))
                    .unwrap()
            };
            let (found, gradient) = backward(&student, |at| value(at, &teacher));
            let expected = number(&value(&without(&student), &without(&teacher)));
            // A class without any mass correlates perfectly with itself, and counts in the mean of the classes.
            if !matches!(loss, SoftLoss::Relational { .. }) {
                assert!((found - expected).abs() < 1e-14, "{loss:?}: {found} {expected}");
            }
            assert!(found.is_finite() && largest(&gradient).is_finite(), "{loss:?}");
            assert_eq!(largest(&gradient.select(1, 2)), 0.0, "{loss:?}");
        }
    }
}

#[test]
fn what_one_side_holds_impossible() {
    let never = f64::NEG_INFINITY;
    let (sure, unsure) =
        (rows(&[1.0, never, 0.0, 0.0, 1.0, 2.0], 3), rows(&[1.0, 0.5, 0.0, 0.0, 1.0, 0.0], 3));
    let value = |loss: SoftLoss, student: &Tensor, teacher: &Tensor| {
        let labels = Tensor::from_slice(&[0i64, 0]);
        let none = CrossEntropy::new().with_reduction(Reduction::Sum);
        backward(student, |at| {
            soft(loss, 1.0).forward(at, teacher, &none, Target::Hard(&labels)).unwrap()
        })
    };
    let infinite_for_the_student = [
        Divergence::Forward.into(),
        SoftLoss::SquaredError,
        SoftLoss::Decoupled { alpha: 1.0, beta: 1.0 },
    ];
    for loss in ALL {
        for (student, teacher, infinite) in [
            (
                &sure,
                &unsure,
                infinite_for_the_student.contains(&loss)
                    || matches!(loss, SoftLoss::Decoupled { .. }),
            ),
            (
                &unsure,
                &sure,
                matches!(loss, SoftLoss::SquaredError | SoftLoss::Divergence(Divergence::Reverse)),
            ),
        ] {
            let (found, gradient) = value(loss, student, teacher);
            assert_eq!(found == f64::INFINITY, infinite, "{loss:?}: {found}");
            assert!(!found.is_nan() && largest(&gradient).is_finite(), "{loss:?}: {gradient:?}");
        }
    }
}

/// A teacher whose map makes zeros: of one class, of all but the label, of all but another class, and of the label.
#[test]
fn a_loss_says_whether_it_bears_a_teacher_s_zeros() {
    let never = f64::NEG_INFINITY;
    let jeffreys: SoftLoss = Divergence::Jeffreys.into();
    let jensen = |beta| Divergence::JensenShannon { beta, continuous: true }.into();
    let others: [SoftLoss; 4] = [jeffreys, jensen(0.0), jensen(0.5), jensen(1.0)];
    let student = rows(&[0.3, 0.1, -0.2, 1.0, 0.5, -1.0], 3);
    let labels = Tensor::from_slice(&[0i64, 1]);
    for impossible in
        [[1.0, never, 0.0], [0.0, never, never], [never, never, 0.0], [never, 0.4, 0.2]]
    {
        let sure = [&impossible[..], &[0.5, -0.5, 0.1]].concat();
        for kind in [Kind::Double, Kind::Float] {
            let (student, teacher) = (student.to_kind(kind), rows(&sure, 3).to_kind(kind));
            for loss in ALL.into_iter().chain(others) {
                let distillation = soft(loss, 1.0);
                let (found, gradient) = backward(&student, |at| {
                    let hard = Target::Hard(&labels);
                    distillation.forward(at, &teacher, &CrossEntropy::new(), hard).unwrap()
                });
                let bears = loss.bears_impossible_classes();
                assert_eq!(found.is_finite(), bears, "{loss:?} {impossible:?}: {found}");
                assert!(largest(&gradient).is_finite(), "{loss:?} {impossible:?}");
                let checked = distillation.check_impossible(&teacher, 3, &[80, 70]);
                let first = impossible.iter().position(|&logit| logit == never).unwrap() as i64;
                match checked {
                    Ok(()) => assert!(bears, "{loss:?}"),
                    Err(Error::ImpossibleClass { loss: name, sample: 80, class }) => {
                        assert_eq!((name, class, bears), (loss.name(), first, false));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn zeros_of_classes_that_a_student_has_not_do_no_harm() {
    let never = f64::NEG_INFINITY;
    let reverse = soft(Divergence::Reverse, 1.0).with_classes(ClassMatch::SliceTeacher);
    let teacher = rows(&[0.0, 1.0, never, 0.0, 1.0, 2.0], 3);
    reverse.check_impossible(&teacher, 2, &[0, 1]).unwrap();
    let found = reverse.forward(
        &rows(&[0.3, 0.1, 0.2, 0.0], 2),
        &teacher,
        &CrossEntropy::new(),
        Target::Hard(&Tensor::from_slice(&[0i64, 1])),
    );
    assert!(number(&found.unwrap()).is_finite());
    // Without a weight there is no loss to be infinite.
    let hard = Distillation::new(Temperature::ONE, 0.0, 1.0).unwrap();
    let hard = hard.with_divergence(Divergence::Reverse).unwrap();
    hard.check_impossible(&teacher, 3, &[0, 1]).unwrap();
    assert!(reverse.check_impossible(&teacher, 3, &[0, 1]).is_err());
}

#[test]
fn a_teacher_s_nan_stops_with_the_sample() {
    let student = wave(&[3, 4], 0.1);
    let teacher = wave(&[3, 4], 2.0);
    let _ = teacher.get(2).get(1).fill_(f64::NAN);
    for loss in ALL {
        for standardize in [false, true] {
            let labels = labels(3, 4);
            let error = soft(loss, 1.0)
                .with_standardization(standardize)
                .forward(&student, &teacher, &CrossEntropy::new(), Target::Hard(&labels))
                .unwrap_err();
            assert!(matches!(error, Error::TeacherNotFinite { sample: 2 }), "{loss:?}: {error}");
            // One that does not count may say what it likes.
            let counted = Tensor::from_slice(&[true, true, false]);
            let masked = soft(loss, 1.0).with_standardization(standardize).soft_term(
                &student,
                &teacher,
                ClassAxis::Last,
                Some(&counted),
                Samples::default(),
            );
            if loss.needs_labels() {
                assert!(masked.unwrap_err().to_string().contains("dkd needs hard labels"));
            } else {
                let loss = masked.unwrap().reduce(Reduction::Sum, "test").unwrap();
                assert!(number(&loss).is_finite());
            }
        }
    }
    // A student's NaN is the student's: it is there to be seen.
    let found = forward(&soft(Divergence::Forward, 1.0), &teacher, &student);
    assert!(number(&found).is_nan());
}

#[test]
fn other_numbers_of_classes_are_an_error_until_something_is_said() {
    let (student, teacher) = (wave(&[4, 5], 0.1), wave(&[4, 7], 2.0));
    let labels = labels(4, 5);
    let value = |classes: ClassMatch, loss: SoftLoss, student: &Tensor, teacher: &Tensor| {
        soft(loss, 2.0).with_classes(classes).forward(
            student,
            teacher,
            &CrossEntropy::new(),
            Target::Hard(&labels),
        )
    };
    let forward: SoftLoss = Divergence::Forward.into();
    let error = value(ClassMatch::Equal, forward, &student, &teacher).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the teacher has 7 classes, the student 5: if the classes that both have are the same, say `classes`: \
         slice_teacher or pad_student"
    );
    let error = value(ClassMatch::SliceTeacher, forward, &teacher, &student).unwrap_err();
    assert!(error.to_string().ends_with("say `classes`: pad_teacher"), "{error}");

    let sliced = number(&value(ClassMatch::SliceTeacher, forward, &student, &teacher).unwrap());
    let expected =
        number(&value(ClassMatch::Equal, forward, &student, &teacher.narrow(1, 0, 5)).unwrap());
    assert_eq!(sliced, expected);

    // The student's logits are padded with −∞, not with 0: who agrees has nothing to learn.
    let more = Tensor::cat(
        &[
            student.shallow_clone(),
            Tensor::full([4, 2], f64::NEG_INFINITY, (Kind::Double, tch::Device::Cpu)),
        ],
        1,
    );
    let (found, gradient) =
        backward(&student, |at| value(ClassMatch::PadStudent, forward, at, &more).unwrap());
    assert_eq!((found, largest(&gradient)), (0.0, 0.0));
    assert_eq!(gradient.size(), [4, 5]);
    // And where the teacher has mass that the student cannot have.
    let lost = number(&value(ClassMatch::PadStudent, forward, &student, &teacher).unwrap());
    assert_eq!(lost, f64::INFINITY);
    let reverse = number(
        &value(ClassMatch::PadStudent, Divergence::Reverse.into(), &student, &teacher).unwrap(),
    );
    let truth = table(&(&student / 2.0)).into_iter().zip(table(&(&teacher / 2.0))).map(|(z, u)| {
        let (mut p, q) = (reference::softmax(&z), reference::softmax(&u));
        p.extend([0.0, 0.0]);
        reference::divergence(&p, &q)
    });
    assert!((reverse - truth.sum::<f64>()).abs() < 1e-12);

    let padded = number(&value(ClassMatch::PadTeacher, forward, &teacher, &student).unwrap());
    let truth = table(&(&teacher / 2.0)).into_iter().zip(table(&(&student / 2.0))).map(|(z, u)| {
        let (p, mut q) = (reference::softmax(&z), reference::softmax(&u));
        q.extend([0.0, 0.0]);
        reference::divergence(&q, &p)
    });
    assert!((padded - truth.sum::<f64>()).abs() < 1e-12);
}

#[test]
fn what_is_refused() {
    let label = Tensor::from_slice(&[0i64, 1]);
    let value = |loss: SoftLoss, student: &Tensor| {
        let target = Target::Hard(&label);
        soft(loss, 1.0).forward(student, student, &CrossEntropy::new(), target)
    };
    let two = wave(&[2, 2], 0.1);
    let decoupled = SoftLoss::Decoupled { alpha: 1.0, beta: 8.0 };
    let error = value(decoupled, &two).unwrap_err();
    assert_eq!(error.to_string(), "dkd needs at least 3 classes, found 2");
    let rows = two.softmax(-1, Kind::Double);
    let error = soft(decoupled, 1.0)
        .forward(&two, &two, &CrossEntropy::new(), Target::Soft(&rows))
        .unwrap_err();
    assert_eq!(error.to_string(), "dkd needs hard labels, found soft targets");
    let error = standardize(&wave(&[2, 1], 0.0)).unwrap_err();
    assert_eq!(error.to_string(), "standardization needs at least 2 classes, found 1");

    let relational = SoftLoss::Relational { inter: 1.0, intra: 1.0 };
    let one = Tensor::from_slice(&[0i64]);
    let alone = soft(relational, 1.0).forward(
        &two.narrow(0, 0, 1),
        &two.narrow(0, 0, 1),
        &CrossEntropy::new(),
        Target::Hard(&one),
    );
    assert!(alone.unwrap_err().to_string().contains("at least 2 samples"));
    let none = CrossEntropy::new().with_reduction(Reduction::None);
    let each = soft(relational, 1.0).forward(&two, &two, &none, Target::Hard(&label));
    assert!(each.unwrap_err().to_string().contains("dist is one number about a whole batch"));
    let with = |samples| {
        soft(relational, 1.0)
            .forward_samples(&two, &two, &CrossEntropy::new(), Target::Hard(&label), samples)
            .unwrap_err()
            .to_string()
    };
    let ones = [1.0, 1.0];
    for samples in [
        Samples { temperatures: Some(&ones), ..Samples::default() },
        Samples { soft_weights: Some(&ones), ..Samples::default() },
    ] {
        assert!(with(samples).starts_with("dist is one number about a whole batch"));
    }
    let with = |samples| {
        soft(Divergence::Forward, 1.0)
            .forward_samples(&two, &two, &CrossEntropy::new(), Target::Hard(&label), samples)
            .unwrap_err()
            .to_string()
    };
    let (short, negative) = ([1.0], [1.0, -1.0]);
    for (samples, expected) in [
        (
            Samples { temperatures: Some(&short), ..Samples::default() },
            "expected 2, one a sample, found 1",
        ),
        (
            Samples { temperatures: Some(&negative), ..Samples::default() },
            "temperature must be positive",
        ),
        (
            Samples { soft_weights: Some(&short), ..Samples::default() },
            "expected 2, one a sample, found 1",
        ),
        (
            Samples { soft_weights: Some(&negative), ..Samples::default() },
            "must be finite and not negative",
        ),
    ] {
        assert!(with(samples).contains(expected), "{}", with(samples));
    }

    let at = |t: f64| Distillation::new(Temperature::new(t).unwrap(), 1.0, 0.0).unwrap();
    let error = at(2.0).with_loss(SoftLoss::Cosine).unwrap_err();
    assert_eq!(error.to_string(), "cosine does not depend on a temperature: expected 1, found 2");
    let hard = at(1.0).with_loss(SoftLoss::TeacherLabel).unwrap();
    assert!(hard.with_student_temperature(Temperature::new(3.0).unwrap()).is_err());
    for bad in [
        SoftLoss::Decoupled { alpha: -1.0, beta: 1.0 },
        SoftLoss::Decoupled { alpha: 0.0, beta: 0.0 },
        SoftLoss::Decoupled { alpha: 1.0, beta: f64::NAN },
        SoftLoss::Relational { inter: f64::INFINITY, intra: 1.0 },
    ] {
        assert!(at(1.0).with_loss(bad).is_err(), "{bad:?}");
    }
    let mask = Tensor::from_slice(&[true]);
    let error = at(1.0).soft_term(&two, &two, ClassAxis::Last, Some(&mask), Samples::default());
    assert!(error.unwrap_err().to_string().contains("mask of the samples: expected shape [2]"));
}

#[test]
fn standardized_rows() {
    let logits = wave(&[4, 6], 0.3);
    let found = table(&standardize(&logits).unwrap());
    for (found, row) in found.iter().zip(table(&logits)) {
        for (found, expected) in found.iter().zip(reference::standardized(&row)) {
            assert!((found - expected).abs() < 1e-14);
        }
    }
    // Equal logits have no deviation: 0, not NaN, and no gradient, also where their mean is rounded.
    for value in [0.0, 0.1, 1e30] {
        let level = Tensor::full([2, 7], value, (Kind::Float, tch::Device::Cpu));
        let (found, gradient) = backward(&level, |at| standardize(at).unwrap().sum(Kind::Float));
        assert_eq!((found, largest(&gradient)), (0.0, 0.0), "{value}");
    }
}

#[test]
fn no_kind_teaches_the_teacher() {
    let teacher = wave(&[3, 4], 2.0).set_requires_grad(true);
    for loss in ALL {
        let (_, gradient) =
            backward(&wave(&[3, 4], 0.1), |at| forward(&soft(loss, 1.0), at, &teacher));
        assert!(gradient.defined() && !teacher.grad().defined(), "{loss:?}");
    }
}

#[test]
fn correlations_of_what_does_not_vary() {
    let level = rows(&[0.0; 8], 4);
    let (varied, other) = (wave(&[2, 4], 0.1), wave(&[2, 4], 2.0));
    let inter = soft(SoftLoss::Relational { inter: 1.0, intra: 0.0 }, 1.0);
    let cosine = soft(SoftLoss::Cosine, 1.0);
    for loss in [inter, cosine] {
        // Nothing to correlate with: 1. Two that do not vary agree: 0. Neither has a gradient that is not finite.
        for (student, teacher, expected) in
            [(&level, &varied, 1.0), (&varied, &level, 1.0), (&level, &level, 0.0)]
        {
            let (found, gradient) = backward(student, |at| forward(&loss, at, teacher));
            assert_eq!((found, largest(&gradient)), (expected, 0.0), "{loss:?}");
        }
    }
    // Neither overflow nor underflow of squares.
    for size in [1e-11, 1e30] {
        let (varied, other) = (varied.to_kind(Kind::Float) * size, other.to_kind(Kind::Float));
        let truth = table(&varied)
            .iter()
            .zip(table(&other))
            .map(|(z, u)| 1.0 - reference::cosine(z, &u))
            .sum::<f64>()
            / 2.0;
        let found = number(&forward(&cosine, &varied, &other));
        assert!((found - truth).abs() < 1e-6, "{size}: {found} {truth}");
    }
    // The more alike, the more digits: 1 − cos of an angle of 10⁻⁹ is 5·10⁻¹⁹, where cos is 1.
    let (a, b) = (rows(&[1.0, 0.0], 2), rows(&[1.0, 1e-9], 2));
    let found = number(&forward(&cosine, &a, &b));
    assert!((found / 5e-19 - 1.0).abs() < 1e-6, "{found:e}");
}
