//! What the loss can be asked for: options, statistics, the gradient in place, second derivatives.

use softlabel_losses::{ClassAxis, CrossEntropy, LinearCrossEntropy, Reduction, Target};
use softlabel_targets::Smoothing;
use tch::{Device, Kind, Tensor};

use crate::support::{WAYS, Way, backward, cycling, largest_difference, rows_of, wave};

fn number(tensor: &Tensor) -> f64 {
    f64::try_from(tensor).unwrap()
}

#[test]
fn options_are_their_formula() {
    let logits = wave(&[19, 7], Kind::Double, 0.3);
    let labels = cycling(&[19], 7);
    let (scale, cap, zeta) = (0.7, 2.5, 0.01);
    let formula = |x: &Tensor| {
        let z = (x * (scale / cap)).tanh() * cap;
        let lse = z.logsumexp(-1, false);
        let plain = z.cross_entropy_loss(&labels, None::<Tensor>, tch::Reduction::Mean, -100, 0.1);
        plain + lse.square().mean(Kind::Double) * zeta
    };
    let (expected, truth) = backward(&logits, formula);
    for way in WAYS {
        let loss = way
            .of(CrossEntropy::new())
            .with_smoothing(Smoothing::mixture(0.1).unwrap())
            .with_logit_scale(scale)
            .and_then(|loss| loss.with_softcap(cap))
            .and_then(|loss| loss.with_z_loss(zeta))
            .unwrap();
        let (found, gradient) =
            backward(&logits, |at| loss.forward(at, Target::Hard(&labels)).unwrap());
        assert!((found - expected).abs() < 1e-14, "{way:?}: {found} {expected}");
        assert!(largest_difference(&gradient, &truth) < 1e-15, "{way:?}");
    }
}

#[test]
fn options_out_of_range_are_named() {
    let message = |loss: softlabel_losses::Result<CrossEntropy>| loss.unwrap_err().to_string();
    let new = CrossEntropy::new;
    assert_eq!(
        message(new().with_logit_scale(0.0)),
        "the scale of the logits must be in [1e-30, 1e30], found 0"
    );
    assert_eq!(
        message(new().with_softcap(-1.0)),
        "the cap of the logits must be in [1e-30, 1e30], found -1"
    );
    assert_eq!(
        message(new().with_z_loss(f64::NAN)),
        "the coefficient of the z-loss must be finite and not negative, found NaN"
    );
}

#[test]
fn statistics_are_lse_and_correctness() {
    let logits = wave(&[4, 3, 50], Kind::Float, 0.9);
    let labels = logits.argmax(-1, false);
    // The first row is wrong, the last does not count.
    let _ = labels.get(0).get(0).fill_((labels.int64_value(&[0, 0]) + 1) % 50);
    let _ = labels.get(3).get(2).fill_(-1);
    let lse = logits.logsumexp(-1, false);
    for way in WAYS {
        let loss = way.of(CrossEntropy::new()).with_ignore_index(-1);
        let output = loss.forward_with_statistics(&logits, Target::Hard(&labels)).unwrap();
        let alone = loss.forward(&logits, Target::Hard(&labels)).unwrap();
        assert_eq!(number(&output.loss), number(&alone));
        let correct = output.correct.unwrap();
        assert_eq!((correct.kind(), correct.size()), (Kind::Bool, vec![4, 3]));
        let mut expected = vec![1.0; 12];
        (expected[0], expected[11]) = (0.0, 0.0);
        assert_eq!(rows_of(&correct), expected, "{way:?}");
        let found = output.log_sum_exp.unwrap();
        assert_eq!(found.double_value(&[3, 2]), 0.0);
        let off = (&found - &lse).abs() * labels.ge(0).to_kind(Kind::Float);
        assert!(number(&off.max()) < 1e-6, "{way:?}");
        // Soft rows have no label.
        let soft = logits.softmax(-1, Kind::Float);
        let output = loss.forward_with_statistics(&logits, Target::Soft(&soft)).unwrap();
        assert!(output.correct.is_none() && output.log_sum_exp.is_some());
    }
}

