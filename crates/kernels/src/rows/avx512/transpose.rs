//! Columns of 16 rows at a time.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::element::sealed::Convert;
use super::super::vector::{Read, Write};
use super::Single;

// SAFETY of all that follows: as in the module above.

/// A 16×16 transposition: first pairs within 128 bits, then the quarters.
#[inline(always)]
unsafe fn transposed(rows: [__m512; 16]) -> [__m512; 16] {
    unsafe {
        let mut pairs = rows;
        for i in 0..8 {
            pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
        }
        // quads[4g + j]: column j of each quarter, of the rows 4g to 4g + 3.
        let mut quads = rows;
        for g in 0..4 {
            let p = |i: usize| _mm512_castps_pd(pairs[4 * g + i]);
            quads[4 * g] = _mm512_castpd_ps(_mm512_unpacklo_pd(p(0), p(2)));
            quads[4 * g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p(0), p(2)));
            quads[4 * g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(p(1), p(3)));
            quads[4 * g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(p(1), p(3)));
        }
        let mut columns = rows;
        for j in 0..4 {
            let (a, b, c, d) = (quads[j], quads[4 + j], quads[8 + j], quads[12 + j]);
            let ab_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let ab_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            let cd_even = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
            let cd_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
            columns[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, cd_even);
            columns[4 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd);
            columns[8 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, cd_even);
            columns[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd);
        }
        columns
    }
}

/// # Safety
/// As [`Read::read_columns`].
#[inline(always)]
pub(super) unsafe fn transpose_in<T: Convert>(
    rows: &[*const T],
    from: usize,
    count: usize,
    to: *mut f32,
    stride: usize,
) where
    Single: Read<T>,
{
    unsafe {
        let mut lanes = [_mm512_setzero_ps(); 16];
        for (lane, row) in lanes.iter_mut().zip(rows) {
            *lane = <Single as Read<T>>::read_part(row.add(from), count).0;
        }
        let columns = transposed(lanes);
        for j in 0..16 {
            if j < count {
                _mm512_storeu_ps(to.add(j * stride), columns[j]);
            }
        }
    }
}

/// # Safety
/// As [`Write::write_columns`].
#[inline(always)]
pub(super) unsafe fn transpose_out<T: Convert>(
    rows: &[*mut T],
    to: usize,
    count: usize,
    from: *const f32,
    stride: usize,
) where
    Single: Write<T>,
{
    unsafe {
        let mut columns = [_mm512_setzero_ps(); 16];
        for j in 0..16 {
            if j < count {
                columns[j] = _mm512_loadu_ps(from.add(j * stride));
            }
        }
        let values = transposed(columns);
        for (value, row) in values.into_iter().zip(rows) {
            <Single as Write<T>>::write_part(Single(value), row.add(to), count);
        }
    }
}
