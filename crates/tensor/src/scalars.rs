//! Tensors of one number, made and read without libtorch's dispatcher where that can be: its operators take some
//! microseconds each, which small batches would notice.

use half::{bf16, f16};
use tch::{Kind, Tensor};

use crate::Result;
use crate::buffers::uninit;
use crate::slices::{Element, slice, uninit_slice_mut};

/// A CPU tensor without axes.
///
/// # Errors
/// libtorch's, if there is no memory.
///
/// ```
/// let loss = softlabel_tensor::scalars::scalar(0.5f32)?;
/// assert_eq!((loss.size(), loss.kind()), (vec![], tch::Kind::Float));
/// assert_eq!(softlabel_tensor::scalars::number(&loss)?, 0.5);
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn scalar<T: Element>(value: T) -> Result<Tensor> {
    let mut tensor = uninit::<T>(&[])?;
    if let Some(place) = uninit_slice_mut::<T>(&mut tensor)?.first_mut() {
        place.write(value);
    }
    Ok(tensor)
}

/// The number of a tensor of one element, of any dtype and on any device.
///
/// # Errors
/// libtorch's, if the tensor has not just one element.
///
/// ```
/// use softlabel_tensor::scalars::number;
/// use tch::Tensor;
/// assert_eq!(number(&Tensor::from_slice(&[3i64]))?, 3.0);
/// assert!(number(&Tensor::from_slice(&[1.0f32, 2.0])).is_err());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn number(tensor: &Tensor) -> Result<f64> {
    let near = match tensor.f_kind()? {
        Kind::Float => slice::<f32>(tensor).map(|values| one(values).map(f64::from)),
        Kind::Double => slice::<f64>(tensor).map(one),
        Kind::BFloat16 => slice::<bf16>(tensor).map(|values| one(values).map(f64::from)),
        Kind::Half => slice::<f16>(tensor).map(|values| one(values).map(f64::from)),
        _ => Ok(None),
    };
    // What is elsewhere, or of another dtype, or several.
    Ok(match near {
        Ok(Some(value)) => value,
        _ => f64::try_from(tensor)?,
    })
}

fn one<T: Copy>(values: &[T]) -> Option<T> {
    if let [value] = values { Some(*value) } else { None }
}
