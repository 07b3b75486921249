//! A target, checked against the logits and brought into the form that is computed from.

use std::ops::Range;
use std::sync::Arc;

use softlabel_core::{Error as CoreError, Normalizer, Reduction};
use softlabel_kernels::rows::{TargetError as KernelError, first_bad_row, tally_labels};
use softlabel_targets::{Dense, FusedTarget, Masses, MassesBy};
use softlabel_tensor::slices::slice;
use softlabel_tensor::{
    ClassAxis, Error as TensorError, check_label_values, check_labels_fit, check_same_device,
    check_soft_row_values, check_soft_rows_fit, class_last, soft_row_tolerance,
};
use tch::{Device, Kind, Tensor};

use super::numbers::refused;
use super::plan::Plan;
use super::{CrossEntropy, Target};
use crate::Result;
use crate::numeric::computing_kind;
use crate::rows::{dense_rows, threads};

/// How a target is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All of it is checked; rows get their classes last.
    Checked,
    /// For one call of the row kernels, which check soft rows in passing. Rows stay where the logits have their
    /// classes if `spatial`, else their classes become last.
    Kernels { spatial: bool },
}

impl Way {
    fn is_spatial(self) -> bool {
        self == Self::Kernels { spatial: true }
    }
}

/// The dense part of a target.
#[derive(Debug)]
pub(super) enum Part {
    /// What the plan has.
    Planned,
    /// A row a sample, in any float dtype or as a mask: as the labels, with the class axis last or where the logits have it.
    Rows(Tensor),
}

/// A second label a sample, and its share.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) labels: Tensor,
    pub(super) shares: Vec<f64>,
}

/// The target of a batch: t_k = w_k·(uniform + dense·d_k) + label·[k = y].
///
/// Labels are `i64`, and checked unless the kernels are to do it; the masses of labels contain the weight of their class.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) plan: Arc<Plan>,
    /// The shape of the logits without the class axis.
    pub(super) shape: Vec<i64>,
    pub(super) labels: Option<Tensor>,
    pub(super) second: Option<Second>,
    pub(super) masses: MassesBy,
    pub(super) part: Part,
    pub(super) ignore_index: Option<i64>,
    /// True where a sample counts for nothing whatever its label.
    pub(super) ignored: Option<Tensor>,
    /// How many samples count.
    pub(super) counted: f64,
    /// The sum of the weights of those that count, if there are weights and they are asked for.
    pub(super) weight_sum: Option<f64>,
    /// How far from 1 the sum of a row may be, if the kernels are to check that.
    pub(super) tolerance: Option<f64>,
}

impl Prepared {
    /// `logits` are class-last.
    pub(super) fn new(
        loss: &CrossEntropy,
        logits: &Tensor,
        target: Target<'_>,
        way: Way,
    ) -> Result<Self> {
        let classes = logits.size().last().copied().unwrap_or_default();
        let plan = loss.plan(usize::try_from(classes).unwrap_or_default())?;
        if let Some(weights) = &loss.class_weights {
            check_same_device(weights, logits, "class weights")?;
        }
        match target {
            Target::Hard(labels) => {
                // Where all count, the kernels' own look at the labels is enough.
                let by_kernels =
                    way != Way::Checked && loss.ignore_index.is_none() && plan.weights.is_none();
                let (labels, ignored) = if by_kernels {
                    (check_labels_fit(labels, logits, "labels")?.f_contiguous()?, Some(0))
                } else {
                    checked_labels(labels, logits, loss.ignore_index, "labels")?
                };
                let masses = with_class_weights(&plan.fused.masses, plan.weights.as_deref());
                let mut prepared = Self::planned(loss, plan, logits, masses);
                prepared.labels = Some(labels);
                prepared.count(loss.reduction, ignored)?;
                Ok(prepared)
            }
            Target::Smoothed { labels, epsilons } => {
                Self::smoothed(loss, &plan, logits, labels, epsilons)
            }
            Target::Allowed { labels, allowed } => {
                Self::allowed(loss, plan, logits, labels, allowed, way)
            }
            Target::Mixed { first, second, share_of_second } => {
                Self::mixed(loss, plan, logits, [first, second], share_of_second)
            }
            Target::Soft(rows) => Self::soft(loss, plan, logits, rows, None, way),
            Target::Masked { rows, counted } => {
                const WHAT: &str = "mask of the samples that count";
                let (kind, leading) = (counted.f_kind()?, leading(logits));
                if kind != Kind::Bool {
                    let error = TensorError::Kind { what: WHAT, expected: "bool", found: kind };
                    return Err(error.into());
                }
                if counted.size() != leading {
                    let (expected, found) = (format!("{leading:?}"), counted.size());
                    return Err(TensorError::Shape { what: WHAT, expected, found }.into());
                }
                check_same_device(counted, logits, WHAT)?;
                let ignored = counted.f_logical_not()?.f_contiguous()?;
                Self::soft(loss, plan, logits, rows, Some(ignored), way)
            }
        }
    }

