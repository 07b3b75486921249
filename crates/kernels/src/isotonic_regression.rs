//! Isotonic regression of values on scores: sorting, ties, and pooling, in threads.
//!
//! Of all non-decreasing functions g of a score, the one that minimizes Σ_i w_i (g(s_i) − y_i)².
//! It is determined at the scores alone; what has the same score is one point with its weighted
//! mean, so the order of the points cannot matter.
//!
//! The scores are shared out to buckets between quantiles of a sample of them; each bucket is sorted
//! and pooled by itself, and the pools of all buckets once more.
//! Pools of pools are pools, so the result is that of pooling all points in order.
//!
//! Numerical notes: sums are compensated.
//! The buckets depend on the points alone, so the bits of a result do not depend on the number of
//! threads. −0 and 0 are one score.
//!
//! Source: M. Ayer, H. D. Brunk, G. M. Ewing, W. T. Reid, E. Silverman (1955); see
//! [`isotonic_blocks`](crate::isotonic_blocks).

use rayon::prelude::*;

use crate::CompensatedSum;
use crate::isotonic::{Place, Pool, Pools};

/// Fewer points are one bucket.
const FEW: usize = 1 << 14;

/// So many buckets have the others.
const BUCKETS: usize = 16;

/// Their bounds are quantiles of so many scores.
const SAMPLE: usize = 1 << 12;

/// A thread shares out so many points at a time.
const CHUNK: usize = 1 << 19;

/// A value that was seen at a score, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IsotonicPoint {
    /// s.
    pub score: f64,
    /// y.
    pub value: f64,
    /// w.
    pub weight: f64,
}

/// Neighbouring scores at which an isotonic regression has the same value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IsotonicStep {
    /// The lowest of the scores.
    pub lowest: f64,
    /// The highest of the scores.
    pub highest: f64,
    /// The weighted mean of the scores, in \[lowest, highest\].
    pub centre: f64,
    /// The weighted mean of the values.
    pub value: f64,
    /// The sum of the weights.
    pub weight: f64,
}

/// The steps of the isotonic (non-decreasing) least-squares fit to `count` points, of which `point`
/// gives each.
///
/// The steps come in order, do not overlap, and rise strictly in value. No points give no steps.
/// `None` if a score or a value is not finite, or a weight not positive and finite.
///
/// ```
/// use softlabel_kernels::{IsotonicPoint, isotonic_regression};
///
/// let seen = [(0.75, 1.0), (0.5, 0.0), (0.25, 1.0), (0.25, 0.0), (0.125, 0.0)];
/// let point = |i: usize| IsotonicPoint { score: seen[i].0, value: seen[i].1, weight: 1.0 };
/// let steps = isotonic_regression(seen.len(), point).unwrap();
/// assert_eq!(steps.len(), 3);
/// assert_eq!((steps[1].lowest, steps[1].highest, steps[1].value), (0.25, 0.5, 1.0 / 3.0));
///
/// let nan = |_: usize| IsotonicPoint { score: f64::NAN, value: 0.0, weight: 1.0 };
/// assert!(isotonic_regression(1, nan).is_none());
/// ```
#[doc(alias("pav", "pava", "pool adjacent violators"))]
pub fn isotonic_regression(
    count: usize,
    point: impl Fn(usize) -> IsotonicPoint + Sync,
) -> Option<Vec<IsotonicStep>> {
    let bounds = bounds(count, &point);
    let chunks: Vec<Vec<Vec<IsotonicPoint>>> = (0..count.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| shared_out(chunk * CHUNK..count.min((chunk + 1) * CHUNK), &bounds, &point))
        .collect::<Option<_>>()?;
    let of_bucket = |bucket: usize| {
        let parts = || chunks.iter().map(|chunk| chunk[bucket].as_slice());
        let mut points = Vec::with_capacity(parts().map(<[_]>::len).sum());
        parts().for_each(|part| points.extend_from_slice(part));
        pooled(points)
    };
    let buckets: Vec<_> = (0..=bounds.len()).into_par_iter().map(of_bucket).collect();
    let mut pools = Pools::default();
    buckets.into_iter().flat_map(|bucket| bucket.0).for_each(|pool| pools.push(pool));
    let step = |pool: Pool<Scores>| {
        let (Scores { lowest, highest, moment }, weight) = (pool.place, pool.weight.value());
        let centre = (moment.value() / weight).max(lowest).min(highest);
        IsotonicStep { lowest, highest, centre, value: pool.mean, weight }
    };
    Some(pools.0.into_iter().map(step).collect())
}

