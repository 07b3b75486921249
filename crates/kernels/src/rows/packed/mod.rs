//! The sum of the losses of rows of few classes, and their gradient, as the rows lie in memory, one after the other.
//!
//! A vector holds the end of one row and the beginning of the next, and no lane is empty, whatever K is: `LANES` rows
//! are K vectors. What is of a row comes to the lanes of its classes by a permutation, and sums of rows are taken
//! from what the vectors left in the first cache. Nothing is transposed, neither in nor out, which is what
//! [tiles](super::tile) spend most of their time on.
//!
//! As nobody asks for the losses of single rows, a logarithm is taken of the product of several sums, where rows have
//! the same mass.
//! Groups of rows of which one is ignored, not finite, of a huge mass or no distribution where it must be one, and what
//! is left at the end, are not for this kernel.

mod spread;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::problem::Problem;
use super::scratch::Scratch;
use super::target::MassesBy;
use super::threads::{GROUP, unit};
use super::vector::{Lanes, MOST_LANES, Permute, Vector, Write, read, sum_of};
use super::{FEW_CLASSES, Scale};
use spread::{Place, SpreadBy, SpreadRows};

/// Vectors of rows at a time, so that one operation need not wait for another.
const AT_A_TIME: usize = 4;

const _: () = assert!(GROUP.is_multiple_of(AT_A_TIME * MOST_LANES));
const _: () = assert!(unit(FEW_CLASSES) == GROUP);

/// Masses of rows and steps beyond this, or steps below 1 over it, are not for this kernel: in `f32` their products
/// might not be numbers. If the mass of a class is no number, the loss is none either.
const LARGEST: f64 = 1e15;

/// A problem that is for this kernel.
pub(crate) struct Packed<'a, 'b, T: Element> {
    problem: &'a Problem<'b, T>,
    /// The labels, and the mass on them alone, if there is one that is no part of the spread.
    labels: Option<(&'b [i64], T::Sum)>,
    spread: SpreadBy<'b, T::Sum>,
    /// Σ_k t_k of a row, where all rows have the same.
    mass: f64,
    /// What every gradient is multiplied by.
    step: f64,
    /// Which of `MOST_LANES` rows each of their classes belongs to.
    row_of: Vec<u32>,
}

impl<'a, 'b, T: Element> Packed<'a, 'b, T> {
    /// If this kernel does what the problem asks for: a group of rows of few contiguous classes at least, one label a
    /// row or none, masses for all rows or by label, no cap and no z-loss, and nothing said of single rows but the
    /// gradient. A negative scale would make the smallest logit the largest.
    pub(super) fn new(problem: &'a Problem<'b, T>, rows: usize) -> Option<Self> {
        let classes = problem.layout.classes;
        let target = problem.target;
        let Scale::All(scale) = problem.gradient_scale else { return None };
        let is_plain = problem.layout.spatial == 1
            && classes <= FEW_CLASSES
            && rows >= GROUP
            && target.second.is_none()
            && problem.softcap.is_none()
            && problem.z_loss == 0.0
            && problem.scale.to_f64() > 0.0
            && problem.log_sum_exp.is_null()
            && problem.correct.is_null();
        // What a row is multiplied by is rounded before it is divided by the row's sum.
        let step = scale.to_f64() * problem.scale.to_f64();
        let has_room = step == 0.0 || (1.0 / LARGEST..=LARGEST).contains(&step.abs());
        if !(is_plain && has_room) {
            return None;
        }
        let spread = SpreadBy::new(problem)?;
        let labels = match (target.masses, &spread) {
            (MassesBy::All(masses), SpreadBy::All(_) | SpreadBy::Class(_) | SpreadBy::Row(..)) => {
                let labels = target.labels.filter(|_| masses.label != T::Sum::ZERO);
                labels.map(|labels| (labels, masses.label))
            }
            _ => None,
        };
        let (mass, fits) = spread.mass(labels.map_or(T::Sum::ZERO, |(_, label)| label), classes);
        let rows = 0..MOST_LANES as u32;
        let row_of = rows.flat_map(|row| std::iter::repeat_n(row, classes)).collect();
        fits.then_some(Packed { problem, labels, spread, mass, step, row_of })
    }

    #[inline(always)]
    fn any_is_ignored(&self, rows: Range<usize>) -> bool {
        let target = self.problem.target;
        let mut any = false;
        if let Some(ignored) = target.ignored {
            for ignored in &ignored[rows.clone()] {
                any |= *ignored;
            }
        }
        if let (Some(index), Some(labels)) = (target.ignore_index, target.labels) {
            for label in &labels[rows] {
                any |= *label == index;
            }
        }
        any
    }
}

/// Some rows of a problem, and where the bits of the sum go of the losses of each [`GROUP`] of them.
pub(crate) struct PackedRows<'a, 'b, 'c, T: Element> {
    pub(super) packed: &'a Packed<'b, 'c, T>,
    pub(super) range: Range<usize>,
    pub(super) sums: &'a [AtomicU64],
}