    /// Without labels yet, all samples counted.
    pub(super) fn planned(
        loss: &CrossEntropy,
        plan: Arc<Plan>,
        logits: &Tensor,
        masses: MassesBy,
    ) -> Self {
        let shape = leading(logits);
        Self {
            plan,
            counted: shape.iter().product::<i64>() as f64,
            shape,
            labels: None,
            second: None,
            masses,
            part: Part::Planned,
            ignore_index: loss.ignore_index,
            ignored: None,
            weight_sum: None,
            tolerance: None,
        }
    }

    /// An ε for each row.
    fn smoothed(
        loss: &CrossEntropy,
        plan: &Plan,
        logits: &Tensor,
        labels: &Tensor,
        epsilons: &[f64],
    ) -> Result<Self> {
        let (labels, ignored) = checked_labels(labels, logits, loss.ignore_index, "labels")?;
        check_count("epsilons", labels.numel(), epsilons)?;
        let fused = loss.smoothing.fused_per_row(plan.classes, epsilons)?;
        let masses = match (&fused.masses, &plan.weights) {
            (MassesBy::Row(masses), Some(weights)) => {
                let weight = |label: i64| {
                    let class = usize::try_from(label).ok();
                    class.and_then(|class| weights.get(class)).copied().unwrap_or(0.0)
                };
                let labels = Vec::<i64>::try_from(labels.f_flatten(0, -1)?)?;
                let each = masses.iter().zip(labels);
                MassesBy::Row(each.map(|(masses, y)| weighted(masses, weight(y))).collect())
            }
            (masses, _) => masses.clone(),
        };
        let plan = Arc::new(plan.with_targets(fused));
        let mut prepared = Self::planned(loss, plan, logits, masses);
        prepared.labels = Some(labels);
        prepared.count(loss.reduction, ignored)?;
        Ok(prepared)
    }

    /// Two labels a row.
    fn mixed(
        loss: &CrossEntropy,
        plan: Arc<Plan>,
        logits: &Tensor,
        [first, second]: [&Tensor; 2],
        shares: &[f64],
    ) -> Result<Self> {
        let (first, _) = checked_labels(first, logits, loss.ignore_index, "first labels")?;
        let (second, _) = checked_labels(second, logits, loss.ignore_index, "second labels")?;
        check_count("shares of the second label", first.numel(), shares)?;
        for &share in shares {
            crate::check::share("the share of the second label", share)?;
        }
        let masses = with_class_weights(&plan.fused.masses, plan.weights.as_deref());
        let mut prepared = Self::planned(loss, plan, logits, masses);
        prepared.labels = Some(first);
        prepared.second = Some(Second { labels: second, shares: shares.to_vec() });
        prepared.count(loss.reduction, None)?;
        prepared.ignored = prepared.ignored()?;
        Ok(prepared)
    }

    /// A distribution a row.
    fn soft(
        loss: &CrossEntropy,
        plan: Arc<Plan>,
        logits: &Tensor,
        rows: &Tensor,
        ignored: Option<Tensor>,
        way: Way,
    ) -> Result<Self> {
        let (part, masses, tolerance) =
            soft_rows(loss, &plan, logits, rows, ignored.as_ref(), way)?;
        let mut prepared = Self::planned(loss, plan, logits, masses);
        prepared.part = Part::Rows(part);
        prepared.tolerance = tolerance;
        if let Some(ignored) = &ignored {
            prepared.counted -= i64::try_from(ignored.f_sum(Kind::Int64)?)? as f64;
        }
        prepared.ignored = ignored;
        if loss.reduction == Reduction::Mean(Normalizer::WeightSum) {
            prepared.weigh_rows(rows, loss.class_axis)?;
        }
        Ok(prepared)
    }

    /// How many rows there are.
    pub(super) fn samples(&self) -> usize {
        self.shape.iter().map(|&size| usize::try_from(size).unwrap_or_default()).product()
    }

