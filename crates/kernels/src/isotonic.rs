//! Least squares under an order: the pool-adjacent-violators algorithm.
//!
//! Of all g_1 ≤ g_2 ≤ … ≤ g_n, the one that minimizes Σ_i w_i (g_i − y_i)².
//! It is unique, and constant on blocks of neighbours, where it is the weighted mean of the y_i;
//! by the min-max formula
//!
//! g_i = max_{a ≤ i} min_{b ≥ i} (Σ_{j=a..b} w_j y_j) / (Σ_{j=a..b} w_j)
//!
//! y: values in the order of what they must rise with; w: weights, positive.
//! The values are read once; a block that does not lie above the one before is pooled with it.
//! Every value begins one block and every pooling ends one, so the time is O(n).
//!
//! Numerical notes: the sums of a block are compensated, so its mean does not depend on how many
//! poolings it took.
//! Blocks of equal means are pooled too: values rise strictly from block to block.
//!
//! Source: M. Ayer, H. D. Brunk, G. M. Ewing, W. T. Reid, E. Silverman, "An Empirical Distribution
//! Function for Sampling with Incomplete Information" (1955).

use crate::CompensatedSum;

/// Neighbours that an isotonic regression gives the same value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IsotonicBlock {
    /// Index of the first value of the block.
    pub first: usize,
    /// Index of the last value of the block.
    pub last: usize,
    /// The weighted mean of the values of the block.
    pub value: f64,
    /// The sum of their weights.
    pub weight: f64,
}

/// The blocks of the isotonic (non-decreasing) least-squares fit to `values` with `weights`.
///
/// The blocks come in order, cover every index once, and rise strictly in value.
/// No values give no blocks.
/// `None` if there is not one weight a value, if a weight is not positive and finite, or if a value
/// is not finite.
///
/// ```
/// use softlabel_kernels::isotonic_blocks;
///
/// let blocks = isotonic_blocks(&[1.0, 3.0, 2.0, 4.0], &[1.0, 1.0, 3.0, 1.0]).unwrap();
/// assert_eq!(blocks.len(), 3);
/// assert_eq!((blocks[1].first, blocks[1].last, blocks[1].value), (1, 2, 2.25));
/// assert!(isotonic_blocks(&[1.0], &[0.0]).is_none());
/// ```
#[doc(alias("pav", "pava", "pool adjacent violators"))]
pub fn isotonic_blocks(values: &[f64], weights: &[f64]) -> Option<Vec<IsotonicBlock>> {
    let positive = |&weight: &f64| weight > 0.0 && weight.is_finite();
    if values.len() != weights.len()
        || !weights.iter().all(positive)
        || !values.iter().all(|value| value.is_finite())
    {
        return None;
    }
    let mut pools = Pools::default();
    for (index, (&value, &weight)) in values.iter().zip(weights).enumerate() {
        pools.push(Pool::new(Range { first: index, last: index }, value, weight));
    }
    let block = |pool: Pool<Range>| {
        let Range { first, last } = pool.place;
        IsotonicBlock { first, last, value: pool.mean, weight: pool.weight.value() }
    };
    Some(pools.0.into_iter().map(block).collect())
}

/// Where a pool lies; grows to the right.
pub(crate) trait Place: Copy {
    fn join(&mut self, after: Self);
}

/// Indices, both ends included.
#[derive(Clone, Copy)]
struct Range {
    first: usize,
    last: usize,
}

impl Place for Range {
    fn join(&mut self, after: Self) {
        self.last = after.last;
    }
}

/// A block while it may still grow.
#[derive(Clone, Copy)]
pub(crate) struct Pool<P> {
    pub(crate) place: P,
    /// Σ w·y.
    total: CompensatedSum,
    /// Σ w.
    pub(crate) weight: CompensatedSum,
    pub(crate) mean: f64,
}

impl<P: Place> Pool<P> {
    pub(crate) fn new(place: P, value: f64, weight: f64) -> Self {
        let [mut total, mut sum] = [CompensatedSum::default(); 2];
        total.add(weight * value);
        sum.add(weight);
        Self { place, total, weight: sum, mean: value }
    }

    /// This pool and the one after it as one.
    pub(crate) fn joined(mut self, after: Self) -> Self {
        self.place.join(after.place);
        self.total.merge(after.total);
        self.weight.merge(after.weight);
        self.mean = self.total.value() / self.weight.value();
        self
    }
}

/// Pools whose means rise from each to the next.
///
/// Pools of pools are pools: it makes no difference whether what is pushed has been pooled before.
pub(crate) struct Pools<P>(pub(crate) Vec<Pool<P>>);

