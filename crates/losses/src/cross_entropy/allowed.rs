//! Smoothing over the classes that each sample allows.

use std::sync::Arc;

use softlabel_core::Error as CoreError;
use softlabel_targets::{Convention, Masses, MassesBy, Prior};
use softlabel_tensor::{ClassAxis, Error as TensorError, check_same_device};
use tch::{Kind, Tensor};

use super::CrossEntropy;
use super::plan::Plan;
use super::prepare::{Part, Prepared, Way, checked_labels, placed, weighted};
use crate::Result;

const WHAT: &str = "mask of the allowed classes";

/// A mask with the class axis last, whatever else it is.
pub(crate) fn class_last_mask(mask: &Tensor, axis: ClassAxis) -> Result<Tensor> {
    Ok(match axis {
        ClassAxis::Second if mask.dim() > 1 => mask.f_movedim_int(1, -1)?,
        _ => mask.shallow_clone(),
    })
}

/// A mask `[.., K]` with the class axis last, that goes with class-last logits.
pub(crate) fn checked_mask(allowed: &Tensor, logits: &Tensor, axis: ClassAxis) -> Result<Tensor> {
    let found = allowed.f_kind()?;
    if found != Kind::Bool {
        return Err(TensorError::Kind { what: WHAT, expected: "bool", found }.into());
    }
    let mask = class_last_mask(allowed, axis)?;
    if mask.size() != logits.size() {
        let (expected, found) =
            (format!("{:?} as the logits, class-last", logits.size()), mask.size());
        return Err(TensorError::Shape { what: WHAT, expected, found }.into());
    }
    check_same_device(&mask, logits, WHAT)?;
    Ok(mask)
}

impl Prepared {
    /// A label a row, and ε spread evenly over the classes that are allowed there:
    /// t = (1 − ε)·onehot(y) + ε/n·allowed.
    pub(super) fn allowed(
        loss: &CrossEntropy,
        plan: Arc<Plan>,
        logits: &Tensor,
        labels: &Tensor,
        allowed: &Tensor,
        way: Way,
    ) -> Result<Self> {
        let (labels, ignored) = checked_labels(labels, logits, loss.ignore_index, "labels")?;
        let mask = checked_mask(allowed, logits, loss.class_axis)?;
        if *loss.smoothing.prior() != Prior::Uniform(Convention::Mixture) {
            let (expected, found) = ("mixture", loss.smoothing.to_string());
            let what = "convention of a smoothing over the classes that each sample allows";
            return Err(TensorError::from(CoreError::mismatch(what, expected, found)).into());
        }
        let counts = mask.f_sum_dim_intlist([-1_i64].as_slice(), false, Kind::Int64)?;
        let counts = Vec::<i64>::try_from(counts.f_flatten(0, -1)?)?;
        let classes = plan.classes;
        let each = Vec::<i64>::try_from(labels.f_flatten(0, -1)?)?.into_iter().zip(counts);
        let masses = each.enumerate().map(|(sample, (label, count))| {
            // An ignored label may be none; its masses do not count.
            let class = usize::try_from(label).ok().filter(|_| Some(label) != loss.ignore_index);
            let Some(class) = class else { return Ok(Masses::default()) };
            let planned = match &plan.fused.masses {
                MassesBy::All(masses) => *masses,
                MassesBy::Class(each) | MassesBy::Row(each) => {
                    each.get(class).copied().unwrap_or_default()
                }
            };
            let epsilon = planned.uniform * classes as f64;
            if count == 0 && epsilon != 0.0 {
                let (expected, found) =
                    ("at least one of each sample", format!("none of sample {sample}"));
                return Err(TensorError::from(CoreError::mismatch(WHAT, expected, found)));
            }
            let dense = if count == 0 { 0.0 } else { epsilon / count as f64 };
            let masses = Masses { label: planned.label, uniform: 0.0, dense };
            let weight = plan.weights.as_ref().and_then(|weights| weights.get(class));
            Ok(weight.map_or(masses, |&weight| weighted(&masses, weight)))
        });
        let masses = MassesBy::Row(masses.collect::<Result<_, TensorError>>()?);
        let mut prepared = Self::planned(loss, plan, logits, masses);
        prepared.labels = Some(labels);
        prepared.part = Part::Rows(placed(mask, way)?);
        prepared.count(loss.reduction, ignored)?;
        Ok(prepared)
    }
}
