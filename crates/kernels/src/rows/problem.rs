//! One call, as the kernels see it: checked slices as pointers, and what is the same for all rows.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::target::{Dense, DenseRows, MassesBy, Point, RowTarget, Target};
use super::{Options, Scale};

/// Where the classes of a row stand.
///
/// Rows (n, s) are counted as n·spatial + s; class k of a row is at element (n·K + k)·spatial + s.
/// With `spatial` = 1 a row is contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) classes: usize,
    pub(crate) spatial: usize,
}

impl Layout {
    /// The element of class 0 of a row.
    #[inline(always)]
    pub(crate) fn first(self, row: usize) -> usize {
        if self.spatial == 1 {
            row * self.classes
        } else {
            row / self.spatial * self.classes * self.spatial + row % self.spatial
        }
    }
}

/// Logits, target and options, and where results go.
///
/// Invariants, checked by whoever makes one: the target fits; `input`, and `output` unless it is
/// null, point to rows·K elements, and are either equal or do not overlap; `losses`, and
/// `log_sum_exp` and `correct` unless null, point to one element a row.
/// Kernels running at the same time work on different rows, so nothing is written twice.
pub(crate) struct Problem<'a, T: Element> {
    pub(crate) input: *const T,
    /// Null if no gradient is wanted.
    pub(crate) output: *mut T,
    pub(crate) layout: Layout,
    pub(crate) target: &'a Target<'a, T::Sum>,
    pub(crate) gradient_scale: Scale<'a, T::Sum>,
    pub(crate) losses: *mut T::Sum,
    pub(crate) log_sum_exp: *mut T::Sum,
    pub(crate) correct: *mut bool,
    pub(crate) scale: T::Sum,
    pub(crate) softcap: Option<T::Sum>,
    pub(crate) z_loss: f64,
    /// w_k·(u + s·d_k), where it is the same for all rows and not for all classes.
    pub(crate) shared_spread: Option<Vec<T::Sum>>,
    /// Whether the gradient is so large that it had better be written past the caches.
    pub(crate) past_caches: bool,
    /// If the kernel is to look whether dense rows are distributions: how far from 1 a sum may be, and the
    /// first row that is none.
    pub(crate) check: Option<(f64, AtomicUsize)>,
}

// SAFETY: the slices behind the pointers may be sent and shared, and kernels running at the same
// time write to different rows.
#[allow(unsafe_code)]
unsafe impl<T: Element> Sync for Problem<'_, T> {}

/// From so many bytes on an output is written past the caches: more than a last cache usually has.
const PAST_CACHES: usize = 32 << 20;

/// Not if rows have fewer bytes. In bursts of some lines, with arithmetic in between, writing so is slow: 200 classes
/// in f32 took 28 ms where the caches take 5.
const LONG_ROW: usize = 32 << 10;

/// Whether an output had better be written past the caches: not if it replaces the input, whose lines are in the
/// caches already.
pub(crate) fn is_past_caches<T>(
    input: *const T,
    output: *mut T,
    rows: usize,
    classes: usize,
) -> bool {
    let row = classes.saturating_mul(size_of::<T>());
    !std::ptr::eq(input, output) && row >= LONG_ROW && rows.saturating_mul(row) >= PAST_CACHES
}

/// What one row comes to.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    pub(crate) log_sum_exp: f64,
    /// a of dloss/dz_k = a·p_k − t_k.
    pub(crate) slope: f64,
}

