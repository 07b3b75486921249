//! Four vectors as one, so that an operation on one need not wait for the operation before it.
//!
//! Every lane is computed as it would be in a vector of its own.

#![allow(unsafe_code)]

use super::element::sealed::Convert;
use super::vector::{Read, Vector, Write};

/// Lane i is lane i mod `LANES` of vector i / `LANES`.
#[derive(Clone, Copy)]
pub(crate) struct Four<V>([V; 4]);

/// The four results of an expression in which the name is 0 to 3. A macro, because a closure cannot be told
/// to be inlined.
macro_rules! four {
    ($i:ident => $result:expr) => {
        Four([
            {
                let $i = 0usize;
                $result
            },
            {
                let $i = 1usize;
                $result
            },
            {
                let $i = 2usize;
                $result
            },
            {
                let $i = 3usize;
                $result
            },
        ])
    };
}

/// How many of the first `count` lanes are in one of the vectors.
#[inline(always)]
fn part<V: Vector>(count: usize, vector: usize) -> usize {
    count.saturating_sub(vector * V::LANES).min(V::LANES)
}

// SAFETY of all that follows: each vector touches its share of what the caller promised.

impl<V: Vector> Vector for Four<V> {
    type Scalar = V::Scalar;
    const LANES: usize = 4 * V::LANES;

    #[inline(always)]
    fn splat(value: V::Scalar) -> Self {
        Four([V::splat(value); 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const V::Scalar) -> Self {
        four!(i => unsafe { V::load(from.add(i * V::LANES)) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut V::Scalar) {
        for (i, vector) in self.0.into_iter().enumerate() {
            unsafe { vector.store(to.add(i * V::LANES)) }
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        four!(i => self.0[i].add(other.0[i]))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        four!(i => self.0[i].mul(other.0[i]))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        four!(i => self.0[i].mul_add(factor.0[i], summand.0[i]))
    }
    #[inline(always)]
    fn mul_add_if_nonzero(self, factor: Self, summand: Self) -> Self {
        four!(i => self.0[i].mul_add_if_nonzero(factor.0[i], summand.0[i]))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        four!(i => self.0[i].max(other.0[i]))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        four!(i => self.0[i].min(other.0[i]))
    }
    #[inline(always)]
    fn keep(self, count: usize, fill: V::Scalar) -> Self {
        four!(i => self.0[i].keep(part::<V>(count, i), fill))
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Four(V::exp_four(self.0))
    }
    #[inline(always)]
    unsafe fn logarithms(totals: *const f64, logarithms: *mut f64, reciprocals: *mut f64) {
        for at in (0..Self::LANES).step_by(V::LANES) {
            unsafe { V::logarithms(totals.add(at), logarithms.add(at), reciprocals.add(at)) }
        }
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        four!(i => self.0[i].tanh())
    }
    #[inline(always)]
    fn largest(self) -> V::Scalar {
        let [a, b, c, d] = self.0;
        a.max(b).max(c.max(d)).largest()
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        (self.0[0].sum() + self.0[1].sum()) + (self.0[2].sum() + self.0[3].sum())
    }
    #[inline(always)]
    fn any_equal(self, other: Self) -> bool {
        self.0[0].any_equal(other.0[0])
            | self.0[1].any_equal(other.0[1])
            | self.0[2].any_equal(other.0[2])
            | self.0[3].any_equal(other.0[3])
    }
}

impl<T: Convert, V: Read<T>> Read<T> for Four<V> {
    #[inline(always)]
    unsafe fn read(from: *const T) -> Self {
        four!(i => unsafe { V::read(from.add(i * V::LANES)) })
    }
    #[inline(always)]
    unsafe fn read_part(from: *const T, count: usize) -> Self {
        four!(i => unsafe { V::read_part(from.wrapping_add(i * V::LANES), part::<V>(count, i)) })
    }
    #[inline(always)]
    unsafe fn read_columns(
        rows: &[*const T],
        from: usize,
        count: usize,
        to: *mut V::Scalar,
        stride: usize,
    ) {
        for (i, rows) in rows.chunks_exact(V::LANES).enumerate() {
            unsafe { V::read_columns(rows, from, count, to.add(i * V::LANES), stride) }
        }
    }
}

impl<T: Convert, V: Write<T>> Write<T> for Four<V> {
    #[inline(always)]
    unsafe fn write(self, to: *mut T) {
        for (i, vector) in self.0.into_iter().enumerate() {
            unsafe { <V as Write<T>>::write(vector, to.add(i * V::LANES)) }
        }
    }
    #[inline(always)]
    unsafe fn write_part(self, to: *mut T, count: usize) {
        for (i, vector) in self.0.into_iter().enumerate() {
            let to = to.wrapping_add(i * V::LANES);
            unsafe { <V as Write<T>>::write_part(vector, to, part::<V>(count, i)) }
        }
    }
    #[inline(always)]
    unsafe fn write_columns(
        rows: &[*mut T],
        to: usize,
        count: usize,
        from: *const V::Scalar,
        stride: usize,
    ) {
        for (i, rows) in rows.chunks(V::LANES).enumerate() {
            unsafe { V::write_columns(rows, to, count, from.add(i * V::LANES), stride) }
        }
    }
}
