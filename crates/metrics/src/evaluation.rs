//! All metrics of a fixed state in one pass over the predictions.
//!
//! What needs every score, or every class's probability, is left to accumulators of its own: see
//! the overview of the crate.

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::{
    Accumulator, Accuracy, BrierScore, CalibrationBins, CalibrationNorm, DebiasedCalibrationError,
    LogitGap, MeanConfidence, MeanEntropy, MurphyDecomposition, MurphyTerms, NegativeLogLikelihood,
    Observed, Predictions, ReliabilityDiagram, Weight,
};
use softlabel_core::number::{optional_or_infinite, or_infinite};

/// All metrics of a fixed state as one accumulator: the statistics of each row are computed once
/// and feed them all.
///
/// Its own size depends on the number of bins alone.
/// The default has [`DEFAULT_BINS`](crate::DEFAULT_BINS) bins.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, Evaluation};
///
/// let mut evaluation = Evaluation::default();
/// evaluation.update(&Probabilities::new(&[0.75f32, 0.25], 2)?, &Labels::new(&[0], 2)?)?;
/// evaluation.update(&Probabilities::new(&[0.75f32, 0.25], 2)?, &Labels::new(&[1], 2)?)?;
/// let scores = evaluation.compute().unwrap();
/// assert_eq!((scores.samples, scores.accuracy, scores.ece), (2, 0.5, 0.25));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    accuracy: Accuracy,
    negative_log_likelihood: NegativeLogLikelihood,
    brier_score: BrierScore,
    mean_confidence: MeanConfidence,
    mean_entropy: MeanEntropy,
    logit_gap: LogitGap,
    calibration: CalibrationBins,
    murphy: MurphyDecomposition,
}

impl Evaluation {
    /// An evaluation of nothing yet, with `bins` bins of equal width for the calibration errors and
    /// the reliability diagram.
    ///
    /// # Errors
    /// [`Error::OutOfRange`](crate::Error::OutOfRange) if `bins` is 0 or above a million.
    ///
    /// ```
    /// use softlabel_metrics::{Accumulator, Evaluation};
    /// assert_eq!(Evaluation::new(15)?.compute(), None);
    /// assert!(Evaluation::new(0).is_err());
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn new(bins: usize) -> Result<Self> {
        Ok(Self {
            calibration: CalibrationBins::new(bins)?,
            murphy: MurphyDecomposition::new(bins)?,
            ..Self::default()
        })
    }

    /// M, the number of bins.
    pub fn bins(&self) -> usize {
        self.calibration.count()
    }
}

impl Accumulator for Evaluation {
    type Value = Scores;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.accuracy.add_weighted(row, weight);
        self.negative_log_likelihood.add_weighted(row, weight);
        self.brier_score.add_weighted(row, weight);
        self.mean_confidence.add_weighted(row, weight);
        self.mean_entropy.add_weighted(row, weight);
        self.logit_gap.add_weighted(row, weight);
        self.calibration.add_weighted(row, weight);
        self.murphy.add_weighted(row, weight);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        // The parts that may be configured differently come first, and both have as many bins: what
        // does not fit fails before anything is merged.
        self.calibration.merge(&other.calibration)?;
        self.murphy.merge(&other.murphy)?;
        self.accuracy.merge(&other.accuracy)?;
        self.negative_log_likelihood.merge(&other.negative_log_likelihood)?;
        self.brier_score.merge(&other.brier_score)?;
        self.mean_confidence.merge(&other.mean_confidence)?;
        self.mean_entropy.merge(&other.mean_entropy)?;
        self.logit_gap.merge(&other.logit_gap)
    }

    fn compute(&self) -> Option<Scores> {
        let error = |norm| self.calibration.calibration_error(norm);
        Some(Scores {
            samples: self.samples(),
            accuracy: self.accuracy.compute()?,
            nll: self.negative_log_likelihood.compute()?,
            zero_probability_labels: self.negative_log_likelihood.zero_probability_labels(),
            brier: self.brier_score.compute()?,
            ece: error(CalibrationNorm::Expected)?,
            rmsce: error(CalibrationNorm::RootMeanSquare)?,
            mce: error(CalibrationNorm::Maximum { minimum_count: 1 })?,
            bin_average_error: error(CalibrationNorm::BinAverage)?,
            debiased: self.calibration.debiased_calibration_error()?,
            murphy: self.murphy.compute()?,
            mean_confidence: self.mean_confidence.compute()?,
            mean_entropy: self.mean_entropy.compute()?,
            mean_logit_gap: self.logit_gap.compute(),
            diagram: self.calibration.compute()?,
        })
    }

    fn samples(&self) -> u64 {
        self.accuracy.samples()
    }

    fn reset(&mut self) {
        self.accuracy.reset();
        self.negative_log_likelihood.reset();
        self.brier_score.reset();
        self.mean_confidence.reset();
        self.mean_entropy.reset();
        self.logit_gap.reset();
        self.calibration.reset();
        self.murphy.reset();
    }
}

