//! Divergences and their gradients against the formulas in `f64`, on every set of instructions.
//!
//! p_k and q_k are off by a factor of 1 ± ε·(|z_k − M| + 8), as for cross-entropy, and by ε·|z_k| where a scaled logit
//! is rounded before M is taken off it, as portable code has to; and so is what they
//! are multiplied by; d_k = u_k − z_k is rounded once for each side, and narrowed results once more.

use std::mem::MaybeUninit;

use half::{bf16, f16};
use proptest::prelude::*;
use softlabel_kernels::rows::{
    Comparison, DenseRows, Divergence, Scale, TargetError, divergence, divergence_gradient,
    with_cpu_features,
};

use crate::reference::{Number, Random};

const KINDS: [Divergence; 5] = [
    Divergence::KullbackLeibler { forward: 1.0, reverse: 0.0 },
    Divergence::KullbackLeibler { forward: 0.0, reverse: 1.0 },
    Divergence::KullbackLeibler { forward: 1.0, reverse: 1.0 },
    Divergence::JensenShannon { beta: 0.5, factor: 1.0 },
    Divergence::JensenShannon { beta: 0.2, factor: 6.25 },
];

/// Runs on every set of instructions: divergences and gradient.
fn results<T: Number>(
    logits: &[T],
    classes: usize,
    comparison: &Comparison<T::Sum>,
    scale: Scale<T::Sum>,
    threads: usize,
) -> Vec<(Vec<T::Sum>, Vec<T>)>
where
    T::Sum: Number,
{
    let rows = logits.len() / classes;
    let run = || {
        let mut gradient = vec![MaybeUninit::uninit(); logits.len()];
        let mut values = vec![T::Sum::default(); rows];
        divergence_gradient(
            logits,
            classes,
            comparison,
            scale,
            &mut gradient,
            &mut values,
            threads,
        )
        .unwrap();
        let mut alone = vec![T::Sum::default(); rows];
        divergence(logits, classes, comparison, &mut alone, threads).unwrap();
        let bits = |values: &[T::Sum]| values.iter().map(|value| value.bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(&alone), "with and without a gradient");
        // SAFETY: Ok means that all of it has been written.
        #[allow(unsafe_code)]
        let gradient = gradient.into_iter().map(|entry| unsafe { entry.assume_init() }).collect();
        (values, gradient)
    };
    ["avx512", "avx2", "portable"].iter().filter_map(|name| with_cpu_features(name, run)).collect()
}

/// p and ln p of a row.
fn distribution(logits: impl Iterator<Item = f64> + Clone) -> Vec<(f64, f64)> {
    let highest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let log_total = logits.clone().map(|z| (z - highest).exp()).sum::<f64>().ln();
    logits.map(|z| (z - highest - log_total, 0.0)).map(|(log, _)| (log.exp(), log)).collect()
}

/// The formulas of the module, in z.
fn truth(kind: Divergence, p: &[(f64, f64)], q: &[(f64, f64)]) -> (f64, Vec<f64>) {
    let kl = |a: &[(f64, f64)], log_b: &[f64]| -> f64 {
        a.iter().zip(log_b).filter(|((a, _), _)| *a > 0.0).map(|((a, la), lb)| a * (la - lb)).sum()
    };
    let logs = |side: &[(f64, f64)]| side.iter().map(|side| side.1).collect::<Vec<_>>();
    match kind {
        Divergence::KullbackLeibler { forward, reverse } => {
            let own = kl(p, &logs(q));
            let slopes = p.iter().zip(q).map(|((p, lp), (q, lq))| {
                let pull = if *p > 0.0 { p * (lp - lq - own) } else { 0.0 };
                forward * (p - q) + if reverse == 0.0 { 0.0 } else { reverse * pull }
            });
            let reverse = if reverse == 0.0 { 0.0 } else { reverse * own };
            (forward * kl(q, &logs(p)) + reverse, slopes.collect())
        }
        Divergence::JensenShannon { beta, factor } => {
            let mixed: Vec<f64> = p
                .iter()
                .zip(q)
                .map(|((p, _), (q, _))| (beta * q + (1.0 - beta) * p).ln())
                .collect();
            let own = kl(p, &mixed);
            let slopes = p.iter().zip(&mixed).map(|((p, lp), lm)| {
                if *p > 0.0 { factor * (1.0 - beta) * p * (lp - lm - own) } else { 0.0 }
            });
            let value = factor * (beta * kl(q, &mixed) + (1.0 - beta) * own);
            (value, slopes.collect())
        }
    }
}

