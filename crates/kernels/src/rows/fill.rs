//! w_k·(u + s·d_k) of a row, written out where it is not already there.

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::problem::Problem;
use super::sweep::sweep;
use super::target::{Dense, DenseRows, RowTarget};
use super::vector::{Lanes, Read, Write, read, read_part};

/// Where the spread masses of a contiguous row are.
pub(crate) enum Spread<A> {
    /// K numbers, as they are.
    Ready(*const A),
    /// Nowhere yet.
    Make,
}

impl<A: Real> Spread<A> {
    /// Of a row whose masses are not flat.
    #[inline(always)]
    pub(crate) fn of<T: Element<Sum = A>>(
        problem: &Problem<T>,
        row: usize,
        target: &RowTarget<A>,
    ) -> Self {
        if let Some(shared) = &problem.shared_spread {
            return Spread::Ready(shared.as_ptr());
        }
        let is_as_it_is = problem.target.class_weights.is_none()
            && target.uniform == A::ZERO
            && target.dense == A::ONE;
        if !is_as_it_is {
            return Spread::Make;
        }
        let classes = problem.layout.classes;
        match problem.target.dense {
            Dense::Vector(values) => Spread::Ready(values.as_ptr()),
            Dense::Matrix(values) => {
                Spread::Ready(values[target.points[0].class * classes..].as_ptr())
            }
            Dense::Rows(rows) => match A::same_rows(rows) {
                Some(values) => Spread::Ready(values[row * classes..].as_ptr()),
                None => Spread::Make,
            },
            Dense::None => Spread::Make,
        }
    }
}

/// Writes the spread masses of a contiguous row.
///
/// # Safety
/// K numbers can be written; the row is one of the problem's.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn fill_spread<T, V>(
    problem: &Problem<T>,
    row: usize,
    target: &RowTarget<T::Sum>,
    to: *mut T::Sum,
) where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let classes = problem.layout.classes;
    // SAFETY: the target was checked, so every slice has K numbers from there on.
    unsafe {
        match problem.target.dense {
            Dense::None => {
                let uniform = V::splat(target.uniform);
                sweep!(classes, V::LANES;
                    (_slot, at) { uniform.store(to.add(at)); }
                    (_slot, at, count) { uniform.write_part(to.add(at), count); }
                );
            }
            Dense::Vector(values) => fill::<V, T::Sum>(values.as_ptr(), target, classes, to),
            Dense::Matrix(values) => {
                let from = values[target.points[0].class * classes..].as_ptr();
                fill::<V, T::Sum>(from, target, classes, to);
            }
            Dense::Rows(rows) => {
                let at = row * classes;
                match rows {
                    DenseRows::F32(rows) => fill::<V, _>(rows[at..].as_ptr(), target, classes, to),
                    DenseRows::F64(rows) => fill::<V, _>(rows[at..].as_ptr(), target, classes, to),
                    DenseRows::Bf16(rows) => fill::<V, _>(rows[at..].as_ptr(), target, classes, to),
                    DenseRows::F16(rows) => fill::<V, _>(rows[at..].as_ptr(), target, classes, to),
                    DenseRows::Mask(rows) => fill::<V, _>(rows[at..].as_ptr(), target, classes, to),
                }
            }
        }
        if let Some(weights) = problem.target.class_weights {
            let weights = weights.as_ptr();
            sweep!(classes, V::LANES;
                (_slot, at) {
                    V::load(to.add(at)).mul(V::load(weights.add(at))).store(to.add(at));
                }
                (_slot, at, count) {
                    let mass = read_part::<V, T::Sum>(to.add(at), count);
                    let weight = read_part::<V, T::Sum>(weights.add(at), count);
                    mass.mul(weight).write_part(to.add(at), count);
                }
            );
        }
    }
}

/// u + s·d.
///
/// # Safety
/// `size` numbers can be read and written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn fill<V, D>(from: *const D, target: &RowTarget<V::Scalar>, size: usize, to: *mut V::Scalar)
where
    V: Lanes + Read<D>,
    D: Convert,
{
    let (uniform, dense) = (V::splat(target.uniform), V::splat(target.dense));
    // SAFETY: offsets stay below `size`.
    unsafe {
        sweep!(size, V::LANES;
            (_slot, at) {
                read::<V, D>(from.add(at)).mul_add(dense, uniform).store(to.add(at));
            }
            (_slot, at, count) {
                let values = read_part::<V, D>(from.add(at), count);
                values.mul_add(dense, uniform).write_part(to.add(at), count);
            }
        );
    }
}
