//! Which instructions a kernel is run with.
//!
//! Kernels are generic over a [`Vector`](super::vector::Vector) and inlined into one function a
//! set of instructions, which alone is compiled for them; which one is called is decided at run
//! time by what the processor offers.

use std::cell::Cell;

use half::{bf16, f16};

use super::element::Element;
use super::element::sealed::Launch;
use super::portable;
use super::vector::{Lanes, Write};

/// Sets of instructions there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// What every processor of the architecture has.
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
    const ALL: [Self; 1] = [Instructions::Portable];

    fn name(self) -> &'static str {
        match self {
            Instructions::Portable => "portable",
        }
    }

    /// Whether this processor has them.
    fn are_available(self) -> bool {
        match self {
            Instructions::Portable => true,
        }
    }

    /// Those to use for a call from this thread: the best that there are.
    pub(crate) fn current() -> Self {
        CHOSEN.get().unwrap_or_else(|| {
            let mut available = Self::ALL.into_iter().filter(|each| each.are_available());
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
    let wanted = Instructions::ALL.into_iter().find(|each| each.name() == name)?;
    if !wanted.are_available() {
        return None;
    }
    let before = CHOSEN.replace(Some(wanted));
    let result = function();
    CHOSEN.set(before);
    Some(result)
}

macro_rules! launch {
    ($($element:ident: $portable:ident, $vector:ident;)*) => {$(
        impl Launch for $element {
            fn launch<K: Kernel<Self>>(instructions: Instructions, kernel: K) {
                match instructions {
                    Instructions::Portable => kernel.run::<portable::$portable>(),
                }
            }
        }
    )*};
}
launch! {
    f32: Single, Single;
    bf16: Single, Single;
    f16: Single, Single;
    f64: Double, Double;
}
