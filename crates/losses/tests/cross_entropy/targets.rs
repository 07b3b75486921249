//! Every target, fused and through operators, against dense rows and the formula in f64.

use proptest::prelude::*;
use softlabel_core::{Epsilon, Labels};
use softlabel_losses::{ClassAxis, CrossEntropy, Normalizer, Objective, Reduction, Target};
use softlabel_targets::{
    AllowedClasses, ClassDistribution, ClassMatrix, ClassTree, Convention, Hierarchy,
    NegativeEpsilon, Ordinal, OrdinalDistance, Smoothing,
};
use tch::{Device, Kind, Tensor};

use crate::support::{WAYS, Way, backward, cycling, largest_difference, rows_of, wave};

const CLASSES: usize = 5;

/// Every kind of smoothing of five classes.
fn smoothings() -> Vec<Smoothing> {
    let epsilon = Epsilon::new(0.2).unwrap();
    let per_class: Vec<_> = [0.0, 0.1, 0.5, 1.0, 0.3].map(|e| Epsilon::new(e).unwrap()).into();
    let prior = ClassDistribution::from_counts(&[5.0, 0.0, 1.0, 2.0, 2.0], 0.0).unwrap();
    let confusion = [
        [9.0, 1.0, 0.0, 0.0, 0.0],
        [2.0, 7.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 5.0, 3.0, 2.0],
        [1.0, 1.0, 1.0, 6.0, 1.0],
        [0.0, 4.0, 0.0, 0.0, 6.0],
    ];
    let matrix = ClassMatrix::from_confusion(&confusion.concat(), CLASSES, 0.0).unwrap();
    let ordinal = Ordinal::new(OrdinalDistance::Squared, 0.7).unwrap();
    let paths = [vec!["a"], vec!["a"], vec!["b"], vec!["b", "c"], vec!["b", "c"]];
    let paths: Vec<Vec<String>> =
        paths.iter().map(|path| path.iter().map(ToString::to_string).collect()).collect();
    let hierarchy = Hierarchy::new(ClassTree::from_paths(&paths).unwrap(), 2.0).unwrap();
    vec![
        Smoothing::NONE,
        Smoothing::mixture(0.1).unwrap(),
        Smoothing::mixture(1.0).unwrap(),
        Smoothing::off_target(0.3).unwrap(),
        Smoothing::off_target(1.0).unwrap(),
        Smoothing::towards(per_class.clone(), Convention::Mixture),
        Smoothing::towards(NegativeEpsilon::new(-0.5).unwrap(), Convention::Mixture),
        Smoothing::towards(epsilon, prior.clone()),
        Smoothing::towards(per_class.clone(), prior),
        Smoothing::towards(epsilon, AllowedClasses::new(vec![0, 2, 3]).unwrap()),
        Smoothing::towards(epsilon, matrix.clone()),
        Smoothing::towards(per_class, matrix),
        Smoothing::towards(Epsilon::new(1.0).unwrap(), ordinal),
        Smoothing::towards(epsilon, hierarchy),
    ]
}

/// The smoothed row of a label, by the definition of the smoothing and nothing else.
fn row(smoothing: &Smoothing, label: usize) -> Vec<f64> {
    let target = smoothing.fused(CLASSES).unwrap();
    let mut row = vec![0.0; CLASSES];
    target.row_into(0, label, &mut row).unwrap();
    row
}

/// Mean loss and gradient of rows of logits under dense weighted targets, term by term.
fn by_formula(
    logits: &[f64],
    targets: &[Vec<f64>],
    weights: &[f64],
    counted: &[bool],
    divisor: f64,
) -> (f64, Vec<f64>) {
    let (mut loss, mut gradient) = (0.0, vec![0.0; logits.len()]);
    for (n, target) in targets.iter().enumerate().filter(|(n, _)| counted[*n]) {
        let z = &logits[n * CLASSES..(n + 1) * CLASSES];
        let largest = z.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let lse = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        let mass: f64 = target.iter().zip(weights).map(|(t, w)| t * w).sum();
        for k in 0..CLASSES {
            let t = target[k] * weights[k];
            loss += if t == 0.0 { 0.0 } else { t * (lse - z[k]) / divisor };
            gradient[n * CLASSES + k] = ((z[k] - lse).exp() * mass - t) / divisor;
        }
    }
    (loss, gradient)
}

