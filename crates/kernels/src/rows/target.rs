//! What a batch of rows is compared with, and the check that it fits.
//!
//! t_k = w_k·(u + s·d_k) + m·\[k = y\], where u, s and m are the [`Masses`] of a row, d its
//! [`Dense`] row, w the class weights and y the label. With a [`Second`] label y′ and its share λ
//! it is (1 − λ)·t_k(y) + λ·t_k(y′), the mixture of what the two labels would have each: where
//! masses are not by class and d is no row of a matrix, only m is shared.
//! Everything but Rows is of one number a class, a row of the label or a sample, so that the usual
//! targets (smoothed, off-target, by class, by sample, mixed) are described without being written
//! out.

use std::fmt;
use std::ops::Range;

use half::{bf16, f16};

use super::distributions::BadRow;
use super::element::sealed::Real;
use super::labels::tally_labels;

/// m, u and s of t_k = w_k·(u + s·d_k) + m·\[k = y\].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Masses<A> {
    /// m: on the label, on top of what the label has as a class. Class weights do not touch it.
    pub label: A,
    /// u: on every class.
    pub uniform: A,
    /// s: what the dense row is multiplied by. Without a dense row it means nothing.
    pub dense: A,
}

/// Whose masses they are.
#[derive(Debug, Clone, Copy)]
pub enum MassesBy<'a, A> {
    /// The same for every row.
    All(Masses<A>),
    /// By the label of the row; one a class.
    Class(&'a [Masses<A>]),
    /// One a row.
    Row(&'a [Masses<A>]),
}

/// d of t_k = w_k·(u + s·d_k) + m·\[k = y\].
#[derive(Debug, Clone, Copy)]
pub enum Dense<'a, A> {
    /// d = 0.
    None,
    /// One row for all samples; K numbers.
    Vector(&'a [A]),
    /// Row y of a K×K matrix.
    Matrix(&'a [A]),
    /// A row a sample, laid out as the logits are.
    Rows(DenseRows<'a>),
}

/// A dense row a sample, in whatever type it is stored; laid out as the logits are.
#[derive(Debug, Clone, Copy)]
pub enum DenseRows<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// In double precision.
    F64(&'a [f64]),
    /// In bfloat16.
    Bf16(&'a [bf16]),
    /// In half precision.
    F16(&'a [f16]),
    /// 1 where true, 0 where false.
    Mask(&'a [bool]),
}

impl DenseRows<'_> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            DenseRows::F32(values) => values.len(),
            DenseRows::F64(values) => values.len(),
            DenseRows::Bf16(values) => values.len(),
            DenseRows::F16(values) => values.len(),
            DenseRows::Mask(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One number, in the type of the arithmetic.
    pub(crate) fn get<A: Real>(&self, index: usize) -> A {
        match self {
            DenseRows::F32(values) => A::widen(values[index]),
            DenseRows::F64(values) => A::widen(values[index]),
            DenseRows::Bf16(values) => A::widen(values[index]),
            DenseRows::F16(values) => A::widen(values[index]),
            DenseRows::Mask(values) => A::widen(values[index]),
        }
    }
}

/// A second label a row, whose target has a share in that of the row (mixup, CutMix).
#[derive(Debug, Clone, Copy)]
pub struct Second<'a, A> {
    /// y′ of every row; looked at only where the row counts.
    pub labels: &'a [i64],
    /// λ: the target is (1 − λ)·t(y) + λ·t(y′).
    pub share: SecondShare<'a, A>,
}

/// λ of a [`Second`] label.
#[derive(Debug, Clone, Copy)]
pub enum SecondShare<'a, A> {
    /// The same for every row.
    One(A),
    /// One a row.
    Rows(&'a [A]),
}

impl<A: Copy> SecondShare<'_, A> {
    /// That of a row.
    #[inline(always)]
    pub(crate) fn get(&self, row: usize) -> A {
        match self {
            SecondShare::One(share) => *share,
            SecondShare::Rows(shares) => shares[row],
        }
    }
}

/// What a batch of rows is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a, A> {
    /// y of every row. Without labels no label can have a mass.
    pub labels: Option<&'a [i64]>,
    /// m, u and s.
    pub masses: MassesBy<'a, A>,
    /// d.
    pub dense: Dense<'a, A>,
    /// w: multiplies u + s·d_k, not m.
    pub class_weights: Option<&'a [A]>,
    /// A label with whose target that of the label is mixed.
    pub second: Option<Second<'a, A>>,
    /// Rows with this label do not count.
    pub ignore_index: Option<i64>,
    /// Rows where this is true do not count either.
    pub ignored: Option<&'a [bool]>,
    /// If there is one, the [dense rows](Dense::Rows) of rows that count must be distributions: no
    /// value negative or NaN, and a sum that is no further from 1. Masks need not.
    pub tolerance: Option<f64>,
}

impl<'a, A: Copy + Default> Target<'a, A> {
    /// Labels alone: all mass `label` on the label of a row.
    pub fn labels(labels: &'a [i64], label: A) -> Self {
        let masses = Masses { label, ..Masses::default() };
        Target {
            labels: Some(labels),
            masses: MassesBy::All(masses),
            dense: Dense::None,
            class_weights: None,
            second: None,
            ignore_index: None,
            ignored: None,
            tolerance: None,
        }
    }
}

/// Why a [`Target`], an output or a scale does not fit the logits.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetError {
    /// A slice is too long or too short.
    Length {
        /// Which slice.
        what: &'static str,
        /// How many elements there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A label is neither a class nor ignored.
    Label {
        /// Which labels: "label" or "second label".
        what: &'static str,
        /// The row it stands in.
        row: usize,
        /// The label.
        label: i64,
        /// K.
        classes: usize,
    },
    /// Something is looked up by the label, or lies on it, and there are no labels.
    NoLabels {
        /// What needs them.
        needed_by: &'static str,
    },
    /// There are rows and no classes.
    NoClasses,
    /// A dense row is no distribution, and a [tolerance](Target::tolerance) was given.
    Row(BadRow),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetError::Length { what, expected, found } => {
                write!(f, "{what}: expected {expected} elements, found {found}")
            }
            TargetError::Label { what, row, label, classes } => {
                write!(f, "the {what} of row {row} must be in 0..{classes}, found {label}")
            }
            TargetError::NoLabels { needed_by } => {
                write!(f, "{needed_by} needs labels, found none")
            }
            TargetError::NoClasses => write!(f, "rows without classes"),
            TargetError::Row(BadRow::Value { row, class, found }) => {
                write!(f, "dense row {row}: expected a probability at class {class}, found {found}")
            }
            TargetError::Row(BadRow::Sum { row, found }) => {
                write!(f, "dense row {row}: expected a sum of 1, found {found}")
            }
        }
    }
}

impl std::error::Error for TargetError {}

/// That a slice has the length it must have.
pub(crate) fn check_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), TargetError> {
    if expected == found { Ok(()) } else { Err(TargetError::Length { what, expected, found }) }
}

