//! Fused cross-entropy rows against a scalar `f64` reference, on every set of instructions that the
//! processor has.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]
// Helpers of one test program.
#![allow(unreachable_pub)]

/// A test of a generic function for every element, under its name or another.
macro_rules! for_all_elements {
    ($($generic:ident;)*) => { for_all_elements! { $($generic: $generic;)* } };
    ($($name:ident: $generic:ident;)*) => {$(
        mod $name {
            use super::*;
            #[test]
            fn f32() { super::$generic::<f32>(); }
            #[test]
            fn f64() { super::$generic::<f64>(); }
            #[test]
            fn bf16() { super::$generic::<bf16>(); }
            #[test]
            fn f16() { super::$generic::<f16>(); }
        }
    )*};
}

mod distributions;
mod divergence;
mod edges;
mod entry_points;
mod errors;
mod large;
mod packed;
mod reference;
mod scaling;
mod spatial;
mod targets;
mod totals;
