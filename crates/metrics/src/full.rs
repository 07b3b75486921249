//! Every metric of a classifier that needs nothing to be chosen but a number of bins, in one pass.
//!
//! [`Evaluation`] keeps sums of a fixed size; this keeps what every row came to as well, 25 bytes
//! each, and of every class its bins, so it also has what must sort or see all classes.
//! Rows are looked at in blocks, in parallel on the threads of rayon; blocks are merged in order, so
//! the same rows give the same bits on any number of threads.
//! Predictions are widened a row at a time, whatever their type.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::RowStatistics;

use crate::accumulator::EMPTY;
use crate::bin::error_over;
use crate::classwise::Tally;
use crate::cumulative::CumulativeDifference;
use crate::equal_mass::bins_of_equal_mass;
use crate::metric::serde_metric;
use crate::predictions::{BLOCK, check, for_rows};
use crate::ranking::TieGroup;
use crate::selective::SelectiveScores;
use crate::smooth::smooth_calibration;
use crate::{
    Accumulator, CalibrationBins, CalibrationNorm, ClasswiseCalibration, ConfidenceScore,
    DebiasedCalibrationError, Evaluation, ForecastAccumulator, Forecasts, Metric,
    MurphyDecomposition, MurphyTerms, Observed, Predictions, ReliabilityDiagram, RowScores, Scores,
    Undefined, Weight,
};

/// All metrics that need nothing but a number of bins, as one accumulator.
///
/// It looks at every probability of a row, not at its [`RowStatistics`] alone, so it is no
/// [`Accumulator`] but has the same methods.
/// The state grows by 25 bytes a row, and has as many bins for each class.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_metrics::{FullEvaluation, Undefined};
///
/// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 3.0, 1.0, 0.0], 2)?;
/// let mut evaluation = FullEvaluation::new(2, 15)?;
/// evaluation.update(&logits, &Labels::new(&[0, 1, 1], 2)?)?;
/// let scores = evaluation.compute().unwrap();
/// assert_eq!(scores.accuracy, 2.0 / 3.0);
/// assert_eq!(scores.auroc_confidence, Ok(1.0)); // the wrong row is the least sure
///
/// // All right: nothing can be told apart, and no number says otherwise.
/// evaluation.reset();
/// evaluation.update(&logits, &Labels::new(&[0, 1, 0], 2)?)?;
/// assert_eq!(evaluation.compute().unwrap().auroc_confidence, Err(Undefined::AllRight));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullEvaluation {
    fixed: Evaluation,
    classwise: ClasswiseCalibration,
    rows: RowScores,
}

impl FullEvaluation {
    /// An evaluation of nothing yet, with `bins` bins for all calibration errors.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Empty`] if `classes` is 0.
    pub fn new(classes: usize, bins: usize) -> Result<Self> {
        let classwise = ClasswiseCalibration::new(classes, bins)?;
        Ok(Self { fixed: Evaluation::new(bins)?, classwise, rows: RowScores::default() })
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.classwise.classes()
    }

    /// M, the number of bins.
    pub fn bins(&self) -> usize {
        self.fixed.bins()
    }

    /// Adds every row of `predictions` that counts, with its label and its weight.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one label a row, or if predictions or labels are of
    /// another number of classes; nothing is added then.
    pub fn update(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
    ) -> Result<()> {
        check(predictions, labels)?;
        if predictions.classes() != self.classes() {
            let [expected, found] =
                [self.classes(), predictions.classes()].map(|count| format!("{count} classes"));
            return Err(Error::mismatch("predictions", expected, found));
        }
        // Enough rows for the bins of all classes to be worth their memory.
        let block = BLOCK.max(self.classes());
        let empty = self.emptied();
        let part = |block_number: usize| {
            let start = block_number * block;
            let mut part = empty.clone();
            let mut tally = part.classwise.tally();
            let rows = start..predictions.rows().min(start + block);
            for_rows(predictions, labels, rows, |row, weight, probabilities| {
                part.add_row(&mut tally, row, weight, probabilities);
            })?;
            part.classwise.take(&mut tally);
            Ok(part)
        };
        let blocks = 0..predictions.rows().div_ceil(block);
        let parts: Vec<Self> = blocks.into_par_iter().map(part).collect::<Result<_>>()?;
        parts.iter().try_for_each(|part| self.merge(part))
    }

    fn add_row(
        &mut self,
        tally: &mut Tally,
        row: &RowStatistics,
        weight: Weight,
        probabilities: &[f64],
    ) {
        self.fixed.add_weighted(row, weight);
        self.classwise.add_row(tally, row.label, weight, probabilities);
        self.rows.push(row, weight);
    }

