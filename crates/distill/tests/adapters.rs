//! Feature losses with variables of their own: against loops in f64, against finite differences in the student and in
//! every variable, and at their edges.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside `#[test]` functions.

use softlabel_distill::feature::{
    ContrastiveRepresentation, ContrastiveSettings, MaskedGeneration, ReviewFusion,
    VariationalInformation, hierarchical_context,
};
use softlabel_distill::{Error, Result};
use softlabel_tensor::{Error as TensorError, gradient_check};
use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};

fn wave(shape: &[i64], phase: f64) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.73 + phase;
    (steps.square().sin() * 1.5).view(shape)
}

fn value(loss: Result<Tensor>) -> f64 {
    f64::try_from(loss.unwrap()).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape(-1)).unwrap()
}

/// Every variable to values that are the same in each run, in f64.
fn settle(store: &mut VarStore) {
    store.double();
    let mut variables: Vec<_> = store.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    for (index, (name, mut variable)) in variables.into_iter().enumerate() {
        if variable.requires_grad() && !name.ends_with("scale") && !name.contains("norm") {
            let to = wave(&variable.size(), index as f64) * 0.4;
            tch::no_grad(|| variable.copy_(&to));
        }
    }
}

/// Backward against central differences, in the first elements of every trained variable.
fn check_variables(store: &VarStore, mut loss: impl FnMut() -> Tensor) {
    let variables: Vec<_> =
        store.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect();
    assert!(!variables.is_empty());
    let handles: Vec<&Tensor> = variables.iter().map(|(_, variable)| variable).collect();
    let gradients = Tensor::run_backward(&[&loss()], &handles, false, false);
    let mut largest = 0.0f64;
    for ((name, variable), gradient) in variables.iter().zip(&gradients) {
        for position in 0..variable.numel().min(4) {
            let mut element = tch::no_grad(|| variable.view(-1).get(position as i64));
            let mut at = |step: f64| {
                let _ = tch::no_grad(|| element.f_add_scalar_(step)).unwrap();
                let value = f64::try_from(tch::no_grad(&mut loss)).unwrap();
                let _ = tch::no_grad(|| element.f_sub_scalar_(step)).unwrap();
                value
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            let backward = gradient.view(-1).double_value(&[position as i64]);
            let error = (backward - difference).abs();
            assert!(
                error < 1e-6 * difference.abs().max(1.0),
                "{name}[{position}]: {backward} {difference}"
            );
            largest = largest.max(backward.abs());
        }
    }
    assert!(largest > 1e-3);
}

#[test]
fn variational_information_is_its_formula() {
    let mut store = VarStore::new(Device::Cpu);
    let loss = VariationalInformation::new(&store.root(), 3, 2, 5.0).unwrap();
    settle(&mut store);
    let (student, teacher) = (wave(&[2, 3, 2, 2], 0.1), wave(&[2, 2, 2, 2], 0.7));
    for variance in flat(&loss.variances().unwrap()) {
        assert!((variance - 5.0).abs() < 1e-6, "{variance}");
    }
    let mut scale = store.variables().remove("scale").unwrap();
    tch::no_grad(|| scale.copy_(&Tensor::from_slice(&[0.3, -1.2])));
    let variances = [0.3f64, -1.2].map(|p| p.exp().ln_1p() + 1e-5);
    let weights = ["first", "second", "third"]
        .map(|name| flat(&store.variables()[&format!("{name}.weight")]));
    let layer = |weights: &[f64], input: &[f64], relu: bool| -> Vec<f64> {
        weights
            .chunks_exact(input.len())
            .map(|row| row.iter().zip(input).map(|(w, x)| w * x).sum::<f64>())
            .map(|sum: f64| if relu { sum.max(0.0) } else { sum })
            .collect()
    };
    let mut truth = 0.0;
    for sample in 0..2 {
        for position in 0..4 {
            let at = |features: &Tensor, channel: i64| {
                features.double_value(&[sample, channel, position / 2, position % 2])
            };
            let input: Vec<f64> = (0..3).map(|channel| at(&student, channel)).collect();
            let hidden = layer(&weights[1], &layer(&weights[0], &input, true), true);
            for (channel, mean) in layer(&weights[2], &hidden, false).into_iter().enumerate() {
                let square = (at(&teacher, channel as i64) - mean).powi(2);
                truth += 0.5 * (square / variances[channel] + variances[channel].ln()) / 16.0;
            }
        }
    }
    assert!((value(loss.forward(&student, &teacher)) - truth).abs() < 1e-12);
    let student = student.set_requires_grad(true);
    let check = gradient_check(|x| loss.forward(&x[0], &teacher), &[&student], 1e-5);
    assert!(check.unwrap().is_within(1e-8, 1e-6));
    check_variables(&store, || loss.forward(&student, &teacher).unwrap());
}

#[test]
fn variances_are_trained_to_the_size_of_the_error() {
    let store = VarStore::new(Device::Cpu);
    let loss = VariationalInformation::new(&store.root(), 1, 2, 5.0).unwrap();
    // Nothing is to be guessed from 0, so that the best variance is the teacher's mean square.
    let student = Tensor::zeros([64, 1, 1, 1], (Kind::Float, Device::Cpu));
    let noise = Tensor::arange(128, (Kind::Float, Device::Cpu)).remainder(2.0) * 2.0 - 1.0;
    let sizes = Tensor::from_slice(&[0.5f32, 2.0]).view([1, 2, 1, 1]);
    let signs = Tensor::arange(64, (Kind::Float, Device::Cpu)).remainder(2.0).view([64, 1, 1, 1])
        * 2.0
        - 1.0;
    assert_eq!(noise.numel(), 128);
    let teacher = sizes * signs;
    let mut optimizer = nn::Adam::default().build(&store, 0.05).unwrap();
    for _ in 0..600 {
        optimizer.backward_step(&loss.forward(&student, &teacher).unwrap());
    }
    let variances = flat(&loss.variances().unwrap());
    assert!(
        (variances[0] - 0.25).abs() < 0.01 && (variances[1] - 4.0).abs() < 0.1,
        "{variances:?}"
    );
}

#[test]
fn masked_generation_is_its_formula() {
    let mut store = VarStore::new(Device::Cpu);
    let loss = MaskedGeneration::new(&store.root(), 3, 2).unwrap();
    settle(&mut store);
    // One position: of a 3×3 kernel the middle is left.
    let (student, teacher) = (wave(&[3, 3, 1, 1], 0.1), wave(&[3, 2, 1, 1], 0.7));
    let kept = [true, false, true];
    let mask = Tensor::from_slice(&kept).view([3, 1, 1, 1]);
    let variables = store.variables();
    let middle = |name: &str| {
        flat(&variables[&format!("{name}.weight")].narrow(2, 1, 1).narrow(3, 1, 1).contiguous())
    };
    let bias = |name: &str| flat(&variables[&format!("{name}.bias")]);
    let apply = |weights: &[f64], bias: &[f64], input: &[f64]| -> Vec<f64> {
        let rows = weights.chunks_exact(input.len()).zip(bias);
        rows.map(|(row, b)| b + row.iter().zip(input).map(|(w, x)| w * x).sum::<f64>()).collect()
    };
    let align = flat(&variables["align.weight"]);
    let mut truth = 0.0;
    for (sample, &kept) in kept.iter().enumerate() {
        let input = flat(&student.get(sample as i64));
        let aligned = apply(&align, &bias("align"), &input);
        let masked: Vec<f64> = aligned.into_iter().map(|x| if kept { x } else { 0.0 }).collect();
        let hidden = apply(&middle("first"), &bias("first"), &masked);
        let hidden: Vec<f64> = hidden.into_iter().map(|x| x.max(0.0)).collect();
        let generated = apply(&middle("second"), &bias("second"), &hidden);
        let target = flat(&teacher.get(sample as i64));
        truth += generated.iter().zip(&target).map(|(g, t)| (g - t).powi(2)).sum::<f64>() / 3.0;
    }
    assert!((value(loss.forward(&student, &teacher, &mask)) - truth).abs() < 1e-12);

    let (student, teacher) =
        (wave(&[2, 3, 3, 3], 0.1).set_requires_grad(true), wave(&[2, 2, 3, 3], 0.7));
    let mask = wave(&[2, 1, 3, 3], 0.4).gt(0.0);
    let check = gradient_check(|x| loss.forward(&x[0], &teacher, &mask), &[&student], 1e-5);
    assert!(check.unwrap().is_within(1e-7, 1e-6));
    check_variables(&store, || loss.forward(&student, &teacher, &mask).unwrap());
    // Masked positions of the student get no gradient.
    let gradient = Tensor::run_backward(
        &[&loss.forward(&student, &teacher, &mask).unwrap()],
        &[&student],
        false,
        false,
    );
    let hidden = gradient[0].masked_select(&mask.logical_not().expand_as(&student));
    assert_eq!(f64::try_from(hidden.abs().max()).unwrap(), 0.0);
    // Channels that agree need no alignment.
    let same = VarStore::new(Device::Cpu);
    MaskedGeneration::new(&same.root(), 2, 2).unwrap();
    assert!(!same.variables().contains_key("align.weight"));
    let error = loss.forward(&student, &teacher, &mask.narrow(0, 0, 1)).unwrap_err();
    assert!(
        error.to_string().contains("mask of kept positions: expected shape [2, 1, 3, 3]"),
        "{error}"
    );
    assert!(loss.forward(&student, &teacher, &teacher).is_err());
}

#[test]
fn the_hierarchical_context_is_its_formula() {
    let (student, teacher) = (wave(&[2, 3, 6, 6], 0.1), wave(&[2, 3, 6, 6], 0.7));
    let mut truth = 0.0;
    let mut total = 0.0;
    for (parts, weight) in [(6i64, 1.0), (4, 0.5), (2, 0.25), (1, 0.125)] {
        let (mut sum, mut count) = (0.0, 0.0);
        for sample in 0..2 {
            for channel in 0..3 {
                for part in 0..parts * parts {
                    // Adaptive pooling: from ⌊i·H/parts⌋ to ⌈(i + 1)·H/parts⌉.
                    let range = |i: i64| (i * 6 / parts)..((i + 1) * 6 + parts - 1) / parts;
                    let mean = |features: &Tensor| {
                        let cells: Vec<f64> = range(part / parts)
                            .flat_map(|y| range(part % parts).map(move |x| (y, x)))
                            .map(|(y, x)| features.double_value(&[sample, channel, y, x]))
                            .collect();
                        cells.iter().sum::<f64>() / cells.len() as f64
                    };
                    sum += (mean(&student) - mean(&teacher)).powi(2);
                    count += 1.0;
                }
            }
        }
        truth += weight * sum / count;
        total += weight;
    }
    assert!((value(hierarchical_context(&student, &teacher)) - truth / total).abs() < 1e-12);
    assert_eq!(value(hierarchical_context(&student, &student)), 0.0);
    let student = student.set_requires_grad(true);
    let check = gradient_check(|x| hierarchical_context(&x[0], &teacher), &[&student], 1e-5);
    assert!(check.unwrap().is_within(1e-8, 1e-6));
}

#[test]
fn review_fuses_from_the_deepest_level_up() {
    let mut store = VarStore::new(Device::Cpu);
    let review = ReviewFusion::new(&store.root(), &[(2, 3), (3, 2)], 4).unwrap();
    settle(&mut store);
    let student = [
        wave(&[2, 2, 4, 4], 0.1).set_requires_grad(true),
        wave(&[2, 3, 2, 2], 0.5).set_requires_grad(true),
    ];
    let teacher = [wave(&[2, 3, 4, 4], 0.9), wave(&[2, 2, 2, 2], 1.3)];
    for train in [true, false] {
        let check = gradient_check(
            |x| review.forward(&[x[0].shallow_clone(), x[1].shallow_clone()], &teacher, train),
            &[&student[0], &student[1]],
            1e-5,
        );
        assert!(check.unwrap().is_within(1e-7, 1e-5), "train {train}");
    }
    check_variables(&store, || review.forward(&student, &teacher, false).unwrap());
    let losses = review.fuse(&student, false).unwrap();
    let sum: f64 =
        losses.iter().zip(&teacher).map(|(f, t)| value(hierarchical_context(f, t))).sum();
    assert!((value(review.forward(&student, &teacher, false)) - sum).abs() < 1e-12);
    // The deepest level does not depend on the shallow one; the shallow one does on the deepest.
    let deepest =
        Tensor::run_backward(&[&losses[1].sum(Kind::Double)], &[&student[1]], true, false);
    assert!(f64::try_from(deepest[0].abs().max()).unwrap() > 0.0);
    let across = Tensor::run_backward(&[&losses[0].sum(Kind::Double)], &[&student[1]], true, false);
    assert!(f64::try_from(across[0].abs().max()).unwrap() > 0.0);
    let error = review.forward(&student[..1], &teacher, false).unwrap_err();
    assert!(error.to_string().contains("2 levels"), "{error}");
}

const SETTINGS: ContrastiveSettings = ContrastiveSettings {
    student: 5,
    teacher: 4,
    width: 3,
    samples: 12,
    temperature: 0.2,
    momentum: 0.5,
};

#[test]
fn contrast_is_its_formula_and_remembers() {
    let mut store = VarStore::new(Device::Cpu);
    let mut loss = ContrastiveRepresentation::new(&store.root(), SETTINGS).unwrap();
    settle(&mut store);
    let (student, teacher) = (wave(&[2, 5], 0.1), wave(&[2, 4], 0.7));
    let ids = Tensor::from_slice(&[7i64, 2]);
    let negatives = Tensor::from_slice(&[0i64, 1, 3, 4, 5, 6]).view([2, 3]);
    let variables = store.variables();
    let project = |side: &str, features: &Tensor| -> Vec<Vec<f64>> {
        let (weights, bias) = (
            flat(&variables[&format!("{side}.weight")]),
            flat(&variables[&format!("{side}.bias")]),
        );
        (0..2)
            .map(|row| {
                let x = flat(&features.get(row));
                let rows = weights.chunks_exact(x.len()).zip(&bias);
                let y: Vec<f64> = rows
                    .map(|(w, b)| b + w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>())
                    .collect();
                let length = y.iter().map(|y| y * y).sum::<f64>().sqrt();
                y.into_iter().map(|y| y / length).collect()
            })
            .collect()
    };
    let (of_student, of_teacher) = (project("student", &student), project("teacher", &teacher));
    let before = loss.memories();
    let memory =
        |memory: &Tensor| -> Vec<Vec<f64>> { (0..12).map(|row| flat(&memory.get(row))).collect() };
    let others = [[7usize, 0, 1, 3], [2, 4, 5, 6]];
    let side = |features: &[Vec<f64>], memory: &[Vec<f64>]| -> f64 {
        let dot = |row: usize, other: usize| {
            features[row].iter().zip(&memory[other]).map(|(a, b)| a * b).sum::<f64>() / 0.2
        };
        let all: Vec<f64> =
            (0..2).flat_map(|row| others[row].map(|other| dot(row, other).exp())).collect();
        let z = 12.0 * all.iter().sum::<f64>() / all.len() as f64;
        // As in the paper: P/(P + K/n) for the right one, (K/n)/(P + K/n) for the others.
        let noise = 3.0 / 12.0;
        let terms = all.iter().enumerate().map(|(index, e)| {
            let p = e / z;
            if index % 4 == 0 { (p / (p + noise)).ln() } else { (noise / (p + noise)).ln() }
        });
        -terms.sum::<f64>() / 2.0
    };
    let truth = side(&of_student, &memory(&before.1)) + side(&of_teacher, &memory(&before.0));
    let found = value(loss.forward(&student, &teacher, &ids, &negatives));
    assert!((found - truth).abs() < 1e-10, "{found} {truth}");

    let after = loss.memories();
    for (before, after, features) in
        [(&before.0, &after.0, &of_student), (&before.1, &after.1, &of_teacher)]
    {
        let (before, after) = (memory(before), memory(after));
        for sample in 0..12 {
            let expected = match sample {
                7 | 2 => {
                    let new = &features[usize::from(sample == 2)];
                    let mixed: Vec<f64> =
                        before[sample].iter().zip(new).map(|(a, b)| 0.5 * a + 0.5 * b).collect();
                    let length = mixed.iter().map(|x| x * x).sum::<f64>().sqrt();
                    mixed.into_iter().map(|x| x / length).collect()
                }
                _ => before[sample].clone(),
            };
            assert!(
                after[sample].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12),
                "{sample}"
            );
        }
    }
    let trained: Vec<_> = variables
        .iter()
        .filter(|(_, v)| v.requires_grad())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(trained.len(), 4, "{trained:?}");
}

