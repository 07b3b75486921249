//! `summary.json`: every number of the table, and what changed between its rows.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use softlabel_core::number::Written;
use softlabel_metrics::ReliabilityDiagram;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{Arm, number};

/// Every number of a run's table. Holds no time and no place: same seed, same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`Summary::SCHEMA`].
    pub schema: String,
    /// Name of the recipe.
    pub name: String,
    /// What the recipe says it shows; may be empty.
    pub description: String,
    /// Seeds of the repeats; the order of [`Statistic::values`].
    pub seeds: Vec<u64>,
    /// What was trained on.
    pub dataset: DatasetSummary,
    /// Bins of the calibration error and of the diagrams.
    pub bins: usize,
    /// One row an arm and calibration, in the order of the recipe.
    pub rows: Vec<Row>,
    /// What is known of each arm beside its rows, in the order of the recipe; empty in a summary of an earlier version.
    #[serde(default)]
    pub arms: Vec<Arm>,
    /// What changed between rows, seed by seed.
    pub comparisons: Vec<Comparison>,
    /// What the recipe demanded of the numbers.
    pub checks: Vec<Check>,
}

impl Summary {
    /// The schema this version writes and reads.
    pub const SCHEMA: &str = "softlabel.summary/1";

    /// The row of an arm and calibration.
    pub fn row(&self, arm: &str, calibration: &Calibration) -> Option<&Row> {
        self.rows.iter().find(|row| row.arm == arm && row.calibration == *calibration)
    }

    /// What is known of an arm beside its rows.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}

/// What was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Name of the dataset.
    pub name: String,
    /// Number of classes.
    pub classes: usize,
    /// Samples in each split.
    pub samples: SplitSizes,
    /// Fingerprint of pixels and labels.
    pub fingerprint: String,
    /// The label noise in words; none if labels are as they came.
    pub label_noise: Option<String>,
    /// Share of the training labels that the noise changed, seed by seed.
    pub changed_labels: Vec<f64>,
}

/// Samples in each split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSizes {
    /// Trained on.
    pub train: usize,
    /// Held out to fit calibrators.
    pub validation: usize,
    /// Held out for the numbers of the table.
    pub test: usize,
}

/// What was done to the logits of a trained model before they were judged or taught: nothing, or a map fitted on the
/// validation split.
///
/// A name, written as a plain string: `none`; that of a method, as `platt`, or of several one after another, as
/// `temperature+isotonic`; or one that a recipe gives to a map of its own. What is of the same name is equal.
///
/// ```
/// use softlabel_results::Calibration;
///
/// let calibration = Calibration::named("temperature+isotonic");
/// assert_eq!(calibration.name(), "temperature+isotonic");
/// assert_eq!(calibration.title(), "temperature + isotonic");
/// assert!(Calibration::named("none").is_none());
///
/// assert_eq!(serde_json::to_string(&calibration)?, r#""temperature+isotonic""#);
/// assert_eq!(serde_json::from_str::<Calibration>(r#""temperature""#)?, Calibration::TEMPERATURE);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Calibration(Cow<'static, str>);

impl Calibration {
    /// Nothing.
    pub const NONE: Self = Self(Cow::Borrowed("none"));

    /// Divided by a temperature.
    pub const TEMPERATURE: Self = Self(Cow::Borrowed("temperature"));

    /// The one of a name.
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// As it is written in recipes and file names.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// As it is shown: maps that follow one another stand apart.
    pub fn title(&self) -> String {
        self.0.replace('+', " + ")
    }

    /// Whether nothing was done.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// One row of the table: an arm with a calibration, judged on the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The arm, as the recipe names it.
    pub arm: String,
    /// What was done to its logits.
    pub calibration: Calibration,
    /// The numbers.
    pub metrics: MetricTable,
    /// Seeds for which the data did not determine the calibration map.
    pub degenerate_fits: Vec<DegenerateFit>,
    /// Reliability diagram of the test predictions of all seeds together.
    pub reliability: ReliabilityDiagram,
}

/// A fit whose data did not determine the map: all right, all wrong, or all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegenerateFit {
    /// The seed.
    pub seed: u64,
    /// How the fit ended, as `separable`.
    pub outcome: String,
}