fn agrees<T: Number>(classes: usize, spread: f64, kind: Divergence, seed: u64)
where
    T::Sum: Number,
{
    let rows = 5;
    let mut random = Random(seed);
    let logits: Vec<T> = random.numbers(rows * classes, spread);
    let teacher: Vec<T::Sum> = random.numbers(rows * classes, spread);
    let dense = rows_of(&teacher);
    let scales = random.units::<T::Sum>(rows);
    let teacher_scales = random.units::<T::Sum>(rows);
    let comparison = Comparison {
        teacher: dense.as_rows(),
        divergence: kind,
        scale: Scale::Rows(&scales),
        teacher_scale: Scale::Rows(&teacher_scales),
        ignored: None,
    };
    let g = T::Sum::of(0.3);
    let epsilon = T::Sum::EPSILON;
    for (values, gradient) in results(&logits, classes, &comparison, Scale::All(g), 2) {
        for row in 0..rows {
            let (a, b) = (scales[row].get(), teacher_scales[row].get());
            let range = row * classes..(row + 1) * classes;
            let p = distribution(logits[range.clone()].iter().map(|x| x.get() * a));
            let q = distribution(teacher[range.clone()].iter().map(|y| y.get() * b));
            let (value, slopes) = truth(kind, &p, &q);
            // Without a multiply-add in one rounding, a scaled logit is rounded at its own size first.
            let sizes = logits[range.clone()].iter().map(|x| (x.get() * a).abs());
            let sizes = sizes.chain(teacher[range.clone()].iter().map(|y| (y.get() * b).abs()));
            let product = sizes.fold(0.0, f64::max);
            let deepest = |side: &[(f64, f64)], by: &[(f64, f64)]| -> f64 {
                side.iter().zip(by).map(|(of, by)| of.1.abs() * by.0).sum()
            };
            // What the terms of the divergence add up to without cancelling.
            let mut size = 8.0 + product + deepest(&p, &q) + deepest(&q, &q);
            let reverse =
                matches!(kind, Divergence::KullbackLeibler { reverse, .. } if reverse > 0.0);
            if reverse {
                size += deepest(&p, &p) + deepest(&q, &p);
            }
            let found = values[row].get();
            let factor =
                if let Divergence::JensenShannon { factor, .. } = kind { factor } else { 1.0 };
            // In f64 what it is held against is rounded as it is.
            let both = epsilon + f64::EPSILON;
            assert!(
                (found - value).abs() <= 6.0 * both * size * factor,
                "{kind:?}, {classes} classes, row {row}: {found} for {value}"
            );
            for (class, slope) in slopes.iter().enumerate() {
                let ((p, lp), (q, lq)) = (p[class], q[class]);
                let of_p = p * (lp.abs() + product + 8.0) * (1.0 + lp.abs() + lq.abs() + size);
                let off = epsilon * (of_p + q * (lq.abs() + product + 8.0));
                let off = off * factor * a * 0.3 * 2.0;
                let slope = slope * a * g.get();
                let found = gradient[row * classes + class].get();
                let rounding = T::EPSILON * slope.abs() + T::SMALLEST;
                // A probability below the smallest normal number counts as 0.
                let normal =
                    if epsilon > 1e-10 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
                let off = if p < normal || q < normal { off + slope.abs() } else { off };
                assert!(
                    (found - slope).abs() <= off + rounding,
                    "{kind:?}, {classes} classes, row {row}, class {class}: {found} for {slope}, \
                     p {p} {lp}, q {q} {lq}, off {off}, a {a}, b {b}"
                );
            }
        }
    }
}

