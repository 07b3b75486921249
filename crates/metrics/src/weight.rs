//! How much a row counts.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::CompensatedSum;

/// How much a row counts in comparison with the others: positive and finite.
///
/// Only ratios matter: weights that are all equal change nothing, and a row of weight 2 counts like
/// two rows.
/// A row that shall not count at all is left out; see [`Observations`](crate::Observations).
///
/// ```
/// use softlabel_metrics::Weight;
/// assert_eq!(Weight::new(2.5)?.get(), 2.5);
/// assert_eq!(Weight::default(), Weight::ONE);
/// let error = Weight::new(-1.0).unwrap_err();
/// assert_eq!(error.to_string(), "weight must be positive and finite, found -1");
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Weight(f64);

impl Weight {
    /// That of every row where nothing else is said.
    pub const ONE: Self = Self(1.0);

    /// Checks the number.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if it is not positive and finite.
    pub fn new(value: f64) -> Result<Self> {
        if value > 0.0 && value.is_finite() {
            return Ok(Self(value));
        }
        Err(Error::OutOfRange { name: "weight", expected: "positive and finite", found: value })
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// A sum of weights, exact as long as they are 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mass {
    /// How many weights of 1.
    ones: u64,
    /// The sum of the others.
    rest: CompensatedSum,
}

impl Mass {
    pub(crate) fn add(&mut self, weight: f64) {
        if weight == 1.0 {
            self.ones += 1;
        } else {
            self.rest.add(weight);
        }
    }

    /// Adds as many weights of 1.
    pub(crate) fn add_ones(&mut self, count: u64) {
        self.ones += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.ones += other.ones;
        self.rest.merge(other.rest);
    }

    pub(crate) fn value(&self) -> f64 {
        self.ones as f64 + self.rest.value()
    }
}