/// Whether a target fits `rows` rows of `classes` logits: the lengths, and that every label is a
/// class or ignored.
///
/// Every function of [`rows`](super) that takes a target checks it before it uses it; whether dense rows are
/// distributions is no part of it.
///
/// # Errors
/// The first thing that does not fit, with what was expected and what was found.
///
/// ```
/// use softlabel_kernels::rows::{Target, check_target};
///
/// let target = Target { ignore_index: Some(-100), ..Target::labels(&[1, -100], 1.0f32) };
/// assert_eq!(check_target(2, 3, &target), Ok(()));
/// let error = check_target(2, 3, &Target::labels(&[1, 3], 1.0f32)).unwrap_err();
/// assert_eq!(error.to_string(), "the label of row 1 must be in 0..3, found 3");
/// ```
pub fn check_target<A: super::Accumulator>(
    rows: usize,
    classes: usize,
    target: &Target<A>,
) -> Result<(), TargetError> {
    check_lengths(rows, classes, target)?;
    check_labels(0..rows, classes, target)
}

/// The first part of [`check_target`]: everything but the values of the labels.
pub(super) fn check_lengths<A: super::Accumulator>(
    rows: usize,
    classes: usize,
    target: &Target<A>,
) -> Result<(), TargetError> {
    if rows > 0 && classes == 0 {
        return Err(TargetError::NoClasses);
    }
    let elements = rows.saturating_mul(classes);
    match target.masses {
        MassesBy::All(_) => {}
        MassesBy::Class(masses) => check_length("masses by class", classes, masses.len())?,
        MassesBy::Row(masses) => check_length("masses by row", rows, masses.len())?,
    }
    match target.dense {
        Dense::None => {}
        Dense::Vector(values) => check_length("dense vector", classes, values.len())?,
        Dense::Matrix(values) => {
            check_length("dense matrix", classes.saturating_mul(classes), values.len())?;
        }
        Dense::Rows(values) => check_length("dense rows", elements, values.len())?,
    }
    if let Some(weights) = target.class_weights {
        check_length("class weights", classes, weights.len())?;
    }
    if let Some(ignored) = target.ignored {
        check_length("ignored", rows, ignored.len())?;
    }
    let Some(labels) = target.labels else { return check_without_labels(target) };
    check_length("labels", rows, labels.len())?;
    if let Some(second) = target.second {
        check_length("second labels", rows, second.labels.len())?;
        if let SecondShare::Rows(shares) = second.share {
            check_length("shares of the second label", rows, shares.len())?;
        }
    }
    Ok(())
}

/// That nothing needs the labels that are not there.
fn check_without_labels<A: super::Accumulator>(target: &Target<A>) -> Result<(), TargetError> {
    let needed_by = match (target.masses, target.dense) {
        (MassesBy::Class(_), _) => "masses by class",
        (_, Dense::Matrix(_)) => "a dense matrix",
        (MassesBy::All(masses), _) if masses.label != A::ZERO => "mass on the label",
        (MassesBy::Row(masses), _) if masses.iter().any(|masses| masses.label != A::ZERO) => {
            "mass on the label"
        }
        _ if target.second.is_some() => "a second label",
        _ => return Ok(()),
    };
    Err(TargetError::NoLabels { needed_by })
}