/// The root of a loss of 0 has an infinite slope.
#[test]
fn ignored_samples_have_no_gradient_whatever_arrives() {
    let labels = cycling(&[12], 5);
    let _ = labels.narrow(0, 3, 4).fill_(-1);
    let counted = labels.ge(0);
    let soft = wave(&[12, 5], Kind::Double, 0.1).softmax(-1, Kind::Double);
    let masked = Target::Masked { rows: &soft, counted: &counted };
    let weight = wave(&[5, 5], Kind::Double, 0.2);
    for way in WAYS {
        for kind in [Kind::Double, Kind::Float, Kind::BFloat16] {
            for target in [Target::Hard(&labels), masked] {
                let loss = way.of(CrossEntropy::new()).with_reduction(Reduction::None);
                let loss = loss.with_ignore_index(-1);
                let x = wave(&[12, 5], kind, 0.3);
                let of = |forward: &dyn Fn(&Tensor) -> Tensor| {
                    let x = x.copy().set_requires_grad(true);
                    let root = forward(&x).sqrt();
                    root.sum(Kind::Double).backward();
                    rows_of(&x.grad())
                };
                let mut gradients = vec![of(&|x| loss.forward(x, target).unwrap())];
                if way == Way::Fused {
                    gradients.push(of(&|x| loss.forward_in_place(x * 1.0, target).unwrap()));
                    let weight = weight.to_kind(kind);
                    let linear = LinearCrossEntropy::new(loss.clone());
                    gradients.push(of(&|x| linear.forward(x, &weight, None, target).unwrap()));
                }
                for gradient in gradients {
                    assert_eq!(gradient[15..35], [0.0; 20], "{way:?} {kind:?}");
                    assert!(gradient.iter().all(|g| g.is_finite()) && gradient[0] != 0.0);
                }
            }
        }
    }
}

#[test]
fn ignored_samples_have_no_gradient_in_any_layout() {
    for (shape, axis) in [
        (&[6i64, 5][..], ClassAxis::Last),
        (&[2, 3, 5], ClassAxis::Last),
        (&[2, 5, 3], ClassAxis::Second),
        (&[2, 5, 3, 4], ClassAxis::Second),
        (&[2, 5], ClassAxis::Second),
    ] {
        let class_axis = if axis == ClassAxis::Second { 1 } else { shape.len() - 1 };
        let mut leading = shape.to_vec();
        leading.remove(class_axis);
        let first = cycling(&leading, 5);
        let second = cycling(&leading, 5).flip([0]);
        let ignored = cycling(&leading, 3).eq(1);
        let first = first.masked_fill(&ignored, -1);
        let samples = usize::try_from(leading.iter().product::<i64>()).unwrap();
        let shares = vec![0.25; samples];
        let allowed = Tensor::ones(shape, (Kind::Bool, Device::Cpu));
        let targets = [
            Target::Hard(&first),
            Target::Mixed { first: &first, second: &second, share_of_second: &shares },
            Target::Allowed { labels: &first, allowed: &allowed },
            Target::Smoothed { labels: &first, epsilons: &shares },
        ];
        let loss = CrossEntropy::new()
            .with_class_axis(axis)
            .with_ignore_index(-1)
            .with_reduction(Reduction::None)
            .with_smoothing(Smoothing::mixture(0.1).unwrap());
        for way in WAYS {
            for target in targets {
                // Channels last, too, whose classes are moved.
                for moved in [false, true] {
                    let x = wave(shape, Kind::Double, 0.3);
                    let x = if moved {
                        x.movedim_int(1, -1).contiguous().movedim_int(-1, 1)
                    } else {
                        x
                    };
                    let x = x.set_requires_grad(true);
                    let root = way.of(loss.clone()).forward(&x, target).unwrap().sqrt();
                    let sum = root.sum(Kind::Double);
                    let gradient = || Tensor::run_backward(&[&sum], &[&x], true, false).remove(0);
                    let (once, twice) = (gradient(), gradient());
                    assert_eq!(rows_of(&once), rows_of(&twice));
                    let zero = once.eq(0.0).all_dim(class_axis as i64, false);
                    assert!(zero.equal(&ignored), "{shape:?} {way:?} {target:?} {moved}");
                    assert!(once.isfinite().all().int64_value(&[]) == 1);
                }
            }
        }
    }
}