fn check(
    name: &str,
    loss: &dyn Forward,
    logits: &Tensor,
    target: Target<'_>,
    truth: &(f64, Vec<f64>),
) {
    let (found, gradient) = backward(logits, |logits| loss.forward(logits, target).unwrap());
    assert!(
        (found - truth.0).abs() < 1e-12 * truth.0.abs().max(1.0),
        "{name}: {found} {}",
        truth.0
    );
    let off =
        rows_of(&gradient).iter().zip(&truth.1).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-13, "{name}: gradient off by {off}");
}

/// A loss of logits and a target.
trait Forward {
    fn forward(&self, logits: &Tensor, target: Target<'_>) -> softlabel_losses::Result<Tensor>;
}

impl Forward for CrossEntropy {
    fn forward(&self, logits: &Tensor, target: Target<'_>) -> softlabel_losses::Result<Tensor> {
        CrossEntropy::forward(self, logits, target)
    }
}

impl Forward for Objective {
    fn forward(&self, logits: &Tensor, target: Target<'_>) -> softlabel_losses::Result<Tensor> {
        Objective::forward(self, logits, target)
    }
}

/// All that is known of a batch of 37 rows, more than a tile of the kernels, of which two are ignored.
struct Batch {
    logits: Tensor,
    first: Tensor,
    second: Tensor,
    shares: Vec<f64>,
    counted: Vec<bool>,
    weights: Vec<f64>,
}

impl Batch {
    const ROWS: usize = 37;
    const IGNORED: i64 = -7;

    fn new(weighted: bool) -> Self {
        let rows = Self::ROWS as i64;
        let first = cycling(&[rows], CLASSES as i64);
        let second = (&first * 3 + 1).remainder(CLASSES as i64);
        let counted: Vec<bool> = (0..Self::ROWS).map(|n| n != 3 && n != 20).collect();
        let ignored = Tensor::from_slice(&counted).logical_not();
        Self {
            logits: wave(&[rows, CLASSES as i64], Kind::Double, 0.7),
            first: first.masked_fill(&ignored, Self::IGNORED),
            second: second.masked_fill(&ignored, Self::IGNORED),
            shares: (0..Self::ROWS).map(|n| n as f64 / 36.0).collect(),
            counted,
            weights: if weighted { vec![1.0, 0.5, 2.0, 0.0, 0.3] } else { vec![1.0; CLASSES] },
        }
    }

    fn loss(&self, smoothing: &Smoothing, weighted: bool, way: Way) -> CrossEntropy {
        let loss = way
            .of(CrossEntropy::new())
            .with_smoothing(smoothing.clone())
            .with_ignore_index(Self::IGNORED)
            .with_reduction(Reduction::Mean(Normalizer::Count));
        if weighted { loss.with_class_weights(Tensor::from_slice(&self.weights)) } else { loss }
    }

    fn truth(&self, targets: &[Vec<f64>]) -> (f64, Vec<f64>) {
        by_formula(&rows_of(&self.logits), targets, &self.weights, &self.counted, 35.0)
    }

    fn labels(tensor: &Tensor) -> Vec<usize> {
        Vec::<i64>::try_from(tensor)
            .unwrap()
            .iter()
            .map(|&y| usize::try_from(y).unwrap_or(0))
            .collect()
    }
}

fn mixed(a: &[f64], b: &[f64], share: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (1.0 - share) * a + share * b).collect()
}

