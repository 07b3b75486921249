//! w_k·(u + s·d_k) of a row, written out where it is not already there.

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::problem::Problem;
use super::sweep::sweep;
use super::target::{Dense, DenseRows, RowTarget};
use super::vector::{Lanes, Read, Write, read, read_part};

/// The spread masses of a contiguous row, u + s·d_k: K numbers d, and u and s.
#[derive(Clone, Copy)]
pub(crate) struct Spread<A> {
    pub(crate) values: *const A,
    pub(crate) uniform: A,
    pub(crate) dense: A,
    /// Whether the values are of one row, in memory that is not of the kernel's.
    pub(crate) is_fetched: bool,
}

impl<A: Real> Spread<A> {
    /// K masses, as they are.
    pub(crate) fn ready(values: *const A) -> Self {
        Spread { values, uniform: A::ZERO, dense: A::ONE, is_fetched: false }
    }
}

/// The spread masses of a contiguous row whose masses are not flat: where they lie, or in scratch memory if there
/// are class weights or the dense row is of another type.
///
/// # Safety
/// K numbers can be written; the row is one of the problem's.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn spread_of<T, V>(
    problem: &Problem<T>,
    row: usize,
    target: &RowTarget<T::Sum>,
    scratch: *mut T::Sum,
) -> Spread<T::Sum>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let classes = problem.layout.classes;
    if let Some(shared) = &problem.shared_spread {
        return Spread::ready(shared.as_ptr());
    }
    // SAFETY: the target was checked, so every slice has K numbers from there on.
    unsafe {
        let values = match problem.target.dense {
            Dense::None => {
                let one = V::splat(T::Sum::ONE);
                sweep!(classes, V::LANES;
                    (_slot, at) { one.store(scratch.add(at)); }
                    (_slot, at, count) { one.write_part(scratch.add(at), count); }
                );
                let uniform = Spread { dense: target.uniform, ..Spread::ready(scratch) };
                return weighted::<T, V>(problem, uniform, scratch);
            }
            Dense::Vector(values) => values.as_ptr(),
            Dense::Matrix(values) => {
                let [first, second] =
                    target.points.map(|point| values[point.class * classes..].as_ptr());
                if problem.target.second.is_some() {
                    let shares = [target.dense, target.second_dense];
                    blend_rows::<T, V>([first, second], shares, classes, scratch);
                    let blended = Spread { uniform: target.uniform, ..Spread::ready(scratch) };
                    return weighted::<T, V>(problem, blended, scratch);
                }
                first
            }
            Dense::Rows(rows) => {
                let at = row * classes;
                if let Some(values) = T::Sum::same_rows(rows) {
                    values[at..].as_ptr()
                } else {
                    match rows {
                        DenseRows::F32(rows) => widen::<V, _>(&rows[at..], classes, scratch),
                        DenseRows::F64(rows) => widen::<V, _>(&rows[at..], classes, scratch),
                        DenseRows::Bf16(rows) => widen::<V, _>(&rows[at..], classes, scratch),
                        DenseRows::F16(rows) => widen::<V, _>(&rows[at..], classes, scratch),
                        DenseRows::Mask(rows) => widen::<V, _>(&rows[at..], classes, scratch),
                    }
                    scratch.cast_const()
                }
            }
        };
        let is_fetched =
            matches!(problem.target.dense, Dense::Rows(_)) && values != scratch.cast_const();
        let (uniform, dense) = (target.uniform, target.dense);
        let spread = Spread { values, uniform, dense, is_fetched };
        weighted::<T, V>(problem, spread, scratch)
    }
}

/// With the class weights, if there are any, in scratch memory.
///
/// # Safety
/// K numbers can be read and written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn weighted<T, V>(
    problem: &Problem<T>,
    spread: Spread<T::Sum>,
    scratch: *mut T::Sum,
) -> Spread<T::Sum>
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let Some(weights) = problem.target.class_weights else { return spread };
    let (weights, values) = (weights.as_ptr(), spread.values);
    let (uniform, dense) = (V::splat(spread.uniform), V::splat(spread.dense));
    // SAFETY: offsets stay below K.
    unsafe {
        sweep!(problem.layout.classes, V::LANES;
            (_slot, at) {
                let mass = V::load(values.add(at)).mul_add(dense, uniform);
                mass.mul(V::load(weights.add(at))).store(scratch.add(at));
            }
            (_slot, at, count) {
                let value = read_part::<V, T::Sum>(values.add(at), count);
                let weight = read_part::<V, T::Sum>(weights.add(at), count);
                value.mul_add(dense, uniform).mul(weight).write_part(scratch.add(at), count);
            }
        );
    }
    Spread::ready(scratch)
}

/// a·x + b·y of two rows.
///
/// # Safety
/// `size` numbers can be read from each and written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn blend_rows<T, V>(
    [x, y]: [*const T::Sum; 2],
    [a, b]: [T::Sum; 2],
    size: usize,
    to: *mut T::Sum,
) where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let (a, b) = (V::splat(a), V::splat(b));
    // SAFETY: offsets stay below `size`.
    unsafe {
        sweep!(size, V::LANES;
            (_slot, at) {
                let second = V::load(y.add(at)).mul(b);
                V::load(x.add(at)).mul_add(a, second).store(to.add(at));
            }
            (_slot, at, count) {
                let second = read_part::<V, T::Sum>(y.add(at), count).mul(b);
                let first = read_part::<V, T::Sum>(x.add(at), count);
                first.mul_add(a, second).write_part(to.add(at), count);
            }
        );
    }
}

/// Numbers of another type.
///
/// # Safety
/// `size` numbers can be read and written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn widen<V, D>(from: &[D], size: usize, to: *mut V::Scalar)
where
    V: Lanes + Read<D>,
    D: Convert,
{
    let from = from.as_ptr();
    // SAFETY: offsets stay below `size`.
    unsafe {
        sweep!(size, V::LANES;
            (_slot, at) { read::<V, D>(from.add(at)).store(to.add(at)); }
            (_slot, at, count) { read_part::<V, D>(from.add(at), count).write_part(to.add(at), count); }
        );
    }
}
