//! Gradients so large that they are written past the caches: a row has the bits that it has by itself.
//!
//! The number of classes is odd, so that rows begin anywhere in a vector.

use std::mem::MaybeUninit;

use half::{bf16, f16};
use softlabel_kernels::rows::{
    Comparison, Dense, DenseRows, Divergence, Masses, MassesBy, Options, Outputs, Scale, Target,
    TargetError, cross_entropy_gradient, cross_entropy_in_place, divergence_gradient,
    with_cpu_features,
};

use crate::reference::{Number, Random};

const CLASSES: usize = 16_411;
/// Kernels take the way past the caches from here on.
const BYTES: usize = 32 << 20;

/// Compares rows of a gradient of all rows with those of the gradient of each row alone.
fn check<T: Number>(
    gradient: impl Fn(&[T], std::ops::Range<usize>, &mut [MaybeUninit<T>]) -> Result<(), TargetError>,
) {
    let rows = BYTES / size_of::<T>() / CLASSES + 1;
    let mut random = Random(5);
    let few: Vec<T> = random.numbers(4 * CLASSES + 7, 3.0);
    // Shifted copies, because drawing so many numbers takes longer than all else.
    let logits: Vec<T> = few.iter().cycle().take(rows * CLASSES).copied().collect();
    let written = |range: std::ops::Range<usize>| {
        let part = &logits[range.start * CLASSES..range.end * CLASSES];
        let mut to = vec![MaybeUninit::uninit(); part.len()];
        gradient(part, range, &mut to).unwrap();
        // SAFETY: Ok means that all of it has been written.
        #[allow(unsafe_code)]
        to.into_iter().map(|entry| unsafe { entry.assume_init() }.bits()).collect::<Vec<_>>()
    };
    for name in ["avx512", "avx2", "portable"] {
        let _ = with_cpu_features(name, || {
            let all = written(0..rows);
            for row in [0, 1, 2, 3, rows / 2, rows - 1] {
                let own = &all[row * CLASSES..(row + 1) * CLASSES];
                assert!(own == written(row..row + 1), "row {row} of {rows}, {name}");
            }
        });
    }
}

fn cross_entropies<T: Number>()
where
    T::Sum: Number,
{
    let labels = |rows: std::ops::Range<usize>| -> Vec<i64> {
        rows.map(|row| i64::try_from(row * 7919 % CLASSES).unwrap()).collect()
    };
    let scale = Scale::All(T::Sum::of(0.01));
    check::<T>(|logits, rows, to| {
        let uniform = T::Sum::of(0.1 / CLASSES as f64);
        let masses = Masses { label: T::Sum::of(0.9), uniform, dense: T::Sum::of(0.0) };
        let labels = labels(rows.clone());
        let target =
            Target { masses: MassesBy::All(masses), ..Target::labels(&labels, T::Sum::of(1.0)) };
        let mut losses = vec![T::Sum::default(); rows.len()];
        let (options, outputs) = (Options::default(), Outputs::losses(&mut losses));
        cross_entropy_gradient(logits, CLASSES, &target, &options, scale, to, outputs, 2)
    });
    let prior: Vec<T::Sum> = (0..CLASSES)
        .map(|class| T::Sum::of((class % 10) as f64 / (4.5 * CLASSES as f64)))
        .collect();
    check::<T>(|logits, rows, to| {
        let masses =
            Masses { label: T::Sum::of(0.8), uniform: T::Sum::of(0.0), dense: T::Sum::of(0.2) };
        let labels = labels(rows.clone());
        let target = Target {
            masses: MassesBy::All(masses),
            dense: Dense::Vector(&prior),
            ..Target::labels(&labels, T::Sum::of(1.0))
        };
        let mut losses = vec![T::Sum::default(); rows.len()];
        let (options, outputs) = (Options::default(), Outputs::losses(&mut losses));
        cross_entropy_gradient(logits, CLASSES, &target, &options, scale, to, outputs, 2)
    });
}

