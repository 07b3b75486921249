//! How far a metric may be from what other rows of the same kind would give: intervals by resampling.
//!
//! A replicate draws n rows with replacement and computes the metric again; B replicates θ*₁ … θ*_B
//! stand for what other samples would have given. With θ the metric of the rows themselves and q the
//! quantiles of the θ*, an interval at the level 1 − α is
//!
//! - percentile: \[q_{α/2}, q_{1−α/2}\]
//! - basic: \[2θ − q_{1−α/2}, 2θ − q_{α/2}\], which takes the bias of the θ* away
//! - BCa: \[q_{α₁}, q_{α₂}\], α₁ and α₂ = Φ(z₀ + (z₀ + z)/(1 − a(z₀ + z))) for z = ±z_{α/2}, with the
//!   bias z₀ = Φ⁻¹(share of θ* below θ) and the acceleration a = Σ d³/(6 (Σ d²)^{3/2}) of the
//!   jackknife's deviations d
//!
//! Calibration errors are biased upwards on few rows and resampling biases them once more: percentile
//! intervals of them lie too high, and basic ones less so.
//!
//! The level is a share, such as 0.95: one library takes α = 0.1 for a tenth of a per cent.
//!
//! Numerical notes: quantiles are interpolated linearly (NumPy's default). Every replicate has a
//! generator of its own (xoshiro256++, seeded by the seed and its number), so the same seed gives the
//! same bits on any number of threads. The jackknife leaves out a group of rows at a time, 200 groups
//! at most.
//!
//! Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979); B. Efron, "Better
//! Bootstrap Confidence Intervals" (1987).

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};

use crate::accumulator::EMPTY;

/// How an interval is made of the replicates.
///
/// ```
/// use softlabel_metrics::IntervalMethod;
/// assert_eq!(IntervalMethod::default(), IntervalMethod::Percentile);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IntervalMethod {
    /// Quantiles of the replicates.
    #[default]
    Percentile,
    /// Quantiles of the replicates, reflected at the estimate.
    Basic,
    /// Quantiles of the replicates, corrected for bias and acceleration.
    #[doc(alias = "BCa")]
    BiasCorrectedAccelerated,
}

/// How often rows are drawn, from which seed, and what is made of it.
///
/// ```
/// use softlabel_metrics::{Bootstrap, IntervalMethod};
///
/// let bootstrap = Bootstrap::new(1000, 0)?.at_level(0.9)?.by(IntervalMethod::Basic);
/// // The mean of ten numbers, as a function of how often each of them was drawn.
/// let numbers: Vec<f64> = (0..10).map(f64::from).collect();
/// let mean = |counts: &[u32]| {
///     Some(numbers.iter().zip(counts).map(|(x, &n)| x * f64::from(n)).sum::<f64>() / 10.0)
/// };
/// let interval = bootstrap.interval(10, mean)?;
/// assert_eq!(interval.estimate, 4.5);
/// // The standard error of such a mean is √(8.25/10).
/// assert!((interval.standard_error - 0.908).abs() < 0.1);
/// assert!(interval.lower < 3.5 && interval.upper > 5.5);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Bootstrap {
    replicates: usize,
    seed: u64,
    level: f64,
    method: IntervalMethod,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    replicates: usize,
    seed: u64,
    level: f64,
    #[serde(default)]
    method: IntervalMethod,
}

/// An estimate and where else it might have been.
///
/// ```
/// use softlabel_metrics::Interval;
/// let interval = Interval {
///     estimate: 0.5,
///     lower: 0.4,
///     upper: 0.7,
///     level: 0.95,
///     standard_error: 0.08,
///     undefined_replicates: 0,
/// };
/// assert!(interval.contains(0.4) && !interval.contains(0.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Of the rows themselves.
    pub estimate: f64,
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// How often such an interval should hold the true value, in (0, 1).
    pub level: f64,
    /// The standard deviation of the replicates.
    pub standard_error: f64,
    /// Replicates on which the metric was undefined or infinite, and which were left out.
    pub undefined_replicates: usize,
}

impl Interval {
    /// Whether a value lies between the ends, themselves included.
    pub fn contains(&self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }
}

/// Groups of the jackknife.
const GROUPS: usize = 200;

impl Bootstrap {
    /// So many replicates from this seed, at the level 0.95, by percentiles.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for less than 2 or more than a million replicates.
    ///
    /// ```
    /// use softlabel_metrics::Bootstrap;
    /// assert!(Bootstrap::new(1000, 0).is_ok());
    /// assert!(Bootstrap::new(1, 0).is_err());
    /// ```
    pub fn new(replicates: usize, seed: u64) -> Result<Self> {
        if !(2..=1_000_000).contains(&replicates) {
            let (name, expected) = ("number of replicates", "in 2..=1000000");
            return Err(Error::OutOfRange { name, expected, found: replicates as f64 });
        }
        Ok(Self { replicates, seed, level: 0.95, method: IntervalMethod::default() })
    }