    /// Adds everything that was added to `other`, after what was added to `self`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two differ in classes or bins; `self` is then as it was.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        // Both have as many bins as their classes have: what does not fit fails here.
        self.classwise.merge(&other.classwise)?;
        self.fixed.merge(&other.fixed)?;
        self.rows.append(&other.rows);
        Ok(())
    }

    /// The metrics over all rows added so far; `None` of no rows.
    pub fn compute(&self) -> Option<FullScores> {
        let scores = self.fixed.compute()?;
        let groups = self.rows.top_label().tie_groups();
        let mut full = FullScores::of_top_label(&groups, self.bins(), TopLabel::of(&scores))?;
        let errors = self.classwise.compute()?;
        full.classes = Some(self.classes());
        full.nll = Ok(scores.nll);
        full.zero_probability_labels = scores.zero_probability_labels;
        full.brier = Ok(scores.brier);
        full.classwise_ece = errors.mean().ok_or(Undefined::NoRows);
        full.classwise_ece_sum = errors.sum().ok_or(Undefined::NoRows);
        full.classwise_rmsce = errors.root_mean_square().ok_or(Undefined::NoRows);
        full.mean_entropy = Ok(scores.mean_entropy);
        full.mean_logit_gap = scores.mean_logit_gap.ok_or(Undefined::OppositeInfinities);
        Some(full)
    }

    /// What every row came to, in the order in which they were added.
    pub fn rows(&self) -> &RowScores {
        &self.rows
    }

    /// The bins of every class against the rest: calibration by class.
    ///
    /// ```
    /// use softlabel_metrics::FullEvaluation;
    /// assert_eq!(FullEvaluation::new(10, 15)?.classwise().classes(), 10);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn classwise(&self) -> &ClasswiseCalibration {
        &self.classwise
    }

    /// How many rows were added.
    pub fn samples(&self) -> u64 {
        self.fixed.samples()
    }

    /// Forgets all rows and keeps the configuration.
    pub fn reset(&mut self) {
        *self = self.emptied();
    }

    fn emptied(&self) -> Self {
        let (mut fixed, mut classwise) = (self.fixed.clone(), self.classwise.clone());
        fixed.reset();
        classwise.reset();
        Self { fixed, classwise, rows: RowScores::default() }
    }
}

/// What a [`FullEvaluation`] comes to.
///
/// Serializable; a [`Metric`] is written as a number, `"inf"`, or an object with the reason why it is
/// undefined.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{FullScores, full_evaluation};
///
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25], 2)?;
/// let scores = full_evaluation(&probabilities, &Labels::new(&[0, 0], 2)?, 15)?;
/// assert_eq!((scores.ece, scores.brier), (0.25, Ok(0.125)));
/// let json = serde_json::to_string(&scores).unwrap();
/// assert!(json.contains(r#""auroc_confidence":{"undefined":"all_right"}"#));
/// assert_eq!(serde_json::from_str::<FullScores>(&json).unwrap(), scores);
/// assert_eq!(scores.metric("ece"), Some(Ok(0.25)));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FullScores {
    /// The number of rows, at least 1.
    pub samples: u64,
    /// K; `None` if only the confidence in the top class is known.
    pub classes: Option<usize>,
    /// The share of rows whose top class is the label; see [`Accuracy`](crate::Accuracy).
    pub accuracy: f64,
    /// The mean negative log-likelihood in nats, possibly +∞; see
    /// [`NegativeLogLikelihood`](crate::NegativeLogLikelihood).
    #[serde(with = "serde_metric")]
    pub nll: Metric,
    /// The number of rows whose label has the probability 0; if there are any, `nll` is +∞.
    pub zero_probability_labels: u64,
    /// The Brier score, summed over classes, in \[0, 2\]; see [`BrierScore`](crate::BrierScore).
    #[serde(with = "serde_metric")]
    pub brier: Metric,
    /// The expected calibration error over bins of equal width; see
    /// [`CalibrationError`](crate::CalibrationError).
    pub ece: f64,
    /// The expected calibration error over bins of equal mass; see
    /// [`EqualMassCalibration`](crate::EqualMassCalibration).
    pub ece_equal_mass: f64,
    /// The maximum calibration error over all bins of equal width that are not empty.
    pub mce: f64,
    /// The root mean square calibration error over bins of equal width.
    pub rmsce: f64,
    /// The unweighted mean of the gaps of all bins that are not empty; see
    /// [`CalibrationNorm::BinAverage`].
    pub bin_average_error: f64,
    /// The squared calibration error without its bias, and its root.
    pub debiased: DebiasedCalibrationError,
    /// The mean over classes of their calibration errors; see [`ClasswiseCalibration`].
    #[serde(with = "serde_metric")]
    pub classwise_ece: Metric,
    /// The sum over classes of the same, as in the tables of Kull et al. (2019).
    #[serde(with = "serde_metric")]
    pub classwise_ece_sum: Metric,
    /// The quadratic mean over classes of their quadratic errors.
    #[serde(with = "serde_metric")]
    pub classwise_rmsce: Metric,
    /// The calibration error without bins; see
    /// [`KolmogorovSmirnovError`](crate::KolmogorovSmirnovError).
    pub ks: f64,
    /// The range of the same cumulative differences; max − min, Kuiper.
    pub kuiper: f64,
    /// The smooth calibration error; see
    /// [`SmoothCalibrationError`](crate::SmoothCalibrationError).
    pub smooth_ece: f64,
    /// The area under the risk-coverage curve; see
    /// [`SelectiveClassification`](crate::SelectiveClassification).
    pub aurc: f64,
    /// `aurc` less that of the best order.
    pub eaurc: f64,
    /// The area under the generalized risk-coverage curve.
    pub augrc: f64,
    /// The AUROC of telling right from wrong rows by confidence.
    #[serde(with = "serde_metric")]
    pub auroc_confidence: Metric,
    /// The average precision of finding right rows by high confidence.
    #[serde(with = "serde_metric")]
    pub aupr_success: Metric,
    /// The average precision of finding wrong rows by low confidence.
    #[serde(with = "serde_metric")]
    pub aupr_error: Metric,
    /// The share of wrong rows kept where 95 % of the right ones are.
    #[serde(with = "serde_metric")]
    pub fpr_at_95_tpr: Metric,
    /// The mean of the largest probability of each row.
    pub mean_confidence: f64,
    /// The mean entropy of the rows in nats.
    #[serde(with = "serde_metric")]
    pub mean_entropy: Metric,
    /// The mean lead of the label's logit; see [`LogitGap`](crate::LogitGap).
    #[serde(with = "serde_metric")]
    pub mean_logit_gap: Metric,
    /// The terms of the Brier score of the top class.
    pub murphy: MurphyTerms,
    /// Confidence against accuracy over bins of equal width.
    pub diagram: ReliabilityDiagram,
    /// Confidence against accuracy over bins of equal mass.
    pub diagram_equal_mass: ReliabilityDiagram,
}