#[test]
fn a_cap_makes_a_number_of_a_mask() {
    let logits = Tensor::from_slice(&[1.0f64, 0.0, f64::NEG_INFINITY]).view((1, 3));
    let labels = Tensor::from_slice(&[0i64]);
    let capped = [2.0 * 0.5f64.tanh(), 0.0, -2.0];
    let lse = capped.iter().map(|z| z.exp()).sum::<f64>().ln();
    for way in WAYS {
        let loss = way.of(CrossEntropy::new()).with_softcap(2.0).unwrap();
        let (found, gradient) =
            backward(&logits, |at| loss.forward(at, Target::Hard(&labels)).unwrap());
        assert!((found - (lse - capped[0])).abs() < 1e-15, "{way:?}");
        assert_eq!(gradient.double_value(&[0, 2]), 0.0, "{way:?}");
    }
}

/// Every kind of target through the operators of another device.
#[test]
fn other_devices_agree() {
    if !tch::Cuda::is_available() {
        eprintln!("skipped: there is no CUDA device");
        return;
    }
    let device = Device::Cuda(0);
    let (logits, weight) = (wave(&[19, 7], Kind::Double, 0.3), wave(&[7, 7], Kind::Double, 0.2));
    let labels = cycling(&[19], 7);
    let second = labels.flip([0]);
    let soft = logits.flip([0]).softmax(-1, Kind::Double);
    let _ = labels.get(4).fill_(-1);
    let counted = labels.ge(0);
    let allowed = logits.le(3.5);
    let there = |tensor: &Tensor| tensor.to_device(device);
    let (far_labels, far_second, far_soft) = (there(&labels), there(&second), there(&soft));
    let (far_counted, far_allowed) = (there(&counted), there(&allowed));
    let shares = vec![0.25; 19];
    let targets = [
        (Target::Hard(&labels), Target::Hard(&far_labels)),
        (
            Target::Masked { rows: &soft, counted: &counted },
            Target::Masked { rows: &far_soft, counted: &far_counted },
        ),
        (
            Target::Mixed { first: &labels, second: &second, share_of_second: &shares },
            Target::Mixed { first: &far_labels, second: &far_second, share_of_second: &shares },
        ),
        (
            Target::Allowed { labels: &labels, allowed: &allowed },
            Target::Allowed { labels: &far_labels, allowed: &far_allowed },
        ),
        (
            Target::Smoothed { labels: &labels, epsilons: &shares },
            Target::Smoothed { labels: &far_labels, epsilons: &shares },
        ),
    ];
    for reduction in [Reduction::default(), Reduction::Sum, Reduction::None] {
        let loss = CrossEntropy::new()
            .with_reduction(reduction)
            .with_smoothing(Smoothing::mixture(0.1).unwrap())
            .with_ignore_index(-1)
            .with_z_loss(1e-2)
            .unwrap();
        let linear = LinearCrossEntropy::new(loss.clone());
        for (near, far) in targets {
            let sum = |losses: softlabel_losses::Result<Tensor>| losses.unwrap().sum(Kind::Double);
            let pairs = [
                (
                    backward(&logits, |x| sum(loss.forward(x, near))),
                    backward(&there(&logits), |x| sum(loss.forward(x, far))),
                ),
                (
                    backward(&logits, |x| sum(linear.forward(x, &weight, None, near))),
                    backward(&there(&logits), |x| {
                        sum(linear.forward(x, &there(&weight), None, far))
                    }),
                ),
            ];
            for ((expected, truth), (found, gradient)) in pairs {
                assert!((found - expected).abs() < 1e-12, "{near:?} {reduction:?}");
                assert_eq!(gradient.device(), device);
                let gradient = gradient.to_device(Device::Cpu);
                assert!(largest_difference(&gradient, &truth) < 1e-13, "{near:?} {reduction:?}");
            }
        }
    }
}