    /// The target of some samples, as one axis of them.
    pub(super) fn part(&self, rows: Range<usize>) -> Result<Self> {
        let flat = |tensor: &Tensor| -> Result<Tensor> {
            Ok(tensor.f_reshape([-1])?.f_narrow(0, rows.start as i64, rows.len() as i64)?)
        };
        let of_rows = |tensor: &Tensor| -> Result<Tensor> {
            let tensor = tensor.f_reshape([-1, self.plan.classes as i64])?;
            Ok(tensor.f_narrow(0, rows.start as i64, rows.len() as i64)?)
        };
        let second = |second: &Second| -> Result<Second> {
            let shares = second.shares.get(rows.clone()).unwrap_or_default().to_vec();
            Ok(Second { labels: flat(&second.labels)?, shares })
        };
        Ok(Self {
            plan: Arc::clone(&self.plan),
            shape: vec![rows.len() as i64],
            labels: self.labels.as_ref().map(flat).transpose()?,
            second: self.second.as_ref().map(second).transpose()?,
            masses: match &self.masses {
                MassesBy::Row(masses) => {
                    MassesBy::Row(masses.get(rows.clone()).unwrap_or_default().to_vec())
                }
                masses => masses.clone(),
            },
            part: match &self.part {
                Part::Planned => Part::Planned,
                Part::Rows(tensor) => Part::Rows(of_rows(tensor)?),
            },
            ignore_index: self.ignore_index,
            ignored: self.ignored.as_ref().map(flat).transpose()?,
            counted: self.counted,
            weight_sum: self.weight_sum,
            tolerance: self.tolerance,
        })
    }

    /// What the masses of a target are at most of the order of: 1, or the largest class weight.
    pub(super) fn largest_mass(&self) -> f64 {
        self.plan.weights.iter().flatten().fold(1.0, |largest, &weight| largest.max(weight))
    }

    /// The tensors that backward needs again, if it computes the logits again.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let rows = match &self.part {
            Part::Planned => None,
            Part::Rows(rows) => Some(rows),
        };
        let second = self.second.as_ref().map(|second| &second.labels);
        self.labels.iter().chain(second).chain(rows).chain(&self.ignored)
    }

    /// True where a sample counts for nothing; none where all count.
    pub(super) fn ignored(&self) -> Result<Option<Tensor>> {
        let of = |labels: &Tensor| self.ignore_index.map(|index| labels.f_eq(index)).transpose();
        let mut ignored = self.ignored.as_ref().map(Tensor::shallow_clone);
        let second = self.second.as_ref().map(|second| &second.labels);
        for labels in self.labels.iter().chain(second) {
            ignored = match (ignored, of(labels)?) {
                (Some(a), Some(b)) => Some(a.f_logical_or(&b)?),
                (a, b) => a.or(b),
            };
        }
        Ok(ignored)
    }

    /// q of every sample, before smoothing, `[.., K]`: one-hot, or two-hot for two labels. Zero where ignored.
    pub(super) fn label_rows(&self, kind: Kind) -> Result<Tensor> {
        let Some(labels) = &self.labels else {
            return Err(TensorError::from(CoreError::Empty { what: "labels" }).into());
        };
        let mut shape = self.shape.clone();
        shape.push(self.plan.classes as i64);
        let mut rows = Tensor::f_zeros(shape.as_slice(), (kind, labels.device()))?;
        let ignored = self.ignored()?;
        let mut add = |labels: &Tensor, mass: &Tensor| -> Result<()> {
            let (labels, mass) = match &ignored {
                None => (labels.shallow_clone(), mass.shallow_clone()),
                Some(ignored) => {
                    (labels.f_masked_fill(ignored, 0)?, mass.f_masked_fill(ignored, 0.0)?)
                }
            };
            let _ = rows.f_scatter_add_(-1, &labels.f_unsqueeze(-1)?, &mass.f_unsqueeze(-1)?)?;
            Ok(())
        };
        let ones = Tensor::f_ones(self.shape.as_slice(), (kind, labels.device()))?;
        match &self.second {
            None => add(labels, &ones)?,
            Some(second) => {
                let shares = Tensor::f_from_slice(&second.shares)?
                    .f_reshape(self.shape.as_slice())?
                    .f_to_device(labels.device())?
                    .f_to_kind(kind)?;
                add(labels, &ones.f_sub(&shares)?)?;
                add(&second.labels, &shares)?;
            }
        }
        Ok(rows)
    }

    /// Counts the samples, if it is not known how many are ignored, and adds up the weights of their labels.
    pub(super) fn count(&mut self, reduction: Reduction, ignored: Option<usize>) -> Result<()> {
        self.counted -= match ignored {
            Some(ignored) => ignored as f64,
            None => match self.ignored()? {
                Some(ignored) => i64::try_from(ignored.f_sum(Kind::Int64)?)? as f64,
                None => 0.0,
            },
        };
        let is_asked = reduction == Reduction::Mean(Normalizer::WeightSum);
        let (Some(weights), Some(labels), true) = (&self.plan.weights, &self.labels, is_asked)
        else {
            return Ok(());
        };
        let ignored = self.ignored()?;
        let weights = Tensor::f_from_slice(weights)?.f_to_device(labels.device())?;
        let of = |labels: &Tensor| -> Result<Tensor> {
            Ok(match &ignored {
                None => weights.f_take(labels)?,
                Some(ignored) => weights
                    .f_take(&labels.f_masked_fill(ignored, 0)?)?
                    .f_masked_fill(ignored, 0.0)?,
            })
        };
        let mut sum = of(labels)?;
        if let Some(second) = &self.second {
            let shares = Tensor::f_from_slice(&second.shares)?
                .f_reshape(self.shape.as_slice())?
                .f_to_device(labels.device())?;
            let other = of(&second.labels)?.f_mul(&shares)?;
            sum = sum.f_mul(&shares.f_neg()?.f_add_scalar(1.0)?)?.f_add(&other)?;
        }
        self.weight_sum = Some(f64::try_from(sum.f_sum(Kind::Double)?)?);
        Ok(())
    }

    /// Adds up the weights of soft rows, as they were given.
    fn weigh_rows(&mut self, rows: &Tensor, axis: ClassAxis) -> Result<()> {
        let Some(weights) = &self.plan.weights else { return Ok(()) };
        let rows = class_last(&rows.f_detach()?, axis, "soft targets")?.f_to_kind(Kind::Double)?;
        let weights = Tensor::f_from_slice(weights)?.f_to_device(rows.device())?;
        let mut sums = rows.f_matmul(&weights)?;
        if let Some(ignored) = &self.ignored {
            sums = sums.f_masked_fill(ignored, 0.0)?;
        }
        self.weight_sum = Some(f64::try_from(sums.f_sum(Kind::Double)?)?);
        Ok(())
    }
}

