//! Rows of many classes that are contiguous: vectors run along the row.
//!
//! A row is taken in blocks that fit the first cache, and each block in one sweep: e^{z_k − b} against a base b is
//! computed, added up and kept in a scratch row, and Σ t_k·(z_k − b) is added up beside it.
//! Any b will do that no z_k is far above, and the label's logit nearly always is one.
//! Where it is not, the sum of the block tells, and the block is swept again against its largest logit; so a row costs
//! no search for its largest logit.
//! Partial sums are f32 within a block and `f64` beyond.
//! After the last block lse is known; each block of the scratch row, still in the second cache, is
//! multiplied by e^{b − lse} once and less t_k is the gradient.
//! So a logit is read from memory once, written once, and costs one exponential.
//!
//! While a block is computed the next one is fetched, and so is where the gradient of this one goes, so that the
//! processor does not wait for memory; the gradient of long rows that is too large for the caches is written past
//! them, so that memory which is about to be overwritten is not read first.

mod sums;

use sums::{Sums, sums_of};

use super::careful::CarefulRow;
use super::dispatch::Kernel;
use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::fill::{Spread, spread_of};
use super::problem::{Outcome, Problem, Rows};
use super::scratch::Scratch;
use super::sweep::sweep_out;
use super::target::RowTarget;
use super::vector::{Lanes, Write, read, read_part};

/// Vectors a block: sums are at most 16 additions deep before they go to `f64`, and a block fits the
/// first cache whatever the vectors are.
const VECTORS: usize = 64;

/// Runs along rows.
pub(crate) struct Long<'a, 'b, T: Element>(pub(crate) Rows<'a, 'b, T>);

impl<T: Element> Kernel<T> for Long<'_, '_, T> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = T::Sum> + Write<T>>(self) {
        let capped = self.0.problem.softcap.is_some();
        let gradient = !self.0.problem.output.is_null();
        match (capped, gradient, self.0.problem.is_flat()) {
            (false, false, false) => self.rows::<V, false, false, false>(),
            (false, false, true) => self.rows::<V, false, false, true>(),
            (false, true, false) => self.rows::<V, false, true, false>(),
            (false, true, true) => self.rows::<V, false, true, true>(),
            (true, false, false) => self.rows::<V, true, false, false>(),
            (true, false, true) => self.rows::<V, true, false, true>(),
            (true, true, false) => self.rows::<V, true, true, false>(),
            (true, true, true) => self.rows::<V, true, true, true>(),
        }
    }
}

/// e^{from − to} where the exponent of −∞ is 0.
#[inline(always)]
pub(crate) fn rescale<A: Real>(from: A, to: A) -> f64 {
    if from == A::NEG_INFINITY { 0.0 } else { (from.to_f64() - to.to_f64()).exp() }
}

#[allow(unsafe_code)]
impl<T: Element> Long<'_, '_, T> {
    #[inline(always)]
    fn rows<V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(self)
    where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        let Rows { problem, range } = self.0;
        let classes = problem.layout.classes;
        let blocks = classes.div_ceil(VECTORS * V::LANES);
        // What a row comes to takes as long as a few dozen vectors of the next one, which is looked at meanwhile before
        // the gradient is written. Rows of more blocks are too long for it to matter, or for two to stay in the cache.
        let ahead = usize::from(GRADIENT && blocks == 1);
        let turns = ahead + 1;
        let scratch =
            Scratch::<T::Sum, 3>::take([classes * turns, classes * turns, blocks * turns]);
        let [kept, spread, bases] = scratch.pieces;
        let room = |turn: usize| Room {
            kept: kept.wrapping_add(turn * classes),
            spread: spread.wrapping_add(turn * classes),
            bases: bases.wrapping_add(turn * blocks),
        };
        // SAFETY: the rows are the problem's and this kernel's alone; the scratch pieces are as long as a row, and as
        // there are blocks, for each turn.
        unsafe {
            if ahead == 0 {
                for row in range {
                    let looked = look::<T, V, CAPPED, GRADIENT, FLAT>(problem, row, room(0));
                    if let Some(looked) = &looked {
                        looked.finish::<V, CAPPED, GRADIENT, FLAT>(problem);
                    }
                }
            } else {
                let mut looked = [None, None];
                for row in range.start..=range.end {
                    let turn = row % 2;
                    looked[turn] = None;
                    if row < range.end {
                        looked[turn] =
                            look::<T, V, CAPPED, GRADIENT, FLAT>(problem, row, room(turn));
                    }
                    if let Some(looked) = &looked[1 - turn] {
                        looked.finish::<V, CAPPED, GRADIENT, FLAT>(problem);
                    }
                }
            }
        }
        V::fence();
    }
}

/// Scratch memory for a row.
#[derive(Clone, Copy)]
struct Room<A> {
    /// For e^{z_k − base}: K numbers.
    kept: *mut A,
    /// For the spread masses, where they do not lie ready: K numbers.
    spread: *mut A,
    /// What the exponentials of each block are relative to.
    bases: *mut A,
}

