//! Teachers of which the likeliest classes are known, and heads whose logits are never whole.

use proptest::prelude::*;
use softlabel_core::Temperature;
use softlabel_distill::{
    ClassMatch, Distillation, Divergence, Error, LinearDistillation, LinearHead, SoftLoss, Tail,
    TopK,
};
use softlabel_losses::{CrossEntropy, Normalizer, Reduction, Target};
use softlabel_targets::Smoothing;
use softlabel_tensor::gradient_check;
use tch::{Device, Kind, Tensor};

use crate::{
    backward, forward, labels, largest, number, reference, soft, table, temperature, wave,
};

fn top_k(distillation: &Distillation, student: &Tensor, teacher: &TopK) -> Tensor {
    let size = student.size();
    let labels = labels(size[0], size[1]);
    let target = Target::Hard(&labels);
    distillation.forward_top_k(student, teacher, &CrossEntropy::new(), target).unwrap().loss
}

/// The three formulas, from probabilities.
fn formula(z: &[f64], u: &[f64], k: usize, tail: Tail) -> f64 {
    let (p, q) = (reference::softmax(z), reference::softmax(u));
    let mut order: Vec<usize> = (0..q.len()).collect();
    order.sort_by(|&a, &b| q[b].total_cmp(&q[a]));
    let top = |of: &[f64]| order[..k].iter().map(|&class| of[class]).collect::<Vec<_>>();
    let rest = |of: &[f64]| order[k..].iter().map(|&class| of[class]).sum::<f64>();
    let (p_top, q_top) = (top(&p), top(&q));
    match tail {
        Tail::Bucket => {
            let join = |mut top: Vec<f64>, rest: f64| {
                top.push(rest);
                top
            };
            reference::divergence(&join(q_top, rest(&q)), &join(p_top, rest(&p)))
        }
        Tail::Renormalized => {
            let whole = |top: &[f64]| {
                let sum: f64 = top.iter().sum();
                top.iter().map(|share| share / sum).collect::<Vec<_>>()
            };
            reference::divergence(&whole(&q_top), &whole(&p_top))
        }
        _ => reference::divergence(&q_top, &p_top),
    }
}

#[test]
fn the_three_tails_are_their_formulas() {
    let (student, teacher) = (wave(&[5, 40], 0.1), wave(&[5, 40], 2.0));
    for tail in [Tail::Bucket, Tail::Renormalized, Tail::Truncated] {
        for (k, t) in [(1, 1.0), (8, 2.0), (39, 1.0)] {
            let top = TopK::from_logits(&teacher, k, temperature(t)).unwrap().with_tail(tail);
            let (z, u) = (table(&(&student / t)), table(&(&teacher / t)));
            let truth: f64 = z.iter().zip(&u).map(|(z, u)| formula(z, u, k, tail)).sum();
            let distillation = soft(Divergence::Forward, t);
            let found = number(&top_k(&distillation, &student, &top));
            assert!((found - t * t * truth / 5.0).abs() < 1e-12, "{tail:?} {k}: {found}");

            let at = wave(&[2, 6], 0.1).set_requires_grad(true);
            let top = TopK::from_logits(&wave(&[2, 6], 2.0), k.min(3), temperature(t)).unwrap();
            let top = top.with_tail(tail);
            let check = gradient_check(
                |at: &[Tensor]| Ok::<_, Error>(top_k(&distillation, &at[0], &top)),
                &[&at],
                1e-5,
            );
            assert!(check.unwrap().is_within(1e-8, 1e-6), "{tail:?} {k}");
        }
    }
}