/// What an [`Evaluation`] comes to.
///
/// Serializable; where a number may be infinite, formats without an infinity (JSON) get `"inf"` or
/// `"-inf"` and give it back.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Scores, evaluate};
///
/// // A label that was said to be impossible: the likelihood is 0.
/// let probabilities = Probabilities::new(&[1.0f32, 0.0], 2)?;
/// let scores = evaluate(&probabilities, &Labels::new(&[1], 2)?, 15)?;
/// assert_eq!((scores.nll, scores.zero_probability_labels), (f64::INFINITY, 1));
///
/// let json = serde_json::to_string(&scores).unwrap();
/// assert!(json.contains(r#""nll":"inf""#));
/// assert_eq!(serde_json::from_str::<Scores>(&json).unwrap(), scores);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Scores {
    /// The number of rows, at least 1.
    pub samples: u64,
    /// The share of rows whose top class is the label; see [`Accuracy`].
    pub accuracy: f64,
    /// The mean negative log-likelihood in nats, possibly +∞; see [`NegativeLogLikelihood`].
    #[serde(with = "or_infinite")]
    pub nll: f64,
    /// The number of rows whose label has the probability 0; if there are any, `nll` is +∞.
    pub zero_probability_labels: u64,
    /// The Brier score, summed over classes, in \[0, 2\]; see [`BrierScore`].
    pub brier: f64,
    /// The expected calibration error; see [`CalibrationError`](crate::CalibrationError).
    pub ece: f64,
    /// The root mean square calibration error; see [`CalibrationError`](crate::CalibrationError).
    pub rmsce: f64,
    /// The maximum calibration error over all bins that are not empty; see
    /// [`CalibrationError`](crate::CalibrationError).
    pub mce: f64,
    /// The unweighted mean of the gaps of all bins that are not empty; see
    /// [`CalibrationNorm::BinAverage`].
    pub bin_average_error: f64,
    /// The squared calibration error without its bias, and its root; see
    /// [`CalibrationBins::debiased_calibration_error`].
    pub debiased: DebiasedCalibrationError,
    /// The terms of the Brier score of the top class; see [`MurphyDecomposition`].
    pub murphy: MurphyTerms,
    /// The mean of the largest probability of each row; see [`MeanConfidence`].
    pub mean_confidence: f64,
    /// The mean entropy of the rows in nats; see [`MeanEntropy`].
    pub mean_entropy: f64,
    /// The mean lead of the label's logit, possibly infinite; `None` where it is undefined although
    /// there are rows, see [`LogitGap`].
    #[serde(with = "optional_or_infinite")]
    pub mean_logit_gap: Option<f64>,
    /// Confidence against accuracy, bin by bin.
    pub diagram: ReliabilityDiagram,
}

impl Scores {
    /// Mean confidence less accuracy: positive for an overconfident classifier, negative for an
    /// underconfident one.
    ///
    /// Its size is at most `ece`, and equal to it where all bins err to the same side.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// let probabilities = Probabilities::new(&[0.75f32, 0.25], 2)?;
    /// let scores = softlabel_metrics::evaluate(&probabilities, &Labels::new(&[1], 2)?, 15)?;
    /// assert_eq!(scores.overconfidence(), 0.75);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn overconfidence(&self) -> f64 {
        self.mean_confidence - self.accuracy
    }
}

/// All metrics of a fixed state, in one pass, with `bins` bins for the calibration errors and the
/// reliability diagram.
///
/// # Errors
/// [`Error::OutOfRange`](crate::Error::OutOfRange) if `bins` is 0 or above a million,
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// let logits = Logits::new(vec![3.0f64.ln(), 0.0, 0.0, 3.0f64.ln()], 2)?;
/// let scores = softlabel_metrics::evaluate(&logits, &Labels::new(&[0, 0], 2)?, 15)?;
/// assert_eq!((scores.samples, scores.accuracy), (2, 0.5));
/// assert!((scores.mean_confidence - 0.75).abs() < 1e-15);
/// assert!((scores.ece - 0.25).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn evaluate(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<Scores> {
    value_over(Evaluation::new(bins)?, predictions, labels)
}
