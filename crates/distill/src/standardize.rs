//! Logits as z-scores, so that a student learns how the teacher's logits relate and not how large they are.

use tch::Tensor;

use crate::pair::{computing_kind, sum_classes};
use crate::{Error, Result};

/// What is added to the standard deviation.
const EPSILON: f64 = 1e-7;

/// (x − mean)/(10⁻⁷ + deviation) of every row `[.., K]`, the deviation over its classes being unbiased (K − 1).
///
/// In f32, or f64 for f64. A row of equal logits becomes 0 and has no gradient. A class with the logit −∞ stays −∞ and
/// is not counted.
///
/// Sun et al. 2024, "Logit Standardization in Knowledge Distillation".
///
/// # Errors
/// [`Error::TooFewClasses`] for one class, which has no deviation.
///
/// ```
/// use softlabel_distill::standardize;
/// use tch::Tensor;
///
/// let row = standardize(&Tensor::from_slice(&[1.0f64, 2.0, 3.0]).view((1, 3)))?;
/// assert!((row.double_value(&[0, 2]) - 1.0 / (1.0 + 1e-7)).abs() < 1e-15);
/// # Ok::<(), softlabel_distill::Error>(())
/// ```
pub fn standardize(logits: &Tensor) -> Result<Tensor> {
    let found = logits.size().last().copied().unwrap_or_default();
    if found < 2 {
        return Err(Error::TooFewClasses { loss: "standardization", least: 2, found });
    }
    let logits = logits.f_to_kind(computing_kind(logits)?)?;
    let absent = logits.f_isneginf()?;
    let present = absent.f_logical_not()?.f_to_kind(logits.f_kind()?)?;
    let sum = |values: &Tensor| -> Result<Tensor> { Ok(sum_classes(values)?.f_unsqueeze(-1)?) };
    let count = sum(&present)?;
    let filled = logits.f_masked_fill(&absent, 0.0)?;
    let mean = sum(&filled)?.f_div(&count.f_clamp_min(1.0)?)?;
    // The mean of equal numbers need not be that number; the distance from one of them is exact.
    let equal = logits.f_detach()?.f_masked_fill(&absent, f64::INFINITY)?;
    let lowest = equal.f_amin([-1_i64].as_slice(), true)?;
    let highest = logits.f_detach()?.f_amax([-1_i64].as_slice(), true)?;
    let level = highest.f_le_tensor(&lowest)?;
    let centred = filled.f_sub(&mean)?.f_mul(&present)?.f_masked_fill(&level, 0.0)?;
    let variance = sum(&centred.f_square()?)?.f_div(&count.f_sub_scalar(1.0)?.f_clamp_min(1.0)?)?;
    let deviation = variance.f_masked_fill(&level, 1.0)?.f_sqrt()?;
    let scores = centred.f_div(&deviation.f_add_scalar(EPSILON)?)?;
    Ok(scores.f_masked_fill(&absent, f64::NEG_INFINITY)?)
}
