//! `softlabel compare`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};
use softlabel_data::predictions::{PredictionFile, Targets};
use softlabel_metrics::{Bootstrap, Interval};
use softlabel_report::comparison_table;

use crate::Verdict;
use crate::arguments::Compare;
use crate::evaluation::{Evaluation, all};
use crate::output::{print, print_json, table_style};
use crate::predictions::{scores, targets};

/// The object that `softlabel compare --json` prints.
#[derive(Debug, Serialize)]
struct ComparisonOutput {
    schema: &'static str,
    baseline: Judged,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Judged {
    file: String,
    evaluation: Evaluation,
}

#[derive(Debug, Serialize)]
struct Candidate {
    #[serde(flatten)]
    judged: Judged,
    /// Of each metric, that of the candidate less that of the baseline; null where one of the two is undefined or
    /// infinite, as the `undefined` of its evaluation says.
    #[serde(serialize_with = "all_of")]
    differences: BTreeMap<String, Interval>,
}

fn all_of<S: Serializer>(
    differences: &BTreeMap<String, Interval>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    all(differences).serialize(serializer)
}

/// Compares predictions of the same rows with the first of them.
pub(crate) fn compare(options: &Compare) -> Result<Verdict> {
    let bootstrap = Bootstrap::new(options.bootstrap, options.seed)?.at_level(options.ci)?;
    let bootstrap = bootstrap.by(options.interval.into());
    let Some((first, others)) = options.predictions.split_first() else {
        bail!("expected files of predictions, found none");
    };
    let (baseline, labels) = judge(first, options)?;
    let mut candidates = Vec::new();
    for path in others {
        let (judged, found) = judge(path, options)?;
        check_labels(&labels, &found, [first, path])?;
        let (rows, of_baseline) = (&judged.evaluation.rows, &baseline.evaluation.rows);
        let differences = rows.differences(of_baseline, options.bins, &bootstrap)?;
        candidates.push(Candidate { judged, differences });
    }
    let output = ComparisonOutput { schema: "softlabel.comparison/1", baseline, candidates };
    if options.json {
        print_json(&output)?;
    } else {
        print(&text(&output))?;
    }
    Ok(Verdict::Done)
}

/// The metrics of a file, and its labels.
fn judge(path: &Path, options: &Compare) -> Result<(Judged, Truth)> {
    let file = PredictionFile::open(path)?;
    let (evaluation, truth) = if file.has_top_labels() && options.reading.scores_key.is_none() {
        (
            Evaluation::of_top_labels(&file, &options.reading, options.bins)?,
            Truth::Classes(file.top_labels()?.labels),
        )
    } else {
        let scores = scores(&file, &options.reading)?;
        let targets = targets(&file, &scores, &options.reading)?;
        let evaluation = Evaluation::of_scores(&scores, &targets, None, options.bins)?;
        let truth = match targets {
            Targets::Classes(labels) => {
                Truth::Classes(labels.as_slice().iter().map(|&label| label.into()).collect())
            }
            Targets::Distributions(rows) => Truth::Distributions(rows.as_slice().to_vec()),
        };
        (evaluation, truth)
    };
    Ok((Judged { file: path.display().to_string(), evaluation }, truth))
}

/// What was true of every row.
#[derive(Debug, PartialEq)]
enum Truth {
    Classes(Vec<u64>),
    Distributions(Vec<f64>),
}

/// Two files must be about the same rows.
fn check_labels(expected: &Truth, found: &Truth, [first, path]: [&Path; 2]) -> Result<()> {
    let (first, path) = (first.display(), path.display());
    if let (Truth::Classes(expected), Truth::Classes(found)) = (expected, found) {
        if expected.len() != found.len() {
            bail!("{path}: expected {} rows, as in {first}, found {}", expected.len(), found.len());
        }
        let differs = |(a, b): (&u64, &u64)| a != b;
        if let Some(row) = expected.iter().zip(found).position(differs) {
            let [expected, found] = [expected, found].map(|of| of.get(row).copied().unwrap_or(0));
            bail!(
                "{path}: expected the labels of {first}, but in row {row} found label {found} and \
                 not {expected}"
            );
        }
    } else if expected != found {
        bail!("{path}: expected the labels of {first}, found others");
    }
    Ok(())
}

fn text(output: &ComparisonOutput) -> String {
    let baseline = &output.baseline;
    let mut text = format!("baseline   {}\n", baseline.file);
    for Candidate { judged, differences } in &output.candidates {
        let (from, to) = (&baseline.evaluation.scores, &judged.evaluation.scores);
        text += &format!("candidate  {}\n\n", judged.file);
        text += &comparison_table(from, to, differences, table_style());
        text.push('\n');
    }
    text + "✓ better, ✗ worse: the interval of the difference does not hold 0.\n"
}
