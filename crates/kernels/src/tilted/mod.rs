//! What a fit of the temperature needs of many rows, in vectors and in threads.
//!
//! Over rows n with the highest logit m_n, differences d_nk = z_nk − m_n, a target whose mean
//! difference is g_n = Σ_k t_nk d_nk (d_ny for a label y) and a weight w_n:
//!
//! L(β) = Σ w_n \[ln Σ_k e^{βd_k} − βg_n\], L′(β) = Σ w_n \[κ_1 − g_n\], L″(β) = Σ w_n κ_2, and so on
//!
//! with κ_j the j-th cumulant of d under q ∝ e^{βd}: its mean, its variance, its third central
//! moment, ….
//! Six derivatives cost little more than one: what takes time is the exponential.
//!
//! A pass reads each logit once: the highest of a row is found, and its exponentials and their sums are
//! taken while it is in the nearest cache.
//! Of a sample, every so many-th row is read where it lies.
//!
//! Numerical notes: `f64` throughout, whatever the type of the logits; exponentials to a unit in the
//! last place or two; a few rows are summed at a time and these sums compensated, in an order that
//! does not depend on the number of threads.
//! A class with z = −∞ cannot be; like every class with e^{βd} < 2⁻⁶⁰⁰ it adds 2⁻⁶⁰⁰ times a power of d, which no sum notices.
//! NaN among the logits makes the sums NaN; the highest of its row is NaN if it comes first, and else that of the numbers.
//! Cumulants come from moments about m_n; since −βE_q\[d\] is at most the logarithm of the number
//! of classes, little is lost.
//!
//! Source: the derivatives are those of any exponential family; see [`TiltedMoments`] for one row.
//!
//! [`TiltedMoments`]: crate::TiltedMoments

mod group;
mod row;

use std::ops::Range;

use rayon::prelude::*;

use crate::CompensatedSum;
use crate::rows::dispatch::{Instructions, Kernel};
use crate::rows::element::sealed::Launch;
use crate::rows::vector::{Lanes, Vector, Write};
use group::Group;
use row::{RowSums, Tilt, highest, mean_distance, unshared};

/// A thread takes about so many logits at a time.
const BLOCK: usize = 1 << 16;

/// So many bytes ahead are fetched.
const AHEAD: usize = 1 << 12;

/// So many derivatives are taken.
const ORDER: usize = 6;

/// A sum of a row is off by less, over its size.
const ROUNDING: f64 = 1e-12;

/// Rows of a matrix: all of them, or every so many-th.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    values: &'a [T],
    classes: usize,
    step: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Of `values`, `[n, classes]` row by row, those with the numbers 0, `step`, 2·`step`, …; what does not
    /// fill a row is left out, and a step of 0 is one of 1.
    ///
    /// ```
    /// use softlabel_kernels::Rows;
    /// assert_eq!(Rows::new(&[0.0f32; 10], 2, 1).len(), 5);
    /// assert_eq!(Rows::new(&[0.0f32; 10], 2, 3).len(), 2);
    /// ```
    pub fn new(values: &'a [T], classes: usize, step: usize) -> Self {
        Self { values, classes, step: step.max(1) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.classes).unwrap_or(0).div_ceil(self.step)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row that there is.
    #[inline(always)]
    fn row(&self, index: usize) -> &'a [T] {
        &self.values[index * self.step * self.classes..][..self.classes]
    }

    /// Has what lies a little beyond a row fetched, so that nobody waits for it.
    #[inline(always)]
    fn prefetch<V: Vector>(&self, index: usize) {
        let values = self.row(index);
        let line = (64 / size_of::<T>()).max(1);
        let rows_ahead = (AHEAD / size_of_val(values).max(1)).max(1);
        let ahead = values.as_ptr().wrapping_add(rows_ahead * self.step * self.classes);
        for at in (0..self.classes).step_by(line) {
            V::prefetch(ahead.wrapping_add(at));
        }
    }

    /// The numbers of the rows, some neighbours at a time.
    fn blocks(&self) -> impl IndexedParallelIterator<Item = Range<usize>> + use<T> {
        let count = (BLOCK / self.classes.max(1)).max(1);
        let rows = self.len();
        let blocks = (0..rows.div_ceil(count)).into_par_iter();
        blocks.map(move |block| block * count..((block + 1) * count).min(rows))
    }
}