#[test]
fn contrast_has_the_right_gradient() {
    let mut store = VarStore::new(Device::Cpu);
    // A momentum of 1 forgets nothing, so that every evaluation sees the same memory but for its lengths.
    let mut loss = ContrastiveRepresentation::new(
        &store.root(),
        ContrastiveSettings { momentum: 1.0, ..SETTINGS },
    )
    .unwrap();
    settle(&mut store);
    let (student, teacher) = (wave(&[2, 5], 0.1).set_requires_grad(true), wave(&[2, 4], 0.7));
    let ids = Tensor::from_slice(&[7i64, 2]);
    let negatives = Tensor::from_slice(&[0i64, 1, 3, 4, 5, 6]).view([2, 3]);
    // The first batch sets Z and scales what is remembered of its samples to length 1.
    let _ = loss.forward(&student, &teacher, &ids, &negatives).unwrap();
    let cell = std::cell::RefCell::new(loss);
    let check = gradient_check(
        |x| cell.borrow_mut().forward(&x[0], &teacher, &ids, &negatives),
        &[&student],
        1e-5,
    );
    assert!(check.unwrap().is_within(1e-8, 1e-6));
    check_variables(&store, || {
        cell.borrow_mut().forward(&student, &teacher, &ids, &negatives).unwrap()
    });
}

