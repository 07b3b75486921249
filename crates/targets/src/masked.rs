//! Dense targets of which some count for nothing.

/// A distribution for each sample, and whether it counts: what losses take as rows with a mask.
///
/// [`Svls`](crate::Svls) makes them of maps with ignored pixels, [`HistogramTarget`](crate::HistogramTarget) of values of
/// which some are missing, and [`SoftLabels`](crate::SoftLabels) of samples of which some have no votes.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskedTargets {
    /// Row-major, with the class axis where it was asked for, or last; 0 for what does not count.
    pub values: Vec<f32>,
    /// For each sample or pixel whether it counts.
    pub counted: Vec<bool>,
}