impl Row {
    /// As it is shown: `hard`, `hard + temperature`, `hard + temperature + isotonic`.
    pub fn title(&self) -> String {
        if self.calibration.is_none() {
            self.arm.clone()
        } else {
            format!("{} + {}", self.arm, self.calibration.title())
        }
    }
}

/// The numbers of a row, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricTable {
    /// Share of test samples whose top class is the label.
    pub accuracy: Statistic,
    /// Mean −ln p(label).
    pub nll: Statistic,
    /// Brier score, summed over classes, in [0, 2].
    pub brier: Statistic,
    /// Expected calibration error, equal-width bins.
    pub ece: Statistic,
    /// Mean probability of the top class.
    pub mean_confidence: Statistic,
    /// Mean of the label's logit minus the largest other.
    pub mean_logit_gap: Statistic,
    /// The fitted temperature; none unless temperature scaling was applied.
    pub temperature: Option<Statistic>,
}

impl MetricTable {
    /// The numbers of one metric.
    pub fn get(&self, metric: Metric) -> Option<&Statistic> {
        match metric {
            Metric::Accuracy => Some(&self.accuracy),
            Metric::Nll => Some(&self.nll),
            Metric::Brier => Some(&self.brier),
            Metric::Ece => Some(&self.ece),
            Metric::MeanConfidence => Some(&self.mean_confidence),
            Metric::MeanLogitGap => Some(&self.mean_logit_gap),
            Metric::Temperature => self.temperature.as_ref(),
        }
    }
}

/// The columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of samples whose top class is the label.
    Accuracy,
    /// Negative log-likelihood in nats.
    Nll,
    /// Brier score, summed over classes.
    Brier,
    /// Expected calibration error.
    Ece,
    /// Mean probability of the top class.
    MeanConfidence,
    /// Mean of the label's logit minus the largest other.
    MeanLogitGap,
    /// The fitted temperature.
    Temperature,
}

impl Metric {
    /// All columns, in the order they are shown.
    pub const ALL: [Self; 7] = [
        Self::Accuracy,
        Self::Nll,
        Self::Brier,
        Self::Ece,
        Self::MeanConfidence,
        Self::MeanLogitGap,
        Self::Temperature,
    ];

    /// Heading of the column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Nll => "NLL",
            Self::Brier => "Brier",
            Self::Ece => "ECE",
            Self::MeanConfidence => "confidence",
            Self::MeanLogitGap => "logit gap",
            Self::Temperature => "temperature",
        }
    }

    /// Name in `summary.json` and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Nll => "nll",
            Self::Brier => "brier",
            Self::Ece => "ece",
            Self::MeanConfidence => "mean_confidence",
            Self::MeanLogitGap => "mean_logit_gap",
            Self::Temperature => "temperature",
        }
    }

    /// Whether more is better; none for what only describes.
    pub fn higher_is_better(self) -> Option<bool> {
        match self {
            Self::Accuracy => Some(true),
            Self::Nll | Self::Brier | Self::Ece => Some(false),
            Self::MeanConfidence | Self::MeanLogitGap | Self::Temperature => None,
        }
    }
}

/// One number over the seeds.
///
/// In JSON an infinite number is the string `inf` or `-inf`, and one that is undefined is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenStatistic", into = "WrittenStatistic")]
pub struct Statistic {
    /// Mean over the seeds.
    pub mean: f64,
    /// Sample standard deviation (n − 1); none with a single seed, and where a number is not finite.
    pub sd: Option<f64>,
    /// The number for each seed, in the order of [`Summary::seeds`].
    pub values: Vec<f64>,
}