/// What sums over the rows say of the top class.
struct TopLabel {
    accuracy: f64,
    mean_confidence: f64,
    ece: f64,
    mce: f64,
    rmsce: f64,
    bin_average_error: f64,
    debiased: DebiasedCalibrationError,
    murphy: MurphyTerms,
    diagram: ReliabilityDiagram,
}

impl TopLabel {
    fn of(scores: &Scores) -> Self {
        Self {
            accuracy: scores.accuracy,
            mean_confidence: scores.mean_confidence,
            ece: scores.ece,
            mce: scores.mce,
            rmsce: scores.rmsce,
            bin_average_error: scores.bin_average_error,
            debiased: scores.debiased,
            murphy: scores.murphy,
            diagram: scores.diagram.clone(),
        }
    }

    /// The same of forecasts, of which there must be some.
    fn of_forecasts(forecasts: &Forecasts, bins: usize) -> Result<Self> {
        let (mut accuracy, mut confidence) =
            (crate::mean::Mean::default(), crate::mean::Mean::default());
        for forecast in forecasts.iter() {
            accuracy.add(forecast.outcome(), forecast.weight);
            confidence.add(forecast.probability, forecast.weight);
        }
        let mut calibration = CalibrationBins::new(bins)?;
        calibration.update_forecasts(forecasts);
        let error = |norm| calibration.calibration_error(norm).ok_or(EMPTY);
        Ok(Self {
            accuracy: accuracy.value().ok_or(EMPTY)?,
            mean_confidence: confidence.value().ok_or(EMPTY)?,
            ece: error(CalibrationNorm::Expected)?,
            mce: error(CalibrationNorm::Maximum { minimum_count: 1 })?,
            rmsce: error(CalibrationNorm::RootMeanSquare)?,
            bin_average_error: error(CalibrationNorm::BinAverage)?,
            debiased: calibration.debiased_calibration_error().ok_or(EMPTY)?,
            murphy: MurphyDecomposition::new(bins)?.value_of(forecasts)?,
            diagram: calibration.compute().ok_or(EMPTY)?,
        })
    }
}

