//! Several teachers, virtual teachers, calibrated teachers, and students that teach.

use softlabel_core::{Labels, Logits, Temperature};
use softlabel_distill::{
    Average, Distillation, Divergence, Ensemble, Error, MutualLearning, SoftScale, VirtualTeacher,
    Weighting, calibrated,
};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, HistogramBinning, HistogramOptions, PlattScaling,
};
use softlabel_targets::Smoothing;
use softlabel_tensor::to_logits;
use tch::{Device, Kind, Tensor};

use crate::{
    backward, forward, labels, largest, number, reference, soft, table, temperature, wave,
};

fn three() -> [Tensor; 3] {
    [wave(&[4, 5], 0.1), wave(&[4, 5], 1.3), wave(&[4, 5], 2.0)]
}

/// What teachers say with these weights of a sample, written out.
fn averaged(average: Average, rows: &[Vec<f64>], weights: &[f64], t: f64) -> Vec<f64> {
    let classes = rows[0].len();
    let tempered = |row: &[f64]| row.iter().map(|logit| logit / t).collect::<Vec<_>>();
    let sum = |of: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<f64> {
        let parts: Vec<_> = rows.iter().map(|row| of(&tempered(row))).collect();
        (0..classes)
            .map(|class| parts.iter().zip(weights).map(|(part, weight)| weight * part[class]).sum())
            .collect()
    };
    match average {
        Average::Probabilities => sum(&|row| reference::softmax(row)),
        _ => reference::softmax(&sum(&<[f64]>::to_vec)),
    }
}

fn check(found: &Tensor, average: Average, weights: impl Fn(usize) -> Vec<f64>, t: f64) {
    let teachers = three().map(|teacher| table(&teacher));
    for (n, q) in table(&(found / t).softmax(-1, Kind::Double)).into_iter().enumerate() {
        let rows: Vec<_> = teachers.iter().map(|teacher| teacher[n].clone()).collect();
        for (found, truth) in q.iter().zip(averaged(average, &rows, &weights(n), t)) {
            assert!((found - truth).abs() < 1e-14, "{average:?} sample {n}: {found} {truth}");
        }
    }
}

#[test]
fn averages_are_their_formulas() {
    let teachers = three();
    let refs: Vec<&Tensor> = teachers.iter().collect();
    let labels = labels(4, 5);
    for average in [Average::Probabilities, Average::Geometric] {
        for t in [1.0, 3.0] {
            let found = Ensemble::equal(average).combine(&refs, temperature(t), None).unwrap();
            check(&found, average, |_| vec![1.0 / 3.0; 3], t);
            let fixed = Ensemble::fixed(average, vec![2.0, 0.0, 6.0]).unwrap();
            let found = fixed.combine(&refs, temperature(t), None).unwrap();
            check(&found, average, |_| vec![0.25, 0.0, 0.75], t);

            // CA-MKD: w_i = (1 − e^{C_i}/Σ e^{C_j})/(M − 1), with C at temperature 1.
            let confident = Ensemble::confidence(average, None);
            let found = confident.combine(&refs, temperature(t), Some(&labels)).unwrap();
            let rows = three().map(|teacher| table(&teacher));
            let weights = |n: usize| {
                let costs: Vec<f64> = rows
                    .iter()
                    .map(|teacher| reference::cross_entropy(&teacher[n], (n * 3 + 1) % 5).exp())
                    .collect();
                let sum: f64 = costs.iter().sum();
                costs.iter().map(|cost| (1.0 - cost / sum) / 2.0).collect::<Vec<_>>()
            };
            check(&found, average, weights, t);

            let gates =
                Tensor::from_slice(&[0.2, 0.3, 0.5, 1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.1, 0.8, 0.1])
                    .view((4, 3));
            let found =
                Ensemble::equal(average).combine_gated(&refs, temperature(t), &gates).unwrap();
            let rows = table(&gates);
            check(&found, average, |n| rows[n].clone(), t);
        }
    }
}

