//! What a fit of the temperature needs of many rows, in vectors and in threads.
//!
//! Over rows n with the highest logit m_n, differences d_nk = z_nk − m_n, a target whose mean
//! difference is g_n = Σ_k t_nk d_nk (d_ny for a label y) and a weight w_n:
//!
//! L(β) = Σ w_n \[ln Σ_k e^{βd_nk} − βg_n\], L′(β) = Σ w_n \[E_q\[d\] − g_n\],
//! L″(β) = Σ w_n Var_q\[d\], L‴(β) = Σ w_n E_q\[(d − E_q\[d\])³\], with q ∝ e^{βd}
//!
//! A pass reads each logit once: a few rows are widened to `f64`, and their exponentials and the
//! sums taken while they are in the nearest cache.
//!
//! Numerical notes: `f64` throughout, whatever the type of the logits; exponentials to a unit in the
//! last place or two; rows are summed in blocks, compensated, in an order that does not depend on
//! the number of threads. A class with z = −∞ cannot be and adds nothing.
//!
//! Source: the derivatives are those of any exponential family; see [`TiltedMoments`] for one row.
//!
//! [`TiltedMoments`]: crate::TiltedMoments

use rayon::prelude::*;

use crate::CompensatedSum;
use crate::rows::dispatch::{Instructions, Kernel};
use crate::rows::element::sealed::Launch;
use crate::rows::sweep::sweep;
use crate::rows::vector::{Lanes, Write, read, read_part};

/// A thread takes about so many logits at a time.
const BLOCK: usize = 1 << 16;

/// So many are widened at a time, to stay in the nearest cache.
const BUFFER: usize = 1 << 11;

/// What the rows of a matrix of logits look like before anything is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSurvey {
    /// m_n, the highest logit of every row; −∞ if no value is above it.
    pub highest: Vec<f64>,
    /// g_n of every row.
    pub gaps: Vec<f64>,
    /// Σ_n w_n mean_k (m_n − z_nk), over the classes that can be.
    pub spread: f64,
    /// L and its derivatives at each β that was asked for.
    pub sums: Vec<TiltedSums>,
}

impl RowSurvey {
    /// Looks at `rows`, `[n, classes]` row by row, once; what does not fill a row is left out.
    ///
    /// `gap` gives g_n, of the number of a row, its logits and their maximum; `weights` are the w_n, 1
    /// without or beyond their end; `betas` are where the sums are wanted, all above 0.
    ///
    /// ```
    /// use softlabel_kernels::RowSurvey;
    /// // The label is 0 in both rows.
    /// let gap = |_: usize, row: &[f64], highest: f64| row[0] - highest;
    /// let rows = [1.0f32, 3.0, 0.0, f32::NEG_INFINITY];
    /// let survey = RowSurvey::new(&rows, 2, gap, None, &[0.5]);
    /// assert_eq!((survey.highest, survey.gaps, survey.spread), (vec![3.0, 0.0], vec![-2.0, 0.0], 1.0));
    /// let expected = 1.0 + (-1.0f64).exp().ln_1p();
    /// assert!((survey.sums[0].cross_entropy - expected).abs() < 1e-15);
    /// ```
    pub fn new<T: Copy + Into<f64> + Sync>(
        rows: &[T],
        classes: usize,
        gap: impl Fn(usize, &[f64], f64) -> f64 + Sync,
        weights: Option<&[f64]>,
        betas: &[f64],
    ) -> Self {
        let instructions = Instructions::current();
        let weight = |row: usize| weights.and_then(|all| all.get(row)).copied().unwrap_or(1.0);
        let parts = blocks(rows, classes).map(|(start, block)| {
            let count = block.len() / classes.max(1);
            let (mut highest, mut gaps) = (Vec::with_capacity(count), Vec::with_capacity(count));
            let mut spread = CompensatedSum::default();
            let mut sums = vec![Sums::default(); betas.len()];
            let mut moments = Vec::new();
            widened(block, classes, |first, rows| {
                for (index, row) in (start + first..).zip(rows.chunks_exact(classes)) {
                    let of_row = largest(row);
                    highest.push(of_row);
                    gaps.push(gap(index, row, of_row));
                    spread.add(weight(index) * mean_distance(row, of_row));
                }
                for (&beta, sums) in betas.iter().zip(&mut sums) {
                    let highest = &highest[first..];
                    take_moments(instructions, rows, classes, highest, beta, &mut moments);
                    for (place, &moments) in (first..).zip(&moments) {
                        sums.add(beta, gaps[place], weight(start + place), moments);
                    }
                }
            });
            (highest, gaps, spread, sums)
        });
        let (mut highest, mut gaps) = (Vec::new(), Vec::new());
        let mut spread = CompensatedSum::default();
        let mut sums = vec![Sums::default(); betas.len()];
        for part in parts.collect::<Vec<_>>() {
            highest.extend(part.0);
            gaps.extend(part.1);
            spread.merge(part.2);
            sums.iter_mut().zip(&part.3).for_each(|(sums, part)| sums.merge(part));
        }
        let sums = sums.iter().map(Sums::value).collect();
        Self { highest, gaps, spread: spread.value(), sums }
    }
}

