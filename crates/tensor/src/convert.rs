//! From tensors to the values that the libtorch-free crates take, and back.
//!
//! Metrics, calibration maps and their fits take [`Logits`], [`Probabilities`] and [`Labels`]; this is where tensors
//! become such.
//! [`lend_logits`] and [`lend_probabilities`] copy nothing and want a contiguous CPU tensor of the very dtype;
//! [`to_logits`] copies, from any device, layout and narrower dtype. Which of the two happens is the caller's word.

use softlabel_core::{Labels, LogProbabilities, Logits, MaskedLabels, Probabilities, Scalar};
use tch::{Device, Kind, Tensor};

use crate::slices::{self, slice};
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

/// Logits `[.., K]` of a contiguous CPU tensor of dtype `T`, whose memory they borrow: nothing is copied.
///
/// While they live nobody may write to the tensor, see [`slices`].
///
/// # Errors
/// Those of [`slice()`] if the tensor is of another dtype, on another device or not contiguous, for all of which
/// [`to_logits`] makes a copy; [`Error::Shape`] without a class axis; a value error for NaN or +∞, see [`Logits::new`].
///
/// ```
/// use softlabel_tensor::lend_logits;
/// use tch::Tensor;
/// let tensor = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view((2, 2));
/// let logits = lend_logits::<f32>(&tensor)?;
/// assert_eq!(logits.as_slice().as_ptr().addr(), tensor.data_ptr().addr());
/// assert!(lend_logits::<f32>(&tensor.tr()).is_err());
/// assert!(lend_logits::<f64>(&tensor).is_err());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn lend_logits<T: Scalar + slices::Element>(logits: &Tensor) -> Result<Logits<'_, T>> {
    Ok(Logits::new(slice::<T>(logits)?, last_axis(logits, "logits")?)?)
}

/// Probabilities `[.., K]` of a contiguous CPU tensor of dtype `T`, whose memory they borrow: nothing is copied.
///
/// # Errors
/// As [`lend_logits`]; a value error unless every row is a distribution, see [`Probabilities::new`].
///
/// ```
/// use softlabel_tensor::lend_probabilities;
/// use tch::Tensor;
/// let tensor = Tensor::from_slice(&[0.25f32, 0.75]).view((1, 2));
/// assert_eq!(lend_probabilities::<f32>(&tensor)?.as_slice(), [0.25, 0.75]);
/// assert!(lend_probabilities::<f32>(&(tensor * 2.0)).is_err());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn lend_probabilities<T: Scalar + slices::Element>(
    probabilities: &Tensor,
) -> Result<Probabilities<'_, T>> {
    let classes = last_axis(probabilities, "probabilities")?;
    Ok(Probabilities::new(slice::<T>(probabilities)?, classes)?)
}

/// What a map makes of logits as a tensor, of the shape, dtype and device of those logits.
///
/// # Errors
/// [`Error::Shape`] if `like` has another number of elements or classes; an error of libtorch if there is no memory.
///
/// ```
/// use softlabel_core::LogProbabilities;
/// use softlabel_tensor::log_probabilities_like;
/// use tch::{Kind, Tensor};
/// let half = 0.5f64.ln();
/// let rows = LogProbabilities::new(vec![half, half], 2)?;
/// let logits = Tensor::from_slice(&[3.0f32, 3.0]).view((1, 1, 2));
/// let tensor = log_probabilities_like(&rows, &logits)?;
/// assert_eq!((tensor.size(), tensor.kind()), (vec![1, 1, 2], Kind::Float));
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn log_probabilities_like(rows: &LogProbabilities<'_, f64>, like: &Tensor) -> Result<Tensor> {
    let fits =
        last_axis(like, "logits")? == rows.classes() && like.numel() == rows.as_slice().len();
    if !fits {
        let expected = format!("{} rows of {} classes", rows.rows(), rows.classes());
        return Err(Error::Shape { what: "logits", expected, found: like.size() });
    }
    let flat = Tensor::f_from_slice(rows.as_slice())?;
    let shaped = flat.f_reshape(like.size())?;
    Ok(shaped.f_to_kind(like.f_kind()?)?.f_to_device(like.device())?)
}

