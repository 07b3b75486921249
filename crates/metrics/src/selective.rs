//! What is gained by answering only where the classifier is sure.
//!
//! A selective classifier keeps the rows whose confidence score reaches a threshold and abstains
//! from the others.
//! With the n rows by descending score, E(j) the errors among the first j:
//!
//! - coverage = j/n, the share of rows that are kept
//! - risk(j) = E(j)/j, the share of the kept rows that are wrong; r = risk(n) is the error rate
//! - AURC = 1/n Σ_j risk(j), the area under the risk-coverage curve
//! - excess AURC = AURC − 1/n Σ_{j>n−E(n)} (j − (n − E(n)))/j, what is left of it when the area of
//!   the best order, all right rows first, is taken away
//! - AUGRC = 1/n Σ_j E(j)/n, the area under the generalized risk, which does not forget the rows
//!   that were left out
//! - AUROC = P(s_right > s_wrong) + ½ P(s_right = s_wrong), of a right and a wrong row
//! - AUPR = Σ_g (recall_g − recall_{g−1}) · precision_g over the thresholds g, by descending score
//!   with right rows to be found (success), by ascending score with wrong ones (error)
//! - FPR at 95 % TPR: the share of wrong rows kept at the highest threshold that keeps 95 % of the
//!   right ones
//!
//! The score is a function of the row's probabilities, see [`ConfidenceScore`]: they are used as
//! they are, `[rows, classes]`; a row is right if its top class is the label.
//!
//! Ties: rows of equal score have no order, so all of these are what a random order of them gives
//! on average.
//! In a tie group of m rows, e of them wrong, that follows N₀ rows with E₀ errors,
//! E(N₀ + t) = E₀ + e·t/m.
//! Sorting and walking through the ties gives a number that changes with the order of the rows: of
//! a ResNet-110 on the 10,000 test images of CIFAR-10, between 0.0081 and 0.0105 where the average
//! is an AURC of 0.0084.
//!
//! Weights: a row takes as much of the coverage as it weighs, so sums over rows become sums of
//! weights, and 1/n Σ_j becomes Σ_j w_j / W; tied rows share the weight of their group evenly.
//!
//! Numerical notes: a score is kept as it is and sums have compensation, so merging is exact and
//! order does not matter to the last bit.
//! The state has 8 bytes a row, 16 where rows have weights, and computing it sorts a copy:
//! O(n log n).
//!
//! Source: R. El-Yaniv, Y. Wiener, "On the Foundations of Noise-free Selective Classification"
//! (2010), for risk and coverage; Y. Geifman, G. Uziel, R. El-Yaniv, "Bias-Reduced Uncertainty
//! Estimation for Deep Neural Classifiers" (2019), for AURC and its excess; J. Traub et al.,
//! "Overcoming Common Flaws in the Evaluation of Selective Classification Systems" (2024), for
//! AUGRC; D. Hendrycks, K. Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
//! Examples in Neural Networks" (2017), for AUROC and AUPR.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Fraction, Result};
use softlabel_kernels::{CompensatedSum, RowStatistics};

use crate::accumulator::value_over;
use crate::ranking::{Ranking, TieGroup};
use crate::{Accumulator, Observed, Predictions, Weight};

/// By what rows are ranked, the surest first.
///
/// ```
/// use softlabel_metrics::{ConfidenceScore, RowStatistics};
///
/// let row = RowStatistics::from_probabilities(&[0.5f64, 0.25, 0.25], 0).unwrap();
/// assert_eq!(ConfidenceScore::default().of(&row), 0.5);
/// assert_eq!(ConfidenceScore::Margin.of(&row), 0.25);
/// assert!((ConfidenceScore::NegativeEntropy.of(&row) + 1.5 * 2.0f64.ln()).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfidenceScore {
    /// max_k p_k, in \[1/K, 1\].
    #[default]
    #[doc(alias("MSP", "maximum softmax probability", "softmax response"))]
    MaximumProbability,
    /// Σ_k p_k ln p_k, in \[−ln K, 0\].
    NegativeEntropy,
    /// The largest probability less the second, in \[0, 1\].
    Margin,
    /// ln Σ_k e^{z_k} of logits, the negative energy, in (−∞, ∞).
    ///
    /// Log-probabilities and probabilities no longer know it:
    /// [`update`](Accumulator::update) and [`selective_classification`] take logits alone then, and
    /// a single row without it counts as 0, which is the log-sum-exp of its log-probabilities.
    #[doc(alias = "free energy")]
    Energy,
}

