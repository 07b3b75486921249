//! The element types that predictions may have.

use half::slice::HalfFloatSliceExt;
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
pub trait Scalar: Copy + Into<f64> + PartialOrd + Send + Sync + std::fmt::Debug + 'static {
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
    ($($scalar:ident: $narrow:expr $(, widen: $widen:expr)?;)*) => {$(
        impl Scalar for $scalar {
            $(fn widen(values: &[Self], into: &mut [f64]) {
                let widen: fn(&[Self], &mut [f64]) = $widen;
                widen(values, into);
            })?

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
    // With the processor's own conversion where it has one.
    f16: f16::from_f64, widen: |values, into| {
        let count = values.len().min(into.len());
        values[..count].convert_to_f64_slice(&mut into[..count]);
    };
    // The upper half of an f32: a shift, and nothing that would keep it from being done in vectors.
    bf16: bf16::from_f64, widen: |values, into| {
        for (to, from) in into.iter_mut().zip(values) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16).into();
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value of both half precisions: what is widened together is what is widened alone.
    #[test]
    fn widening_is_exact() {
        fn check<T: Scalar>(values: &[T]) {
            let mut wide = vec![0.0; values.len()];
            T::widen(values, &mut wide);
            for (&value, &wide) in values.iter().zip(&wide) {
                let alone: f64 = value.into();
                assert!(alone == wide || (alone.is_nan() && wide.is_nan()), "{value:?}: {wide}");
                if !alone.is_nan() {
                    let back: f64 = T::narrow(wide).into();
                    assert_eq!(back, alone);
                }
            }
            // What does not fit is left out, on either side.
            let mut one = [7.0; 1];
            T::widen(values, &mut one);
            let first: f64 = values[0].into();
            assert_eq!(one, [first]);
            let mut two = [7.0; 2];
            T::widen(&values[..1], &mut two);
            assert_eq!(two, [first, 7.0]);
        }
        check::<f16>(&(0..=u16::MAX).map(f16::from_bits).collect::<Vec<_>>());
        check::<bf16>(&(0..=u16::MAX).map(bf16::from_bits).collect::<Vec<_>>());
        check(&[0.1f32, f32::MAX, f32::MIN_POSITIVE]);
        check(&[0.1f64, f64::INFINITY]);
    }
}