#[test]
fn every_target_is_its_dense_rows_on_every_path() {
    for weighted in [false, true] {
        let batch = Batch::new(weighted);
        let [first, second] = [&batch.first, &batch.second].map(Batch::labels);
        for smoothing in smoothings() {
            let hard: Vec<_> = first.iter().map(|&y| row(&smoothing, y)).collect();
            let two: Vec<_> = (0..Batch::ROWS)
                .map(|n| mixed(&hard[n], &row(&smoothing, second[n]), batch.shares[n]))
                .collect();
            for way in WAYS {
                let loss = batch.loss(&smoothing, weighted, way);
                let name = |kind: &str| format!("{kind}, {smoothing}, weights {weighted}, {way:?}");
                let target = Target::Hard(&batch.first);
                check(&name("hard"), &loss, &batch.logits, target, &batch.truth(&hard));

                let target = Target::Mixed {
                    first: &batch.first,
                    second: &batch.second,
                    share_of_second: &batch.shares,
                };
                check(&name("mixed"), &loss, &batch.logits, target, &batch.truth(&two));

                // The mixture of the labels as soft rows, which the loss smooths.
                let one_hot = |labels: &[usize]| -> Vec<Vec<f64>> {
                    labels.iter().map(|&y| row(&Smoothing::NONE, y)).collect()
                };
                let each = one_hot(&first).into_iter().zip(one_hot(&second)).zip(&batch.shares);
                let rows: Vec<f64> =
                    each.flat_map(|((a, b), share)| mixed(&a, &b, *share)).collect();
                let rows = Tensor::from_slice(&rows).view((37, 5));
                let counted = Tensor::from_slice(&batch.counted);
                let target = Target::Masked { rows: &rows, counted: &counted };
                check(&name("masked"), &loss, &batch.logits, target, &batch.truth(&two));
            }
        }
    }
}

#[test]
fn an_epsilon_a_sample_is_the_smoothing_of_that_sample() {
    for weighted in [false, true] {
        let batch = Batch::new(weighted);
        let epsilons: Vec<f64> = (0..Batch::ROWS).map(|n| n as f64 / 36.0).collect();
        for smoothing in smoothings() {
            let each = Batch::labels(&batch.first).into_iter().zip(&epsilons);
            let rows: Vec<_> = each
                .map(|(y, &epsilon)| {
                    let target = smoothing.fused_per_row(CLASSES, &[epsilon]).unwrap();
                    let mut row = vec![0.0; CLASSES];
                    target.row_into(0, y, &mut row).unwrap();
                    row
                })
                .collect();
            for way in WAYS {
                let loss = batch.loss(&smoothing, weighted, way);
                let target = Target::Smoothed { labels: &batch.first, epsilons: &epsilons };
                let name = format!("{smoothing}, weights {weighted}, {way:?}");
                check(&name, &loss, &batch.logits, target, &batch.truth(&rows));
            }
        }
    }
}

