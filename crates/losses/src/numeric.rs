//! Pieces of formulas that stay finite, in value and gradient, where their parts do not.

use tch::{Kind, Tensor};

use crate::Result;

/// Σ over the class axis.
pub(crate) fn sum_classes(values: &Tensor) -> Result<Tensor> {
    Ok(values.f_sum_dim_intlist([-1_i64].as_slice(), false, values.f_kind()?)?)
}

/// w·l, 0 where w is 0 whatever l is: no mass costs nothing, even under a logit of −∞.
pub(crate) fn weigh(log_p: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(log_p.f_masked_fill(&weights.f_eq(0.0)?, 0.0)?.f_mul(weights)?)
}

/// The values with 0 for −∞, which is what a log-probability counts for where it is multiplied by its probability.
pub(crate) fn without_negative_infinity(values: &Tensor) -> Result<Tensor> {
    Ok(values.f_masked_fill(&values.f_isneginf()?, 0.0)?)
}

/// base^exponent for a base that is not negative, with gradient 0 where the base is 0, at every order.
pub(crate) fn power(base: &Tensor, exponent: f64) -> Result<Tensor> {
    if exponent == 0.0 {
        return Ok(base.f_ones_like()?);
    }
    let empty = base.f_le(0.0)?;
    let power = base.f_masked_fill(&empty, 1.0)?.f_pow_tensor_scalar(exponent)?;
    Ok(power.f_masked_fill(&empty, 0.0)?)
}

/// √value, with value and gradient 0 where the value is not positive.
pub(crate) fn root(value: &Tensor) -> Result<Tensor> {
    power(value, 0.5)
}

/// ln value, −∞ and no gradient where the value is 0.
pub(crate) fn logarithm(value: &Tensor) -> Result<Tensor> {
    let empty = value.f_le(0.0)?;
    Ok(value.f_masked_fill(&empty, 1.0)?.f_log()?.f_masked_fill(&empty, f64::NEG_INFINITY)?)
}

/// 1 − exp(l), without cancellation for small −l.
pub(crate) fn complement(log_p: &Tensor) -> Result<Tensor> {
    Ok(log_p.f_expm1()?.f_neg()?)
}

/// The classes that a sample has: a logit of −∞ says that it has not.
pub(crate) struct Present {
    /// 1 for a class that is there, in the dtype of the logits.
    pub(crate) mask: Tensor,
    /// The logits, 0 for a class that is not.
    pub(crate) logits: Tensor,
    /// How many there are, `[.., 1]`, at least 1.
    pub(crate) count: Tensor,
    /// The largest logit, `[.., 1]`.
    pub(crate) largest: Tensor,
}

impl Present {
    pub(crate) fn new(logits: &Tensor) -> Result<Self> {
        let absent = logits.f_isneginf()?;
        let mask = absent.f_logical_not()?.f_to_kind(logits.f_kind()?)?;
        let last = [-1_i64].as_slice();
        let count = mask.f_sum_dim_intlist(last, true, logits.f_kind()?)?.f_clamp_min(1.0)?;
        let largest = logits.f_max_dim(-1, true)?.0;
        Ok(Self { mask, logits: logits.f_masked_fill(&absent, 0.0)?, count, largest })
    }

    /// The mean over the classes that are there of values that are finite for all.
    pub(crate) fn mean(&self, values: &Tensor) -> Result<Tensor> {
        sum_classes(&values.f_mul(&self.mask)?.f_div(&self.count)?)
    }
}

/// f32, or f64 for f64.
pub(crate) fn computing_kind(tensor: &Tensor) -> Result<Kind> {
    Ok(if tensor.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float })
}
