//! What a score is made of, without bins: miscalibration, discrimination and uncertainty.
//!
//! With S(c) the mean score of the probabilities c of an event, ĉ their isotonic recalibration (the
//! monotone map of c that fits what happened best) and ā how often it happened,
//!
//! - S(c) = MCB − DSC + UNC
//! - miscalibration MCB = S(c) − S(ĉ): what recalibration gains
//! - discrimination DSC = S(ā) − S(ĉ): what the recalibrated probabilities know more than ā
//! - uncertainty UNC = S(ā)
//! - refinement S(ĉ) = UNC − DSC: the score after the best recalibration
//!
//! MCB and DSC are not negative, and there is no parameter: the bins are those of the pool-adjacent-
//! violators algorithm, and do not depend on who looks.
//! The Brier score is (c − a)² here, in \[0, 1\]; the logarithmic score −ln of the probability of what
//! happened, in nats.
//!
//! On few rows isotonic regression fits chance too: MCB is biased upwards, as errors over bins are.
//!
//! Source: T. Dimitriadis, T. Gneiting, A. I. Jordan, "Stable Reliability Diagrams for Probabilistic
//! Classifiers" (2021); E. Berta, D. Holzmüller, M. I. Jordan, F. Bach, "Rethinking Early Stopping:
//! Refine, Then Calibrate" (2025), for refinement.

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::{CompensatedSum, RowStatistics, isotonic_blocks};

use crate::accumulator::value_over;
use crate::ranking::{Ranking, TieGroup};
use crate::{Accumulator, Forecast, ForecastAccumulator, Observed, Predictions, Weight};
use softlabel_core::number::or_infinite;

/// A score, and what it is made of: MCB − DSC + UNC.
///
/// ```
/// use softlabel_metrics::CorpTerms;
/// let terms = CorpTerms {
///     score: 0.25,
///     miscalibration: 0.125,
///     discrimination: 0.125,
///     uncertainty: 0.25,
/// };
/// assert_eq!((terms.sum(), terms.refinement()), (terms.score, 0.125));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpTerms {
    /// S(c); lower is better.
    #[serde(with = "or_infinite")]
    pub score: f64,
    /// MCB, at least 0; lower is better; +∞ if the score is.
    #[serde(with = "or_infinite")]
    pub miscalibration: f64,
    /// DSC, at least 0; higher is better.
    pub discrimination: f64,
    /// UNC, which is no merit or fault of the probabilities.
    pub uncertainty: f64,
}

impl CorpTerms {
    /// MCB − DSC + UNC, which is the score up to rounding.
    pub fn sum(&self) -> f64 {
        self.miscalibration - self.discrimination + self.uncertainty
    }

    /// S(ĉ) = UNC − DSC, the score after the best monotone recalibration.
    pub fn refinement(&self) -> f64 {
        self.uncertainty - self.discrimination
    }
}

/// Probabilities that recalibration gives the same value.
///
/// ```
/// use softlabel_metrics::RecalibratedBlock;
/// let block = RecalibratedBlock { lower: 0.5, upper: 0.75, count: 4, frequency: 0.5 };
/// assert!(block.frequency <= block.upper);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecalibratedBlock {
    /// The smallest probability of the block.
    pub lower: f64,
    /// The largest.
    pub upper: f64,
    /// The number of rows.
    pub count: u64,
    /// How often the event happened: ĉ.
    pub frequency: f64,
}

/// What a [`CorpDecomposition`] comes to.
///
/// ```
/// use softlabel_metrics::{CorpDecomposition, ForecastAccumulator, Forecasts};
/// let forecasts = Forecasts::new(&[0.25f64, 0.75], &[false, true])?;
/// let scores = CorpDecomposition::default().value_of(&forecasts)?;
/// assert_eq!(scores.sharpness, 0.0625);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpScores {
    /// Of the Brier score (c − a)².
    pub brier: CorpTerms,
    /// Of the logarithmic score −ln c or −ln(1 − c).
    pub logarithmic: CorpTerms,
    /// The variance of the probabilities: how far they dare to differ, right or wrong.
    pub sharpness: f64,
    /// The recalibration ĉ, by ascending probability: the CORP reliability diagram as plain data.
    pub blocks: Vec<RecalibratedBlock>,
}