#[test]
fn what_does_not_fit_is_named() {
    let store = VarStore::new(Device::Cpu);
    let path = store.root();
    let variational = VariationalInformation::new(&(&path / "v"), 3, 2, 5.0).unwrap();
    let options = (Kind::Float, Device::Cpu);
    let maps = |channels: i64, size: i64| Tensor::zeros([2, channels, size, size], options);
    let said = |result: Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(
        said(variational.forward(&maps(4, 2), &maps(2, 2))),
        "student features: expected shape [samples, 3, height, width], found [2, 4, 2, 2]"
    );
    assert_eq!(
        said(variational.forward(&maps(3, 2), &maps(2, 4))),
        "teacher features: expected shape [2, 2, 2, 2], found [2, 2, 4, 4]"
    );
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(VariationalInformation::new(&(&path / "w"), 3, 2, bad).is_err());
    }
    let mut contrast = ContrastiveRepresentation::new(&(&path / "c"), SETTINGS).unwrap();
    let features = |width| Tensor::ones([2, width], options);
    let ids = |ids: &[i64]| Tensor::from_slice(ids);
    let negatives = ids(&[0, 1]).view([2, 1]);
    let error =
        contrast.forward(&features(5), &features(4), &ids(&[0, 12]), &negatives).unwrap_err();
    assert!(matches!(error, Error::UnknownSample { sample: 12, samples: 12 }), "{error}");
    assert!(
        said(contrast.forward(&features(6), &features(4), &ids(&[0, 1]), &negatives))
            .contains("of 5 features")
    );
    assert!(contrast.forward(&features(5), &features(4), &ids(&[0]), &negatives).is_err());
    assert!(contrast.forward(&features(5), &features(4), &ids(&[0, 1]), &ids(&[0, 1])).is_err());
    let error = contrast.forward(&features(5), &features(4), &features(2), &negatives).unwrap_err();
    assert!(matches!(error, Error::Tensor(TensorError::Kind { .. })), "{error}");
    for settings in [
        ContrastiveSettings { temperature: 0.0, ..SETTINGS },
        ContrastiveSettings { momentum: 1.5, ..SETTINGS },
        ContrastiveSettings { samples: 0, ..SETTINGS },
    ] {
        assert!(ContrastiveRepresentation::new(&(&path / "x"), settings).is_err());
    }
}
