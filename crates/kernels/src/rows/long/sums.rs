//! The sweep over the blocks of a row: exponentials against a base, and their sums.

use super::super::element::Element;
use super::super::element::sealed::{Convert, Real};
use super::super::fill::Spread;
use super::super::problem::Problem;
use super::super::sweep::sweep;
use super::super::target::RowTarget;
use super::super::vector::{Lanes, Write, most, read, read_part, sum_of};
use super::{Room, VECTORS, caps, rescale};

/// The part of a row that was looked at: the base, the largest scaled logit if it is asked for, Σ e^{z − base},
/// Σ t·(z − base), Σ d and the smallest d of the spread masses t = u + s·d.
pub(super) struct Sums<A> {
    pub(super) base: A,
    pub(super) top: A,
    pub(super) total: f64,
    pub(super) product: f64,
    pub(super) dense: f64,
    pub(super) least: A,
}

impl<A: Real> Sums<A> {
    /// Takes the base to a higher one, with a mass of so much looked at.
    #[inline(always)]
    fn raise(&mut self, base: A, mass: f64) {
        // Against −∞ nothing was added up, and 0 stood in for it.
        let from = if self.base == A::NEG_INFINITY { A::ZERO } else { self.base };
        if mass != 0.0 {
            self.product += mass * (from.to_f64() - base.to_f64());
        }
        self.total *= rescale(self.base, base);
        self.base = base;
    }
}

/// What a block comes to against a base, as [`Sums`]; the product without u if the masses are flat.
struct Block<A> {
    total: f64,
    product: f64,
    dense: f64,
    least: A,
}

/// Beyond this a sum shows that the base is too low: then z − base would be rounded by more than it has to be, and
/// what e^{z − base} is multiplied by come to be too small.
const MOST: f64 = 1e6;

/// The first sweeps over all blocks of a row.
///
/// # Safety
/// As [`look`](super::look); unless FLAT, K values of `spread` can be read.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn sums_of<T, V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
    problem: &Problem<T>,
    row: usize,
    target: &RowTarget<T::Sum>,
    spread: Spread<T::Sum>,
    room: Room<T::Sum>,
) -> Sums<T::Sum>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    type A<T> = <T as Element>::Sum;
    let classes = problem.layout.classes;
    let first = row * classes;
    let lowest = A::<T>::NEG_INFINITY;
    let uniform = target.uniform.to_f64();
    let needs_top = !problem.correct.is_null();
    let mut sums = Sums {
        base: lowest,
        top: lowest,
        total: 0.0,
        product: 0.0,
        dense: 0.0,
        least: A::<T>::ONE,
    };
    // SAFETY throughout: all offsets stay below start + size ≤ K.
    unsafe {
        let guess = if target.has_label {
            problem.input.add(first + target.points[0].class).read().to_f64()
        } else {
            let size = V::LANES.min(classes);
            let logits = read_part::<V, T>(problem.input.add(first), size);
            logits.keep(size, lowest).largest().to_f64()
        };
        if guess.is_finite() {
            sums.base = A::<T>::from_f64(problem.transform_exactly(A::<T>::from_f64(guess)));
        }
        let mut start = 0;
        let mut block = 0;
        while start < classes {
            let size = (VECTORS * V::LANES).min(classes - start);
            let at = (first + start, start, size);
            let mut is_searched = needs_top || sums.base == lowest;
            let found = loop {
                if is_searched {
                    let largest =
                        largest::<T, V>(problem.input.add(first + start), size, problem.scale);
                    sums.top = if largest > sums.top { largest } else { sums.top };
                    let base = problem.capped(largest);
                    if base > sums.base {
                        let mass = if FLAT {
                            start as f64
                        } else {
                            spread.uniform.to_f64() * start as f64
                                + spread.dense.to_f64() * sums.dense
                        };
                        sums.raise(base, mass);
                    }
                }
                let found = exponentials::<T, V, CAPPED, GRADIENT, FLAT>(
                    problem, at, sums.base, spread, room.kept,
                );
                // A sum that is NaN is left to those who look closer.
                if is_searched || found.total < MOST {
                    break found;
                }
                is_searched = true;
            };
            room.bases.add(block).write(sums.base);
            sums.total += found.total;
            sums.product += found.product;
            sums.dense += found.dense;
            sums.least = if found.least < sums.least { found.least } else { sums.least };
            start += size;
            block += 1;
        }
    }
    if FLAT {
        // u·∞ is no mass at all where u is 0.
        sums.product = if uniform == 0.0 { 0.0 } else { sums.product * uniform };
    }
    sums.base = if sums.base == lowest { A::<T>::ZERO } else { sums.base };
    sums
}