/// Teacher logits in the type of the arithmetic.
enum Rows {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl Rows {
    fn as_rows(&self) -> DenseRows<'_> {
        match self {
            Rows::Single(values) => DenseRows::F32(values),
            Rows::Double(values) => DenseRows::F64(values),
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn rows_of<A: Number>(values: &[A]) -> Rows {
    if size_of::<A>() == 8 {
        Rows::Double(values.iter().map(|value| value.get()).collect())
    } else {
        Rows::Single(values.iter().map(|value| value.get() as f32).collect())
    }
}

#[test]
fn every_kind_agrees_with_its_formula() {
    for kind in KINDS {
        for classes in [1, 2, 3, 10, 17, 64, 100, 1000, 2049, 5000] {
            agrees::<f32>(classes, 3.0, kind, 1);
            agrees::<f64>(classes, 3.0, kind, 2);
        }
        for classes in [7, 130, 3000] {
            agrees::<bf16>(classes, 3.0, kind, 3);
            agrees::<f16>(classes, 3.0, kind, 4);
            agrees::<f32>(classes, 30.0, kind, 5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_shape_agrees(classes in 1usize..300, spread in 0.01f64..20.0, kind in 0usize..5, seed: u64) {
        agrees::<f64>(classes, spread, KINDS[kind], seed);
        agrees::<f32>(classes, spread, KINDS[kind], seed);
    }
}

#[test]
fn rising_logits_are_rescaled_from_block_to_block() {
    // Each block has a larger maximum than the one before, on both sides.
    let classes = 5000;
    let logits: Vec<f32> = (0..classes).map(|k| (k / 100) as f32 - 400.0).collect();
    let teacher: Vec<f32> = (0..classes).map(|k| (k / 90) as f32 * 0.9 - 300.0).collect();
    for kind in KINDS {
        let comparison = Comparison {
            teacher: DenseRows::F32(&teacher),
            divergence: kind,
            scale: Scale::All(1.0),
            teacher_scale: Scale::All(1.0),
            ignored: None,
        };
        let p = distribution(logits.iter().map(|&x| f64::from(x)));
        let q = distribution(teacher.iter().map(|&y| f64::from(y)));
        let (value, slopes) = truth(kind, &p, &q);
        for (values, gradient) in results(&logits, classes, &comparison, Scale::All(1.0), 1) {
            assert!(
                (f64::from(values[0]) / value - 1.0).abs() < 1e-5,
                "{kind:?} {values:?} {value}"
            );
            for (found, slope) in gradient.iter().zip(&slopes) {
                assert!((f64::from(*found) - slope).abs() < 2e-6, "{kind:?}");
            }
        }
    }
}

#[test]
fn equal_rows_have_neither_divergence_nor_gradient() {
    let mut random = Random(7);
    for classes in [2, 9, 1000, 5000] {
        let logits: Vec<f32> = random.numbers(3 * classes, 20.0);
        for kind in KINDS {
            let comparison = Comparison {
                teacher: DenseRows::F32(&logits),
                divergence: kind,
                scale: Scale::All(0.37),
                teacher_scale: Scale::All(0.37),
                ignored: None,
            };
            for (values, gradient) in results(&logits, classes, &comparison, Scale::All(3.0), 1) {
                assert!(values.iter().all(|&value| value == 0.0), "{kind:?}: {values:?}");
                assert!(gradient.iter().all(|&slope| slope == 0.0), "{kind:?}");
            }
        }
    }
}

#[test]
fn a_teacher_is_widened_from_whatever_it_is_stored_as() {
    let mut random = Random(8);
    let (rows, classes) = (3, 70);
    let logits: Vec<f32> = random.numbers(rows * classes, 3.0);
    let half: Vec<f16> = random.numbers(rows * classes, 3.0);
    let brain: Vec<bf16> = half.iter().map(|value| bf16::from_f32(value.to_f32())).collect();
    let half: Vec<f16> = brain.iter().map(|value| f16::from_f32(value.to_f32())).collect();
    let single: Vec<f32> = brain.iter().map(|value| value.to_f32()).collect();
    let double: Vec<f64> = brain.iter().map(|value| value.to_f64()).collect();
    let comparison = |teacher| Comparison {
        teacher,
        divergence: KINDS[2],
        scale: Scale::All(1.0),
        teacher_scale: Scale::All(0.5),
        ignored: None,
    };
    let run = |teacher| results(&logits, classes, &comparison(teacher), Scale::All(1.0), 1);
    let expected = run(DenseRows::F32(&single));
    for teacher in [DenseRows::F16(&half), DenseRows::Bf16(&brain), DenseRows::F64(&double)] {
        assert_eq!(run(teacher), expected);
    }
}

#[test]
fn what_is_impossible_is_as_documented() {
    let none = f32::NEG_INFINITY;
    let run = |student: &[f32], teacher: &[f32], kind| {
        let comparison = Comparison {
            teacher: DenseRows::F32(teacher),
            divergence: kind,
            scale: Scale::All(1.0),
            teacher_scale: Scale::All(1.0),
            ignored: None,
        };
        results(student, student.len(), &comparison, Scale::All(1.0), 1)
    };
    let [forward, reverse, both, middle, _] = KINDS;
    let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-6;
    // The teacher holds class 1 impossible.
    for (value, gradient) in run(&[0.0, 0.0], &[0.0, none], forward) {
        assert!(close(value[0], 2f64.ln()) && gradient == [-0.5, 0.5]);
    }
    for kind in [reverse, both] {
        for (value, gradient) in run(&[0.0, 0.0], &[0.0, none], kind) {
            assert!(value[0] == f32::INFINITY && gradient.iter().all(|slope| slope.is_finite()));
        }
    }
    for (value, gradient) in run(&[0.0, 0.0], &[0.0, none], middle) {
        let truth = 0.5 * (4f64 / 3.0).ln() + 0.5 * (0.5 * (2f64 / 3.0).ln() + 0.5 * 2f64.ln());
        assert!(close(value[0], truth) && close(gradient[0] + gradient[1], 0.0));
    }
    // The student holds class 1 impossible.
    for (value, gradient) in run(&[0.0, none], &[0.0, 0.0], forward) {
        assert!(value[0] == f32::INFINITY && gradient == [0.5, -0.5]);
    }
    for (value, gradient) in run(&[0.0, none], &[0.0, 0.0], reverse) {
        assert!(close(value[0], 2f64.ln()) && gradient == [0.0, 0.0]);
    }
    // Both hold it impossible.
    for kind in KINDS {
        for (value, gradient) in run(&[1.0, none, 0.0], &[1.0, none, 0.0], kind) {
            assert!(value[0] == 0.0 && gradient == [0.0; 3], "{kind:?} {value:?} {gradient:?}");
        }
    }
    // A teacher that says nothing at all, and a student that does.
    for (value, gradient) in run(&[0.0, 1.0], &[none, none], forward) {
        assert!(value[0] == 0.0 && gradient == [0.0, 0.0]);
    }
    for (value, gradient) in run(&[none, none], &[0.0, 0.0], forward) {
        assert!(value[0] == f32::INFINITY && gradient == [-0.5, -0.5]);
    }
    for kind in KINDS {
        for (student, teacher) in
            [([0.0, f32::NAN], [0.0, 1.0]), ([0.0, 1.0], [f32::INFINITY, 0.0])]
        {
            for (value, gradient) in run(&student, &teacher, kind) {
                assert!(
                    value[0].is_nan() && gradient.iter().all(|slope| slope.is_nan()),
                    "{kind:?}"
                );
            }
        }
    }
    // Saturated rows, and masks with the least finite number.
    for kind in KINDS {
        for (value, gradient) in run(&[1000.0, 0.0, -1000.0], &[-1000.0, 0.0, 900.0], kind) {
            assert!(value[0].is_finite() && gradient.iter().all(|slope| slope.is_finite()));
        }
        for (value, gradient) in run(&[0.0, f32::MIN, 1.0], &[0.5, f32::MIN, 1.0], kind) {
            // The largest is 0.207, of both directions together.
            assert!(
                value[0].is_finite() && value[0] < 0.1 && gradient.iter().all(|g| g.abs() < 0.21),
                "{kind:?} {value:?} {gradient:?}"
            );
        }
    }
}

#[test]
fn ignored_rows_hold_anything() {
    let logits = [f32::NAN, 0.0, 1.0, 2.0];
    let teacher = [0.0, f32::INFINITY, 2.0, 1.0];
    for kind in KINDS {
        let comparison = Comparison {
            teacher: DenseRows::F32(&teacher),
            divergence: kind,
            scale: Scale::All(1.0),
            teacher_scale: Scale::All(1.0),
            ignored: Some(&[true, false]),
        };
        for (values, gradient) in results(&logits, 2, &comparison, Scale::All(1.0), 1) {
            assert!(values[0] == 0.0 && values[1] > 0.0);
            assert!(gradient[..2] == [0.0, 0.0] && gradient[2] != 0.0);
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let comparison = Comparison {
        teacher: DenseRows::F32(&[0.0; 5]),
        divergence: KINDS[0],
        scale: Scale::All(1.0),
        teacher_scale: Scale::All(1.0),
        ignored: None,
    };
    let error = divergence(&[0.0f32; 6], 3, &comparison, &mut [0.0; 2], 1).unwrap_err();
    assert_eq!(error.to_string(), "teacher logits: expected 6 elements, found 5");
    let comparison = Comparison {
        teacher: DenseRows::F32(&[0.0; 6]),
        teacher_scale: Scale::Rows(&[1.0]),
        ..comparison
    };
    let error = divergence(&[0.0f32; 6], 3, &comparison, &mut [0.0; 2], 1).unwrap_err();
    assert_eq!(error.to_string(), "teacher scales: expected 2 elements, found 1");
    let error = divergence(&[0.0f32; 0], 0, &comparison, &mut [0.0; 2], 1).unwrap_err();
    assert_eq!(error, TargetError::NoClasses);
}
