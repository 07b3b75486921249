//! Cross-entropy and its gradient on rows of logits, fused.
//!
//! With z_k = c·tanh(a·x_k/c) of the logits x (a scale, c an optional cap; z_k = a·x_k without
//! one), the target t of the row ([`Target`]), W = Σ_k t_k and lse = ln Σ_k e^{z_k},
//!
//! - loss = W·lse − Σ_k t_k·z_k + ζ·lse²
//! - dloss/dz_k = p_k·(W + 2ζ·lse) − t_k with p_k = e^{z_k − lse}
//! - dloss/dx_k = dloss/dz_k·(1 − (z_k/c)²)·a, written times g, the scale of the row.
//!
//! The target need not sum to 1.
//!
//! # Passes over memory
//!
//! A logit is read once, and its gradient written once, whatever the target; there is one
//! exponential a logit.
//! What is needed in between stays in the caches: a row of numbers in the arithmetic's type, which
//! each thread keeps for the next call.
//! Dense rows are read once more each, in the type they have, and a second time where they must be
//! distributions and cannot be checked in passing: in place, with class weights, or rounded.
//! Rows of few classes, and classes that are not contiguous, are computed many rows at a time.
//! Where the sum of the losses alone is asked for, AVX-512 computes rows of few contiguous classes without moving a
//! logit from its place, and what is of a row is then in the arithmetic of its logits but for the logarithms; not with a
//! cap, a z-loss, a negative scale, a second label, masses or scales by row, or dense rows and class weights at once.
//!
//! # Arithmetic
//!
//! In `f32` for f32, bf16 and f16 (widened exactly, rounded to nearest once, on writing), in `f64`
//! for f64; sums over more than a block of a row, and everything that is of a row and not of a
//! logit, in `f64`. With AVX-512 and an arithmetic in `f32`, logarithms of rows of few classes have nine digits.
//! e^{z_k − lse} below the smallest normal number times e^{b − lse}, b the label's logit or the largest up to
//! there, becomes 0.
//!
//! # Instructions
//!
//! The best of what the processor offers is chosen at run time ([`cpu_features`]); all kernels are
//! in every build for an architecture.
//! Between sets of instructions results differ in the last bits.
//!
//! # Determinism
//!
//! Rows are independent of each other: on one machine the bits of a row depend on the row alone,
//! not on the number of threads, its neighbours, whether the gradient replaces the logits, or
//! whether there is a gradient. Of the last bits more is decisive: of rows of many classes, whether it is asked which
//! are correct; of rows of few classes, whether the sum of the losses alone is asked for, and if so, whether the 64 rows
//! that are computed together are whole, and all of them count, are finite and have masses below 10¹⁵, and whether their
//! gradients have a scale each, or one that is beyond 10¹⁵ or below 10⁻¹⁵.
//!
//! # Edge cases
//!
//! - A row that is ignored has the loss 0, the lse 0 and the gradient 0, whatever its logits hold.
//! - An entry without mass costs nothing even at a logit of −∞.
//! - A cap makes −c of a logit of −∞, as of any far below: it is no mask any more.
//! - Mass on −∞ is an infinite loss; the gradient is that of p_k = 0.
//! - A row that is −∞ throughout has the lse −∞, p = 0, and the loss +∞ if there is any mass.
//! - NaN or +∞ in a row that counts makes its loss and its gradient NaN.
//! - Masks with the least finite number are numbers: mass on them is a huge loss, finite if the
//!   truth is.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod careful;
pub(crate) mod dispatch;
mod distributions;
mod divergence;
pub(crate) mod element;
pub(crate) mod exponential;
mod fill;
mod four;
mod labels;
mod lanes;
mod long;
// There are instructions for it on one architecture alone.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod packed;
mod portable;
mod problem;
mod scaling;
mod scratch;
pub(crate) mod sweep;
mod target;
mod threads;
mod tile;
mod total;
pub(crate) mod vector;

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub use dispatch::{cpu_features, with_cpu_features};
pub use distributions::{BadRow, first_bad_row};
pub use divergence::{Comparison, Divergence, divergence, divergence_gradient};
pub use element::{Accumulator, Element};
pub use labels::{LabelTally, tally_labels};
pub use scaling::{copy_scaled_rows, scale_rows};
pub use target::{
    Dense, DenseRows, Masses, MassesBy, Second, SecondShare, Target, TargetError, check_target,
};
pub use threads::{Pool, Threads};
pub use total::total;
use total::totals;