#[test]
fn of_a_cross_entropy_in_f32() {
    cross_entropies::<f32>();
}

#[test]
fn of_a_cross_entropy_in_bf16() {
    cross_entropies::<bf16>();
}

#[test]
fn of_a_cross_entropy_in_f16() {
    cross_entropies::<f16>();
}

#[test]
fn of_a_cross_entropy_in_f64() {
    cross_entropies::<f64>();
}

/// Rows beyond element 2³¹ are found and written where they are: the last has the bits that it has by itself.
#[test]
fn more_elements_than_an_i32_counts() {
    const CLASSES: usize = 128_256;
    let Some(gigabytes) = available_gigabytes().filter(|&gigabytes| gigabytes > 8.0) else {
        eprintln!("skipped: needs 4.5 GB of memory, and some to spare");
        return;
    };
    eprintln!("{gigabytes:.0} GB of memory are available");
    let rows = (1usize << 31) / CLASSES + 3;
    let few: Vec<bf16> = Random(7).numbers(CLASSES, 3.0);
    let mut logits = vec![bf16::ZERO; rows * CLASSES];
    for (row, logits) in logits.chunks_exact_mut(CLASSES).enumerate() {
        // The same numbers, begun at another place.
        let (end, start) = few.split_at(row * 7919 % CLASSES);
        logits[..start.len()].copy_from_slice(start);
        logits[start.len()..].copy_from_slice(end);
    }
    let labels: Vec<i64> =
        (0..rows).map(|row| i64::try_from(row * 31 % CLASSES).unwrap()).collect();
    let in_place = |logits: &mut [bf16], labels: &[i64]| {
        let masses = Masses { label: 0.9f32, uniform: 0.1 / CLASSES as f32, dense: 0.0 };
        let target = Target { masses: MassesBy::All(masses), ..Target::labels(labels, 1.0f32) };
        let mut losses = vec![0.0f32; labels.len()];
        let (options, outputs) = (Options::default(), Outputs::losses(&mut losses));
        let scale = Scale::All(1.0);
        cross_entropy_in_place(logits, CLASSES, &target, &options, scale, outputs, 2).unwrap();
        losses
    };
    let chosen = [0, rows / 2, rows - 2, rows - 1];
    let of = |row: usize| row * CLASSES..(row + 1) * CLASSES;
    let mut alone: Vec<Vec<bf16>> = chosen.iter().map(|&row| logits[of(row)].to_vec()).collect();
    let losses = in_place(&mut logits, &labels);
    assert!(logits.len() > 1 << 31);
    for (row, alone) in chosen.into_iter().zip(&mut alone) {
        let loss = in_place(alone, &labels[row..=row]);
        assert_eq!(loss[0].to_bits(), losses[row].to_bits(), "row {row}");
        assert!(alone[..] == logits[of(row)], "row {row}");
    }
}

#[test]
fn of_a_divergence() {
    let mut random = Random(6);
    let few: Vec<f32> = random.numbers(4 * CLASSES + 11, 3.0);
    let rows = BYTES / size_of::<f32>() / CLASSES + 1;
    let teacher: Vec<f32> = few.iter().cycle().take(rows * CLASSES).copied().collect();
    for divergence in [
        Divergence::KullbackLeibler { forward: 1.0, reverse: 0.0 },
        Divergence::KullbackLeibler { forward: 0.5, reverse: 0.5 },
    ] {
        check::<f32>(|logits, rows, to| {
            let comparison = Comparison {
                teacher: DenseRows::F32(&teacher[rows.start * CLASSES..rows.end * CLASSES]),
                divergence,
                scale: Scale::All(0.5),
                teacher_scale: Scale::All(0.25),
                ignored: None,
            };
            let mut values = vec![0.0; rows.len()];
            divergence_gradient(logits, CLASSES, &comparison, Scale::All(0.01), to, &mut values, 2)
        });
    }
}

/// As Linux tells it; `None` elsewhere.
fn available_gigabytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1e6)
}