/// The highest of a row, in eight lanes that the compiler can hold in vectors.
fn largest(row: &[f64]) -> f64 {
    let mut lanes = [f64::NEG_INFINITY; 8];
    let (whole, rest) = row.as_chunks::<8>();
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f64::NEG_INFINITY, f64::max)
}

/// The mean of highest − z over the classes of a row that can be; 0 if none can.
fn mean_distance(row: &[f64], highest: f64) -> f64 {
    let mut lanes = [0.0; 8];
    let (whole, rest) = row.as_chunks::<8>();
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += highest - value;
        }
    }
    let sum: f64 = lanes.into_iter().chain(rest.iter().map(|z| highest - z)).sum();
    if sum.is_finite() {
        return sum / row.len() as f64;
    }
    let possible = || row.iter().filter(|&&z| z > f64::NEG_INFINITY);
    let sum: f64 = possible().map(|z| highest - z).sum();
    if possible().next().is_none() { 0.0 } else { sum / possible().count() as f64 }
}

/// L, L′, L″ and L‴ at one β, summed over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TiltedSums {
    /// L(β).
    pub cross_entropy: f64,
    /// L′(β).
    pub slope: f64,
    /// L″(β), never negative.
    pub curvature: f64,
    /// L‴(β).
    pub third: f64,
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
    /// assert!((sums.slope - (2.0 - 4.0 * q)).abs() < 1e-15);
    /// assert!((sums.curvature - 8.0 * q * (1.0 - q)).abs() < 1e-15);
    /// assert!((sums.third + 16.0 * q * (1.0 - q) * (1.0 - 2.0 * q)).abs() < 1e-14);
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
        let parts = blocks(rows, classes).map(|(start, block)| {
            let (mut sums, mut moments) = (Sums::default(), Vec::new());
            widened(block, classes, |first, rows| {
                let first = start + first;
                let beta = inverse_temperature;
                take_moments(instructions, rows, classes, &highest[first..], beta, &mut moments);
                for (row, &moments) in (first..).zip(&moments) {
                    let weight = weights.map_or(1.0, |weights| weights[row]);
                    sums.add(beta, gaps[row], weight, moments);
                }
            });
            sums
        });
        let mut sums = Sums::default();
        parts.collect::<Vec<_>>().iter().for_each(|part| sums.merge(part));
        Some(sums.value())
    }
}

/// L and its derivatives while they are summed.
#[derive(Debug, Clone, Copy, Default)]
struct Sums([CompensatedSum; 4]);

impl Sums {
    fn add(&mut self, beta: f64, gap: f64, weight: f64, [total, first, second, third]: [f64; 4]) {
        let [mean, square, cube] = [first / total, second / total, third / total];
        let of_row = [
            total.ln() - beta * gap,
            mean - gap,
            (square - mean * mean).max(0.0),
            cube - mean * (3.0 * square - 2.0 * mean * mean),
        ];
        for (sum, value) in self.0.iter_mut().zip(of_row) {
            sum.add(weight * value);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| sum.merge(other));
    }

    fn value(&self) -> TiltedSums {
        let [cross_entropy, slope, curvature, third] = self.0.map(CompensatedSum::value);
        TiltedSums { cross_entropy, slope, curvature, third }
    }
}

/// Σ e^{βd}, Σ d e^{βd}, Σ d² e^{βd} and Σ d³ e^{βd} of every row; `highest` has at least one number a
/// row.
fn take_moments(
    instructions: Instructions,
    rows: &[f64],
    classes: usize,
    highest: &[f64],
    beta: f64,
    moments: &mut Vec<[f64; 4]>,
) {
    moments.resize(rows.len() / classes, [0.0; 4]);
    f64::launch(instructions, Moments { rows, classes, highest, beta, results: moments });
}

/// Blocks of whole rows, each with the number of its first row.
fn blocks<T: Sync>(
    rows: &[T],
    classes: usize,
) -> impl IndexedParallelIterator<Item = (usize, &[T])> {
    let count = (BLOCK / classes.max(1)).max(1);
    let whole = rows.len() - rows.len() % classes.max(1);
    rows[..whole]
        .par_chunks(count * classes.max(1))
        .enumerate()
        .map(move |(index, block)| (index * count, block))
}

