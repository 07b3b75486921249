//! From hidden states: against the same loss on logits that are there.

use softlabel_core::Epsilon;
use softlabel_losses::{
    ClassAxis, CrossEntropy, LinearCrossEntropy, Normalizer, Reduction, Target,
};
use softlabel_targets::{Convention, Ordinal, OrdinalDistance, Smoothing};
use tch::{Kind, Tensor};

use crate::support::{cycling, largest_difference, rows_of, wave};

struct Layer {
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
}

impl Layer {
    fn new(kind: Kind) -> Self {
        let leaf = |shape: &[i64], phase| wave(shape, kind, phase).set_requires_grad(true);
        Self { hidden: leaf(&[3, 7, 6], 0.2), weight: leaf(&[11, 6], 1.0), bias: leaf(&[11], 2.0) }
    }

    fn inputs(&self) -> [&Tensor; 3] {
        [&self.hidden, &self.weight, &self.bias]
    }

    fn logits(&self) -> Tensor {
        self.hidden.matmul(&self.weight.tr()) + &self.bias
    }
}

fn losses() -> Vec<CrossEntropy> {
    let smoothed = || {
        CrossEntropy::new().with_smoothing(Smoothing::off_target(0.2).unwrap()).with_ignore_index(4)
    };
    let weights = wave(&[11], Kind::Double, 0.1).abs();
    let epsilons = (0..11).map(|class| Epsilon::new(f64::from(class) / 10.0).unwrap());
    let by_class = Smoothing::towards(epsilons.collect::<Vec<_>>(), Convention::Mixture);
    let ordinal = Ordinal::new(OrdinalDistance::Absolute, 0.5).unwrap();
    let by_matrix = Smoothing::towards(Epsilon::new(0.3).unwrap(), ordinal);
    vec![
        smoothed().with_smoothing(by_class),
        smoothed().with_smoothing(by_matrix).with_class_weights(weights.copy()),
        smoothed(),
        smoothed().with_reduction(Reduction::Sum).with_class_weights(weights),
        smoothed().with_reduction(Reduction::Mean(Normalizer::Items(100.0))),
        smoothed()
            .with_softcap(3.0)
            .unwrap()
            .with_z_loss(0.1)
            .unwrap()
            .with_logit_scale(0.5)
            .unwrap(),
        smoothed().with_reduction(Reduction::None),
    ]
}

