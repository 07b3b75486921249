//! Distances between the logits themselves.

use tch::Tensor;

use crate::Result;
use crate::pair::{Pair, sum_classes};

/// The shortest length that a row is divided by.
pub(crate) const SHORTEST: f64 = 1e-12;

/// Σ (z − u)².
pub(crate) fn squared_error(pair: &Pair) -> Result<Tensor> {
    let [z, u] = pair.tempered()?;
    let (z_impossible, u_impossible) = (z.f_isneginf()?, u.f_isneginf()?);
    let either = z_impossible.f_logical_or(&u_impossible)?;
    let gap = z.f_masked_fill(&either, 0.0)?.f_sub(&u.f_masked_fill(&either, 0.0)?)?;
    let apart = z_impossible.f_logical_xor(&u_impossible)?.f_any_dim(-1, false)?;
    pair.scaled(&sum_classes(&gap.f_square()?)?.f_masked_fill(&apart, f64::INFINITY)?)
}

/// 1 − cos(z, u).
pub(crate) fn cosine(pair: &Pair) -> Result<Tensor> {
    let [z, u] = pair.tempered()?;
    let impossible = z.f_isneginf()?.f_logical_or(&u.f_isneginf()?)?;
    let [z, u] = [z.f_masked_fill(&impossible, 0.0)?, u.f_masked_fill(&impossible, 0.0)?];
    pair.scaled(&one_less_cosine(&z, &u)?)
}

/// 1 − cos of two vectors along the last axis: ½·‖z/‖z‖ − u/‖u‖‖², which is exactly 0, with a gradient of 0, where both
/// are the same, and loses nothing where they nearly are. 0 where both have no length, 1 where one has none.
pub(crate) fn one_less_cosine(z: &Tensor, u: &Tensor) -> Result<Tensor> {
    let unit = |values: &Tensor| -> Result<(Tensor, Tensor)> {
        // Brought to a size of about 1 first, so that no square overflows or vanishes.
        let size = values.f_detach()?.f_abs()?.f_amax([-1_i64].as_slice(), true)?;
        let nothing = size.f_lt(SHORTEST)?;
        let values = values.f_div(&size.f_masked_fill(&nothing, 1.0)?)?;
        let squares = sum_classes(&values.f_square()?)?.f_unsqueeze(-1)?;
        let length = squares.f_masked_fill(&nothing, 1.0)?.f_sqrt()?;
        let unit = values.f_div(&length)?.f_masked_fill(&nothing, 0.0)?;
        Ok((unit, nothing.f_squeeze_dim(-1)?))
    };
    let ((z, no_z), (u, no_u)) = (unit(z)?, unit(u)?);
    let half = sum_classes(&z.f_sub(&u)?.f_square()?)?.f_mul_scalar(0.5)?;
    Ok(half.f_masked_fill(&no_z.f_logical_xor(&no_u)?, 1.0)?)
}