#[test]
fn one_teacher_alone_is_itself_and_two_that_agree_are_one() {
    let [teacher, ..] = three();
    let student = wave(&[4, 5], 0.7);
    let labels = labels(4, 5);
    let alone = number(&forward(&soft(Divergence::Forward, 2.0), &student, &teacher));
    for ensemble in [
        Ensemble::equal(Average::Probabilities),
        Ensemble::equal(Average::Geometric),
        Ensemble::confidence(Average::Probabilities, None),
    ] {
        for teachers in [vec![&teacher], vec![&teacher, &teacher]] {
            let combined = ensemble.combine(&teachers, temperature(2.0), Some(&labels)).unwrap();
            let found = number(&forward(&soft(Divergence::Forward, 2.0), &student, &combined));
            assert!((found - alone).abs() < 1e-13, "{ensemble:?}");
        }
    }
}

#[test]
fn averages_of_probabilities_and_logits_differ_where_one_says_never() {
    let never = Tensor::from_slice(&[f64::NEG_INFINITY, 0.0]).view((1, 2));
    let likely = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    let q = |average| {
        let both = Ensemble::equal(average).combine(&[&never, &likely], Temperature::ONE, None);
        table(&both.unwrap().softmax(-1, Kind::Double))[0][0]
    };
    assert!((q(Average::Probabilities) - 0.375).abs() < 1e-15);
    assert_eq!(q(Average::Geometric), 0.0);
    // A teacher without weight has no say, not even never.
    let fixed = Ensemble::fixed(Average::Geometric, vec![0.0, 1.0]).unwrap();
    let found = fixed.combine(&[&never, &likely], Temperature::ONE, None).unwrap();
    assert!((table(&found.softmax(-1, Kind::Double))[0][0] - 0.75).abs() < 1e-15);
}

#[test]
fn teachers_that_leave_no_class_possible_have_no_geometric_mean() {
    let never = f64::NEG_INFINITY;
    let first = Tensor::from_slice(&[0.0, never, 1.0, 0.0, never, never]).view((2, 3));
    let second = Tensor::from_slice(&[1.0, 0.0, never, never, 0.0, 1.0]).view((2, 3));
    let of = |average| Ensemble::equal(average).combine(&[&first, &second], Temperature::ONE, None);
    let error = of(Average::Geometric).unwrap_err();
    assert!(matches!(error, Error::NothingPossible { sample: 1 }), "{error}");
    let q = of(Average::Probabilities).unwrap().softmax(-1, Kind::Double);
    let odds = 1f64.exp() / (1.0 + 1f64.exp());
    for (found, truth) in table(&q)[1].iter().zip([0.5, 0.5 - odds / 2.0, odds / 2.0]) {
        assert!((found - truth).abs() < 1e-15, "{found} {truth}");
    }
    // Of whom nothing is heard does not matter.
    let alone = Ensemble::fixed(Average::Geometric, vec![1.0, 0.0]).unwrap();
    let alone = alone.combine(&[&first, &second], Temperature::ONE, None).unwrap();
    assert_eq!(table(&alone), table(&first));
}

