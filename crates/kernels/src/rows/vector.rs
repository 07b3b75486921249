//! What the kernels ask of a processor: a vector of numbers, and reading and writing it.
//!
//! Every method works on each lane by itself unless it says otherwise.
//! Implementations differ in how many lanes there are, and so in the order of a sum; nothing else
//! in a result depends on them beyond the last bit or two.

#![allow(unsafe_code)]

use super::element::sealed::{Convert, Real};
use super::exponential::ln;

/// No vector has more lanes.
pub(crate) const MOST_LANES: usize = 16;

/// A vector of `LANES` numbers.
///
/// The methods must be called where the instructions of the implementation may be executed.
pub(crate) trait Vector: Copy {
    type Scalar: Real;
    const LANES: usize;
    /// Whether four vectors stay in registers where one does.
    const HAS_MANY_REGISTERS: bool = true;

    fn splat(value: Self::Scalar) -> Self;
    /// # Safety
    /// `LANES` numbers can be read.
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// # Safety
    /// `LANES` numbers can be written.
    unsafe fn store(self, to: *mut Self::Scalar);
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// self·factor + summand, in one rounding where the processor can.
    fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// factor·self + summand where self is not 0, summand where it is, whatever the factor.
    fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self;
    /// The larger one. Where one is NaN, either.
    fn max(self, other: Self) -> Self;
    /// The smaller one. Where one is NaN, either.
    fn min(self, other: Self) -> Self;
    /// The lanes below `count`, and `fill` in the others.
    fn keep(self, count: usize, fill: Self::Scalar) -> Self;
    /// e^self: exactly 0 for −∞ and wherever the result would be subnormal, ∞ where it would overflow or
    /// nearly, NaN for NaN.
    fn exp(self) -> Self;
    /// [`exp`](Self::exp) of four, side by side: a processor is kept busy by operations that do not wait for each
    /// other.
    #[inline(always)]
    fn exp_four(values: [Self; 4]) -> [Self; 4] {
        values.map(Self::exp)
    }
    /// 2^(value·factor) of N pairs, side by side, for products of a size below 2⁴⁰: 0 below −1080, ∞ above 1024,
    /// NaN for NaN.
    ///
    /// Within two units in the last place, and what rounding the product makes of it.
    #[inline(always)]
    fn powers_of_two<const N: usize>(values: [Self; N], factors: [Self; N]) -> [Self; N] {
        let ln_2 = Self::splat(Self::Scalar::widen(std::f64::consts::LN_2));
        let mut powers = values;
        for (power, factor) in powers.iter_mut().zip(factors) {
            *power = power.mul(factor).mul(ln_2).exp();
        }
        powers
    }
    /// tanh(self); NaN for NaN.
    fn tanh(self) -> Self;
    /// The logarithms of `LANES` positive numbers and what 1 is over each, to the digits of the scalar and a few; of 0,
    /// ∞ and NaN the logarithms alone.
    ///
    /// # Safety
    /// `LANES` numbers can be read and written.
    #[inline(always)]
    unsafe fn logarithms(totals: *const f64, logarithms: *mut f64, reciprocals: *mut f64) {
        for lane in 0..Self::LANES {
            // SAFETY: promised by the caller.
            unsafe {
                let total = totals.add(lane).read();
                logarithms.add(lane).write(ln(total));
                reciprocals.add(lane).write(1.0 / total);
            }
        }
    }
    /// The largest lane. If a lane is NaN, anything.
    fn largest(self) -> Self::Scalar;
    /// The smallest lane. If a lane is NaN, anything.
    #[inline(always)]
    fn smallest(self) -> Self::Scalar {
        -self.mul(Self::splat(-Self::Scalar::ONE)).largest()
    }
    /// The sum of the lanes, in `f64`.
    fn sum(self) -> f64;
    /// The sums of eight vectors.
    #[inline(always)]
    fn sums_of_eight(vectors: [Self; 8]) -> [f64; 8] {
        vectors.map(Self::sum)
    }
    /// Whether a lane equals the lane of the other.
    fn any_equal(self, other: Self) -> bool;
    /// Has memory fetched into the caches, if there is an instruction for it; wherever it points.
    #[inline(always)]
    fn prefetch<T>(_from: *const T) {}
    /// The same, for memory that is going to be written.
    #[inline(always)]
    fn prefetch_to_write<T>(_to: *mut T) {}
    /// Lets other threads see what was written past the caches.
    fn fence() {}
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
/// A vector whose lanes change places in an instruction, of numbers of a type.
pub(crate) trait Permute<T: Convert>: Write<T> {
    /// Lane i of the result is lane `from[i]` of self.
    ///
    /// # Safety
    /// `LANES` numbers below `LANES` can be read.
    unsafe fn permute(self, from: *const u32) -> Self;
    /// Lane i is the largest of row i of `LANES` rows, one after the other, of so many elements each. If one is NaN,
    /// anything.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn row_maxima(rows: *const T, columns: usize) -> Self;
    /// Lane i is the sum of row i of such rows.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn row_sums(rows: *const Self::Scalar, columns: usize) -> Self;
}

/// The largest of four, lane by lane.
#[inline(always)]
pub(crate) fn most<V: Vector>([a, b, c, d]: [V; 4]) -> V {
    a.max(b).max(c.max(d))
}

/// The sum of four, lane by lane.
#[inline(always)]
pub(crate) fn sum_of<V: Vector>([a, b, c, d]: [V; 4]) -> V {
    a.add(b).add(c.add(d))
}

/// Reading numbers of a type into a vector.
pub(crate) trait Read<T: Convert>: Vector {
    /// # Safety
    /// `LANES` elements can be read.
    #[inline(always)]
    unsafe fn read(from: *const T) -> Self {
        let mut lanes = [Self::Scalar::ZERO; MOST_LANES];
        for (lane, value) in lanes[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: lane < LANES; promised by the caller.
            *value = Self::Scalar::widen(unsafe { from.add(lane).read_unaligned() });
        }
        // SAFETY: the array holds at least LANES numbers.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// The first `count` ≤ `LANES` lanes; 0 in the others.
    ///
    /// # Safety
    /// `count` elements can be read.
    #[inline(always)]
    unsafe fn read_part(from: *const T, count: usize) -> Self {
        let mut lanes = [Self::Scalar::ZERO; MOST_LANES];
        for (lane, value) in lanes[..count].iter_mut().enumerate() {
            // SAFETY: lane < count; promised by the caller.
            *value = Self::Scalar::widen(unsafe { from.add(lane).read_unaligned() });
        }
        // SAFETY: the array holds at least LANES numbers.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// `to[j·stride + i]` = element j of row i, for j below `count` ≤ 16 and every lane i.
    ///
    /// # Safety
    /// There are `LANES` rows, and `count` elements can be read from each; as many vectors can be
    /// written, `stride` numbers apart.
    #[inline(always)]
    unsafe fn read_columns(
        rows: &[*const T],
        from: usize,
        count: usize,
        to: *mut Self::Scalar,
        stride: usize,
    ) {
        for (lane, row) in rows.iter().enumerate() {
            for column in 0..count {
                // SAFETY: promised by the caller.
                unsafe {
                    let value = Self::Scalar::widen(row.add(from + column).read_unaligned());
                    to.add(column * stride + lane).write(value);
                }
            }
        }
    }
}

/// Writing a vector as numbers of a type, rounded to nearest, ties to even.
pub(crate) trait Write<T: Convert>: Read<T> {
    /// # Safety
    /// `LANES` elements can be written.
    #[inline(always)]
    unsafe fn write(self, to: *mut T) {
        // SAFETY: promised by the caller.
        unsafe { self.write_part(to, Self::LANES) }
    }

    /// The first `count` ≤ `LANES` lanes.
    ///
    /// # Safety
    /// `count` elements can be written.
    #[inline(always)]
    unsafe fn write_part(self, to: *mut T, count: usize) {
        let mut lanes = [Self::Scalar::ZERO; MOST_LANES];
        // SAFETY: the array holds at least LANES numbers.
        unsafe { self.store(lanes.as_mut_ptr()) }
        for (lane, value) in lanes[..count].iter().enumerate() {
            // SAFETY: lane < count; promised by the caller.
            unsafe { to.add(lane).write_unaligned(value.narrow()) }
        }
    }

    /// Writes past the caches if there are instructions for that.
    ///
    /// # Safety
    /// As [`write`](Self::write); `to` is aligned to `LANES` elements. A fence comes before
    /// another thread looks.
    #[inline(always)]
    unsafe fn write_past_caches(self, to: *mut T) {
        // SAFETY: promised by the caller.
        unsafe { self.write(to) }
    }

    /// Element j of row i = `from[j·stride + i]`, for j below `count` ≤ 16 and every row i.
    ///
    /// # Safety
    /// There are at most `LANES` rows, and `count` elements can be written to each; as many vectors
    /// can be read, `stride` numbers apart.
    #[inline(always)]
    unsafe fn write_columns(
        rows: &[*mut T],
        to: usize,
        count: usize,
        from: *const Self::Scalar,
        stride: usize,
    ) {
        for (lane, row) in rows.iter().enumerate() {
            for column in 0..count {
                // SAFETY: promised by the caller.
                unsafe {
                    let value = from.add(column * stride + lane).read();
                    row.add(to + column).write_unaligned(value.narrow());
                }
            }
        }
    }
}

/// Reads a vector; the type of the element decides how.
///
/// # Safety
/// `LANES` elements can be read.
#[inline(always)]
pub(crate) unsafe fn read<V: Read<T>, T: Convert>(from: *const T) -> V {
    // SAFETY: promised by the caller.
    unsafe { V::read(from) }
}

/// Reads the first lanes of a vector, 0 in the others.
///
/// # Safety
/// `count` ≤ `LANES` elements can be read.
#[inline(always)]
pub(crate) unsafe fn read_part<V: Read<T>, T: Convert>(from: *const T, count: usize) -> V {
    // SAFETY: promised by the caller.
    unsafe { V::read_part(from, count) }
}

/// Vectors that read everything a dense row can be stored as, and their own numbers.
pub(crate) trait Lanes:
    Vector
    + Write<<Self as Vector>::Scalar>
    + Read<f32>
    + Read<f64>
    + Read<half::bf16>
    + Read<half::f16>
    + Read<bool>
{
}

impl<V> Lanes for V where
    V: Vector
        + Write<<V as Vector>::Scalar>
        + Read<f32>
        + Read<f64>
        + Read<half::bf16>
        + Read<half::f16>
        + Read<bool>
{
}