use dispatch::Instructions;
use element::sealed::Real;
use long::Long;
use packed::{Packed, PackedRows};
use problem::{Layout, Problem, Rows};
use target::{check_labels, check_length, check_lengths};
use threads::{for_ranges, unit};
use tile::Tiles;

/// Up to this many classes rows are computed many at a time.
const FEW_CLASSES: usize = 64;

/// What is done to logits before the softmax, and to lse after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// a: what logits are multiplied by. 1 by default.
    pub scale: f64,
    /// c: scaled logits become c·tanh(·/c). None by default.
    pub softcap: Option<f64>,
    /// ζ: the coefficient of lse² in the loss. 0 by default.
    pub z_loss: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { scale: 1.0, softcap: None, z_loss: 0.0 }
    }
}

/// What rows of a gradient are multiplied by.
#[derive(Debug, Clone, Copy)]
pub enum Scale<'a, A> {
    /// The same for every row.
    All(A),
    /// One a row.
    Rows(&'a [A]),
}

/// Where the results of a row go; each slice has one element a row.
#[derive(Debug)]
pub struct Outputs<'a, A> {
    losses: &'a mut [MaybeUninit<A>],
    total: Option<&'a mut f64>,
    total_alone: bool,
    log_sum_exp: Option<&'a mut [MaybeUninit<A>]>,
    correct: Option<&'a mut [MaybeUninit<bool>]>,
}

impl<'a, A> Outputs<'a, A> {
    /// The losses; their number says how many rows there are.
    pub fn losses(losses: &'a mut [A]) -> Self {
        Self::uninit_losses(as_uninit(losses))
    }

    /// The losses, in memory that need not hold any numbers; when a function returns `Ok`, it does, unless the
    /// [total alone](Self::with_total_alone) was asked for.
    pub fn uninit_losses(losses: &'a mut [MaybeUninit<A>]) -> Self {
        Outputs { losses, total: None, total_alone: false, log_sum_exp: None, correct: None }
    }

    /// And Σ of the losses in `f64`, whose bits do not depend on the number of threads.
    #[must_use]
    pub fn with_total(mut self, total: &'a mut f64) -> Self {
        self.total = Some(total);
        self.total_alone = false;
        self
    }

    /// Σ of the losses in `f64`, as [`with_total`](Self::with_total), in the place of the losses: their memory is at the
    /// kernels' disposal, and what held no number before may hold none in the end. Rows of few classes usually take less
    /// time so.
    #[must_use]
    pub fn with_total_alone(self, total: &'a mut f64) -> Self {
        let mut outputs = self.with_total(total);
        outputs.total_alone = true;
        outputs
    }

    /// And ln Σ_k e^{z_k}.
    #[must_use]
    pub fn with_log_sum_exp(mut self, log_sum_exp: &'a mut [A]) -> Self {
        self.log_sum_exp = Some(as_uninit(log_sum_exp));
        self
    }

    /// And whether the label is the first largest of the scaled logits; false where there is no label, in rows that
    /// are ignored and in rows with a NaN.
    #[must_use]
    pub fn with_correct(mut self, correct: &'a mut [bool]) -> Self {
        self.correct = Some(as_uninit(correct));
        self
    }
}

#[allow(unsafe_code)]
fn as_uninit<T>(values: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the layout is the same, and nothing but values is ever written to an output.
    unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<T>]) }
}

/// The losses of rows of logits, N×K. Reads every logit once.
///
/// # Errors
/// As [`check_target`], and if a slice does not fit: nothing has been written then, unless a label is no class. With a
/// [tolerance](Target::tolerance) also [`TargetError::Row`]. After these two what was written means nothing, but logits
/// that a gradient was to replace are still there.
///
/// ```
/// use softlabel_kernels::rows::{Masses, MassesBy, Options, Outputs, Target, cross_entropy};
///
/// // Label smoothing with ε = 0.1 over 3 classes.
/// let masses = Masses { label: 0.9, uniform: 0.1 / 3.0, dense: 0.0 };
/// let target = Target { masses: MassesBy::All(masses), ..Target::labels(&[0], 1.0f64) };
/// let mut losses = [0.0];
/// let outputs = Outputs::losses(&mut losses);
/// cross_entropy(&[2.0, 0.0, 0.0], 3, &target, &Options::default(), outputs, 1)?;
/// let lse = (2.0f64.exp() + 2.0).ln();
/// assert!((losses[0] - (lse - 0.9 * 2.0 - 0.1 * 2.0 / 3.0)).abs() < 1e-15);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn cross_entropy<T: Element>(
    logits: &[T],
    classes: usize,
    target: &Target<T::Sum>,
    options: &Options,
    outputs: Outputs<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    spatial_cross_entropy(logits, classes, 1, target, options, outputs, threads)
}

