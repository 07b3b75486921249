//! What a logit can be stored as, and the number it is computed in.
//!
//! bf16, f16 and f32 are computed in `f32`, f64 in `f64`.
//! Widening is exact; narrowing rounds to nearest, ties to even.

use half::{bf16, f16};

use super::dispatch::{Instructions, Kernel};
use super::target::DenseRows;

/// The type of a stored logit: `f32`, `f64`, [`half::bf16`] or [`half::f16`].
///
/// Sealed: the kernels know these four.
#[allow(private_bounds)] // Which seals it.
pub trait Element: Copy + Send + Sync + 'static + sealed::Launch {
    /// The type of masses, losses and log-sum-exps: `f64` for `f64`, `f32` for the others.
    type Sum: Accumulator;
}

/// The two types that arithmetic is done in: `f32` and `f64`.
///
/// Sealed.
#[allow(private_bounds)] // Which seals it.
pub trait Accumulator: Element<Sum = Self> + Default + PartialEq + sealed::Real {}

impl Element for f32 {
    type Sum = f32;
}
impl Element for f64 {
    type Sum = f64;
}
impl Element for bf16 {
    type Sum = f32;
}
impl Element for f16 {
    type Sum = f32;
}
impl Accumulator for f32 {}
impl Accumulator for f64 {}

pub(crate) mod sealed {
    use std::ops::Range;

    use super::super::divergence::DivergenceRows;
    use super::super::long::Long;
    use super::super::packed::PackedRows;
    use super::super::scaling::ScaleRange;
    use super::super::tile::Tiles;
    use super::{DenseRows, Element, Instructions, Kernel};

    /// A value that converts to and from both types of arithmetic.
    pub(crate) trait Convert: Copy + Send + Sync + 'static {
        fn to_f32(self) -> f32;
        fn to_f64(self) -> f64;
        fn from_f32(value: f32) -> Self;
        fn from_f64(value: f64) -> Self;
    }

    /// What the kernels ask of a number.
    pub(crate) trait Real:
        Convert
        + std::fmt::Debug
        + PartialOrd
        + std::ops::Add<Output = Self>
        + std::ops::Sub<Output = Self>
        + std::ops::Mul<Output = Self>
        + std::ops::Div<Output = Self>
        + std::ops::Neg<Output = Self>
    {
        const ZERO: Self;
        const ONE: Self;
        const NEG_INFINITY: Self;
        const NAN: Self;
        /// The distance of 1 to the next number.
        const EPSILON: Self;
        /// Dense rows that are stored as this type.
        fn same_rows(rows: DenseRows<'_>) -> Option<&[Self]>;
        fn widen<T: Convert>(value: T) -> Self;
        fn narrow<T: Convert>(self) -> T;
        fn mul_add(self, factor: Self, summand: Self) -> Self;
        fn tanh(self) -> Self;
    }

    /// Runs a kernel in the arithmetic of an element type with the instructions of a processor.
    ///
    /// The methods without a kernel of the caller's are what makes all kernels be compiled in this crate, once, and
    /// not in every crate that calls a generic function of it.
    pub(crate) trait Launch: Convert {
        fn launch<K: Kernel<Self>>(instructions: Instructions, kernel: K)
        where
            Self: Element;
        fn launch_long(instructions: Instructions, kernel: Long<'_, '_, Self>)
        where
            Self: Element;
        fn launch_tiles(instructions: Instructions, kernel: Tiles<'_, '_, Self>)
        where
            Self: Element;
        /// Returns rows that nothing has been written of; those before them have been.
        fn launch_packed(
            instructions: Instructions,
            rows: PackedRows<'_, '_, '_, Self>,
        ) -> Range<usize>
        where
            Self: Element;
        fn launch_divergence(instructions: Instructions, kernel: DivergenceRows<'_, '_, '_, Self>)
        where
            Self: Element;
        fn launch_scaling(instructions: Instructions, kernel: ScaleRange<'_, '_, Self>)
        where
            Self: Element;
    }
}

use sealed::{Convert, Real};

macro_rules! real {
    ($real:ident, $to:ident, $from:ident, $rows:ident) => {
        impl Convert for $real {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                value as Self
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as Self
            }
        }

        impl Real for $real {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $real::NEG_INFINITY;
            const NAN: Self = $real::NAN;
            const EPSILON: Self = $real::EPSILON;
            #[inline(always)]
            fn same_rows(rows: DenseRows<'_>) -> Option<&[Self]> {
                match rows {
                    DenseRows::$rows(values) => Some(values),
                    _ => None,
                }
            }
            #[inline(always)]
            fn widen<T: Convert>(value: T) -> Self {
                value.$to()
            }
            #[inline(always)]
            fn narrow<T: Convert>(self) -> T {
                T::$from(self)
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, summand: Self) -> Self {
                $real::mul_add(self, factor, summand)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $real::tanh(self)
            }
        }
    };
}

#[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation, clippy::cast_lossless)]
mod reals {
    use super::{Convert, DenseRows, Real};
    real!(f32, to_f32, from_f32, F32);
    real!(f64, to_f64, from_f64, F64);
}

macro_rules! half_precision {
    ($half:ident) => {
        impl Convert for $half {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                $half::to_f32(self)
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                $half::to_f64(self)
            }
            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                $half::from_f32(value)
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                $half::from_f64(value)
            }
        }
    };
}
half_precision!(bf16);
half_precision!(f16);

impl Convert for bool {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(u8::from(self))
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value != 0.0
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value != 0.0
    }
}
