//! The element types that predictions may have.

use half::{bf16, f16};

/// A floating-point element: widened to `f64` before anything is computed from it.
///
/// Implemented for `f32`, `f64`, [`half::f16`] and [`half::bf16`]; widening is exact.
///
/// ```
/// use softlabel_core::Logits;
/// use half::f16;
/// let logits = Logits::new(vec![f16::from_f32(2.0), f16::from_f32(-1.0)], 2)?;
/// assert_eq!(logits.rows(), 1);
/// # Ok::<(), softlabel_core::Error>(())
/// ```
pub trait Scalar: Copy + Into<f64> + Send + Sync + std::fmt::Debug + 'static {
    /// Writes the values as `f64` into a slice of the same length; what is too much is left out.
    fn widen(values: &[Self], into: &mut [f64]) {
        for (to, &from) in into.iter_mut().zip(values) {
            *to = from.into();
        }
    }

    /// The nearest value of this type.
    fn narrow(value: f64) -> Self;
}

macro_rules! scalars {
    ($($scalar:ident: $narrow:expr;)*) => {$(
        impl Scalar for $scalar {
            fn narrow(value: f64) -> Self {
                let narrow: fn(f64) -> Self = $narrow;
                narrow(value)
            }
        }
    )*};
}

#[allow(clippy::cast_possible_truncation)] // Rounding to the type is what is asked for.
const TO_SINGLE: fn(f64) -> f32 = |value| value as f32;

scalars! {
    f32: TO_SINGLE;
    f64: |value| value;
    f16: f16::from_f64;
    bf16: bf16::from_f64;
}