/// The number of classes, on the last axis.
fn last_axis(tensor: &Tensor, what: &'static str) -> Result<usize> {
    let size = tensor.size();
    let classes = size.last().and_then(|&classes| usize::try_from(classes).ok());
    classes.ok_or_else(|| Error::Shape { what, expected: "at least one axis".into(), found: size })
}

/// Copies integer labels of any shape and device to the host and checks them.
///
/// # Errors
/// [`Error::Kind`] unless the dtype is an integer,
/// [`LabelOutOfRange`](softlabel_core::Error::LabelOutOfRange) with the first bad label.
pub fn to_labels(labels: &Tensor, classes: usize) -> Result<Labels> {
    Ok(Labels::new(&label_values(labels)?, classes)?)
}

/// The same where some are ignored, as padding is.
///
/// # Errors
/// As [`to_labels`]; the ignore index is no bad label.
///
/// ```
/// use softlabel_tensor::to_masked_labels;
/// use tch::Tensor;
///
/// let labels = to_masked_labels(&Tensor::from_slice(&[2i64, -100, 0]), 3, -100)?;
/// assert_eq!(labels.iter().collect::<Vec<_>>(), [Some(2), None, Some(0)]);
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn to_masked_labels(
    labels: &Tensor,
    classes: usize,
    ignore_index: i64,
) -> Result<MaskedLabels> {
    Ok(MaskedLabels::new(&label_values(labels)?, classes, ignore_index)?)
}

fn label_values(labels: &Tensor) -> Result<Vec<i64>> {
    let found = labels.f_kind()?;
    if !matches!(found, Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64) {
        return Err(Error::Kind { what: "labels", expected: "an integer dtype", found });
    }
    to_vec::<i64>(labels)
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
    fn what_is_lent_is_the_memory_of_the_tensor() {
        let tensor = Tensor::arange(6, (Kind::Float, Device::Cpu)).view((1, 2, 3));
        let lent = lend_logits::<f32>(&tensor).unwrap();
        assert_eq!((lent.rows(), lent.classes()), (2, 3));
        assert_eq!(lent.as_slice().as_ptr().addr(), tensor.data_ptr().addr());
        assert_eq!(lent, to_logits::<f32>(&tensor).unwrap());
        for copied in [tensor.to_kind(Kind::Double), tensor.transpose(1, 2)] {
            assert!(lend_logits::<f32>(&copied).is_err());
            assert!(to_logits::<f64>(&copied).is_ok());
        }
        assert!(lend_logits::<f32>(&Tensor::from(1.0f32)).is_err());
        let nan = Tensor::from_slice(&[1.0f32, f32::NAN]).view((1, 2));
        assert!(matches!(lend_logits::<f32>(&nan), Err(Error::Core(_))));
    }

    #[test]
    fn what_a_map_says_comes_back_like_the_logits() {
        let values: Vec<f64> = [0.25f64, 0.75, 0.5, 0.5].map(f64::ln).into();
        let rows = LogProbabilities::new(values, 2).unwrap();
        let logits = Tensor::zeros([2, 1, 2], (Kind::BFloat16, Device::Cpu));
        let tensor = log_probabilities_like(&rows, &logits).unwrap();
        assert_eq!((tensor.size(), tensor.kind()), (vec![2, 1, 2], Kind::BFloat16));
        assert!((tensor.double_value(&[0, 0, 1]).exp() - 0.75).abs() < 2e-3);
        for shape in [[4, 1, 1], [1, 1, 2]] {
            let other = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
            assert!(matches!(log_probabilities_like(&rows, &other), Err(Error::Shape { .. })));
        }
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
