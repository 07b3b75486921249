//! Vectors along a row of each side.
//!
//! As in [`long`](super::super::long), a row is taken in blocks: one sweep finds the largest z and u,
//! a second, from the cache, computes e^{z − M} and e^{u − M′} against the largest so far and adds
//! up, with d_k = (u_k − M′) − (z_k − M),
//!
//! - Σ e^{z − M}, Σ e^{u − M′}, Σ e^{u − M′}·d and Σ e^{z − M}·d,
//!
//! from which both Kullback-Leibler divergences follow. When a largest one rises by δ, the sums so
//! far are multiplied by e^{−δ} and d moves by a constant. A last sweep writes the gradient.

use std::ops::Range;

use super::super::dispatch::Kernel;
use super::super::element::Element;
use super::super::element::sealed::{Convert, Real};
use super::super::exponential::ln;
use super::super::long::{base_above, rescale};
use super::super::scratch::Scratch;
use super::super::sweep::{sweep, sweep_out};
use super::super::target::DenseRows;
use super::super::vector::{Lanes, MOST_LANES, Read, Write, most, read, read_part, sum_of};
use super::careful::careful_row;
use super::{Divergence, Problem};

/// Vectors a block, as for cross-entropy.
const VECTORS: usize = 64;

/// KL(q ‖ p) alone.
const FORWARD: u8 = 0;
/// Both Kullback-Leibler divergences, or KL(p ‖ q) alone.
const BOTH: u8 = 1;
/// The Jensen-Shannon divergence.
const JENSEN: u8 = 2;

/// Some rows of a problem.
pub(crate) struct DivergenceRows<'a, 'b, 'c, T: Element> {
    pub(super) problem: &'a Problem<'b, 'c, T>,
    pub(super) range: Range<usize>,
}

impl<T: Element> Kernel<T> for DivergenceRows<'_, '_, '_, T> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = T::Sum> + Write<T>>(self) {
        let gradient = !self.problem.output.is_null();
        match (self.problem.comparison.divergence, gradient) {
            (Divergence::KullbackLeibler { reverse: 0.0, .. }, false) => {
                self.rows::<V, FORWARD, false>();
            }
            (Divergence::KullbackLeibler { reverse: 0.0, .. }, true) => {
                self.rows::<V, FORWARD, true>();
            }
            (Divergence::KullbackLeibler { .. }, false) => self.rows::<V, BOTH, false>(),
            (Divergence::KullbackLeibler { .. }, true) => self.rows::<V, BOTH, true>(),
            (Divergence::JensenShannon { .. }, false) => self.rows::<V, JENSEN, false>(),
            (Divergence::JensenShannon { .. }, true) => self.rows::<V, JENSEN, true>(),
        }
    }
}

#[allow(unsafe_code)]
impl<T: Element> DivergenceRows<'_, '_, '_, T> {
    #[inline(always)]
    fn rows<V, const KIND: u8, const GRADIENT: bool>(self)
    where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        let problem = self.problem;
        let classes = problem.classes;
        let blocks = classes.div_ceil(VECTORS * V::LANES);
        let scratch = Scratch::<T::Sum, 5>::take([classes, classes, classes, blocks, blocks]);
        let [kept_z, kept_u, widened, z_bases, u_bases] = scratch.pieces;
        for row in self.range {
            // SAFETY: the row is one of the problem's and this kernel's alone; the scratch pieces
            // are as long as a row, and as there are blocks.
            unsafe {
                if problem.comparison.ignored.is_some_and(|ignored| ignored[row]) {
                    problem.divergences.add(row).write(T::Sum::ZERO);
                    if GRADIENT {
                        problem.output.add(row * classes).write_bytes(0, classes);
                    }
                    continue;
                }
                let teacher = teacher_row::<T::Sum, V>(
                    &problem.comparison.teacher,
                    row * classes,
                    classes,
                    widened,
                );
                let [scale, teacher_scale, gradient_scale] = problem.scales(row);
                let pair = Pair {
                    input: problem.input.add(row * classes),
                    teacher,
                    classes,
                    scale,
                    teacher_scale,
                    kept_z,
                    kept_u,
                    z_bases,
                    u_bases,
                    output: problem.output.wrapping_add(row * classes),
                    past_caches: problem.past_caches,
                };
                let sums = pair.look::<V, KIND, GRADIENT>();
                let step = gradient_scale.to_f64() * scale.to_f64();
                let divergence = match problem.comparison.divergence {
                    Divergence::KullbackLeibler { forward, reverse } => {
                        let weights = (forward, reverse);
                        pair.kullback_leibler::<V, KIND, GRADIENT>(&sums, weights, step)
                    }
                    Divergence::JensenShannon { beta, factor } => {
                        pair.jensen_shannon::<V, GRADIENT>(&sums, beta, factor, step)
                    }
                };
                match divergence {
                    // What is not negative but by rounding.
                    Some(value) => {
                        problem.divergences.add(row).write(T::Sum::from_f64(value.max(0.0)));
                    }
                    None => careful_row(problem, row),
                }
            }
        }
        V::fence();
    }
}