#[allow(unsafe_code)]
impl<T: Element> PackedRows<'_, '_, '_, T> {
    /// What [`run`](Self::run) returns where there are no instructions for it.
    pub(super) fn none(self) -> Range<usize> {
        self.range
    }

    /// Writes gradients and sums up to a group that is not for this kernel, and returns that and those behind it that
    /// have ignored rows, too; nothing has been written of them. At the end the range is empty.
    #[inline(always)]
    pub(super) fn run<V: Lanes<Scalar = T::Sum> + Permute<T>>(self) -> Range<usize> {
        let mut row = self.range.start;
        if !self.is_left_out(row) {
            row += if let SpreadBy::All(_) = self.packed.spread {
                self.groups::<V, true>()
            } else {
                self.groups::<V, false>()
            };
        }
        let mut end = self.range.end.min(row + GROUP);
        while end < self.range.end && self.is_left_out(end) {
            end = self.range.end.min(end + GROUP);
        }
        row..end
    }

    /// Whether a group is not whole or has an ignored row.
    #[inline(always)]
    fn is_left_out(&self, row: usize) -> bool {
        self.range.end - row < GROUP || self.packed.any_is_ignored(row..row + GROUP)
    }

    /// Writes gradients and sums, and returns of how many rows.
    #[inline(always)]
    fn groups<V: Lanes<Scalar = T::Sum> + Permute<T>, const FLAT: bool>(&self) -> usize {
        let packed = self.packed;
        let classes = packed.problem.layout.classes;
        let size = GROUP * classes;
        // Vectors are written whole.
        let rows = if FLAT { 0 } else { size + V::LANES };
        let of_labels = if let SpreadBy::Label(_) = packed.spread { classes } else { 0 };
        let table = if FLAT { 0 } else { of_labels * classes + V::LANES };
        let scratch = Scratch::<T::Sum, 3>::take([size, rows, table]);
        let [powers, rows, table] = scratch.pieces;
        let mut place = Place { rows, table, sums: [0.0; FEW_CLASSES], masses: [0.0; GROUP] };
        if let SpreadBy::Label(each) = &packed.spread
            && !FLAT
        {
            // SAFETY: there is room for the rows of all labels.
            unsafe { place.tabulate::<V, T>(packed.problem, each) }
        }
        let mut unit = Unit { packed, powers, place };
        let mut row = self.range.start;
        for to in self.sums {
            if self.is_left_out(row) {
                break;
            }
            // SAFETY: the rows are the problem's and this kernel's alone; the scratch pieces hold those of a group.
            let total = unsafe {
                if packed.problem.output.is_null() {
                    unit.run::<V, false, FLAT>(row)
                } else {
                    unit.run::<V, true, FLAT>(row)
                }
            };
            if !total.is_finite() {
                break;
            }
            to.store(total.to_bits(), Ordering::Relaxed);
            row += GROUP;
        }
        row - self.range.start
    }
}

/// What a group of rows is computed with.
struct Unit<'a, 'b, 'c, T: Element> {
    packed: &'a Packed<'b, 'c, T>,
    /// e^{z − base}.
    powers: *mut T::Sum,
    place: Place<T::Sum>,
}

