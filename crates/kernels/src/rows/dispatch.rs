//! Which instructions a kernel is run with.
//!
//! Kernels are generic over a [`Vector`](super::vector::Vector) and inlined into one function a
//! set of instructions, which alone is compiled for them; which one is called is decided at run
//! time by what the processor offers.

use std::cell::Cell;
use std::ops::Range;

use half::{bf16, f16};

use super::divergence::DivergenceRows;
use super::element::Element;
use super::element::sealed::Launch;
use super::long::Long;
use super::packed::PackedRows;
use super::portable;
use super::scaling::ScaleRange;
use super::tile::Tiles;
use super::vector::{Lanes, Write};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Sets of instructions there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// AVX-512 with F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor of the architecture has, which is NEON on aarch64.
    Portable,
}

/// Something to run on vectors of some kind.
pub(crate) trait Kernel<T: Element> {
    /// To be marked `#[inline(always)]`, with everything that it calls for each row.
    fn run<V: Lanes<Scalar = T::Sum> + Write<T>>(self);
}

thread_local! {
    static CHOSEN: Cell<Option<Instructions>> = const { Cell::new(None) };
}

impl Instructions {
    /// The best first.
    const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2,
        Instructions::Portable,
    ];

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            Instructions::Portable if cfg!(target_arch = "aarch64") => "neon",
            Instructions::Portable => "portable",
        }
    }

    /// Whether this processor has them.
    fn are_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && Instructions::Avx2.are_available()
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Instructions::Portable => true,
        }
    }

    /// Whether they are those of [`Permute`](super::vector::Permute).
    pub(crate) fn permute(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let permute = self == Instructions::Avx512;
        #[cfg(not(target_arch = "x86_64"))]
        let permute = false;
        permute
    }

    /// Those to use for a call from this thread: the best that there are.
    pub(crate) fn current() -> Self {
        CHOSEN.get().unwrap_or_else(|| {
            let mut available = Self::ALL.iter().copied().filter(|each| each.are_available());
            available.next().unwrap_or(Instructions::Portable)
        })
    }
}

/// The instructions that the kernels of this module use on this processor: "avx512", "avx2",
/// "neon" or "portable".
///
/// ```
/// let features = softlabel_kernels::rows::cpu_features();
/// assert!(["avx512", "avx2", "neon", "portable"].contains(&features));
/// ```
pub fn cpu_features() -> &'static str {
    Instructions::current().name()
}

/// Calls a function with other instructions than the best, by the name that [`cpu_features`] gives
/// them; `None` if this processor lacks them.
///
/// For tests. Only calls from the same thread are concerned.
#[doc(hidden)]
pub fn with_cpu_features<R>(name: &str, function: impl FnOnce() -> R) -> Option<R> {
    let wanted = Instructions::ALL.iter().copied().find(|each| each.name() == name)?;
    if !wanted.are_available() {
        return None;
    }
    let before = CHOSEN.replace(Some(wanted));
    let result = function();
    CHOSEN.set(before);
    Some(result)
}

macro_rules! launch {
    ($($element:ident: $vector:ident;)*) => {$(
        impl Launch for $element {
            #[allow(unsafe_code)]
            fn launch<K: Kernel<Self>>(instructions: Instructions, kernel: K) {
                match instructions {
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: only instructions that are available are ever chosen.
                    Instructions::Avx512 => unsafe {
                        avx512::launch::<Self, avx512::$vector, K>(kernel);
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: only instructions that are available are ever chosen.
                    Instructions::Avx2 => unsafe {
                        avx2::launch::<Self, avx2::$vector, K>(kernel);
                    },
                    Instructions::Portable => kernel.run::<portable::$vector>(),
                }
            }

            fn launch_long(instructions: Instructions, kernel: Long<'_, '_, Self>) {
                Self::launch(instructions, kernel);
            }

            fn launch_tiles(instructions: Instructions, kernel: Tiles<'_, '_, Self>) {
                Self::launch(instructions, kernel);
            }

            #[allow(unsafe_code)]
            fn launch_packed(
                instructions: Instructions,
                rows: PackedRows<'_, '_, '_, Self>,
            ) -> Range<usize> {
                match instructions {
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: only instructions that are available are ever chosen.
                    Instructions::Avx512 => unsafe {
                        avx512::launch_packed::<Self, avx512::$vector>(rows)
                    },
                    _ => rows.none(),
                }
            }

            fn launch_divergence(instructions: Instructions, kernel: DivergenceRows<'_, '_, '_, Self>) {
                Self::launch(instructions, kernel);
            }

            fn launch_scaling(instructions: Instructions, kernel: ScaleRange<'_, '_, Self>) {
                Self::launch(instructions, kernel);
            }
        }
    )*};
}
launch! {
    f32: Single;
    bf16: Single;
    f16: Single;
    f64: Double;
}