#[test]
fn in_place_is_the_same_to_the_bit() {
    for (shape, axis) in [
        (&[33i64, 10][..], ClassAxis::Last),
        (&[5, 2000], ClassAxis::Last),
        (&[2, 4, 9], ClassAxis::Second),
    ] {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half, Kind::Double] {
            let classes = if axis == ClassAxis::Second { shape[1] } else { shape[shape.len() - 1] };
            let mut leading = shape.to_vec();
            leading.remove(if axis == ClassAxis::Second { 1 } else { shape.len() - 1 });
            let labels = cycling(&leading, classes);
            let loss = CrossEntropy::new()
                .with_class_axis(axis)
                .with_smoothing(Smoothing::mixture(0.1).unwrap());
            let x = || wave(shape, kind, 0.5).set_requires_grad(true);
            let (a, b) = (x(), x());
            let plain = loss.forward(&(&a + 1.0), Target::Hard(&labels)).unwrap();
            let in_place = loss.forward_in_place(&b + 1.0, Target::Hard(&labels)).unwrap();
            assert_eq!(number(&plain), number(&in_place));
            plain.backward();
            in_place.backward();
            assert_eq!(rows_of(&a.grad()), rows_of(&b.grad()), "{shape:?} {kind:?}");
        }
    }
}

#[test]
fn logits_that_others_hold_are_not_written_over() {
    let x = wave(&[3, 4], Kind::Double, 0.5).set_requires_grad(true);
    let labels = cycling(&[3], 4);
    let logits = &x * 1.0;
    let before = rows_of(&logits);
    let error = CrossEntropy::new()
        .forward_in_place(logits.shallow_clone(), Target::Hard(&labels))
        .unwrap_err();
    assert!(error.to_string().starts_with("a slice needs the only handle"), "{error}");
    assert_eq!(rows_of(&logits), before);
    // The graph holds the result of exp for its own gradient.
    assert!(CrossEntropy::new().forward_in_place(x.exp(), Target::Hard(&labels)).is_err());
    // Nothing is asked for, nothing is written.
    let plain = wave(&[3, 4], Kind::Double, 0.5);
    let other = plain.shallow_clone();
    let loss = CrossEntropy::new().forward_in_place(plain, Target::Hard(&labels)).unwrap();
    assert!(!loss.requires_grad());
    assert_eq!(rows_of(&other), rows_of(&x));
}

/// Many samples are looked at by several threads; the first that is wrong is named, on every way and in every layout.
#[test]
fn a_late_bad_label_is_named() {
    let name = |shape: &[i64], axis, loss: CrossEntropy| {
        let classes = if axis == ClassAxis::Second { shape[1] } else { shape[shape.len() - 1] };
        let samples = shape.iter().product::<i64>() / classes;
        let labels = cycling(&[samples], classes);
        let _ = labels.get(samples - 1).fill_(-3);
        let _ = labels.get(samples - 2).fill_(classes);
        let leading: Vec<i64> = match axis {
            ClassAxis::Second => [&shape[..1], &shape[2..]].concat(),
            ClassAxis::Last => shape[..shape.len() - 1].to_vec(),
        };
        let labels = labels.view(&leading[..]);
        let loss = loss.with_class_axis(axis);
        let x = wave(shape, Kind::Float, 0.5).set_requires_grad(true);
        let plain = loss.forward(&x, Target::Hard(&labels)).unwrap_err().to_string();
        let in_place = loss.forward_in_place(&x + 1.0, Target::Hard(&labels)).unwrap_err();
        assert_eq!(plain, in_place.to_string());
        let no_gradient = loss.forward(&x.detach(), Target::Hard(&labels)).unwrap_err();
        assert_eq!(plain, no_gradient.to_string());
        let first = samples - 2;
        assert_eq!(plain, format!("label {classes} at position {first} is not in 0..{classes}"));
        plain
    };
    for (shape, axis) in [
        (&[40_000i64, 3][..], ClassAxis::Last),
        (&[300, 1000], ClassAxis::Last),
        (&[20, 3, 500], ClassAxis::Second),
        (&[4, 80, 16, 16], ClassAxis::Second),
    ] {
        let [fused, operators] = WAYS.map(|way| name(shape, axis, way.of(CrossEntropy::new())));
        assert_eq!(fused, operators);
    }
}