#[test]
fn a_bucket_s_loss_grows_with_k_to_the_whole_and_the_others_do_not() {
    // V = 1000, as the table of the three tails has it: renormalized k = 1 is trivially 0.
    let (student, teacher) = (wave(&[1, 1000], 0.1), wave(&[1, 1000], 2.0));
    let whole = number(&forward(&soft(Divergence::Forward, 1.0), &student, &teacher));
    let at = |k: usize, tail: Tail| {
        let top = TopK::from_logits(&teacher, k, Temperature::ONE).unwrap().with_tail(tail);
        number(&top_k(&soft(Divergence::Forward, 1.0), &student, &top))
    };
    assert_eq!(at(1, Tail::Renormalized), 0.0);
    let buckets = [1, 8, 64, 512, 998, 999].map(|k| at(k, Tail::Bucket));
    assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12), "{buckets:?}");
    assert!(buckets[0] < 0.2 * whole && (buckets[5] - whole).abs() < 1e-12, "{buckets:?} {whole}");
    assert!(at(999, Tail::Renormalized) <= whole);
}

#[test]
fn who_agrees_with_a_part_of_a_teacher_has_nothing_to_learn() {
    let same = wave(&[4, 30], 0.4);
    for tail in [Tail::Bucket, Tail::Renormalized] {
        let top = TopK::from_logits(&same, 5, temperature(2.0)).unwrap().with_tail(tail);
        let (found, gradient) =
            backward(&same, |at| top_k(&soft(Divergence::Forward, 2.0), at, &top));
        assert!(found.abs() < 1e-14 && largest(&gradient) < 1e-15, "{tail:?}: {found}");
    }
    // Truncated, the least is elsewhere: no mass for the others.
    let top = TopK::from_logits(&same, 5, Temperature::ONE).unwrap().with_tail(Tail::Truncated);
    let (_, gradient) = backward(&same, |at| top_k(&soft(Divergence::Forward, 1.0), at, &top));
    assert!(largest(&gradient) > 1e-2);
}

#[test]
fn served_log_probabilities_and_kept_mass() {
    let (student, teacher) = (wave(&[3, 20], 0.1), wave(&[3, 20], 2.0));
    let own = TopK::from_logits(&teacher, 6, Temperature::ONE).unwrap();
    let (values, classes) = teacher.log_softmax(-1, Kind::Double).topk(6, -1, true, true);
    let served = TopK::from_log_probabilities(&values, &classes, Temperature::ONE).unwrap();
    let loss = soft(Divergence::Forward, 1.0);
    let [own_loss, served_loss] = [&own, &served].map(|top| number(&top_k(&loss, &student, top)));
    assert!((own_loss - served_loss).abs() < 1e-12);

    let mass: Vec<f64> = values.exp().sum_dim_intlist(-1, false, Kind::Double).try_into().unwrap();
    let found: Vec<f64> = own.kept_mass().unwrap().try_into().unwrap();
    assert!(mass.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-14));
    // Of the samples that count.
    let labels = Tensor::from_slice(&[0i64, -1, 1]);
    let hard = CrossEntropy::new().with_ignore_index(-1);
    let nan = student.copy();
    let _ = nan.get(1).fill_(f64::NAN);
    let output = loss.forward_top_k(&nan, &own, &hard, Target::Hard(&labels)).unwrap();
    assert!((output.kept_mass - f64::midpoint(mass[0], mass[2])).abs() < 1e-14);
    assert!(number(&output.loss).is_finite());
}