/// The scores of a pool.
#[derive(Clone, Copy)]
struct Scores {
    lowest: f64,
    highest: f64,
    /// Σ w·s.
    moment: CompensatedSum,
}

impl Place for Scores {
    fn join(&mut self, after: Self) {
        self.highest = after.highest;
        self.moment.merge(after.moment);
    }
}

/// A whole number that rises with the score, the same for −0 and 0.
fn rank(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    let is_negative = bits >> 63 == 1;
    if is_negative { !bits } else { bits | 1 << 63 }
}

/// The ranks at which the second and all further buckets begin.
fn bounds(count: usize, point: &impl Fn(usize) -> IsotonicPoint) -> Vec<u64> {
    if count < FEW {
        return Vec::new();
    }
    let sample = (0..count).step_by(count / SAMPLE);
    let mut ranks: Vec<u64> = sample.map(|index| rank(point(index).score)).collect();
    ranks.sort_unstable();
    let quantile = |bucket: usize| ranks[bucket * ranks.len() / BUCKETS];
    let mut bounds: Vec<u64> = (1..BUCKETS).map(quantile).collect();
    bounds.dedup();
    bounds
}

/// The points of a range, by bucket; `None` if one is none.
fn shared_out(
    range: std::ops::Range<usize>,
    bounds: &[u64],
    point: &impl Fn(usize) -> IsotonicPoint,
) -> Option<Vec<Vec<IsotonicPoint>>> {
    let expected = range.len() / (bounds.len() + 1);
    let mut buckets: Vec<_> =
        (0..=bounds.len()).map(|_| Vec::with_capacity(expected + expected / 8)).collect();
    for index in range {
        let point = point(index);
        let IsotonicPoint { score, value, weight } = point;
        if !(score.is_finite() && value.is_finite() && weight > 0.0 && weight.is_finite()) {
            return None;
        }
        let rank = rank(score);
        // Counted, not searched: the processor could not guess the way.
        let bucket: usize = bounds.iter().map(|&bound| usize::from(rank >= bound)).sum();
        buckets[bucket].push(point);
    }
    Some(buckets)
}

