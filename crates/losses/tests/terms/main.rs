//! Losses and regularizers of libtorch operators, and their sums.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)] // Helpers of tests, outside `#[test]` functions.

mod cases;
mod composition;
mod edges;
mod formulas;
mod gradients;
mod inputs;
mod serialized;
mod support;