/// A row that was looked at once.
struct Looked<T: Element> {
    row: usize,
    target: RowTarget<T::Sum>,
    label_logits: [T; 2],
    spread: Spread<T::Sum>,
    room: Room<T::Sum>,
    sums: Sums<T::Sum>,
}

/// Looks at a row; none if it does not count, which is reported.
///
/// # Safety
/// The row is one of the problem's, and nobody else writes to it; the room has K numbers each, and one for each block.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn look<T, V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
    problem: &Problem<T>,
    row: usize,
    room: Room<T::Sum>,
) -> Option<Looked<T>>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let classes = problem.layout.classes;
    // SAFETY throughout: offsets stay below K, which the pointers have; the row is the caller's.
    unsafe {
        let input = problem.input.add(row * classes);
        if problem.target.is_ignored(row) {
            problem.report(row, 0.0, 0.0);
            problem.report_correct(row, false);
            if GRADIENT {
                problem.output.add(row * classes).write_bytes(0, classes);
            }
            return None;
        }
        let target = problem.target.row(row);
        let spread = if FLAT {
            Spread::ready(room.spread)
        } else {
            spread_of::<T, V>(problem, row, &target, room.spread)
        };
        let label_logits = target.points.map(|point| input.add(point.class).read());
        let sums = sums_of::<T, V, CAPPED, GRADIENT, FLAT>(problem, row, &target, spread, room);
        Some(Looked { row, target, label_logits, spread, room, sums })
    }
}

#[allow(unsafe_code)]
impl<T: Element> Looked<T> {
    /// Reports what the row comes to, and writes its gradient.
    ///
    /// # Safety
    /// As [`look`], with which it was made.
    #[inline(always)]
    unsafe fn finish<V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
        &self,
        problem: &Problem<T>,
    ) where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        let Self { row, target, label_logits, spread, sums, .. } = self;
        let row = *row;
        let classes = problem.layout.classes;
        // SAFETY throughout: as there.
        unsafe {
            let mass = if FLAT {
                target.uniform.to_f64() * classes as f64
            } else {
                problem.check_row(row, sums.dense, sums.least.to_f64());
                spread.uniform.to_f64() * classes as f64 + spread.dense.to_f64() * sums.dense
            };
            let base = (sums.base.to_f64(), sums.total.ln());
            let mut outcome = problem.outcome(target, base, sums.product, mass, *label_logits);
            let is_finite = outcome.log_sum_exp.is_finite();
            if !(is_finite && outcome.loss.is_finite()) {
                // One row in a million at most, so what the compiler makes of it does not matter.
                let slope = outcome.slope;
                outcome = careful_row::<T, GRADIENT>(problem, row, is_finite);
                if is_finite {
                    outcome.slope = slope;
                }
            }
            problem.report(row, outcome.loss, outcome.log_sum_exp);
            if is_finite && !problem.correct.is_null() {
                let input = problem.input.add(row * classes);
                let own = T::Sum::widen(label_logits[0]) * problem.scale;
                let correct = target.has_label
                    && own == sums.top
                    && !occurs::<T, V>(input, target.points[0].class, own, problem.scale);
                problem.report_correct(row, correct);
            }
            if GRADIENT && is_finite {
                self.write::<V, CAPPED, FLAT>(problem, outcome.slope);
            }
        }
    }

    /// The last sweep: the gradient, from what was kept.
    ///
    /// # Safety
    /// As [`finish`](Self::finish).
    #[inline(always)]
    unsafe fn write<V, const CAPPED: bool, const FLAT: bool>(
        &self,
        problem: &Problem<T>,
        slope: f64,
    ) where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        let classes = problem.layout.classes;
        let (kept, bases) = (self.room.kept, self.room.bases);
        let spread = &self.spread;
        let step = problem.gradient_scale_of(self.row) * problem.scale.to_f64();
        let less = T::Sum::from_f64(-step);
        let last = slope * step / self.sums.total;
        let factor_of = |base: T::Sum| {
            let share = if base == self.sums.base { 1.0 } else { rescale(base, self.sums.base) };
            T::Sum::from_f64(share * last)
        };
        // SAFETY: all offsets stay below K.
        unsafe {
            let input = problem.input.add(self.row * classes);
            let output = problem.output.add(self.row * classes);
            // The labels' entries, while their logits are still there.
            let labels = self.target.points.map(|point| {
                let spread = if FLAT {
                    self.target.uniform
                } else {
                    let value = spread.values.add(point.class).read();
                    value.mul_add(spread.dense, spread.uniform)
                };
                let mass = spread + self.target.point_mass_on(point.class);
                let factor = factor_of(bases.add(point.class / (VECTORS * V::LANES)).read());
                let kept = kept.add(point.class).read();
                let steepness = if CAPPED {
                    problem.steepness(input.add(point.class).read())
                } else {
                    T::Sum::ONE
                };
                (kept.mul_add(factor, mass * less) * steepness).narrow::<T>()
            });
            let scale = V::splat(problem.scale);
            let (_, over_cap) = caps::<T, V>(problem);
            // u and s times what the masses are multiplied by.
            let uniform = if FLAT { self.target.uniform } else { spread.uniform };
            let constant = V::splat(uniform * less);
            let less = V::splat(spread.dense * less);
            let mut start = 0;
            let mut block = 0;
            while start < classes {
                let size = (VECTORS * V::LANES).min(classes - start);
                let factor = V::splat(factor_of(bases.add(block).read()));
                let (input, output) = (input.add(start), output.add(start));
                let (kept, values) = (kept.add(start), spread.values.wrapping_add(start));
                sweep_out!(V, T, output, problem.past_caches, size;
                    (at) {
                        let e = V::load(kept.add(at));
                        let summand = if FLAT {
                            constant
                        } else {
                            V::load(values.add(at)).mul_add(less, constant)
                        };
                        let mut gradient = e.mul_add(factor, summand);
                        if CAPPED {
                            let logits = read::<V, T>(input.add(at));
                            gradient = gradient.mul(steepness(logits, scale, over_cap));
                        }
                        gradient
                    }
                    (at, count) {
                        let e = read_part::<V, T::Sum>(kept.add(at), count);
                        let summand = if FLAT {
                            constant
                        } else {
                            read_part::<V, T::Sum>(values.add(at), count).mul_add(less, constant)
                        };
                        let mut gradient = e.mul_add(factor, summand);
                        if CAPPED {
                            let logits = read_part::<V, T>(input.add(at), count);
                            gradient = gradient.mul(steepness(logits, scale, over_cap));
                        }
                        gradient
                    }
                );
                start += size;
                block += 1;
            }
            if self.target.has_label {
                for (point, value) in self.target.points.iter().zip(labels) {
                    output.add(point.class).write(value);
                }
            }
        }
    }
}