/// ε goes to the classes that a sample allows; those of the others may be −∞. Ignored samples may allow none.
#[test]
fn classes_that_a_sample_allows_share_its_epsilon() {
    let per_class: Vec<_> = [0.0, 0.1, 0.5, 1.0, 0.3].map(|e| Epsilon::new(e).unwrap()).into();
    let epsilons = |smoothing: &Smoothing, y: usize| row(smoothing, y)[(y + 1) % CLASSES] * 5.0;
    for weighted in [false, true] {
        let batch = Batch::new(weighted);
        let labels = Batch::labels(&batch.first);
        let allows =
            |n: usize, k: usize| batch.counted[n] && (k == labels[n] || (n + k).is_multiple_of(3));
        let mask: Vec<bool> =
            (0..37 * CLASSES).map(|at| allows(at / CLASSES, at % CLASSES)).collect();
        let allowed = Tensor::from_slice(&mask).view((37, 5));
        let impossible = batch.logits.masked_fill(&allowed.logical_not(), f64::NEG_INFINITY);
        for smoothing in [
            Smoothing::NONE,
            Smoothing::mixture(0.1).unwrap(),
            Smoothing::mixture(1.0).unwrap(),
            Smoothing::towards(per_class.clone(), Convention::Mixture),
            Smoothing::towards(NegativeEpsilon::new(-0.5).unwrap(), Convention::Mixture),
        ] {
            let target = |n: usize| {
                let epsilon = epsilons(&smoothing, labels[n]);
                let count = (0..CLASSES).filter(|&k| allows(n, k)).count().max(1);
                let even = |k| if allows(n, k) { epsilon / count as f64 } else { 0.0 };
                let on_label = |k| if k == labels[n] { 1.0 - epsilon } else { 0.0 };
                (0..CLASSES).map(|k| on_label(k) + even(k)).collect::<Vec<f64>>()
            };
            let rows: Vec<_> = (0..Batch::ROWS).map(target).collect();
            for logits in [&batch.logits, &impossible] {
                let (weights, counted) = (&batch.weights, &batch.counted);
                let truth = by_formula(&rows_of(logits), &rows, weights, counted, 35.0);
                for way in WAYS {
                    let loss = batch.loss(&smoothing, weighted, way);
                    let name = format!("{smoothing}, weights {weighted}, {way:?}");
                    let target = Target::Allowed { labels: &batch.first, allowed: &allowed };
                    check(&name, &loss, logits, target, &truth);
                    // The same as images of one pixel, and from a term of an objective.
                    let loss = loss.with_class_axis(ClassAxis::Second);
                    let pixel = |tensor: &Tensor| tensor.unsqueeze(-1);
                    let (labels, allowed) = (pixel(&batch.first), pixel(&allowed));
                    let target = Target::Allowed { labels: &labels, allowed: &allowed };
                    check(&name, &loss, &pixel(logits), target, &truth);
                    check(&name, &Objective::from(loss), &pixel(logits), target, &truth);
                }
            }
        }
    }
}

#[test]
fn a_mask_of_allowed_classes_that_does_not_fit_is_named() {
    let logits = wave(&[3, 5], Kind::Float, 0.1);
    let labels = Tensor::from_slice(&[0i64, 1, 2]);
    let smoothed = || CrossEntropy::new().with_smoothing(Smoothing::mixture(0.1).unwrap());
    let message = |loss: CrossEntropy, allowed: &Tensor| {
        let target = Target::Allowed { labels: &labels, allowed };
        loss.forward(&logits, target).unwrap_err().to_string()
    };
    let all = Tensor::ones([3, 5], (Kind::Bool, Device::Cpu));
    assert!(message(smoothed(), &all.to_kind(Kind::Int64)).contains("expected bool, found Int64"));
    assert!(message(smoothed(), &all.narrow(1, 0, 4)).contains("expected shape [3, 5]"));
    let none = all.masked_fill(&Tensor::from_slice(&[false, false, true]).unsqueeze(-1), 0);
    assert!(message(smoothed(), &none).ends_with("found none of sample 2"));
    let off_target = CrossEntropy::new().with_smoothing(Smoothing::off_target(0.1).unwrap());
    assert!(message(off_target, &all).contains("expected mixture"));
}

/// Rows that were rounded to their dtype are still distributions.
#[test]
fn soft_rows_of_half_precision_are_taken_as_they_are_rounded() {
    for (kind, sum) in [(Kind::BFloat16, 1.02), (Kind::Half, 1.005), (Kind::Float, 1.002)] {
        for classes in [3, 7, 10, 100, 1000] {
            let logits = wave(&[64, classes], Kind::Float, 0.1);
            let soft = wave(&[64, classes], Kind::Double, 0.4).softmax(-1, Kind::Double);
            let uniform = Tensor::full([64, classes], 1.0 / classes as f64, (kind, Device::Cpu));
            let one_hot = cycling(&[64], classes).one_hot(classes).to_kind(Kind::Double);
            let smoothed = one_hot * 0.9 + 0.1 / classes as f64;
            for rows in [soft.to_kind(kind), uniform, smoothed.to_kind(kind)] {
                let found = CrossEntropy::new().forward(&logits, Target::Soft(&rows));
                let wide = rows.to_kind(Kind::Double);
                let loss = -(logits.log_softmax(-1, Kind::Double) * &wide).sum(Kind::Double) / 64.0;
                let (found, loss) = (found.unwrap(), f64::try_from(loss).unwrap());
                assert!((f64::try_from(found).unwrap() - loss).abs() < 1e-5 * loss, "{kind:?}");
                let bad = (&wide * sum).to_kind(kind);
                for way in WAYS {
                    let error = way.of(CrossEntropy::new()).forward(&logits, Target::Soft(&bad));
                    assert!(error.unwrap_err().to_string().contains("sum"), "{kind:?} {classes}");
                }
            }
        }
    }
}

