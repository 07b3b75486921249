//! The state of every metric that is a mean over the rows.

use serde::{Deserialize, Serialize};
use softlabel_kernels::CompensatedSum;

/// A number of terms and their sum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mean {
    pub(crate) samples: u64,
    pub(crate) sum: CompensatedSum,
}

impl Mean {
    pub(crate) fn add(&mut self, term: f64) {
        self.samples += 1;
        self.sum.add(term);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.sum.merge(other.sum);
    }

    /// The mean; `None` of no terms.
    pub(crate) fn value(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.sum.value() / self.samples as f64)
    }
}