#[test]
fn the_gradient_is_multiplied_by_what_arrives() {
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16, Kind::Half] {
        let x = wave(&[6, 5], kind, 0.2).set_requires_grad(true);
        let labels = cycling(&[6], 5);
        let loss = CrossEntropy::new().with_reduction(Reduction::None);
        let losses = loss.forward(&x, Target::Hard(&labels)).unwrap();
        // Not the same for any two samples.
        let weights = Tensor::arange(6, (losses.kind(), tch::Device::Cpu)) + 0.5;
        (&losses * &weights).sum(losses.kind()).backward();
        let z = x.detach().to_kind(Kind::Double);
        let truth = z.softmax(-1, Kind::Double) - labels.one_hot(5).to_kind(Kind::Double);
        let truth = truth * weights.to_kind(Kind::Double).unsqueeze(-1);
        let tolerance = match kind {
            Kind::Double => 1e-15,
            Kind::Float => 1e-6,
            Kind::Half => 5e-3,
            _ => 4e-2,
        };
        assert!(largest_difference(&x.grad(), &truth) < tolerance, "{kind:?}");
    }
}

#[test]
fn backward_twice_over_a_kept_graph_gives_the_same() {
    let x = wave(&[6, 5], Kind::Double, 0.2).set_requires_grad(true);
    let labels = cycling(&[6], 5);
    for reduction in [Reduction::default(), Reduction::Sum] {
        let loss = CrossEntropy::new().with_reduction(reduction);
        let value = loss.forward(&x, Target::Hard(&labels)).unwrap() * 3.0;
        let first = Tensor::run_backward(&[&value], &[&x], true, false).remove(0);
        let second = Tensor::run_backward(&[&value], &[&x], false, false).remove(0);
        assert_eq!(rows_of(&first), rows_of(&second));
        assert!(Tensor::f_run_backward(&[&value], &[&x], false, false).is_err());
    }
}

#[test]
fn second_derivatives_come_through_operators_and_are_refused_otherwise() {
    let x = wave(&[3, 4], Kind::Double, 0.2).set_requires_grad(true);
    let labels = cycling(&[3], 4);
    let squared = |loss: &CrossEntropy, at: &Tensor| {
        let value = loss.forward(at, Target::Hard(&labels)).unwrap();
        let gradient = Tensor::f_run_backward(&[&value], &[at], true, true)?.remove(0);
        Ok::<_, tch::TchError>(gradient.square().sum(Kind::Double))
    };
    assert!(squared(&CrossEntropy::new(), &x).is_err());
    let loss = CrossEntropy::new().with_second_derivatives();
    let penalty = squared(&loss, &x).unwrap();
    let found = Tensor::run_backward(&[&penalty], &[&x], false, false).remove(0);
    for index in 0..12i64 {
        let step = 1e-6;
        let at = |sign: f64| {
            let moved = x.detach().copy();
            let flat = moved.view(-1);
            let _ = flat.get(index).fill_(flat.double_value(&[index]) + sign * step);
            number(&squared(&loss, &moved.set_requires_grad(true)).unwrap().detach())
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
        assert!((slope - found.view(-1).double_value(&[index])).abs() < 1e-9);
    }
}

/// A soft row that is no distribution is named before anything is made of it, with class weights and without,
/// whichever way the loss is computed.
#[test]
fn bad_soft_rows_are_named_on_every_way() {
    let logits = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu));
    for (rows, expected) in [
        ([0.5f32, 0.5, f32::NAN, 1.0], "class 0"),
        ([0.5, 0.5, 2.0, -1.0], "class 1"),
        ([0.5, 0.5, 0.5, 0.75], "sums to 1.25"),
    ] {
        let rows = Tensor::from_slice(&rows).view((2, 2));
        for weights in [None, Some([1.0f32, 1.0]), Some([0.0, 1.0])] {
            for second in [false, true] {
                let mut loss = CrossEntropy::new();
                if let Some(weights) = weights {
                    loss = loss.with_class_weights(Tensor::from_slice(&weights));
                }
                if second {
                    loss = loss.with_second_derivatives();
                }
                let error = loss.forward(&logits, Target::Soft(&rows)).unwrap_err().to_string();
                assert!(
                    error.contains(expected) && error.contains("row 1"),
                    "{weights:?}: {error}"
                );
            }
        }
    }
}
