//! Vectors of 8 numbers in double precision.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::super::exponential::{LOG2_E, double};
use super::super::vector::{Permute, Read, Vector, Write};
use super::{NEAREST, first, transpose};

/// 8 numbers in double precision.
#[derive(Clone, Copy)]
pub(crate) struct Double(pub(super) __m512d);

// SAFETY of all that follows: as in the module above.

impl Vector for Double {
    type Scalar = f64;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Double(unsafe { _mm512_set1_pd(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        Double(unsafe { _mm512_loadu_pd(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        unsafe { _mm512_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Double(unsafe { _mm512_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Double(unsafe { _mm512_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        Double(unsafe { _mm512_fmadd_pd(self.0, factor.0, summand.0) })
    }
    #[inline(always)]
    fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self {
        unsafe {
            let nonzero = _mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(self.0, _mm512_setzero_pd());
            Double(_mm512_mask3_fmadd_pd(self.0, factor.0, summand.0, nonzero))
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Double(unsafe { _mm512_max_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Double(unsafe { _mm512_min_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn keep(self, count: usize, fill: f64) -> Self {
        Double(unsafe { _mm512_mask_mov_pd(_mm512_set1_pd(fill), first(count) as u8, self.0) })
    }
    #[inline(always)]
    fn exp(self) -> Self {
        use double::{EXP, LN2_HIGH, LN2_LOW, LOWEST};
        unsafe {
            let x = self.0;
            let is_normal = _mm512_cmp_pd_mask::<_CMP_NLT_UQ>(x, _mm512_set1_pd(LOWEST));
            let n = _mm512_roundscale_pd::<NEAREST>(_mm512_mul_pd(x, _mm512_set1_pd(LOG2_E)));
            let r = _mm512_fnmadd_pd(n, _mm512_set1_pd(LN2_HIGH), x);
            let r = _mm512_fnmadd_pd(n, _mm512_set1_pd(LN2_LOW), r);
            let mut p = _mm512_set1_pd(EXP[0]);
            for &coefficient in &EXP[1..] {
                p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(coefficient));
            }
            p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(1.0));
            p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(1.0));
            Double(_mm512_maskz_scalef_pd(is_normal, p, n))
        }
    }
    #[inline(always)]
    fn powers_of_two<const N: usize>(values: [Self; N], factors: [Self; N]) -> [Self; N] {
        use double::{POWER, SIXTEENTHS, SIXTEENTHS_ROUNDER};
        unsafe {
            let rounder = _mm512_set1_pd(SIXTEENTHS_ROUNDER);
            let low = _mm512_loadu_pd(SIXTEENTHS.as_ptr());
            let high = _mm512_loadu_pd(SIXTEENTHS.as_ptr().add(8));
            let mut n = values.map(|value| value.0);
            let (mut r, mut roots) = (n, n);
            for i in 0..N {
                let rounded = _mm512_fmadd_pd(values[i].0, factors[i].0, rounder);
                // Its lowest four bits are the sixteenths.
                roots[i] = _mm512_permutex2var_pd(low, _mm512_castpd_si512(rounded), high);
                n[i] = _mm512_sub_pd(rounded, rounder);
            }
            for i in 0..N {
                r[i] = _mm512_fmsub_pd(values[i].0, factors[i].0, n[i]);
            }
            let mut p = [_mm512_set1_pd(POWER[0]); N];
            for &coefficient in &POWER[1..] {
                for (p, r) in p.iter_mut().zip(r) {
                    *p = _mm512_fmadd_pd(*p, r, _mm512_set1_pd(coefficient));
                }
            }
            let mut powers = values;
            for i in 0..N {
                let power = _mm512_fmadd_pd(_mm512_mul_pd(roots[i], r[i]), p[i], roots[i]);
                // Times two to the largest whole number below.
                powers[i] = Double(_mm512_scalef_pd(power, n[i]));
            }
            powers
        }
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        // Caps on logits in double precision are rare enough for the standard library.
        let mut lanes = [0.0; 8];
        unsafe {
            self.store(lanes.as_mut_ptr());
            Self::load(lanes.map(f64::tanh).as_ptr())
        }
    }
    #[inline(always)]
    fn largest(self) -> f64 {
        unsafe { _mm512_reduce_max_pd(self.0) }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        unsafe { _mm512_reduce_add_pd(self.0) }
    }
    #[inline(always)]
    fn sums_of_eight(vectors: [Self; 8]) -> [f64; 8] {
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        unsafe {
            let [a, b, c, d, e, f, g, h] = vectors.map(|vector| vector.0);
            let neighbours =
                |a, b| _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
            let quarters = |a, b| {
                let even = _mm512_shuffle_f64x2::<EVEN>(a, b);
                _mm512_add_pd(even, _mm512_shuffle_f64x2::<ODD>(a, b))
            };
            let first = quarters(neighbours(a, b), neighbours(c, d));
            let second = quarters(neighbours(e, f), neighbours(g, h));
            let mut sums = [0.0; 8];
            Double(quarters(first, second)).store(sums.as_mut_ptr());
            sums
        }
    }
    #[inline(always)]
    fn any_equal(self, other: Self) -> bool {
        unsafe { _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0, other.0) != 0 }
    }
    #[inline(always)]
    fn prefetch<T>(from: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn prefetch_to_write<T>(to: *mut T) {
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(to.cast_const().cast()) }
    }
    #[inline(always)]
    fn fence() {
        unsafe { _mm_sfence() }
    }
}

impl Permute<f64> for Double {
    #[inline(always)]
    unsafe fn permute(self, from: *const u32) -> Self {
        unsafe {
            let from = _mm512_cvtepu32_epi64(_mm256_loadu_si256(from.cast()));
            Double(_mm512_permutexvar_pd(from, self.0))
        }
    }
    #[inline(always)]
    unsafe fn row_maxima(rows: *const f64, columns: usize) -> Self {
        unsafe { transpose::double_row_maxima(rows, columns) }
    }
    #[inline(always)]
    unsafe fn row_sums(rows: *const f64, columns: usize) -> Self {
        unsafe { transpose::double_row_sums(rows, columns) }
    }
}

impl Read<f64> for Double {
    #[inline(always)]
    unsafe fn read(from: *const f64) -> Self {
        Double(unsafe { _mm512_loadu_pd(from) })
    }
    #[inline(always)]
    unsafe fn read_part(from: *const f64, count: usize) -> Self {
        Double(unsafe { _mm512_maskz_loadu_pd(first(count) as u8, from) })
    }
}

impl Write<f64> for Double {
    #[inline(always)]
    unsafe fn write(self, to: *mut f64) {
        unsafe { _mm512_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut f64, count: usize) {
        unsafe { _mm512_mask_storeu_pd(to, first(count) as u8, self.0) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut f64) {
        unsafe { _mm512_stream_pd(to, self.0) }
    }
}

impl Read<f32> for Double {
    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        unsafe { Double(_mm512_cvtps_pd(_mm256_loadu_ps(from))) }
    }
    #[inline(always)]
    unsafe fn read_part(from: *const f32, count: usize) -> Self {
        unsafe { Double(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(first(count) as u8, from))) }
    }
}
impl Read<bf16> for Double {}
impl Read<f16> for Double {}
impl Read<bool> for Double {}
