//! Bad inputs and parameters are named.

use softlabel_losses::{
    Acls, BackwardCorrection, Batch, BinaryCrossEntropy, Bootstrap, BootstrapMode, ClassAxis,
    ConfidencePenalty, CorrectnessHistory, CorrectnessRanking, Direction, DualFocal, Error, Focal,
    ForwardCorrection, GeneralizedCrossEntropy, KlDivergence, LabelRelaxation, LogitNorm,
    LossOptions, LossTerm, MarginSmoothing, Mmce, Poly, Reduction, Reference,
    SymmetricCrossEntropy, Target, ZipfDivergence,
};
use softlabel_tensor::Error as TensorError;
use tch::{Device, Kind, Tensor};

use crate::cases::all;
use crate::support::{CLASSES, correctness, cycling, number, numbers, soft_rows, wave};

#[test]
fn parameters_out_of_range_are_named() {
    let check = |found: Option<Error>, name: &str| {
        let error = found.unwrap().to_string();
        assert!(error.starts_with(&format!("{name} must be ")), "{error}");
    };
    check(MarginSmoothing::new(-1.0).err(), "the margin of margin smoothing");
    check(Acls::new(f64::NAN, 1.0, 1.0).err(), "the margin of ACLS");
    check(Acls::new(1.0, -1.0, 1.0).err(), "the weight of the largest logit in ACLS");
    check(Acls::new(1.0, 1.0, -1.0).err(), "the weight of the other logits in ACLS");
    check(LogitNorm::new(0.0).err(), "the temperature of logit normalization");
    check(ZipfDivergence::new(-1.0).err(), "the exponent of the Zipf divergence");
    check(Mmce::new(0.0).err(), "the kernel width of MMCE");
    let threshold = "the entropy threshold of a confidence penalty";
    check(ConfidencePenalty::with_threshold(0.0).err(), threshold);
    check(Focal::new(-0.1).err(), "the gamma of a focal loss");
    check(DualFocal::new(f64::INFINITY).err(), "the gamma of a dual focal loss");
    check(Poly::new(f64::NAN).err(), "the epsilon of a poly loss");
    check(LabelRelaxation::new(1.0).err(), "the alpha of label relaxation");
    check(LabelRelaxation::new(0.0).err(), "the alpha of label relaxation");
    check(Bootstrap::new(BootstrapMode::Soft, 1.1).err(), "the beta of bootstrapping");
    check(GeneralizedCrossEntropy::new(0.0).err(), "the q of generalized cross-entropy");
    let symmetric = |a, b, zero| SymmetricCrossEntropy::new(a, b, zero).err();
    check(symmetric(-1.0, 1.0, -4.0), "the alpha of symmetric cross-entropy");
    check(symmetric(1.0, -1.0, -4.0), "the beta of symmetric cross-entropy");
    check(symmetric(1.0, 1.0, 0.0), "the log_zero of symmetric cross-entropy");
    let weights = BinaryCrossEntropy::new().with_pos_weight(vec![1.0, -2.0]).err();
    check(weights, "a weight of binary cross-entropy");
}

#[test]
fn distributions_and_matrices_are_checked() {
    let prior = |values: &[f64]| {
        let reference = Reference::Prior(values.to_vec());
        KlDivergence::new(Direction::Forward, reference).unwrap_err().to_string()
    };
    let sum = "the prior of a divergence: row 0 sums to 0.75, expected 1 ± 0.000001";
    assert_eq!(prior(&[0.5, 0.125, 0.125]), sum);
    let value = "the prior of a divergence: expected a probability, found -0.5 in row 0, class 1";
    assert_eq!(prior(&[1.5 - 0.5, -0.5, 0.5]), value);
    assert_eq!(prior(&[]), "the prior of a divergence is empty: expected at least one");

    let forward = |rows| ForwardCorrection::new(rows).unwrap_err().to_string();
    let columns = "columns of a transition matrix: expected 2, found 1";
    assert_eq!(forward(vec![vec![0.5, 0.5], vec![1.0]]), columns);
    assert!(forward(vec![vec![0.5, 0.5], vec![0.5, 0.6]]).contains("row 1 sums to 1.1"));
    assert!(forward(vec![]).contains("is empty"));

    // Symmetric noise among two classes: the inverse multiplies by 1/(1 − 2r).
    let noise = |r: f64| BackwardCorrection::new(vec![vec![1.0 - r, r], vec![r, 1.0 - r]]);
    assert!(noise(0.49).is_ok());
    let Err(Error::IllConditioned { found, limit, .. }) = noise(0.499_99) else { panic!() };
    assert!((found / 5e4 - 1.0).abs() < 1e-6 && limit == BackwardCorrection::LIMIT);
    assert!(matches!(noise(0.5), Err(Error::IllConditioned { found: f64::INFINITY, .. })));
    // A matrix without a pivot in its first place has an inverse all the same.
    assert!(BackwardCorrection::new(vec![vec![0.0, 1.0], vec![1.0, 0.0]]).is_ok());
}