#[test]
fn loss_and_gradients_are_those_of_the_logits() {
    let layer = Layer::new(Kind::Double);
    let labels = cycling(&[3, 7], 11);
    let second = (&labels + 3).remainder(11);
    let shares: Vec<f64> = (0..21).map(|n| f64::from(n) / 20.0).collect();
    let soft = wave(&[3, 7, 11], Kind::Double, 0.7).softmax(-1, Kind::Double);
    let counted = labels.ne(2);
    let allowed = soft.gt(0.05);
    let targets = [
        Target::Hard(&labels),
        Target::Soft(&soft),
        Target::Masked { rows: &soft, counted: &counted },
        Target::Mixed { first: &labels, second: &second, share_of_second: &shares },
        Target::Smoothed { labels: &labels, epsilons: &shares },
        Target::Allowed { labels: &labels, allowed: &allowed },
    ];
    let factors = wave(&[3, 7], Kind::Double, 0.4);
    for rows in [1, 4, 21, 1000] {
        for target in targets {
            for loss in losses() {
                let weigh = |value: Tensor| {
                    let value = if value.dim() == 0 { value } else { value * &factors };
                    value.sum(Kind::Double) * 2.0
                };
                let Ok(expected) = loss.forward(&layer.logits(), target) else {
                    // Priors of their own do not go with classes that are allowed.
                    assert!(matches!(target, Target::Allowed { .. }));
                    continue;
                };
                let truth = Tensor::run_backward(
                    &[weigh(expected.shallow_clone())],
                    &layer.inputs(),
                    false,
                    false,
                );
                let linear = LinearCrossEntropy::new(loss).with_rows_at_a_time(rows);
                let [hidden, weight, bias] = layer.inputs();
                let found = linear.forward(hidden, weight, Some(bias), target).unwrap();
                assert_eq!(found.size(), expected.size());
                let off = largest_difference(&found, &expected);
                let size = f64::try_from(expected.abs().max()).unwrap();
                assert!(
                    off < 1e-14 * size.max(1.0),
                    "{rows} {target:?} {:?}: {off}",
                    linear.loss()
                );
                let value = weigh(found);
                for keep in [true, false] {
                    let gradients = Tensor::run_backward(&[&value], &layer.inputs(), keep, false);
                    for (found, truth) in gradients.iter().zip(&truth) {
                        assert_eq!(found.size(), truth.size());
                        assert!(largest_difference(found, truth) < 1e-12, "{rows} {target:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn only_what_is_needed_gets_a_gradient() {
    let layer = Layer::new(Kind::Double);
    let labels = cycling(&[3, 7], 11);
    let linear = LinearCrossEntropy::new(CrossEntropy::new());
    let hidden = layer.hidden.detach();
    let loss = linear.forward(&hidden, &layer.weight, None, Target::Hard(&labels)).unwrap();
    loss.backward();
    assert!(layer.weight.grad().defined() && !hidden.requires_grad());
    let frozen = layer.weight.detach();
    let loss = linear.forward(&hidden, &frozen, None, Target::Hard(&labels)).unwrap();
    assert!(!loss.requires_grad());
}

#[test]
fn statistics_are_those_of_the_logits() {
    let layer = Layer::new(Kind::Float);
    let labels = cycling(&[3, 7], 11);
    let linear = LinearCrossEntropy::new(CrossEntropy::new()).with_rows_at_a_time(4);
    let [hidden, weight, bias] = layer.inputs();
    let found =
        linear.forward_with_statistics(hidden, weight, Some(bias), Target::Hard(&labels)).unwrap();
    let expected = CrossEntropy::new()
        .forward_with_statistics(&layer.logits(), Target::Hard(&labels))
        .unwrap();
    let [a, b] = [&found, &expected].map(|output| output.log_sum_exp.as_ref().unwrap());
    assert!(largest_difference(a, b) < 1e-5);
    let [a, b] = [&found, &expected].map(|output| rows_of(output.correct.as_ref().unwrap()));
    assert_eq!(a, b);
}

#[test]
fn half_precision_adds_up_in_single() {
    for kind in [Kind::BFloat16, Kind::Half] {
        let layer = Layer::new(kind);
        let labels = cycling(&[3, 7], 11);
        let linear = LinearCrossEntropy::new(CrossEntropy::new()).with_rows_at_a_time(2);
        let [hidden, weight, bias] = layer.inputs();
        let loss = linear.forward(hidden, weight, Some(bias), Target::Hard(&labels)).unwrap();
        assert_eq!(loss.kind(), Kind::Float);
        loss.backward();
        let exact = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double).set_requires_grad(true);
        let truth = Layer { hidden: exact(hidden), weight: exact(weight), bias: exact(bias) };
        let expected = CrossEntropy::new().forward(&truth.logits(), Target::Hard(&labels)).unwrap();
        expected.backward();
        // Logits of size 10 are rounded to 3 or 4 digits.
        let (unit, scale) =
            if kind == Kind::Half { (2f64.powi(-11), 1.0) } else { (2f64.powi(-8), 1.0) };
        assert!(largest_difference(&loss, &expected) < 30.0 * unit * scale);
        for (found, truth) in layer.inputs().into_iter().zip(truth.inputs()) {
            assert_eq!(found.grad().kind(), kind);
            assert!(largest_difference(&found.grad(), &truth.grad()) < 30.0 * unit, "{kind:?}");
        }
    }
}

#[test]
fn nothing_to_do_is_no_error_but_a_mean_of_nothing_is() {
    let hidden = wave(&[0, 6], Kind::Float, 0.0);
    let weight = wave(&[11, 6], Kind::Float, 0.0).set_requires_grad(true);
    let labels = cycling(&[0], 11);
    let sum = CrossEntropy::new().with_reduction(Reduction::Sum);
    let loss = LinearCrossEntropy::new(sum)
        .forward(&hidden, &weight, None, Target::Hard(&labels))
        .unwrap();
    loss.backward();
    assert_eq!(f64::try_from(&loss).unwrap(), 0.0);
    assert_eq!(rows_of(&weight.grad()), [0.0; 66]);
    let mean = LinearCrossEntropy::new(CrossEntropy::new());
    let error = mean.forward(&hidden, &weight, None, Target::Hard(&labels)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the batch that a mean is taken over is empty: expected at least one"
    );
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let (hidden, weight) = (wave(&[4, 6], Kind::Float, 0.0), wave(&[11, 6], Kind::Float, 0.0));
    let labels = cycling(&[4], 11);
    let linear = LinearCrossEntropy::new(CrossEntropy::new());
    let fail = |hidden: &Tensor, weight: &Tensor, bias: Option<&Tensor>| {
        linear.forward(hidden, weight, bias, Target::Hard(&labels)).unwrap_err().to_string()
    };
    assert_eq!(
        fail(&hidden, &weight.tr(), None),
        "weight of the classifier: expected shape [K, 6] with K > 0, found [6, 11]"
    );
    assert_eq!(
        fail(&hidden, &weight.to_kind(Kind::Double), None),
        "weight of the classifier: expected the dtype of the hidden states, found Double"
    );
    assert_eq!(
        fail(&hidden, &weight, Some(&wave(&[6], Kind::Float, 0.0))),
        "bias of the classifier: expected shape [11], found [6]"
    );
    assert_eq!(
        fail(&hidden.get(0).view((1, 6)), &weight, None),
        "labels: expected shape [1] for logits [1, 11], found [4]"
    );
}

#[test]
fn f16_has_room_for_large_batches_and_weights() {
    // A mean over many rows whose gradients are all −½ before they are averaged.
    let rows = 1 << 17;
    let hidden = Tensor::ones([rows, 1], (Kind::Half, tch::Device::Cpu));
    let weight = Tensor::zeros([2, 1], (Kind::Half, tch::Device::Cpu)).set_requires_grad(true);
    let labels = Tensor::zeros([rows], (Kind::Int64, tch::Device::Cpu));
    let linear = LinearCrossEntropy::new(CrossEntropy::new());
    linear.forward(&hidden, &weight, None, Target::Hard(&labels)).unwrap().backward();
    assert_eq!(rows_of(&weight.grad()), [-0.5, 0.5]);

    // Class weights beyond what f16 holds, over a mean that divides by them.
    let x = Tensor::zeros([1, 3], (Kind::Half, tch::Device::Cpu)).set_requires_grad(true);
    let weights = Tensor::from_slice(&[2e5f64; 3]);
    let loss = CrossEntropy::new().with_class_weights(weights);
    loss.forward(&x, Target::Hard(&Tensor::from_slice(&[0i64]))).unwrap().backward();
    let found = rows_of(&x.grad());
    assert!(
        (found[0] + 2.0 / 3.0).abs() < 1e-3 && (found[1] - 1.0 / 3.0).abs() < 1e-3,
        "{found:?}"
    );
}

#[test]
fn what_an_ignored_row_holds_stays_there() {
    let hidden =
        Tensor::from_slice(&[1.0f64, 2.0, f64::NAN, 3.0]).view((2, 2)).set_requires_grad(true);
    let weight = wave(&[3, 2], Kind::Double, 0.3).set_requires_grad(true);
    let labels = Tensor::from_slice(&[1i64, -1]);
    for reduction in [Reduction::default(), Reduction::None] {
        let loss = CrossEntropy::new().with_ignore_index(-1).with_reduction(reduction);
        let value = LinearCrossEntropy::new(loss)
            .forward(&hidden, &weight, None, Target::Hard(&labels))
            .unwrap()
            .sum(Kind::Double);
        let gradients = Tensor::run_backward(&[&value], &[&hidden, &weight], false, false);
        assert!(rows_of(&gradients[1]).iter().all(|entry| entry.is_finite()));
        assert_eq!(rows_of(&gradients[0].get(1)), [0.0; 2]);
    }
}

#[test]
fn labels_that_change_before_backward_are_noticed() {
    let layer = Layer::new(Kind::Double);
    let labels = cycling(&[3, 7], 11);
    let loss = CrossEntropy::new().with_reduction(Reduction::None);
    let value = LinearCrossEntropy::new(loss)
        .forward(&layer.hidden, &layer.weight, None, Target::Hard(&labels))
        .unwrap();
    let _ = labels.shallow_clone().fill_(0);
    assert!(value.sum(Kind::Double).f_backward().is_err());
}

#[test]
fn classes_that_lie_second_are_refused() {
    let layer = Layer::new(Kind::Double);
    let loss = LinearCrossEntropy::new(CrossEntropy::new().with_class_axis(ClassAxis::Second));
    let labels = cycling(&[3, 7], 11);
    let [hidden, weight, bias] = layer.inputs();
    let error = loss.forward(hidden, weight, Some(bias), Target::Hard(&labels)).unwrap_err();
    let expected = "class axis before a linear layer: expected Last, found Second";
    assert_eq!(error.to_string(), expected);
}
