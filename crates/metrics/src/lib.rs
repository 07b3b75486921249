//! How good and how honest predictions are.
//!
//! Every metric comes in two forms over the same code: a free function for predictions that are all
//! there, and an accumulator that takes them batch by batch, merges with other accumulators and can
//! be written down and read back.
//!
//! | what | function | accumulator |
//! |---|---|---|
//! | **everything that a program prints**, or why not | [`full_evaluation`] | [`FullEvaluation`] |
//! | all that has a state of fixed size | [`evaluate`] | [`Evaluation`] |
//! | share of right top classes | [`accuracy()`] | [`Accuracy`] |
//! | mean negative log-likelihood | [`negative_log_likelihood`] | [`NegativeLogLikelihood`] |
//! | Brier score | [`brier_score`] | [`BrierScore`] |
//! | spherical score | [`spherical_score`] | [`SphericalScore`] |
//! | score of ordered classes | [`ranked_probability_score`] | [`RankedProbabilityScore`] |
//! | calibration error (ECE, RMSCE, MCE) | [`calibration_error`] | [`CalibrationError`] |
//! | the same without its bias | [`debiased_calibration_error`] | [`CalibrationBins`] |
//! | reliability diagram | [`reliability_diagram`] | [`CalibrationBins`] |
//! | terms of the top class's Brier score | [`murphy_decomposition`] | [`MurphyDecomposition`] |
//! | classwise calibration error and diagrams | [`classwise_calibration_error`] | [`ClasswiseCalibration`] |
//! | test of the Brier score | | [`SpiegelhalterTest`] |
//! | mean confidence | [`mean_confidence`] | [`MeanConfidence`] |
//! | mean entropy | [`mean_entropy`] | [`MeanEntropy`] |
//! | mean lead of the label's logit | [`logit_gap`] | [`LogitGap`] |
//! | norms and spreads of logits | [`logit_statistics`] | [`LogitStatistics`] |
//! | distance from people's labels | [`soft_label_evaluation`] | [`SoftLabelEvaluation`] |
//!
//! The state of all these but the first has a fixed size, however many samples it has seen.
//! What follows needs every score, and its state keeps 8 bytes for each:
//!
//! | what | function | accumulator |
//! |---|---|---|
//! | risk and coverage, AURC, AUGRC, AUROC, AUPR, FPR | [`selective_classification`] | [`SelectiveClassification`] |
//! | calibration error over bins of equal mass | [`equal_mass_calibration_error`] | [`EqualMassCalibration`] |
//! | reliability diagram over bins of equal mass | [`equal_mass_reliability_diagram`] | [`EqualMassCalibration`] |
//! | calibration error over as many bins as stay monotone | | [`SweepCalibrationError`] |
//! | adaptive calibration error (ACE, TACE) | [`adaptive_calibration_error`] | [`AdaptiveCalibration`] |
//! | calibration error without bins | [`kolmogorov_smirnov_error`] | [`KolmogorovSmirnovError`] |
//! | the same with a p-value | | [`KolmogorovSmirnovTest`], [`KuiperTest`] |
//! | smooth calibration error | [`smooth_calibration_error`] | [`SmoothCalibrationError`] |
//! | calibration error by kernels | | [`KernelCalibrationError`], [`MaximumMeanCalibrationError`] |
//! | decomposition by isotonic recalibration | [`corp_decomposition`] | [`CorpDecomposition`] |
//!
//! And on top of them:
//!
//! - [`Bootstrap`] and [`RowScores`]: intervals of any metric, and of the difference of two models on
//!   the same rows; [`consistency_test`]: whether a calibration error is more than chance.
//! - [`Ensemble`], [`ensemble_evaluation`]: several members or stochastic passes.
//! - [`Observations`]: sample weights and rows that are to be ignored, for every metric.
//! - [`Forecasts`]: binary and multi-label classifiers, one class, or confidences of which nothing
//!   else is known; every [`ForecastAccumulator`] takes them, and [`evaluate_forecasts`].
//! - Dense predictions (segmentation) become rows by `from_dense` of the three types.
//!
//! # Which calibration error
//! Report several: each hides something.
//! [`smooth_ece`](FullScores::smooth_ece) has no bins and no parameter, and moves little if the
//! predictions do; it is the one to compare models by.
//! [`ece`](FullScores::ece) over 15 bins is what papers report.
//! [`ks`](FullScores::ks) has a p-value.
//! [`classwise_ece`](FullScores::classwise_ece) is the one to look at where other classes than the top
//! one are used.
//! With few rows all are biased upwards: [`Bootstrap`] says by how much, and
//! [`debiased`](FullScores::debiased) takes it away.
//!
//! Predictions are [`Logits`](softlabel_core::Logits),
//! [`LogProbabilities`](softlabel_core::LogProbabilities) or
//! [`Probabilities`](softlabel_core::Probabilities): three types, so nothing is ever guessed from
//! values.
//! All sums are kept in `f64` with compensation and all counts in `u64`.
//! Nothing is defined on no samples: [`Accumulator::compute`] is `None` there, and the free
//! functions return an error.
//!
//! ```
//! use softlabel_core::{Labels, Logits};
//! use softlabel_metrics::{Accumulator, Evaluation, evaluate};
//!
//! let logits = Logits::new(&[2.0f32, 0.0, 0.0, 3.0, 1.0, 0.0], 2)?;
//! let labels = Labels::new(&[0, 1, 1], 2)?;
//! let scores = evaluate(&logits, &labels, 15)?;
//! assert_eq!(scores.accuracy, 2.0 / 3.0);
//! let by_hand = [-2.0f64, -3.0, 1.0].map(|x| x.exp().ln_1p()).iter().sum::<f64>() / 3.0;
//! assert!((scores.nll - by_hand).abs() < 1e-15);
//!
//! // The same, a batch at a time.
//! let mut evaluation = Evaluation::new(15)?;
//! evaluation.update(&logits, &labels)?;
//! assert_eq!(evaluation.compute(), Some(scores));
//! # Ok::<(), softlabel_metrics::Error>(())
//! ```

