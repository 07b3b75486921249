//! The metrics of rows that were drawn, and the intervals of them.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Binomial, Distribution};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use softlabel_core::{Error, Result};
use softlabel_kernels::EqualWidthBins;

use crate::accumulator::EMPTY;
use crate::bin::{Bin, error_over};
use crate::calibration::edges;
use crate::cumulative::CumulativeDifference;
use crate::equal_mass::bins_of_equal_mass;
use crate::ranking::TieGroup;
use crate::selective::Areas;
use crate::{
    Bootstrap, CalibrationNorm, Forecast, Forecasts, FullEvaluation, Interval, IntervalMethod,
    RowScores,
};

/// The metrics that [`RowScores::intervals`] and [`RowScores::differences`] are about, as the fields of
/// [`FullScores`](crate::FullScores) are called.
///
/// The others are not: classwise errors need the probabilities of all classes of every row, and
/// SmoothECE searches for its bandwidth, in every replicate anew.
///
/// ```
/// assert!(softlabel_metrics::RESAMPLED_METRICS.contains(&"ece"));
/// ```
pub const RESAMPLED_METRICS: [&str; 17] = [
    "accuracy",
    "nll",
    "brier",
    "ece",
    "ece_equal_mass",
    "mce",
    "rmsce",
    "ks",
    "kuiper",
    "aurc",
    "eaurc",
    "augrc",
    "auroc_confidence",
    "aupr_success",
    "aupr_error",
    "fpr_at_95_tpr",
    "mean_confidence",
];

/// Rows by ascending confidence, ready to be drawn again and again.
struct Resampled<'a> {
    rows: &'a RowScores,
    edges: EqualWidthBins,
    bins: usize,
    /// The row, its confidence, and its weight, negative if it is wrong.
    sorted: Vec<(u32, f64, f64)>,
}

impl<'a> Resampled<'a> {
    fn new(rows: &'a RowScores, bins: usize) -> Result<Self> {
        let signed = |forecast: Forecast| {
            let weight = forecast.weight.get();
            (forecast.probability, if forecast.happened { weight } else { -weight })
        };
        let forecasts = rows.top_label().iter().map(signed);
        let mut sorted: Vec<(u32, f64, f64)> = (0..=u32::MAX)
            .zip(forecasts)
            .map(|(row, (score, weight))| (row, score, weight))
            .collect();
        sorted.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.2.total_cmp(&b.2)));
        Ok(Self { rows, edges: edges(bins)?, bins, sorted })
    }

    /// The groups of the rows that were drawn, as often as they were.
    fn groups(&self, counts: &[u32]) -> Vec<TieGroup> {
        let mut groups: Vec<TieGroup> = Vec::with_capacity(self.sorted.len());
        for &(row, score, weight) in &self.sorted {
            let count = counts.get(row as usize).copied().unwrap_or(0);
            if count == 0 {
                continue;
            }
            if groups.last().is_none_or(|group| group.score != score) {
                let (rows, wrong_rows, right, wrong, squares) = (0, 0, 0.0, 0.0, 0.0);
                groups.push(TieGroup { score, rows, wrong_rows, right, wrong, squares });
            }
            if let Some(group) = groups.last_mut() {
                let times = f64::from(count);
                group.rows += u64::from(count);
                group.squares += times * weight * weight;
                if weight < 0.0 {
                    group.wrong_rows += u64::from(count);
                    group.wrong -= times * weight;
                } else {
                    group.right += times * weight;
                }
            }
        }
        groups
    }

    /// The mean of something of each row.
    fn mean(&self, of_rows: &[f64], counts: &[u32], mass: f64) -> Option<f64> {
        let term = |&(row, _, weight): &(u32, f64, f64)| {
            let count = f64::from(*counts.get(row as usize)?);
            // What was not drawn does not count, even if it is infinite.
            let value = *of_rows.get(row as usize)?;
            Some(if count == 0.0 { 0.0 } else { count * weight.abs() * value })
        };
        let terms: Option<f64> = self.sorted.iter().map(term).sum();
        terms.map(|sum| sum / mass)
    }

    fn metrics(&self, counts: &[u32]) -> [Option<f64>; RESAMPLED_METRICS.len()] {
        let groups = self.groups(counts);
        let mass: f64 = groups.iter().map(TieGroup::mass).sum();
        let mut by_width = vec![Bin::default(); self.bins];
        for group in &groups {
            by_width[self.edges.index(group.score)].add_group(group);
        }
        let by_mass: Vec<Bin> =
            bins_of_equal_mass(&groups, self.bins).into_iter().map(|(bin, _)| bin).collect();
        let path = CumulativeDifference::of(&groups);
        let areas = Areas::of(&groups);
        let said: f64 = groups.iter().map(|group| group.score * group.mass()).sum();
        [
            areas.as_ref().map(|areas| 1.0 - areas.risk),
            self.mean(self.rows.negative_log_likelihoods(), counts, mass),
            self.mean(self.rows.brier_scores(), counts, mass),
            error_over(&by_width, CalibrationNorm::Expected),
            error_over(&by_mass, CalibrationNorm::Expected),
            error_over(&by_width, CalibrationNorm::Maximum { minimum_count: 1 }),
            error_over(&by_width, CalibrationNorm::RootMeanSquare),
            path.as_ref().map(|path| path.largest().max(-path.lowest())),
            path.as_ref().map(|path| path.largest() - path.lowest()),
            areas.as_ref().map(|areas| areas.aurc),
            areas.as_ref().map(|areas| areas.excess_aurc),
            areas.as_ref().map(|areas| areas.augrc),
            areas.as_ref().and_then(|areas| areas.auroc),
            areas.as_ref().and_then(|areas| areas.aupr_success),
            areas.as_ref().and_then(|areas| areas.aupr_error),
            areas.as_ref().and_then(|areas| areas.fpr_at_95_tpr),
            Some(said / mass),
        ]
    }
}

