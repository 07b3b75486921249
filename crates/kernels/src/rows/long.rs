//! Rows of many classes that are contiguous: vectors run along the row.
//!
//! A row is taken in blocks that fit the first cache.
//! One sweep over a block finds its largest logit and Σ t_k·z_k, a second, from the cache, computes
//! e^{z_k − M} against the largest logit M so far, adds it up and keeps it in a scratch row.
//! Partial sums are f32 within a block and `f64` beyond.
//! After the last block lse is known; each block of the scratch row, still in the second cache, is
//! multiplied by e^{M − lse} once and less t_k is the gradient.
//! So a logit is read from memory once, written once, and costs one exponential.
//!
//! While a block is computed the next one is fetched, and so is where the gradient of this one goes, so that the
//! processor does not wait for memory; the gradient of long rows that is too large for the caches is written past
//! them, so that memory which is about to be overwritten is not read first.

use std::ops::RangeInclusive;

use super::careful::CarefulRow;
use super::dispatch::Kernel;
use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::fill::{Spread, spread_of};
use super::problem::{Outcome, Problem, Rows};
use super::scratch::Scratch;
use super::sweep::{sweep, sweep_out};
use super::target::RowTarget;
use super::vector::{Lanes, Write, most, read, read_part, sum_of};

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

/// The part of a row that was looked at: the largest z, the largest scaled logit, Σ e^{z − base},
/// Σ t·(z − pivot), Σ d and the smallest d of the spread masses t = u + s·d.
struct Sums<A> {
    base: A,
    top: A,
    total: f64,
    product: f64,
    dense: f64,
    least: A,
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
        let scratch = Scratch::<T::Sum, 3>::take([classes, classes, blocks]);
        let [kept, spread, bases] = scratch.pieces;
        for row in range {
            // SAFETY: the row is one of the problem's and this kernel's alone; the scratch pieces
            // are as long as a row, and as there are blocks.
            unsafe {
                one_row::<T, V, CAPPED, GRADIENT, FLAT>(problem, row, kept, spread, bases);
            }
        }
        V::fence();
    }
}