impl Statistic {
    /// Mean and sample standard deviation of `values`; the mean of none is NaN.
    ///
    /// ```
    /// use softlabel_results::Statistic;
    /// let statistic = Statistic::of(vec![1.0, 2.0, 3.0]);
    /// assert_eq!((statistic.mean, statistic.sd), (2.0, Some(1.0)));
    /// assert_eq!(Statistic::of(vec![5.0]).sd, None);
    /// ```
    pub fn of(values: Vec<f64>) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd =
            (values.len() > 1 && squares.is_finite()).then(|| (squares / (count - 1.0)).sqrt());
        Self { mean, sd, values }
    }

    /// The interval of Student's t for the mean, if the values are independent and normally distributed: at `level`
    /// of 0.95 it covers the mean of infinitely many seeds 95 times in 100.
    ///
    /// ```text
    /// mean ± t((1 + level)/2, n − 1) · sd/√n
    /// ```
    ///
    /// None with a single seed, where a number is not finite, and for a level outside (0, 1).
    ///
    /// Source: Student, "The probable error of a mean" (1908).
    ///
    /// ```
    /// use softlabel_results::Statistic;
    /// // t(0.975, 2) = 4.302653 (any table).
    /// let [low, high] = Statistic::of(vec![1.0, 2.0, 3.0]).interval(0.95).unwrap();
    /// assert!((high - (2.0 + 4.302653 / 3f64.sqrt())).abs() < 1e-6);
    /// assert!((low + high - 4.0).abs() < 1e-12);
    /// assert_eq!(Statistic::of(vec![1.0]).interval(0.95), None);
    /// ```
    pub fn interval(&self, level: f64) -> Option<[f64; 2]> {
        let (sd, count) = (self.sd?, self.values.len() as f64);
        if !(level > 0.0 && level < 1.0) {
            return None;
        }
        let t = StudentsT::new(0.0, 1.0, count - 1.0).ok()?.inverse_cdf(f64::midpoint(1.0, level));
        let half = t * sd / count.sqrt();
        half.is_finite().then_some([self.mean - half, self.mean + half])
    }
}

/// A [`Statistic`] in JSON.
#[derive(Serialize, Deserialize)]
struct WrittenStatistic {
    mean: Option<Written>,
    sd: Option<Written>,
    values: Vec<Option<Written>>,
}

impl From<Statistic> for WrittenStatistic {
    fn from(Statistic { mean, sd, values }: Statistic) -> Self {
        let values = values.into_iter().map(number::written).collect();
        Self { mean: number::written(mean), sd: sd.and_then(number::written), values }
    }
}

impl From<WrittenStatistic> for Statistic {
    fn from(WrittenStatistic { mean, sd, values }: WrittenStatistic) -> Self {
        let values = values.into_iter().map(number::read).collect();
        Self { mean: number::read(mean), sd: sd.map(f64::from), values }
    }
}

/// What changed from one row to another, seed by seed on the same splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Title of the row that is compared with.
    pub baseline: String,
    /// Title of the row that is judged.
    pub candidate: String,
    /// One difference a metric that has a better and a worse.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Compares two rows in every metric that has a better and a worse.
    pub fn of(baseline: &Row, candidate: &Row) -> Self {
        let differences =
            Metric::ALL.iter().filter_map(|&metric| Difference::of(metric, baseline, candidate));
        Self {
            baseline: baseline.title(),
            candidate: candidate.title(),
            differences: differences.collect(),
        }
    }
}

/// Candidate minus baseline in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The metric.
    pub metric: Metric,
    /// Candidate minus baseline over the seeds.
    pub change: Statistic,
    /// Seeds in which the candidate was better.
    pub better: usize,
    /// Seeds in which it was worse.
    pub worse: usize,
}

impl Difference {
    fn of(metric: Metric, baseline: &Row, candidate: &Row) -> Option<Self> {
        let sign = if metric.higher_is_better()? { 1.0 } else { -1.0 };
        let before = &baseline.metrics.get(metric)?.values;
        let after = &candidate.metrics.get(metric)?.values;
        let change: Vec<f64> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        let count = |wanted: fn(f64) -> bool| change.iter().filter(|&&c| wanted(sign * c)).count();
        let (better, worse) = (count(|gain| gain > 0.0), count(|gain| gain < 0.0));
        Some(Self { metric, better, worse, change: Statistic::of(change) })
    }
}

/// A demand of the recipe on a number of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Title of the row.
    pub row: String,
    /// The metric whose mean is judged.
    pub metric: Metric,
    /// The least it may be.
    pub at_least: Option<f64>,
    /// The most it may be.
    pub at_most: Option<f64>,
    /// The mean that came out.
    #[serde(with = "number")]
    pub found: f64,
    /// Whether the demand is met.
    pub passed: bool,
}