/// The losses of rows of logits and their gradient: every logit is read once, every entry of the
/// gradient written once.
///
/// When this returns `Ok`, the whole gradient has been written.
///
/// # Errors
/// As [`cross_entropy`].
///
/// ```
/// use std::mem::MaybeUninit;
///
/// use softlabel_kernels::rows::{Options, Outputs, Scale, Target, cross_entropy_gradient};
///
/// let mut losses = [0.0];
/// let mut gradient = [MaybeUninit::uninit(); 2];
/// cross_entropy_gradient(
///     &[0.0, 3.0f64.ln()],
///     2,
///     &Target::labels(&[0], 1.0),
///     &Options::default(),
///     Scale::All(1.0),
///     &mut gradient,
///     Outputs::losses(&mut losses),
///     1,
/// )?;
/// // SAFETY: Ok means that all of it has been written.
/// let gradient = gradient.map(|entry| unsafe { entry.assume_init() });
/// assert!((losses[0] - 4.0f64.ln()).abs() < 1e-15);
/// assert!((gradient[0] + 0.75).abs() < 1e-15 && (gradient[1] - 0.75).abs() < 1e-15);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn cross_entropy_gradient<T: Element>(
    logits: &[T],
    classes: usize,
    target: &Target<T::Sum>,
    options: &Options,
    gradient_scale: Scale<T::Sum>,
    gradient: &mut [MaybeUninit<T>],
    outputs: Outputs<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    spatial_cross_entropy_gradient(
        logits,
        classes,
        1,
        target,
        options,
        gradient_scale,
        gradient,
        outputs,
        threads,
    )
}

/// The losses of rows of logits, and the gradient in their place.
///
/// The bits are those of [`cross_entropy_gradient`].
///
/// # Errors
/// As [`cross_entropy`]; the logits are as they were then.
///
/// ```
/// use softlabel_kernels::rows::{Options, Outputs, Scale, Target, cross_entropy_in_place};
///
/// let mut logits = [0.0, 3.0f64.ln()];
/// let (mut losses, scale) = ([0.0], Scale::All(2.0));
/// let target = Target::labels(&[1], 1.0);
/// let outputs = Outputs::losses(&mut losses);
/// cross_entropy_in_place(&mut logits, 2, &target, &Options::default(), scale, outputs, 1)?;
/// assert!((logits[0] - 0.5).abs() < 1e-15 && (logits[1] + 0.5).abs() < 1e-15);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn cross_entropy_in_place<T: Element>(
    logits: &mut [T],
    classes: usize,
    target: &Target<T::Sum>,
    options: &Options,
    gradient_scale: Scale<T::Sum>,
    outputs: Outputs<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    spatial_cross_entropy_in_place(
        logits,
        classes,
        1,
        target,
        options,
        gradient_scale,
        outputs,
        threads,
    )
}

