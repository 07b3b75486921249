//! AVX-512 (F, BW, DQ, VL): vectors of 16 `f32` or 8 `f64`, masks for what is left at an end.

#![allow(unsafe_code)]

mod double;
mod transpose;

use std::arch::x86_64::*;
use std::ops::Range;

use half::{bf16, f16};

use super::dispatch::Kernel;
use super::element::Element;
use super::element::sealed::Convert;
use super::exponential::{LOG2_E, single};
use super::packed::PackedRows;
use super::vector::{Lanes, Permute, Read, Vector, Write};
pub(crate) use double::Double;
use transpose::{transpose_in, transpose_out};

/// Runs a kernel with these instructions.
///
/// # Safety
/// The processor has them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) unsafe fn launch<T, V, K>(kernel: K)
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
    K: Kernel<T>,
{
    kernel.run::<V>();
}

/// Runs the kernel of [packed](super::packed) rows with these instructions.
///
/// # Safety
/// The processor has them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) unsafe fn launch_packed<T, V>(rows: PackedRows<'_, '_, '_, T>) -> Range<usize>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Permute<T>,
{
    rows.run::<V>()
}

/// 16 numbers in single precision.
#[derive(Clone, Copy)]
pub(crate) struct Single(__m512);

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// The first `count` of 16 lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

// SAFETY of all that follows: `Vector` says that its methods are called only where the processor
// has the instructions; memory is promised by the callers.

impl Vector for Single {
    type Scalar = f32;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Single(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Single(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Single(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Single(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        Single(unsafe { _mm512_fmadd_ps(self.0, factor.0, summand.0) })
    }
    #[inline(always)]
    fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self {
        unsafe {
            let nonzero = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, _mm512_setzero_ps());
            Single(_mm512_mask3_fmadd_ps(self.0, factor.0, summand.0, nonzero))
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Single(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Single(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn keep(self, count: usize, fill: f32) -> Self {
        Single(unsafe { _mm512_mask_mov_ps(_mm512_set1_ps(fill), first(count), self.0) })
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let [power] = unsafe { exponentials([self]) };
        power
    }
    #[inline(always)]
    fn exp_four(values: [Self; 4]) -> [Self; 4] {
        unsafe { exponentials(values) }
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        use single::{TANH, TANH_LARGE, TANH_SMALL};
        unsafe {
            let size = _mm512_abs_ps(self.0);
            let square = _mm512_mul_ps(self.0, self.0);
            let mut p = _mm512_set1_ps(TANH[0]);
            p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH[1]));
            p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH[2]));
            p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH[3]));
            p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(TANH[4]));
            let small = _mm512_fmadd_ps(_mm512_mul_ps(p, square), self.0, self.0);
            // 1 − 2q/(1 + q), q = e^{−2|a|}.
            let capped = _mm512_min_ps(_mm512_set1_ps(TANH_LARGE), size);
            let q = Single(_mm512_mul_ps(capped, _mm512_set1_ps(-2.0))).exp().0;
            let one = _mm512_set1_ps(1.0);
            let share = _mm512_div_ps(_mm512_add_ps(q, q), _mm512_add_ps(one, q));
            let large = _mm512_sub_ps(one, share);
            let sign = _mm512_and_ps(self.0, _mm512_set1_ps(-0.0));
            let large = _mm512_or_ps(large, sign);
            let is_large = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(size, _mm512_set1_ps(TANH_SMALL));
            Single(_mm512_mask_mov_ps(small, is_large, large))
        }
    }
    #[inline(always)]
    unsafe fn logarithms(totals: *const f64, logarithms: *mut f64, reciprocals: *mut f64) {
        for at in [0, 8] {
            unsafe {
                let total = _mm512_loadu_pd(totals.add(at));
                _mm512_storeu_pd(logarithms.add(at), short_logarithms(total));
                _mm512_storeu_pd(reciprocals.add(at), short_reciprocals(total));
            }
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        unsafe {
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
            let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0));
            _mm512_reduce_add_pd(_mm512_add_pd(low, high))
        }
    }
    #[inline(always)]
    fn any_equal(self, other: Self) -> bool {
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) != 0 }
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