/// The pools of some points.
fn pooled(mut points: Vec<IsotonicPoint>) -> Pools<Scores> {
    points.sort_unstable_by_key(|point| rank(point.score));
    let mut pools = Pools::default();
    let pool = |point: &IsotonicPoint| {
        let &IsotonicPoint { score, value, weight } = point;
        let mut moment = CompensatedSum::default();
        moment.add(weight * score);
        Pool::new(Scores { lowest: score, highest: score, moment }, value, weight)
    };
    for tie in points.chunk_by(|one, other| one.score == other.score) {
        if let Some(tie) = tie.iter().map(pool).reduce(Pool::joined) {
            pools.push(tie);
        }
    }
    pools
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::isotonic_blocks;

    fn steps(points: &[(f64, f64, f64)]) -> Vec<IsotonicStep> {
        let point = |index: usize| {
            let (score, value, weight) = points[index];
            IsotonicPoint { score, value, weight }
        };
        isotonic_regression(points.len(), point).unwrap()
    }

    /// The same by sorting all points stably, and pooling the means of ties.
    fn expected(points: &[(f64, f64, f64)]) -> Vec<(f64, f64, f64)> {
        let mut sorted = points.to_vec();
        sorted.sort_by(|x, y| x.0.partial_cmp(&y.0).unwrap());
        let (mut scores, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for tie in sorted.chunk_by(|x, y| x.0 == y.0) {
            let weight: f64 = tie.iter().map(|point| point.2).sum();
            scores.push(tie[0].0);
            values.push(tie.iter().map(|point| point.1 * point.2).sum::<f64>() / weight);
            weights.push(weight);
        }
        let blocks = isotonic_blocks(&values, &weights).unwrap();
        blocks.iter().map(|block| (scores[block.first], scores[block.last], block.value)).collect()
    }

    /// Values at each score, not blocks: whether blocks of equal means are one hangs on rounding.
    fn check(points: &[(f64, f64, f64)]) {
        let found = steps(points);
        for pair in found.windows(2) {
            assert!(pair[0].highest < pair[1].lowest && pair[0].value < pair[1].value);
        }
        let mut next = 0;
        for (lowest, highest, value) in expected(points) {
            while found.get(next).is_some_and(|step| step.highest < lowest) {
                next += 1;
            }
            let inside = found[next..].iter().take_while(|step| step.lowest <= highest);
            assert!(inside.clone().count() > 0);
            for step in inside {
                assert!((step.value - value).abs() < 1e-14, "{step:?}, {value}");
            }
        }
        for step in &found {
            let range = step.lowest..=step.highest;
            let inside = points.iter().filter(|point| range.contains(&point.0));
            let (moment, weight) =
                inside.fold((0.0, 0.0), |(m, w), point| (m + point.0 * point.2, w + point.2));
            assert!((step.weight - weight).abs() < 1e-9 * weight);
            assert!((step.centre - moment / weight).abs() < 1e-9 * step.highest.abs().max(1.0));
        }
        let weight: f64 = points.iter().map(|point| point.2).sum();
        let found: f64 = found.iter().map(|step| step.weight).sum();
        assert!((found - weight).abs() <= 1e-9 * weight);
    }

    proptest! {
        #[test]
        fn agrees_with_sorting_and_pooling(
            points in prop::collection::vec((-4..4i32, -3..3i32, 1..4u32), 0..40),
        ) {
            let point = |&(s, y, w): &(i32, i32, u32)| (f64::from(s) / 3.0, f64::from(y), f64::from(w));
            check(&points.iter().map(point).collect::<Vec<_>>());
        }
    }

    /// Enough points for buckets and chunks: different scores, few scores, one score, rising and
    /// falling ones, and scores of both signs.
    #[test]
    fn many_points() {
        let count = CHUNK + 7 * FEW;
        let noise = |i: usize| ((i * 2_654_435_761) % 1_000_003) as f64 / 1_000_003.0;
        let score: [fn(f64) -> f64; 5] =
            [|x| x, |x| (x * 5.0).floor(), |_| 0.25, |x| -x, |x| (x - 0.5) * 1e9];
        for score in score {
            let point = |i: usize| {
                let event = noise(i + 1) < noise(i).powi(2);
                (score(noise(i)), f64::from(u8::from(event)), 1.0 + (i % 3) as f64)
            };
            check(&(0..count).map(point).collect::<Vec<_>>());
        }
        let rising: Vec<_> = (0..FEW).map(|i| (i as f64, i as f64, 1.0)).collect();
        assert_eq!(steps(&rising).len(), FEW);
    }

    #[test]
    fn zeros_of_both_signs_are_one_score() {
        let found = steps(&[(0.0, 0.0, 1.0), (-0.0, 1.0, 1.0), (0.0, 2.0, 1.0)]);
        assert_eq!((found.len(), found[0].value), (1, 1.0));
    }

    #[test]
    fn what_has_no_fit() {
        assert_eq!(isotonic_regression(0, |_| unreachable!()), Some(Vec::new()));
        let regression = |score, value, weight| {
            isotonic_regression(1, |_| IsotonicPoint { score, value, weight })
        };
        assert!(regression(0.0, 0.0, 1.0).is_some());
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(regression(bad, 0.0, 1.0).is_none() && regression(0.0, bad, 1.0).is_none());
            assert!(regression(0.0, 0.0, bad).is_none());
        }
        assert!(regression(0.0, 0.0, 0.0).is_none() && regression(0.0, 0.0, -1.0).is_none());
    }
}
