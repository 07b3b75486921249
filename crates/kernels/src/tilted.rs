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
//! A pass reads each logit once: a row is widened to `f64`, and its exponentials and their sums are
//! taken while it is in the nearest cache.
//!
//! Numerical notes: `f64` throughout, whatever the type of the logits; exponentials to a unit in the
//! last place or two; a few rows are summed at a time and these sums compensated, in an order that
//! does not depend on the number of threads.
//! A class with z = −∞ cannot be and adds nothing.
//! Cumulants come from moments about m_n; since −βE_q\[d\] is at most the logarithm of the number
//! of classes, little is lost.
//!
//! Source: the derivatives are those of any exponential family; see [`TiltedMoments`] for one row.
//!
//! [`TiltedMoments`]: crate::TiltedMoments

use rayon::prelude::*;

use crate::CompensatedSum;
use crate::rows::dispatch::{Instructions, Kernel};
use crate::rows::element::sealed::Launch;
use crate::rows::exponential::ln;
use crate::rows::sweep::sweep;
use crate::rows::vector::{Lanes, Write, most, read, read_part, sum_of};

/// A thread takes about so many logits at a time.
const BLOCK: usize = 1 << 16;

/// So many rows are summed before compensation.
const GROUP: usize = 16;

/// So many derivatives are taken.
const ORDER: usize = 6;

/// A sum of a row is off by less, over its size.
const ROUNDING: f64 = 1e-12;

/// In place of differences of −∞: the weight is 0, and so is its product with the fourth power.
const FAR: f64 = -1e70;

/// What the rows of a matrix of logits look like before anything is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSurvey {
    /// m_n, the highest logit of every row; −∞ if no value is above it.
    pub highest: Vec<f64>,
    /// g_n of every row.
    pub gaps: Vec<f64>,
    /// Σ_n w_n mean_k (m_n − z_nk), over the classes that can be.
    pub spread: f64,
    /// L(1).
    pub cross_entropy: f64,
    /// L and its derivatives at the β that was asked for.
    pub sums: TiltedSums,
}