/// A row that is not finite: its outcome; and its gradient and whether it is correct, unless they
/// can be told from finite sums.
///
/// # Safety
/// The row is one of the problem's, and nobody else writes to it.
#[allow(unsafe_code)]
#[cold]
#[inline(never)]
unsafe fn careful_row<T: Element, const GRADIENT: bool>(
    problem: &Problem<T>,
    row: usize,
    sum_is_finite: bool,
) -> Outcome {
    // SAFETY: promised by the caller; an element of the gradient is written after its logit and
    // the labels' have been read for the last time.
    unsafe {
        let careful = CarefulRow::new(problem, row);
        let outcome = careful.outcome();
        if !sum_is_finite {
            problem.report_correct(row, careful.is_correct());
            if GRADIENT {
                let scale = problem.gradient_scale_of(row);
                let classes = problem.layout.classes;
                for class in 0..classes {
                    let value = careful.gradient(class, &outcome, scale);
                    problem.output.add(row * classes + class).write(T::from_f64(value));
                }
            }
        }
        outcome
    }
}

/// Whether a scaled logit occurs before a class.
///
/// # Safety
/// `before` logits can be read.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn occurs<T, V>(input: *const T, before: usize, scaled: T::Sum, scale: T::Sum) -> bool
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let (wanted, scale) = (V::splat(scaled), V::splat(scale));
    let mut class = 0;
    // SAFETY: offsets stay below `before`.
    unsafe {
        while class + V::LANES <= before {
            if read::<V, T>(input.add(class)).mul(scale).any_equal(wanted) {
                return true;
            }
            class += V::LANES;
        }
        let rest = before - class;
        rest > 0
            && read_part::<V, T>(input.add(class), rest)
                .mul(scale)
                .keep(rest, T::Sum::NAN)
                .any_equal(wanted)
    }
}

/// A number that no z is above by more than rounding, for `fma(x, scale, −base)`.
#[inline(always)]
pub(crate) fn base_above<A: Real>(highest: A, scale: A) -> A {
    if highest == A::NEG_INFINITY {
        A::ZERO
    } else if scale == A::ONE {
        highest
    } else {
        let size = if highest < A::ZERO { -highest } else { highest };
        highest + size * A::EPSILON
    }
}

/// c and 1/c in all lanes; anything without a cap.
#[inline(always)]
pub(crate) fn caps<T: Element, V: Lanes<Scalar = T::Sum>>(problem: &Problem<T>) -> (V, V) {
    let cap = problem.softcap.unwrap_or(T::Sum::ONE);
    (V::splat(cap), V::splat(T::Sum::ONE / cap))
}

/// 1 − tanh², by which a cap makes the gradient smaller.
#[inline(always)]
pub(crate) fn steepness<V: Lanes>(logits: V, scale: V, over_cap: V) -> V {
    let ratio = logits.mul(scale).mul(over_cap).tanh();
    let negative = V::splat(-V::Scalar::ONE);
    ratio.mul(negative).mul_add(ratio, V::splat(V::Scalar::ONE))
}
