//! Rows times numbers: gradients of upstream that arrive after the gradient of a row was written.

use std::mem::MaybeUninit;

use super::Scale;
use super::dispatch::{Instructions, Kernel};
use super::element::Element;
use super::element::sealed::Real;
use super::sweep::sweep;
use super::target::{TargetError, check_length};
use super::threads::{Threads, for_ranges};
use super::vector::{Lanes, Write, read, read_part};

/// Multiplies rows by numbers, in place.
///
/// In the arithmetic of [`Element::Sum`], rounded once; times 1 nothing is touched.
///
/// # Errors
/// If the rows do not divide the values, or their number is not that of the scales.
///
/// ```
/// use softlabel_kernels::rows::{Scale, scale_rows};
///
/// let mut values = [1.0f32, 2.0, 3.0, 4.0];
/// scale_rows(&mut values, 2, Scale::Rows(&[2.0, 0.5]), 1)?;
/// assert_eq!(values, [2.0, 4.0, 1.5, 2.0]);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn scale_rows<T: Element>(
    values: &mut [T],
    columns: usize,
    by: Scale<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let rows = count_rows(values.len(), columns, &by)?;
    if matches!(by, Scale::All(scale) if scale == T::Sum::ONE) {
        return Ok(());
    }
    let values = values.as_mut_ptr();
    run(&Product { from: values, to: values, columns, by }, rows, threads.into());
    Ok(())
}

/// Copies rows, each times a number.
///
/// As [`scale_rows`]; when this returns `Ok`, all of `to` has been written.
///
/// # Errors
/// As [`scale_rows`], and if the slices differ in length.
///
/// ```
/// use std::mem::MaybeUninit;
///
/// use softlabel_kernels::rows::{Scale, copy_scaled_rows};
///
/// let mut to = [MaybeUninit::uninit(); 2];
/// copy_scaled_rows(&[1.0f32, 2.0], &mut to, 2, Scale::All(3.0), 1)?;
/// // SAFETY: Ok means that all of it has been written.
/// assert_eq!(to.map(|value| unsafe { value.assume_init() }), [3.0, 6.0]);
/// # Ok::<(), softlabel_kernels::rows::TargetError>(())
/// ```
pub fn copy_scaled_rows<T: Element>(
    from: &[T],
    to: &mut [MaybeUninit<T>],
    columns: usize,
    by: Scale<T::Sum>,
    threads: impl Into<Threads>,
) -> Result<(), TargetError> {
    let rows = count_rows(from.len(), columns, &by)?;
    check_length("copy", from.len(), to.len())?;
    run(
        &Product { from: from.as_ptr(), to: to.as_mut_ptr().cast(), columns, by },
        rows,
        threads.into(),
    );
    Ok(())
}

/// How many rows there are.
fn count_rows<A>(values: usize, columns: usize, by: &Scale<A>) -> Result<usize, TargetError> {
    let rows = values.checked_div(columns).unwrap_or(0);
    check_length("values", rows * columns, values)?;
    if let Scale::Rows(scales) = by
        && columns > 0
    {
        check_length("scales", rows, scales.len())?;
    }
    Ok(rows)
}

/// Rows and what they are multiplied by.
///
/// Invariants: both pointers are those of as many rows, equal or without overlap; with a scale a
/// row there is one for each.
pub(crate) struct Product<'a, T: Element> {
    from: *const T,
    to: *mut T,
    columns: usize,
    by: Scale<'a, T::Sum>,
}

// SAFETY: what is behind the pointers may be sent and shared, and each row is written by one
// kernel alone.
#[allow(unsafe_code)]
unsafe impl<T: Element> Sync for Product<'_, T> {}

fn run<T: Element>(product: &Product<T>, rows: usize, threads: Threads) {
    let instructions = Instructions::current();
    for_ranges(rows, product.columns, threads, |range| {
        T::launch_scaling(instructions, ScaleRange { product, range });
    });
}

/// Some rows of a product.
pub(crate) struct ScaleRange<'a, 'b, T: Element> {
    product: &'a Product<'b, T>,
    range: std::ops::Range<usize>,
}

impl<T: Element> Kernel<T> for ScaleRange<'_, '_, T> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = T::Sum> + Write<T>>(self) {
        let Product { from, to, columns, by } = *self.product;
        match by {
            Scale::All(scale) => {
                let (first, size) = (self.range.start * columns, self.range.len() * columns);
                // SAFETY: these rows are the product's and this kernel's alone.
                #[allow(unsafe_code)]
                unsafe {
                    multiply::<T, V>(from.add(first), to.add(first), size, scale);
                }
            }
            Scale::Rows(scales) => {
                for row in self.range {
                    let first = row * columns;
                    // SAFETY: the row is the product's and this kernel's alone.
                    #[allow(unsafe_code)]
                    unsafe {
                        multiply::<T, V>(from.add(first), to.add(first), columns, scales[row]);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `size` elements can be read and written; the pointers are equal or what they point to does not
/// overlap.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn multiply<T, V>(from: *const T, to: *mut T, size: usize, scale: T::Sum)
where
    T: Element,
    V: Lanes<Scalar = T::Sum> + Write<T>,
{
    let scale = V::splat(scale);
    // SAFETY: offsets stay below `size`.
    unsafe {
        sweep!(size, V::LANES;
            (_slot, at) {
                let values = read::<V, T>(from.add(at));
                <V as Write<T>>::write(values.mul(scale), to.add(at));
            }
            (_slot, at, count) {
                let values = read_part::<V, T>(from.add(at), count);
                <V as Write<T>>::write_part(values.mul(scale), to.add(at), count);
            }
        );
    }
}
