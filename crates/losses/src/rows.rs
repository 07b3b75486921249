//! What the losses of this workspace share to call the row kernels on tensors. Not for others.

use half::{bf16, f16};
use softlabel_kernels::rows::{Accumulator, DenseRows, Element, Pool, Threads, total};
use softlabel_tensor::Result;
use softlabel_tensor::scalars::scalar;
use softlabel_tensor::slices::{Element as TensorElement, slice};
use tch::{Kind, Tensor};

pub use crate::row_losses::divisor;

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
        Kind::Bool => DenseRows::Mask(slice(rows)?),
        _ => DenseRows::F32(slice(rows)?),
    })
}

/// The sum of one loss a sample, divided and then multiplied.
///
/// # Errors
/// libtorch's.
pub fn reduced<A: Number>(losses: &[A], divisor: f64, weight: f64) -> Result<Tensor> {
    scalar(A::of(total(losses) / divisor * weight))
}

/// The divisor of a gradient as two factors: what it is divided by when it is computed, and when it is handed out.
///
/// f16 has no room for a gradient divided by the size of a batch, so long as no gradient scaling has come back to it:
/// a power of two, by which dividing is exact, is left for later, such that entries of up to `largest` before any
/// division stay about 1 until then.
pub fn split(divisor: f64, largest: f64, kind: Kind) -> (f64, f64) {
    let late = (divisor.abs() / largest.max(1.0)).log2().floor().exp2();
    if kind == Kind::Half && late.is_finite() && late > 0.0 {
        (divisor / late, late)
    } else {
        (divisor, 1.0)
    }
}

/// As many threads as libtorch would use, and its own.
pub fn threads() -> Threads {
    Threads::of(&Intraop, usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1))
}

/// libtorch's intra-op threads.
#[derive(Debug)]
struct Intraop;

impl Pool for Intraop {
    fn run(&self, count: usize, work: &(dyn Fn() + Sync)) {
        softlabel_tensor::threads::run(count, work);
    }
}
