//! What lies on the classes of packed rows besides the mass of a label: w_k·(u + s·d_k).

use super::super::element::sealed::{Convert, Real};
use super::super::element::{Accumulator, Element};
use super::super::problem::Problem;
use super::super::target::{Dense, DenseRows, Masses, MassesBy};
use super::super::threads::GROUP;
use super::super::vector::{Lanes, MOST_LANES, Permute, Read, read};
use super::LARGEST;

/// With fewer rows than this a label, a table of what its rows have is not worth making.
const ROWS_A_LABEL: usize = 16;

/// Whose it is.
pub(super) enum Spread<'b, A> {
    /// The same for all classes and rows.
    Flat(A),
    /// The same for all rows: that of `MOST_LANES` of them, one after the other.
    Shared(Vec<A>),
    /// By the label of a row, with what is on the label alone: those of all labels, one after the other, and a vector
    /// more; and Σ_k t_k of each.
    Labels(Vec<A>, Vec<f64>),
    /// u and s of dense rows, without class weights.
    Rows(DenseRows<'b>, Masses<A>),
}

/// That of a group of rows, one after the other.
#[derive(Clone, Copy)]
pub(super) struct OfGroup<A> {
    pub(super) first: *const A,
    /// K; 0 where the first rows are those of all others too.
    pub(super) columns: usize,
}

/// Σ_k t_k, if it is for this kernel.
fn add_up<A: Real>(label: A, spread: &[A]) -> Option<f64> {
    let label = label.to_f64();
    let sum: f64 = spread.iter().map(|value| value.to_f64()).sum();
    let size: f64 = spread.iter().map(|value| value.to_f64().abs()).sum();
    (label.abs() + size <= LARGEST).then_some(label + sum)
}

impl<'b, A: Accumulator> Spread<'b, A> {
    /// That of so many rows of a problem; nothing if it is not for this kernel.
    pub(super) fn new<T: Element<Sum = A>>(problem: &Problem<'b, T>, rows: usize) -> Option<Self> {
        let target = problem.target;
        match (target.masses, target.dense) {
            (MassesBy::All(masses), _) if problem.is_flat() => Some(Spread::Flat(masses.uniform)),
            (MassesBy::All(_), Dense::None | Dense::Vector(_)) => {
                let shared = problem.shared_spread.as_ref()?;
                Some(Spread::Shared(shared.repeat(MOST_LANES)))
            }
            (MassesBy::All(masses), Dense::Matrix(_)) => Self::by_label(problem, rows, |_| masses),
            (MassesBy::All(masses), Dense::Rows(rows)) if target.class_weights.is_none() => {
                let label = if target.labels.is_some() { masses.label } else { A::ZERO };
                Some(Spread::Rows(rows, Masses { label, ..masses }))
            }
            (MassesBy::Class(masses), _) => Self::by_label(problem, rows, |label| masses[label]),
            (MassesBy::All(_) | MassesBy::Row(_), _) => None,
        }
    }

    fn by_label<T: Element<Sum = A>>(
        problem: &Problem<'b, T>,
        rows: usize,
        masses: impl Fn(usize) -> Masses<A>,
    ) -> Option<Self> {
        let (target, classes) = (problem.target, problem.layout.classes);
        if target.labels.is_none() || rows < ROWS_A_LABEL * classes {
            return None;
        }
        let mut rows = Vec::with_capacity(classes * classes + MOST_LANES);
        let mut sums = Vec::with_capacity(classes);
        for label in 0..classes {
            let Masses { label: mass, uniform, dense } = masses(label);
            let start = label * classes;
            let of = |values: &'b [A]| values.iter().map(move |value| *value * dense + uniform);
            match target.dense {
                Dense::None => rows.resize(start + classes, uniform),
                Dense::Vector(values) => rows.extend(of(values)),
                Dense::Matrix(values) => rows.extend(of(&values[start..start + classes])),
                Dense::Rows(_) => return None,
            }
            let row = &mut rows[start..];
            for (value, weight) in row.iter_mut().zip(target.class_weights.unwrap_or_default()) {
                *value = *value * *weight;
            }
            sums.push(add_up(mass, row)?);
            row[label] = row[label] + mass;
        }
        rows.resize(rows.len() + MOST_LANES, A::ZERO);
        Some(Spread::Labels(rows, sums))
    }

    /// Σ_k t_k where it is the same for all rows, NaN where it is not; nothing if it is not for this kernel.
    pub(super) fn mass(&self, label: A, classes: usize) -> Option<f64> {
        match self {
            Spread::Flat(uniform) => {
                let (label, uniform) = (label.to_f64(), classes as f64 * uniform.to_f64());
                (label.abs() + uniform.abs() <= LARGEST).then_some(label + uniform)
            }
            Spread::Shared(rows) => add_up(label, &rows[..classes]),
            Spread::Labels(..) | Spread::Rows(..) => Some(f64::NAN),
        }
    }
}

