//! What the losses of this workspace share to call the row kernels on tensors. Not for others.

use half::{bf16, f16};
use softlabel_kernels::rows::{Accumulator, DenseRows, Element};
use softlabel_tensor::Result;
use softlabel_tensor::slices::{Element as TensorElement, slice};
use tch::{Kind, Tensor};

/// A dtype that logits may have.
pub trait Logit: Element<Sum: Number> + TensorElement {}

impl Logit for f32 {}
impl Logit for f64 {}
impl Logit for bf16 {}
impl Logit for f16 {}

/// A dtype that losses are computed in.
pub trait Number: Accumulator + TensorElement + tch::kind::Element + Default + Into<f64> {
    /// Rounded once, to the precision of the arithmetic.
    fn of(value: f64) -> Self;

    /// That of two slices which is of this dtype.
    fn pick<'a>(
        single: impl FnOnce() -> &'a [f32],
        double: impl FnOnce() -> &'a [f64],
    ) -> &'a [Self];
}

impl Number for f32 {
    #[allow(clippy::cast_possible_truncation)] // What it is for.
    fn of(value: f64) -> Self {
        value as f32
    }

    fn pick<'a>(
        single: impl FnOnce() -> &'a [f32],
        _double: impl FnOnce() -> &'a [f64],
    ) -> &'a [Self] {
        single()
    }
}

impl Number for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn pick<'a>(
        _single: impl FnOnce() -> &'a [f32],
        double: impl FnOnce() -> &'a [f64],
    ) -> &'a [Self] {
        double()
    }
}

/// Rows of a contiguous CPU tensor of any float dtype.
///
/// # Errors
/// As [`slice()`](slice()).
pub fn dense_rows(rows: &Tensor) -> Result<DenseRows<'_>> {
    Ok(match rows.f_kind()? {
        Kind::Double => DenseRows::F64(slice(rows)?),
        Kind::BFloat16 => DenseRows::Bf16(slice(rows)?),
        Kind::Half => DenseRows::F16(slice(rows)?),
        _ => DenseRows::F32(slice(rows)?),
    })
}

/// As many as libtorch would use.
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}