impl RowSurvey {
    /// Looks at `rows`, `[n, classes]` row by row, once; what does not fill a row is left out.
    ///
    /// `gap` gives g_n, of the number of a row, its logits and their maximum; `weights` are the w_n, 1
    /// without or beyond their end; the sums are those at β = `inverse_temperature` > 0.
    ///
    /// ```
    /// use softlabel_kernels::RowSurvey;
    /// // The label is 0 in both rows.
    /// let gap = |_: usize, row: &[f64], highest: f64| row[0] - highest;
    /// let rows = [1.0f32, 3.0, 0.0, f32::NEG_INFINITY];
    /// let survey = RowSurvey::new(&rows, 2, gap, None, 0.5);
    /// assert_eq!((survey.highest, survey.gaps, survey.spread), (vec![3.0, 0.0], vec![-2.0, 0.0], 1.0));
    /// let expected = 2.0 + (-2.0f64).exp().ln_1p();
    /// assert!((survey.cross_entropy - expected).abs() < 1e-15);
    /// let expected = 1.0 + (-1.0f64).exp().ln_1p();
    /// assert!((survey.sums.cross_entropy - expected).abs() < 1e-15);
    /// ```
    pub fn new<T: Copy + Into<f64> + Sync>(
        rows: &[T],
        classes: usize,
        gap: impl Fn(usize, &[f64], f64) -> f64 + Sync,
        weights: Option<&[f64]>,
        inverse_temperature: f64,
    ) -> Self {
        let instructions = Instructions::current();
        let (gap, beta) = (&gap, inverse_temperature);
        let parts = blocks(rows, classes).map(|(start, rows)| {
            let mut part = Part::default();
            let survey = Survey { rows, classes, start, gap, weights, beta, part: &mut part };
            f64::launch(instructions, survey);
            part
        });
        let mut all = Part::default();
        for part in parts.collect::<Vec<_>>() {
            all.highest.extend(part.highest);
            all.gaps.extend(part.gaps);
            all.spread.merge(part.spread);
            all.cross_entropy.merge(part.cross_entropy);
            all.sums.merge(&part.sums);
        }
        let Part { highest, gaps, spread, cross_entropy, sums } = all;
        let (spread, cross_entropy) = (spread.value(), cross_entropy.value());
        Self { highest, gaps, spread, cross_entropy, sums: sums.value() }
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
    /// The sums over `rows`, `[n, classes]` row by row, at β = `inverse_temperature` > 0.
    ///
    /// `highest` are the m_n, as [`RowSurvey`] has them, `gaps` the g_n, `weights` the w_n, 1
    /// without.
    /// `None` if there is not one of each a row, or if `classes` does not divide the values.
    ///
    /// ```
    /// use softlabel_kernels::TiltedSums;
    ///
    /// // Two rows [0, −2] with the labels 1 and 0.
    /// let rows = [0.0f32, -2.0, 0.0, -2.0];
    /// let sums = TiltedSums::new(&rows, 2, &[0.0; 2], &[-2.0, 0.0], None, 1.0).unwrap();
    /// let q = 1.0 / (1.0 + 2.0f64.exp()); // of the second class
    /// assert!((sums.cross_entropy + q.ln() + (1.0 - q).ln()).abs() < 1e-15);
    /// let [slope, curvature, third, ..] = sums.derivatives;
    /// assert!((slope - (2.0 - 4.0 * q)).abs() < 1e-15);
    /// assert!((curvature - 8.0 * q * (1.0 - q)).abs() < 1e-15);
    /// assert!((third + 16.0 * q * (1.0 - q) * (1.0 - 2.0 * q)).abs() < 1e-14);
    /// ```
    pub fn new<T: Copy + Into<f64> + Sync>(
        rows: &[T],
        classes: usize,
        highest: &[f64],
        gaps: &[f64],
        weights: Option<&[f64]>,
        inverse_temperature: f64,
    ) -> Option<Self> {
        let count = highest.len();
        if rows.len() != count.checked_mul(classes)?
            || gaps.len() != count
            || weights.is_some_and(|weights| weights.len() != count)
        {
            return None;
        }
        let instructions = Instructions::current();
        let parts = blocks(rows, classes).map(|(start, rows)| {
            let mut sums = Sums::default();
            let beta = inverse_temperature;
            let again =
                Again { rows, classes, start, highest, gaps, weights, beta, sums: &mut sums };
            f64::launch(instructions, again);
            sums
        });
        let mut sums = Sums::default();
        parts.collect::<Vec<_>>().iter().for_each(|part| sums.merge(part));
        Some(sums.value())
    }
}

/// Blocks of whole rows, each with the number of its first row.
fn blocks<T: Sync>(
    rows: &[T],
    classes: usize,
) -> impl IndexedParallelIterator<Item = (usize, &[T])> {
    let count = (BLOCK / classes.max(1)).max(1);
    let whole = rows.len().checked_div(classes).unwrap_or(0) * classes;
    rows[..whole]
        .par_chunks(count * classes.max(1))
        .enumerate()
        .map(move |(index, block)| (index * count, block))
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
    cross_entropy: CompensatedSum,
    sums: Sums,
}

/// The first look at a block, of whole rows.
struct Survey<'a, T, G> {
    rows: &'a [T],
    classes: usize,
    start: usize,
    gap: &'a G,
    weights: Option<&'a [f64]>,
    beta: f64,
    part: &'a mut Part,
}

