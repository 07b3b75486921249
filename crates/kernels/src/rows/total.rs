//! The sum of one number a row.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Accumulator;
use super::dispatch::Instructions;

/// Σ of numbers, in f64.
///
/// ```
/// use softlabel_kernels::rows::total;
///
/// let losses = vec![0.1f32; 1_000_000];
/// assert!((total(&losses) - 1e6 * f64::from(0.1f32)).abs() < 1e-6);
/// ```
pub fn total<A: Accumulator>(values: &[A]) -> f64 {
    match Instructions::current() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only instructions that are available are ever chosen.
        #[allow(unsafe_code)]
        Instructions::Avx512 => unsafe { x86::total_avx512(values) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        #[allow(unsafe_code)]
        Instructions::Avx2 => unsafe { x86::total_avx2(values) },
        Instructions::Portable => side_by_side(values),
    }
}

/// The sums of so many numbers each, in the order of the numbers.
pub(super) fn totals<A: Accumulator>(values: &[A], each: usize, to: &[AtomicU64]) {
    match Instructions::current() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only instructions that are available are ever chosen.
        #[allow(unsafe_code)]
        Instructions::Avx512 => unsafe { x86::totals_avx512(values, each, to) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        #[allow(unsafe_code)]
        Instructions::Avx2 => unsafe { x86::totals_avx2(values, each, to) },
        Instructions::Portable => chunk_by_chunk(values, each, to),
    }
}

#[inline(always)]
fn chunk_by_chunk<A: Accumulator>(values: &[A], each: usize, to: &[AtomicU64]) {
    for (chunk, to) in values.chunks(each).zip(to) {
        to.store(side_by_side(chunk).to_bits(), Ordering::Relaxed);
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

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::{Accumulator, AtomicU64, chunk_by_chunk, side_by_side};

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn total_avx512<A: Accumulator>(values: &[A]) -> f64 {
        side_by_side(values)
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn total_avx2<A: Accumulator>(values: &[A]) -> f64 {
        side_by_side(values)
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn totals_avx512<A: Accumulator>(
        values: &[A],
        each: usize,
        to: &[AtomicU64],
    ) {
        chunk_by_chunk(values, each, to);
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn totals_avx2<A: Accumulator>(values: &[A], each: usize, to: &[AtomicU64]) {
        chunk_by_chunk(values, each, to);
    }
}
