//! AVX2 with FMA and F16C: vectors of 8 `f32` or 4 `f64`.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::dispatch::Kernel;
use super::element::Element;
use super::exponential::{LOG2_E, double, single};
use super::vector::{Lanes, Read, Vector, Write};

/// Runs a kernel with these instructions.
///
/// # Safety
/// The processor has them.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn launch<T, V, K>(kernel: K)
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
    K: Kernel<T>,
{
    kernel.run::<V>();
}

/// 8 numbers in single precision.
#[derive(Clone, Copy)]
pub(crate) struct Single(__m256);

/// 4 numbers in double precision.
#[derive(Clone, Copy)]
pub(crate) struct Double(__m256d);

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// All bits of the first `count` lanes are read from here.
static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// All bits of the first `count` of 8 lanes.
#[inline(always)]
fn first(count: usize) -> __m256i {
    let start = 8 - count.min(8);
    unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(start).cast()) }
}

/// All bits of the first `count` of 4 lanes of double width.
#[inline(always)]
fn first_double(count: usize) -> __m256i {
    let start = 8 - 2 * count.min(4);
    unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(start).cast()) }
}

// SAFETY of all that follows: `Vector` says that its methods are called only where the processor
// has the instructions; memory is promised by the callers.

impl Vector for Single {
    type Scalar = f32;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Single(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Single(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Single(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Single(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        Single(unsafe { _mm256_fmadd_ps(self.0, factor.0, summand.0) })
    }
    #[inline(always)]
    fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self {
        unsafe {
            let is_zero = _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, _mm256_setzero_ps());
            let sum = _mm256_fmadd_ps(self.0, factor.0, summand.0);
            Single(_mm256_blendv_ps(sum, summand.0, is_zero))
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Single(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Single(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn keep(self, count: usize, fill: f32) -> Self {
        unsafe {
            let mask = _mm256_castsi256_ps(first(count));
            Single(_mm256_blendv_ps(_mm256_set1_ps(fill), self.0, mask))
        }
    }
    #[inline(always)]
    fn exp(self) -> Self {
        use single::{EXP, HIGHEST, LN2_HIGH, LN2_LOW, LOWEST};
        unsafe {
            let x = self.0;
            let is_normal = _mm256_cmp_ps::<_CMP_NLT_UQ>(x, _mm256_set1_ps(LOWEST));
            #[allow(clippy::cast_possible_truncation)]
            let n = _mm256_round_ps::<NEAREST>(_mm256_mul_ps(x, _mm256_set1_ps(LOG2_E as f32)));
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_HIGH), x);
            let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_LOW), r);
            let mut p = _mm256_set1_ps(EXP[0]);
            for &coefficient in &EXP[1..] {
                p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(coefficient));
            }
            p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0));
            p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0));
            // NaN becomes a whole number that shifts to 0.
            let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
            let bits = _mm256_add_epi32(_mm256_castps_si256(p), exponent);
            let result = _mm256_and_ps(_mm256_castsi256_ps(bits), is_normal);
            let is_large = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(HIGHEST));
            Single(_mm256_blendv_ps(result, _mm256_set1_ps(f32::INFINITY), is_large))
        }
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        use single::{TANH, TANH_LARGE, TANH_SMALL};
        unsafe {
            let minus_zero = _mm256_set1_ps(-0.0);
            let size = _mm256_andnot_ps(minus_zero, self.0);
            let square = _mm256_mul_ps(self.0, self.0);
            let mut p = _mm256_set1_ps(TANH[0]);
            for &coefficient in &TANH[1..] {
                p = _mm256_fmadd_ps(p, square, _mm256_set1_ps(coefficient));
            }
            let small = _mm256_fmadd_ps(_mm256_mul_ps(p, square), self.0, self.0);
            // 1 − 2q/(1 + q), q = e^{−2|a|}.
            let capped = _mm256_min_ps(_mm256_set1_ps(TANH_LARGE), size);
            let q = Single(_mm256_mul_ps(capped, _mm256_set1_ps(-2.0))).exp().0;
            let one = _mm256_set1_ps(1.0);
            let share = _mm256_div_ps(_mm256_add_ps(q, q), _mm256_add_ps(one, q));
            let large = _mm256_sub_ps(one, share);
            let large = _mm256_or_ps(large, _mm256_and_ps(self.0, minus_zero));
            let is_large = _mm256_cmp_ps::<_CMP_GT_OQ>(size, _mm256_set1_ps(TANH_SMALL));
            Single(_mm256_blendv_ps(small, large, is_large))
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let high = _mm256_extractf128_ps::<1>(self.0);
            let four = _mm_max_ps(_mm256_castps256_ps128(self.0), high);
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        unsafe {
            let low = _mm256_cvtps_pd(_mm256_castps256_ps128(self.0));
            let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0));
            Double(_mm256_add_pd(low, high)).sum()
        }
    }
    #[inline(always)]
    fn any_equal(self, other: Self) -> bool {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0)) != 0 }
    }
    #[inline(always)]
    fn prefetch<T>(from: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn fence() {
        unsafe { _mm_sfence() }
    }
}