impl ConfidenceScore {
    /// The score of a row.
    pub fn of(self, row: &RowStatistics) -> f64 {
        match self {
            Self::MaximumProbability => row.confidence,
            Self::NegativeEntropy => -row.entropy,
            Self::Margin => row.margin,
            Self::Energy => row.log_sum_exp.unwrap_or(0.0),
        }
    }
}

/// All scores of a classifier with what they led to: the state behind [`SelectiveScores`].
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size, and merges exactly: parts
/// give what the whole gives, to the last bit.
/// Undefined on no rows.
///
/// Source: Geifman, Uziel and El-Yaniv (2019); Traub et al. (2024).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, ConfidenceScore, SelectiveClassification};
///
/// let mut selective = SelectiveClassification::new(ConfidenceScore::MaximumProbability);
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25, 0.5, 0.5], 2)?;
/// selective.update(&probabilities, &Labels::new(&[0, 1, 0], 2)?)?;
/// let scores = selective.compute().unwrap();
/// // Risks 0, 1/2 and 1/3; the best order has 0, 0 and 1/3.
/// assert!((scores.aurc - 5.0 / 18.0).abs() < 1e-15);
/// assert!((scores.excess_aurc - 1.0 / 6.0).abs() < 1e-15);
/// assert_eq!(scores.auroc, Some(0.5));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias("selective prediction", "misclassification detection", "failure prediction"))]
pub struct SelectiveClassification {
    score: ConfidenceScore,
    ranking: Ranking,
}

impl SelectiveClassification {
    /// Ranks rows by `score`.
    ///
    /// ```
    /// use softlabel_metrics::{ConfidenceScore, SelectiveClassification};
    /// let selective = SelectiveClassification::new(ConfidenceScore::Margin);
    /// assert_eq!(selective.score(), ConfidenceScore::Margin);
    /// ```
    pub fn new(score: ConfidenceScore) -> Self {
        Self { score, ranking: Ranking::default() }
    }

    /// By what rows are ranked.
    pub fn score(&self) -> ConfidenceScore {
        self.score
    }
}

impl Accumulator for SelectiveClassification {
    type Value = SelectiveScores;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.ranking.add(self.score.of(row), row.is_correct(), weight);
    }

    fn check_kind(&self, predictions: &(impl Predictions + ?Sized)) -> Result<()> {
        if self.score == ConfidenceScore::Energy && !predictions.are_logits() {
            let what = "predictions to rank by energy";
            return Err(Error::mismatch(what, "logits", "probabilities or their logarithms"));
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        if self.score != other.score {
            let score = |of: &Self| format!("{:?}", of.score);
            return Err(Error::mismatch("accumulator to merge", score(self), score(other)));
        }
        self.ranking.merge(&other.ranking);
        Ok(())
    }

    fn compute(&self) -> Option<SelectiveScores> {
        SelectiveScores::of(self.score, &self.ranking.tie_groups())
    }

    fn samples(&self) -> u64 {
        self.ranking.samples()
    }

    fn reset(&mut self) {
        self.ranking.reset();
    }
}

/// The numbers of [`SelectiveScores`] that need no curve.
pub(crate) struct Areas {
    pub(crate) risk: f64,
    pub(crate) aurc: f64,
    pub(crate) excess_aurc: f64,
    pub(crate) augrc: f64,
    pub(crate) auroc: Option<f64>,
    pub(crate) aupr_success: Option<f64>,
    pub(crate) aupr_error: Option<f64>,
    pub(crate) fpr_at_95_tpr: Option<f64>,
}

