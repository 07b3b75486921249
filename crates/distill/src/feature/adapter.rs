//! What is trained beside a student and dropped after: convolutions and projections in a store of the caller's.

use softlabel_tensor::Error as TensorError;
use tch::nn::Path;
use tch::nn::init::DEFAULT_KAIMING_UNIFORM;
use tch::{Kind, Tensor};

use super::{STUDENT, TEACHER, matched};
use crate::Result;

/// A convolution that keeps the size, or with a kernel of 1 a linear map of the channels.
#[derive(Debug)]
pub(super) struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: i64,
}

impl Convolution {
    /// `kernel` is odd.
    pub(super) fn new(
        path: &Path<'_>,
        from: i64,
        to: i64,
        kernel: i64,
        has_bias: bool,
    ) -> Result<Self> {
        let weight = path.f_var("weight", &[to, from, kernel, kernel], DEFAULT_KAIMING_UNIFORM)?;
        let bias = has_bias.then(|| path.f_zeros("bias", &[to])).transpose()?;
        Ok(Self { weight, bias, padding: kernel / 2 })
    }

    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features.f_conv2d(&self.weight, self.bias.as_ref(), 1, self.padding, 1, 1)?)
    }
}

/// Both as `[N, C, H, W]` with the channels that are expected, equal but for these.
pub(super) fn maps(
    student: &Tensor,
    teacher: &Tensor,
    channels: (i64, i64),
) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = matched(student, teacher)?;
    let (shape, other) = (student.size(), teacher.size());
    let (samples, height, width) = match *shape.as_slice() {
        [n, c, h, w] if c == channels.0 => (n, h, w),
        _ => {
            return Err(wrong(STUDENT, format!("[samples, {}, height, width]", channels.0), shape));
        }
    };
    if other != [samples, channels.1, height, width] {
        let expected = format!("[{samples}, {}, {height}, {width}]", channels.1);
        return Err(wrong(TEACHER, expected, other));
    }
    Ok((student, teacher))
}

pub(super) fn wrong(what: &'static str, expected: String, found: Vec<i64>) -> crate::Error {
    TensorError::Shape { what, expected, found }.into()
}

/// Indices `[..]` of a shape, in `0..end`.
pub(super) fn check_indices(
    indices: &Tensor,
    what: &'static str,
    shape: &[i64],
    end: i64,
) -> Result<()> {
    let found = indices.f_kind()?;
    if found != Kind::Int64 {
        return Err(TensorError::Kind { what, expected: "i64", found }.into());
    }
    if indices.size() != shape {
        return Err(wrong(what, format!("{shape:?}"), indices.size()));
    }
    if indices.numel() > 0 {
        for sample in [i64::try_from(indices.f_min()?)?, i64::try_from(indices.f_max()?)?] {
            if !(0..end).contains(&sample) {
                return Err(crate::Error::UnknownSample { sample, samples: end });
            }
        }
    }
    Ok(())
}