impl<T: Convert> Permute<T> for Single
where
    Single: Write<T>,
{
    #[inline(always)]
    unsafe fn permute(self, from: *const u32) -> Self {
        unsafe { Single(_mm512_permutexvar_ps(_mm512_loadu_si512(from.cast()), self.0)) }
    }
    #[inline(always)]
    unsafe fn row_maxima(rows: *const T, columns: usize) -> Self {
        unsafe { transpose::row_maxima(rows, columns) }
    }
    #[inline(always)]
    unsafe fn row_sums(rows: *const f32, columns: usize) -> Self {
        unsafe { transpose::row_sums(rows, columns) }
    }
}

/// ln x, to nine digits.
#[inline(always)]
unsafe fn short_logarithms(x: __m512d) -> __m512d {
    use single::LOG;
    unsafe {
        let one = _mm512_set1_pd(1.0);
        let m = _mm512_getmant_pd::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_SRC>(x);
        let exponent = _mm512_getexp_pd(x);
        let is_halved = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(m, one);
        let exponent = _mm512_mask_add_pd(exponent, is_halved, exponent, one);
        let r = _mm512_sub_pd(m, one);
        let mut p = _mm512_set1_pd(LOG[0]);
        for &coefficient in &LOG[1..] {
            p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(coefficient));
        }
        _mm512_fmadd_pd(exponent, _mm512_set1_pd(std::f64::consts::LN_2), _mm512_mul_pd(p, r))
    }
}

/// 1/x of normal numbers, to twelve digits: a division takes several times as long.
#[inline(always)]
unsafe fn short_reciprocals(x: __m512d) -> __m512d {
    unsafe {
        let rough = _mm512_rcp14_pd(x);
        let error = _mm512_fnmadd_pd(x, rough, _mm512_set1_pd(1.0));
        // 1 + e + e², of 1/(1 − e).
        _mm512_fmadd_pd(rough, _mm512_fmadd_pd(error, error, error), rough)
    }
}

/// e^x of N vectors, each step for all of them before the next.
#[inline(always)]
unsafe fn exponentials<const N: usize>(values: [Single; N]) -> [Single; N] {
    use single::{EXP, LN2_HIGH, LN2_LOW, LOWEST};
    unsafe {
        #[allow(clippy::cast_possible_truncation)]
        let log2_e = _mm512_set1_ps(LOG2_E as f32);
        let one = _mm512_set1_ps(1.0);
        let x = values.map(|value| value.0);
        let (mut is_normal, mut n, mut r) = ([0; N], x, x);
        for i in 0..N {
            // Also where x is NaN.
            is_normal[i] = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x[i], _mm512_set1_ps(LOWEST));
            n[i] = _mm512_mul_ps(x[i], log2_e);
        }
        for n in &mut n {
            *n = _mm512_roundscale_ps::<NEAREST>(*n);
        }
        for (r, n) in r.iter_mut().zip(n) {
            *r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HIGH), *r);
        }
        for (r, n) in r.iter_mut().zip(n) {
            *r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LOW), *r);
        }
        let mut p = [_mm512_set1_ps(EXP[0]); N];
        for &coefficient in &EXP[1..] {
            for (p, r) in p.iter_mut().zip(r) {
                *p = _mm512_fmadd_ps(*p, r, _mm512_set1_ps(coefficient));
            }
        }
        for _ in 0..2 {
            for (p, r) in p.iter_mut().zip(r) {
                *p = _mm512_fmadd_ps(*p, r, one);
            }
        }
        let mut powers = values;
        for i in 0..N {
            powers[i] = Single(_mm512_maskz_scalef_ps(is_normal[i], p[i], n[i]));
        }
        powers
    }
}