#[test]
fn likeliest_classes_are_checked() {
    let teacher = wave(&[2, 5], 0.1);
    let error = |result: softlabel_distill::Result<TopK>| result.unwrap_err().to_string();
    for k in [0, 5] {
        let found = error(TopK::from_logits(&teacher, k, Temperature::ONE));
        assert!(found.contains("at least 1 and fewer than the 5 classes"), "{found}");
    }
    let nan = teacher.copy();
    let _ = nan.get(1).fill_(f64::NAN);
    let found = TopK::from_logits(&nan, 2, Temperature::ONE).unwrap_err();
    assert!(matches!(found, Error::TeacherNotFinite { sample: 1 }));
    let values = Tensor::from_slice(&[-1.0, -2.0]).view((1, 2));
    let with = |values: &Tensor, classes: &[i64]| {
        let classes = Tensor::from_slice(classes).view((1, -1));
        error(TopK::from_log_probabilities(values, &classes, Temperature::ONE))
    };
    assert!(with(&values, &[1, 1]).contains("one twice"));
    assert!(with(&values, &[-1, 1]).contains("not negative"));
    assert!(with(&values, &[1]).contains("expected shape [1, 2]"));
    assert!(with(&(&values + 3.0), &[0, 1]).contains("must be at most 0"));
    assert!(with(&(&values * 0.1), &[0, 1]).contains("mass of a teacher's classes"));

    let top = TopK::from_logits(&teacher, 2, temperature(2.0)).unwrap();
    let labels = labels(2, 5);
    let refused = |distillation: Distillation, student: &Tensor| {
        let target = Target::Hard(&labels);
        distillation
            .forward_top_k(student, &top, &CrossEntropy::new(), target)
            .unwrap_err()
            .to_string()
    };
    let forward = soft(Divergence::Forward, 2.0);
    assert!(refused(soft(Divergence::Forward, 1.0), &teacher).contains("temperature: expected 2"));
    assert!(refused(soft(Divergence::Reverse, 2.0), &teacher).contains("found reverse"));
    assert!(refused(forward.with_standardization(true), &teacher).contains("as they are"));
    assert!(refused(forward, &wave(&[3, 5], 0.0)).contains("expected shape"));
    let far = TopK::from_log_probabilities(
        &values.expand([2, 2], false),
        &Tensor::from_slice(&[0i64, 9, 0, 9]).view((2, 2)),
        temperature(2.0),
    );
    let target = Target::Hard(&labels);
    let found = forward.forward_top_k(&teacher, &far.unwrap(), &CrossEntropy::new(), target);
    assert!(matches!(found.unwrap_err(), Error::ClassCounts { student: 5, teacher: 10 }));
}

struct Heads {
    student: [Tensor; 3],
    teacher: [Tensor; 3],
}

fn heads(kind: Kind) -> Heads {
    let small = |shape: &[i64], phase: f64| (wave(shape, phase) * 0.3).to_kind(kind);
    Heads {
        student: [small(&[2, 5, 4], 0.1), small(&[7, 4], 1.0), small(&[7], 2.0)],
        teacher: [small(&[2, 5, 6], 0.5), small(&[7, 6], 1.5), small(&[7], 2.5)],
    }
}

fn head(tensors: &[Tensor; 3]) -> LinearHead<'_> {
    LinearHead { hidden: &tensors[0], weight: &tensors[1], bias: Some(&tensors[2]) }
}

fn logits(tensors: &[Tensor]) -> Tensor {
    tensors[0].matmul(&tensors[1].tr()) + &tensors[2]
}

#[test]
fn heads_are_their_logits_whatever_the_chunk() {
    let Heads { student, teacher } = heads(Kind::Double);
    let labels = labels(10, 7).view((2, 5));
    let target = Target::Hard(&labels);
    let hard = |reduction| {
        CrossEntropy::new()
            .with_smoothing(Smoothing::mixture(0.1).unwrap())
            .with_ignore_index(2)
            .with_reduction(reduction)
    };
    let losses = [
        (SoftLoss::default(), 4.0),
        (Divergence::JensenShannon { beta: 0.5, continuous: false }.into(), 1.0),
        (SoftLoss::Decoupled { alpha: 1.0, beta: 2.0 }, 2.0),
        (SoftLoss::TeacherLabel, 1.0),
    ];
    let reductions = [
        Reduction::Sum,
        Reduction::Mean(Normalizer::Count),
        Reduction::default(),
        Reduction::Mean(Normalizer::Items(3.0)),
    ];
    for (loss, t) in losses {
        let distillation =
            Distillation::new(temperature(t), 0.7, 0.3).unwrap().with_loss(loss).unwrap();
        for reduction in reductions {
            let leaves = || student.each_ref().map(|tensor| tensor.copy().set_requires_grad(true));
            let whole = leaves();
            let truth = distillation
                .forward(&logits(&whole), &logits(&teacher), &hard(reduction), target)
                .unwrap();
            (&truth * 3.0).backward();
            for rows in [1, 3, 100] {
                let parts = leaves();
                let found = LinearDistillation::new(distillation, hard(reduction))
                    .unwrap()
                    .with_rows_at_a_time(rows)
                    .forward(head(&parts), head(&teacher), target)
                    .unwrap();
                assert!((number(&found) - number(&truth)).abs() < 1e-13, "{loss:?} {reduction:?}");
                (found * 3.0).backward();
                for (part, whole) in parts.iter().zip(&whole) {
                    let off = largest(&(part.grad() - whole.grad()));
                    assert!(off < 1e-13, "{loss:?} {reduction:?} {rows}: {off:e}");
                }
            }
        }
    }
}