/// [`cross_entropy`] of logits N×K×S, as dense predictions have them.
///
/// There are N·S rows; row n·S + s has the logits at (n·K + k)·S + s.
/// Labels, masses, scales and outputs are N×S, dense rows N×K×S.
///
/// # Errors
/// As [`cross_entropy`]; also if the number of rows is no multiple of S.
///
/// ```
/// use softlabel_kernels::rows::{Options, Outputs, Target, spatial_cross_entropy};
///
/// // One image of two pixels, two classes.
/// let logits = [0.0, 5.0, 3.0f64.ln(), 5.0];
/// let mut losses = [0.0; 2];
/// let (target, outputs) = (Target::labels(&[0, 1], 1.0), Outputs::losses(&mut losses));
/// spatial_cross_entropy(&logits, 2, 2, &target, &Options::default(), outputs, 1)?;
/// assert!((losses[0] - 4.0f64.ln()).abs() < 1e-15);
/// assert!((losses[1] - 2.0f64.ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn spatial_cross_entropy<T: Element>(
    logits: &[T],
    classes: usize,
    spatial: usize,
    target: &Target<T::Sum>,
    options: &Options,
    outputs: Outputs<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let (layout, threads) = (Layout { classes, spatial }, threads.into());
    let call = Call { layout, target, options, threads };
    let no_scale = Scale::All(T::Sum::ONE);
    call.check(logits.len(), &no_scale, logits.len(), &outputs)?;
    // SAFETY: checked; without an output nothing of the logits is written.
    #[allow(unsafe_code)]
    unsafe {
        call.run(logits.as_ptr(), null_mut(), no_scale, outputs)
    }
}

/// [`cross_entropy_gradient`] of logits N×K×S; see [`spatial_cross_entropy`].
///
/// # Errors
/// As [`spatial_cross_entropy`].
#[allow(clippy::too_many_arguments)]
pub fn spatial_cross_entropy_gradient<T: Element>(
    logits: &[T],
    classes: usize,
    spatial: usize,
    target: &Target<T::Sum>,
    options: &Options,
    gradient_scale: Scale<T::Sum>,
    gradient: &mut [MaybeUninit<T>],
    outputs: Outputs<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let (layout, threads) = (Layout { classes, spatial }, threads.into());
    let call = Call { layout, target, options, threads };
    call.check(logits.len(), &gradient_scale, gradient.len(), &outputs)?;
    // SAFETY: checked; the gradient is as long as the logits and does not overlap them.
    #[allow(unsafe_code)]
    unsafe {
        call.run(logits.as_ptr(), gradient.as_mut_ptr().cast(), gradient_scale, outputs)
    }
}

/// [`cross_entropy_in_place`] of logits N×K×S; see [`spatial_cross_entropy`].
///
/// # Errors
/// As [`spatial_cross_entropy`].
#[allow(clippy::too_many_arguments)]
pub fn spatial_cross_entropy_in_place<T: Element>(
    logits: &mut [T],
    classes: usize,
    spatial: usize,
    target: &Target<T::Sum>,
    options: &Options,
    gradient_scale: Scale<T::Sum>,
    outputs: Outputs<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let (layout, threads) = (Layout { classes, spatial }, threads.into());
    let call = Call { layout, target, options, threads };
    call.check(logits.len(), &gradient_scale, logits.len(), &outputs)?;
    let logits = logits.as_mut_ptr();
    // SAFETY: checked; input and output are the same.
    #[allow(unsafe_code)]
    unsafe {
        call.run(logits, logits, gradient_scale, outputs)
    }
}

/// What all functions are told alike.
struct Call<'a, A> {
    layout: Layout,
    target: &'a Target<'a, A>,
    options: &'a Options,
    threads: Threads,
}

