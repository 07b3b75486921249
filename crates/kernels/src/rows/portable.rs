//! Vectors as arrays: what every processor can do, and what the compiler makes vectors of where it
//! may. On aarch64 that is always: every processor has NEON, and multiplies and adds in one
//! instruction; on x86-64 without being told it is SSE2, which does not.

use super::element::sealed::Convert;
use super::exponential::{exp_double, exp_single};
use super::vector::{Read, Vector, Write};

/// N numbers.
#[derive(Clone, Copy)]
pub(crate) struct Array<A, const N: usize>([A; N]);

/// The portable vector of `f32`.
pub(crate) type Single = Array<f32, 8>;
/// The portable vector of `f64`.
pub(crate) type Double = Array<f64, 4>;

macro_rules! array {
    ($real:ident, $lanes:literal, $exp:ident) => {
        #[allow(unsafe_code)]
        impl Vector for Array<$real, $lanes> {
            type Scalar = $real;
            const LANES: usize = $lanes;
            const HAS_MANY_REGISTERS: bool = false;

            #[inline(always)]
            fn splat(value: $real) -> Self {
                Array([value; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $real) -> Self {
                // SAFETY: an array of numbers has their layout; promised by the caller.
                Array(unsafe { from.cast::<[$real; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $real) {
                // SAFETY: an array of numbers has their layout; promised by the caller.
                unsafe { to.cast::<[$real; $lanes]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = self.0[i] + other.0[i];
                }
                Array(lanes)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = self.0[i] * other.0[i];
                }
                Array(lanes)
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, summand: Self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = if cfg!(target_arch = "aarch64") {
                        self.0[i].mul_add(factor.0[i], summand.0[i])
                    } else {
                        self.0[i] * factor.0[i] + summand.0[i]
                    };
                }
                Array(lanes)
            }
            #[inline(always)]
            fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self {
                let sum = self.mul_add(factor, summand);
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = if self.0[i] == 0.0 { summand.0[i] } else { sum.0[i] };
                }
                Array(lanes)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] };
                }
                Array(lanes)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] };
                }
                Array(lanes)
            }
            #[inline(always)]
            fn keep(self, count: usize, fill: $real) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = if i < count { self.0[i] } else { fill };
                }
                Array(lanes)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = $exp(self.0[i]);
                }
                Array(lanes)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                let mut lanes = self.0;
                for i in 0..$lanes {
                    lanes[i] = self.0[i].tanh();
                }
                Array(lanes)
            }
            #[inline(always)]
            fn largest(self) -> $real {
                let mut largest = self.0[0];
                for &value in &self.0[1..] {
                    largest = if value > largest { value } else { largest };
                }
                largest
            }
            #[inline(always)]
            fn sum(self) -> f64 {
                self.0.iter().map(|value| value.to_f64()).sum()
            }
            #[inline(always)]
            fn any_equal(self, other: Self) -> bool {
                self.0.iter().zip(&other.0).any(|(a, b)| a == b)
            }
        }

        impl<T: Convert> Read<T> for Array<$real, $lanes> {}
        impl<T: Convert> Write<T> for Array<$real, $lanes> {}
    };
}
array!(f32, 8, exp_single);
array!(f64, 4, exp_double);
