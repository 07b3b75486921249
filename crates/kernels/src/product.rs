//! Matrix products and the softmax of many rows, in vectors.
//!
//! C ← C + AB, c_ij += Σ_l a_il b_lj, with A `[m, k]` read by strides, so that a transposed matrix
//! needs no copy, B `[k, n]` and C `[m, n]` row by row.
//!
//! A tile of six rows and two vectors of C stays in registers while l runs; k runs in panels, so
//! that the part of B that a column of tiles reads stays in the nearest cache.
//!
//! Numerical notes: `f64` with fused multiplication and addition where the processor has it; every
//! element of C is summed over l in ascending order within a panel of 256 and panel by panel,
//! whatever the shape.
//!
//! Source: the loops are those of K. Goto, R. A. van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication" (2008), without packing.

#![allow(unsafe_code)]

use crate::rows::dispatch::{Instructions, Kernel};
use crate::rows::element::sealed::Launch;
use crate::rows::sweep::sweep;
use crate::rows::vector::{Lanes, Write, read, read_part};

/// k runs so far before the next rows.
const PANEL: usize = 256;

/// Rows of a tile.
const TILE: usize = 6;

/// A matrix whose element (i, j) is `values[i·row + j·column]`.
///
/// ```
/// use softlabel_kernels::Strided;
/// let transposed = Strided { values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], row: 1, column: 3 };
/// assert_eq!(transposed.values[2 * transposed.row + transposed.column], 6.0);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// Where the elements are.
    pub values: &'a [f64],
    /// How far it is from one row to the next.
    pub row: usize,
    /// How far it is from one column to the next.
    pub column: usize,
}

/// Adds the product of `a` `[m, k]` and `b` `[k, n]` to `c` `[m, n]`; `shape` is \[m, k, n\].
///
/// `None`, with `c` as it was, if `b` or `c` has another number of elements, or an element of `a`
/// lies outside its slice.
///
/// ```
/// use softlabel_kernels::{Strided, add_product};
///
/// let a = Strided { values: &[1.0, 2.0, 3.0, 4.0], row: 2, column: 1 };
/// let mut c = [1.0, 0.0];
/// add_product(a, &[1.0, 10.0], &mut c, [2, 2, 1]).unwrap();
/// assert_eq!(c, [22.0, 43.0]);
/// assert!(add_product(a, &[1.0], &mut c, [2, 2, 1]).is_none());
/// ```
#[doc(alias = "gemm")]
pub fn add_product(a: Strided<'_>, b: &[f64], c: &mut [f64], shape: [usize; 3]) -> Option<()> {
    let [m, k, n] = shape;
    if b.len() != k.checked_mul(n)? || c.len() != m.checked_mul(n)? {
        return None;
    }
    if m == 0 || k == 0 || n == 0 {
        return Some(());
    }
    let last = (m - 1).checked_mul(a.row)?.checked_add((k - 1).checked_mul(a.column)?)?;
    if last >= a.values.len() {
        return None;
    }
    f64::launch(Instructions::current(), Product { a, b, c, shape });
    Some(())
}

/// Invariant: what [`add_product`] checks.
struct Product<'a> {
    a: Strided<'a>,
    b: &'a [f64],
    c: &'a mut [f64],
    shape: [usize; 3],
}

impl Kernel<f64> for Product<'_> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let [m, k, n] = self.shape;
        for from in (0..k).step_by(PANEL) {
            let depth = PANEL.min(k - from);
            let mut column = 0;
            while column < n {
                let left = n - column;
                let mut row = 0;
                while row < m {
                    // SAFETY: a tile ends at row m and column n at the latest and its panel at k, so
                    // by the invariant everything that it touches lies in the slices.
                    unsafe {
                        let a = self.a.values.as_ptr().add(row * self.a.row + from * self.a.column);
                        let b = self.b.as_ptr().add(from * n + column);
                        let c = self.c.as_mut_ptr().add(row * n + column);
                        let strides = [self.a.row, self.a.column, n];
                        let whole = m - row >= TILE;
                        match (left / V::LANES, whole) {
                            (0, true) => part::<V, TILE>(a, b, c, strides, depth, left),
                            (0, false) => part::<V, 1>(a, b, c, strides, depth, left),
                            (1, true) => tile::<V, TILE, 1>(a, b, c, strides, depth),
                            (1, false) => tile::<V, 1, 1>(a, b, c, strides, depth),
                            (_, true) => tile::<V, TILE, 2>(a, b, c, strides, depth),
                            (_, false) => tile::<V, 1, 2>(a, b, c, strides, depth),
                        }
                        row += if whole { TILE } else { 1 };
                    }
                }
                column += match left / V::LANES {
                    0 => left,
                    1 => V::LANES,
                    _ => 2 * V::LANES,
                };
            }
        }
    }
}

