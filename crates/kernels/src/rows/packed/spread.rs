//! The masses of packed rows: w_k·(u + s·d_k), and where they are by label, m·\[k = y\] with them.

use super::super::element::sealed::Convert;
use super::super::element::{Accumulator, Element};
use super::super::fill::spread_of;
use super::super::problem::Problem;
use super::super::sweep::sweep;
use super::super::target::{Dense, DenseRows, Masses, MassesBy, Point, RowTarget};
use super::super::threads::GROUP;
use super::super::vector::{Lanes, MOST_LANES, Permute, Read, Write, read, read_part};
use super::{FEW_CLASSES, LARGEST};
use crate::CompensatedSum;

/// Whose they are.
pub(super) enum SpreadBy<'b, A> {
    /// The same for all classes and rows: u.
    All(A),
    /// The same for all rows: those of `MOST_LANES` rows, one after the other.
    Class(Vec<A>),
    /// By the label of a row, that label's mass among them; m, u and s of each.
    Label(Vec<Masses<A>>),
    /// Of dense rows without class weights; m of these masses is that of a label.
    Row(DenseRows<'b>, Masses<A>),
}

impl<'b, A: Accumulator> SpreadBy<'b, A> {
    /// Those of a problem; nothing if they are not for this kernel.
    pub(super) fn new<T: Element<Sum = A>>(problem: &Problem<'b, T>) -> Option<Self> {
        let target = problem.target;
        match (target.masses, target.dense) {
            (MassesBy::All(masses), _) if problem.is_flat() => Some(SpreadBy::All(masses.uniform)),
            (MassesBy::All(_), Dense::None | Dense::Vector(_)) => {
                let shared = problem.shared_spread.as_ref()?;
                Some(SpreadBy::Class(shared.repeat(MOST_LANES)))
            }
            (MassesBy::All(masses), Dense::Rows(rows)) if target.class_weights.is_none() => {
                Some(SpreadBy::Row(rows, masses))
            }
            (MassesBy::Row(_), _) | (_, Dense::Rows(_)) => None,
            (MassesBy::All(masses), Dense::Matrix(_)) => {
                Some(SpreadBy::Label(vec![masses; problem.layout.classes]))
            }
            (MassesBy::Class(masses), _) => Some(SpreadBy::Label(masses.to_vec())),
        }
    }

    /// Σ_k t_k, where it is the same for all rows, with so much on the label alone, and whether it is for this kernel.
    pub(super) fn mass(&self, label: A, classes: usize) -> (f64, bool) {
        let (label, mut size) = (label.to_f64(), label.to_f64().abs());
        let sum = match self {
            SpreadBy::All(uniform) => {
                let sum = classes as f64 * uniform.to_f64();
                size += sum.abs();
                sum
            }
            SpreadBy::Class(rows) => {
                let mut sum = CompensatedSum::default();
                for value in &rows[..classes] {
                    sum.add(value.to_f64());
                    size += value.to_f64().abs();
                }
                sum.value()
            }
            SpreadBy::Label(_) | SpreadBy::Row(..) => return (f64::NAN, true),
        };
        (label + sum, size <= LARGEST)
    }
}

/// The masses of some rows, one row after the other.
#[derive(Clone, Copy)]
pub(super) struct SpreadRows<A> {
    pub(super) first: *const A,
    /// K; 0 where the first rows are those of all others too.
    pub(super) columns: usize,
}

/// Where masses of rows are put together.
pub(super) struct Place<A> {
    /// Room for `GROUP` rows and a vector.
    pub(super) rows: *mut A,
    /// Room for K rows and a vector: those of all labels.
    pub(super) table: *mut A,
    /// Σ_k t_k of the labels.
    pub(super) sums: [f64; FEW_CLASSES],
    /// Σ_k t_k of the rows of a group.
    pub(super) masses: [f64; GROUP],
}