/// # Safety
/// The row is one of the problem's, and nobody else writes to it; `kept` and `spread` hold K
/// numbers, `bases` one for each block.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn one_row<T, V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
    problem: &Problem<T>,
    row: usize,
    kept: *mut T::Sum,
    spread: *mut T::Sum,
    bases: *mut T::Sum,
) where
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
            return;
        }
        let target = problem.target.row(row);
        let spread = if FLAT {
            Spread::ready(spread)
        } else {
            spread_of::<T, V>(problem, row, &target, spread)
        };
        let label_logits = target.points.map(|point| input.add(point.class).read());
        let pivot = if CAPPED { T::Sum::ZERO } else { pivot(label_logits[0], problem.scale) };
        let sums = look::<T, V, CAPPED, GRADIENT, FLAT>(
            problem,
            row,
            (target.uniform, pivot),
            spread,
            kept,
            bases,
        );
        let mass = if FLAT {
            target.uniform.to_f64() * classes as f64
        } else {
            problem.check_row(row, sums.dense, sums.least.to_f64());
            spread.uniform.to_f64() * classes as f64 + spread.dense.to_f64() * sums.dense
        };
        let base = (sums.base.to_f64(), sums.total.ln());
        let product = (pivot.to_f64(), sums.product);
        let mut outcome = problem.outcome(&target, base, product, mass, label_logits);
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
        if !problem.correct.is_null() {
            let own = T::Sum::widen(label_logits[0]) * problem.scale;
            let correct = if is_finite {
                problem.target.labels.is_some()
                    && own == sums.top
                    && !occurs::<T, V>(input, target.points[0].class, own, problem.scale)
            } else {
                false
            };
            if is_finite {
                problem.report_correct(row, correct);
            }
        }
        if GRADIENT && is_finite {
            let rest = WriteRow { target: &target, row, slope: outcome.slope, sums: &sums };
            rest.write::<T, V, CAPPED, FLAT>(problem, input, spread, kept, bases);
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

/// A number that the scores of a row are likely to be near, from one of its logits: a sum of what
/// they have beyond it keeps the digits that a sum of large numbers would lose.
#[inline(always)]
fn pivot<T: Element>(logit: T, scale: T::Sum) -> T::Sum {
    /// Below it there are no digits to lose; beyond it is a mask, or infinite.
    const SIZES: RangeInclusive<f64> = 64.0..=1e6;
    let score = T::Sum::widen(logit) * scale;
    if SIZES.contains(&score.to_f64().abs()) { score } else { T::Sum::ZERO }
}

/// The first two sweeps over all blocks of a row.
///
/// # Safety
/// K logits can be read, K numbers of `kept` written, and one of `bases` for each block; unless
/// FLAT, K values of `spread` can be read.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn look<T, V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
    problem: &Problem<T>,
    row: usize,
    (uniform, pivot): (T::Sum, T::Sum),
    spread: Spread<T::Sum>,
    kept: *mut T::Sum,
    bases: *mut T::Sum,
) -> Sums<T::Sum>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    type A<T> = <T as Element>::Sum;
    let classes = problem.layout.classes;
    let first = row * classes;
    let fetches_output = GRADIENT && !problem.past_caches;
    let fetches_spread = !FLAT && spread.is_fetched;
    let (values, at_least) = (spread.values, V::splat(spread.uniform));
    let dense = V::splat(spread.dense);
    let lowest = A::<T>::NEG_INFINITY;
    let scale = V::splat(problem.scale);
    let (cap, over_cap) = caps::<T, V>(problem);
    let (uniform_mass, away) = (V::splat(uniform), V::splat(-pivot));
    let has_product = !FLAT || uniform != A::<T>::ZERO;
    // Σ u·z = u·Σ z, which is two operations less a logit.
    let plain =
        FLAT && !CAPPED && has_product && problem.scale == A::<T>::ONE && pivot == A::<T>::ZERO;
    let weight = if plain { uniform.to_f64() } else { 1.0 };
    let mut sums = Sums {
        base: lowest,
        top: lowest,
        total: 0.0,
        product: 0.0,
        dense: 0.0,
        least: A::<T>::ONE,
    };
    let mut highest = lowest;
    let mut start = 0;
    let mut block = 0;
    while start < classes {
        let size = (VECTORS * V::LANES).min(classes - start);
        // SAFETY: all offsets stay below start + size ≤ K.
        unsafe {
            let (input, kept) = (problem.input.add(first + start), kept.add(start));
            let output = problem.output.wrapping_add(first + start);
            let mut largest = [V::splat(lowest); 4];
            let mut top = [V::splat(lowest); 4];
            let mut product = [V::splat(A::<T>::ZERO); 4];
            let mut mass = [V::splat(A::<T>::ZERO); 4];
            let mut least = [V::splat(A::<T>::ONE); 4];
            if plain {
                sweep!(size, V::LANES;
                    (slot, at) {
                        let z = read::<V, T>(input.add(at));
                        largest[slot] = largest[slot].max(z);
                        product[slot] = product[slot].add(z);
                    }
                    (slot, at, count) {
                        let z = read_part::<V, T>(input.add(at), count);
                        largest[slot] = largest[slot].max(z.keep(count, lowest));
                        product[slot] = product[slot].add(z);
                    }
                );
            } else if FLAT && !CAPPED && !has_product {
                sweep!(size, V::LANES;
                    (slot, at) {
                        let z = read::<V, T>(input.add(at)).mul(scale);
                        largest[slot] = largest[slot].max(z);
                    }
                    (slot, at, count) {
                        let z = read_part::<V, T>(input.add(at), count).mul(scale);
                        largest[slot] = largest[slot].max(z.keep(count, lowest));
                    }
                );
            } else {
                sweep!(size, V::LANES;
                    (slot, at) {
                        let mut z = read::<V, T>(input.add(at)).mul(scale);
                        if CAPPED {
                            top[slot] = top[slot].max(z);
                            z = z.mul(over_cap).tanh().mul(cap);
                            z.store(kept.add(at));
                        }
                        largest[slot] = largest[slot].max(z);
                        let beyond = z.add(away);
                        if FLAT {
                            product[slot] = uniform_mass.mul_add(beyond, product[slot]);
                        } else {
                            let d = V::load(values.add(start + at));
                            let t = d.mul_add(dense, at_least);
                            product[slot] = t.mul_add_if_nonzero(beyond, product[slot]);
                            mass[slot] = mass[slot].add(d);
                            least[slot] = least[slot].min(d);
                        }
                    }
                    (slot, at, count) {
                        let mut z = read_part::<V, T>(input.add(at), count).mul(scale);
                        if CAPPED {
                            top[slot] = top[slot].max(z.keep(count, lowest));
                            z = z.mul(over_cap).tanh().mul(cap);
                            z.write_part(kept.add(at), count);
                        }
                        largest[slot] = largest[slot].max(z.keep(count, lowest));
                        let beyond = z.add(away).keep(count, A::<T>::ZERO);
                        if FLAT {
                            product[slot] = uniform_mass.mul_add(beyond, product[slot]);
                        } else {
                            let d = read_part::<V, A<T>>(values.add(start + at), count);
                            let t = d.mul_add(dense, at_least);
                            product[slot] = t.mul_add_if_nonzero(beyond, product[slot]);
                            mass[slot] = mass[slot].add(d);
                            least[slot] = least[slot].min(d);
                        }
                    }
                );
            }
            let block_largest = most(largest).largest();
            if CAPPED {
                let block_top = most(top).largest();
                sums.top = if block_top > sums.top { block_top } else { sums.top };
            }
            if has_product {
                sums.product += sum_of(product).sum() * weight;
            }
            if !FLAT {
                sums.dense += sum_of(mass).sum();
                let [a, b, c, d] = least;
                let block_least = a.min(b).min(c.min(d)).smallest();
                sums.least = if block_least < sums.least { block_least } else { sums.least };
            }
            if block_largest > highest {
                let before = base_above(highest, problem.scale);
                highest = block_largest;
                let after = base_above(highest, problem.scale);
                if sums.total != 0.0 {
                    sums.total *= (before.to_f64() - after.to_f64()).exp();
                }
            }
            let base = base_above(highest, problem.scale);
            let down = V::splat(-base);
            // Nothing above −∞ yet: whatever lse will be, nothing of this block is in it.
            bases.add(block).write(if highest == lowest { lowest } else { base });
            let mut total = [V::splat(A::<T>::ZERO); 4];
            sweep!(size, V::LANES;
                (slot, at) {
                    V::prefetch(input.wrapping_add(at + VECTORS * V::LANES));
                    if fetches_spread {
                        V::prefetch(values.wrapping_add(start + at + VECTORS * V::LANES));
                    }
                    if fetches_output {
                        V::prefetch_to_write(output.wrapping_add(at));
                    }
                    let e = if CAPPED {
                        V::load(kept.add(at)).add(down)
                    } else {
                        read::<V, T>(input.add(at)).mul_add(scale, down)
                    }.exp();
                    total[slot] = total[slot].add(e);
                    if GRADIENT {
                        e.store(kept.add(at));
                    }
                }
                (slot, at, count) {
                    let e = if CAPPED {
                        read_part::<V, A<T>>(kept.add(at), count).add(down)
                    } else {
                        read_part::<V, T>(input.add(at), count).mul_add(scale, down)
                    }.keep(count, lowest).exp();
                    total[slot] = total[slot].add(e);
                    if GRADIENT {
                        e.write_part(kept.add(at), count);
                    }
                }
            );
            sums.total += sum_of(total).sum();
        }
        start += size;
        block += 1;
    }
    sums.base = base_above(highest, problem.scale);
    if !CAPPED {
        sums.top = highest;
    }
    sums
}

