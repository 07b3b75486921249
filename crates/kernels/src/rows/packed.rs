//! The sum of the losses of rows of few classes, and their gradient, as the rows lie in memory, one after the other.
//!
//! A vector holds the end of one row and the beginning of the next, and no lane is empty, whatever K is: `LANES` rows
//! are K vectors. What is of a row comes to the lanes of its classes by a permutation, and sums of rows are taken
//! from what the vectors left in the first cache. Nothing is transposed, neither in nor out, which is what
//! [tiles](super::tile) spend most of their time on.
//!
//! As nobody asks for the losses of single rows, a logarithm is taken of the product of several sums.
//! Rows of which one is ignored or not finite, and what is left at the end, are not for this kernel.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::problem::Problem;
use super::scratch::Scratch;
use super::target::{Masses, MassesBy};
use super::threads::GROUP;
use super::vector::{Lanes, MOST_LANES, Permute, Vector, Write, read, sum_of};
use super::{FEW_CLASSES, Scale};

/// Vectors of rows at a time, so that one operation need not wait for another.
const AT_A_TIME: usize = 4;

/// Masses and steps beyond this, or steps below 1 over it, are not for this kernel: in `f32` their products might not
/// be numbers.
const LARGEST: f64 = 1e15;

/// A problem that is for this kernel.
pub(crate) struct Packed<'a, 'b, T: Element> {
    problem: &'a Problem<'b, T>,
    labels: &'b [i64],
    masses: Masses<T::Sum>,
    /// What every gradient is multiplied by.
    step: f64,
}