/// Rows as they are.
const ROWS: MassesBy = MassesBy::All(Masses { label: 0.0, uniform: 0.0, dense: 1.0 });

/// The shape without the class axis.
fn leading(logits: &Tensor) -> Vec<i64> {
    let mut shape = logits.size();
    shape.pop();
    shape
}

pub(super) fn weighted(masses: &Masses, weight: f64) -> Masses {
    Masses { label: masses.label * weight, ..*masses }
}

/// The masses with the weight of the class in that of a label.
fn with_class_weights(masses: &MassesBy, weights: Option<&[f64]>) -> MassesBy {
    match (masses, weights) {
        (MassesBy::All(masses), Some(weights)) => {
            MassesBy::Class(weights.iter().map(|&weight| weighted(masses, weight)).collect())
        }
        (MassesBy::Class(each), Some(weights)) => {
            let each = each.iter().zip(weights);
            MassesBy::Class(each.map(|(masses, &weight)| weighted(masses, weight)).collect())
        }
        (masses, _) => masses.clone(),
    }
}

/// Checked, on the device of the logits, as `i64`; and how many are ignored, where counting is cheap.
pub(super) fn checked_labels(
    labels: &Tensor,
    logits: &Tensor,
    ignore_index: Option<i64>,
    what: &'static str,
) -> Result<(Tensor, Option<usize>)> {
    let labels = check_labels_fit(labels, logits, what)?.f_contiguous()?;
    let classes = logits.size().last().copied().unwrap_or_default();
    if labels.device() == Device::Cpu {
        let count = usize::try_from(classes).unwrap_or_default();
        let tally = tally_labels(slice(&labels)?, count, ignore_index);
        if tally.outside == 0 {
            return Ok((labels, Some(tally.ignored)));
        }
    }
    check_label_values(&labels, classes, ignore_index)?;
    Ok((labels, None))
}

fn check_count(what: &'static str, samples: usize, values: &[f64]) -> Result<()> {
    if values.len() == samples {
        return Ok(());
    }
    let (expected, found) = (format!("{samples}, one a sample"), values.len().to_string());
    Err(TensorError::from(CoreError::mismatch(what, expected, found)).into())
}

