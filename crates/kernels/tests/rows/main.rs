//! Fused cross-entropy rows against a scalar `f64` reference, on every set of instructions that the
//! processor has.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]
// Helpers of one test program.
#![allow(unreachable_pub)]

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
