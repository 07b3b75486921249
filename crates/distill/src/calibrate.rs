//! A teacher that is calibrated before it teaches.

use softlabel_core::LogProbabilities;
use softlabel_posthoc::Calibrator;
use softlabel_tensor::to_logits;
use tch::{Kind, Tensor, no_grad_guard};

use crate::Result;

/// What a fitted map makes of a teacher's logits `[.., K]`: calibrated log-probabilities, which are logits like any
/// other, of the same shape, on the same device, detached, in f32 (f64 stays f64).
///
/// Any map of [`softlabel_posthoc`] will do, [`AnyCalibrator`](softlabel_posthoc::AnyCalibrator) among them; it is
/// fitted on held-out samples, not on those that the student is trained with, on which a teacher is surer than it should
/// be anywhere else. A map with bins may give a class no probability at all (−∞).
///
/// # Errors
/// NaN or +∞ among the logits, and what the map objects to, such as another number of classes.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_distill::calibrated;
/// use softlabel_posthoc::{AnyCalibrator, TemperatureScaling};
/// use tch::Tensor;
///
/// let teacher = Tensor::from_slice(&[2.0 * 3f64.ln(), 0.0]).view((1, 2));
/// let map = AnyCalibrator::from(TemperatureScaling::from_temperature(Temperature::new(2.0)?, 2)?);
/// let row = calibrated(&teacher, &map)?;
/// assert!((row.double_value(&[0, 0]) - 0.75f64.ln()).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn calibrated(teacher: &Tensor, map: &impl Calibrator) -> Result<Tensor> {
    let _guard = no_grad_guard();
    let kind = if teacher.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
    let log_probabilities: LogProbabilities<'static, f64> = match kind {
        Kind::Double => map.apply(&to_logits::<f64>(teacher)?)?,
        _ => map.apply(&to_logits::<f32>(teacher)?)?,
    };
    let rows = Tensor::f_from_slice(log_probabilities.as_slice())?;
    Ok(rows.f_reshape(teacher.size().as_slice())?.f_to_kind(kind)?.f_to_device(teacher.device())?)
}