/// The decomposition of scores by isotonic recalibration: consistent, optimally binned, reproducible,
/// by pool-adjacent-violators.
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size.
/// Undefined on no rows.
///
/// Source: Dimitriadis, Gneiting and Jordan (2021).
///
/// ```
/// use softlabel_metrics::{CorpDecomposition, ForecastAccumulator, Forecasts};
///
/// // Always 75 %, which happens every second time: nothing is told apart.
/// let forecasts = Forecasts::new(&[0.75f64, 0.75], &[true, false])?;
/// let terms = CorpDecomposition::default().value_of(&forecasts)?.brier;
/// assert_eq!((terms.score, terms.uncertainty), (0.3125, 0.25));
/// assert_eq!((terms.miscalibration, terms.discrimination), (0.0625, 0.0));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias("CORP", "MCB", "DSC", "refinement", "sharpness"))]
pub struct CorpDecomposition(Ranking);

impl Accumulator for CorpDecomposition {
    type Value = CorpScores;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.merge(&other.0);
        Ok(())
    }

    fn compute(&self) -> Option<CorpScores> {
        scores_of(&self.0.tie_groups())
    }

    fn samples(&self) -> u64 {
        self.0.samples()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

impl ForecastAccumulator for CorpDecomposition {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.0.add(forecast.probability, forecast.happened, forecast.weight);
    }
}

/// The decomposition of the scores of the top class; see [`CorpDecomposition`].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 1.0, 0.0], 2)?;
/// let labels = Labels::new(&[1, 0], 2)?;
/// let scores = softlabel_metrics::corp_decomposition(&probabilities, &labels)?;
/// // The recalibrated confidences are 0 and 1.
/// assert_eq!((scores.brier.discrimination, scores.brier.refinement()), (0.25, 0.0));
/// assert_eq!(scores.brier.miscalibration, 0.28125);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn corp_decomposition(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<CorpScores> {
    value_over(CorpDecomposition::default(), predictions, labels)
}

/// The score of a probability where the event happened with this weight, and did not with that.
type Score = fn(f64, f64, f64) -> f64;

fn brier(probability: f64, happened: f64, not: f64) -> f64 {
    happened * (1.0 - probability).powi(2) + not * probability.powi(2)
}

fn logarithmic(probability: f64, happened: f64, not: f64) -> f64 {
    // What never happened costs nothing, however improbable it was.
    let cost = |weight: f64, ln: f64| if weight == 0.0 { 0.0 } else { -weight * ln };
    cost(happened, probability.ln()) + cost(not, (-probability).ln_1p())
}

fn scores_of(groups: &[TieGroup]) -> Option<CorpScores> {
    let masses: Vec<f64> = groups.iter().map(TieGroup::mass).collect();
    let frequencies: Vec<f64> = groups.iter().map(|group| group.right / group.mass()).collect();
    let blocks = isotonic_blocks(&frequencies, &masses).filter(|blocks| !blocks.is_empty())?;
    let mass: f64 = masses.iter().sum();
    let right: f64 = groups.iter().map(|group| group.right).sum();
    // Of a block, how much happened; its value is their quotient.
    let of_block = |block: &softlabel_kernels::IsotonicBlock| {
        let groups = &groups[block.first..=block.last];
        let right: f64 = groups.iter().map(|group| group.right).sum();
        let wrong: f64 = groups.iter().map(|group| group.wrong).sum();
        (right, wrong, right / (right + wrong))
    };
    let terms = |score: Score| {
        let sum =
            |parts: &mut dyn Iterator<Item = f64>| parts.collect::<CompensatedSum>().value() / mass;
        let said = sum(&mut groups
            .iter()
            .map(|group| score(group.score.clamp(0.0, 1.0), group.right, group.wrong)));
        let recalibrated = sum(&mut blocks.iter().map(|block| {
            let (right, wrong, frequency) = of_block(block);
            score(frequency, right, wrong)
        }));
        let uncertainty = score(right / mass, right, mass - right) / mass;
        CorpTerms {
            score: said,
            // Rounding may leave −1e-17 of what is calibrated, or tells nothing apart.
            miscalibration: (said - recalibrated).max(0.0),
            discrimination: (uncertainty - recalibrated).max(0.0),
            uncertainty,
        }
    };
    let mean = groups.iter().map(|g| g.score * g.mass()).collect::<CompensatedSum>().value() / mass;
    let variance = groups.iter().map(|g| (g.score - mean).powi(2) * g.mass());
    let block = |block: &softlabel_kernels::IsotonicBlock| RecalibratedBlock {
        lower: groups[block.first].score,
        upper: groups[block.last].score,
        count: groups[block.first..=block.last].iter().map(|group| group.rows).sum(),
        frequency: of_block(block).2,
    };
    Some(CorpScores {
        brier: terms(brier),
        logarithmic: terms(logarithmic),
        sharpness: variance.collect::<CompensatedSum>().value() / mass,
        blocks: blocks.iter().map(block).collect(),
    })
}