impl Areas {
    /// Of groups by ascending score; `None` of no rows.
    pub(crate) fn of(groups: &[TieGroup]) -> Option<Self> {
        let total = Totals::of(groups);
        let mass = total.right + total.wrong;
        let aurc = area(groups) / mass;
        (total.rows > 0).then(|| Self {
            risk: total.wrong / mass,
            aurc,
            // Rounding may leave −1e-17 of the best order.
            excess_aurc: (aurc - best_area(&total) / mass).max(0.0),
            augrc: generalized_area(groups, mass),
            auroc: auroc(groups, &total),
            aupr_success: average_precision(
                groups.iter().rev().map(|g| (g.right, g.wrong)),
                total.right,
            ),
            aupr_error: average_precision(groups.iter().map(|g| (g.wrong, g.right)), total.wrong),
            fpr_at_95_tpr: false_positive_rate(groups, &total),
        })
    }
}

/// Rows and weights of all groups.
struct Totals {
    rows: u64,
    wrong_rows: u64,
    right: f64,
    wrong: f64,
}

impl Totals {
    fn of(groups: &[TieGroup]) -> Self {
        let mut total = Self { rows: 0, wrong_rows: 0, right: 0.0, wrong: 0.0 };
        for group in groups {
            total.rows += group.rows;
            total.wrong_rows += group.wrong_rows;
            total.right += group.right;
            total.wrong += group.wrong;
        }
        total
    }
}

/// Σ_j w_j risk(j), from groups by ascending score: the rows of a group share its weights evenly.
fn area(groups: &[TieGroup]) -> f64 {
    let mut sum = CompensatedSum::default();
    let (mut kept, mut errors) = (0.0, 0.0);
    for group in groups.iter().rev() {
        let (mass, rows) = (group.mass(), group.rows as f64);
        if group.rows == 1 {
            sum.add(mass * ((errors + group.wrong) / (kept + mass)));
        } else {
            let each = mass / rows;
            sum.extend((1..=group.rows).map(|t| {
                // The errors of a whole group are exact.
                let share = if t == group.rows { 1.0 } else { t as f64 / rows };
                each * ((errors + group.wrong * share) / (kept + mass * share))
            }));
        }
        kept += mass;
        errors += group.wrong;
    }
    sum.value()
}

/// What [`area`] is where all right rows come first.
fn best_area(total: &Totals) -> f64 {
    let each = total.wrong / total.wrong_rows.max(1) as f64;
    let risk = |t: u64| {
        let errors = each * t as f64;
        each * (errors / (total.right + errors))
    };
    (1..=total.wrong_rows).map(risk).collect::<CompensatedSum>().value()
}

/// 1/W² Σ_j w_j E(j), from groups by ascending score: one of mass m and k rows adds
/// m·E₀ + m·e·(k + 1)/(2k).
fn generalized_area(groups: &[TieGroup], mass: f64) -> f64 {
    let mut sum = CompensatedSum::default();
    let mut errors = 0.0;
    for group in groups.iter().rev() {
        let rows = group.rows as f64;
        sum.add(group.mass() * errors);
        sum.add(group.mass() * group.wrong * (rows + 1.0) / (2.0 * rows));
        errors += group.wrong;
    }
    sum.value() / (mass * mass)
}

/// The share of pairs of a right and a wrong row that are in order, ties counting half.
fn auroc(groups: &[TieGroup], total: &Totals) -> Option<f64> {
    let mut twice = CompensatedSum::default();
    let mut above = 0.0;
    for group in groups.iter().rev() {
        twice.add(group.wrong * (2.0 * above + group.right));
        above += group.right;
    }
    let pairs = total.right * total.wrong;
    (pairs > 0.0).then(|| twice.value() / (2.0 * pairs))
}