/// What rows of logits look like before anything is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSurvey {
    /// m_n, the highest logit of every row; −∞ if no value is above it.
    pub highest: Vec<f64>,
    /// g_n of every row.
    pub gaps: Vec<f64>,
    /// Σ_n w_n mean_k (m_n − z_nk), over the classes that can be.
    pub spread: f64,
    /// L(1), if it was asked for.
    pub unscaled: Option<f64>,
    /// L and its derivatives at the β that was asked for.
    pub sums: TiltedSums,
}

impl RowSurvey {
    /// Looks at rows, once.
    ///
    /// `gap` gives g_n, of the number of a row, its logits and their maximum; `weights` are the w_n, 1
    /// without or beyond their end; the sums are those at β = `inverse_temperature` > 0, and `unscaled` asks for
    /// L(1) beside them.
    ///
    /// ```
    /// use softlabel_kernels::{RowSurvey, Rows};
    /// // The label is 0 in both rows.
    /// let gap = |_: usize, row: &[f32], highest: f64| f64::from(row[0]) - highest;
    /// let rows = Rows::new(&[1.0f32, 3.0, 0.0, f32::NEG_INFINITY], 2, 1);
    /// let survey = RowSurvey::new(rows, gap, None, 0.5, true);
    /// assert_eq!((survey.highest, survey.gaps, survey.spread), (vec![3.0, 0.0], vec![-2.0, 0.0], 1.0));
    /// let expected = 2.0 + (-2.0f64).exp().ln_1p();
    /// assert!((survey.unscaled.unwrap() - expected).abs() < 1e-15);
    /// let expected = 1.0 + (-1.0f64).exp().ln_1p();
    /// assert!((survey.sums.cross_entropy - expected).abs() < 1e-15);
    /// ```
    pub fn new<T: Copy + Into<f64> + PartialOrd + Sync>(
        rows: Rows<'_, T>,
        gap: impl Fn(usize, &[T], f64) -> f64 + Sync,
        weights: Option<&[f64]>,
        inverse_temperature: f64,
        unscaled: bool,
    ) -> Self {
        let instructions = Instructions::current();
        let (gap, beta) = (&gap, inverse_temperature);
        let parts = rows.blocks().map(|range| {
            let mut part = Part::default();
            let survey = Survey { rows, range, gap, weights, beta, unscaled, part: &mut part };
            f64::launch(instructions, survey);
            part
        });
        let mut all = Part::default();
        for part in parts.collect::<Vec<_>>() {
            all.highest.extend(part.highest);
            all.gaps.extend(part.gaps);
            all.spread.merge(part.spread);
            all.unscaled.merge(part.unscaled);
            all.sums.merge(&part.sums);
        }
        let Part { highest, gaps, spread, unscaled: sum, sums } = all;
        let unscaled = unscaled.then_some(sum.value());
        Self { highest, gaps, spread: spread.value(), unscaled, sums: sums.value() }
    }
}

/// L and its derivatives at one β, summed over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TiltedSums {
    /// L(β).
    pub cross_entropy: f64,
    /// L′(β), L″(β), …; the second is never negative.
    pub derivatives: [f64; ORDER],
}

impl TiltedSums {
    /// The sums over rows at β = `inverse_temperature` > 0.
    ///
    /// `highest` are the m_n, as [`RowSurvey`] has them, `gaps` the g_n, `weights` the w_n, 1
    /// without.
    /// `None` if there is not one of each a row.
    ///
    /// ```
    /// use softlabel_kernels::{Rows, TiltedSums};
    ///
    /// // Two rows [0, −2] with the labels 1 and 0.
    /// let rows = Rows::new(&[0.0f32, -2.0, 0.0, -2.0], 2, 1);
    /// let sums = TiltedSums::new(rows, &[0.0; 2], &[-2.0, 0.0], None, 1.0).unwrap();
    /// let q = 1.0 / (1.0 + 2.0f64.exp()); // of the second class
    /// assert!((sums.cross_entropy + q.ln() + (1.0 - q).ln()).abs() < 1e-15);
    /// let [slope, curvature, third, ..] = sums.derivatives;
    /// assert!((slope - (2.0 - 4.0 * q)).abs() < 1e-15);
    /// assert!((curvature - 8.0 * q * (1.0 - q)).abs() < 1e-15);
    /// assert!((third + 16.0 * q * (1.0 - q) * (1.0 - 2.0 * q)).abs() < 1e-14);
    /// ```
    pub fn new<T: Copy + Into<f64> + Sync>(
        rows: Rows<'_, T>,
        highest: &[f64],
        gaps: &[f64],
        weights: Option<&[f64]>,
        inverse_temperature: f64,
    ) -> Option<Self> {
        let count = rows.len();
        if highest.len() != count
            || gaps.len() != count
            || weights.is_some_and(|weights| weights.len() != count)
        {
            return None;
        }
        let instructions = Instructions::current();
        let parts = rows.blocks().map(|range| {
            let mut sums = Sums::default();
            let beta = inverse_temperature;
            let again = Again { rows, range, highest, gaps, weights, beta, sums: &mut sums };
            f64::launch(instructions, again);
            sums
        });
        let mut sums = Sums::default();
        parts.collect::<Vec<_>>().iter().for_each(|part| sums.merge(part));
        Some(sums.value())
    }
}

