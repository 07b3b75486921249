//! Columns of 16 rows at a time, and what their rows come to.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::element::sealed::Convert;
use super::super::vector::{Read, Vector, Write};
use super::{Double, Single};

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

/// A function that takes what is read of each of some rows, one after the other, together, lane by lane, and then the
/// lanes of each row: a transposition that joins what it would put side by side.
///
/// Functions of their own: inlined, the addresses of all rows of all calls are computed first, and spilled.
macro_rules! row_fold {
    (
        $(#[$doc:meta])* $name:ident$(<$generic:ident>)?($element:ty) -> $vector:ident, $rows:literal, $fill:expr,
        $join:ident, $fold:ident
    ) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The processor has the instructions, and the rows can be read.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        #[inline(never)]
        pub(super) unsafe fn $name$(<$generic: Convert>)?(
            rows: *const $element,
            columns: usize,
        ) -> $vector
        where
            $vector: Read<$element>,
        {
            unsafe {
                let last = columns.saturating_sub(1) / $rows * $rows;
                let mut folded = [$vector::splat($fill); $rows];
                let mut row = rows.wrapping_add(last);
                for folded in &mut folded {
                    let part = <$vector as Read<$element>>::read_part(row, columns - last);
                    *folded = part.keep(columns - last, $fill);
                    row = row.wrapping_add(columns);
                }
                for at in (0..last).step_by($rows) {
                    let mut row = rows.add(at);
                    for folded in &mut folded {
                        let part = <$vector as Read<$element>>::read(row);
                        *folded = $vector($join(folded.0, part.0));
                        row = row.wrapping_add(columns);
                    }
                }
                $fold!($join, $vector, folded)
            }
        }
    };
}

/// Neighbours within 128 bits twice, then neighbouring quarters twice.
macro_rules! sixteen {
    ($join:ident, $vector:ident, $rows:ident) => {{
        let mut pairs = [_mm512_setzero_pd(); 8];
        for (i, pair) in pairs.iter_mut().enumerate() {
            let (a, b) = ($rows[2 * i].0, $rows[2 * i + 1].0);
            *pair = _mm512_castps_pd($join(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
        }
        let mut quads = [_mm512_setzero_ps(); 4];
        for (i, quad) in quads.iter_mut().enumerate() {
            let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
            let low = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            *quad = $join(low, _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
        }
        let [a, b, c, d] = quads;
        let (first, second) = (
            quarters!($join, _mm512_shuffle_f32x4, a, b),
            quarters!($join, _mm512_shuffle_f32x4, c, d),
        );
        $vector(quarters!($join, _mm512_shuffle_f32x4, first, second))
    }};
}

/// Neighbours within 128 bits, then neighbouring quarters twice.
macro_rules! eight {
    ($join:ident, $vector:ident, $rows:ident) => {{
        let mut pairs = [_mm512_setzero_pd(); 4];
        for (i, pair) in pairs.iter_mut().enumerate() {
            let (a, b) = ($rows[2 * i].0, $rows[2 * i + 1].0);
            *pair = $join(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        }
        let [a, b, c, d] = pairs;
        let (first, second) = (
            quarters!($join, _mm512_shuffle_f64x2, a, b),
            quarters!($join, _mm512_shuffle_f64x2, c, d),
        );
        $vector(quarters!($join, _mm512_shuffle_f64x2, first, second))
    }};
}

/// Neighbouring quarters, those of the first vector and then of the second.
macro_rules! quarters {
    ($join:ident, $shuffle:ident, $a:expr, $b:expr) => {
        $join($shuffle::<0b10_00_10_00>($a, $b), $shuffle::<0b11_01_11_01>($a, $b))
    };
}

row_fold!(
    /// Lane i is the largest element of row i.
    row_maxima<T>(T) -> Single, 16, f32::NEG_INFINITY, _mm512_max_ps, sixteen
);
row_fold!(
    /// Lane i is the sum of row i.
    row_sums(f32) -> Single, 16, 0.0, _mm512_add_ps, sixteen
);
row_fold!(
    /// Lane i is the largest element of row i.
    double_row_maxima(f64) -> Double, 8, f64::NEG_INFINITY, _mm512_max_pd, eight
);
row_fold!(
    /// Lane i is the sum of row i.
    double_row_sums(f64) -> Double, 8, 0.0, _mm512_add_pd, eight
);
