//! The element types that predictions may have.

/// A floating-point element: widened to `f64` before anything is computed from it.
///
/// Implemented for `f32` and `f64`.
pub trait Scalar: Copy + Into<f64> + Send + Sync + std::fmt::Debug + 'static {}

impl Scalar for f32 {}
impl Scalar for f64 {}