impl<A: Accumulator> Call<'_, A> {
    fn check(
        &self,
        logits: usize,
        gradient_scale: &Scale<A>,
        gradient: usize,
        outputs: &Outputs<A>,
    ) -> Result<(), TargetError> {
        let Layout { classes, spatial } = self.layout;
        let rows = outputs.losses.len();
        if !rows.is_multiple_of(spatial.max(1)) || (spatial == 0 && rows > 0) {
            let expected = rows / spatial.max(1) * spatial;
            return Err(TargetError::Length { what: "losses", expected, found: rows });
        }
        check_length("logits", rows.saturating_mul(classes), logits)?;
        check_length("gradient", logits, gradient)?;
        if let Scale::Rows(scales) = gradient_scale {
            check_length("gradient scales", rows, scales.len())?;
        }
        if let Some(log_sum_exp) = &outputs.log_sum_exp {
            check_length("log_sum_exp", rows, log_sum_exp.len())?;
        }
        if let Some(correct) = &outputs.correct {
            check_length("correct", rows, correct.len())?;
        }
        check_lengths(rows, classes, self.target)
    }

    /// # Safety
    /// [`check`](Self::check) has passed; `input` has so many logits, and so has `output` unless it
    /// is null; they are equal or do not overlap.
    #[allow(unsafe_code)]
    unsafe fn run<T: Element<Sum = A>>(
        &self,
        input: *const T,
        output: *mut T,
        gradient_scale: Scale<A>,
        outputs: Outputs<A>,
    ) -> Result<(), TargetError> {
        let rows = outputs.losses.len();
        if rows == 0 {
            outputs.total.into_iter().for_each(|total| *total = 0.0);
            return Ok(());
        }
        let mut problem = Problem::new(
            input,
            output,
            rows,
            self.layout,
            self.target,
            self.options,
            gradient_scale,
        );
        problem.losses = outputs.losses.as_mut_ptr().cast();
        problem.log_sum_exp = outputs.log_sum_exp.map_or(null_mut(), |to| to.as_mut_ptr().cast());
        problem.correct = outputs.correct.map_or(null_mut(), |to| to.as_mut_ptr().cast());
        let Layout { classes, spatial } = self.layout;
        // Each thread looks at the labels and the dense rows that it is about to use, unless the logits would be lost.
        let in_passing = !std::ptr::eq(input, output);
        let rows_in_passing = in_passing && problem.checks_rows();
        if !(in_passing && (rows_in_passing || self.target.tolerance.is_none())) {
            check_labels(0..rows, classes, self.target)?;
        }
        if rows_in_passing {
            problem.check =
                self.target.tolerance.map(|tolerance| (tolerance, AtomicUsize::new(usize::MAX)));
        } else {
            self.check_rows()?;
        }
        let (instructions, unit) = (Instructions::current(), unit(classes));
        let is_packed = outputs.total_alone && instructions.permute();
        let packed = if is_packed { Packed::new(&problem, rows) } else { None };
        let has_bad_label = AtomicBool::new(false);
        let count = if outputs.total.is_some() { rows.div_ceil(unit) } else { 0 };
        let sums: Vec<_> = (0..count).map(|_| AtomicU64::new(0)).collect();
        for_ranges(rows, classes, self.threads, |range| {
            if in_passing && check_labels(range.clone(), classes, self.target).is_err() {
                has_bad_label.store(true, Ordering::Relaxed);
                return;
            }
            let mut next = range.start;
            while next < range.end {
                let mut rest = next..range.end;
                if let Some(packed) = &packed {
                    let rows = PackedRows { packed, range: rest, sums: &sums[next / unit..] };
                    rest = T::launch_packed(instructions, rows);
                    if rest.is_empty() {
                        break;
                    }
                }
                next = rest.end;
                let rows = Rows { problem: &problem, range: rest.clone() };
                if spatial == 1 && classes > FEW_CLASSES {
                    T::launch_long(instructions, Long(rows));
                } else {
                    T::launch_tiles(instructions, Tiles(rows));
                }
                if let Some(sums) = sums.get(rest.start / unit..) {
                    // SAFETY: there is a loss for every row, and those of this range have been written.
                    let losses = unsafe {
                        std::slice::from_raw_parts(problem.losses.add(rest.start), rest.len())
                    };
                    totals(losses, unit, sums, instructions);
                }
            }
        });
        if has_bad_label.into_inner() {
            check_labels(0..rows, classes, self.target)?;
        }
        if let Some(total) = outputs.total {
            *total = sums.into_iter().map(|sum| f64::from_bits(sum.into_inner())).sum();
        }
        match problem.check.map(|(_, first)| first.into_inner()) {
            None | Some(usize::MAX) => Ok(()),
            Some(_) => self.check_rows(),
        }
    }

    /// Whether the dense rows are distributions, if they must be.
    fn check_rows(&self) -> Result<(), TargetError> {
        let Layout { classes, spatial } = self.layout;
        let (Some(tolerance), Dense::Rows(rows)) = (self.target.tolerance, self.target.dense)
        else {
            return Ok(());
        };
        let by_label = self.target.ignore_index.and(self.target.labels).map(|labels| {
            (0..labels.len()).map(|row| self.target.is_ignored(row)).collect::<Vec<_>>()
        });
        let ignored = by_label.as_deref().or(self.target.ignored);
        match first_bad_row(rows, classes, spatial, ignored, tolerance, self.threads)? {
            None => Ok(()),
            Some(bad) => Err(TargetError::Row(bad)),
        }
    }
}
