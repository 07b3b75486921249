//! Sums over the classes of one row, while it is in the nearest cache.

use super::ORDER;
use crate::rows::vector::{Lanes, MOST_LANES, Write};

/// No difference is taken to be below this, so that its sixth power is a number.
const FAR: f64 = -1e50;

/// Two to this power is next to nothing, and still a normal number when it is multiplied by small differences: for what is
/// below, some processors take a hundred times as long.
const VANISHING: f64 = -600.0;

/// The highest value of a row; −∞ if there is none.
#[inline(always)]
pub(super) fn highest<T: Copy + Into<f64> + PartialOrd>(row: &[T]) -> f64 {
    let Some(&first) = row.first() else { return f64::NEG_INFINITY };
    // Side by side, which the compiler makes vectors of; in loops, as a closure may not be inlined.
    let mut most = [first; 16];
    let mut left = row;
    while let Some((chunk, rest)) = left.split_first_chunk() {
        take(&mut most, chunk);
        left = rest;
    }
    if let (false, Some(last)) = (left.is_empty(), row.last_chunk()) {
        // What is left, with what comes before it.
        take(&mut most, last);
        left = &[];
    }
    let [mut eight, mut four] = [[first; 8]; 2];
    for i in 0..8 {
        eight[i] = larger(most[i], most[i + 8]);
    }
    for i in 0..4 {
        four[i] = larger(eight[i], eight[i + 4]);
    }
    let most = larger(larger(four[0], four[2]), larger(four[1], four[3]));
    left.iter().fold(most, |most, &value| larger(most, value)).into()
}

#[inline(always)]
fn take<T: Copy + PartialOrd>(most: &mut [T; 16], values: &[T; 16]) {
    for i in 0..16 {
        most[i] = larger(most[i], values[i]);
    }
}

#[inline(always)]
fn larger<T: PartialOrd>(one: T, other: T) -> T {
    if other > one { other } else { one }
}

/// The mean of highest − z over the classes of a row that can be; 0 if none can.
pub(super) fn mean_distance<T: Copy + Into<f64>>(row: &[T], highest: f64) -> f64 {
    let possible = || row.iter().map(|&z| z.into()).filter(|&z: &f64| z > f64::NEG_INFINITY);
    let sum: f64 = possible().map(|z| highest - z).sum();
    if possible().next().is_none() { 0.0 } else { sum / possible().count() as f64 }
}

/// 0 in the lanes that the last vector of a row of so many classes shares with the one before it, 1 in the others.
#[inline(always)]
pub(super) fn unshared<V: Lanes<Scalar = f64>>(classes: usize) -> V {
    V::splat(0.0).keep((V::LANES - classes % V::LANES) % V::LANES, 1.0)
}

/// What e^{βd} is taken with.
#[derive(Clone, Copy)]
pub(super) struct Tilt<V> {
    /// β·log₂ e.
    factor: V,
    /// In place of all d below.
    lowest: V,
}

impl<V: Lanes<Scalar = f64>> Tilt<V> {
    /// Of β > 0.
    #[inline(always)]
    pub(super) fn new(beta: f64) -> Self {
        let factor = beta * std::f64::consts::LOG2_E;
        let lowest = (VANISHING / factor).max(FAR);
        Tilt { factor: V::splat(factor), lowest: V::splat(lowest) }
    }

    /// NaN stays NaN.
    #[inline(always)]
    fn clamp(&self, differences: V) -> V {
        self.lowest.max(differences)
    }
}

/// Sums over the classes of a row.
pub(super) struct RowSums {
    /// Σ d^j e^{βd}, for j = 0, …, [`ORDER`].
    pub(super) moments: [f64; ORDER + 1],
    /// Σ e^d if it is asked for, else 0.
    pub(super) upright: f64,
    /// −Σ d.
    pub(super) distance: f64,
}

impl RowSums {
    /// Those of a row with its highest value, and with what is [`unshared`] of its last vector.
    #[inline(always)]
    pub(super) fn new<V, T>(
        row: &[T],
        highest: f64,
        unshared: V,
        tilt: Tilt<V>,
        upright: Option<Tilt<V>>,
    ) -> Self
    where
        V: Lanes<Scalar = f64> + Write<f64>,
        T: Copy + Into<f64>,
    {
        match upright {
            Some(upright) => sums::<V, T, true>(row, highest, unshared, tilt, upright),
            None => sums::<V, T, false>(row, highest, unshared, tilt, tilt),
        }
    }
}