/// Adds to M rows and N vectors of C.
///
/// # Safety
/// `depth` columns of M rows of A, `depth` rows of N vectors of B and M rows of N vectors of C can
/// be accessed.
#[inline(always)]
unsafe fn tile<V: Lanes<Scalar = f64> + Write<f64>, const M: usize, const N: usize>(
    a: *const f64,
    b: *const f64,
    c: *mut f64,
    [row, column, width]: [usize; 3],
    depth: usize,
) {
    let mut sums = [[V::splat(0.0); N]; M];
    for l in 0..depth {
        // SAFETY: promised by the caller.
        unsafe {
            let mut values = [V::splat(0.0); N];
            for (j, value) in values.iter_mut().enumerate() {
                *value = read::<V, f64>(b.add(l * width + j * V::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = V::splat(*a.add(i * row + l * column));
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = value.mul_add(factor, *sum);
                }
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: promised by the caller.
            unsafe {
                let to = c.add(i * width + j * V::LANES);
                read::<V, f64>(to).add(sum).write(to);
            }
        }
    }
}

/// Adds to M rows and `count` columns of C, fewer than a vector has.
///
/// # Safety
/// As [`tile`], with `count` numbers for a vector.
#[inline(always)]
unsafe fn part<V: Lanes<Scalar = f64> + Write<f64>, const M: usize>(
    a: *const f64,
    b: *const f64,
    c: *mut f64,
    [row, column, width]: [usize; 3],
    depth: usize,
    count: usize,
) {
    let mut sums = [V::splat(0.0); M];
    for l in 0..depth {
        // SAFETY: promised by the caller.
        unsafe {
            let value = read_part::<V, f64>(b.add(l * width), count);
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = value.mul_add(V::splat(*a.add(i * row + l * column)), *sum);
            }
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        // SAFETY: promised by the caller.
        unsafe {
            let to = c.add(i * width);
            read_part::<V, f64>(to, count).add(sum).write_part(to, count);
        }
    }
}

/// Replaces every row of `values` by its softmax, and writes the log-sum-exp of every row.
///
/// `values` are `[rows, classes]`, `log_totals` has one number a row.
/// −∞ is a class that cannot be and gets 0; a row without a finite value becomes NaN.
/// `None`, with everything as it was, if the shapes do not fit.
///
/// ```
/// use softlabel_kernels::softmax_rows;
///
/// let mut values = [0.0, 3.0f64.ln(), 5.0, f64::NEG_INFINITY];
/// let mut log_totals = [0.0; 2];
/// softmax_rows(&mut values, 2, &mut log_totals).unwrap();
/// assert!((values[1] - 0.75).abs() < 1e-15 && values[2..] == [1.0, 0.0]);
/// assert!((log_totals[0] - 4.0f64.ln()).abs() < 1e-15 && log_totals[1] == 5.0);
/// ```
pub fn softmax_rows(values: &mut [f64], classes: usize, log_totals: &mut [f64]) -> Option<()> {
    if classes == 0 || values.len() != classes.checked_mul(log_totals.len())? {
        return None;
    }
    f64::launch(Instructions::current(), Softmax { values, classes, log_totals });
    Some(())
}

/// Invariant: `values` holds `log_totals.len()` rows of `classes` > 0 numbers.
struct Softmax<'a> {
    values: &'a mut [f64],
    classes: usize,
    log_totals: &'a mut [f64],
}

impl Kernel<f64> for Softmax<'_> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let rows = self.values.chunks_exact_mut(self.classes);
        for (row, log_total) in rows.zip(self.log_totals) {
            let size = row.len();
            let at_all = row.as_mut_ptr();
            let mut highest = [V::splat(f64::NEG_INFINITY); 4];
            // SAFETY: offsets stay below the length of the row.
            unsafe {
                sweep!(size, V::LANES;
                    (slot, at) {
                        highest[slot] = highest[slot].max(read::<V, f64>(at_all.add(at)));
                    }
                    (slot, at, count) {
                        let values = read_part::<V, f64>(at_all.add(at), count);
                        highest[slot] = highest[slot].max(values.keep(count, f64::NEG_INFINITY));
                    }
                );
            }
            let [a, b, c, d] = highest;
            let highest = a.max(b).max(c.max(d)).largest();
            let shift = V::splat(-highest);
            let mut totals = [V::splat(0.0); 4];
            // SAFETY: offsets stay below the length of the row.
            unsafe {
                sweep!(size, V::LANES;
                    (slot, at) {
                        let power = read::<V, f64>(at_all.add(at)).add(shift).exp();
                        totals[slot] = totals[slot].add(power);
                        power.write(at_all.add(at));
                    }
                    (slot, at, count) {
                        let values = read_part::<V, f64>(at_all.add(at), count).add(shift);
                        let power = values.keep(count, f64::NEG_INFINITY).exp();
                        totals[slot] = totals[slot].add(power);
                        power.write_part(at_all.add(at), count);
                    }
                );
            }
            let [a, b, c, d] = totals;
            let total = a.add(b).add(c.add(d)).sum();
            *log_total = highest + total.ln();
            let share = V::splat(total.recip());
            // SAFETY: offsets stay below the length of the row.
            unsafe {
                sweep!(size, V::LANES;
                    (_slot, at) {
                        read::<V, f64>(at_all.add(at)).mul(share).write(at_all.add(at));
                    }
                    (_slot, at, count) {
                        let values = read_part::<V, f64>(at_all.add(at), count).mul(share);
                        values.write_part(at_all.add(at), count);
                    }
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::with_cpu_features;
    use crate::{log_sum_exp, softmax_in_place};

    const FEATURES: [&str; 3] = ["avx512", "avx2", "portable"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// The formula, for every shape, transposed or not, with every set of instructions.
        #[test]
        fn products_are_those_of_the_formula(
            m in 1..20usize,
            k in prop_oneof![1..20usize, 250..270usize],
            n in 1..40usize,
            transposed: bool,
            seed in prop::collection::vec(-2.0..2.0f64, 97),
        ) {
            let numbers = |count: usize, from: usize| -> Vec<f64> {
                seed.iter().copied().cycle().skip(from).take(count).collect()
            };
            let (a, b, c) = (numbers(m * k, 0), numbers(k * n, 31), numbers(m * n, 62));
            let (row, column) = if transposed { (1, m) } else { (k, 1) };
            for features in FEATURES {
                let mut found = c.clone();
                let a = Strided { values: &a, row, column };
                let product = || add_product(a, &b, &mut found, [m, k, n]);
                if with_cpu_features(features, product).is_none() {
                    continue;
                }
                for i in 0..m {
                    for j in 0..n {
                        let sum: f64 =
                            (0..k).map(|l| a.values[i * row + l * column] * b[l * n + j]).sum();
                        let expected = c[i * n + j] + sum;
                        prop_assert!((found[i * n + j] - expected).abs() < 1e-12);
                    }
                }
            }
        }

        #[test]
        fn rows_are_those_of_the_plain_softmax(
            classes in 1..40usize,
            values in prop::collection::vec(-50.0..50.0f64, 40..200),
            masked in 0..3usize,
        ) {
            let rows = values.len() / classes;
            let mut values = values[..rows * classes].to_vec();
            for row in values.chunks_mut(classes) {
                row.iter_mut().skip(1).take(masked).for_each(|value| *value = f64::NEG_INFINITY);
            }
            for features in FEATURES {
                let (mut found, mut totals) = (values.clone(), vec![0.0; rows]);
                let softmax = || softmax_rows(&mut found, classes, &mut totals);
                if with_cpu_features(features, softmax).is_none() {
                    continue;
                }
                for ((row, found), total) in
                    values.chunks(classes).zip(found.chunks(classes)).zip(totals)
                {
                    let mut expected = row.to_vec();
                    softmax_in_place(&mut expected);
                    prop_assert!((total - log_sum_exp(row)).abs() < 1e-13);
                    for (found, expected) in found.iter().zip(expected) {
                        prop_assert!((found - expected).abs() <= 1e-14 * expected);
                    }
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit() {
        let a = Strided { values: &[1.0; 4], row: 2, column: 1 };
        assert!(add_product(a, &[1.0; 2], &mut [0.0; 3], [3, 2, 1]).is_none());
        assert!(add_product(a, &[1.0; 3], &mut [0.0; 2], [2, 3, 1]).is_none());
        assert!(add_product(a, &[], &mut [0.0; 2], [2, 0, 1]).is_some());
        assert!(add_product(a, &[1.0; 2], &mut [0.0; 1], [2, 2, 1]).is_none());
        assert!(softmax_rows(&mut [0.0; 3], 2, &mut [0.0; 2]).is_none());
        assert!(softmax_rows(&mut [], 0, &mut []).is_none());
    }
}