fn named(intervals: &[Option<Interval>; RESAMPLED_METRICS.len()]) -> BTreeMap<String, Interval> {
    let named = RESAMPLED_METRICS.into_iter().zip(intervals);
    named.filter_map(|(name, interval)| Some((name.to_owned(), (*interval)?))).collect()
}

impl RowScores {
    /// Intervals of the metrics of these rows by name, with `bins` bins for the calibration errors;
    /// those that are undefined or infinite are left out.
    ///
    /// Of those that [`RESAMPLED_METRICS`] names.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no rows, [`Error::OutOfRange`] if `bins` is 0 or above a
    /// million.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Bootstrap, RowScores};
    ///
    /// let probabilities = Probabilities::new([0.75f32, 0.25].repeat(100), 2)?;
    /// let labels: Vec<u8> = (0..100).map(|row| u8::from(row % 4 == 0)).collect();
    /// let rows = RowScores::of(&probabilities, &Labels::new(&labels, 2)?)?;
    /// let intervals = rows.intervals(15, &Bootstrap::new(500, 0)?)?;
    /// assert_eq!(intervals["accuracy"].estimate, 0.75);
    /// // ± 1.96 √(0.75 · 0.25 / 100)
    /// assert!((intervals["accuracy"].lower - 0.665).abs() < 0.03);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn intervals(
        &self,
        bins: usize,
        bootstrap: &Bootstrap,
    ) -> Result<BTreeMap<String, Interval>> {
        let resampled = Resampled::new(self, bins)?;
        bootstrap
            .intervals(self.len(), |counts| resampled.metrics(counts))
            .map(|intervals| named(&intervals))
    }

    /// Intervals of the metrics of these rows less those of `other`, where both are of the same rows:
    /// each replicate draws the same rows of both, so what makes a row hard for either cancels.
    ///
    /// An interval that does not hold 0 says that the difference is more than chance.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two differ in the number of rows or in their weights,
    /// [`Error::Empty`] if there are none, [`Error::OutOfRange`] if `bins` is 0 or above a million.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Bootstrap, RowScores};
    ///
    /// let labels = Labels::new(&[0; 50], 2)?;
    /// let rows = |p: f32| {
    ///     let probabilities = Probabilities::new([p, 1.0 - p].repeat(50), 2)?;
    ///     RowScores::of(&probabilities, &labels)
    /// };
    /// let differences = rows(0.75)?.differences(&rows(0.5)?, 15, &Bootstrap::new(100, 0)?)?;
    /// let brier = differences["brier"];
    /// assert_eq!((brier.estimate, brier.lower, brier.upper), (-0.375, -0.375, -0.375));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    #[doc(alias = "paired bootstrap")]
    pub fn differences(
        &self,
        other: &Self,
        bins: usize,
        bootstrap: &Bootstrap,
    ) -> Result<BTreeMap<String, Interval>> {
        if self.len() != other.len() {
            let [expected, found] = [self, other].map(|of| format!("{} rows", of.len()));
            return Err(Error::mismatch("predictions to compare", expected, found));
        }
        let weights = |of: &Self| -> Vec<f64> {
            of.top_label().iter().map(|forecast| forecast.weight.get()).collect()
        };
        if weights(self) != weights(other) {
            return Err(Error::mismatch("weights of predictions to compare", "the same", "others"));
        }
        let (first, second) = (Resampled::new(self, bins)?, Resampled::new(other, bins)?);
        let difference = |counts: &[u32]| {
            let (a, b) = (first.metrics(counts), second.metrics(counts));
            std::array::from_fn(|which| Some(a[which]? - b[which]?))
        };
        bootstrap.intervals(self.len(), difference).map(|intervals| named(&intervals))
    }
}

