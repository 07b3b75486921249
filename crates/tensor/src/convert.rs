//! From tensors to the values that the libtorch-free crates take.

use softlabel_core::{Labels, Logits, Scalar};
use tch::{Device, Kind, Tensor};

use crate::{ClassAxis, Error, Result, class_last};

/// An element type that logits can be copied into without loss from some dtypes.
pub trait Element: Scalar + tch::kind::Element {
    /// The dtypes whose every value it can hold.
    const FROM: &'static [Kind];
    /// The same in words.
    const FROM_WORDS: &'static str;
}

impl Element for f32 {
    const FROM: &'static [Kind] = &[Kind::Half, Kind::BFloat16, Kind::Float];
    const FROM_WORDS: &'static str = "f16, bf16 or f32 (f64 would lose digits: ask for f64)";
}

impl Element for f64 {
    const FROM: &'static [Kind] = &[Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double];
    const FROM_WORDS: &'static str = "a floating-point dtype";
}

/// Copies logits `[.., K]`, from any device and of any layout, to `[rows, K]` on the host.
///
/// # Errors
/// [`Error::Kind`] if `T` cannot hold the dtype, [`Error::Shape`] without a class axis, and a value error for NaN or
/// +∞: see [`Logits::new`].
///
/// ```
/// use tch::Tensor;
/// let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view((1, 2, 3));
/// assert_eq!(softlabel_tensor::to_logits::<f64>(&logits)?.rows(), 2);
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn to_logits<T: Element>(logits: &Tensor) -> Result<Logits<'static, T>> {
    const WHAT: &str = "logits";
    let logits = class_last(logits, ClassAxis::Last, WHAT)?;
    let found = logits.f_kind()?;
    if !T::FROM.contains(&found) {
        return Err(Error::Kind { what: WHAT, expected: T::FROM_WORDS, found });
    }
    let classes = logits.size().last().and_then(|&k| usize::try_from(k).ok()).unwrap_or_default();
    let values = to_vec::<T>(&logits)?;
    Ok(Logits::new(values, classes)?)
}

/// Copies integer labels of any shape and device to the host and checks them.
///
/// # Errors
/// [`Error::Kind`] unless the dtype is an integer,
/// [`LabelOutOfRange`](softlabel_core::Error::LabelOutOfRange) with the first bad label.
pub fn to_labels(labels: &Tensor, classes: usize) -> Result<Labels> {
    let found = labels.f_kind()?;
    if !matches!(found, Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64) {
        return Err(Error::Kind { what: "labels", expected: "an integer dtype", found });
    }
    Ok(Labels::new(&to_vec::<i64>(labels)?, classes)?)
}

fn to_vec<T: tch::kind::Element + Copy>(tensor: &Tensor) -> Result<Vec<T>> {
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(T::KIND)?;
    let flat = flat.f_contiguous()?.f_flatten(0, -1)?;
    Ok(Vec::try_from(&flat)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_and_half_logits_come_over_whole() {
        let tensor = Tensor::arange(6, (Kind::Float, Device::Cpu)).view((2, 3));
        let transposed = to_logits::<f32>(&tensor.tr()).unwrap();
        assert_eq!(transposed.as_slice(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let half = to_logits::<f32>(&tensor.to_kind(Kind::BFloat16)).unwrap();
        assert_eq!(half.as_slice(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn nothing_is_narrowed() {
        let tensor = Tensor::from_slice(&[1.0f64, 2.0]).view((1, 2));
        assert!(matches!(to_logits::<f32>(&tensor), Err(Error::Kind { .. })));
        assert!(to_logits::<f64>(&tensor).is_ok());
    }

    #[test]
    fn values_are_checked() {
        let tensor = Tensor::from_slice(&[1.0f32, f32::NAN]).view((1, 2));
        assert!(matches!(to_logits::<f32>(&tensor), Err(Error::Core(_))));
        assert!(to_labels(&Tensor::from_slice(&[0u8, 3]), 4).is_ok());
        assert!(to_labels(&Tensor::from_slice(&[0.0f32]), 4).is_err());
    }
}