#[allow(unsafe_code)]
impl<T: Element> Unit<'_, '_, '_, T> {
    /// The sum of the losses of [`GROUP`] rows. If it is not finite nothing has been written.
    ///
    /// # Safety
    /// The rows are the problem's, and nobody else writes to them; there is room for their powers and masses, and the
    /// table of the labels has been written if it is asked for.
    #[inline(always)]
    unsafe fn run<V, const GRADIENT: bool, const FLAT: bool>(&mut self, row: usize) -> f64
    where
        V: Lanes<Scalar = T::Sum> + Permute<T>,
    {
        let Packed { problem, labels, spread, mass, step, .. } = self.packed;
        let classes = problem.layout.classes;
        let (labels, label) = match labels {
            Some((labels, label)) => (&labels[row..row + GROUP], label.to_f64()),
            None => (&[][..], 0.0),
        };
        let mut sums = [T::Sum::ZERO; GROUP];
        // SAFETY throughout: promised by the caller; labels are classes.
        unsafe {
            let mut masses = SpreadRows { first: std::ptr::null(), columns: 0 };
            if !FLAT {
                match self.place.fill::<V, T>(spread, problem, row) {
                    Some(rows) => masses = rows,
                    None => return f64::NAN,
                }
            }
            let input = problem.input.add(row * classes);
            let (mut gap, mut product) = (0.0, 0.0);
            for first in (0..GROUP).step_by(AT_A_TIME * V::LANES) {
                let of_some = self.exponentials::<V, FLAT>(input, labels, masses, first, &mut sums);
                gap += of_some.0;
                product += of_some.1;
            }
            // Without mass a logit may be infinite.
            let gap = if label == 0.0 { 0.0 } else { label * gap };
            if let SpreadBy::All(uniform) = spread {
                product = if *uniform == T::Sum::ZERO { 0.0 } else { uniform.to_f64() * product };
            }
            let has_one_mass = FLAT || masses.columns == 0;
            let logarithms = if has_one_mass {
                mass * log_of_product::<V>(&sums)
            } else {
                weighted_logarithms::<V>(&sums, &self.place.masses)
            };
            let loss = logarithms + gap - product;
            if !loss.is_finite() {
                return loss;
            }
            if GRADIENT {
                let mut factors = sums;
                if has_one_mass {
                    let factor = T::Sum::from_f64(mass * step);
                    for of_row in &mut factors {
                        *of_row = factor / *of_row;
                    }
                } else {
                    for (of_row, mass) in factors.iter_mut().zip(&self.place.masses) {
                        *of_row = T::Sum::from_f64(mass * step) / *of_row;
                    }
                }
                let output = problem.output.add(row * classes);
                for first in (0..GROUP).step_by(AT_A_TIME * V::LANES) {
                    self.gradient::<V, FLAT>(&factors, masses, first, output);
                }
                self.at_labels::<FLAT>(&factors, labels, masses, output);
            }
            loss
        }
    }

    /// Writes the powers of some vectors of rows and their sums, and returns Σ (base − z_y) and Σ t·(z − base), t the
    /// spread masses, or 1 if they are flat, and the base of a row the largest of its z.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    unsafe fn exponentials<V, const FLAT: bool>(
        &self,
        input: *const T,
        labels: &[i64],
        spread: SpreadRows<T::Sum>,
        first: usize,
        sums: &mut [T::Sum; GROUP],
    ) -> (f64, f64)
    where
        V: Lanes<Scalar = T::Sum> + Permute<T>,
    {
        let problem = self.packed.problem;
        let classes = problem.layout.classes;
        let scale = V::splat(problem.scale);
        // SAFETY: promised by the caller.
        unsafe {
            let input = input.add(first * classes);
            let powers = self.powers.add(first * classes);
            let mut label_logits = [T::Sum::ZERO; AT_A_TIME * MOST_LANES];
            let mut from = input;
            if !labels.is_empty() {
                let labels = &labels[first..first + AT_A_TIME * V::LANES];
                for (logit, label) in label_logits.iter_mut().zip(labels) {
                    // Volatile, or the compiler makes gathers of it, which take twice as long.
                    *logit = T::Sum::widen(from.add(*label as usize).read_volatile());
                    from = from.wrapping_add(classes);
                }
            }
            let masses = spread.first.wrapping_add(first * spread.columns);
            let negative = V::splat(-T::Sum::ONE);
            let (mut down, mut gaps) = ([scale; AT_A_TIME], [scale; AT_A_TIME]);
            for vector in 0..AT_A_TIME {
                let first = vector * V::LANES;
                let base = V::row_maxima(input.add(first * classes), classes).mul(scale);
                let own = V::load(label_logits.as_ptr().add(first)).mul(scale);
                down[vector] = base.mul(negative);
                gaps[vector] = own.mul_add(negative, base);
            }
            let mut products = [V::splat(T::Sum::ZERO); AT_A_TIME];
            for class in 0..classes {
                let row_of = self.packed.row_of.as_ptr().add(class * V::LANES);
                let mut below = down;
                for (vector, below) in below.iter_mut().enumerate() {
                    let z =
                        read::<V, T>(input.add((vector * classes + class) * V::LANES)).mul(scale);
                    *below = z.add(below.permute(row_of));
                    if FLAT {
                        products[vector] = products[vector].add(*below);
                    } else {
                        let at = (vector * spread.columns + class) * V::LANES;
                        let mass = V::load(masses.wrapping_add(at));
                        products[vector] = mass.mul_add_if_nonzero(*below, products[vector]);
                    }
                }
                for (vector, power) in V::exp_four(below).into_iter().enumerate() {
                    power.store(powers.add((vector * classes + class) * V::LANES));
                }
            }
            for vector in 0..AT_A_TIME {
                let sum = V::row_sums(powers.add(vector * V::LANES * classes), classes);
                sum.store(sums.as_mut_ptr().add(first + vector * V::LANES));
            }
            (sum_of(gaps).sum(), sum_of(products).sum())
        }
    }

    /// Writes e^{z − base}·factor − t·step, the factor that of the row.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn gradient<V: Lanes<Scalar = T::Sum> + Permute<T>, const FLAT: bool>(
        &self,
        factors: &[T::Sum; GROUP],
        spread: SpreadRows<T::Sum>,
        first: usize,
        output: *mut T,
    ) {
        let classes = self.packed.problem.layout.classes;
        let less = V::splat(T::Sum::from_f64(-self.packed.step));
        let mut constant = less;
        if let SpreadBy::All(uniform) = self.packed.spread {
            constant = V::splat(T::Sum::from_f64(-uniform.to_f64() * self.packed.step));
        }
        // SAFETY: promised by the caller.
        unsafe {
            let powers = self.powers.add(first * classes);
            let output = output.add(first * classes);
            let masses = spread.first.wrapping_add(first * spread.columns);
            let mut of_rows = [constant; AT_A_TIME];
            for (vector, factor) in of_rows.iter_mut().enumerate() {
                *factor = V::load(factors.as_ptr().add(first + vector * V::LANES));
            }
            for class in 0..classes {
                let row_of = self.packed.row_of.as_ptr().add(class * V::LANES);
                for (vector, factor) in of_rows.iter().enumerate() {
                    let at = (vector * classes + class) * V::LANES;
                    let mut summand = constant;
                    if !FLAT {
                        let at = (vector * spread.columns + class) * V::LANES;
                        summand = V::load(masses.wrapping_add(at)).mul(less);
                    }
                    let value = V::load(powers.add(at)).mul_add(factor.permute(row_of), summand);
                    <V as Write<T>>::write(value, output.add(at));
                }
            }
        }
    }

    /// Writes the gradient of the labels.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    unsafe fn at_labels<const FLAT: bool>(
        &self,
        factors: &[T::Sum; GROUP],
        labels: &[i64],
        spread: SpreadRows<T::Sum>,
        output: *mut T,
    ) {
        let Packed { problem, labels: of_labels, step, .. } = self.packed;
        let classes = problem.layout.classes;
        let Some((_, label_mass)) = of_labels else { return };
        let mut constant = T::Sum::ZERO;
        if let SpreadBy::All(uniform) = self.packed.spread {
            constant = T::Sum::from_f64(-(label_mass.to_f64() + uniform.to_f64()) * step);
        }
        let less = T::Sum::from_f64(-step);
        let (mut power, mut to, mut masses) = (self.powers.cast_const(), output, spread.first);
        for (factor, label) in factors.iter().zip(labels) {
            let label = *label as usize;
            // SAFETY: promised by the caller. Volatile, see above.
            unsafe {
                let mut summand = constant;
                if !FLAT {
                    summand = (masses.add(label).read_volatile() + *label_mass) * less;
                }
                let value = power.add(label).read_volatile().mul_add(*factor, summand);
                to.add(label).write_volatile(value.narrow());
            }
            (power, to) = (power.wrapping_add(classes), to.wrapping_add(classes));
            masses = masses.wrapping_add(spread.columns);
        }
    }
}