mod accumulator;
mod accuracy;
mod bin;
mod bootstrap;
mod brier;
mod calibration;
mod classwise;
mod confidence;
mod consistency;
mod corp;
mod cumulative;
mod diagram;
mod ensemble;
mod entropy;
mod equal_mass;
mod evaluation;
mod forecasts;
mod full;
mod gap;
mod kernel;
mod kolmogorov_smirnov;
mod likelihood;
mod logit_statistics;
mod mean;
mod metric;
mod murphy;
mod observations;
mod ordinal;
mod predictions;
mod ranking;
mod resampling;
mod row_scores;
mod selective;
mod significance;
mod smooth;
mod soft_labels;
mod spherical;
mod sweep;
mod teaching;
mod weight;

pub use accumulator::Accumulator;
pub use accuracy::{Accuracy, accuracy};
pub use bootstrap::{Bootstrap, Interval, IntervalMethod};
pub use brier::{BrierScore, brier_score};
pub use calibration::{
    CalibrationBins, CalibrationError, CalibrationNorm, DEFAULT_BINS, DebiasedCalibrationError,
    calibration_error, debiased_calibration_error, reliability_diagram,
};
pub use classwise::{
    AdaptiveCalibration, ClassCalibration, ClasswiseCalibration, ClasswiseErrors,
    adaptive_calibration_error, classwise_calibration_error,
};
pub use confidence::{MeanConfidence, mean_confidence};
pub use consistency::{ConsistencyTest, consistency_test};
pub use corp::{CorpDecomposition, CorpScores, CorpTerms, RecalibratedBlock, corp_decomposition};
pub use diagram::{ReliabilityBin, ReliabilityDiagram};
pub use ensemble::{Ensemble, EnsembleRow, EnsembleScores, ensemble_evaluation};
pub use entropy::{MeanEntropy, mean_entropy};
pub use equal_mass::{
    EqualMassCalibration, equal_mass_calibration_error, equal_mass_reliability_diagram,
};
pub use evaluation::{Evaluation, Scores, evaluate};
pub use forecasts::{Forecast, ForecastAccumulator, Forecasts};
pub use full::{FullEvaluation, FullScores, evaluate_forecasts, full_evaluation};
pub use gap::{LogitGap, logit_gap};
pub use kernel::{KernelCalibrationError, MaximumMeanCalibrationError};
pub use kolmogorov_smirnov::{KolmogorovSmirnovError, kolmogorov_smirnov_error};
pub use likelihood::{NegativeLogLikelihood, negative_log_likelihood};
pub use logit_statistics::{LogitMeans, LogitStatistics, logit_statistics};
pub use metric::{Metric, Undefined};
pub use murphy::{MurphyDecomposition, MurphyTerms, murphy_decomposition};
pub use observations::{Observations, Observed};
pub use ordinal::{RankedProbabilityScore, ranked_probability_score};
pub use predictions::Predictions;
pub use resampling::RESAMPLED_METRICS;
pub use row_scores::RowScores;
pub use selective::{
    ConfidenceScore, RiskCoverageCurve, RiskCoveragePoint, SelectiveClassification,
    SelectiveScores, selective_classification,
};
pub use significance::{KolmogorovSmirnovTest, KuiperTest, PathTest, SpiegelhalterTest, ZTest};
pub use smooth::{SmoothCalibration, SmoothCalibrationError, smooth_calibration_error};
pub use soft_labels::{SoftLabelEvaluation, SoftLabelScores, soft_label_evaluation};
pub use softlabel_core::{Error, Result};
pub use softlabel_kernels::RowStatistics;
pub use spherical::{SphericalScore, spherical_score};
pub use sweep::{SweepCalibration, SweepCalibrationError};
pub use teaching::{TemplatePlane, class_dispersion, wrong_class_mass};
pub use weight::Weight;
