//! Numerics on slices, for everything in softlabel that looks at one row of predictions at a time.
//!
//! - [`CompensatedSum`]: sums that do not drift over a billion additions.
//! - [`log_sum_exp`], [`log_softmax_in_place`], [`softmax_in_place`], [`log_odds_in_place`]: the
//!   softmax family.
//! - [`RowStatistics`]: what every metric needs of a row and its label, from one look at the row.
//! - [`TiltedMoments`]: what a fit of the temperature needs of a row; [`RowSurvey`] and
//!   [`TiltedSums`]: of many at once.
//! - [`EqualWidthBins`]: which bin a confidence falls into.
//! - [`find_root`]: Newton's method that cannot leave its bracket.
//! - [`minimize`]: a minimum of a smooth function of many variables, by L-BFGS;
//!   [`minimize_newton`]: of a few, with second derivatives; [`minimize_truncated_newton`]: of many,
//!   with products of the second derivatives.
//! - [`add_product`], [`softmax_rows`]: matrix products and the softmax of many rows, in vectors.
//! - [`rows`]: cross-entropy and its gradient over many rows at once, fused and in vectors.
//! - [`isotonic_blocks`], [`isotonic_regression`]: least squares under an order, by pooling adjacent
//!   violators.
//!
//! Whatever the element type of a row, the arithmetic is done in `f64`, except in [`rows`].
//! This crate knows nothing of tensors, labels as a type, or files; it checks shapes where it must
//! and leaves the checking of values to those who make them (`softlabel-core`).
//!
//! ```
//! use softlabel_kernels::RowStatistics;
//!
//! let row = RowStatistics::from_logits(&[2.0f32, 0.0, 0.0], 0).unwrap();
//! assert_eq!(row.top_class, 0);
//! assert_eq!(row.label_gap, 2.0);
//! let probability = 1.0 / (1.0 + 2.0 * (-2.0f64).exp());
//! assert!((row.confidence - probability).abs() < 1e-15);
//! ```

mod bins;
// Inlined into entry points that alone have the instructions switched on.
#[allow(clippy::inline_always)]
mod fast_row;
mod isotonic;
mod isotonic_regression;
mod lbfgs;
mod log_odds;
mod moments;
mod newton;
mod newton_descent;
// Inlined into entry points that alone have the instructions switched on.
#[allow(clippy::inline_always)]
mod product;
// Vector code is inlined into its entry points, which alone have the instructions switched on; intrinsics are
// imported as a whole; streaming stores and what they need are there for every set of instructions.
#[allow(
    clippy::inline_always,
    clippy::wildcard_imports,
    clippy::cast_possible_truncation,
    dead_code
)]
#[allow(clippy::needless_range_loop, clippy::too_many_lines)]
pub mod rows;
mod softmax;
mod statistics;
mod sum;
// Inlined into entry points that alone have the instructions switched on.
#[allow(clippy::inline_always, clippy::needless_range_loop)]
mod tilted;
mod truncated_newton;

pub use bins::{EqualWidthBins, InvalidBinCount};
pub use isotonic::{IsotonicBlock, isotonic_blocks};
pub use isotonic_regression::{IsotonicPoint, IsotonicStep, isotonic_regression};
pub use lbfgs::{Minimum, MinimumOutcome, MinimumSettings, minimize};
pub use log_odds::log_odds_in_place;
pub use moments::TiltedMoments;
pub use newton::{Root, RootOutcome, RootSettings, find_root};
pub use newton_descent::minimize_newton;
pub use product::{Strided, add_product, softmax_rows};
pub use softmax::{log_softmax_in_place, log_sum_exp, softmax_in_place};
pub use statistics::RowStatistics;
pub use sum::CompensatedSum;
pub use tilted::{RowSurvey, Rows, TiltedSums};
pub use truncated_newton::{Curved, minimize_truncated_newton};