/// A teacher's row in the type of the arithmetic: as it is, or widened into `to`.
///
/// # Safety
/// `to` holds K numbers; the row from element `first` on is one of the teacher's.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn teacher_row<A, V>(
    rows: &DenseRows<'_>,
    first: usize,
    classes: usize,
    to: *mut A,
) -> *const A
where
    A: Real,
    V: Lanes<Scalar = A>,
{
    if let Some(values) = A::same_rows(*rows) {
        return values[first..].as_ptr();
    }
    // SAFETY: promised by the caller.
    unsafe {
        match rows {
            DenseRows::F32(values) => widen_row::<V, _>(values[first..].as_ptr(), classes, to),
            DenseRows::F64(values) => widen_row::<V, _>(values[first..].as_ptr(), classes, to),
            DenseRows::Bf16(values) => widen_row::<V, _>(values[first..].as_ptr(), classes, to),
            DenseRows::F16(values) => widen_row::<V, _>(values[first..].as_ptr(), classes, to),
            DenseRows::Mask(values) => widen_row::<V, _>(values[first..].as_ptr(), classes, to),
        }
    }
    to
}

/// # Safety
/// K elements can be read, K numbers written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn widen_row<V: Lanes + Read<D>, D: Convert>(
    from: *const D,
    classes: usize,
    to: *mut V::Scalar,
) {
    // SAFETY: offsets stay below K.
    unsafe {
        sweep!(classes, V::LANES;
            (_slot, at) {
                <V as Read<D>>::read(from.add(at)).store(to.add(at));
            }
            (_slot, at, count) {
                let values = <V as Read<D>>::read_part(from.add(at), count);
                <V as Write<V::Scalar>>::write_part(values, to.add(at), count);
            }
        );
    }
}

/// What was added up over both rows.
struct Sums<A> {
    z_base: A,
    u_base: A,
    /// Σ e^{z − M} and Σ e^{u − M′}.
    z_total: f64,
    u_total: f64,
    /// Σ e^{z − M}·d and Σ e^{u − M′}·d.
    z_product: f64,
    u_product: f64,
}

/// The two rows and scratch memory.
///
/// Invariants: K numbers each but for the bases, of which there is one a block.
struct Pair<T: Element> {
    input: *const T,
    teacher: *const T::Sum,
    classes: usize,
    scale: T::Sum,
    teacher_scale: T::Sum,
    kept_z: *mut T::Sum,
    kept_u: *mut T::Sum,
    z_bases: *mut T::Sum,
    u_bases: *mut T::Sum,
    /// Where the gradient goes.
    output: *mut T,
    past_caches: bool,
}