/// As [`RowSums::new`], `BOTH` saying whether both are asked for.
#[inline(always)]
fn sums<V, T, const BOTH: bool>(
    row: &[T],
    highest: f64,
    unshared: V,
    tilt: Tilt<V>,
    upright: Tilt<V>,
) -> RowSums
where
    V: Lanes<Scalar = f64> + Write<f64>,
    T: Copy + Into<f64>,
{
    let shift = V::splat(-highest);
    let (mut sums, mut total) = ([V::splat(0.0); ORDER + 1], V::splat(0.0));
    let mut distances = V::splat(0.0);
    // SAFETY: offsets stay below the length of the row.
    #[allow(unsafe_code)]
    unsafe {
        let from = row.as_ptr();
        let mut at = 0;
        // Several exponentials at a time: none need wait for another.
        while at + 2 * V::LANES <= row.len() {
            let first = widened::<V, T>(from.add(at)).add(shift);
            let second = widened::<V, T>(from.add(at + V::LANES)).add(shift);
            distances = distances.add(first.add(second));
            let [one, other] = [tilt.clamp(first), tilt.clamp(second)];
            if BOTH {
                let [first, second] = [upright.clamp(first), upright.clamp(second)];
                let factors = [tilt.factor, tilt.factor, upright.factor, upright.factor];
                let powers = V::powers_of_two([one, other, first, second], factors);
                add_powers(one, powers[0], &mut sums);
                add_powers(other, powers[1], &mut sums);
                total = total.add(powers[2].add(powers[3]));
            } else {
                let powers = V::powers_of_two([one, other], [tilt.factor; 2]);
                add_powers(one, powers[0], &mut sums);
                add_powers(other, powers[1], &mut sums);
            }
            at += 2 * V::LANES;
        }
        while at < row.len() {
            // A whole vector, of which some lanes may have been taken already.
            let (differences, counted) = if at + V::LANES <= row.len() {
                (widened::<V, T>(from.add(at)).add(shift), V::splat(1.0))
            } else if row.len() >= V::LANES {
                (widened::<V, T>(from.add(row.len() - V::LANES)).add(shift), unshared)
            } else {
                let mut lanes = [highest; MOST_LANES];
                for (lane, value) in lanes.iter_mut().zip(row) {
                    *lane = (*value).into();
                }
                let counted = V::splat(1.0).keep(row.len(), 0.0);
                (V::load(lanes.as_ptr()).add(shift), counted)
            };
            distances = distances.add(differences.mul(counted));
            let one = tilt.clamp(differences);
            if BOTH {
                let other = upright.clamp(differences);
                let powers = V::powers_of_two([one, other], [tilt.factor, upright.factor]);
                add_powers(one, powers[0].mul(counted), &mut sums);
                total = total.add(powers[1].mul(counted));
            } else {
                let [power] = V::powers_of_two([one], [tilt.factor]);
                add_powers(one, power.mul(counted), &mut sums);
            }
            at += V::LANES;
        }
    }
    let [a, b, c, d, e, f, g] = sums;
    let [moments @ .., upright] = V::sums_of_eight([a, b, c, d, e, f, g, total]);
    RowSums { moments, upright, distance: -distances.sum() }
}

/// A vector of numbers of a type that has no vectors of its own.
///
/// # Safety
/// `LANES` numbers can be read.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn widened<V: Lanes<Scalar = f64>, T: Copy + Into<f64>>(from: *const T) -> V {
    let mut lanes = [0.0; MOST_LANES];
    for (lane, value) in lanes[..V::LANES].iter_mut().enumerate() {
        // SAFETY: promised by the caller.
        *value = unsafe { from.add(lane).read() }.into();
    }
    // SAFETY: the array holds at least LANES numbers.
    unsafe { V::load(lanes.as_ptr()) }
}

#[inline(always)]
fn add_powers<V: Lanes<Scalar = f64>>(d: V, weight: V, sums: &mut [V; ORDER + 1]) {
    let second = d.mul(d);
    let fourth = second.mul(second);
    let (first, square) = (weight.mul(d), weight.mul(second));
    sums[0] = sums[0].add(weight);
    sums[1] = sums[1].add(first);
    sums[2] = sums[2].add(square);
    sums[3] = first.mul_add(second, sums[3]);
    sums[4] = weight.mul_add(fourth, sums[4]);
    sums[5] = first.mul_add(fourth, sums[5]);
    sums[6] = square.mul_add(fourth, sums[6]);
}