    /// The same at another level, a share and not per cent.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if it is not in (0, 1).
    ///
    /// ```
    /// use softlabel_metrics::Bootstrap;
    /// let error = Bootstrap::new(1000, 0)?.at_level(95.0).unwrap_err();
    /// assert_eq!(error.to_string(), "confidence level must be in (0, 1), found 95");
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn at_level(self, level: f64) -> Result<Self> {
        if level > 0.0 && level < 1.0 {
            return Ok(Self { level, ..self });
        }
        Err(Error::OutOfRange { name: "confidence level", expected: "in (0, 1)", found: level })
    }

    /// The same by another method.
    #[must_use]
    pub fn by(self, method: IntervalMethod) -> Self {
        Self { method, ..self }
    }

    /// The method.
    pub fn method(&self) -> IntervalMethod {
        self.method
    }

    /// B, the number of replicates.
    pub fn replicates(&self) -> usize {
        self.replicates
    }

    /// The level, in (0, 1).
    pub fn level(&self) -> f64 {
        self.level
    }

    /// The interval of a statistic of `rows` rows, which is given how often each row was drawn.
    ///
    /// Once every row counts once: that is the estimate.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no rows, or if the statistic is undefined on the rows or on all
    /// replicates; [`Error::OutOfRange`] for more than `u32` can count.
    pub fn interval(
        &self,
        rows: usize,
        statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
    ) -> Result<Interval> {
        let intervals = self.intervals(rows, |counts| [statistic(counts)])?;
        intervals.into_iter().next().flatten().ok_or(UNDEFINED)
    }

    /// The intervals of several statistics of the same replicates; `None` for those that are
    /// undefined on the rows or on all replicates.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no rows; [`Error::OutOfRange`] for more than `u32` can count.
    ///
    /// ```
    /// use softlabel_metrics::Bootstrap;
    /// let bootstrap = Bootstrap::new(100, 7)?;
    /// let first = |counts: &[u32]| Some(f64::from(counts[0]));
    /// let [first, nothing] = bootstrap.intervals(5, |counts| [first(counts), None])?;
    /// assert_eq!((first.unwrap().estimate, nothing), (1.0, None));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn intervals<const N: usize>(
        &self,
        rows: usize,
        statistics: impl Fn(&[u32]) -> [Option<f64>; N] + Sync,
    ) -> Result<[Option<Interval>; N]> {
        if rows == 0 {
            return Err(EMPTY);
        }
        if u32::try_from(rows).is_err() {
            let (name, expected) = ("number of rows", "at most 4294967295");
            return Err(Error::OutOfRange { name, expected, found: rows as f64 });
        }
        let estimates = statistics(&vec![1; rows]);
        let drawn = |counts: &mut Vec<u32>, replicate: usize| {
            counts.fill(0);
            let mut generator = self.generator(replicate);
            for _ in 0..rows {
                counts[below(&mut generator, rows)] += 1;
            }
            statistics(counts)
        };
        let replicates = (0..self.replicates).into_par_iter();
        let replicates: Vec<[Option<f64>; N]> =
            replicates.map_init(|| vec![0; rows], drawn).collect();
        let groups = if self.method == IntervalMethod::BiasCorrectedAccelerated {
            GROUPS.min(rows)
        } else {
            0
        };
        let without = |counts: &mut Vec<u32>, group: usize| {
            counts.fill(1);
            counts.iter_mut().skip(group).step_by(groups).for_each(|count| *count = 0);
            statistics(counts)
        };
        let left_out: Vec<[Option<f64>; N]> =
            (0..groups).into_par_iter().map_init(|| vec![0; rows], without).collect();
        Ok(std::array::from_fn(|which| {
            let of = |all: &[[Option<f64>; N]]| -> Vec<f64> {
                all.iter().filter_map(|values| values[which]).collect()
            };
            self.interval_of(estimates[which]?, of(&replicates), &of(&left_out))
        }))
    }

    /// The generator of a replicate.
    pub(crate) fn generator(&self, replicate: usize) -> Xoshiro256PlusPlus {
        generator(self.seed, replicate)
    }

    /// The interval of replicates; `None` if there is nothing to make it of.
    pub(crate) fn interval_of(
        &self,
        estimate: f64,
        mut replicates: Vec<f64>,
        left_out: &[f64],
    ) -> Option<Interval> {
        replicates.retain(|value| value.is_finite());
        replicates.sort_unstable_by(f64::total_cmp);
        if replicates.is_empty() || !estimate.is_finite() {
            return None;
        }
        let tail = (1.0 - self.level) / 2.0;
        let quantile = |share: f64| quantile(&replicates, share);
        let (lower, upper) = match self.method {
            IntervalMethod::Percentile => (quantile(tail), quantile(1.0 - tail)),
            IntervalMethod::Basic => {
                (2.0 * estimate - quantile(1.0 - tail), 2.0 * estimate - quantile(tail))
            }
            IntervalMethod::BiasCorrectedAccelerated => {
                let bias = bias(&replicates, estimate);
                let acceleration = acceleration(left_out);
                let corrected = |z: f64| {
                    let z = bias + z;
                    normal_below(bias + z / (1.0 - acceleration * z))
                };
                let z = normal_quantile(1.0 - tail);
                (quantile(corrected(-z)), quantile(corrected(z)))
            }
        };
        let count = replicates.len() as f64;
        let mean = replicates.iter().sum::<f64>() / count;
        let squares = replicates.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some(Interval {
            estimate,
            lower,
            upper,
            level: self.level,
            standard_error: (squares / (count - 1.0).max(1.0)).sqrt(),
            undefined_replicates: self.replicates - replicates.len(),
        })
    }
}