#[allow(unsafe_code)]
impl<T: Element> Pair<T> {
    /// The first two sweeps over all blocks.
    ///
    /// # Safety
    /// What the fields promise.
    #[inline(always)]
    unsafe fn look<V, const KIND: u8, const GRADIENT: bool>(&self) -> Sums<T::Sum>
    where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        type A<T> = <T as Element>::Sum;
        let (lowest, zero) = (A::<T>::NEG_INFINITY, A::<T>::ZERO);
        let keep = GRADIENT || KIND == JENSEN;
        let fetches_output = GRADIENT && !self.past_caches;
        let (scale, teacher_scale) = (V::splat(self.scale), V::splat(self.teacher_scale));
        let negative = V::splat(-A::<T>::ONE);
        let mut sums = Sums {
            z_base: zero,
            u_base: zero,
            z_total: 0.0,
            u_total: 0.0,
            z_product: 0.0,
            u_product: 0.0,
        };
        let (mut z_highest, mut u_highest) = (lowest, lowest);
        let mut start = 0;
        let mut block = 0;
        while start < self.classes {
            let size = (VECTORS * V::LANES).min(self.classes - start);
            // SAFETY: all offsets stay below start + size ≤ K.
            unsafe {
                let (input, teacher) = (self.input.add(start), self.teacher.add(start));
                let (kept_z, kept_u) = (self.kept_z.add(start), self.kept_u.add(start));
                let mut z_largest = [V::splat(lowest); 4];
                let mut u_largest = [V::splat(lowest); 4];
                sweep!(size, V::LANES;
                    (slot, at) {
                        let z = read::<V, T>(input.add(at)).mul(scale);
                        let u = V::load(teacher.add(at)).mul(teacher_scale);
                        z_largest[slot] = z_largest[slot].max(z);
                        u_largest[slot] = u_largest[slot].max(u);
                    }
                    (slot, at, count) {
                        let z = read_part::<V, T>(input.add(at), count).mul(scale);
                        let u = read_part::<V, A<T>>(teacher.add(at), count).mul(teacher_scale);
                        z_largest[slot] = z_largest[slot].max(z.keep(count, lowest));
                        u_largest[slot] = u_largest[slot].max(u.keep(count, lowest));
                    }
                );
                let z_shift = rise(&mut z_highest, most(z_largest).largest(), self.scale);
                let u_shift = rise(&mut u_highest, most(u_largest).largest(), self.teacher_scale);
                // Both are not positive; d moves by what the teacher's falls less the student's.
                let moved = u_shift - z_shift;
                if sums.z_total != 0.0 && (z_shift != 0.0 || moved != 0.0) {
                    sums.z_product = (sums.z_product + sums.z_total * moved) * z_shift.exp();
                    sums.z_total *= z_shift.exp();
                }
                if sums.u_total != 0.0 && (u_shift != 0.0 || moved != 0.0) {
                    sums.u_product = (sums.u_product + sums.u_total * moved) * u_shift.exp();
                    sums.u_total *= u_shift.exp();
                }
                sums.z_base = base_above(z_highest, self.scale);
                sums.u_base = base_above(u_highest, self.teacher_scale);
                // Nothing above −∞ yet: nothing of this block counts, whatever comes.
                self.z_bases.add(block).write(if z_highest == lowest {
                    lowest
                } else {
                    sums.z_base
                });
                self.u_bases.add(block).write(if u_highest == lowest {
                    lowest
                } else {
                    sums.u_base
                });
                let (z_down, u_down) = (V::splat(-sums.z_base), V::splat(-sums.u_base));
                let mut z_total = [V::splat(zero); 4];
                let mut u_total = [V::splat(zero); 4];
                let mut z_product = [V::splat(zero); 4];
                let mut u_product = [V::splat(zero); 4];
                sweep!(size, V::LANES;
                    (slot, at) {
                        V::prefetch(input.wrapping_add(at + VECTORS * V::LANES));
                        V::prefetch(teacher.wrapping_add(at + VECTORS * V::LANES));
                        if fetches_output {
                            V::prefetch_to_write(self.output.wrapping_add(start + at));
                        }
                        let z = read::<V, T>(input.add(at)).mul_add(scale, z_down);
                        let u = V::load(teacher.add(at)).mul_add(teacher_scale, u_down);
                        let (ez, eu) = (z.exp(), u.exp());
                        z_total[slot] = z_total[slot].add(ez);
                        u_total[slot] = u_total[slot].add(eu);
                        if KIND != JENSEN {
                            let d = z.mul_add(negative, u);
                            u_product[slot] = eu.mul_add_if_nonzero(d, u_product[slot]);
                            if KIND == BOTH {
                                z_product[slot] = ez.mul_add_if_nonzero(d, z_product[slot]);
                            }
                        }
                        if keep {
                            ez.store(kept_z.add(at));
                            eu.store(kept_u.add(at));
                        }
                    }
                    (slot, at, count) {
                        let z = read_part::<V, T>(input.add(at), count).mul_add(scale, z_down);
                        let u = read_part::<V, A<T>>(teacher.add(at), count);
                        let u = u.mul_add(teacher_scale, u_down);
                        let ez = z.keep(count, lowest).exp();
                        let eu = u.keep(count, lowest).exp();
                        z_total[slot] = z_total[slot].add(ez);
                        u_total[slot] = u_total[slot].add(eu);
                        if KIND != JENSEN {
                            let d = z.mul_add(negative, u);
                            u_product[slot] = eu.mul_add_if_nonzero(d, u_product[slot]);
                            if KIND == BOTH {
                                z_product[slot] = ez.mul_add_if_nonzero(d, z_product[slot]);
                            }
                        }
                        if keep {
                            <V as Write<A<T>>>::write_part(ez, kept_z.add(at), count);
                            <V as Write<A<T>>>::write_part(eu, kept_u.add(at), count);
                        }
                    }
                );
                sums.z_total += sum_of(z_total).sum();
                sums.u_total += sum_of(u_total).sum();
                if KIND != JENSEN {
                    sums.u_product += sum_of(u_product).sum();
                    if KIND == BOTH {
                        sums.z_product += sum_of(z_product).sum();
                    }
                }
            }
            start += size;
            block += 1;
        }
        sums
    }

    /// e^{M − M_row}/Σ of a block, for both sides.
    ///
    /// # Safety
    /// The block is one of the row's, and [`look`](Self::look) has written its bases.
    #[inline(always)]
    unsafe fn shares(&self, block: usize, sums: &Sums<T::Sum>) -> (f64, f64) {
        // SAFETY: promised by the caller.
        let (z_base, u_base) =
            unsafe { (self.z_bases.add(block).read(), self.u_bases.add(block).read()) };
        let share = |base: T::Sum, last: T::Sum, total: f64| {
            let share = if base == last { 1.0 } else { rescale(base, last) };
            share / total
        };
        (share(z_base, sums.z_base, sums.z_total), share(u_base, sums.u_base, sums.u_total))
    }

    /// `forward`·KL(q ‖ p) + `reverse`·KL(p ‖ q), and its gradient times `step`; nothing, and nothing
    /// written, where that is not finite.
    ///
    /// # Safety
    /// As [`look`](Self::look), whose results `sums` are; K elements can be written to `output` if
    /// GRADIENT.
    #[inline(always)]
    unsafe fn kullback_leibler<V, const KIND: u8, const GRADIENT: bool>(
        &self,
        sums: &Sums<T::Sum>,
        (forward, reverse): (f64, f64),
        step: f64,
    ) -> Option<f64>
    where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        type A<T> = <T as Element>::Sum;
        // ln of what the normalizers of the two sides differ by, beyond the largest.
        let apart = ln(sums.z_total) - ln(sums.u_total);
        let of_teacher = sums.u_product / sums.u_total + apart;
        let of_student = -sums.z_product / sums.z_total - apart;
        let divergence = if KIND == BOTH {
            forward * of_teacher + reverse * of_student
        } else {
            forward * of_teacher
        };
        // An infinite side must not hide behind a weight of 0.
        if !(of_teacher.is_finite() && (KIND != BOTH || of_student.is_finite())) {
            return None;
        }
        if !GRADIENT {
            return Some(divergence);
        }
        let (scale, teacher_scale) = (V::splat(self.scale), V::splat(self.teacher_scale));
        let (z_down, u_down) = (V::splat(-sums.z_base), V::splat(-sums.u_base));
        let negative = V::splat(-A::<T>::ONE);
        let forward_step = V::splat(A::<T>::from_f64(forward * step));
        let less = V::splat(A::<T>::from_f64(-reverse * step));
        // −reverse·step·(d + apart + KL(p ‖ q)) is the slope of p.
        let constant = V::splat(A::<T>::from_f64(-reverse * step * (apart + of_student)));
        let mut start = 0;
        let mut block = 0;
        while start < self.classes {
            let size = (VECTORS * V::LANES).min(self.classes - start);
            // SAFETY: all offsets stay below K.
            unsafe {
                let (z_share, u_share) = self.shares(block, sums);
                let (input, teacher) = (self.input.add(start), self.teacher.add(start));
                let (kept_z, kept_u) = (self.kept_z.add(start), self.kept_u.add(start));
                let output = self.output.add(start);
                if KIND == FORWARD {
                    let z_factor = V::splat(A::<T>::from_f64(forward * step * z_share));
                    let u_factor = V::splat(-A::<T>::from_f64(forward * step * u_share));
                    // Two products and a sum, not fused, so that equal rows cancel exactly.
                    sweep_out!(V, T, output, self.past_caches, size;
                        (at) {
                            let p = V::load(kept_z.add(at)).mul(z_factor);
                            let q = V::load(kept_u.add(at)).mul(u_factor);
                            p.add(q)
                        }
                        (at, count) {
                            let p = read_part::<V, A<T>>(kept_z.add(at), count).mul(z_factor);
                            let q = read_part::<V, A<T>>(kept_u.add(at), count).mul(u_factor);
                            p.add(q)
                        }
                    );
                } else {
                    let z_factor = V::splat(A::<T>::from_f64(z_share));
                    let u_factor = V::splat(A::<T>::from_f64(u_share));
                    sweep_out!(V, T, output, self.past_caches, size;
                        (at) {
                            let p = V::load(kept_z.add(at)).mul(z_factor);
                            let q = V::load(kept_u.add(at)).mul(u_factor);
                            let z = read::<V, T>(input.add(at)).mul_add(scale, z_down);
                            let u = V::load(teacher.add(at)).mul_add(teacher_scale, u_down);
                            let slope = z.mul_add(negative, u).mul_add(less, constant);
                            let gap = q.mul_add(negative, p).mul(forward_step);
                            p.mul_add_if_nonzero(slope, gap)
                        }
                        (at, count) {
                            let p = read_part::<V, A<T>>(kept_z.add(at), count).mul(z_factor);
                            let q = read_part::<V, A<T>>(kept_u.add(at), count).mul(u_factor);
                            let z = read_part::<V, T>(input.add(at), count).mul_add(scale, z_down);
                            let u = read_part::<V, A<T>>(teacher.add(at), count);
                            let u = u.mul_add(teacher_scale, u_down);
                            let slope = z.mul_add(negative, u).mul_add(less, constant);
                            let gap = q.mul_add(negative, p).mul(forward_step);
                            p.mul_add_if_nonzero(slope, gap)
                        }
                    );
                }
            }
            start += size;
            block += 1;
        }
        Some(divergence)
    }

    /// `factor`·JS_β, and its gradient times `step`; nothing, and nothing written, where a side is
    /// not finite.
    ///
    /// # Safety
    /// As [`kullback_leibler`](Self::kullback_leibler).
    #[inline(always)]
    unsafe fn jensen_shannon<V, const GRADIENT: bool>(
        &self,
        sums: &Sums<T::Sum>,
        beta: f64,
        factor: f64,
        step: f64,
    ) -> Option<f64>
    where
        V: Lanes<Scalar = T::Sum> + Write<T>,
    {
        type A<T> = <T as Element>::Sum;
        // Below this a ratio might overflow, and p·ln p is nothing.
        const TINY: f64 = 1e-290;
        let counts = |total: f64| total > 0.0 && total < f64::INFINITY;
        if !(counts(sums.z_total) && counts(sums.u_total)) {
            return None;
        }
        // One sum a lane: the loop over lanes becomes vectors, as it would not if an addition waited
        // for the one before.
        let (mut own, mut of_teacher) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        let mut start = 0;
        let mut block = 0;
        // p replaces e^{z − M}, and p·ln(p/m) replaces e^{u − M′}.
        while start < self.classes {
            let size = (VECTORS * V::LANES).min(self.classes - start);
            // SAFETY: all offsets stay below K.
            unsafe {
                let (z_share, u_share) = self.shares(block, sums);
                let z_factor = V::splat(A::<T>::from_f64(z_share));
                let u_factor = V::splat(A::<T>::from_f64(u_share));
                let mut at = start;
                while at < start + size {
                    let count = V::LANES.min(start + size - at);
                    let (mut p, mut q) = ([A::<T>::ZERO; MOST_LANES], [A::<T>::ZERO; MOST_LANES]);
                    let shares = read_part::<V, A<T>>(self.kept_z.add(at), count).mul(z_factor);
                    shares.store(p.as_mut_ptr());
                    read_part::<V, A<T>>(self.kept_u.add(at), count)
                        .mul(u_factor)
                        .store(q.as_mut_ptr());
                    let mut terms = [A::<T>::ZERO; MOST_LANES];
                    for lane in 0..V::LANES {
                        let (of_p, of_q) = (p[lane].to_f64(), q[lane].to_f64());
                        // m/p = 1 + β·(q − p)/p, which is exactly 1 where both are equal.
                        let gap = of_q - of_p;
                        let log_p = -ln(1.0 + beta * (gap / of_p));
                        let log_q = -ln(1.0 - (1.0 - beta) * (gap / of_q));
                        let term = if of_p > TINY { of_p * log_p } else { 0.0 };
                        own[lane] += term;
                        of_teacher[lane] += if of_q > TINY { of_q * log_q } else { 0.0 };
                        terms[lane] = A::<T>::from_f64(term);
                    }
                    let terms = V::load(terms.as_ptr());
                    <V as Write<A<T>>>::write_part(shares, self.kept_z.add(at), count);
                    <V as Write<A<T>>>::write_part(terms, self.kept_u.add(at), count);
                    at += V::LANES;
                }
            }
            start += size;
            block += 1;
        }
        let (own, of_teacher) = (own.iter().sum::<f64>(), of_teacher.iter().sum::<f64>());
        if GRADIENT {
            let slope = V::splat(A::<T>::from_f64(factor * (1.0 - beta) * step));
            let less = V::splat(A::<T>::from_f64(-own));
            // SAFETY: all offsets stay below K.
            unsafe {
                sweep_out!(V, T, self.output, self.past_caches, self.classes;
                    (at) {
                        let terms = V::load(self.kept_u.add(at));
                        V::load(self.kept_z.add(at)).mul_add(less, terms).mul(slope)
                    }
                    (at, count) {
                        let terms = read_part::<V, A<T>>(self.kept_u.add(at), count);
                        let p = read_part::<V, A<T>>(self.kept_z.add(at), count);
                        p.mul_add(less, terms).mul(slope)
                    }
                );
            }
        }
        Some(factor * (beta * of_teacher + (1.0 - beta) * own))
    }
}

/// Raises the largest so far to `found` and says by how much the base falls behind, at most 0.
#[inline(always)]
fn rise<A: Real>(highest: &mut A, found: A, scale: A) -> f64 {
    let before = base_above(*highest, scale);
    if found > *highest {
        *highest = found;
    }
    before.to_f64() - base_above(*highest, scale).to_f64()
}