/// Σ_g (recall_g − recall_{g−1}) · precision_g over groups of (sought, other) rows.
fn average_precision(groups: impl Iterator<Item = (f64, f64)>, sought: f64) -> Option<f64> {
    let mut sum = CompensatedSum::default();
    let (mut found, mut kept) = (0.0, 0.0);
    for (hits, misses) in groups {
        found += hits;
        kept += hits + misses;
        sum.add(hits * (found / kept));
    }
    (sought > 0.0).then(|| sum.value() / sought)
}

/// The share of wrong rows among the fewest groups, from the surest on, that hold 95 % of the right
/// ones.
fn false_positive_rate(groups: &[TieGroup], total: &Totals) -> Option<f64> {
    let (mut kept_right, mut kept_wrong) = (0.0, 0.0);
    for group in groups.iter().rev() {
        kept_right += group.right;
        kept_wrong += group.wrong;
        if 100.0 * kept_right >= 95.0 * total.right {
            break;
        }
    }
    (total.right > 0.0 && total.wrong > 0.0).then(|| kept_wrong / total.wrong)
}

/// One threshold of a [`RiskCoverageCurve`]: what keeping all rows of at least this score means.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{ConfidenceScore, RiskCoveragePoint, selective_classification};
///
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25], 2)?;
/// let scores = selective_classification(
///     &probabilities,
///     &Labels::new(&[0, 1], 2)?,
///     ConfidenceScore::MaximumProbability,
/// )?;
/// let only = RiskCoveragePoint { threshold: 0.75, kept: 2, errors: 1, coverage: 1.0, risk: 0.5 };
/// assert_eq!(scores.curve.points, [only]);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskCoveragePoint {
    /// The lowest score that is kept.
    pub threshold: f64,
    /// The number of rows that are kept, at least 1.
    pub kept: u64,
    /// The number of these rows that are wrong.
    pub errors: u64,
    /// The share of all rows that are kept.
    pub coverage: f64,
    /// The share of the kept rows that are wrong.
    #[doc(alias = "selective risk")]
    pub risk: f64,
}

/// Risk against coverage as plain data, one point for each threshold that keeps another set of
/// rows.
///
/// Between two points lie tied rows; in a random order they lead from one to the other along
/// E(N₀ + t) = E₀ + e·t/m errors.
///
/// Source: R. El-Yaniv and Y. Wiener (2010).
///
/// ```
/// use softlabel_core::{Fraction, Labels, Probabilities};
/// use softlabel_metrics::{ConfidenceScore, selective_classification};
///
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25, 0.75, 0.25], 2)?;
/// let labels = Labels::new(&[0, 0, 1], 2)?;
/// let curve = selective_classification(
///     &probabilities, &labels, ConfidenceScore::MaximumProbability)?.curve;
/// let points: Vec<_> = curve.points.iter().map(|point| (point.kept, point.errors)).collect();
/// assert_eq!(points, [(1, 0), (3, 1)]);
/// // Two of three: the second is one of the tied, wrong every second time.
/// assert_eq!(curve.risk_at_coverage(Fraction::new(0.6)?), Some(0.25));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskCoverageCurve {
    /// The number of rows.
    pub samples: u64,
    /// The points, by ascending coverage, the last of which keeps every row.
    pub points: Vec<RiskCoveragePoint>,
}

impl RiskCoverageCurve {
    /// The curve of groups by ascending score.
    pub(crate) fn of(groups: &[TieGroup]) -> Self {
        let total = Totals::of(groups);
        let (mut kept, mut errors, mut mass, mut wrong) = (0, 0, 0.0, 0.0);
        let point = |group: &TieGroup| {
            kept += group.rows;
            errors += group.wrong_rows;
            mass += group.mass();
            wrong += group.wrong;
            RiskCoveragePoint {
                threshold: group.score,
                kept,
                errors,
                coverage: mass / (total.right + total.wrong),
                risk: wrong / mass,
            }
        };
        Self { samples: total.rows, points: groups.iter().rev().map(point).collect() }
    }