#[test]
fn images_are_their_pixels_whatever_the_target() {
    // [2, 5, 3, 4] as it comes out of a convolution, and the same pixels as rows.
    let image = wave(&[2, 5, 3, 4], Kind::Double, 0.4);
    let rows = image.movedim_int(1, -1).contiguous();
    let first = cycling(&[2, 3, 4], 5).masked_fill(&cycling(&[2, 3, 4], 24).eq(9), -1);
    let second = (&first + 2).remainder(5);
    let shares: Vec<f64> = (0..24).map(|n| f64::from(n) / 23.0).collect();
    let soft = wave(&[2, 5, 3, 4], Kind::Double, 2.0).softmax(1, Kind::Double);
    let soft_rows = soft.movedim_int(1, -1).contiguous();
    let counted = first.ge(0);
    for smoothing in smoothings() {
        for way in WAYS {
            let loss = || {
                way.of(CrossEntropy::new()).with_smoothing(smoothing.clone()).with_ignore_index(-1)
            };
            let dense = loss().with_class_axis(ClassAxis::Second);
            let mixed = Target::Mixed { first: &first, second: &second, share_of_second: &shares };
            for (pixels, flat) in [
                (Target::Hard(&first), Target::Hard(&first)),
                (mixed, mixed),
                (Target::Soft(&soft), Target::Soft(&soft_rows)),
                (
                    Target::Masked { rows: &soft, counted: &counted },
                    Target::Masked { rows: &soft_rows, counted: &counted },
                ),
            ] {
                let of = |loss: CrossEntropy, at: &Tensor, target: Target<'_>| {
                    backward(at, |at| loss.forward(at, target).unwrap())
                };
                let (found, gradient) = of(dense_of(&dense), &image, pixels);
                let (expected, truth) = of(loss(), &rows, flat);
                assert!((found - expected).abs() < 1e-13, "{smoothing} {way:?} {pixels:?}");
                let off = largest_difference(&gradient.movedim_int(1, -1), &truth);
                assert!(off < 1e-14, "{smoothing} {way:?}: {off}");
            }
        }
    }
}

/// Settings are not cloned: made anew.
fn dense_of(loss: &CrossEntropy) -> CrossEntropy {
    let same = CrossEntropy::new()
        .with_smoothing(loss.smoothing().clone())
        .with_class_axis(loss.class_axis());
    match loss.ignore_index() {
        None => same,
        Some(index) => same.with_ignore_index(index),
    }
}

#[test]
fn a_mean_over_weights_is_consistent_for_every_target() {
    let logits = wave(&[12, 5], Kind::Double, 0.3);
    let labels = cycling(&[12], 5);
    let one_hot = labels.one_hot(5).to_kind(Kind::Double);
    let (all, none) = (Tensor::ones([12], (Kind::Bool, tch::Device::Cpu)), vec![0.0; 12]);
    let epsilons = vec![0.1; 12];
    for way in WAYS {
        for normalizer in [Normalizer::WeightSum, Normalizer::Count, Normalizer::Items(5.0)] {
            let loss = way
                .of(CrossEntropy::new())
                .with_smoothing(Smoothing::mixture(0.1).unwrap())
                .with_class_weights(Tensor::from_slice(&[1.0, 0.5, 2.0, 0.1, 0.3]))
                .with_reduction(Reduction::Mean(normalizer));
            let value = |target| f64::try_from(loss.forward(&logits, target).unwrap()).unwrap();
            let expected = value(Target::Hard(&labels));
            for target in [
                Target::Soft(&one_hot),
                Target::Masked { rows: &one_hot, counted: &all },
                Target::Mixed { first: &labels, second: &labels, share_of_second: &epsilons },
                Target::Mixed {
                    first: &labels,
                    second: &labels.zeros_like(),
                    share_of_second: &none,
                },
                Target::Smoothed { labels: &labels, epsilons: &epsilons },
            ] {
                let found = value(target);
                assert!((found - expected).abs() < 1e-14, "{way:?} {normalizer:?} {target:?}");
            }
        }
    }
}