impl<T, G> Kernel<f64> for Survey<'_, T, G>
where
    T: Copy + Into<f64>,
    G: Fn(usize, &[f64], f64) -> f64,
{
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let Self { rows, classes, start, gap, weights, beta, part } = self;
        let mut wide = vec![0.0; classes];
        let [mut group, mut before] = [Group::EMPTY; 2];
        for (index, row) in (start..).zip(rows.chunks_exact(classes)) {
            widen(row, &mut wide);
            let (highest, sum) = overview::<V>(&wide);
            let (gap, weight) = (gap(index, &wide, highest), weight(weights, index));
            part.highest.push(highest);
            part.gaps.push(gap);
            let mean = highest - sum / classes as f64;
            // Not where a class cannot be, nor where the difference may be nothing but rounding.
            let is_known = mean > ROUNDING * highest.abs() && mean < f64::INFINITY;
            let distance = if is_known { mean } else { mean_distance(&wide, highest) };
            part.spread.add(weight * distance);
            if beta != 1.0 {
                before.push([total::<V>(&wide, highest); 1], gap, weight);
                before.add_cross_entropy(&mut part.cross_entropy);
            }
            group.push(moments::<V>(&wide, highest, beta), gap, weight);
            if group.is_full() {
                group.add(beta, &mut part.sums);
            }
        }
        before.count = GROUP;
        before.add_cross_entropy(&mut part.cross_entropy);
        group.add(beta, &mut part.sums);
        if beta == 1.0 {
            part.cross_entropy = part.sums.0[0];
        }
    }
}

/// Another look at a block, of whole rows, each with its highest and its gap.
struct Again<'a, T> {
    rows: &'a [T],
    classes: usize,
    start: usize,
    highest: &'a [f64],
    gaps: &'a [f64],
    weights: Option<&'a [f64]>,
    beta: f64,
    sums: &'a mut Sums,
}