#[allow(unsafe_code)]
impl<A: Accumulator> Spread<'_, A> {
    /// That of a group, if need be written to a piece of memory, and Σ_k t_k of its rows where it is not the same for
    /// all; nothing if a row is not for this kernel.
    ///
    /// # Safety
    /// The rows and labels are the problem's; `to` has room for `GROUP` rows and a vector.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    pub(super) unsafe fn of_group<V, T: Element<Sum = A>>(
        &self,
        problem: &Problem<'_, T>,
        row: usize,
        to: *mut A,
        masses: &mut [f64; GROUP],
    ) -> Option<OfGroup<A>>
    where
        V: Lanes<Scalar = A> + Permute<T>,
    {
        let classes = problem.layout.classes;
        // SAFETY: promised by the caller.
        unsafe {
            match self {
                Spread::Flat(_) => None,
                Spread::Shared(rows) => Some(OfGroup { first: rows.as_ptr(), columns: 0 }),
                Spread::Labels(rows, sums) => {
                    let labels = &problem.target.labels?[row..row + GROUP];
                    for (label, mass) in labels.iter().zip(masses) {
                        *mass = *sums.as_ptr().add(*label as usize);
                    }
                    // The last vectors first: what they have too much is where the next row begins.
                    for vector in (0..classes.div_ceil(V::LANES)).rev() {
                        let at = vector * V::LANES;
                        let (from, mut next) = (rows.as_ptr().add(at), to.add(at));
                        for label in labels {
                            V::load(from.add(*label as usize * classes)).store(next);
                            next = next.wrapping_add(classes);
                        }
                    }
                    Some(OfGroup { first: to, columns: classes })
                }
                Spread::Rows(rows, of) => {
                    let first = row * classes;
                    let count = GROUP * classes;
                    let from = if let Some(same) = A::same_rows(*rows) {
                        same.as_ptr().add(first)
                    } else {
                        match *rows {
                            DenseRows::F32(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::F64(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::Bf16(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::F16(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::Mask(rows) => widen::<V, _>(&rows[first..][..count], to),
                        }
                        to.cast_const()
                    };
                    if !weigh::<V, T>(problem, from, of, masses) {
                        return None;
                    }
                    if of.dense == A::ONE && of.uniform == A::ZERO {
                        return Some(OfGroup { first: from, columns: classes });
                    }
                    let (uniform, dense) = (V::splat(of.uniform), V::splat(of.dense));
                    for at in (0..count).step_by(V::LANES) {
                        V::load(from.add(at)).mul_add(dense, uniform).store(to.add(at));
                    }
                    Some(OfGroup { first: to, columns: classes })
                }
            }
        }
    }
}

/// Writes numbers in the type of the arithmetic; whole vectors of them.
///
/// # Safety
/// There is room for them.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn widen<V: Lanes + Read<D>, D: Convert>(from: &[D], to: *mut V::Scalar) {
    for at in (0..from.len()).step_by(V::LANES) {
        // SAFETY: promised by the caller; groups are whole vectors.
        unsafe { read::<V, D>(from.as_ptr().add(at)).store(to.add(at)) }
    }
}

/// The masses of a group of rows, and whether they are for this kernel: not too large, and distributions if they
/// must be.
///
/// # Safety
/// There are `GROUP` rows.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn weigh<V, T>(
    problem: &Problem<'_, T>,
    rows: *const T::Sum,
    of: &Masses<T::Sum>,
    masses: &mut [f64; GROUP],
) -> bool
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Permute<T>,
{
    let classes = problem.layout.classes;
    let mut fits = true;
    if problem.check.is_some() {
        let mut least = V::splat(T::Sum::ONE);
        for at in (0..GROUP * classes).step_by(V::LANES) {
            // SAFETY: promised by the caller.
            least = unsafe { V::load(rows.add(at)) }.min(least);
        }
        fits = least.smallest() >= T::Sum::ZERO;
    }
    let tolerance = problem.check.as_ref().map_or(f64::INFINITY, |(tolerance, _)| *tolerance);
    let on_all = of.label.to_f64() + classes as f64 * of.uniform.to_f64();
    let dense = of.dense.to_f64();
    for first in (0..GROUP).step_by(V::LANES) {
        let mut sums = [T::Sum::ZERO; MOST_LANES];
        // SAFETY: promised by the caller; no vector has more lanes.
        unsafe {
            V::row_sums(rows.add(first * classes), classes).store(sums.as_mut_ptr());
        }
        for (mass, sum) in masses[first..first + V::LANES].iter_mut().zip(sums) {
            let sum = sum.to_f64();
            *mass = dense.mul_add(sum, on_all);
            fits &= (sum - 1.0).abs() <= tolerance && mass.abs() <= LARGEST;
        }
    }
    fits
}