impl TryFrom<Settings> for Bootstrap {
    type Error = Error;

    fn try_from(Settings { replicates, seed, level, method }: Settings) -> Result<Self> {
        Ok(Self::new(replicates, seed)?.at_level(level)?.by(method))
    }
}

impl From<Bootstrap> for Settings {
    fn from(Bootstrap { replicates, seed, level, method }: Bootstrap) -> Self {
        Self { replicates, seed, level, method }
    }
}

/// There is nothing to resample.
const UNDEFINED: Error = Error::Empty { what: "the set of rows on which the statistic is defined" };

/// A generator of its own for every seed and number.
pub(crate) fn generator(seed: u64, number: usize) -> Xoshiro256PlusPlus {
    // Seeds and numbers are small and alike: the finalizer of SplitMix64 spreads them.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Xoshiro256PlusPlus::seed_from_u64((mixed ^ (mixed >> 31)) ^ number as u64)
}

/// An index below `count`, off from uniform by less than 2⁻³².
#[allow(clippy::cast_possible_truncation)] // The product's upper half is below `count`.
#[inline]
fn below(generator: &mut Xoshiro256PlusPlus, count: usize) -> usize {
    ((u128::from(generator.next_u64()) * count as u128) >> 64) as usize
}

/// A quantile of sorted values, interpolated linearly.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In 0..values.len().
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    let place = share.clamp(0.0, 1.0) * last as f64;
    let index = (place as usize).min(last);
    let (low, high) = (values[index], values[(index + 1).min(last)]);
    low + (high - low) * (place - index as f64)
}

/// z₀; values equal to the estimate count half, and at least half a replicate lies on either side.
fn bias(replicates: &[f64], estimate: f64) -> f64 {
    let count = replicates.len() as f64;
    let below = replicates.partition_point(|&value| value < estimate) as f64;
    let up_to = replicates.partition_point(|&value| value <= estimate) as f64;
    normal_quantile(f64::midpoint(below, up_to).clamp(0.5, count - 0.5) / count)
}

/// a, 0 where the statistic does not change.
fn acceleration(left_out: &[f64]) -> f64 {
    let mean = left_out.iter().sum::<f64>() / left_out.len().max(1) as f64;
    let (squares, cubes) = left_out.iter().fold((0.0, 0.0), |(squares, cubes), value| {
        let deviation = mean - value;
        (squares + deviation.powi(2), cubes + deviation.powi(3))
    });
    let acceleration = cubes / (6.0 * f64::powf(squares, 1.5));
    if acceleration.is_finite() { acceleration } else { 0.0 }
}

/// Φ(x).
fn normal_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Φ⁻¹ of a share in (0, 1), by bisection: a few of them are needed.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if normal_below(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy: `np.quantile([1, 2, 4, 8], [0, 0.1, 0.5, 0.9, 1])`.
    #[test]
    fn quantiles_are_interpolated() {
        let values = [1.0, 2.0, 4.0, 8.0];
        let found = [0.0, 0.1, 0.5, 0.9, 1.0].map(|share| quantile(&values, share));
        for (found, expected) in found.into_iter().zip([1.0, 1.3, 3.0, 6.8, 8.0]) {
            assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        }
    }

    #[test]
    fn normal_quantiles() {
        assert!(normal_quantile(0.5).abs() < 1e-15);
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
    }

    #[test]
    fn draws_are_uniform() {
        let mut counts = [0_u32; 7];
        let mut generator = generator(3, 5);
        for _ in 0..70_000 {
            counts[below(&mut generator, 7)] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 470), "{counts:?}");
    }
}