impl FullEvaluation {
    /// Intervals of the metrics by name; see [`RowScores::intervals`].
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no rows.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Bootstrap, FullEvaluation};
    /// let mut evaluation = FullEvaluation::new(2, 15)?;
    /// evaluation.update(&Probabilities::new(&[0.75f32, 0.25], 2)?, &Labels::new(&[0], 2)?)?;
    /// let intervals = evaluation.intervals(&Bootstrap::new(100, 0)?)?;
    /// assert_eq!((intervals["ece"].lower, intervals["ece"].upper), (0.25, 0.25));
    /// assert!(!intervals.contains_key("auroc_confidence")); // nothing is wrong
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn intervals(&self, bootstrap: &Bootstrap) -> Result<BTreeMap<String, Interval>> {
        self.rows().intervals(self.bins(), bootstrap)
    }
}

impl Bootstrap {
    /// The interval of the expected calibration error of forecasts over `bins` bins of equal width.
    ///
    /// The same as [`RowScores::intervals`] in distribution and in a fraction of the time: how many
    /// rows a replicate draws of each bin, in blocks of 2^k rows, is multinomial, and within a block
    /// every row is as likely, so that a few random bits are its index.
    /// Forecasts with weights take the common path.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no forecasts, [`Error::OutOfRange`] if `bins` is 0 or above a
    /// million.
    ///
    /// ```
    /// use softlabel_metrics::{Bootstrap, Forecasts};
    /// let happened: Vec<bool> = (0..400).map(|row| row % 2 == 0).collect();
    /// let forecasts = Forecasts::new(&[0.75f64; 400], &happened)?;
    /// let interval = Bootstrap::new(1000, 0)?.expected_calibration_error(&forecasts, 15)?;
    /// assert_eq!(interval.estimate, 0.25);
    /// // ± 1.96 √(0.25 / 400)
    /// assert!((interval.lower - 0.201).abs() < 0.01 && (interval.upper - 0.299).abs() < 0.01);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn expected_calibration_error(
        &self,
        forecasts: &Forecasts,
        bins: usize,
    ) -> Result<Interval> {
        if forecasts.is_weighted() || self.method() == IntervalMethod::BiasCorrectedAccelerated {
            let rows = RowScores::from(forecasts.clone());
            return rows.intervals(bins, self)?.remove("ece").ok_or(EMPTY);
        }
        let edges = edges(bins)?;
        let mut residuals: Vec<Vec<f64>> = vec![Vec::new(); bins];
        for forecast in forecasts.iter() {
            residuals[edges.index(forecast.probability)].push(forecast.residual());
        }
        let rows = forecasts.len();
        let replicate = |replicate: usize| {
            let mut generator = self.generator(replicate);
            let (mut left, mut rows_left) = (rows as u64, rows);
            let mut of_bin = |bin: &Vec<f64>| -> f64 {
                let of_block = |block: &[f64]| {
                    let share = block.len() as f64 / rows_left.max(1) as f64;
                    rows_left -= block.len();
                    // A share of 1 is the last block: all that are left.
                    let drawn = Binomial::new(left, share.min(1.0));
                    let drawn = drawn.map_or(left, |drawn| drawn.sample(&mut generator)).min(left);
                    left -= drawn;
                    sum_of_drawn(block, drawn, &mut generator)
                };
                blocks_of(bin).map(of_block).sum()
            };
            residuals.iter().map(|bin| of_bin(bin).abs()).sum::<f64>() / rows as f64
        };
        let replicates = (0..self.replicates()).into_par_iter().map(replicate).collect();
        let sums = residuals.iter().map(|bin| bin.iter().sum::<f64>().abs());
        let estimate = sums.sum::<f64>() / rows as f64;
        self.interval_of(estimate, replicates, &[]).filter(|_| rows > 0).ok_or(EMPTY)
    }
}

