//! The sum of the losses that a kernel gives along with them.

use std::mem::MaybeUninit;

use half::{bf16, f16};
use softlabel_kernels::rows::{
    Masses, MassesBy, Options, Outputs, Scale, Target, spatial_cross_entropy,
    spatial_cross_entropy_gradient, spatial_cross_entropy_in_place,
};

use crate::reference::Number;

/// By a forward, with a gradient, and in place.
fn total<T: Number>(
    rows: usize,
    classes: usize,
    spatial: usize,
    threads: usize,
) -> (f64, Vec<T::Sum>)
where
    T::Sum: Number,
{
    let number = |i: usize| T::of(((i * 7919) % 1013) as f64 * 0.01);
    let mut logits: Vec<T> = (0..rows * classes).map(number).collect();
    let labels: Vec<i64> = (0..rows).map(|row| (row * 31 % classes) as i64).collect();
    let one = T::Sum::of(1.0);
    let target = Target { ignore_index: Some(0), ..Target::labels(&labels, one) };
    let (options, scale) = (Options::default(), Scale::All(one));
    let nothing = T::Sum::of(f64::NAN);

    let (mut losses, mut total) = (vec![nothing; rows], f64::NAN);
    let outputs = Outputs::losses(&mut losses).with_total(&mut total);
    spatial_cross_entropy(&logits, classes, spatial, &target, &options, outputs, threads).unwrap();

    let mut gradient = vec![MaybeUninit::uninit(); logits.len()];
    let (mut again, mut total_again) = (vec![nothing; rows], f64::NAN);
    let outputs = Outputs::losses(&mut again).with_total(&mut total_again);
    spatial_cross_entropy_gradient(
        &logits,
        classes,
        spatial,
        &target,
        &options,
        scale,
        &mut gradient,
        outputs,
        threads,
    )
    .unwrap();
    let sum = |losses: &[T::Sum]| losses.iter().map(|&loss| loss.get()).sum::<f64>();
    assert!((total_again - sum(&again)).abs() <= 1e-13 * total_again);

    let (mut in_place, mut total_in_place) = (vec![nothing; rows], f64::NAN);
    let outputs = Outputs::losses(&mut in_place).with_total(&mut total_in_place);
    spatial_cross_entropy_in_place(
        &mut logits,
        classes,
        spatial,
        &target,
        &options,
        scale,
        outputs,
        threads,
    )
    .unwrap();
    assert_eq!(total_in_place.to_bits(), total_again.to_bits());
    assert!(in_place.iter().zip(&again).all(|(one, other)| one.get() == other.get()));
    (total, losses)
}

fn totals<T: Number>()
where
    T::Sum: Number,
{
    // Rows in groups and single rows, whole groups and a part of one, and classes that are not contiguous.
    for (rows, classes, spatial) in [
        (1, 2, 1),
        (64, 10, 1),
        (20_001, 10, 1),
        (700, 300, 1),
        (9, 5000, 1),
        (15_000, 10, 2500),
        (1200, 80, 300),
    ] {
        let case = format!("{rows}x{classes}, {spatial} in an image");
        let (one, losses) = total::<T>(rows, classes, spatial, 1);
        let sum: f64 = losses.iter().map(|&loss| loss.get()).sum();
        assert!((one - sum).abs() <= 1e-13 * sum.abs(), "{case}: {one} for {sum}");
        assert!(rows == 1 || losses.iter().any(|&loss| loss.get() > 1.0), "{case}");
        for threads in [2, 7] {
            let (other, _) = total::<T>(rows, classes, spatial, threads);
            assert_eq!(other.to_bits(), one.to_bits(), "{case}");
        }
    }
    assert_eq!(total::<T>(0, 3, 1, 2).0, 0.0);
}

#[test]
fn of_f32() {
    totals::<f32>();
}

#[test]
fn of_f64() {
    totals::<f64>();
}

#[test]
fn of_bf16() {
    totals::<bf16>();
}

#[test]
fn of_f16() {
    totals::<f16>();
}

/// The sum alone, and the gradient, of many groups of rows, some of which have ignored rows.
fn alone<T: Number>()
where
    T::Sum: Number,
{
    let (rows, classes) = (20_001, 10);
    let number = |i: usize| T::of(((i * 7919) % 1013) as f64 * 0.01);
    let logits: Vec<T> = (0..rows * classes).map(number).collect();
    let is_ignored = |row: usize| (5_000..5_100).contains(&row);
    let labels: Vec<i64> = (0..rows)
        .map(|row| if is_ignored(row) { -100 } else { (row * 31 % classes) as i64 })
        .collect();
    let (label, uniform) = (T::Sum::of(0.9), T::Sum::of(0.01));
    let masses = Masses { label, uniform, dense: T::Sum::of(0.0) };
    let target = Target {
        masses: MassesBy::All(masses),
        ignore_index: Some(-100),
        ..Target::labels(&labels, label)
    };
    let of = |is_alone: bool, threads: usize| {
        let mut gradient = vec![MaybeUninit::uninit(); logits.len()];
        let (mut losses, mut total) = (vec![T::Sum::of(0.0); rows], f64::NAN);
        let outputs = Outputs::losses(&mut losses);
        let outputs = if is_alone {
            outputs.with_total_alone(&mut total)
        } else {
            outputs.with_total(&mut total)
        };
        let (options, scale) = (Options::default(), Scale::All(T::Sum::of(1.0)));
        let gradient_of = spatial_cross_entropy_gradient;
        gradient_of(&logits, classes, 1, &target, &options, scale, &mut gradient, outputs, threads)
            .unwrap();
        // SAFETY: Ok means that all of it has been written.
        #[allow(unsafe_code)]
        let gradient = gradient.into_iter().map(|entry| unsafe { entry.assume_init() });
        (total, gradient.collect::<Vec<T>>())
    };
    let (each, by_row) = of(false, 1);
    let (total, gradient) = of(true, 1);
    let epsilon = <T::Sum as Number>::EPSILON;
    assert!((total - each).abs() <= 4.0 * epsilon * each, "{total} for {each}");
    for (at, (found, wanted)) in gradient.iter().zip(&by_row).enumerate() {
        let apart = (found.get() - wanted.get()).abs();
        assert!(apart <= 16.0 * epsilon + T::EPSILON * wanted.get().abs(), "entry {at}");
    }
    for threads in [2, 7] {
        let (other, others) = of(true, threads);
        assert_eq!(other.to_bits(), total.to_bits());
        assert!(others.iter().zip(&gradient).all(|(a, b)| a.bits() == b.bits()));
    }
}

#[test]
fn alone_of_f32() {
    alone::<f32>();
}

#[test]
fn alone_of_f64() {
    alone::<f64>();
}

#[test]
fn alone_of_bf16() {
    alone::<bf16>();
}
