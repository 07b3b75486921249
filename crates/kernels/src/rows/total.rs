//! The sum of one number a row.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Accumulator;
use super::dispatch::{Instructions, Kernel};
use super::element::sealed::Launch;
use super::vector::{Lanes, Write};

/// Σ of numbers, in f64.
///
/// ```
/// use softlabel_kernels::rows::total;
///
/// let losses = vec![0.1f32; 1_000_000];
/// assert!((total(&losses) - 1e6 * f64::from(0.1f32)).abs() < 1e-6);
/// ```
pub fn total<A: Accumulator>(values: &[A]) -> f64 {
    let sum = AtomicU64::new(0);
    totals(values, values.len().max(1), std::slice::from_ref(&sum), Instructions::current());
    f64::from_bits(sum.into_inner())
}

/// The bits of the sums of so many numbers each.
pub(super) fn totals<A: Accumulator>(
    values: &[A],
    each: usize,
    to: &[AtomicU64],
    instructions: Instructions,
) {
    f64::launch(instructions, Sums { values, each, to });
}

/// Numbers to add up, and where their sums go.
struct Sums<'a, A> {
    values: &'a [A],
    each: usize,
    to: &'a [AtomicU64],
}

impl<A: Accumulator> Kernel<f64> for Sums<'_, A> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        for (chunk, to) in self.values.chunks(self.each).zip(self.to) {
            to.store(side_by_side(chunk).to_bits(), Ordering::Relaxed);
        }
    }
}

/// In sums side by side, so that one addition does not wait for another.
#[inline(always)]
fn side_by_side<A: Accumulator>(values: &[A]) -> f64 {
    let mut sums = [0.0; 32];
    let chunks = values.chunks_exact(sums.len());
    let rest: f64 = chunks.remainder().iter().map(|value| value.to_f64()).sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value.to_f64();
        }
    }
    for half in [16, 8, 4, 2, 1] {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(sum, other)| *sum += *other);
    }
    sums[0] + rest
}