impl<'a, T: Element> Problem<'a, T> {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        input: *const T,
        output: *mut T,
        rows: usize,
        layout: Layout,
        target: &'a Target<'a, T::Sum>,
        options: &Options,
        gradient_scale: Scale<'a, T::Sum>,
    ) -> Self {
        let classes = layout.classes;
        let mut problem = Problem {
            input,
            output,
            layout,
            target,
            gradient_scale,
            losses: std::ptr::null_mut(),
            log_sum_exp: std::ptr::null_mut(),
            correct: std::ptr::null_mut(),
            scale: T::Sum::from_f64(options.scale),
            softcap: options.softcap.map(T::Sum::from_f64),
            z_loss: options.z_loss,
            shared_spread: None,
            past_caches: is_past_caches(input, output, rows, classes),
            check: None,
        };
        let shared = match (target.masses, target.dense) {
            (MassesBy::All(_), Dense::None) => target.class_weights.is_some(),
            (MassesBy::All(_), Dense::Vector(_)) => true,
            _ => false,
        };
        if let MassesBy::All(masses) = target.masses
            && shared
            && rows > 0
        {
            let nothing = Point { class: 0, mass: T::Sum::ZERO };
            let row = RowTarget {
                points: [nothing; 2],
                has_label: false,
                uniform: masses.uniform,
                dense: masses.dense,
                second_dense: T::Sum::ZERO,
            };
            let spread = |class| target.spread(&row, class, 0, classes);
            problem.shared_spread = Some((0..classes).map(spread).collect());
        }
        problem
    }

    /// Whether the mass of a class that is not a label is the same for all classes of a row.
    pub(crate) fn is_flat(&self) -> bool {
        matches!(self.target.dense, Dense::None) && self.target.class_weights.is_none()
    }

    /// 1 − (z/c)² of a logit: how much smaller the cap makes its gradient.
    #[inline(always)]
    pub(crate) fn steepness(&self, logit: T) -> T::Sum {
        let scaled = T::Sum::widen(logit) * self.scale;
        self.softcap.map_or(T::Sum::ONE, |cap| {
            let ratio = Real::tanh(scaled / cap);
            T::Sum::ONE - ratio * ratio
        })
    }

    /// z of a logit in `f64`.
    #[inline(always)]
    pub(crate) fn transform_exactly<C: Convert>(&self, logit: C) -> f64 {
        let scaled = logit.to_f64() * self.scale.to_f64();
        self.softcap.map_or(scaled, |cap| cap.to_f64() * (scaled / cap.to_f64()).tanh())
    }

    /// g of a row.
    #[inline(always)]
    pub(crate) fn gradient_scale_of(&self, row: usize) -> f64 {
        match self.gradient_scale {
            Scale::All(scale) => scale.to_f64(),
            Scale::Rows(scales) => scales[row].to_f64(),
        }
    }

    /// The cap on a scaled logit.
    #[inline(always)]
    pub(crate) fn capped(&self, scaled: T::Sum) -> T::Sum {
        self.softcap.map_or(scaled, |cap| cap * Real::tanh(scaled / cap))
    }

    /// What follows from base and ln Σ e^{z − base}, from Σ t_k·(z_k − base) and Σ t_k, both without the labels', and
    /// from the logits of the labels.
    #[inline(always)]
    pub(crate) fn outcome(
        &self,
        row: &RowTarget<T::Sum>,
        (base, log_total): (f64, f64),
        product: f64,
        mass: f64,
        label_logits: [impl Convert; 2],
    ) -> Outcome {
        // The base first: it may be so large that the logarithm would be lost in it.
        let log_sum_exp = base + log_total;
        let mut loss = mass * log_total - product;
        for (point, logit) in row.points.iter().zip(label_logits) {
            let mass = point.mass.to_f64();
            if mass != 0.0 {
                loss += mass * ((base - self.transform_exactly(logit)) + log_total);
            }
        }
        let mut slope = mass + row.point_mass();
        // Where it is 0 the gradient need not wait for the logarithm.
        if self.z_loss != 0.0 {
            slope += 2.0 * self.z_loss * log_sum_exp;
            loss += self.z_loss * log_sum_exp * log_sum_exp;
        }
        Outcome { loss, log_sum_exp, slope }
    }

    /// Whether the kernels see dense rows as they were given, without rounding or class weights, so that they can
    /// check them in passing.
    pub(crate) fn checks_rows(&self) -> bool {
        let is_exact = match self.target.dense {
            Dense::Rows(DenseRows::F64(_)) => T::Sum::same_rows(DenseRows::F64(&[])).is_some(),
            Dense::Rows(DenseRows::Mask(_)) => false,
            Dense::Rows(_) => true,
            _ => false,
        };
        is_exact && self.target.class_weights.is_none()
    }

    /// Takes note of a row if its dense row is no distribution.
    #[inline(always)]
    pub(crate) fn check_row(&self, row: usize, sum: f64, smallest: f64) {
        if let Some((tolerance, first)) = &self.check
            && !((sum - 1.0).abs() <= *tolerance && smallest >= 0.0)
        {
            first.fetch_min(row, Ordering::Relaxed);
        }
    }

    /// Writes what there is to say of a row besides its gradient.
    ///
    /// # Safety
    /// The row is one of the problem's, and nobody else writes to it.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn report(&self, row: usize, loss: f64, log_sum_exp: f64) {
        // SAFETY: the pointers are those of slices with an element for every row, or null.
        unsafe {
            self.losses.add(row).write(T::Sum::from_f64(loss));
            if !self.log_sum_exp.is_null() {
                self.log_sum_exp.add(row).write(T::Sum::from_f64(log_sum_exp));
            }
        }
    }

    /// Writes whether the label is the first largest logit.
    ///
    /// # Safety
    /// The row is one of the problem's, and nobody else writes to it.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn report_correct(&self, row: usize, correct: bool) {
        if !self.correct.is_null() {
            // SAFETY: a slice with an element for every row.
            unsafe { self.correct.add(row).write(correct) }
        }
    }
}

/// Some rows of a problem: what a kernel is given.
pub(crate) struct Rows<'a, 'b, T: Element> {
    pub(crate) problem: &'a Problem<'b, T>,
    pub(crate) range: Range<usize>,
}
