//! The options of the commands on saved predictions.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use softlabel_data::predictions;
use softlabel_metrics::IntervalMethod;
use softlabel_posthoc::Method;

/// Metrics of saved predictions: accuracy, likelihood, calibration, selective classification.
///
/// Without --calibrator the scores are judged as they are.
/// A CSV file with the columns `true_label,pred_label,confidence` gives the metrics that it can.
/// Exit status: 0 done, 1 a --fail-above or --fail-below says no, 2 an error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  softlabel evaluate test.npz --scores logits
  softlabel evaluate probs.npy --labels labels.npy --scores probs --ci 0.95 --report test.html
  softlabel evaluate test.safetensors --scores logits --calibrator calibrator.json --json
  softlabel evaluate test.csv --scores probs --fail-above ece=0.05 --fail-below accuracy=0.9")]
pub(crate) struct Evaluate {
    /// File with scores: .npy, .npz, .safetensors or .csv.
    pub(crate) predictions: PathBuf,

    #[command(flatten)]
    pub(crate) reading: Reading,

    /// Judge the scores as this calibrator maps them.
    #[arg(long, value_name = "FILE")]
    pub(crate) calibrator: Option<PathBuf>,

    /// Number of bins of the calibration errors.
    #[arg(long, default_value_t = softlabel_metrics::DEFAULT_BINS)]
    pub(crate) bins: usize,

    /// Intervals of the metrics at this level, such as 0.95, by resampling rows.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) ci: Option<f64>,

    /// How often the rows are resampled for --ci.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) bootstrap: usize,

    /// How an interval is made of the resampled values.
    #[arg(long, value_name = "METHOD", default_value = "percentile")]
    pub(crate) interval: IntervalKind,

    /// Seed of the resampling.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Print the metrics as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,

    /// Write an HTML report with reliability diagrams.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,

    /// Exit with 1 if a metric is above a value, or undefined.
    #[arg(long, value_name = "METRIC=VALUE")]
    pub(crate) fail_above: Vec<Bound>,

    /// Exit with 1 if a metric is below a value, or undefined.
    #[arg(long, value_name = "METRIC=VALUE")]
    pub(crate) fail_below: Vec<Bound>,
}

/// Fit a calibrator to saved predictions, and judge it on the rows that it was not fitted to.
///
/// Without --split or --fit-rows all rows are fitted to, and none are left to judge it on.
/// Of several methods the one with the lowest cross-validated NLL is taken.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  softlabel calibrate validation.npz --scores logits --method temperature --out calibrator.json
  softlabel calibrate test.npz --scores logits --method temperature,vector,dirichlet --split 0.5
  softlabel calibrate test.npy --labels labels.npy --scores probs --method auto --fit-rows 0..5000 --json")]
pub(crate) struct Calibrate {
    /// File with scores: .npy, .npz, .safetensors or .csv.
    pub(crate) predictions: PathBuf,

    #[command(flatten)]
    pub(crate) reading: Reading,

    /// Method, several of them, or `auto` for all that the number of rows allows.
    #[arg(long, value_name = "NAME", value_delimiter = ',', required = true, value_parser = method,
          long_help = method_help())]
    pub(crate) method: Vec<Choice>,

    /// Folds of the cross-validation that chooses among methods; of more than 20,000 rows a sample of as
    /// many is dealt into them.
    #[arg(long, value_name = "FOLDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) cv: u32,

    /// Share of the rows to fit to, drawn at random; the others are the test.
    #[arg(long, value_name = "SHARE", conflicts_with = "fit_rows")]
    pub(crate) split: Option<f64>,

    /// Rows to fit to, the first one and the one after the last; the others are the test.
    #[arg(long, value_name = "A..B")]
    pub(crate) fit_rows: Option<FitRows>,

    /// Seed of --split and of the folds of --cv.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Number of bins of the calibration errors.
    #[arg(long, default_value_t = softlabel_metrics::DEFAULT_BINS)]
    pub(crate) bins: usize,

    /// Where to write the calibrator, as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,

    /// Print what came out as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write the probabilities that a calibrator makes of saved scores.
///
/// Labels that the file holds are written along, but not to .npy, which has no place for them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  softlabel apply test.npz --scores logits --calibrator calibrator.json --out calibrated.npz")]
pub(crate) struct Apply {
    /// File with scores: .npy, .npz, .safetensors or .csv.
    pub(crate) predictions: PathBuf,

    #[command(flatten)]
    pub(crate) reading: Reading,

    /// The calibrator, as `softlabel calibrate --out` wrote it.
    #[arg(long, value_name = "FILE")]
    pub(crate) calibrator: PathBuf,

    /// Where to write: .npy, .npz, .safetensors or .csv; a file that is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// What to write.
    #[arg(long, value_name = "KIND", default_value = "probs")]
    pub(crate) write: WrittenKind,
}

/// Compare predictions of the same rows: metrics of each file less those of the first.
///
/// Every replicate draws the same rows of both, so that what makes a row hard for both cancels.
/// An interval that does not hold 0 says that the difference is more than chance.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  softlabel compare baseline.npz smoothed.npz --scores logits
  softlabel compare a.npy b.npy c.npy --labels labels.npy --scores probs --json")]
