//! What operations on tensors have in common.

use std::hint::black_box;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::operation::Who;

/// Samples whose gradient is compared with f64.
pub(crate) const COMPARED: i64 = 64;

/// Standard normal numbers in f32.
pub(crate) fn random(size: [i64; 2]) -> Result<Tensor> {
    Ok(Tensor::f_randn(size, (Kind::Float, Device::Cpu))?)
}

/// The first rows, or all if there are not so many.
pub(crate) fn first_rows(tensor: &Tensor, count: i64) -> Result<Tensor> {
    Ok(tensor.f_narrow(0, 0, count.min(tensor.size()[0]))?)
}

/// How far the first rows of a gradient are off, over the largest entry of the true ones.
pub(crate) fn off(gradient: &Tensor, truth: &Tensor) -> Result<f64> {
    let found = first_rows(gradient, truth.size()[0])?.f_to_kind(Kind::Double)?;
    let off = f64::try_from(found.f_sub(truth)?.f_abs()?.f_max()?)?;
    Ok(off / f64::try_from(truth.f_abs()?.f_max()?)?)
}

/// Copies a tensor to where there is memory already, or into memory asked for anew.
pub(crate) fn copy(from: &Tensor, place: &Tensor, who: Who) -> Result<()> {
    let source = from.f_detach()?;
    if who == Who::WarmCopy {
        place.shallow_clone().f_copy_(&source)?;
    } else {
        let mut copy = source.f_empty_like()?;
        copy.f_copy_(&source)?;
        drop(black_box(copy));
    }
    Ok(())
}