/// The largest scaled logit of a block.
///
/// # Safety
/// `size` logits can be read.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn largest<T, V>(input: *const T, size: usize, scale: T::Sum) -> T::Sum
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let lowest = T::Sum::NEG_INFINITY;
    let scale = V::splat(scale);
    let mut largest = [V::splat(lowest); 4];
    // SAFETY: offsets stay below `size`.
    unsafe {
        sweep!(size, V::LANES;
            (slot, at) {
                largest[slot] = largest[slot].max(read::<V, T>(input.add(at)).mul(scale));
            }
            (slot, at, count) {
                let z = read_part::<V, T>(input.add(at), count).mul(scale);
                largest[slot] = largest[slot].max(z.keep(count, lowest));
            }
        );
    }
    most(largest).largest()
}

/// The sweep over a block that begins at a logit and at a class: e^{z − base} is kept.
///
/// # Safety
/// As [`look`](super::look).
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn exponentials<T, V, const CAPPED: bool, const GRADIENT: bool, const FLAT: bool>(
    problem: &Problem<T>,
    (logit, class, size): (usize, usize, usize),
    base: T::Sum,
    spread: Spread<T::Sum>,
    kept: *mut T::Sum,
) -> Block<T::Sum>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let (zero, lowest) = (T::Sum::ZERO, T::Sum::NEG_INFINITY);
    let fetches_output = GRADIENT && !problem.past_caches;
    let fetches_spread = !FLAT && spread.is_fetched;
    let scale = V::splat(problem.scale);
    let (cap, over_cap) = caps::<T, V>(problem);
    let down = V::splat(if base == lowest { zero } else { -base });
    let (at_least, dense) = (V::splat(spread.uniform), V::splat(spread.dense));
    let mut total = [V::splat(zero); 4];
    let mut product = [V::splat(zero); 4];
    let mut mass = [V::splat(zero); 4];
    let mut least = [V::splat(T::Sum::ONE); 4];
    // SAFETY throughout: offsets stay below `size`.
    unsafe {
        let input = problem.input.add(logit);
        let output = problem.output.wrapping_add(logit);
        let kept = kept.add(class);
        let values = spread.values.wrapping_add(class);
        let below = |logits: V| {
            if CAPPED {
                logits.mul(scale).mul(over_cap).tanh().mul_add(cap, down)
            } else {
                logits.mul_add(scale, down)
            }
        };
        let mut next = 0;
        while next + 4 * V::LANES <= size {
            for slot in 0..4 {
                V::prefetch(input.wrapping_add(next + (VECTORS + slot) * V::LANES));
            }
            if fetches_spread {
                for slot in 0..4 {
                    V::prefetch(values.wrapping_add(next + (VECTORS + slot) * V::LANES));
                }
            }
            if fetches_output {
                for slot in 0..4 {
                    V::prefetch_to_write(output.wrapping_add(next + slot * V::LANES));
                }
            }
            let mut differences = [down; 4];
            for slot in 0..4 {
                let at = next + slot * V::LANES;
                let x = below(read::<V, T>(input.add(at)));
                differences[slot] = x;
                if FLAT {
                    product[slot] = product[slot].add(x);
                } else {
                    let d = V::load(values.add(at));
                    let t = d.mul_add(dense, at_least);
                    product[slot] = t.mul_add_if_nonzero(x, product[slot]);
                    mass[slot] = mass[slot].add(d);
                    least[slot] = least[slot].min(d);
                }
            }
            let powers = V::exp_four(differences);
            for slot in 0..4 {
                total[slot] = total[slot].add(powers[slot]);
                if GRADIENT {
                    powers[slot].store(kept.add(next + slot * V::LANES));
                }
            }
            next += 4 * V::LANES;
        }
        let mut slot = 0;
        while next < size {
            let count = V::LANES.min(size - next);
            let x = below(read_part::<V, T>(input.add(next), count));
            let counted = x.keep(count, zero);
            if FLAT {
                product[slot] = product[slot].add(counted);
            } else {
                let d = read_part::<V, T::Sum>(values.add(next), count);
                let t = d.mul_add(dense, at_least);
                product[slot] = t.mul_add_if_nonzero(counted, product[slot]);
                mass[slot] = mass[slot].add(d);
                least[slot] = least[slot].min(d);
            }
            let power = x.keep(count, lowest).exp();
            total[slot] = total[slot].add(power);
            if GRADIENT {
                <V as Write<T::Sum>>::write_part(power, kept.add(next), count);
            }
            next += count;
            slot += 1;
        }
    }
    let [a, b, c, d] = least;
    Block {
        total: sum_of(total).sum(),
        product: sum_of(product).sum(),
        dense: if FLAT { 0.0 } else { sum_of(mass).sum() },
        least: if FLAT { T::Sum::ONE } else { a.min(b).min(c.min(d)).smallest() },
    }
}