#[test]
fn heads_take_every_target_and_class_match() {
    let Heads { student, teacher } = heads(Kind::Double);
    let (first, second) = (labels(10, 7).view((2, 5)), labels(10, 6).view((2, 5)));
    let rows = wave(&[2, 5, 7], 0.3).softmax(-1, Kind::Double);
    let counted = first.ne(0);
    let allowed = rows.gt(0.1);
    let shares: Vec<f64> = (0..10).map(|n| f64::from(n) / 10.0).collect();
    let distillation = Distillation::new(temperature(2.0), 0.5, 0.5).unwrap();
    let targets = [
        Target::Hard(&first),
        Target::Soft(&rows),
        Target::Masked { rows: &rows, counted: &counted },
        Target::Mixed { first: &first, second: &second, share_of_second: &shares },
        Target::Smoothed { labels: &first, epsilons: &shares },
        Target::Allowed { labels: &first, allowed: &allowed },
    ];
    let linear =
        LinearDistillation::new(distillation, CrossEntropy::new()).unwrap().with_rows_at_a_time(3);
    for target in targets {
        let found = linear.forward(head(&student), head(&teacher), target).unwrap();
        let truth = distillation
            .forward(&logits(&student), &logits(&teacher), &CrossEntropy::new(), target)
            .unwrap();
        assert!((number(&found) - number(&truth)).abs() < 1e-13, "{target:?}");
    }
    let larger = [teacher[0].copy(), wave(&[9, 6], 0.2), wave(&[9], 0.2)];
    let target = Target::Hard(&first);
    let error = linear.forward(head(&student), head(&larger), target).unwrap_err();
    assert!(matches!(error, Error::ClassCounts { student: 7, teacher: 9 }));
    let sliced = distillation.with_classes(ClassMatch::SliceTeacher);
    let found = LinearDistillation::new(sliced, CrossEntropy::new())
        .unwrap()
        .forward(head(&student), head(&larger), target)
        .unwrap();
    let truth =
        sliced.forward(&logits(&student), &logits(&larger), &CrossEntropy::new(), target).unwrap();
    assert!((number(&found) - number(&truth)).abs() < 1e-13);
}

#[test]
fn heads_in_half_precision_are_near_their_logits_in_double() {
    for (kind, tolerance) in [(Kind::BFloat16, 2e-2), (Kind::Half, 3e-3), (Kind::Float, 1e-6)] {
        let Heads { student, teacher } = heads(kind);
        let labels = labels(10, 7).view((2, 5));
        let target = Target::Hard(&labels);
        let distillation = Distillation::new(temperature(2.0), 0.5, 0.5).unwrap();
        let leaves = student.each_ref().map(|tensor| tensor.copy().set_requires_grad(true));
        let found = LinearDistillation::new(distillation, CrossEntropy::new())
            .unwrap()
            .with_rows_at_a_time(4)
            .forward(head(&leaves), head(&teacher), target)
            .unwrap();
        found.backward();
        let double = |tensors: &[Tensor; 3]| tensors.each_ref().map(|t| t.to_kind(Kind::Double));
        let exact = double(&student).map(|tensor| tensor.set_requires_grad(true));
        let truth = distillation
            .forward(&logits(&exact), &logits(&double(&teacher)), &CrossEntropy::new(), target)
            .unwrap();
        truth.backward();
        assert_eq!(found.kind(), Kind::Float);
        assert!((number(&found) - number(&truth)).abs() < tolerance, "{kind:?}");
        for (leaf, exact) in leaves.iter().zip(&exact) {
            assert_eq!(leaf.grad().kind(), kind);
            assert!(largest(&(leaf.grad().to_kind(Kind::Double) - exact.grad())) < tolerance);
        }
    }
}