pub(crate) struct Compare {
    /// Files with scores; the first one is what the others are compared with.
    #[arg(num_args = 2.., required = true)]
    pub(crate) predictions: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) reading: Reading,

    /// Number of bins of the calibration errors.
    #[arg(long, default_value_t = softlabel_metrics::DEFAULT_BINS)]
    pub(crate) bins: usize,

    /// Level of the intervals of the differences.
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95)]
    pub(crate) ci: f64,

    /// How often the rows are resampled.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) bootstrap: usize,

    /// How an interval is made of the resampled values.
    #[arg(long, value_name = "METHOD", default_value = "percentile")]
    pub(crate) interval: IntervalKind,

    /// Seed of the resampling.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Print the differences as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a file's numbers are, and where the labels lie.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// File with the labels, if they are not with the scores.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,

    /// What the scores are; needed but for a CSV file of confidences.
    #[arg(long, value_name = "KIND")]
    pub(crate) scores: Option<ScoreKind>,

    /// Name of the array of scores; of columns what their names begin with, or all their names, with commas between.
    #[arg(long, value_name = "NAME")]
    pub(crate) scores_key: Option<String>,

    /// Name of the array or column of labels, or what the names of a column a class begin with.
    #[arg(long, value_name = "NAME")]
    pub(crate) labels_key: Option<String>,

    /// Divide every row of probabilities by its sum, instead of refusing rows that do not sum to 1.
    #[arg(long)]
    pub(crate) renormalize: bool,

    /// Raise probabilities below EPS to it and divide rows by their sums, such as 1e-6, so that no label is impossible.
    #[arg(long, value_name = "EPS")]
    pub(crate) clip: Option<f64>,
}

impl Reading {
    /// The first option that says something of scores or labels that are not those of a file of confidences.
    pub(crate) fn beside_confidences(&self) -> Option<&'static str> {
        let not_probabilities = self.scores.is_some_and(|kind| kind != ScoreKind::Probs);
        let options = [
            ("--labels", self.labels.is_some()),
            ("--labels-key", self.labels_key.is_some()),
            ("--renormalize", self.renormalize),
            ("--clip", self.clip.is_some()),
            ("--scores logits or log-probs", not_probabilities),
        ];
        options.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// What scores mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScoreKind {
    Logits,
    LogProbs,
    Probs,
}

impl ScoreKind {
    /// As the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::LogProbs => "log-probs",
            Self::Probs => "probs",
        }
    }
}

impl From<ScoreKind> for predictions::ScoreKind {
    fn from(kind: ScoreKind) -> Self {
        match kind {
            ScoreKind::Logits => Self::Logits,
            ScoreKind::LogProbs => Self::LogProbabilities,
            ScoreKind::Probs => Self::Probabilities,
        }
    }
}

/// What `softlabel apply` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WrittenKind {
    Probs,
    LogProbs,
}

/// How an interval is made of resampled values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IntervalKind {
    /// Their quantiles.
    Percentile,
    /// Their quantiles reflected at the estimate, which takes out their bias.
    Basic,
    /// Their quantiles corrected for bias and acceleration.
    Bca,
}

impl From<IntervalKind> for IntervalMethod {
    fn from(kind: IntervalKind) -> Self {
        match kind {
            IntervalKind::Percentile => Self::Percentile,
            IntervalKind::Basic => Self::Basic,
            IntervalKind::Bca => Self::BiasCorrectedAccelerated,
        }
    }
}

/// A metric and a value that it must not pass.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    pub(crate) metric: String,
    pub(crate) value: f64,
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected METRIC=VALUE such as ece=0.05, found `{text}`");
        let (metric, value) = text.split_once('=').ok_or_else(expected)?;
        let value = value.trim().parse().ok().filter(|value: &f64| !value.is_nan());
        let metric = metric.trim().replace('-', "_");
        Ok(Self { metric, value: value.ok_or_else(expected)? })
    }
}

/// Rows to fit to, of which there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FitRows(pub(crate) Range<usize>);

impl FromStr for FitRows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once("..")
            .and_then(|(start, end)| Some(start.trim().parse().ok()?..end.trim().parse().ok()?));
        ends.filter(|rows| !rows.is_empty()).map(Self).ok_or_else(|| {
            format!("expected rows A..B with A below B, such as 0..5000, found `{text}`")
        })
    }
}

/// A method by its name, or all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Choice {
    Auto,
    Of(Method),
}

fn method(text: &str) -> Result<Choice, String> {
    if text == "auto" {
        return Ok(Choice::Auto);
    }
    text.parse().map(Choice::Of).map_err(|error: softlabel_posthoc::Error| error.to_string())
}

fn method_help() -> String {
    format!(
        "Method, or methods applied one after another with + between, such as temperature+isotonic. Of \
         several with commas between the best is taken by cross-validation; `auto` tries the identity, \
         temperature+isotonic and all methods but venn_abers, bbq and parametrized_temperature, which \
         take long, as far as the \
         number of rows allows their parameters.\n\n[methods: {}, identity]",
        Method::names().join(", ")
    )
}