#[test]
fn targets_that_do_not_fit_are_named() {
    let logits = wave(&[2, 3], Kind::Float, 0.0);
    let labels = Tensor::from_slice(&[0i64, 1]);
    let fail = |target| CrossEntropy::new().forward(&logits, target).unwrap_err().to_string();
    let share_of_second = &[0.5, 1.5];
    assert_eq!(
        fail(Target::Mixed { first: &labels, second: &labels, share_of_second }),
        "the share of the second label must be in [0, 1], found 1.5"
    );
    assert_eq!(
        fail(Target::Mixed { first: &labels, second: &labels, share_of_second: &[0.5] }),
        "shares of the second label: expected 2, one a sample, found 1"
    );
    let bad = Tensor::from_slice(&[0i64, 3]);
    assert_eq!(
        fail(Target::Mixed { first: &labels, second: &bad, share_of_second: &[0.5, 0.5] }),
        "label 3 at position 1 is not in 0..3"
    );
    assert_eq!(
        fail(Target::Smoothed { labels: &labels, epsilons: &[0.5, -0.1] }),
        "epsilon must be in [0, 1], found -0.1"
    );
    let rows = Tensor::ones([2, 3], (Kind::Float, tch::Device::Cpu)) / 3.0;
    assert_eq!(
        fail(Target::Masked { rows: &rows, counted: &labels }),
        "mask of the samples that count: expected bool, found Int64"
    );
    let counted = Tensor::from_slice(&[true]);
    assert_eq!(
        fail(Target::Masked { rows: &rows, counted: &counted }),
        "mask of the samples that count: expected shape [2], found [1]"
    );
    // A row that does not count may hold anything.
    let rows = Tensor::from_slice(&[0.5f32, 0.5, 0.0, f32::NAN, 7.0, -1.0]).view((2, 3));
    let counted = Tensor::from_slice(&[true, false]);
    let target = Target::Masked { rows: &rows, counted: &counted };
    let (loss, gradient) = backward(&logits, |at| CrossEntropy::new().forward(at, target).unwrap());
    assert!(loss.is_finite());
    assert_eq!(rows_of(&gradient.get(1)), [0.0; 3]);
}

#[test]
fn another_class_count_is_worked_out_anew() {
    let loss = CrossEntropy::new().with_smoothing(Smoothing::off_target(0.3).unwrap());
    for classes in [4i64, 7, 4] {
        let logits = wave(&[3, classes], Kind::Double, 0.2);
        let labels = cycling(&[3], classes);
        let fresh = CrossEntropy::new().with_smoothing(Smoothing::off_target(0.3).unwrap());
        let [found, expected] =
            [&loss, &fresh].map(|loss| loss.forward(&logits, Target::Hard(&labels)).unwrap());
        assert_eq!(largest_difference(&found, &expected), 0.0);
    }
}

#[test]
fn an_index_that_a_label_dtype_cannot_hold_ignores_nothing() {
    use softlabel_losses::Objective;

    let logits = wave(&[2, 200], Kind::Double, 0.3);
    let labels = Tensor::from_slice(&[156u8, 3]);
    let plain = CrossEntropy::new().forward(&logits, Target::Hard(&labels)).unwrap();
    let objective = Objective::new(CrossEntropy::new()).with_ignore_index(-100);
    let found = objective.forward(&logits, Target::Hard(&labels)).unwrap();
    assert!(largest_difference(&found, &plain) < 1e-15);
}