#[test]
fn another_number_of_classes_is_named() {
    let logits = wave(&[2, 3], 0.1);
    let labels = Tensor::from_slice(&[0i64, 1]);
    let fail = |loss: &dyn LossTerm| {
        let result = loss.forward(&logits, Target::Hard(&labels), &LossOptions::default());
        result.unwrap_err().to_string()
    };
    let prior = Reference::Prior(vec![0.5, 0.5]);
    let kl = KlDivergence::new(Direction::Reverse, prior).unwrap();
    assert_eq!(fail(&kl), "classes of a prior: expected 3, found 2");
    let identity = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
    let expected = "classes of a transition matrix: expected 3, found 2";
    assert_eq!(fail(&ForwardCorrection::new(identity.clone()).unwrap()), expected);
    assert_eq!(fail(&BackwardCorrection::new(identity).unwrap()), expected);
    let binary = BinaryCrossEntropy::new().with_pos_weight(vec![1.0]).unwrap();
    let expected = "weights of binary cross-entropy, one a label: expected 3, found 1";
    assert_eq!(fail(&binary), expected);
}

#[test]
fn losses_that_need_labels_say_so() {
    let (logits, soft) = (wave(&[4, CLASSES], 0.2), soft_rows(4));
    let batch = Batch::new(&logits, Target::Soft(&soft), ClassAxis::Last, None).unwrap();
    let batch = batch.with_correctness(&correctness(4)).unwrap();
    for case in all() {
        let found = case.loss.term(&batch);
        if case.takes_soft() {
            assert!(found.is_ok(), "{:?}", case.loss);
        } else {
            let error = found.unwrap_err();
            assert!(matches!(error, Error::NeedsLabels { loss } if loss == case.loss.name()));
            let expected = format!("{} needs hard labels, found soft targets", case.loss.name());
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn bad_batches_are_named() {
    let logits = wave(&[2, 3], 0.1);
    let fail = |target: Target<'_>| {
        Focal::new(2.0).unwrap().forward(&logits, target, &LossOptions::default()).unwrap_err()
    };
    let labels = Tensor::from_slice(&[0i64, 3]);
    assert_eq!(fail(Target::Hard(&labels)).to_string(), "label 3 at position 1 is not in 0..3");
    let labels = Tensor::from_slice(&[0i64]);
    let error = fail(Target::Hard(&labels));
    assert!(matches!(error, Error::Tensor(TensorError::Shape { .. })), "{error}");
    let soft = Tensor::ones([2, 3], (Kind::Double, Device::Cpu));
    let error = fail(Target::Soft(&soft));
    assert_eq!(error.to_string(), "soft targets: row 0 sums to 3, expected 1 ± 0.001");

    let labels = Tensor::from_slice(&[0i64, 1]);
    let batch = || Batch::new(&logits, Target::Hard(&labels), ClassAxis::Last, None).unwrap();
    let error = CorrectnessRanking::new().term(&batch()).unwrap_err();
    assert!(matches!(error, Error::NeedsCorrectness { loss: "correctness_ranking" }));
    let error = batch().with_correctness(&[0.5]).unwrap_err().to_string();
    assert_eq!(error, "past correctness of the samples: expected 2, found 1");
    let error = batch().with_correctness(&[0.5, 1.5]).unwrap_err().to_string();
    assert_eq!(error, "past correctness must be in [0, 1], found 1.5");
    let error = Mmce::new(0.4).unwrap().row_losses(&batch()).unwrap_err();
    assert!(matches!(error, Error::BatchTerm { loss: "mmce" }));
    let none = LossOptions { reduction: Reduction::None, ..LossOptions::default() };
    let error = Mmce::new(0.4).unwrap().forward(&logits, Target::Hard(&labels), &none);
    assert!(matches!(error.unwrap_err(), Error::BatchTerm { loss: "mmce" }));
}

#[test]
fn histories_count_and_merge() {
    let (mut first, mut second) = (CorrectnessHistory::new(), CorrectnessHistory::new());
    assert!(first.is_empty());
    first.record(&[1, 2, 1], &[true, false, true]).unwrap();
    second.record(&[2, 3], &[true, true]).unwrap();
    let mut merged = first.clone();
    merged.merge(&second);
    second.merge(&first);
    assert_eq!(merged, second);
    assert_eq!((merged.len(), merged.correctness(&[1, 2, 3, 4])), (3, vec![1.0, 0.5, 1.0, 0.0]));
    let error = merged.record(&[1], &[]).unwrap_err().to_string();
    assert_eq!(error, "answers to sample ids: expected 1, found 0");

    let json = serde_json::to_string(&merged).unwrap();
    assert_eq!(serde_json::from_str::<CorrectnessHistory>(&json).unwrap(), merged);
    for bad in [r#"{"samples":{"1":[2,1]}}"#, r#"{"samples":{"1":[0,0]}}"#] {
        assert!(serde_json::from_str::<CorrectnessHistory>(bad).is_err(), "{bad}");
    }
}

#[test]
fn several_labels_a_sample_agree_with_libtorch() {
    let logits = wave(&[6, CLASSES], 0.7);
    let targets = (cycling(&[6, CLASSES], 3) - 1).abs();
    let weights = vec![1.0, 2.0, 0.5, 0.3, 3.0];
    let floats = targets.to_kind(Kind::Double);
    let theirs = logits.binary_cross_entropy_with_logits(
        &floats,
        None::<Tensor>,
        Some(Tensor::from_slice(&weights)),
        tch::Reduction::Mean,
    );
    let ours = BinaryCrossEntropy::new().with_pos_weight(weights).unwrap();
    let options = LossOptions::default();
    for targets in [&targets, &floats, &targets.to_kind(Kind::Bool)] {
        let found = ours.forward_binary(&logits, targets, None, &options).unwrap();
        assert!((number(&found) - number(&theirs)).abs() < 1e-14);
    }
    let dense = LossOptions { class_axis: ClassAxis::Second, ..options };
    let image = |t: &Tensor| t.view((2, 3, CLASSES)).movedim_int(-1, 1);
    let found = ours.forward_binary(&image(&logits), &image(&targets), None, &dense).unwrap();
    assert!((number(&found) - number(&theirs)).abs() < 1e-14);
}

#[test]
fn labels_that_are_not_known_cost_nothing() {
    let logits = wave(&[3, CLASSES], 0.7);
    let targets = (cycling(&[3, CLASSES], 3) - 1).abs().to_kind(Kind::Double);
    let ignored = Tensor::zeros([3, CLASSES], (Kind::Bool, Device::Cpu));
    let _ = ignored.get(0).narrow(0, 1, 2).fill_(1.0);
    let _ = ignored.get(2).fill_(1.0);
    let expected = {
        let rows = BinaryCrossEntropy::new();
        let pick = Tensor::from_slice(&[0i64, 3, 4]);
        let options = LossOptions::default();
        let first = |t: &Tensor| t.narrow(0, 0, 1).index_select(1, &pick);
        let second = |t: &Tensor| t.narrow(0, 1, 1);
        let a = rows.forward_binary(&first(&logits), &first(&targets), None, &options).unwrap();
        let b = rows.forward_binary(&second(&logits), &second(&targets), None, &options).unwrap();
        f64::midpoint(number(&a), number(&b))
    };
    let bad_logits = logits.masked_fill(&ignored, f64::NAN);
    let bad_targets = targets.masked_fill(&ignored, f64::NAN);
    let (loss, gradient) = crate::support::backward(&bad_logits, |at| {
        let options = LossOptions::default();
        BinaryCrossEntropy::new()
            .forward_binary(at, &bad_targets, Some(&ignored), &options)
            .unwrap()
    });
    assert!((number(&loss) - expected).abs() < 1e-14);
    for (g, ignored) in numbers(&gradient).into_iter().zip(numbers(&ignored)) {
        assert_eq!(g == 0.0, ignored == 1.0);
    }
    let all = ignored.ones_like();
    let none = BinaryCrossEntropy::new().forward_binary(
        &logits,
        &targets,
        Some(&all),
        &LossOptions::default(),
    );
    assert!(none.unwrap_err().to_string().contains("is empty"));
}

#[test]
fn bad_binary_inputs_are_named() {
    let logits = wave(&[2, 3], 0.7);
    let fail = |targets: &Tensor, ignored: Option<&Tensor>| {
        let options = LossOptions::default();
        let loss = BinaryCrossEntropy::new();
        loss.forward_binary(&logits, targets, ignored, &options).unwrap_err().to_string()
    };
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Int64, Device::Cpu));
    let shape = "binary targets: expected shape [2, 3] as the logits, class-last, found [3, 2]";
    assert_eq!(fail(&zeros(&[3, 2]), None), shape);
    let range = "a binary target must be in [0, 1], found 2";
    assert_eq!(fail(&(zeros(&[2, 3]) + 2), None), range);
    let kind = "the mask of ignored labels: expected a boolean dtype, found Int64";
    assert_eq!(fail(&zeros(&[2, 3]), Some(&zeros(&[2, 3]))), kind);
}