impl<T: Copy + Into<f64>> Kernel<f64> for Again<'_, T> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let Self { rows, classes, start, highest, gaps, weights, beta, sums } = self;
        let mut wide = vec![0.0; classes];
        let mut group = Group::EMPTY;
        for (index, row) in (start..).zip(rows.chunks_exact(classes)) {
            widen(row, &mut wide);
            let moments = moments::<V>(&wide, highest[index], beta);
            group.push(moments, gaps[index], weight(weights, index));
            if group.is_full() {
                group.add(beta, sums);
            }
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

#[inline(always)]
fn widen<T: Copy + Into<f64>>(row: &[T], to: &mut [f64]) {
    for (to, &from) in to.iter_mut().zip(row) {
        *to = from.into();
    }
}

/// The highest and the sum of a row.
#[inline(always)]
fn overview<V: Lanes<Scalar = f64> + Write<f64>>(row: &[f64]) -> (f64, f64) {
    let lowest = V::splat(f64::NEG_INFINITY);
    let mut highest = [lowest; 4];
    let mut sums = [V::splat(0.0); 4];
    // SAFETY: offsets stay below the length of the row.
    #[allow(unsafe_code)]
    unsafe {
        let from = row.as_ptr();
        sweep!(row.len(), V::LANES;
            (slot, at) {
                let values = read::<V, f64>(from.add(at));
                highest[slot] = highest[slot].max(values);
                sums[slot] = sums[slot].add(values);
            }
            (slot, at, count) {
                let values = read_part::<V, f64>(from.add(at), count);
                highest[slot] = highest[slot].max(values.keep(count, f64::NEG_INFINITY));
                sums[slot] = sums[slot].add(values);
            }
        );
    }
    (most(highest).largest(), sum_of(sums).sum())
}

/// The mean of highest − z over the classes of a row that can be; 0 if none can.
fn mean_distance(row: &[f64], highest: f64) -> f64 {
    let possible = || row.iter().filter(|&&z| z > f64::NEG_INFINITY);
    let sum: f64 = possible().map(|z| highest - z).sum();
    if possible().next().is_none() { 0.0 } else { sum / possible().count() as f64 }
}

/// Σ e^d of a row.
#[inline(always)]
fn total<V: Lanes<Scalar = f64> + Write<f64>>(row: &[f64], highest: f64) -> f64 {
    let shift = V::splat(-highest);
    let mut sums = [V::splat(0.0); 4];
    // SAFETY: offsets stay below the length of the row.
    #[allow(unsafe_code)]
    unsafe {
        let from = row.as_ptr();
        sweep!(row.len(), V::LANES;
            (slot, at) {
                sums[slot] = sums[slot].add(read::<V, f64>(from.add(at)).add(shift).exp());
            }
            (slot, at, count) {
                let differences = read_part::<V, f64>(from.add(at), count).add(shift);
                sums[slot] = sums[slot].add(differences.keep(count, f64::NEG_INFINITY).exp());
            }
        );
    }
    sum_of(sums).sum()
}

/// Σ d^j e^{βd} of a row, for j = 0, …, [`ORDER`].
#[inline(always)]
fn moments<V: Lanes<Scalar = f64> + Write<f64>>(
    row: &[f64],
    highest: f64,
    beta: f64,
) -> [f64; ORDER + 1] {
    let (beta, shift, far) = (V::splat(beta), V::splat(-highest), V::splat(FAR));
    let mut sums = [V::splat(0.0); ORDER + 1];
    // SAFETY: offsets stay below the length of the row.
    #[allow(unsafe_code)]
    unsafe {
        let from = row.as_ptr();
        let mut at = 0;
        // Two at a time: either's exponential need not wait for the other's.
        while at + 2 * V::LANES <= row.len() {
            let one = far.max(read::<V, f64>(from.add(at)).add(shift));
            let other = far.max(read::<V, f64>(from.add(at + V::LANES)).add(shift));
            let weights = [one.mul(beta).exp(), other.mul(beta).exp()];
            add_powers(one, weights[0], &mut sums);
            add_powers(other, weights[1], &mut sums);
            at += 2 * V::LANES;
        }
        while at < row.len() {
            let count = V::LANES.min(row.len() - at);
            let values = read_part::<V, f64>(from.add(at), count).add(shift);
            let differences = far.max(values.keep(count, f64::NEG_INFINITY));
            add_powers(differences, differences.mul(beta).exp(), &mut sums);
            at += count;
        }
    }
    let mut moments = [0.0; ORDER + 1];
    for (moment, sum) in moments.iter_mut().zip(sums) {
        *moment = sum.sum();
    }
    moments
}

#[inline(always)]
fn add_powers<V: Lanes<Scalar = f64>>(d: V, weight: V, sums: &mut [V; ORDER + 1]) {
    let second = d.mul(d);
    let fourth = second.mul(second);
    let (first, square) = (weight.mul(d), weight.mul(second));
    sums[0] = sums[0].add(weight);
    sums[1] = sums[1].add(first);
    sums[2] = sums[2].add(square);
    sums[3] = first.mul_add(second, sums[3]);
    sums[4] = weight.mul_add(fourth, sums[4]);
    sums[5] = first.mul_add(fourth, sums[5]);
    sums[6] = square.mul_add(fourth, sums[6]);
}

/// The moments of a few rows; a place that none has taken weighs nothing.
struct Group {
    moments: [[f64; GROUP]; ORDER + 1],
    gaps: [f64; GROUP],
    weights: [f64; GROUP],
    count: usize,
}

impl Group {
    const EMPTY: Self = Self {
        moments: [[1.0; GROUP]; ORDER + 1],
        gaps: [0.0; GROUP],
        weights: [0.0; GROUP],
        count: 0,
    };

    fn is_full(&self) -> bool {
        self.count == GROUP
    }

    /// To be called unless it is full.
    #[inline(always)]
    fn push<const N: usize>(&mut self, moments: [f64; N], gap: f64, weight: f64) {
        let place = self.count % GROUP;
        for (to, moment) in self.moments.iter_mut().zip(moments) {
            to[place] = moment;
        }
        self.gaps[place] = gap;
        self.weights[place] = weight;
        self.count = place + 1;
    }

    /// If it is full, adds w (ln Σ e^d − g) of its rows, and forgets them.
    #[inline(always)]
    fn add_cross_entropy(&mut self, sum: &mut CompensatedSum) {
        if !self.is_full() {
            return;
        }
        let mut terms = [0.0; GROUP];
        for (row, term) in terms.iter_mut().enumerate() {
            *term = self.weights[row] * (ln(self.moments[0][row]) - self.gaps[row]);
        }
        let mut total = 0.0;
        for term in terms {
            total += term;
        }
        sum.add(total);
        *self = Self::EMPTY;
    }

    /// Adds L and its derivatives of its rows, and forgets them.
    #[inline(always)]
    fn add(&mut self, beta: f64, sums: &mut Sums) {
        let mut terms = [[0.0; GROUP]; ORDER + 1];
        // One loop without calls, which the compiler makes vectors of.
        for row in 0..GROUP {
            let [m0, m1, m2, m3, m4, m5, m6] = [
                self.moments[0][row],
                self.moments[1][row],
                self.moments[2][row],
                self.moments[3][row],
                self.moments[4][row],
                self.moments[5][row],
                self.moments[6][row],
            ];
            let share = 1.0 / m0;
            let mean = m1 * share;
            let (m2, m3, m4, m5, m6) = (m2 * share, m3 * share, m4 * share, m5 * share, m6 * share);
            let square = mean * mean;
            // Central moments, by the binomial theorem.
            let variance = m2 - square;
            let c2 = if variance < 0.0 { 0.0 } else { variance };
            let c3 = m3 - mean * (3.0 * m2 - 2.0 * square);
            let c4 = m4 - mean * (4.0 * m3 - mean * (6.0 * m2 - 3.0 * square));
            let inner = 10.0 * m3 - mean * (10.0 * m2 - 4.0 * square);
            let c5 = m5 - mean * (5.0 * m4 - mean * inner);
            let inner = 20.0 * m3 - mean * (15.0 * m2 - 5.0 * square);
            let c6 = m6 - mean * (6.0 * m5 - mean * (15.0 * m4 - mean * inner));
            // Cumulants.
            let k4 = c4 - 3.0 * c2 * c2;
            let k5 = c5 - 10.0 * c2 * c3;
            let k6 = c6 - 15.0 * c2 * (k4 + c2 * c2) - 10.0 * c3 * c3;
            let (weight, gap) = (self.weights[row], self.gaps[row]);
            terms[0][row] = weight * (ln(m0) - beta * gap);
            terms[1][row] = weight * (mean - gap);
            terms[2][row] = weight * c2;
            terms[3][row] = weight * c3;
            terms[4][row] = weight * k4;
            terms[5][row] = weight * k5;
            terms[6][row] = weight * k6;
        }
        for (sum, terms) in sums.0.iter_mut().zip(terms) {
            let mut total = 0.0;
            for term in terms {
                total += term;
            }
            sum.add(total);
        }
        *self = Self::EMPTY;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TiltedMoments;
    use crate::rows::with_cpu_features;

    /// The cumulants of d, by their recursion from central moments.
    fn cumulants(row: &[f32], beta: f64) -> [f64; ORDER + 1] {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let each = || {
            let possible = row.iter().filter(|z| z.is_finite());
            possible.map(|z| f64::from(*z) - f64::from(highest)).map(|d| (d, (beta * d).exp()))
        };
        let total: f64 = each().map(|(_, e)| e).sum();
        let mean = each().map(|(d, e)| d * e).sum::<f64>() / total;
        let central = [0, 1, 2, 3, 4, 5, 6]
            .map(|power| each().map(|(d, e)| (d - mean).powi(power) * e).sum::<f64>() / total);
        let choose =
            |n: usize, k: usize| (1..=k).fold(1.0, |c, i| c * (n + 1 - i) as f64 / i as f64);
        let mut cumulants = [0.0; ORDER + 1];
        for n in 2..=ORDER {
            let lower = (2..n).map(|k| choose(n - 1, k - 1) * cumulants[k] * central[n - k]);
            cumulants[n] = central[n] - lower.sum::<f64>();
        }
        cumulants
    }

    proptest! {
        /// The sums over rows are those of one row at a time, with every set of instructions.
        #[test]
        fn agrees_with_single_rows(
            classes in 1..40usize,
            seed in prop::collection::vec(-20.0..20.0f32, 1..400),
            beta in 0.01..5.0f64,
            masked in 0..3usize,
        ) {
            let count = seed.len().div_ceil(classes);
            let mut rows: Vec<f32> = seed.iter().copied().cycle().take(count * classes).collect();
            for row in rows.chunks_mut(classes) {
                for value in row.iter_mut().skip(1).take(masked) {
                    *value = f32::NEG_INFINITY;
                }
            }
            let weights: Vec<f64> = (0..count).map(|row| 1.0 + row as f64).collect();
            let gap = |_: usize, row: &[f64], highest: f64| row[0] - highest;
            let survey = RowSurvey::new(&rows, classes, gap, Some(&weights), beta);
            let (mut before, mut expected) = (0.0, [0.0; ORDER + 1]);
            for (row, weight) in rows.chunks(classes).zip(&weights) {
                let moments = TiltedMoments::new(row, 0, beta).unwrap();
                before += weight * TiltedMoments::new(row, 0, 1.0).unwrap().cross_entropy;
                let mut values = cumulants(row, beta);
                values[..3].copy_from_slice(&[moments.cross_entropy, moments.slope, moments.curvature]);
                for (sum, value) in expected.iter_mut().zip(values) {
                    *sum += weight * value;
                }
            }
            let size = (count * count) as f64 * 40.0;
            prop_assert!((survey.cross_entropy - before).abs() < 1e-15 * size);
            for features in ["avx512", "avx2", "portable"] {
                let sums = with_cpu_features(features, || {
                    let RowSurvey { highest, gaps, .. } = &survey;
                    TiltedSums::new(&rows, classes, highest, gaps, Some(&weights), beta)
                });
                let Some(sums) = sums.flatten() else { continue };
                if features == crate::rows::cpu_features() {
                    prop_assert_eq!(sums, survey.sums);
                }
                let found = [&[sums.cross_entropy], &sums.derivatives[..]].concat();
                for (power, (found, expected)) in (0..).zip(found.into_iter().zip(expected)) {
                    let size = size * 40.0f64.powi(power);
                    prop_assert!((found - expected).abs() < 1e-14 * size, "{found}, {expected}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit() {
        let sums = |rows: &[f64], gaps: &[f64], weights: Option<&[f64]>| {
            TiltedSums::new(rows, 2, &[0.0], gaps, weights, 1.0)
        };
        assert!(sums(&[0.0; 2], &[0.0], None).is_some());
        assert!(sums(&[0.0; 3], &[0.0], None).is_none());
        assert!(sums(&[0.0; 2], &[], None).is_none());
        assert!(sums(&[0.0; 2], &[0.0], Some(&[])).is_none());
    }

    #[test]
    fn nothing_to_look_at() {
        let gap = |_: usize, _: &[f64], _: f64| 0.0;
        for classes in [0, 2] {
            let survey = RowSurvey::new(&[1.0f64][..1 - classes / 2], classes, gap, None, 1.0);
            assert_eq!((survey.highest.len(), survey.sums.cross_entropy), (0, 0.0));
        }
        assert!(TiltedSums::new::<f64>(&[], 0, &[], &[], None, 1.0).is_some());
    }

    /// NaN is not taken for a class that cannot be.
    #[test]
    fn a_logit_that_is_not_a_number_is_seen() {
        let rows = [0.0, f64::NAN, 1.0];
        let gap = |_: usize, row: &[f64], highest: f64| row[0] - highest;
        let survey = RowSurvey::new(&rows, 3, gap, None, 0.5);
        assert!(survey.sums.cross_entropy.is_nan() && survey.cross_entropy.is_nan());
    }
}