impl<P> Default for Pools<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: Place> Pools<P> {
    /// Adds a pool on the right of all others, and pools what does not rise.
    pub(crate) fn push(&mut self, mut pool: Pool<P>) {
        while let Some(before) = self.0.pop_if(|before| before.mean >= pool.mean) {
            pool = before.joined(pool);
        }
        self.0.push(pool);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value of every index.
    fn fitted(values: &[f64], weights: &[f64]) -> Vec<f64> {
        let blocks = isotonic_blocks(values, weights).unwrap();
        let spread = |block: IsotonicBlock| vec![block.value; block.last + 1 - block.first];
        blocks.into_iter().flat_map(spread).collect()
    }

    /// The min-max formula, word by word.
    fn min_max(values: &[f64], weights: &[f64], index: usize) -> f64 {
        let mean = |from: usize, to: usize| {
            let total: f64 = (from..=to).map(|j| weights[j] * values[j]).sum();
            total / weights[from..=to].iter().sum::<f64>()
        };
        let lowest = |from| (index..values.len()).map(|to| mean(from, to)).fold(f64::MAX, f64::min);
        (0..=index).map(lowest).fold(f64::MIN, f64::max)
    }

    #[test]
    fn by_hand() {
        assert_eq!(fitted(&[3.0, 2.0, 1.0], &[1.0; 3]), [2.0; 3]);
        assert_eq!(fitted(&[1.0, 2.0, 3.0], &[1.0; 3]), [1.0, 2.0, 3.0]);
        assert_eq!(fitted(&[0.0, 1.0, 0.0, 1.0], &[1.0; 4]), [0.0, 0.5, 0.5, 1.0]);
        // A late low value pools everything before it.
        assert_eq!(fitted(&[1.0, 2.0, 3.0, -6.0], &[1.0; 4]), [0.0; 4]);
        assert_eq!(fitted(&[2.0, 1.0], &[1.0, 3.0]), [1.25; 2]);
        assert!(isotonic_blocks(&[], &[]).unwrap().is_empty());
    }

    #[test]
    fn equal_neighbours_are_one_block() {
        let blocks = isotonic_blocks(&[0.5, 0.5, 0.5], &[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(blocks, [IsotonicBlock { first: 0, last: 2, value: 0.5, weight: 6.0 }]);
    }

    #[test]
    fn what_has_no_fit() {
        assert!(isotonic_blocks(&[1.0, 2.0], &[1.0]).is_none());
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(isotonic_blocks(&[1.0], &[weight]).is_none(), "{weight}");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(isotonic_blocks(&[value], &[1.0]).is_none(), "{value}");
        }
    }

    #[test]
    fn a_million_falling_values_are_quick() {
        let values: Vec<f64> = (0..1_000_000).rev().map(f64::from).collect();
        let blocks = isotonic_blocks(&values, &vec![1.0; values.len()]).unwrap();
        assert_eq!((blocks.len(), blocks[0].value), (1, 499_999.5));
    }

    proptest! {
        #[test]
        fn agrees_with_the_min_max_formula(
            points in prop::collection::vec((-3..3i32, 1..4u32), 1..30),
        ) {
            let values: Vec<f64> = points.iter().map(|&(value, _)| f64::from(value)).collect();
            let weights: Vec<f64> = points.iter().map(|&(_, weight)| f64::from(weight)).collect();
            for (index, found) in fitted(&values, &weights).into_iter().enumerate() {
                let expected = min_max(&values, &weights, index);
                prop_assert!((found - expected).abs() < 1e-14, "{index}: {found}, {expected}");
            }
        }

        /// A weight is a number of repetitions, a fit of a fit is itself, and the weighted mean
        /// stays.
        #[test]
        fn is_a_projection(points in prop::collection::vec((-3.0..3.0f64, 1..4usize), 1..30)) {
            let values: Vec<f64> = points.iter().map(|&(value, _)| value).collect();
            let weights: Vec<f64> = points.iter().map(|&(_, weight)| weight as f64).collect();
            let fit = fitted(&values, &weights);
            for (again, once) in fitted(&fit, &weights).into_iter().zip(&fit) {
                prop_assert!((again - once).abs() < 1e-14);
            }
            let repeat = |(value, &(_, times)): (&f64, &(f64, usize))| vec![*value; times];
            let long: Vec<f64> = values.iter().zip(&points).flat_map(repeat).collect();
            let expected: Vec<f64> = fit.iter().zip(&points).flat_map(repeat).collect();
            for (found, expected) in fitted(&long, &vec![1.0; long.len()]).iter().zip(expected) {
                prop_assert!((found - expected).abs() < 1e-13);
            }
            let mean = |g: &[f64]| g.iter().zip(&weights).map(|(g, w)| g * w).sum::<f64>();
            prop_assert!((mean(&fit) - mean(&values)).abs() < 1e-11);
        }
    }
}
