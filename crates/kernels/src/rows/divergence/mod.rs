//! Divergences between rows of two sets of logits, and their gradient in the first, fused.
//!
//! With z = a·x of the student's logits x, u = b·y of the teacher's logits y, p = softmax(z) and
//! q = softmax(u):
//!
//! - KL(q ‖ p) = Σ_k q_k·(ln q_k − ln p_k), d/dz_k = p_k − q_k
//! - KL(p ‖ q) = Σ_k p_k·ℓ_k with ℓ_k = ln p_k − ln q_k, d/dz_k = p_k·(ℓ_k − KL(p ‖ q))
//! - JS_β = β·KL(q ‖ m) + (1 − β)·KL(p ‖ m) with m = β·q + (1 − β)·p,
//!   d/dz_k = (1 − β)·p_k·(ln(p_k/m_k) − KL(p ‖ m))
//!
//! d/dx_k is a times that, written times g, the scale of the row.
//! The teacher is constant.
//!
//! # Passes over memory
//!
//! As in [`rows`](super): a logit of either side is read once from memory and costs one
//! exponential, an entry of the gradient is written once, and what is needed in between is two rows
//! of scratch memory a thread.
//! Where KL(p ‖ q) has a share, both rows are read once more, from the cache.
//!
//! # Edge cases
//!
//! - Where both sides are the same numbers, the divergence and its gradient are exactly 0.
//! - A class that the teacher holds impossible (−∞) costs nothing in KL(q ‖ p), whatever the student
//!   says of it; a class that the student holds impossible costs nothing in KL(p ‖ q).
//! - KL(q ‖ p) is +∞ where the student holds impossible what the teacher does not; its gradient is
//!   p − q all the same. KL(p ‖ q) is +∞ where the teacher holds impossible what the student does
//!   not; there is nothing finite to say of its gradient then, and it is 0. JS_β is always finite.
//! - A teacher's row that is −∞ throughout has no mass (q = 0), a student's neither (p = 0).
//! - A probability below the smallest normal number of the arithmetic, relative to the largest of the
//!   row, counts as 0.
//! - NaN or +∞ on either side makes the divergence and the gradient of the row NaN.
//! - A row that is ignored has the divergence 0 and the gradient 0, whatever is in it.

mod careful;
mod kernel;

use std::mem::MaybeUninit;
use std::ptr::null_mut;

use super::dispatch::Instructions;
use super::element::Element;
use super::element::sealed::Real;
use super::problem::is_past_caches;
use super::target::check_length;
use super::threads::{Threads, for_ranges};
use super::{DenseRows, Scale, TargetError};
pub(crate) use kernel::DivergenceRows;

/// Which divergence of p, the student's distribution, and q, the teacher's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Divergence {
    /// `forward`·KL(q ‖ p) + `reverse`·KL(p ‖ q).
    KullbackLeibler {
        /// What KL(q ‖ p), the teacher first, is multiplied by.
        forward: f64,
        /// What KL(p ‖ q), the student first, is multiplied by.
        reverse: f64,
    },
    /// `factor`·(β·KL(q ‖ m) + (1 − β)·KL(p ‖ m)) with m = β·q + (1 − β)·p.
    JensenShannon {
        /// β: the teacher's share of the mixture.
        beta: f64,
        /// What the divergence is multiplied by.
        factor: f64,
    },
}

/// What rows of logits are compared with, and how.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a, A> {
    /// The teacher's logits, as many as the student's. A mask counts as logits of 1 and 0.
    pub teacher: DenseRows<'a>,
    /// The divergence.
    pub divergence: Divergence,
    /// a: what the student's logits are multiplied by, 1 over a temperature.
    pub scale: Scale<'a, A>,
    /// b: what the teacher's logits are multiplied by.
    pub teacher_scale: Scale<'a, A>,
    /// Rows where this is true do not count.
    pub ignored: Option<&'a [bool]>,
}

/// The divergences of rows of logits, N×K.
///
/// # Errors
/// If a slice does not fit; nothing has been written then.
///
/// ```
/// use softlabel_kernels::rows::{Comparison, DenseRows, Divergence, Scale, divergence};
///
/// let comparison = Comparison {
///     teacher: DenseRows::F64(&[3f64.ln(), 0.0]),
///     divergence: Divergence::KullbackLeibler { forward: 1.0, reverse: 0.0 },
///     scale: Scale::All(1.0),
///     teacher_scale: Scale::All(1.0),
///     ignored: None,
/// };
/// let mut divergences = [0.0];
/// divergence(&[0.0, 0.0], 2, &comparison, &mut divergences, 1)?;
/// // KL([0.75, 0.25] ‖ [0.5, 0.5])
/// let truth = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
/// assert!((divergences[0] - truth).abs() < 1e-15);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn divergence<T: Element>(
    logits: &[T],
    classes: usize,
    comparison: &Comparison<T::Sum>,
    divergences: &mut [T::Sum],
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let no_scale = Scale::All(T::Sum::ONE);
    check(logits.len(), classes, comparison, &no_scale, logits.len(), divergences.len())?;
    // SAFETY: checked; without an output nothing but the divergences is written.
    #[allow(unsafe_code)]
    unsafe {
        run(logits, null_mut(), classes, comparison, no_scale, divergences, threads.into());
    }
    Ok(())
}