impl Read<f32> for Single {
    #[inline(always)]
    unsafe fn read(from: *const f32) -> Self {
        Single(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn read_part(from: *const f32, count: usize) -> Self {
        Single(unsafe { _mm256_maskload_ps(from, first(count)) })
    }
}

impl Write<f32> for Single {
    #[inline(always)]
    unsafe fn write(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut f32, count: usize) {
        unsafe { _mm256_maskstore_ps(to, first(count), self.0) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut f32) {
        unsafe { _mm256_stream_ps(to, self.0) }
    }
}

impl Read<bf16> for Single {
    #[inline(always)]
    unsafe fn read(from: *const bf16) -> Self {
        // bf16 is the upper half of the bits of an f32.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            Single(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)))
        }
    }
}

impl Write<bf16> for Single {
    #[inline(always)]
    unsafe fn write(self, to: *mut bf16) {
        unsafe { _mm_storeu_si128(to.cast(), narrow_bf16(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut bf16) {
        unsafe { _mm_stream_si128(to.cast(), narrow_bf16(self.0)) }
    }
}

/// The upper half of the bits, rounded to nearest, ties to even; NaN stays NaN.
#[inline(always)]
unsafe fn narrow_bf16(values: __m256) -> __m128i {
    unsafe {
        let bits = _mm256_castps_si256(values);
        let is_odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let up = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff));
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(values, values));
        let rounded = _mm256_add_epi32(bits, up);
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let bits = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, is_nan));
        _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits))
    }
}

