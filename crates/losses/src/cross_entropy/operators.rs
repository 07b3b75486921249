//! Cross-entropy from libtorch's operators: on every device, and differentiable more than once.
//!
//! The usual case is libtorch's own `cross_entropy_loss`; every other one builds the rows of the target.

use softlabel_targets::{Dense, MassesBy};
use tch::{Kind, Tensor};

use super::LogitOptions;
use super::prepare::{Part, Prepared, smoothed_rows};
use crate::Result;
use crate::numeric::{computing_kind, sum_classes, weigh};

/// The losses of the samples, and what else is known of them, each in the shape of the labels.
pub(super) struct Rows {
    pub(super) losses: Tensor,
    pub(super) log_sum_exp: Option<Tensor>,
    pub(super) correct: Option<Tensor>,
}

/// `logits` are class-last; `statistics` says whether to return more than the losses.
pub(super) fn cross_entropy(
    logits: &Tensor,
    prepared: &Prepared,
    options: &LogitOptions,
    statistics: bool,
) -> Result<Rows> {
    let kind = computing_kind(logits)?;
    let ignored = prepared.ignored()?;
    let mut scores = logits.f_to_kind(kind)?;
    // An ignored row is replaced before anything is computed from it: no NaN in, exactly 0 out.
    if let Some(ignored) = &ignored {
        scores = scores.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?;
    }
    if options.scale != 1.0 {
        scores = scores.f_mul_scalar(options.scale)?;
    }
    // A cap makes equals of what is far above it, so who is largest is asked before.
    let uncapped = scores.f_detach()?;
    if let Some(cap) = options.softcap {
        scores = scores.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)?;
    }
    // Without a class that can be, everything is infinitely unlikely, where a softmax would be NaN.
    let impossible = scores.f_amax([-1_i64].as_slice(), false)?.f_eq(f64::NEG_INFINITY)?;
    let scores = scores.f_masked_fill(&impossible.f_unsqueeze(-1)?, 0.0)?;
    let losses = if let Some(losses) = usual(&scores, prepared, ignored.as_ref())? {
        losses.f_masked_fill(&impossible, f64::INFINITY)?
    } else {
        let target = target_rows(prepared, kind)?;
        let losses = sum_classes(&weigh(&scores.f_log_softmax(-1, kind)?, &target)?)?.f_neg()?;
        let has_mass = sum_classes(&target)?.f_ne(0.0)?.f_logical_and(&impossible)?;
        losses.f_masked_fill(&has_mass, f64::INFINITY)?
    };
    let log_sum_exp = if statistics || options.z_loss != 0.0 {
        let lse = scores.f_logsumexp([-1_i64].as_slice(), false)?;
        Some(lse.f_masked_fill(&impossible, f64::NEG_INFINITY)?)
    } else {
        None
    };
    let losses = match &log_sum_exp {
        Some(lse) if options.z_loss != 0.0 => {
            losses.f_add(&lse.f_square()?.f_mul_scalar(options.z_loss)?)?
        }
        _ => losses,
    };
    let clear = |values: Tensor| -> Result<Tensor> {
        Ok(match &ignored {
            None => values,
            Some(ignored) => values.f_masked_fill(ignored, 0.0)?,
        })
    };
    let correct = match &prepared.labels {
        Some(labels) if statistics => {
            let has_nan = uncapped.f_isnan()?.f_any_dim(-1, false)?;
            let excluded = match &ignored {
                None => has_nan,
                Some(ignored) => has_nan.f_logical_or(ignored)?,
            };
            let is_largest = uncapped.f_argmax(-1, false)?.f_eq_tensor(labels)?;
            Some(is_largest.f_logical_and(&excluded.f_logical_not()?)?)
        }
        _ => None,
    };
    let log_sum_exp = match log_sum_exp {
        Some(lse) if statistics => Some(clear(lse.f_detach()?)?),
        _ => None,
    };
    Ok(Rows { losses: clear(losses)?, log_sum_exp, correct })
}