/// The divergences of rows of logits and their gradient.
///
/// When this returns `Ok`, the whole gradient has been written.
///
/// # Errors
/// As [`divergence`](fn@divergence).
///
/// ```
/// use std::mem::MaybeUninit;
///
/// use softlabel_kernels::rows::{
///     Comparison, DenseRows, Divergence, Scale, divergence_gradient,
/// };
///
/// let comparison = Comparison {
///     teacher: DenseRows::F64(&[3f64.ln(), 0.0]),
///     divergence: Divergence::KullbackLeibler { forward: 1.0, reverse: 0.0 },
///     scale: Scale::All(1.0),
///     teacher_scale: Scale::All(1.0),
///     ignored: None,
/// };
/// let (mut divergences, mut gradient) = ([0.0], [MaybeUninit::uninit(); 2]);
/// let scale = Scale::All(1.0);
/// divergence_gradient(&[0.0f64, 0.0], 2, &comparison, scale, &mut gradient, &mut divergences, 1)?;
/// // SAFETY: Ok means that all of it has been written.
/// let gradient = gradient.map(|entry| unsafe { entry.assume_init() });
/// assert!((gradient[0] + 0.25).abs() < 1e-15 && (gradient[1] - 0.25).abs() < 1e-15);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn divergence_gradient<T: Element>(
    logits: &[T],
    classes: usize,
    comparison: &Comparison<T::Sum>,
    gradient_scale: Scale<T::Sum>,
    gradient: &mut [MaybeUninit<T>],
    divergences: &mut [T::Sum],
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let (found, rows) = (gradient.len(), divergences.len());
    check(logits.len(), classes, comparison, &gradient_scale, found, rows)?;
    // SAFETY: checked; the gradient is as long as the logits and does not overlap them.
    #[allow(unsafe_code)]
    unsafe {
        let output = gradient.as_mut_ptr().cast();
        run(logits, output, classes, comparison, gradient_scale, divergences, threads.into());
    }
    Ok(())
}

fn check<A>(
    logits: usize,
    classes: usize,
    comparison: &Comparison<A>,
    gradient_scale: &Scale<A>,
    gradient: usize,
    rows: usize,
) -> Result<(), TargetError> {
    if rows > 0 && classes == 0 {
        return Err(TargetError::NoClasses);
    }
    check_length("logits", rows.saturating_mul(classes), logits)?;
    check_length("teacher logits", logits, comparison.teacher.len())?;
    check_length("gradient", logits, gradient)?;
    let scales = [
        ("gradient scales", gradient_scale),
        ("scales", &comparison.scale),
        ("teacher scales", &comparison.teacher_scale),
    ];
    for (what, scale) in scales {
        if let Scale::Rows(scales) = scale {
            check_length(what, rows, scales.len())?;
        }
    }
    match comparison.ignored {
        Some(ignored) => check_length("ignored", rows, ignored.len()),
        None => Ok(()),
    }
}

/// One call, as the kernel sees it.
///
/// Invariants, checked before one is made: `input`, `output` unless it is null, and the teacher have
/// rows·K elements, `divergences` one a row, and so has everything that is of a row; `output` overlaps
/// nothing. Kernels running at the same time work on different rows.
pub(crate) struct Problem<'a, 'b, T: Element> {
    input: *const T,
    /// Null if no gradient is wanted.
    output: *mut T,
    divergences: *mut T::Sum,
    classes: usize,
    comparison: &'b Comparison<'a, T::Sum>,
    gradient_scale: Scale<'a, T::Sum>,
    /// Whether the gradient is so large that it had better be written past the caches.
    past_caches: bool,
}

// SAFETY: the slices behind the pointers may be sent and shared, and kernels running at the same
// time write to different rows.
#[allow(unsafe_code)]
unsafe impl<T: Element> Sync for Problem<'_, '_, T> {}

impl<T: Element> Problem<'_, '_, T> {
    /// a, b and g of a row.
    #[inline(always)]
    fn scales(&self, row: usize) -> [T::Sum; 3] {
        [self.comparison.scale, self.comparison.teacher_scale, self.gradient_scale].map(|scale| {
            match scale {
                Scale::All(scale) => scale,
                Scale::Rows(scales) => scales[row],
            }
        })
    }
}

/// # Safety
/// [`check`] has passed; `output` is null or can take as many elements as there are logits, and
/// overlaps nothing.
#[allow(unsafe_code)]
unsafe fn run<T: Element>(
    logits: &[T],
    output: *mut T,
    classes: usize,
    comparison: &Comparison<T::Sum>,
    gradient_scale: Scale<T::Sum>,
    divergences: &mut [T::Sum],
    threads: Threads,
) {
    let rows = divergences.len();
    let problem = Problem {
        input: logits.as_ptr(),
        output,
        divergences: divergences.as_mut_ptr(),
        classes,
        comparison,
        gradient_scale,
        past_caches: is_past_caches(logits.as_ptr(), output, rows, classes),
    };
    let instructions = Instructions::current();
    // Two rows are read where other kernels read one.
    for_ranges(rows, 2 * classes, threads, |range| {
        T::launch_divergence(instructions, DivergenceRows { problem: &problem, range });
    });
}
