//! The reliability diagram as plain data: for each bin of confidence, how often the top class was
//! right.
//!
//! Bin m of M holds the rows whose confidence max_k p_k lies in (m/M, (m+1)/M\]; 0 belongs to the
//! first.
//! A calibrated classifier has mean confidence = accuracy in every bin.
//! Bins without rows have neither, and say so (`None`).
//!
//! Source: M. H. DeGroot and S. E. Fienberg, "The Comparison and Evaluation of Forecasters" (1983);
//! for neural networks C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017).

use serde::{Deserialize, Serialize};

/// One bin of a [`ReliabilityDiagram`].
///
/// ```
/// use softlabel_metrics::ReliabilityBin;
///
/// let bin = ReliabilityBin {
///     lower: 0.5,
///     upper: 0.75,
///     count: 8,
///     mean_confidence: Some(0.625),
///     accuracy: Some(0.5),
/// };
/// assert_eq!(bin.gap(), Some(-0.125)); // overconfident
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReliabilityBin {
    /// The confidence above which the bin begins.
    pub lower: f64,
    /// The largest confidence that belongs to the bin.
    pub upper: f64,
    /// The number of rows in the bin.
    pub count: u64,
    /// The mean confidence of these rows; `None` if there are none.
    pub mean_confidence: Option<f64>,
    /// The share of these rows whose top class is the label; `None` if there are none.
    pub accuracy: Option<f64>,
}

impl ReliabilityBin {
    /// Accuracy less mean confidence, negative where the classifier is overconfident; `None` of an
    /// empty bin.
    pub fn gap(&self) -> Option<f64> {
        Some(self.accuracy? - self.mean_confidence?)
    }
}

/// Confidence against accuracy, bin by bin; made by
/// [`reliability_diagram`](crate::reliability_diagram) and
/// [`CalibrationBins`](crate::CalibrationBins).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
///
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25, 1.0, 0.0], 2)?;
/// let diagram = softlabel_metrics::reliability_diagram(&probabilities, &Labels::new(&[0, 1, 0],
/// 2)?, 2)?;
/// assert_eq!(diagram.samples, 3);
/// assert_eq!(diagram.bins[0].accuracy, None); // (0, 0.5] is empty
/// assert_eq!(diagram.bins[1].mean_confidence, Some(2.5 / 3.0));
/// assert_eq!(diagram.bins[1].accuracy, Some(2.0 / 3.0));
/// assert_eq!(diagram.confidence_histogram(), [0.0, 1.0]);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
///
/// Source: M. H. DeGroot and S. E. Fienberg (1983); C. Guo et al. (2017).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias("calibration curve", "calibration plot"))]
pub struct ReliabilityDiagram {
    /// The number of rows in all bins together.
    pub samples: u64,
    /// The bins, by ascending confidence; together they cover \[0, 1\].
    pub bins: Vec<ReliabilityBin>,
}

impl ReliabilityDiagram {
    /// The share of all rows that each bin holds: the histogram of the confidences, summing to 1.
    ///
    /// All 0 if there are no rows.
    pub fn confidence_histogram(&self) -> Vec<f64> {
        let samples = self.samples.max(1) as f64;
        self.bins.iter().map(|bin| bin.count as f64 / samples).collect()
    }
}