impl<'a, 'b, T: Element> Packed<'a, 'b, T> {
    /// If this kernel does what the problem asks for: few contiguous classes, one label a row, the same masses for all,
    /// no cap and no z-loss, and nothing said of single rows but the gradient. A negative scale would make the smallest
    /// logit the largest.
    pub(super) fn new(problem: &'a Problem<'b, T>) -> Option<Self> {
        let target = problem.target;
        let (MassesBy::All(masses), Scale::All(scale)) = (target.masses, problem.gradient_scale)
        else {
            return None;
        };
        let is_plain = problem.layout.spatial == 1
            && problem.layout.classes <= FEW_CLASSES
            && problem.is_flat()
            && target.second.is_none()
            && problem.softcap.is_none()
            && problem.z_loss == 0.0
            && problem.scale.to_f64() > 0.0
            && problem.log_sum_exp.is_null()
            && problem.correct.is_null();
        let labels = target.labels.filter(|_| is_plain)?;
        let step = scale.to_f64() * problem.scale.to_f64();
        // What a row is multiplied by is rounded before it is divided by the row's sum.
        let size = masses.label.to_f64().abs()
            + problem.layout.classes as f64 * masses.uniform.to_f64().abs();
        if !(size <= LARGEST && (step == 0.0 || (1.0 / LARGEST..=LARGEST).contains(&step.abs()))) {
            return None;
        }
        Some(Packed { problem, labels, masses, step })
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
        if let Some(index) = target.ignore_index {
            for label in &self.labels[rows] {
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
    pub(super) fn none(self) -> usize {
        self.range.start
    }

    /// Writes gradients and sums, and returns the first row of a group that it has written nothing of, because that is
    /// not for this kernel, or the end.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // A row of a vector's.
    pub(super) fn run<V: Lanes<Scalar = T::Sum> + Permute<T>>(self) -> usize {
        let Self { packed, range, sums } = self;
        if range.len() < GROUP || packed.any_is_ignored(range.start..range.start + GROUP) {
            return range.start;
        }
        let classes = packed.problem.layout.classes;
        let mut row_of = [0; FEW_CLASSES * MOST_LANES];
        for (at, row) in row_of[..V::LANES * classes].iter_mut().enumerate() {
            *row = (at / classes) as u32;
        }
        let scratch = Scratch::<T::Sum, 1>::take([GROUP * classes]);
        let unit = Unit { packed, row_of: &row_of, powers: scratch.pieces[0] };
        let mut row = range.start;
        for to in sums {
            if range.end - row < GROUP || packed.any_is_ignored(row..row + GROUP) {
                break;
            }
            // SAFETY: the rows are the problem's and this kernel's alone; the scratch piece holds their logits.
            let total = unsafe {
                if packed.problem.output.is_null() {
                    unit.run::<V, false>(row)
                } else {
                    unit.run::<V, true>(row)
                }
            };
            if !total.is_finite() {
                break;
            }
            to.store(total.to_bits(), Ordering::Relaxed);
            row += GROUP;
        }
        row
    }
}

/// What a group of rows is computed with.
struct Unit<'a, 'b, 'c, T: Element> {
    packed: &'a Packed<'b, 'c, T>,
    /// Which of `LANES` rows each of their classes belongs to.
    row_of: &'a [u32; FEW_CLASSES * MOST_LANES],
    /// e^{z − base}.
    powers: *mut T::Sum,
}

#[allow(unsafe_code)]
impl<T: Element> Unit<'_, '_, '_, T> {
    /// The sum of the losses of [`GROUP`] rows. If it is not finite nothing has been written.
    ///
    /// # Safety
    /// The rows are the problem's, and nobody else writes to them; there is memory for their powers.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    unsafe fn run<V, const GRADIENT: bool>(&self, row: usize) -> f64
    where
        V: Lanes<Scalar = T::Sum> + Permute<T>,
    {
        let Packed { problem, masses, labels, step } = self.packed;
        let classes = problem.layout.classes;
        let (label, uniform) = (masses.label.to_f64(), masses.uniform.to_f64());
        let mass = label + classes as f64 * uniform;
        let labels = &labels[row..row + GROUP];
        let mut sums = [T::Sum::ZERO; GROUP];
        // SAFETY throughout: promised by the caller; labels are classes.
        unsafe {
            let input = problem.input.add(row * classes);
            let (mut gap, mut distance) = (0.0, 0.0);
            for first in (0..GROUP).step_by(AT_A_TIME * V::LANES) {
                let of_some = self.exponentials::<V>(input, labels, first, &mut sums);
                gap += of_some.0;
                distance += of_some.1;
            }
            // Without mass a logit may be infinite.
            let gap = if label == 0.0 { 0.0 } else { label * gap };
            let distance = if uniform == 0.0 { 0.0 } else { uniform * distance };
            let loss = mass * log_of_product::<V>(&sums) + gap - distance;
            if !loss.is_finite() {
                return loss;
            }
            if GRADIENT {
                let factor = T::Sum::from_f64(mass * step);
                let mut factors = sums;
                for of_row in &mut factors {
                    *of_row = factor / *of_row;
                }
                let output = problem.output.add(row * classes);
                let constant = V::splat(T::Sum::from_f64(-uniform * step));
                for first in (0..GROUP).step_by(AT_A_TIME * V::LANES) {
                    self.gradient::<V>(&factors, constant, first, output);
                }
                let at_label = T::Sum::from_f64(-(label + uniform) * step);
                let (mut power, mut to) = (self.powers.cast_const(), output);
                for (factor, label) in factors.iter().zip(labels) {
                    // Volatile, see below.
                    let value =
                        power.add(*label as usize).read_volatile().mul_add(*factor, at_label);
                    to.add(*label as usize).write_volatile(value.narrow());
                    (power, to) = (power.wrapping_add(classes), to.wrapping_add(classes));
                }
            }
            loss
        }
    }

    /// Writes the powers of some vectors of rows and their sums, and returns Σ (base − z_y) and Σ (z − base), the base of
    /// a row being the largest of its z.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    unsafe fn exponentials<V>(
        &self,
        input: *const T,
        labels: &[i64],
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
            let labels = &labels[first..first + AT_A_TIME * V::LANES];
            for (logit, label) in label_logits.iter_mut().zip(labels) {
                // Volatile, or the compiler makes gathers of it, which take twice as long.
                *logit = T::Sum::widen(from.add(*label as usize).read_volatile());
                from = from.wrapping_add(classes);
            }
            let negative = V::splat(-T::Sum::ONE);
            let (mut down, mut gaps) = ([scale; AT_A_TIME], [scale; AT_A_TIME]);
            for vector in 0..AT_A_TIME {
                let first = vector * V::LANES;
                let base = V::row_maxima(input.add(first * classes), classes).mul(scale);
                let own = V::load(label_logits.as_ptr().add(first)).mul(scale);
                down[vector] = base.mul(negative);
                gaps[vector] = own.mul_add(negative, base);
            }
            let mut distances = [V::splat(T::Sum::ZERO); AT_A_TIME];
            for class in 0..classes {
                let row_of = self.row_of.as_ptr().add(class * V::LANES);
                let mut below = down;
                for (vector, below) in below.iter_mut().enumerate() {
                    let z =
                        read::<V, T>(input.add((vector * classes + class) * V::LANES)).mul(scale);
                    *below = z.add(below.permute(row_of));
                    distances[vector] = distances[vector].add(*below);
                }
                for (vector, power) in V::exp_four(below).into_iter().enumerate() {
                    power.store(powers.add((vector * classes + class) * V::LANES));
                }
            }
            for vector in 0..AT_A_TIME {
                let sum = V::row_sums(powers.add(vector * V::LANES * classes), classes);
                sum.store(sums.as_mut_ptr().add(first + vector * V::LANES));
            }
            (sum_of(gaps).sum(), sum_of(distances).sum())
        }
    }

    /// e^{z − base}·factor + constant, the factor of the row.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn gradient<V: Lanes<Scalar = T::Sum> + Permute<T>>(
        &self,
        factors: &[T::Sum; GROUP],
        constant: V,
        first: usize,
        output: *mut T,
    ) {
        let classes = self.packed.problem.layout.classes;
        // SAFETY: promised by the caller.
        unsafe {
            let powers = self.powers.add(first * classes);
            let output = output.add(first * classes);
            let mut of_rows = [constant; AT_A_TIME];
            for (vector, factor) in of_rows.iter_mut().enumerate() {
                *factor = V::load(factors.as_ptr().add(first + vector * V::LANES));
            }
            for class in 0..classes {
                let row_of = self.row_of.as_ptr().add(class * V::LANES);
                for (vector, factor) in of_rows.iter().enumerate() {
                    let at = (vector * classes + class) * V::LANES;
                    let value = V::load(powers.add(at)).mul_add(factor.permute(row_of), constant);
                    <V as Write<T>>::write(value, output.add(at));
                }
            }
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