impl Read<f32> for Single {
    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        Single(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn read_part(from: *const f32, count: usize) -> Self {
        Single(unsafe { _mm512_maskz_loadu_ps(first(count), from) })
    }
    #[inline(always)]
    unsafe fn read_columns(
        rows: &[*const f32],
        from: usize,
        count: usize,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { transpose_in(rows, from, count, to, stride) }
    }
}

impl Write<f32> for Single {
    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut f32) {
        unsafe { _mm512_stream_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn write_columns(
        rows: &[*mut f32],
        to: usize,
        count: usize,
        from: *const f32,
        stride: usize,
    ) {
        unsafe { transpose_out(rows, to, count, from, stride) }
    }
}

impl Read<bf16> for Single {
    #[inline(always)]
    unsafe fn read(from: *const bf16) -> Self {
        unsafe { Single(widen_bf16(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn read_part(from: *const bf16, count: usize) -> Self {
        unsafe { Single(widen_bf16(_mm256_maskz_loadu_epi16(first(count), from.cast()))) }
    }
    #[inline(always)]
    unsafe fn read_columns(
        rows: &[*const bf16],
        from: usize,
        count: usize,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { transpose_in(rows, from, count, to, stride) }
    }
}

impl Write<bf16> for Single {
    #[inline(always)]
    unsafe fn write(self, to: *mut bf16) {
        unsafe { _mm256_storeu_si256(to.cast(), narrow_bf16(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut bf16, count: usize) {
        unsafe { _mm256_mask_storeu_epi16(to.cast(), first(count), narrow_bf16(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut bf16) {
        unsafe { _mm256_stream_si256(to.cast(), narrow_bf16(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_columns(
        rows: &[*mut bf16],
        to: usize,
        count: usize,
        from: *const f32,
        stride: usize,
    ) {
        unsafe { transpose_out(rows, to, count, from, stride) }
    }
}

impl Read<f16> for Single {
    #[inline(always)]
    unsafe fn read(from: *const f16) -> Self {
        unsafe { Single(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn read_part(from: *const f16, count: usize) -> Self {
        unsafe { Single(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(count), from.cast()))) }
    }
    #[inline(always)]
    unsafe fn read_columns(
        rows: &[*const f16],
        from: usize,
        count: usize,
        to: *mut f32,
        stride: usize,
    ) {
        unsafe { transpose_in(rows, from, count, to, stride) }
    }
}

impl Write<f16> for Single {
    #[inline(always)]
    unsafe fn write(self, to: *mut f16) {
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<NEAREST>(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut f16, count: usize) {
        unsafe {
            let bits = _mm512_cvtps_ph::<NEAREST>(self.0);
            _mm256_mask_storeu_epi16(to.cast(), first(count), bits);
        }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut f16) {
        unsafe { _mm256_stream_si256(to.cast(), _mm512_cvtps_ph::<NEAREST>(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_columns(
        rows: &[*mut f16],
        to: usize,
        count: usize,
        from: *const f32,
        stride: usize,
    ) {
        unsafe { transpose_out(rows, to, count, from, stride) }
    }
}

impl Read<f64> for Single {}

impl Read<bool> for Single {
    #[inline(always)]
    unsafe fn read(from: *const bool) -> Self {
        unsafe { widen_bool(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn read_part(from: *const bool, count: usize) -> Self {
        unsafe { widen_bool(_mm_maskz_loadu_epi8(first(count), from.cast())) }
    }
}

#[inline(always)]
unsafe fn widen_bool(bytes: __m128i) -> Single {
    unsafe { Single(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))) }
}

/// bf16 is the upper half of the bits of an `f32`.
#[inline(always)]
unsafe fn widen_bf16(bits: __m256i) -> __m512 {
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))) }
}

/// The upper half of the bits, rounded to nearest, ties to even; NaN stays NaN.
#[inline(always)]
unsafe fn narrow_bf16(values: __m512) -> __m256i {
    unsafe {
        let bits = _mm512_castps_si512(values);
        let is_odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7fff));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
        let rounded = _mm512_add_epi32(bits, up);
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
        let bits = _mm512_mask_mov_epi32(rounded, is_nan, quiet);
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits))
    }
}