#[test]
fn ensembles_are_detached_serialized_and_checked() {
    let [first, second, _] = three();
    let first = first.set_requires_grad(true);
    let equal = Ensemble::default();
    let both = equal.combine(&[&first, &second], Temperature::ONE, None).unwrap();
    assert!(!both.requires_grad());

    let read = |text: &str| toml::from_str::<Ensemble>(text).map_err(|error| error.to_string());
    assert_eq!(read("").unwrap(), equal);
    let fixed = read("average = 'geometric'\nweighting = { fixed = [1, 3] }").unwrap();
    assert_eq!(fixed, Ensemble::fixed(Average::Geometric, vec![1.0, 3.0]).unwrap());
    assert_eq!(fixed.weighting(), &Weighting::Fixed(vec![1.0, 3.0]));
    assert_eq!(read(&toml::to_string(&fixed).unwrap()).unwrap(), fixed);
    assert!(read("weighting = { fixed = [1, -3] }").unwrap_err().contains("weight of a teacher"));
    assert!(read("weighting = { fixed = [0, 0] }").unwrap_err().contains("positive and finite"));
    assert!(read("weights = [1]").unwrap_err().contains("unknown field"));

    let error = |result: softlabel_distill::Result<Tensor>| result.unwrap_err().to_string();
    let t = Temperature::ONE;
    assert!(error(equal.combine(&[], t, None)).contains("the list of teachers is empty"));
    assert!(
        error(equal.combine(&[&first, &wave(&[4, 6], 0.0)], t, None))
            .contains("as the first teacher's")
    );
    assert_eq!(error(fixed.combine(&[&first], t, None)), "teachers: expected 2, found 1");
    let confident = Ensemble::confidence(Average::Probabilities, Some(-1));
    assert!(error(confident.combine(&[&first, &second], t, None)).contains("needs hard labels"));
    let out = Tensor::from_slice(&[0i64, 1, 5, -1]);
    assert!(
        error(confident.combine(&[&first, &second], t, Some(&out)))
            .contains("label 5 at position 2")
    );
    let gates = Tensor::from_slice(&[0.5, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]).view((4, 2));
    assert!(
        error(equal.combine_gated(&[&first, &second], t, &gates)).contains("row 0 sums to 1.1")
    );
    assert!(
        error(equal.combine_gated(&[&first], t, &gates))
            .contains("a weight for each sample and teacher")
    );
}

#[test]
fn a_virtual_teacher_is_smoothing_over_the_other_classes() {
    let (student, labels) = (wave(&[6, 5], 0.1), labels(6, 5));
    let teacher = VirtualTeacher::new(0.9).unwrap().logits(&student, &labels, None).unwrap();
    let (found, gradient) =
        backward(&student, |at| forward(&soft(Divergence::Forward, 1.0), at, &teacher));
    let smoothed = CrossEntropy::new().with_smoothing(Smoothing::off_target(0.1).unwrap());
    let (cost, slope) =
        backward(&student, |at| smoothed.forward(at, Target::Hard(&labels)).unwrap());
    // Cross-entropy is the divergence and the entropy of the target.
    let entropy = -(0.9 * 0.9f64.ln() + 4.0 * 0.025 * 0.025f64.ln());
    assert!((found + entropy - cost).abs() < 1e-13);
    assert!(largest(&(gradient - slope)) < 1e-15);
}

#[test]
fn virtual_teachers_are_tempered_and_checked() {
    let (student, labels) = (wave(&[2, 5], 0.1), Tensor::from_slice(&[3i64, -1]));
    let virtual_teacher = VirtualTeacher::new(0.99).unwrap();
    let teacher = virtual_teacher.logits(&student, &labels, Some(-1)).unwrap();
    let q = table(&(&teacher / 20.0).softmax(-1, Kind::Double));
    let ratio = (0.99f64 / 0.0025).powf(1.0 / 20.0);
    assert!((q[0][3] / q[0][0] - ratio).abs() < 1e-12);
    // As the authors' code has it, T = 1 is nearly uniform already.
    let again = virtual_teacher.probabilities_as_logits(&student, &labels, Some(-1)).unwrap();
    let q = table(&again.softmax(-1, Kind::Double));
    assert!((q[0][3] / q[0][0] - (0.99f64 - 0.0025).exp()).abs() < 1e-12);
    for bad in [0.0, 1.0, f64::NAN] {
        assert!(VirtualTeacher::new(bad).is_err());
    }
    assert!(virtual_teacher.logits(&student, &labels, None).is_err());
    assert!(virtual_teacher.logits(&wave(&[2, 1], 0.0), &labels, Some(-1)).is_err());
    let read: VirtualTeacher = toml::from_str("confidence = 0.99").unwrap();
    assert_eq!(read, virtual_teacher);
    assert!(toml::from_str::<VirtualTeacher>("confidence = 1").is_err());
}