/// The logarithm of the product of sums of powers.
#[allow(unsafe_code)]
#[inline(always)]
fn log_of_product<V: Vector>(numbers: &[V::Scalar; GROUP]) -> f64 {
    let (mut products, mut logarithms, mut reciprocals) =
        ([1.0; MOST_LANES], [0.0; MOST_LANES], [0.0; MOST_LANES]);
    for first in (0..GROUP).step_by(V::LANES) {
        for lane in 0..V::LANES {
            products[lane] *= numbers[first + lane].to_f64();
        }
    }
    // SAFETY: no vector has more lanes.
    unsafe {
        V::logarithms(products.as_ptr(), logarithms.as_mut_ptr(), reciprocals.as_mut_ptr());
    }
    let mut sum = 0.0;
    for logarithm in &logarithms[..V::LANES] {
        sum += logarithm;
    }
    sum
}

/// Σ of mass times logarithm.
#[allow(unsafe_code)]
#[inline(always)]
fn weighted_logarithms<V: Vector>(numbers: &[V::Scalar; GROUP], masses: &[f64; GROUP]) -> f64 {
    let (mut totals, mut logarithms, mut reciprocals) = ([1.0; GROUP], [0.0; GROUP], [0.0; GROUP]);
    for (total, number) in totals.iter_mut().zip(numbers) {
        *total = number.to_f64();
    }
    for first in (0..GROUP).step_by(V::LANES) {
        // SAFETY: a group is whole vectors.
        unsafe {
            let logarithms = logarithms.as_mut_ptr().add(first);
            V::logarithms(
                totals.as_ptr().add(first),
                logarithms,
                reciprocals.as_mut_ptr().add(first),
            );
        }
    }
    let mut sums = [0.0; MOST_LANES];
    for first in (0..GROUP).step_by(MOST_LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += masses[first + lane] * logarithms[first + lane];
        }
    }
    let mut sum = 0.0;
    for of_lane in sums {
        sum += of_lane;
    }
    sum
}