impl FullScores {
    /// What is known of the top class alone; `None` of no rows.
    fn of_top_label(groups: &[TieGroup], bins: usize, top_label: TopLabel) -> Option<Self> {
        let selective = SelectiveScores::of(ConfidenceScore::MaximumProbability, groups)?;
        let path = CumulativeDifference::of(groups)?;
        let equal_mass = bins_of_equal_mass(groups, bins);
        let ece_equal_mass = {
            let bins: Vec<_> = equal_mass.iter().map(|(bin, _)| *bin).collect();
            error_over(&bins, CalibrationNorm::Expected)?
        };
        let one_kind = if selective.risk > 0.0 { Undefined::AllWrong } else { Undefined::AllRight };
        let unknown = || Err(Undefined::TopClassOnly);
        Some(Self {
            samples: selective.samples,
            classes: None,
            accuracy: top_label.accuracy,
            nll: unknown(),
            zero_probability_labels: 0,
            brier: unknown(),
            ece: top_label.ece,
            ece_equal_mass,
            mce: top_label.mce,
            rmsce: top_label.rmsce,
            bin_average_error: top_label.bin_average_error,
            debiased: top_label.debiased,
            classwise_ece: unknown(),
            classwise_ece_sum: unknown(),
            classwise_rmsce: unknown(),
            ks: path.largest().max(-path.lowest()),
            kuiper: path.largest() - path.lowest(),
            smooth_ece: smooth_calibration(groups)?.error,
            aurc: selective.aurc,
            eaurc: selective.excess_aurc,
            augrc: selective.augrc,
            auroc_confidence: selective.auroc.ok_or(one_kind),
            aupr_success: selective.aupr_success.ok_or(one_kind),
            aupr_error: selective.aupr_error.ok_or(one_kind),
            fpr_at_95_tpr: selective.fpr_at_95_tpr.ok_or(one_kind),
            mean_confidence: top_label.mean_confidence,
            mean_entropy: unknown(),
            mean_logit_gap: unknown(),
            murphy: top_label.murphy,
            diagram: top_label.diagram,
            diagram_equal_mass: crate::equal_mass::diagram(&equal_mass, selective.samples),
        })
    }

    /// All numbers by name, as the fields are called.
    pub fn metrics(&self) -> Vec<(&'static str, Metric)> {
        vec![
            ("accuracy", Ok(self.accuracy)),
            ("nll", self.nll),
            ("brier", self.brier),
            ("ece", Ok(self.ece)),
            ("ece_equal_mass", Ok(self.ece_equal_mass)),
            ("mce", Ok(self.mce)),
            ("rmsce", Ok(self.rmsce)),
            ("bin_average_error", Ok(self.bin_average_error)),
            ("classwise_ece", self.classwise_ece),
            ("classwise_ece_sum", self.classwise_ece_sum),
            ("classwise_rmsce", self.classwise_rmsce),
            ("ks", Ok(self.ks)),
            ("kuiper", Ok(self.kuiper)),
            ("smooth_ece", Ok(self.smooth_ece)),
            ("aurc", Ok(self.aurc)),
            ("eaurc", Ok(self.eaurc)),
            ("augrc", Ok(self.augrc)),
            ("auroc_confidence", self.auroc_confidence),
            ("aupr_success", self.aupr_success),
            ("aupr_error", self.aupr_error),
            ("fpr_at_95_tpr", self.fpr_at_95_tpr),
            ("mean_confidence", Ok(self.mean_confidence)),
            ("mean_entropy", self.mean_entropy),
            ("mean_logit_gap", self.mean_logit_gap),
        ]
    }

    /// A number by its name; `None` if there is none of that name.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        let mut metrics = self.metrics().into_iter();
        metrics.find(|(known, _)| *known == name).map(|(_, metric)| metric)
    }
}

/// All metrics of predictions under their labels, with `bins` bins for the calibration errors; see
/// [`FullEvaluation`].
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 3.0], 2)?;
/// let scores = softlabel_metrics::full_evaluation(&logits, &Labels::new(&[0, 0], 2)?, 15)?;
/// assert_eq!((scores.samples, scores.classes, scores.accuracy), (2, Some(2), 0.5));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn full_evaluation(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
) -> Result<FullScores> {
    let mut evaluation = FullEvaluation::new(predictions.classes(), bins)?;
    evaluation.update(predictions, labels)?;
    evaluation.compute().ok_or(EMPTY)
}

/// The metrics of forecasts of events, such as the confidence in a top class whose other
/// probabilities were not kept: what needs those is undefined, with the reason
/// [`Undefined::TopClassOnly`].
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Empty`] if there are no
/// forecasts.
///
/// ```
/// use softlabel_metrics::{Forecasts, Undefined, evaluate_forecasts};
/// let forecasts = Forecasts::new(&[0.75f64, 0.75, 1.0], &[true, false, true])?;
/// let scores = evaluate_forecasts(&forecasts, 15)?;
/// assert_eq!(scores.accuracy, 2.0 / 3.0);
/// assert_eq!(scores.nll, Err(Undefined::TopClassOnly));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn evaluate_forecasts(forecasts: &Forecasts, bins: usize) -> Result<FullScores> {
    let top_label = TopLabel::of_forecasts(forecasts, bins)?;
    FullScores::of_top_label(&forecasts.tie_groups(), bins, top_label).ok_or(EMPTY)
}