#[test]
fn calibrated_teachers_say_what_the_map_says() {
    let logits = wave(&[30, 3], 0.1);
    let fitted_on: Logits<'_, f64> = to_logits(&logits).unwrap();
    let truth: Vec<i64> = (0..30).map(|n| i64::from(n % 4 == 0)).collect();
    let truth = Labels::new(&truth, 3).unwrap();
    let options = HistogramOptions { bins: 5, ..HistogramOptions::default() };
    let maps = [
        AnyCalibrator::from(PlattScaling::fit(&fitted_on, &truth).unwrap()),
        AnyCalibrator::from(HistogramBinning::fit(&fitted_on, &truth, options).unwrap()),
    ];
    for map in maps {
        let expected = map.apply(&fitted_on).unwrap();
        // [N, T, K] as well, and in single precision.
        let found = calibrated(&logits.view((5, 6, 3)), &map).unwrap();
        assert_eq!((found.size(), found.kind()), (vec![5, 6, 3], Kind::Double));
        assert_eq!(Vec::<f64>::try_from(found.flatten(0, -1)).unwrap(), expected.as_slice());
        let single =
            calibrated(&logits.to_kind(Kind::Float).set_requires_grad(true), &map).unwrap();
        assert!(single.kind() == Kind::Float && !single.requires_grad());
        let error = calibrated(&wave(&[2, 4], 0.0), &map).unwrap_err();
        assert!(error.to_string().contains('4') && error.to_string().contains('3'), "{error}");
        // It teaches like any other teacher.
        let loss = forward(&soft(Divergence::Reverse, 2.0), &logits, &found.view((30, 3)));
        assert!(!number(&loss).is_nan());
    }
    let bad = Tensor::full([1, 3], f64::NAN, (Kind::Double, Device::Cpu));
    let map = PlattScaling::fit(&fitted_on, &truth).unwrap();
    assert!(calibrated(&bad, &map).is_err());
}

#[test]
fn students_that_teach_each_other() {
    let students = three();
    let refs: Vec<&Tensor> = students.iter().collect();
    let labels = labels(4, 5);
    let distillation =
        Distillation::new(temperature(2.0), 0.5, 1.0).unwrap().with_scale(SoftScale::One);
    let mutual = MutualLearning::new(distillation);
    let target = Target::Hard(&labels);
    let losses = mutual.losses(&refs, &CrossEntropy::new(), target).unwrap();
    let rows = three().map(|student| table(&(student / 2.0)));
    let raw = three().map(|student| table(&student));
    for (m, loss) in losses.iter().enumerate() {
        let truth: f64 = (0..4)
            .map(|n| {
                let of = |l: usize| reference::softmax(&rows[l][n]);
                let others: f64 =
                    (0..3).filter(|&l| l != m).map(|l| reference::divergence(&of(l), &of(m))).sum();
                reference::cross_entropy(&raw[m][n], (n * 3 + 1) % 5) + 0.5 * others / 2.0
            })
            .sum();
        assert!((number(loss) - truth / 4.0).abs() < 1e-13, "{m}");
    }
    // Each loss moves its own student alone.
    let leaves = three().map(|student| student.set_requires_grad(true));
    let refs: Vec<&Tensor> = leaves.iter().collect();
    let losses = mutual.losses(&refs, &CrossEntropy::new(), target).unwrap();
    losses[1].backward();
    assert_eq!(leaves.each_ref().map(|leaf| leaf.grad().defined()), [false, true, false]);
    let error = mutual.losses(&refs[..1], &CrossEntropy::new(), target).unwrap_err();
    assert_eq!(error.to_string(), "students that teach each other: expected at least 2, found 1");
}