/// c and 1/c in all lanes; anything without a cap.
#[inline(always)]
pub(crate) fn caps<T: Element, V: Lanes<Scalar = T::Sum>>(problem: &Problem<T>) -> (V, V) {
    let cap = problem.softcap.unwrap_or(T::Sum::ONE);
    (V::splat(cap), V::splat(T::Sum::ONE / cap))
}

/// The last sweep over a row.
struct WriteRow<'a, A> {
    target: &'a RowTarget<A>,
    row: usize,
    slope: f64,
    sums: &'a Sums<A>,
}

#[allow(unsafe_code)]
impl<A: Real> WriteRow<'_, A> {
    /// # Safety
    /// As [`one_row`]; `kept` and `bases` are as [`look`] left them.
    #[inline(always)]
    unsafe fn write<T, V, const CAPPED: bool, const FLAT: bool>(
        &self,
        problem: &Problem<T>,
        input: *const T,
        spread: Spread<A>,
        kept: *const A,
        bases: *const A,
    ) where
        T: Element<Sum = A>,
        V: Lanes<Scalar = A> + Write<T>,
    {
        let classes = problem.layout.classes;
        let step = problem.gradient_scale_of(self.row) * problem.scale.to_f64();
        let less = A::from_f64(-step);
        let last = self.slope * step / self.sums.total;
        let factor_of = |base: A| {
            let share = if base == self.sums.base { 1.0 } else { rescale(base, self.sums.base) };
            A::from_f64(share * last)
        };
        // SAFETY: all offsets stay below K.
        unsafe {
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
                let steepness =
                    if CAPPED { problem.steepness(input.add(point.class).read()) } else { A::ONE };
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
                        let e = read_part::<V, A>(kept.add(at), count);
                        let summand = if FLAT {
                            constant
                        } else {
                            read_part::<V, A>(values.add(at), count).mul_add(less, constant)
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

/// 1 − tanh², by which a cap makes the gradient smaller.
#[inline(always)]
pub(crate) fn steepness<V: Lanes>(logits: V, scale: V, over_cap: V) -> V {
    let ratio = logits.mul(scale).mul(over_cap).tanh();
    let negative = V::splat(-V::Scalar::ONE);
    ratio.mul(negative).mul_add(ratio, V::splat(V::Scalar::ONE))
}