/// Soft rows, contiguous, and smoothed: by their masses if that is all it takes. They are checked, unless the
/// kernels are to do it, with a tolerance.
fn soft_rows(
    loss: &CrossEntropy,
    plan: &Plan,
    logits: &Tensor,
    rows: &Tensor,
    ignored: Option<&Tensor>,
    way: Way,
) -> Result<(Tensor, MassesBy, Option<f64>)> {
    let given = rows.f_detach()?;
    let rows = class_last(&given, loss.class_axis, "soft targets")?;
    check_soft_rows_fit(&rows, logits)?;
    let placed_rows = if way.is_spatial() { given } else { rows.shallow_clone() }.f_contiguous()?;
    let by_masses = match (&plan.fused.masses, &plan.fused.dense) {
        (MassesBy::All(masses), Dense::None) => {
            Some(Masses { label: 0.0, uniform: masses.uniform, dense: masses.label })
        }
        _ => None,
    };
    // What is weighed is added up before the kernels see it.
    let in_passing = by_masses.is_some() && plan.weights.is_none() && way != Way::Checked;
    let tolerance = if in_passing { Some(soft_row_tolerance(rows.f_kind()?)) } else { None };
    if rows.device() != Device::Cpu {
        check_soft_row_values(&rows, ignored)?;
    } else if tolerance.is_none() {
        let spatial = if way.is_spatial() { leading(logits).iter().skip(1).product() } else { 1 };
        check_distributions(&placed_rows, plan.classes, spatial, ignored)?;
    }
    if let Some(masses) = by_masses {
        return Ok((placed_rows, MassesBy::All(masses), tolerance));
    }
    let rows = smoothed_rows(&plan.fused, &rows.f_to_kind(computing_kind(logits)?)?)?;
    Ok((placed(rows, way)?, ROWS, None))
}

/// [`check_soft_row_values`] in one read.
fn check_distributions(
    rows: &Tensor,
    classes: usize,
    spatial: i64,
    ignored: Option<&Tensor>,
) -> Result<()> {
    let ignored = ignored.map(slice::<bool>).transpose()?;
    let spatial = usize::try_from(spatial).unwrap_or_default();
    let (tolerance, threads) = (soft_row_tolerance(rows.f_kind()?), threads());
    let bad = first_bad_row(dense_rows(rows)?, classes, spatial, ignored, tolerance, threads);
    match bad.map_err(|error| refused(&error, None))? {
        None => Ok(()),
        Some(bad) => Err(refused(&KernelError::Row(bad), Some(tolerance))),
    }
}

/// Rows `[.., K]` as the logits lie.
pub(super) fn placed(rows: Tensor, way: Way) -> Result<Tensor> {
    let rows = if way.is_spatial() { rows.f_movedim_int(-1, 1)? } else { rows };
    Ok(rows.f_contiguous()?)
}

/// Σ_y q_y·(target of label y) for rows q `[.., K]`, in their dtype.
pub(super) fn smoothed_rows(target: &FusedTarget, rows: &Tensor) -> Result<Tensor> {
    let classes = rows.size().last().copied().unwrap_or_default();
    let vector = |values: &[f64], shape: &[i64]| -> Result<Tensor> {
        let values = Tensor::f_from_slice(values)?.f_reshape(shape)?;
        Ok(values.f_to_device(rows.device())?.f_to_kind(rows.f_kind()?)?)
    };
    let of_labels = |mass: fn(&Masses) -> f64| -> Result<Tensor> {
        match &target.masses {
            MassesBy::All(masses) => Ok(rows.f_mul_scalar(mass(masses))?),
            MassesBy::Class(each) | MassesBy::Row(each) => {
                let values: Vec<_> = each.iter().map(mass).collect();
                Ok(rows.f_mul(&vector(&values, &[classes])?)?)
            }
        }
    };
    let total = |parts: Tensor| -> Result<Tensor> {
        Ok(parts.f_sum_dim_intlist([-1_i64].as_slice(), true, parts.f_kind()?)?)
    };
    let labels = of_labels(|masses| masses.label)?;
    let smoothed = labels.f_add(&total(of_labels(|masses| masses.uniform)?)?)?;
    Ok(match &target.dense {
        Dense::None => smoothed,
        Dense::Vector(prior) => {
            let shares = total(of_labels(|masses| masses.dense)?)?;
            smoothed.f_add(&shares.f_mul(&vector(prior, &[classes])?)?)?
        }
        Dense::Matrix(matrix) => {
            let shares = of_labels(|masses| masses.dense)?;
            smoothed.f_add(&shares.f_matmul(&vector(matrix, &[classes, classes])?)?)?
        }
    })
}