/// L and its derivatives while they are summed.
#[derive(Debug, Clone, Copy, Default)]
struct Sums([CompensatedSum; ORDER + 1]);

impl Sums {
    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| sum.merge(other));
    }

    fn value(&self) -> TiltedSums {
        let [cross_entropy, derivatives @ ..] = self.0.map(CompensatedSum::value);
        TiltedSums { cross_entropy, derivatives }
    }
}

/// What a survey finds out about a block.
#[derive(Default)]
struct Part {
    highest: Vec<f64>,
    gaps: Vec<f64>,
    spread: CompensatedSum,
    /// 0 if nobody asked.
    unscaled: CompensatedSum,
    sums: Sums,
}

/// The first look at some rows.
struct Survey<'a, T, G> {
    rows: Rows<'a, T>,
    range: Range<usize>,
    gap: &'a G,
    weights: Option<&'a [f64]>,
    beta: f64,
    unscaled: bool,
    part: &'a mut Part,
}

impl<T, G> Kernel<f64> for Survey<'_, T, G>
where
    T: Copy + Into<f64> + PartialOrd,
    G: Fn(usize, &[T], f64) -> f64,
{
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let Self { rows, range, gap, weights, beta, unscaled, part } = self;
        let (tilt, upright) =
            (Tilt::<V>::new(beta), (unscaled && beta != 1.0).then(|| Tilt::<V>::new(1.0)));
        let unshared = unshared::<V>(rows.classes);
        let [mut group, mut before] = [Group::EMPTY; 2];
        part.highest.reserve_exact(range.len());
        part.gaps.reserve_exact(range.len());
        for index in range {
            rows.prefetch::<V>(index);
            let row = rows.row(index);
            let highest = highest(row);
            let (gap, weight) = (gap(index, row, highest), weight(weights, index));
            part.highest.push(highest);
            part.gaps.push(gap);
            let sums = RowSums::new::<V, T>(row, highest, unshared, tilt, upright);
            let mean = sums.distance / rows.classes as f64;
            // Not where a class cannot be, nor where the difference may be nothing but rounding.
            let is_known = mean > ROUNDING * highest.abs() && mean < f64::INFINITY;
            let distance = if is_known { mean } else { mean_distance(row, highest) };
            part.spread.add(weight * distance);
            if upright.is_some() {
                before.push([sums.upright], gap, weight);
                before.add_cross_entropy_if_full(&mut part.unscaled);
            }
            group.push(sums.moments, gap, weight);
            group.add_if_full(beta, &mut part.sums);
        }
        before.add_cross_entropy(&mut part.unscaled);
        group.add(beta, &mut part.sums);
        if unscaled && upright.is_none() {
            part.unscaled = part.sums.0[0];
        }
    }
}

/// Another look at some rows, each with its highest and its gap.
struct Again<'a, T> {
    rows: Rows<'a, T>,
    range: Range<usize>,
    highest: &'a [f64],
    gaps: &'a [f64],
    weights: Option<&'a [f64]>,
    beta: f64,
    sums: &'a mut Sums,
}

impl<T: Copy + Into<f64>> Kernel<f64> for Again<'_, T> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let Self { rows, range, highest, gaps, weights, beta, sums } = self;
        let tilt = Tilt::<V>::new(beta);
        let (mut group, unshared) = (Group::EMPTY, unshared::<V>(rows.classes));
        for index in range {
            rows.prefetch::<V>(index);
            let row = rows.row(index);
            let row = RowSums::new::<V, T>(row, highest[index], unshared, tilt, None);
            group.push(row.moments, gaps[index], weight(weights, index));
            group.add_if_full(beta, sums);
        }
        group.add(beta, sums);
    }
}

#[inline(always)]
fn weight(weights: Option<&[f64]>, row: usize) -> f64 {
    match weights {
        Some(weights) if row < weights.len() => weights[row],
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests;