#[test]
fn no_gradient_flows_into_soft_targets() {
    use softlabel_losses::{Brier, LossOptions, LossTerm};

    let logits = wave(&[4, 5], Kind::Double, 0.3);
    let free = wave(&[4, 5], Kind::Double, 1.3).set_requires_grad(true);
    let rows = free.softmax(-1, Kind::Double);
    let options = LossOptions::default();
    let brier = Brier::new().forward(&logits, Target::Soft(&rows), &options).unwrap();
    let plain = CrossEntropy::new().forward(&logits, Target::Soft(&rows)).unwrap();
    assert!(!brier.requires_grad() && !plain.requires_grad());
}

#[test]
fn who_is_largest_is_asked_before_the_cap() {
    let logits = Tensor::from_slice(&[100.0f32, 200.0]).view((1, 2));
    let label = Tensor::from_slice(&[1i64]);
    for way in WAYS {
        let loss = way.of(CrossEntropy::new()).with_softcap(1.0).unwrap();
        let output = loss.forward_with_statistics(&logits, Target::Hard(&label)).unwrap();
        assert_eq!(rows_of(&output.correct.unwrap()), [1.0], "{way:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fused_is_dense_for_any_batch(
        rows in 1usize..40,
        which in 0usize..14,
        values in prop::collection::vec(-20.0..20.0f64, 40 * CLASSES),
        labels in prop::collection::vec(0i64..5, 40),
    ) {
        let smoothing = &smoothings()[which];
        let logits = Tensor::from_slice(&values[..rows * CLASSES]).view((rows as i64, 5));
        let dense = smoothing
            .fused(CLASSES)
            .unwrap()
            .rows(&Labels::new(&labels[..rows], CLASSES).unwrap())
            .unwrap();
        let dense: Vec<f64> = dense.into_iter().map(f64::from).collect();
        let labels = Tensor::from_slice(&labels[..rows]);
        let loss = CrossEntropy::new().with_smoothing(smoothing.clone());
        let (found, gradient) =
            backward(&logits, |at| loss.forward(at, Target::Hard(&labels)).unwrap());
        let log_p = logits.log_softmax(-1, Kind::Double);
        let t = Tensor::from_slice(&dense).view((rows as i64, 5));
        let expected = -(&log_p * &t).sum(Kind::Double) / rows as f64;
        let truth = (log_p.exp() * t.sum_dim_intlist(-1, true, Kind::Double) - &t) / rows as f64;
        // The rows are rounded to f32.
        prop_assert!((found - f64::try_from(expected).unwrap()).abs() < 1e-5);
        prop_assert!(largest_difference(&gradient, &truth) < 1e-7);
    }
}

#[test]
fn a_smoothing_that_is_set_is_that_of_a_new_loss_and_not_of_clones() {
    let logits = wave(&[7, 5], Kind::Double, 0.3);
    let labels = cycling(&[7], 5);
    let value = |loss: &CrossEntropy| {
        f64::try_from(loss.forward(&logits, Target::Hard(&labels)).unwrap()).unwrap()
    };
    let weights = Tensor::from_slice(&[1.0, 0.5, 2.0, 0.0, 0.3]);
    let fresh = |smoothing: &Smoothing| {
        CrossEntropy::new().with_class_weights(weights.copy()).with_smoothing(smoothing.clone())
    };
    let mut kept = fresh(&Smoothing::NONE);
    let before = kept.clone();
    let unsmoothed = value(&kept);
    for smoothing in smoothings() {
        kept.set_smoothing(smoothing.clone());
        assert_eq!(kept.smoothing(), &smoothing);
        assert_eq!(value(&kept), value(&fresh(&smoothing)), "{smoothing}");
        assert_eq!(value(&before), unsmoothed);
    }
}
