//! Sums over the classes of one row, while it is in the nearest cache.

use super::ORDER;
use crate::rows::sweep::sweep;
use crate::rows::vector::{Lanes, Write, most, read, read_part, sum_of};

/// No difference is taken to be below this: its weight is 0, and so is its product with the fourth power.
const FAR: f64 = -1e70;

/// Bytes of a line of the caches.
const LINE: usize = 64;

/// Two to this power is 0, or next to nothing.
const VANISHING: f64 = -1080.0;

/// Room for a row in `f64`.
pub(super) struct Space {
    values: Vec<f64>,
    start: usize,
}

impl Space {
    pub(super) fn new(classes: usize) -> Self {
        let values = vec![0.0; classes + LINE / size_of::<f64>()];
        // Vectors that lie across two lines of a cache are read and written at half the speed.
        let start = values.as_ptr().align_offset(LINE).min(values.len() - classes);
        Self { values, start }
    }

    #[inline(always)]
    pub(super) fn of(&mut self, classes: usize) -> &mut [f64] {
        &mut self.values[self.start..][..classes]
    }
}

/// Writes a row in `f64`, and gives its highest value and its sum.
#[inline(always)]
pub(super) fn widen<V, T>(row: &[T], wide: &mut [f64]) -> (f64, f64)
where
    V: Lanes<Scalar = f64> + Write<f64>,
    T: Copy + Into<f64>,
{
    let lowest = V::splat(f64::NEG_INFINITY);
    let mut highest = [lowest; 4];
    let mut sums = [V::splat(0.0); 4];
    let size = wide.len().min(row.len());
    // SAFETY: offsets stay below the length of both.
    #[allow(unsafe_code)]
    unsafe {
        let (from, to) = (row.as_ptr(), wide.as_mut_ptr());
        sweep!(size, V::LANES;
            (slot, at) {
                for lane in 0..V::LANES {
                    to.add(at + lane).write((*from.add(at + lane)).into());
                }
                let values = read::<V, f64>(to.add(at));
                highest[slot] = highest[slot].max(values);
                sums[slot] = sums[slot].add(values);
            }
            (slot, at, count) {
                for lane in 0..count {
                    to.add(at + lane).write((*from.add(at + lane)).into());
                }
                let values = read_part::<V, f64>(to.add(at), count);
                highest[slot] = highest[slot].max(values.keep(count, f64::NEG_INFINITY));
                sums[slot] = sums[slot].add(values);
            }
        );
    }
    (most(highest).largest(), sum_of(sums).sum())
}

/// The mean of highest − z over the classes of a row that can be; 0 if none can.
pub(super) fn mean_distance(row: &[f64], highest: f64) -> f64 {
    let possible = || row.iter().filter(|&&z| z > f64::NEG_INFINITY);
    let sum: f64 = possible().map(|z| highest - z).sum();
    if possible().next().is_none() { 0.0 } else { sum / possible().count() as f64 }
}

/// What e^{βd} is taken with.
#[derive(Clone, Copy)]
pub(super) struct Tilt<V> {
    /// β·log₂ e.
    factor: V,
    /// In place of all d below: the power is 0 there.
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

/// Σ d^j e^{βd} of a row, for j = 0, …, [`ORDER`], and Σ e^d if it is asked for, else 0.
#[inline(always)]
pub(super) fn moments<V: Lanes<Scalar = f64> + Write<f64>>(
    row: &[f64],
    highest: f64,
    tilt: Tilt<V>,
    upright: Option<Tilt<V>>,
) -> ([f64; ORDER + 1], f64) {
    match upright {
        Some(upright) => sums::<V, true>(row, highest, tilt, upright),
        None => sums::<V, false>(row, highest, tilt, tilt),
    }
}

/// As [`moments`], `BOTH` saying whether both are asked for.
#[inline(always)]
fn sums<V: Lanes<Scalar = f64> + Write<f64>, const BOTH: bool>(
    row: &[f64],
    highest: f64,
    tilt: Tilt<V>,
    upright: Tilt<V>,
) -> ([f64; ORDER + 1], f64) {
    let shift = V::splat(-highest);
    let (mut sums, mut total) = ([V::splat(0.0); ORDER + 1], V::splat(0.0));
    // SAFETY: offsets stay below the length of the row.
    #[allow(unsafe_code)]
    unsafe {
        let from = row.as_ptr();
        let mut at = 0;
        // Several exponentials at a time: none need wait for another.
        while at + 2 * V::LANES <= row.len() {
            let differences = [at, at + V::LANES].map(|at| read::<V, f64>(from.add(at)).add(shift));
            let [one, other] = differences.map(|d| tilt.clamp(d));
            if BOTH {
                let [first, second] = differences.map(|d| upright.clamp(d));
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
            let count = V::LANES.min(row.len() - at);
            let values = read_part::<V, f64>(from.add(at), count).add(shift);
            let differences = values.keep(count, f64::NEG_INFINITY);
            let one = tilt.clamp(differences);
            let [power] = V::powers_of_two([one], [tilt.factor]);
            add_powers(one, power, &mut sums);
            if BOTH {
                let other = upright.clamp(differences);
                let [power] = V::powers_of_two([other], [upright.factor]);
                total = total.add(power);
            }
            at += count;
        }
    }
    let [a, b, c, d, e, f, g] = sums;
    let [moments @ .., total] = V::sums_of_eight([a, b, c, d, e, f, g, total]);
    (moments, total)
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
