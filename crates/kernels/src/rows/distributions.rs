//! Whether rows are distributions: one read of them, on all threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::target::{DenseRows, TargetError, check_length};
use super::threads::{Threads, for_ranges};

/// Why a row is no distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BadRow {
    /// A value that is negative or NaN.
    Value {
        /// The row.
        row: usize,
        /// The first class that has such a value.
        class: usize,
        /// The value.
        found: f64,
    },
    /// A sum that is not 1.
    Sum {
        /// The row.
        row: usize,
        /// The sum.
        found: f64,
    },
}

/// So many values are added up in their own arithmetic before the sum goes on in f64.
const BLOCK: usize = 512;

/// Sums side by side, which makes vectors of them.
const LANES: usize = 16;

/// The first of rows N×K×S that is no distribution: values that are negative or NaN, or a sum that is further from 1
/// than `tolerance`. Rows where `ignored` is true are not looked at, and a mask is never a bad row.
///
/// Row n·S + s has its values at (n·K + k)·S + s; S is 1 for rows that are contiguous.
///
/// # Errors
/// If the lengths do not fit: as many values as N·K·S, as many flags as N·S.
///
/// ```
/// use softlabel_kernels::rows::{BadRow, DenseRows, first_bad_row};
///
/// let rows = DenseRows::F32(&[0.5, 0.5, 0.75, 0.5]);
/// let bad = first_bad_row(rows, 2, 1, None, 1e-3, 1)?;
/// assert_eq!(bad, Some(BadRow::Sum { row: 1, found: 1.25 }));
/// assert_eq!(first_bad_row(rows, 2, 1, Some(&[false, true]), 1e-3, 1)?, None);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn first_bad_row(
    rows: DenseRows<'_>,
    classes: usize,
    spatial: usize,
    ignored: Option<&[bool]>,
    tolerance: f64,
    threads: impl Into<Threads>,
) -> Result<Option<BadRow>, TargetError> {
    let threads = threads.into();
    match rows {
        DenseRows::F32(rows) => first_bad_of(rows, classes, spatial, ignored, tolerance, threads),
        DenseRows::F64(rows) => first_bad_of(rows, classes, spatial, ignored, tolerance, threads),
        DenseRows::Bf16(rows) => first_bad_of(rows, classes, spatial, ignored, tolerance, threads),
        DenseRows::F16(rows) => first_bad_of(rows, classes, spatial, ignored, tolerance, threads),
        DenseRows::Mask(_) => Ok(None),
    }
}

fn first_bad_of<T: Element>(
    values: &[T],
    classes: usize,
    spatial: usize,
    ignored: Option<&[bool]>,
    tolerance: f64,
    threads: Threads,
) -> Result<Option<BadRow>, TargetError> {
    let per_item = classes.saturating_mul(spatial);
    if per_item == 0 {
        return if values.is_empty() { Ok(None) } else { Err(TargetError::NoClasses) };
    }
    let items = values.len() / per_item;
    check_length("rows", items * per_item, values.len())?;
    if let Some(ignored) = ignored {
        check_length("ignored", items * spatial, ignored.len())?;
    }
    let counts = |row: usize| !ignored.is_some_and(|ignored| ignored[row]);
    let first = AtomicUsize::new(usize::MAX);
    for_ranges(items, per_item, threads, |range| {
        for item in range {
            let values = &values[item * per_item..(item + 1) * per_item];
            let bad = if spatial == 1 {
                (counts(item) && !is_distribution(values, tolerance)).then_some(item)
            } else {
                let rows = (0..spatial).step_by(BLOCK);
                rows.flat_map(|start| {
                    let width = BLOCK.min(spatial - start);
                    let fits = columns_fit(values, spatial, start, width, tolerance);
                    (start..start + width).zip(fits).filter(|(_, fits)| !fits)
                })
                .map(|(column, _)| item * spatial + column)
                .find(|&row| counts(row))
            };
            if let Some(row) = bad {
                first.fetch_min(row, Ordering::Relaxed);
                return;
            }
        }
    });
    let row = first.into_inner();
    if row == usize::MAX {
        return Ok(None);
    }
    let start = row / spatial * per_item + row % spatial;
    let of_row = (0..classes).map(|class| values[start + class * spatial].to_f64());
    let bad = of_row.clone().position(|value| value.is_nan() || value < 0.0);
    Ok(Some(match bad {
        Some(class) => {
            let found = values[start + class * spatial].to_f64();
            BadRow::Value { row, class, found }
        }
        None => BadRow::Sum { row, found: of_row.sum() },
    }))
}

fn is_distribution<T: Element>(row: &[T], tolerance: f64) -> bool {
    let (mut sum, mut fits) = (0.0, true);
    for block in row.chunks(BLOCK) {
        let mut sums = [T::Sum::ZERO; LANES];
        let mut all = [true; LANES];
        let chunks = block.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                let value = T::Sum::widen(chunk[lane]);
                sums[lane] = sums[lane] + value;
                all[lane] &= value >= T::Sum::ZERO;
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            let value = T::Sum::widen(value);
            sums[lane] = sums[lane] + value;
            all[lane] &= value >= T::Sum::ZERO;
        }
        sum += sums.iter().map(|sum| sum.to_f64()).sum::<f64>();
        fits &= all.iter().all(|&fits| fits);
    }
    fits && (sum - 1.0).abs() <= tolerance
}

/// The same for rows that lie side by side.
fn columns_fit<T: Element>(
    values: &[T],
    spatial: usize,
    start: usize,
    width: usize,
    tolerance: f64,
) -> impl Iterator<Item = bool> {
    let (mut sums, mut all) = ([0.0; BLOCK], [true; BLOCK]);
    for class in values.chunks_exact(spatial) {
        let each = sums.iter_mut().zip(&mut all).zip(&class[start..start + width]);
        for ((sum, fits), value) in each {
            let value = value.to_f64();
            *sum += value;
            *fits &= value >= 0.0;
        }
    }
    sums.into_iter().zip(all).map(move |(sum, fits)| fits && (sum - 1.0).abs() <= tolerance)
}
