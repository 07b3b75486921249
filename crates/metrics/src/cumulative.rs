//! The difference between what was said and what happened, summed up along the probabilities.
//!
//! D_j = Σ_{i≤j} w_i (c_i − a_i) / W over rows by ascending c, taken at the ends of tie groups alone,
//! with V = Σ_i w_i² c_i (1 − c_i) / W², its variance at the end if the c_i are true.

use softlabel_kernels::CompensatedSum;

use crate::ranking::TieGroup;

/// The path D, and its variance.
pub(crate) struct CumulativeDifference {
    largest: f64,
    lowest: f64,
    variance: f64,
}

impl CumulativeDifference {
    /// Of groups by ascending score; `None` of no rows.
    pub(crate) fn of(groups: &[TieGroup]) -> Option<Self> {
        let mass: f64 = groups.iter().map(TieGroup::mass).sum();
        let (mut said, mut variance) = (CompensatedSum::default(), CompensatedSum::default());
        let mut happened = CompensatedSum::default();
        let (mut largest, mut lowest) = (0.0_f64, 0.0_f64);
        for group in groups {
            said.add(group.score * group.mass());
            happened.add(group.right);
            variance.add(group.squares * (group.score * (1.0 - group.score)).max(0.0));
            let last = (said.value() - happened.value()) / mass;
            largest = largest.max(last);
            lowest = lowest.min(last);
        }
        let variance = variance.value() / (mass * mass);
        (!groups.is_empty()).then_some(Self { largest, lowest, variance })
    }

    /// max_j D_j, at least 0.
    pub(crate) fn largest(&self) -> f64 {
        self.largest
    }

    /// min_j D_j, at most 0.
    pub(crate) fn lowest(&self) -> f64 {
        self.lowest
    }

    /// V.
    pub(crate) fn variance(&self) -> f64 {
        self.variance
    }
}
