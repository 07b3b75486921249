//! How a tile is filled from rows and written back to them.

use super::super::element::Element;
use super::super::element::sealed::{Convert, Real};
use super::super::lanes::{LaneTargets, WIDTH};
use super::super::target::{Dense, DenseRows};
use super::super::vector::{Lanes, MOST_LANES, Read, Write, read, read_part};
use super::{RUN, Tile, add_lanes};

#[allow(unsafe_code)]
impl<T: Element> Tile<'_, '_, T> {
    /// Reads the elements of the rows from something laid out as the logits, 0 in unused lanes or
    /// what another row has.
    ///
    /// # Safety
    /// As [`run`](Self::run); `from` has as many elements as there are logits.
    #[inline(always)]
    pub(super) unsafe fn read_tile<V, D>(&self, from: *const D, to: *mut T::Sum)
    where
        V: Lanes<Scalar = T::Sum> + Read<D>,
        D: Convert,
    {
        let layout = self.problem.layout;
        // SAFETY: promised by the caller.
        unsafe {
            if layout.spatial == 1 {
                let rows: [_; WIDTH] = std::array::from_fn(|lane| {
                    let row = self.row + lane.min(self.lanes - 1);
                    from.add(row * layout.classes)
                });
                columns::<V, D>(&rows[..V::LANES], layout.classes, to);
                return;
            }
            let first = from.add(layout.first(self.row));
            for class in 0..layout.classes {
                let from = first.add(class * layout.spatial);
                let values = if self.lanes == V::LANES {
                    read::<V, D>(from)
                } else {
                    read_part::<V, D>(from, self.lanes)
                };
                values.store(to.add(class * V::LANES));
            }
        }
    }

    /// Writes the tile of logits to where the gradient goes.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub(super) unsafe fn write_tile<V: Lanes<Scalar = T::Sum> + Write<T>>(&self) {
        let layout = self.problem.layout;
        // SAFETY: promised by the caller.
        unsafe {
            if layout.spatial == 1 {
                let rows: [_; WIDTH] = std::array::from_fn(|lane| {
                    let row = self.row + lane.min(self.lanes - 1);
                    self.problem.output.add(row * layout.classes)
                });
                let mut class = 0;
                while class < layout.classes {
                    let count = MOST_LANES.min(layout.classes - class);
                    let from = self.logits.add(class * V::LANES);
                    V::write_columns(&rows[..self.lanes], class, count, from, V::LANES);
                    class += count;
                }
                return;
            }
            let first = self.problem.output.add(layout.first(self.row));
            for class in 0..layout.classes {
                let to = first.add(class * layout.spatial);
                let values = V::load(self.logits.add(class * V::LANES));
                if self.lanes == V::LANES {
                    <V as Write<T>>::write(values, to);
                } else {
                    <V as Write<T>>::write_part(values, to, self.lanes);
                }
            }
        }
    }

    /// Writes w_k·(u + s·d_k) of the rows to the tile of spread masses.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub(super) unsafe fn fill_spread<V: Lanes<Scalar = T::Sum> + Write<T>>(
        &self,
        targets: &LaneTargets<T::Sum>,
        uniform: V,
        mut dense: V,
    ) {
        let problem = self.problem;
        let classes = problem.layout.classes;
        // SAFETY: promised by the caller; the target was checked.
        unsafe {
            if let Some(shared) = &problem.shared_spread {
                for (class, &mass) in shared.iter().enumerate() {
                    V::splat(mass).store(self.spread.add(class * V::LANES));
                }
                return;
            }
            match problem.target.dense {
                Dense::None => {}
                Dense::Vector(values) => {
                    for (class, &value) in values.iter().enumerate() {
                        V::splat(value).store(self.spread.add(class * V::LANES));
                    }
                }
                Dense::Matrix(values) => {
                    let rows: [_; WIDTH] = std::array::from_fn(|lane| {
                        values[targets.classes[0][lane] * classes..].as_ptr()
                    });
                    columns::<V, T::Sum>(&rows[..V::LANES], classes, self.spread);
                    if problem.target.second.is_some() {
                        let second_dense = V::load(targets.second_dense.as_ptr());
                        for class in 0..classes {
                            let at = self.spread.add(class * V::LANES);
                            let of =
                                |lane: usize| values[targets.classes[1][lane] * classes + class];
                            let second: [_; WIDTH] = std::array::from_fn(of);
                            let second = V::load(second.as_ptr()).mul(second_dense);
                            V::load(at).mul_add(dense, second).store(at);
                        }
                        dense = V::splat(T::Sum::ONE);
                    }
                }
                Dense::Rows(DenseRows::F32(rows)) => {
                    self.read_tile::<V, _>(rows.as_ptr(), self.spread);
                }
                Dense::Rows(DenseRows::F64(rows)) => {
                    self.read_tile::<V, _>(rows.as_ptr(), self.spread);
                }
                Dense::Rows(DenseRows::Bf16(rows)) => {
                    self.read_tile::<V, _>(rows.as_ptr(), self.spread);
                }
                Dense::Rows(DenseRows::F16(rows)) => {
                    self.read_tile::<V, _>(rows.as_ptr(), self.spread);
                }
                Dense::Rows(DenseRows::Mask(rows)) => {
                    self.read_tile::<V, _>(rows.as_ptr(), self.spread);
                }
            }
            if problem.check.is_some() {
                self.check_rows::<V>(&targets.counts);
            }
            let has_dense = !matches!(problem.target.dense, Dense::None);
            for class in 0..classes {
                let at = self.spread.add(class * V::LANES);
                let mut mass =
                    if has_dense { V::load(at).mul_add(dense, uniform) } else { uniform };
                if let Some(weights) = problem.target.class_weights {
                    mass = mass.mul(V::splat(weights[class]));
                }
                mass.store(at);
            }
        }
    }

    /// Looks at the dense rows in the tile of spread masses.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn check_rows<V: Lanes<Scalar = T::Sum> + Write<T>>(&self, counts: &[bool; WIDTH]) {
        let mut least = V::splat(T::Sum::ONE);
        let mut sums = [0.0; WIDTH];
        let classes = self.problem.layout.classes;
        for start in (0..classes).step_by(RUN) {
            let mut sum = V::splat(T::Sum::ZERO);
            for class in start..classes.min(start + RUN) {
                // SAFETY: promised by the caller.
                let value = unsafe { V::load(self.spread.add(class * V::LANES)) };
                sum = sum.add(value);
                least = least.min(value);
            }
            add_lanes(&mut sums, sum);
        }
        let mut smallest = [T::Sum::ZERO; WIDTH];
        // SAFETY: no vector has more lanes.
        unsafe { least.store(smallest.as_mut_ptr()) }
        for lane in (0..self.lanes).filter(|&lane| counts[lane]) {
            self.problem.check_row(self.row + lane, sums[lane], smallest[lane].to_f64());
        }
    }
}

/// Transposes `LANES` rows of K elements into a tile.
///
/// # Safety
/// K elements can be read from each row, K vectors written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn columns<V: Lanes + Read<D>, D: Convert>(
    rows: &[*const D],
    classes: usize,
    to: *mut V::Scalar,
) {
    let mut class = 0;
    while class < classes {
        let count = MOST_LANES.min(classes - class);
        let to = to.wrapping_add(class * V::LANES);
        // SAFETY: promised by the caller.
        unsafe { <V as Read<D>>::read_columns(rows, class, count, to, V::LANES) }
        class += count;
    }
}