impl Read<f16> for Single {
    #[inline(always)]
    unsafe fn read(from: *const f16) -> Self {
        unsafe { Single(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
    }
}

impl Write<f16> for Single {
    #[inline(always)]
    unsafe fn write(self, to: *mut f16) {
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut f16) {
        unsafe { _mm_stream_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
    }
}

impl Read<f64> for Single {}
impl Read<bool> for Single {}

impl Vector for Double {
    type Scalar = f64;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Double(unsafe { _mm256_set1_pd(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        Double(unsafe { _mm256_loadu_pd(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        unsafe { _mm256_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Double(unsafe { _mm256_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Double(unsafe { _mm256_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        Double(unsafe { _mm256_fmadd_pd(self.0, factor.0, summand.0) })
    }
    #[inline(always)]
    fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self {
        unsafe {
            let is_zero = _mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, _mm256_setzero_pd());
            let sum = _mm256_fmadd_pd(self.0, factor.0, summand.0);
            Double(_mm256_blendv_pd(sum, summand.0, is_zero))
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Double(unsafe { _mm256_max_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Double(unsafe { _mm256_min_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn keep(self, count: usize, fill: f64) -> Self {
        unsafe {
            let mask = _mm256_castsi256_pd(first_double(count));
            Double(_mm256_blendv_pd(_mm256_set1_pd(fill), self.0, mask))
        }
    }
    #[inline(always)]
    fn exp(self) -> Self {
        use double::{EXP, HIGHEST, LN2_HIGH, LN2_LOW, LOWEST, ROUNDER};
        unsafe {
            let x = self.0;
            let is_normal = _mm256_cmp_pd::<_CMP_NLT_UQ>(x, _mm256_set1_pd(LOWEST));
            let rounder = _mm256_set1_pd(ROUNDER);
            let shifted = _mm256_fmadd_pd(x, _mm256_set1_pd(LOG2_E), rounder);
            let n = _mm256_sub_pd(shifted, rounder);
            let r = _mm256_fnmadd_pd(n, _mm256_set1_pd(LN2_HIGH), x);
            let r = _mm256_fnmadd_pd(n, _mm256_set1_pd(LN2_LOW), r);
            let mut p = _mm256_set1_pd(EXP[0]);
            for &coefficient in &EXP[1..] {
                p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(coefficient));
            }
            p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(1.0));
            p = _mm256_fmadd_pd(p, r, _mm256_set1_pd(1.0));
            // The lowest bits of `shifted` are those of n.
            let exponent = _mm256_slli_epi64::<52>(_mm256_castpd_si256(shifted));
            let bits = _mm256_add_epi64(_mm256_castpd_si256(p), exponent);
            let result = _mm256_and_pd(_mm256_castsi256_pd(bits), is_normal);
            let is_large = _mm256_cmp_pd::<_CMP_GT_OQ>(x, _mm256_set1_pd(HIGHEST));
            let result = _mm256_blendv_pd(result, _mm256_set1_pd(f64::INFINITY), is_large);
            // A NaN may carry anything in its lowest bits.
            Double(_mm256_blendv_pd(result, x, _mm256_cmp_pd::<_CMP_UNORD_Q>(x, x)))
        }
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        // Caps on logits in double precision are rare enough for the standard library.
        let mut lanes = [0.0; 4];
        unsafe {
            self.store(lanes.as_mut_ptr());
            Self::load(lanes.map(f64::tanh).as_ptr())
        }
    }
    #[inline(always)]
    fn largest(self) -> f64 {
        unsafe {
            let high = _mm256_extractf128_pd::<1>(self.0);
            let two = _mm_max_pd(_mm256_castpd256_pd128(self.0), high);
            _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        unsafe {
            let high = _mm256_extractf128_pd::<1>(self.0);
            let two = _mm_add_pd(_mm256_castpd256_pd128(self.0), high);
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
    #[inline(always)]
    fn any_equal(self, other: Self) -> bool {
        unsafe { _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, other.0)) != 0 }
    }
    #[inline(always)]
    fn prefetch<T>(from: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn fence() {
        unsafe { _mm_sfence() }
    }
}

impl Read<f64> for Double {
    #[inline(always)]
    unsafe fn read(from: *const f64) -> Self {
        Double(unsafe { _mm256_loadu_pd(from) })
    }
    #[inline(always)]
    unsafe fn read_part(from: *const f64, count: usize) -> Self {
        Double(unsafe { _mm256_maskload_pd(from, first_double(count)) })
    }
}

impl Write<f64> for Double {
    #[inline(always)]
    unsafe fn write(self, to: *mut f64) {
        unsafe { _mm256_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut f64, count: usize) {
        unsafe { _mm256_maskstore_pd(to, first_double(count), self.0) }
    }
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut f64) {
        unsafe { _mm256_stream_pd(to, self.0) }
    }
}

impl Read<f32> for Double {}
impl Read<bf16> for Double {}
impl Read<f16> for Double {}
impl Read<bool> for Double {}