#[test]
fn heads_that_are_refused_and_samples_that_are_ignored() {
    let Heads { student, teacher } = heads(Kind::Double);
    let one = Distillation::new(Temperature::ONE, 1.0, 0.0).unwrap();
    let relational = one.with_loss(SoftLoss::Relational { inter: 1.0, intra: 1.0 }).unwrap();
    let error = LinearDistillation::new(relational, CrossEntropy::new()).unwrap_err();
    assert!(matches!(error, Error::NotOfOneSample { loss: "dist" }));
    let none = CrossEntropy::new().with_reduction(Reduction::None);
    assert!(LinearDistillation::new(one, none).is_err());
    let weights = Tensor::ones([7], (Kind::Double, Device::Cpu));
    assert!(LinearDistillation::new(one, CrossEntropy::new().with_class_weights(weights)).is_err());

    let labels = labels(10, 7).view((2, 5));
    let linear = LinearDistillation::new(one, CrossEntropy::new().with_ignore_index(1)).unwrap();
    let linear = linear.with_rows_at_a_time(2);
    let short = [student[0].narrow(1, 0, 4), student[1].copy(), student[2].copy()];
    assert!(linear.forward(head(&short), head(&teacher), Target::Hard(&labels)).is_err());
    let wide = [student[0].copy(), wave(&[7, 3], 0.0), student[2].copy()];
    let error = linear.forward(head(&wide), head(&teacher), Target::Hard(&labels)).unwrap_err();
    assert!(error.to_string().contains("weight of a head: expected shape [K, 4]"), "{error}");

    // Sample 0 has the label that is ignored: what its hidden states hold reaches nothing.
    let leaves = student.each_ref().map(Tensor::copy);
    let _ = leaves[0].get(0).get(0).fill_(f64::NAN);
    let leaves = leaves.map(|tensor| tensor.set_requires_grad(true));
    let found = linear.forward(head(&leaves), head(&teacher), Target::Hard(&labels)).unwrap();
    found.backward();
    assert!(leaves.iter().all(|leaf| largest(&leaf.grad()).is_finite()));
    assert_eq!(largest(&leaves[0].grad().get(0).get(0)), 0.0);

    let broken = teacher.each_ref().map(Tensor::copy);
    let _ = broken[0].get(1).get(1).fill_(f64::NAN);
    let error = linear.forward(head(&student), head(&broken), Target::Hard(&labels)).unwrap_err();
    assert!(matches!(error, Error::TeacherNotFinite { sample: 6 }), "{error}");
    let ignored = Tensor::full([2, 5], 1, (Kind::Int64, Device::Cpu));
    let error = linear.forward(head(&student), head(&teacher), Target::Hard(&ignored)).unwrap_err();
    assert!(error.to_string().contains("the batch that a mean is taken over is empty"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_bucket_is_never_more_than_the_whole(
        logits in prop::collection::vec(-12.0..12.0f64, 20),
        k in 1..9_usize,
        t in 0.5..6.0f64,
    ) {
        let both = Tensor::from_slice(&logits).view((2, 1, 10));
        let (student, teacher) = (both.get(0), both.get(1));
        let top = TopK::from_logits(&teacher, k, temperature(t)).unwrap();
        let part = number(&top_k(&soft(Divergence::Forward, t), &student, &top));
        let whole = number(&forward(&soft(Divergence::Forward, t), &student, &teacher));
        prop_assert!(part >= 0.0 && part <= whole + 1e-9 * whole.max(1.0), "{} {}", part, whole);
    }
}
