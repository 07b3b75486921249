//! Sums that carry their rounding error along.
//!
//! A plain `f64` sum of n terms may be off by n·ε of its size, and an `f32` count stops at 2²⁴.
//! Neumaier's variant of Kahan's summation keeps what every addition rounds away in a second
//! number, so the error stays at a few ε however many terms there are.
//!
//! Numerical notes: an infinite term makes the sum infinite (and ∞ − ∞ makes it NaN), as in plain
//! addition.
//! Merging is commutative to the last bit and associative up to rounding.
//!
//! Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen"
//! (1974).

use serde::{Deserialize, Serialize};

/// A running sum in `f64` with compensation for rounding.
///
/// The empty sum is 0.
///
/// ```
/// use softlabel_kernels::CompensatedSum;
///
/// let sum: CompensatedSum = [1.0, 1e100, 1.0, -1e100].into_iter().collect();
/// assert_eq!(sum.value(), 2.0); // plain addition gives 0
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompensatedSum {
    sum: f64,
    compensation: f64,
}

impl CompensatedSum {
    /// Adds one term.
    ///
    /// ```
    /// let mut sum = softlabel_kernels::CompensatedSum::default();
    /// sum.add(0.5);
    /// sum.add(0.25);
    /// assert_eq!(sum.value(), 0.75);
    /// ```
    pub fn add(&mut self, term: f64) {
        let (sum, error) = add_with_error(self.sum, term);
        self.sum = sum;
        self.compensation += error;
    }

    /// Adds everything that was added to `other`.
    ///
    /// ```
    /// use softlabel_kernels::CompensatedSum;
    /// let mut left: CompensatedSum = [0.5, 1e100].into_iter().collect();
    /// let right: CompensatedSum = [0.25, -1e100].into_iter().collect();
    /// left.merge(right);
    /// assert_eq!(left.value(), 0.75);
    /// ```
    pub fn merge(&mut self, other: Self) {
        let (sum, error) = add_with_error(self.sum, other.sum);
        self.sum = sum;
        self.compensation = (self.compensation + other.compensation) + error;
    }

    /// The sum of all terms; 0 if there were none.
    ///
    /// ```
    /// assert_eq!(softlabel_kernels::CompensatedSum::default().value(), 0.0);
    /// ```
    pub fn value(self) -> f64 {
        self.sum + self.compensation
    }
}

impl Extend<f64> for CompensatedSum {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, terms: I) {
        terms.into_iter().for_each(|term| self.add(term));
    }
}

impl FromIterator<f64> for CompensatedSum {
    fn from_iter<I: IntoIterator<Item = f64>>(terms: I) -> Self {
        let mut sum = Self::default();
        sum.extend(terms);
        sum
    }
}

/// a + b as rounded, and what rounding took away; no error is known of a sum that is not finite.
fn add_with_error(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    if !sum.is_finite() {
        return (sum, 0.0);
    }
    let (large, small) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
    (sum, (large - sum) + small)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenth_added_ten_million_times() {
        let (mut compensated, mut plain) = (CompensatedSum::default(), 0.0);
        for _ in 0..10_000_000 {
            compensated.add(0.1);
            plain += 0.1;
        }
        assert_eq!(compensated.value(), 1_000_000.0);
        assert_ne!(plain, 1_000_000.0, "the plain sum should show why this type exists");
    }

    #[test]
    fn merging_like_sums_thirty_times_does_not_drift() {
        let mut sum = CompensatedSum::default();
        sum.add(0.1);
        for _ in 0..30 {
            sum.merge(sum);
        }
        assert_eq!(sum.value(), 0.1 * f64::from(1 << 30));
    }

    #[test]
    fn infinity_stays_infinity() {
        let sum: CompensatedSum = [1.0, f64::INFINITY, 2.0].into_iter().collect();
        assert_eq!(sum.value(), f64::INFINITY);
        let sum: CompensatedSum = [f64::NEG_INFINITY, f64::INFINITY].into_iter().collect();
        assert!(sum.value().is_nan());
    }

    proptest! {
        #[test]
        fn merge_commutes_to_the_bit_and_agrees_with_the_whole(
            left in prop::collection::vec(-1e6..1e6f64, 0..50),
            right in prop::collection::vec(-1e-6..1e6f64, 0..50),
        ) {
            let whole: CompensatedSum = left.iter().chain(&right).copied().collect();
            let a: CompensatedSum = left.into_iter().collect();
            let b: CompensatedSum = right.into_iter().collect();
            let (mut ab, mut ba) = (a, b);
            ab.merge(b);
            ba.merge(a);
            prop_assert_eq!(ab, ba);
            prop_assert!((ab.value() - whole.value()).abs() <= 1e-9 * f64::EPSILON.sqrt());
        }
    }
}
