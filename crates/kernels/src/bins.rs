//! Bins of equal width over [0, 1].
//!
//! With M bins, bin m = 0, …, M−1 is the half-open interval (m/M, (m+1)/M]: a value on an edge
//! belongs to the bin below it, as in Guo et al. (2017). 0 itself, which no such interval holds,
//! belongs to the first bin, so every value in [0, 1] has exactly one bin and the counts of all
//! bins sum to the number of values.
//!
//! Numerical notes: a value is compared with edges that were computed once, the `f64` nearest to
//! m/M; ⌈cM⌉ − 1 would round cM and put some edge values one bin off.
//! NumPy's `searchsorted(linspace(0, 1, M + 1), c, side="left") - 1` gives the same bins, except
//! that `linspace` computes m·(1/M), which for some M is not the `f64` nearest to m/M: there, and
//! only for values between the two, it differs by one bin.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks"
//! (2017).

use std::fmt;

use serde::{Deserialize, Serialize};

/// M bins of equal width over [0, 1], each (lower, upper].
///
/// Serialized as M.
///
/// ```
/// use softlabel_kernels::EqualWidthBins;
///
/// let bins = EqualWidthBins::new(10)?;
/// assert_eq!(bins.index(0.3), 2); // (0.2, 0.3]
/// assert_eq!(bins.index(0.0), 0);
/// assert_eq!(bins.index(1.0), 9);
/// # Ok::<(), softlabel_kernels::InvalidBinCount>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct EqualWidthBins {
    /// m/M for m = 1, …, M: the upper edges, ascending.
    upper_edges: Vec<f64>,
}

impl EqualWidthBins {
    /// The largest number of bins: enough for any diagram, too few to exhaust the memory.
    pub const MAXIMUM_COUNT: usize = 1_000_000;

    /// The number of bins of [`default`](Self::default): 15, which most papers report.
    pub const DEFAULT_COUNT: usize = 15;

    /// `count` bins.
    ///
    /// # Errors
    /// [`InvalidBinCount`] if `count` is 0 or above [`MAXIMUM_COUNT`](Self::MAXIMUM_COUNT).
    ///
    /// ```
    /// use softlabel_kernels::EqualWidthBins;
    /// assert_eq!(EqualWidthBins::new(15)?.count(), 15);
    /// let error = EqualWidthBins::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "the number of bins must be in 1..=1000000, found 0");
    /// # Ok::<(), softlabel_kernels::InvalidBinCount>(())
    /// ```
    pub fn new(count: usize) -> Result<Self, InvalidBinCount> {
        if !(1..=Self::MAXIMUM_COUNT).contains(&count) {
            return Err(InvalidBinCount { found: count });
        }
        Ok(Self::with_count(count))
    }

    fn with_count(count: usize) -> Self {
        Self { upper_edges: (1..=count).map(|edge| edge as f64 / count as f64).collect() }
    }

    /// M, the number of bins.
    pub fn count(&self) -> usize {
        self.upper_edges.len()
    }

    /// The bin that `value` falls into, always below [`count`](Self::count).
    ///
    /// Values below 0 and NaN fall into the first bin, values above 1 into the last: whoever must
    /// not bin them checks before.
    ///
    /// ```
    /// let bins = softlabel_kernels::EqualWidthBins::new(2)?;
    /// assert_eq!([0.5, 0.5 + f64::EPSILON].map(|value| bins.index(value)), [0, 1]);
    /// # Ok::<(), softlabel_kernels::InvalidBinCount>(())
    /// ```
    pub fn index(&self, value: f64) -> usize {
        let last = self.count() - 1;
        // The product may round past an edge: the edges decide. NaN and what is negative become 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mut bin = ((value * self.count() as f64) as usize).min(last);
        while bin > 0 && value <= self.upper_edges[bin - 1] {
            bin -= 1;
        }
        while bin < last && value > self.upper_edges[bin] {
            bin += 1;
        }
        bin
    }

    /// The intervals (lower, upper] of all bins, ascending.
    ///
    /// ```
    /// let bins = softlabel_kernels::EqualWidthBins::new(4)?;
    /// assert_eq!(bins.intervals().nth(1), Some((0.25, 0.5)));
    /// # Ok::<(), softlabel_kernels::InvalidBinCount>(())
    /// ```
    pub fn intervals(&self) -> impl ExactSizeIterator<Item = (f64, f64)> + Clone + '_ {
        let lower = |bin: usize| if bin == 0 { 0.0 } else { self.upper_edges[bin - 1] };
        self.upper_edges.iter().enumerate().map(move |(bin, &upper)| (lower(bin), upper))
    }
}

impl Default for EqualWidthBins {
    /// [`DEFAULT_COUNT`](Self::DEFAULT_COUNT) bins.
    fn default() -> Self {
        Self::with_count(Self::DEFAULT_COUNT)
    }
}

impl TryFrom<usize> for EqualWidthBins {
    type Error = InvalidBinCount;

    fn try_from(count: usize) -> Result<Self, InvalidBinCount> {
        Self::new(count)
    }
}

impl From<EqualWidthBins> for usize {
    fn from(bins: EqualWidthBins) -> Self {
        bins.count()
    }
}

/// A number of bins that is 0 or above [`EqualWidthBins::MAXIMUM_COUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidBinCount {
    /// The number that came.
    pub found: usize,
}

impl fmt::Display for InvalidBinCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let maximum = EqualWidthBins::MAXIMUM_COUNT;
        write!(formatter, "the number of bins must be in 1..={maximum}, found {}", self.found)
    }
}

impl std::error::Error for InvalidBinCount {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_edge_belongs_to_the_bin_below_whatever_the_count() {
        for count in 1..=200 {
            let bins = EqualWidthBins::new(count).unwrap();
            for edge in 1..=count {
                let value = edge as f64 / count as f64;
                assert_eq!(bins.index(value), edge - 1, "{edge}/{count}");
                assert_eq!(
                    bins.index(value.next_up()),
                    edge.min(count - 1),
                    "above {edge}/{count}"
                );
            }
        }
    }

    /// `numpy.searchsorted(numpy.linspace(0, 1, M + 1), c, side="left") - 1`, clipped, for M = 15,
    /// where both ways to compute the edges agree.
    #[test]
    fn agrees_with_numpy() {
        let bins = EqualWidthBins::new(15).unwrap();
        let edges: Vec<f64> = (0..=15).map(|edge| f64::from(edge) * (1.0 / 15.0)).collect();
        for step in 0..=30_000 {
            let value = f64::from(step) / 30_000.0;
            let left = edges.iter().filter(|&&edge| edge < value).count();
            assert_eq!(bins.index(value), left.saturating_sub(1).min(14), "{value}");
        }
    }

    #[test]
    fn values_outside_have_a_bin_too() {
        let bins = EqualWidthBins::new(3).unwrap();
        let values = [f64::NEG_INFINITY, -0.1, 0.0, 1.0, 1.001, f64::INFINITY, f64::NAN];
        assert_eq!(values.map(|value| bins.index(value)), [0, 0, 0, 2, 2, 2, 0]);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_the_interval_of_its_bin(count in 1..500usize, value in 0.0..=1.0f64) {
            let bins = EqualWidthBins::new(count).unwrap();
            let (lower, upper) = bins.intervals().nth(bins.index(value)).unwrap();
            prop_assert!(value <= upper && (value > lower || value == 0.0));
        }
    }
}
