//! A prepared target as the row kernels take it: numbers in the dtype of the arithmetic, and slices.

use std::ops::Range;

use softlabel_core::Error as CoreError;
use softlabel_kernels::rows::{
    BadRow, Dense, DenseRows, Masses, MassesBy, Second, SecondShare, Target, TargetError,
};
use softlabel_targets::{
    Dense as PlannedDense, Masses as PlannedMasses, MassesBy as PlannedMassesBy,
};
use softlabel_tensor::Error as TensorError;
use softlabel_tensor::slices::slice;

use super::prepare::{Part, Prepared};
use crate::Result;
use crate::rows::{Number, dense_rows};

/// The numbers of a target, of which any range of rows can be had.
pub(super) struct Numbers<'a, A> {
    classes: usize,
    labels: Option<&'a [i64]>,
    masses: Vec<Masses<A>>,
    by: By,
    dense: Dense<'a, A>,
    weights: Option<Vec<A>>,
    second: Option<(&'a [i64], Vec<A>)>,
    ignore_index: Option<i64>,
    ignored: Option<&'a [bool]>,
    tolerance: Option<f64>,
}

enum By {
    All,
    Class,
    Row,
}

impl<'a, A: Number> Numbers<'a, A> {
    pub(super) fn new(prepared: &'a Prepared) -> Result<Self> {
        let of = |masses: &PlannedMasses| Masses {
            label: A::of(masses.label),
            uniform: A::of(masses.uniform),
            dense: A::of(masses.dense),
        };
        let (masses, by) = match &prepared.masses {
            PlannedMassesBy::All(masses) => (vec![of(masses)], By::All),
            PlannedMassesBy::Class(masses) => (masses.iter().map(of).collect(), By::Class),
            PlannedMassesBy::Row(masses) => (masses.iter().map(of).collect(), By::Row),
        };
        let plan = &prepared.plan;
        let dense = || A::pick(|| plan.dense_in_single(), || plan.dense());
        let dense = match (&prepared.part, &plan.fused.dense) {
            (Part::Rows(rows), _) => Dense::Rows(dense_rows(rows)?),
            (Part::Planned, PlannedDense::Vector(_)) => Dense::Vector(dense()),
            (Part::Planned, PlannedDense::Matrix(_)) => Dense::Matrix(dense()),
            (Part::Planned, PlannedDense::None) => Dense::None,
        };
        let values = |values: &[f64]| values.iter().map(|&value| A::of(value)).collect::<Vec<_>>();
        let second = match &prepared.second {
            None => None,
            Some(second) => Some((slice::<i64>(&second.labels)?, values(&second.shares))),
        };
        Ok(Self {
            classes: plan.classes,
            labels: prepared.labels.as_ref().map(slice::<i64>).transpose()?,
            masses,
            by,
            dense,
            weights: plan.weights.as_deref().map(values),
            second,
            ignore_index: prepared.ignore_index,
            ignored: prepared.ignored.as_ref().map(slice::<bool>).transpose()?,
            tolerance: prepared.tolerance,
        })
    }

    /// The target of some rows.
    pub(super) fn target(&self, rows: Range<usize>) -> Target<'_, A> {
        let masses = match self.by {
            By::All => MassesBy::All(self.masses.first().copied().unwrap_or_default()),
            By::Class => MassesBy::Class(&self.masses),
            By::Row => MassesBy::Row(part(&self.masses, rows.clone())),
        };
        let elements = rows.start * self.classes..rows.end * self.classes;
        let dense = match self.dense {
            Dense::Rows(rows) => Dense::Rows(match rows {
                DenseRows::F32(values) => DenseRows::F32(part(values, elements)),
                DenseRows::F64(values) => DenseRows::F64(part(values, elements)),
                DenseRows::Bf16(values) => DenseRows::Bf16(part(values, elements)),
                DenseRows::F16(values) => DenseRows::F16(part(values, elements)),
                DenseRows::Mask(values) => DenseRows::Mask(part(values, elements)),
            }),
            dense => dense,
        };
        let second = self.second.as_ref().map(|(labels, shares)| Second {
            labels: part(labels, rows.clone()),
            share: SecondShare::Rows(part(shares, rows.clone())),
        });
        Target {
            labels: self.labels.map(|labels| part(labels, rows.clone())),
            masses,
            dense,
            class_weights: self.weights.as_deref(),
            second,
            ignore_index: self.ignore_index,
            ignored: self.ignored.map(|ignored| part(ignored, rows)),
            tolerance: self.tolerance,
        }
    }
}

/// Empty where there are not that many, which the kernels refuse.
fn part<T>(values: &[T], range: Range<usize>) -> &[T] {
    values.get(range).unwrap_or_default()
}

/// What the kernels refuse: a label that is no class, a soft row that is no distribution, or what a check before them
/// overlooked.
///
/// `tolerance` is that of the soft rows, if there are any.
pub(super) fn refused(error: &TargetError, tolerance: Option<f64>) -> crate::Error {
    let what = "soft targets";
    let error = match *error {
        TargetError::Row(BadRow::Value { row, class, found }) => {
            CoreError::BadValue { what, expected: "a probability", row, class, found }
        }
        TargetError::Row(BadRow::Sum { row, found }) => {
            CoreError::RowSum { what, row, found, tolerance: tolerance.unwrap_or_default() }
        }
        TargetError::Label { row, label, classes, .. } => {
            CoreError::LabelOutOfRange { position: row, found: label, classes }
        }
        ref other => CoreError::mismatch("target", "one that fits the logits", other.to_string()),
    };
    TensorError::from(error).into()
}
