//! The sum of one number a row.

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
    sums.iter().sum::<f64>() + rest
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::{Accumulator, side_by_side};

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
}