    /// The risk of the fewest surest rows that make up at least this coverage, tied rows being
    /// taken in a random order.
    ///
    /// `None` for the coverage 0, which no row makes up.
    ///
    /// ```
    /// use softlabel_core::Fraction;
    /// use softlabel_metrics::RiskCoverageCurve;
    /// let none = RiskCoverageCurve { samples: 0, points: Vec::new() };
    /// assert_eq!(none.risk_at_coverage(Fraction::new(0.5)?), None);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn risk_at_coverage(&self, coverage: Fraction) -> Option<f64> {
        let coverage = coverage.get();
        let next = self.points.partition_point(|point| point.coverage < coverage);
        let point = self.points.get(next).filter(|_| coverage > 0.0)?;
        let before = next.checked_sub(1).map(|before| self.points[before]);
        // In rows where all weigh 1, whose errors are whole numbers, else in shares of all weights.
        let whole = |p: &RiskCoveragePoint| p.coverage == p.kept as f64 / self.samples as f64;
        let by_rows = before.iter().chain([point]).all(whole);
        let mass = |p: &RiskCoveragePoint| {
            if by_rows {
                (p.kept as f64, p.errors as f64)
            } else {
                (p.coverage, p.coverage * p.risk)
            }
        };
        let wanted = if by_rows { coverage * self.samples as f64 } else { coverage };
        let (kept, errors) = before.as_ref().map_or((0.0, 0.0), mass);
        let (kept_with, errors_with) = mass(point);
        let tied = (point.kept - before.map_or(0, |p| p.kept)) as f64;
        let each = (kept_with - kept) / tied;
        // The product may round up past a whole number: 0.55 · 100 is above 55.
        let enough = |taken: f64| (kept + taken * each) * (1.0 + 4.0 * f64::EPSILON) >= wanted;
        let mut taken = ((wanted - kept) / each).ceil().clamp(1.0, tied);
        if taken > 1.0 && enough(taken - 1.0) {
            taken -= 1.0;
        }
        let share = taken / tied;
        Some((errors + (errors_with - errors) * share) / (kept + (kept_with - kept) * share))
    }

    /// The threshold with the largest coverage whose risk is at most this.
    ///
    /// Tied rows are kept or left out together, as a threshold does; `None` if there is no such
    /// threshold, where only abstaining from every row would do.
    /// The risk is that of these rows, and a bound on new ones needs room for chance.
    ///
    /// ```
    /// use softlabel_core::{Fraction, Labels, Probabilities};
    /// use softlabel_metrics::{ConfidenceScore, selective_classification};
    /// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25, 0.5, 0.5], 2)?;
    /// let labels = Labels::new(&[0, 1, 0], 2)?;
    /// let curve = selective_classification(
    ///     &probabilities, &labels, ConfidenceScore::MaximumProbability)?.curve;
    /// let point = curve.coverage_at_risk(Fraction::new(0.4)?).unwrap();
    /// assert_eq!((point.coverage, point.threshold), (1.0, 0.5));
    /// let point = curve.coverage_at_risk(Fraction::new(0.1)?).unwrap();
    /// assert_eq!((point.kept, point.threshold), (1, 1.0));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn coverage_at_risk(&self, risk: Fraction) -> Option<RiskCoveragePoint> {
        self.points.iter().rev().find(|point| point.risk <= risk.get()).copied()
    }
}