/// The second part: that the labels of some rows are classes, if the rows count.
pub(super) fn check_labels<A>(
    rows: Range<usize>,
    classes: usize,
    target: &Target<A>,
) -> Result<(), TargetError> {
    let check = |what, labels: &[i64], ignore_index| {
        let labels = &labels[rows.clone()];
        // Who it was is asked only if somebody was.
        if tally_labels(labels, classes, ignore_index).outside == 0 {
            return Ok(());
        }
        let fits = |label: i64| usize::try_from(label).is_ok_and(|class| class < classes);
        for (row, &label) in rows.clone().zip(labels) {
            if !fits(label) && !target.is_ignored(row) {
                return Err(TargetError::Label { what, row, label, classes });
            }
        }
        Ok(())
    };
    let Some(labels) = target.labels else { return Ok(()) };
    check("label", labels, target.ignore_index)?;
    // Whether a row is ignored is said by its first label alone.
    target.second.as_ref().map_or(Ok(()), |second| check("second label", second.labels, None))
}

impl<A> Target<'_, A> {
    /// Whether a row does not count.
    #[inline(always)]
    pub(crate) fn is_ignored(&self, row: usize) -> bool {
        self.ignored.is_some_and(|ignored| ignored[row])
            || match (self.ignore_index, self.labels) {
                (Some(index), Some(labels)) => labels[row] == index,
                _ => false,
            }
    }
}

/// The labels of a row and what lies on them.
#[derive(Clone, Copy)]
pub(crate) struct Point<A> {
    pub(crate) class: usize,
    pub(crate) mass: A,
}

/// What is known of a row that counts before its logits are looked at.
#[derive(Clone, Copy)]
pub(crate) struct RowTarget<A> {
    /// The label, and the second label. A mass of 0 where there is none.
    pub(crate) points: [Point<A>; 2],
    pub(crate) has_label: bool,
    pub(crate) uniform: A,
    pub(crate) dense: A,
    /// What the row of a matrix that the second label has is multiplied by; 0 where there is none.
    pub(crate) second_dense: A,
}

/// a + λ·(b − a): exactly a where b is a.
#[inline(always)]
pub(crate) fn blend<A: Real>(a: A, b: A, share: A) -> A {
    share.mul_add(b - a, a)
}

impl<A: Real> RowTarget<A> {
    /// m of all labels together.
    #[inline(always)]
    pub(crate) fn point_mass(&self) -> f64 {
        self.points[0].mass.to_f64() + self.points[1].mass.to_f64()
    }

    /// The mass of the labels on one class.
    #[inline(always)]
    pub(crate) fn point_mass_on(&self, class: usize) -> A {
        let [first, second] = self.points;
        let mass = if first.class == class { first.mass } else { A::ZERO };
        if second.class == class { mass + second.mass } else { mass }
    }
}

impl<A: super::Accumulator> Target<'_, A> {
    /// The numbers of a row that counts. The target has been checked.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn row(&self, row: usize) -> RowTarget<A> {
        let class = self.labels.map_or(0, |labels| labels[row] as usize);
        let masses = match self.masses {
            MassesBy::All(masses) => masses,
            MassesBy::Class(masses) => masses[class],
            MassesBy::Row(masses) => masses[row],
        };
        let label = if self.labels.is_some() { masses.label } else { A::ZERO };
        let mut target = RowTarget {
            points: [Point { class, mass: label }, Point { class, mass: A::ZERO }],
            has_label: self.labels.is_some(),
            uniform: masses.uniform,
            dense: masses.dense,
            second_dense: A::ZERO,
        };
        if let Some(second) = self.second {
            let share = second.share.get(row);
            let class = second.labels[row] as usize;
            let others = match self.masses {
                MassesBy::Class(each) => each[class],
                MassesBy::All(_) | MassesBy::Row(_) => masses,
            };
            target.points[0].mass = (A::ONE - share) * label;
            target.points[1] = Point { class, mass: share * others.label };
            target.uniform = blend(masses.uniform, others.uniform, share);
            if let Dense::Matrix(_) = self.dense {
                target.dense = (A::ONE - share) * masses.dense;
                target.second_dense = share * others.dense;
            } else {
                target.dense = blend(masses.dense, others.dense, share);
            }
        }
        target
    }

    /// w_k·(u + s·d_k): the mass of a class without that of a label. `element` is where the
    /// class stands among all dense rows.
    pub(crate) fn spread(
        &self,
        row: &RowTarget<A>,
        class: usize,
        element: usize,
        classes: usize,
    ) -> A {
        let of = |dense: A| dense.mul_add(row.dense, row.uniform);
        let mass = match self.dense {
            Dense::None => row.uniform,
            Dense::Vector(values) => of(values[class]),
            Dense::Matrix(values) => {
                let at = |point: Point<A>| values[point.class * classes + class];
                let [first, second] = row.points.map(at);
                second.mul_add(row.second_dense, of(first))
            }
            Dense::Rows(rows) => of(rows.get(element)),
        };
        self.class_weights.map_or(mass, |weights| weights[class] * mass)
    }
}
