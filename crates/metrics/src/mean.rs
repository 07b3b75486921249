//! The state of every metric that is a mean over the rows.

use serde::{Deserialize, Serialize};
use softlabel_kernels::CompensatedSum;

use crate::Weight;
use crate::weight::Mass;

/// A number of terms, their weights, and the sum of the products.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mean {
    pub(crate) samples: u64,
    pub(crate) mass: Mass,
    pub(crate) sum: CompensatedSum,
}

impl Mean {
    pub(crate) fn add(&mut self, term: f64, weight: Weight) {
        self.samples += 1;
        self.mass.add(weight.get());
        self.sum.add(weight.get() * term);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.mass.merge(&other.mass);
        self.sum.merge(other.sum);
    }

    /// The mean; `None` of no terms.
    pub(crate) fn value(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.sum.value() / self.mass.value())
    }
}