/// What a [`SelectiveClassification`] comes to.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{ConfidenceScore, selective_classification};
///
/// // Right and sure, wrong and unsure.
/// let scores = selective_classification(
///     &Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25], 2)?,
///     &Labels::new(&[0, 1], 2)?,
///     ConfidenceScore::NegativeEntropy,
/// )?;
/// assert_eq!((scores.risk, scores.aurc, scores.augrc), (0.5, 0.25, 0.25));
/// assert_eq!((scores.excess_aurc, scores.auroc, scores.fpr_at_95_tpr), (0.0, Some(1.0), Some(0.0)));
/// assert_eq!((scores.aupr_success, scores.aupr_error), (Some(1.0), Some(1.0)));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SelectiveScores {
    /// By what rows were ranked.
    pub score: ConfidenceScore,
    /// The number of rows, at least 1.
    pub samples: u64,
    /// r, the share of all rows that are wrong.
    pub risk: f64,
    /// The area under the risk-coverage curve, 1/n Σ_j risk(j); lower is better.
    #[doc(alias = "area under the risk-coverage curve")]
    pub aurc: f64,
    /// `aurc` less that of the best order of the same rows, which is computed exactly; at least 0,
    /// lower is better.
    #[doc(alias("E-AURC", "EAURC"))]
    pub excess_aurc: f64,
    /// The area under the generalized risk-coverage curve, 1/n Σ_j E(j)/n; in \[0, ½ + 1/(2n)\],
    /// lower is better.
    pub augrc: f64,
    /// The probability that a right row has a higher score than a wrong one, ties counting half;
    /// `None` if all rows are right or all are wrong.
    pub auroc: Option<f64>,
    /// The average precision of finding right rows by high scores; `None` if no row is right.
    pub aupr_success: Option<f64>,
    /// The average precision of finding wrong rows by low scores; `None` if no row is wrong.
    pub aupr_error: Option<f64>,
    /// The share of wrong rows that are kept at the highest threshold which keeps 95 % of the right
    /// ones; lower is better; `None` if all rows are right or all are wrong.
    #[doc(alias("FPR95", "FPR@95TPR"))]
    pub fpr_at_95_tpr: Option<f64>,
    /// Risk against coverage.
    pub curve: RiskCoverageCurve,
}

impl SelectiveScores {
    /// Of groups by ascending score; `None` of no rows.
    pub(crate) fn of(score: ConfidenceScore, groups: &[TieGroup]) -> Option<Self> {
        let areas = Areas::of(groups)?;
        Some(Self {
            score,
            samples: groups.iter().map(|group| group.rows).sum(),
            risk: areas.risk,
            aurc: areas.aurc,
            excess_aurc: areas.excess_aurc,
            augrc: areas.augrc,
            auroc: areas.auroc,
            aupr_success: areas.aupr_success,
            aupr_error: areas.aupr_error,
            fpr_at_95_tpr: areas.fpr_at_95_tpr,
            curve: RiskCoverageCurve::of(groups),
        })
    }

    /// AURC less r + (1 − r) ln(1 − r), which is what the best order tends to for many rows.
    ///
    /// This is the excess AURC as Geifman, Uziel and El-Yaniv (2019) approximate it; on n rows it
    /// exceeds [`excess_aurc`](Self::excess_aurc) by at most r/n.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{ConfidenceScore, selective_classification};
    /// let scores = selective_classification(
    ///     &Probabilities::new(&[0.75f32, 0.25], 2)?,
    ///     &Labels::new(&[1], 2)?,
    ///     ConfidenceScore::MaximumProbability,
    /// )?;
    /// assert_eq!(scores.asymptotic_excess_aurc(), 0.0); // all wrong: AURC and r are 1
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn asymptotic_excess_aurc(&self) -> f64 {
        let right = 1.0 - self.risk;
        // 0 ln 0 is 0.
        let limit = if right > 0.0 { right * (-self.risk).ln_1p() } else { 0.0 };
        self.aurc - (self.risk + limit)
    }
}

/// How well the confidence of the predictions tells right from wrong; see
/// [`SelectiveClassification`].
///
/// # Errors
/// [`Error::Mismatch`] if predictions and labels do not fit, [`Error::Empty`] if there are none.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_metrics::{ConfidenceScore, selective_classification};
///
/// let logits = Logits::new(&[4.0f32, 0.0, 2.0, 0.0, 1.0, 0.0], 2)?;
/// let labels = Labels::new(&[0, 0, 1], 2)?;
/// let scores = selective_classification(&logits, &labels, ConfidenceScore::Margin)?;
/// assert_eq!(scores.auroc, Some(1.0));
/// assert!((scores.aurc - 1.0 / 9.0).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("AURC", "AUGRC", "AUROC", "AUPR"))]
pub fn selective_classification(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    score: ConfidenceScore,
) -> Result<SelectiveScores> {
    value_over(SelectiveClassification::new(score), predictions, labels)
}