/// Shows `visit` the rows of a block in `f64`, a few at a time, with the number of the first.
fn widened<T: Copy + Into<f64>>(block: &[T], classes: usize, mut visit: impl FnMut(usize, &[f64])) {
    let count = (BUFFER / classes.max(1)).max(1);
    let mut buffer = Vec::with_capacity(count * classes);
    for (index, rows) in block.chunks(count * classes.max(1)).enumerate() {
        buffer.clear();
        buffer.extend(rows.iter().map(|&value| value.into()));
        visit(index * count, &buffer);
    }
}

/// What [`take_moments`] takes.
///
/// Invariant: `rows` holds `results.len()` rows, and `highest` at least as many numbers.
struct Moments<'a> {
    rows: &'a [f64],
    classes: usize,
    highest: &'a [f64],
    beta: f64,
    results: &'a mut [[f64; 4]],
}

impl Kernel<f64> for Moments<'_> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let (beta, zero) = (V::splat(self.beta), V::splat(0.0));
        let rows = self.rows.chunks_exact(self.classes);
        for ((row, &highest), result) in rows.zip(self.highest).zip(self.results) {
            let shift = V::splat(-highest);
            let mut sums = [[zero; 4]; 4];
            // SAFETY: offsets stay below the length of the row.
            #[allow(unsafe_code)]
            unsafe {
                let from = row.as_ptr();
                sweep!(row.len(), V::LANES;
                    (slot, at) {
                        add::<V>(read::<V, f64>(from.add(at)).add(shift), beta, &mut sums[slot]);
                    }
                    (slot, at, count) {
                        let values = read_part::<V, f64>(from.add(at), count).add(shift);
                        add::<V>(values.keep(count, f64::NEG_INFINITY), beta, &mut sums[slot]);
                    }
                );
            }
            for (index, moment) in result.iter_mut().enumerate() {
                let [a, b, c, d] = [0, 1, 2, 3].map(|slot| sums[slot][index]);
                *moment = a.add(b).add(c.add(d)).sum();
            }
        }
    }
}

#[inline(always)]
fn add<V: Lanes<Scalar = f64>>(differences: V, beta: V, sums: &mut [V; 4]) {
    let weights = differences.mul(beta).exp();
    // Where the weight is 0 the difference may be −∞.
    let first = weights.mul_add_if_nonzero(differences, V::splat(0.0));
    let second = first.mul_add_if_nonzero(differences, V::splat(0.0));
    sums[0] = sums[0].add(weights);
    sums[1] = sums[1].add(first);
    sums[2] = sums[2].add(second);
    sums[3] = second.mul_add_if_nonzero(differences, sums[3]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TiltedMoments;
    use crate::rows::with_cpu_features;

    /// E_q[(d − E_q[d])³] by its formula.
    fn third_cumulant(row: &[f32], beta: f64) -> f64 {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let each = || {
            let possible = row.iter().filter(|z| z.is_finite());
            possible.map(|z| f64::from(*z) - f64::from(highest)).map(|d| (d, (beta * d).exp()))
        };
        let total: f64 = each().map(|(_, e)| e).sum();
        let mean = each().map(|(d, e)| d * e).sum::<f64>() / total;
        each().map(|(d, e)| (d - mean).powi(3) * e).sum::<f64>() / total
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
            let survey = RowSurvey::new(&rows, classes, gap, Some(&weights), &[beta, 1.0]);
            let mut expected = [0.0; 4];
            for (row, weight) in rows.chunks(classes).zip(&weights) {
                let moments = TiltedMoments::new(row, 0, beta).unwrap();
                let third = third_cumulant(row, beta);
                let values = [moments.cross_entropy, moments.slope, moments.curvature, third];
                for (sum, value) in expected.iter_mut().zip(values) {
                    *sum += weight * value;
                }
            }
            for features in ["avx512", "avx2", "portable"] {
                let sums = with_cpu_features(features, || {
                    let RowSurvey { highest, gaps, .. } = &survey;
                    TiltedSums::new(&rows, classes, highest, gaps, Some(&weights), beta)
                });
                let Some(sums) = sums.flatten() else { continue };
                if features == crate::rows::cpu_features() {
                    prop_assert_eq!(sums, survey.sums[0]);
                }
                let found = [sums.cross_entropy, sums.slope, sums.curvature, sums.third];
                for (power, (found, expected)) in (1..).zip(found.into_iter().zip(expected)) {
                    let size = (count * count) as f64 * 20.0 * 40.0f64.powi(power);
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
}