/// The values in blocks whose lengths are powers of two, the largest first.
fn blocks_of(values: &[f64]) -> impl Iterator<Item = &[f64]> {
    let mut rest = values;
    std::iter::from_fn(move || {
        let (block, after) = rest.split_at_checked(1 << rest.len().checked_ilog2()?)?;
        rest = after;
        Some(block)
    })
}

/// The sum of so many values drawn with replacement of a block of 2^k: an index is k random bits, and
/// a word of 64 holds several.
fn sum_of_drawn(block: &[f64], count: u64, generator: &mut Xoshiro256PlusPlus) -> f64 {
    let bits = block.len().trailing_zeros();
    match bits {
        0 => block.first().map_or(0.0, |value| value * count as f64),
        1..=8 => sum_by_words::<8>(block, bits, count, generator),
        9..=10 => sum_by_words::<6>(block, bits, count, generator),
        11..=12 => sum_by_words::<5>(block, bits, count, generator),
        13..=16 => sum_by_words::<4>(block, bits, count, generator),
        17..=21 => sum_by_words::<3>(block, bits, count, generator),
        _ => sum_by_words::<2>(block, bits, count, generator),
    }
}

/// The same with so many indices a word, in sums that do not wait for each other.
fn sum_by_words<const INDICES: usize>(
    block: &[f64],
    bits: u32,
    count: u64,
    generator: &mut Xoshiro256PlusPlus,
) -> f64 {
    let mask = block.len() - 1;
    #[allow(clippy::cast_possible_truncation)] // Masked to fewer bits.
    let value = |word: u64| block.get(word as usize & mask).copied().unwrap_or(0.0);
    let mut sums = [0.0; INDICES];
    let each = INDICES as u64;
    for _ in 0..count / each {
        let mut word = generator.next_u64();
        for sum in &mut sums {
            *sum += value(word);
            word >>= bits;
        }
    }
    let mut word = generator.next_u64();
    for (sum, _) in sums.iter_mut().zip(0..count % each) {
        *sum += value(word);
        word >>= bits;
    }
    sums.iter().sum()
}