/// What libtorch's own operator makes of one label a sample, no weights and a uniform share below 1.
fn usual(scores: &Tensor, prepared: &Prepared, ignored: Option<&Tensor>) -> Result<Option<Tensor>> {
    /// A label that there is not: ignored samples are ours.
    const NONE: i64 = i64::MIN;
    let (MassesBy::All(masses), Dense::None, Part::Planned, None, Some(labels), None) = (
        &prepared.masses,
        &prepared.plan.fused.dense,
        &prepared.part,
        &prepared.second,
        &prepared.labels,
        &prepared.plan.weights,
    ) else {
        return Ok(None);
    };
    let classes = prepared.plan.classes;
    let share = masses.uniform * classes as f64;
    if !(0.0..1.0).contains(&share) {
        return Ok(None);
    }
    let labels = match ignored {
        None => labels.shallow_clone(),
        Some(ignored) => labels.f_masked_fill(ignored, 0)?,
    };
    let (rows, flat) = (scores.f_reshape([-1, classes as i64])?, labels.f_reshape([-1])?);
    let losses =
        rows.f_cross_entropy_loss(&flat, None::<Tensor>, tch::Reduction::None, NONE, share)?;
    Ok(Some(losses.f_reshape(prepared.shape.as_slice())?))
}

/// t of every sample, `[.., K]`.
pub(super) fn target_rows(prepared: &Prepared, kind: Kind) -> Result<Tensor> {
    let plan = &prepared.plan;
    let classes = plan.classes as i64;
    let device = match (&prepared.labels, &prepared.part) {
        (Some(labels), _) => labels.device(),
        (None, Part::Rows(rows)) => rows.device(),
        (None, Part::Planned) => tch::Device::Cpu,
    };
    let tensor = |values: &[f64], shape: &[i64]| -> Result<Tensor> {
        let values = Tensor::f_from_slice(values)?.f_reshape(shape)?;
        Ok(values.f_to_device(device)?.f_to_kind(kind)?)
    };
    if prepared.second.is_some() {
        let rows = smoothed_rows(&plan.fused, &prepared.label_rows(kind)?)?;
        return Ok(match &plan.weights {
            None => rows,
            Some(weights) => rows.f_mul(&tensor(weights, &[classes])?)?,
        });
    }
    let ignored = prepared.ignored()?;
    let labels = match (&prepared.labels, &ignored) {
        (Some(labels), Some(ignored)) => Some(labels.f_masked_fill(ignored, 0)?),
        (Some(labels), None) => Some(labels.shallow_clone()),
        (None, _) => None,
    };
    // A mass of every sample, to be multiplied with a row.
    let masses = |mass: fn(&softlabel_targets::Masses) -> f64| -> Result<Tensor> {
        let values = |each: &[softlabel_targets::Masses]| each.iter().map(mass).collect::<Vec<_>>();
        Ok(match (&prepared.masses, &labels) {
            (MassesBy::All(masses), _) => {
                Tensor::f_full([1_i64].as_slice(), mass(masses), (kind, device))?
            }
            (MassesBy::Class(each), Some(labels)) => {
                tensor(&values(each), &[classes])?.f_take(labels)?.f_unsqueeze(-1)?
            }
            (MassesBy::Class(each) | MassesBy::Row(each), _) => {
                tensor(&values(each), &prepared.shape)?.f_unsqueeze(-1)?
            }
        })
    };
    let uniform = masses(|masses| masses.uniform)?;
    let dense = || masses(|masses| masses.dense);
    let spread = match (&prepared.part, &plan.fused.dense) {
        (Part::Rows(rows), _) => uniform.f_add(&rows.f_to_kind(kind)?.f_mul(&dense()?)?)?,
        (Part::Planned, Dense::None) => uniform,
        (Part::Planned, Dense::Vector(prior)) => {
            uniform.f_add(&dense()?.f_mul(&tensor(prior, &[classes])?)?)?
        }
        (Part::Planned, Dense::Matrix(matrix)) => {
            let matrix = tensor(matrix, &[classes, classes])?;
            let rows = match &labels {
                None => matrix,
                Some(labels) => matrix
                    .f_index_select(0, &labels.f_reshape([-1])?)?
                    .f_reshape([prepared.shape.as_slice(), &[classes]].concat().as_slice())?,
            };
            uniform.f_add(&dense()?.f_mul(&rows)?)?
        }
    };
    let spread = match &plan.weights {
        None => spread,
        Some(weights) => spread.f_mul(&tensor(weights, &[classes])?)?,
    };
    if labels.is_none() {
        return Ok(spread);
    }
    Ok(spread.f_add(&prepared.label_rows(kind)?.f_mul(&masses(|masses| masses.label)?)?)?)
}