#[allow(unsafe_code)]
impl<A: Accumulator> Place<A> {
    /// Writes the table of the labels and their sums.
    ///
    /// # Safety
    /// There is room for it.
    #[inline(always)]
    pub(super) unsafe fn tabulate<V, T>(&mut self, problem: &Problem<'_, T>, each: &[Masses<A>])
    where
        T: Element<Sum = A>,
        V: Lanes<Scalar = A> + Permute<T>,
    {
        let classes = problem.layout.classes;
        let mut to = self.table;
        for (label, masses) in each.iter().enumerate() {
            let point = |mass| Point { class: label, mass };
            let target = RowTarget {
                points: [point(masses.label), point(A::ZERO)],
                has_label: true,
                uniform: masses.uniform,
                dense: masses.dense,
                second_dense: A::ZERO,
            };
            let mut sum = V::splat(A::ZERO);
            // SAFETY: promised by the caller; no row of a sample is looked at.
            unsafe {
                let spread = spread_of::<T, V>(problem, 0, &target, to);
                let (uniform, dense) = (V::splat(spread.uniform), V::splat(spread.dense));
                sweep!(classes, V::LANES;
                    (_slot, at) {
                        let mass = V::load(spread.values.add(at)).mul_add(dense, uniform);
                        sum = sum.add(mass);
                        mass.store(to.add(at));
                    }
                    (_slot, at, count) {
                        let value = read_part::<V, A>(spread.values.add(at), count);
                        let mass = value.mul_add(dense, uniform).keep(count, A::ZERO);
                        sum = sum.add(mass);
                        <V as Write<A>>::write_part(mass, to.add(at), count);
                    }
                );
                let at_label = to.add(label);
                at_label.write(at_label.read() + masses.label);
                to = to.add(classes);
            }
            self.sums[label] = sum.sum() + masses.label.to_f64();
        }
    }

    /// The masses of a group of rows, and in `masses` their sums, where they are not the same for all; nothing if a row
    /// is not for this kernel.
    ///
    /// # Safety
    /// There is room for them; the rows are the problem's, and their labels classes; the table has been written if it
    /// is asked for.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    pub(super) unsafe fn fill<V, T>(
        &mut self,
        by: &SpreadBy<'_, A>,
        problem: &Problem<'_, T>,
        row: usize,
    ) -> Option<SpreadRows<A>>
    where
        T: Element<Sum = A>,
        V: Lanes<Scalar = A> + Permute<T>,
    {
        let classes = problem.layout.classes;
        let to = self.rows;
        // SAFETY: promised by the caller.
        unsafe {
            match by {
                SpreadBy::All(_) => None,
                SpreadBy::Class(rows) => Some(SpreadRows { first: rows.as_ptr(), columns: 0 }),
                SpreadBy::Label(_) => {
                    let labels = &problem.target.labels?[row..row + GROUP];
                    let mut fits = true;
                    for (label, mass) in labels.iter().zip(&mut self.masses) {
                        *mass = *self.sums.as_ptr().add(*label as usize);
                        fits &= mass.abs() <= LARGEST;
                    }
                    // The last vectors first: what they have too much is where the next row begins.
                    for vector in (0..classes.div_ceil(V::LANES)).rev() {
                        let at = vector * V::LANES;
                        let (from, mut next) = (self.table.add(at).cast_const(), to.add(at));
                        for label in labels {
                            V::load(from.add(*label as usize * classes)).store(next);
                            next = next.wrapping_add(classes);
                        }
                    }
                    fits.then_some(SpreadRows { first: to, columns: classes })
                }
                SpreadBy::Row(dense, of) => {
                    let (first, count) = (row * classes, GROUP * classes);
                    let from = if let Some(same) = A::same_rows(*dense) {
                        same.as_ptr().add(first)
                    } else {
                        match *dense {
                            DenseRows::F32(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::F64(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::Bf16(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::F16(rows) => widen::<V, _>(&rows[first..][..count], to),
                            DenseRows::Mask(rows) => widen::<V, _>(&rows[first..][..count], to),
                        }
                        to.cast_const()
                    };
                    if !self.weigh::<V, T>(problem, from, of) {
                        return None;
                    }
                    if of.dense == A::ONE && of.uniform == A::ZERO {
                        return Some(SpreadRows { first: from, columns: classes });
                    }
                    let (uniform, dense) = (V::splat(of.uniform), V::splat(of.dense));
                    for at in (0..count).step_by(V::LANES) {
                        V::load(from.add(at)).mul_add(dense, uniform).store(to.add(at));
                    }
                    Some(SpreadRows { first: to, columns: classes })
                }
            }
        }
    }

    /// Σ_k t_k of a group of dense rows, and whether they are for this kernel: not too large, and distributions if they
    /// must be.
    ///
    /// # Safety
    /// There are `GROUP` rows.
    #[inline(always)]
    unsafe fn weigh<V, T>(
        &mut self,
        problem: &Problem<'_, T>,
        rows: *const A,
        of: &Masses<A>,
    ) -> bool
    where
        T: Element<Sum = A>,
        V: Lanes<Scalar = A> + Permute<T>,
    {
        let classes = problem.layout.classes;
        let mut fits = true;
        if problem.check.is_some() {
            let mut least = V::splat(A::ONE);
            for at in (0..GROUP * classes).step_by(V::LANES) {
                // SAFETY: promised by the caller.
                least = unsafe { V::load(rows.add(at)) }.min(least);
            }
            fits = least.smallest() >= A::ZERO;
        }
        let tolerance = problem.check.as_ref().map_or(f64::INFINITY, |(tolerance, _)| *tolerance);
        let on_all = of.label.to_f64() + classes as f64 * of.uniform.to_f64();
        let dense = of.dense.to_f64();
        for first in (0..GROUP).step_by(V::LANES) {
            let mut sums = [A::ZERO; MOST_LANES];
            // SAFETY: promised by the caller; no vector has more lanes.
            unsafe {
                V::row_sums(rows.add(first * classes), classes).store(sums.as_mut_ptr());
            }
            for (mass, sum) in self.masses[first..first + V::LANES].iter_mut().zip(sums) {
                let sum = sum.to_f64();
                *mass = dense.mul_add(sum, on_all);
                fits &= (sum - 1.0).abs() <= tolerance && mass.abs() <= LARGEST;
            }
        }
        fits
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
