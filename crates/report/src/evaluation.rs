//! The metrics of predictions, as one HTML file and as tables for a terminal.
//!
//! Functions here turn [`FullScores`] into text and places; `templates/evaluation.html` says how they are laid out.
//! Numbers are written with six digits behind the point: whoever reads them compares them with a paper or another
//! program. A metric without a value is shown with the reason.

use std::collections::BTreeMap;

use askama::Template;
use comfy_table::{Cell, CellAlignment, Color};
use softlabel_metrics::{
    ClasswiseCalibration, FullScores, Interval, Metric, ReliabilityDiagram, RiskCoverageCurve,
};

use crate::classes::{ClassLine, MOST_CLASSES, class_lines};
use crate::diagram::{
    Axes, BinNumbers, FEW_SAMPLES, HISTOGRAM_HEIGHT, HISTOGRAM_TOP, LEFT, Mark, PlacedBin, SIZE,
    TOP,
};
use crate::selective::{HEIGHT, SelectivePanel};
use crate::terminal::{plain_table, printable, set_margins};
use crate::{Result, TableStyle, numbers};

/// Digits behind the point.
const DECIMALS: usize = 6;

/// What is said of predictions in a report: where they come from, and their metrics.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationView<'a> {
    /// What was evaluated.
    pub title: &'a str,
    /// Terms and what they are: files, what the scores mean, a calibrator.
    pub facts: &'a [(&'static str, String)],
    /// The metrics.
    pub scores: &'a FullScores,
    /// Intervals of metrics by name; empty if there are none.
    pub intervals: &'a BTreeMap<String, Interval>,
    /// Risk against coverage, if it is to be shown.
    pub risk_coverage: Option<&'a RiskCoverageCurve>,
    /// Calibration by class, if it is known.
    pub classwise: Option<&'a ClasswiseCalibration>,
}

/// The metrics of predictions as one HTML file, which needs neither network nor JavaScript.
///
/// It has a table of the metrics with their intervals and meaning, and two reliability diagrams: over bins of equal
/// width and of equal mass; the risk-coverage curve, and the classes that are calibrated worst, where the view has
/// them. All texts are escaped.
///
/// # Errors
/// [`Error::Template`](crate::Error::Template) if the template cannot be filled in.
///
/// ```
/// use std::collections::BTreeMap;
/// use softlabel_metrics::{Forecasts, evaluate_forecasts};
/// use softlabel_report::{EvaluationView, evaluation_html};
///
/// let scores = evaluate_forecasts(&Forecasts::new(&[0.75f64, 0.5], &[true, false])?, 15)?;
/// let intervals = BTreeMap::new();
/// let view = EvaluationView {
///     title: "<b>",
///     facts: &[],
///     scores: &scores,
///     intervals: &intervals,
///     risk_coverage: None,
///     classwise: None,
/// };
/// let html = evaluation_html(&view)?;
/// assert!(html.starts_with("<!DOCTYPE html>") && html.contains("&#60;b&#62;"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluation_html(view: &EvaluationView<'_>) -> Result<String> {
    let scores = view.scores;
    let diagrams = [("Bins of equal width", &scores.diagram, scores.ece), {
        ("Bins of equal mass", &scores.diagram_equal_mass, scores.ece_equal_mass)
    }];
    let axes = Axes::fitting(diagrams.iter().map(|(_, diagram, _)| *diagram));
    let panels =
        diagrams.map(|(title, diagram, ece)| panel(scores, &axes, title, diagram, ece)).into();
    let classes = scores.classes.map_or("not known".to_owned(), |k| numbers::count(k as u64));
    let counts = [("Samples", numbers::count(scores.samples)), ("Classes", classes)];
    let facts = view.facts.iter().cloned().chain(counts);
    let page = Page {
        title: view.title,
        facts: facts.map(|(term, text)| Fact { term, text }).collect(),
        highlights: ["accuracy", "nll", "brier", "ece"]
            .iter()
            .filter_map(|&name| Some(Line::new(name, scores.metric(name)?, view.intervals)))
            .collect(),
        lines: lines(scores, view.intervals),
        level: view.intervals.values().next().map(|interval| numbers::level_of(interval.level)),
        bins: scores.diagram.bins.len(),
        axes,
        panels,
        selective: view.risk_coverage.map(SelectivePanel::of),
        classes: view.classwise.map(class_lines).unwrap_or_default(),
        all_classes: scores.classes.unwrap_or_default(),
    };
    Ok(page.render()?)
}

#[derive(Template)]
#[template(path = "evaluation.html", whitespace = "minimize")]
struct Page<'a> {
    title: &'a str,
    facts: Vec<Fact>,
    highlights: Vec<Line>,
    lines: Vec<Line>,
    /// The level of the intervals in percent, if there are any.
    level: Option<String>,
    bins: usize,
    axes: Axes,
    panels: Vec<Panel>,
    selective: Option<SelectivePanel>,
    classes: Vec<ClassLine>,
    all_classes: usize,
}

struct Fact {
    term: &'static str,
    text: String,
}

/// One metric.
struct Line {
    title: &'static str,
    value: String,
    interval: String,
    /// Whether more or less is better.
    hint: &'static str,
    /// What it is, or why it has no value.
    meaning: String,
}

impl Line {
    fn new(name: &'static str, metric: Metric, intervals: &BTreeMap<String, Interval>) -> Self {
        let words = words(name);
        Self {
            title: words.title,
            value: value(metric),
            interval: intervals.get(name).map_or_else(String::new, ends),
            hint: match words.higher_is_better {
                Some(true) => "↑",
                Some(false) => "↓",
                None => "",
            },
            meaning: match metric {
                Ok(_) => words.meaning.to_owned(),
                Err(reason) => format!("undefined: {reason}"),
            },
        }
    }
}

/// What the template of a diagram draws.
struct Panel {
    title: &'static str,
    ece: String,
    accuracy: String,
    confidence: String,
    label: String,
    accuracy_line: Mark,
    confidence_line: Mark,
    bins: Vec<PlacedBin>,
}

impl Panel {
    fn numbers(&self) -> impl Iterator<Item = &BinNumbers> {
        self.bins.iter().map(|bin| &bin.numbers)
    }
}

fn panel(
    scores: &FullScores,
    axes: &Axes,
    title: &'static str,
    diagram: &ReliabilityDiagram,
    ece: f64,
) -> Panel {
    let (accuracy, confidence) =
        (numbers::percent(scores.accuracy), numbers::percent(scores.mean_confidence));
    let ece = numbers::percent(ece);
    Panel {
        title,
        label: format!(
            "Reliability diagram and confidence histogram, {title}: ECE {ece}, accuracy {accuracy}, \
             mean confidence {confidence}"
        ),
        accuracy_line: Axes::line(scores.accuracy),
        confidence_line: Axes::line(scores.mean_confidence),
        bins: axes.place(diagram),
        ece,
        accuracy,
        confidence,
    }
}

fn lines(scores: &FullScores, intervals: &BTreeMap<String, Interval>) -> Vec<Line> {
    let metrics = scores.metrics().into_iter();
    metrics.map(|(name, metric)| Line::new(name, metric, intervals)).collect()
}

/// A table of metrics: a row for each, a column for each evaluation, and the intervals of the first, if there are any.
///
/// Ends with a line break; below it stands why metrics are undefined.
///
/// ```
/// use std::collections::BTreeMap;
/// use softlabel_metrics::{Forecasts, evaluate_forecasts};
/// use softlabel_report::{TableStyle, evaluation_table};
///
/// let scores = evaluate_forecasts(&Forecasts::new(&[0.75f64, 0.5], &[true, false])?, 15)?;
/// let table = evaluation_table(&[("value", &scores)], &BTreeMap::new(), TableStyle::default());
/// assert!(table.contains("ECE") && table.contains("0.375000"));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn evaluation_table(
    columns: &[(&str, &FullScores)],
    intervals: &BTreeMap<String, Interval>,
    style: TableStyle,
) -> String {
    let mut table = plain_table(style.color);
    let mut heading = vec![left("metric")];
    heading.extend(columns.iter().map(|(title, _)| right(printable(title))));
    if let Some(interval) = intervals.values().next() {
        heading.push(right(format!("{} interval", numbers::level_of(interval.level))));
    }
    table.set_header(heading);
    let mut reasons: Vec<String> = Vec::new();
    let names = columns.first().map(|(_, scores)| scores.metrics()).unwrap_or_default();
    for (name, _) in names {
        let title = words(name).title;
        let mut cells = vec![left(title)];
        for (_, scores) in columns {
            let metric = scores.metric(name).unwrap_or(Ok(f64::NAN));
            if let Err(reason) = metric {
                let reason = format!("{title}: undefined, {reason}\n");
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            cells.push(right(value(metric)));
        }
        if !intervals.is_empty() {
            cells.push(right(intervals.get(name).map_or_else(String::new, ends)));
        }
        table.add_row(cells);
    }
    set_margins(&mut table);
    table.trim_fmt() + "\n" + &reasons.concat()
}

/// A table of what changed from one evaluation to another on the same rows, with the intervals of the differences.
///
/// A difference whose interval does not hold 0 is marked `✓` if it is for the better and `✗` if it is for the worse.
/// Ends with a line break.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Bootstrap, RowScores, full_evaluation};
/// use softlabel_report::{TableStyle, comparison_table};
///
/// let labels = Labels::new(&[0; 50], 2)?;
/// let [a, b] = [0.5f32, 0.75].map(|p| Probabilities::new([p, 1.0 - p].repeat(50), 2));
/// let (a, b) = (a?, b?);
/// let rows = (RowScores::of(&a, &labels)?, RowScores::of(&b, &labels)?);
/// let differences = rows.1.differences(&rows.0, 15, &Bootstrap::new(100, 0)?)?;
/// let (a, b) = (full_evaluation(&a, &labels, 15)?, full_evaluation(&b, &labels, 15)?);
/// let table = comparison_table(&a, &b, &differences, TableStyle::default());
/// assert!(table.contains("−0.375000") && table.contains("✓"));
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub fn comparison_table(
    baseline: &FullScores,
    candidate: &FullScores,
    differences: &BTreeMap<String, Interval>,
    style: TableStyle,
) -> String {
    let mut table = plain_table(style.color);
    let level = differences
        .values()
        .next()
        .map_or(String::new(), |of| format!("{} interval", numbers::level_of(of.level)));
    let titles = ["baseline", "candidate", "difference", &level, ""].map(right);
    table.set_header(std::iter::once(left("metric")).chain(titles));
    for (name, first) in baseline.metrics() {
        let Some(difference) = differences.get(name) else { continue };
        let second = candidate.metric(name).unwrap_or(Ok(f64::NAN));
        let (words, certain) = (words(name), !difference.contains(0.0));
        let (mark, color) = match words.higher_is_better {
            Some(higher) if certain && (difference.estimate > 0.0) == higher => ("✓", Color::Green),
            Some(_) if certain => ("✗", Color::Red),
            _ => ("", Color::Reset),
        };
        table.add_row([
            left(words.title),
            right(value(first)),
            right(value(second)),
            right(numbers::signed(difference.estimate, DECIMALS)),
            right(ends(difference)),
            left(mark).fg(color),
        ]);
    }
    set_margins(&mut table);
    table.trim_fmt() + "\n"
}

fn left(text: impl ToString) -> Cell {
    Cell::new(text)
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn value(metric: Metric) -> String {
    metric.map_or(numbers::NONE.to_owned(), |value| numbers::decimal(value, DECIMALS))
}

fn ends(interval: &Interval) -> String {
    let [lower, upper] =
        [interval.lower, interval.upper].map(|end| numbers::decimal(end, DECIMALS));
    format!("[{lower}, {upper}]")
}

/// How people call a metric, what it is, and which direction is better.
#[derive(Clone, Copy)]
struct Words {
    title: &'static str,
    meaning: &'static str,
    higher_is_better: Option<bool>,
}

/// The words for a metric by its name; the name itself for one that is not known here.
fn words(name: &'static str) -> Words {
    let (title, meaning, higher_is_better) = match name {
        "accuracy" => {
            ("Accuracy", "Share of rows whose most probable class is the label.", Some(true))
        }
        "nll" => (
            "NLL",
            "Mean of −ln p(label), in nats; one row that is confidently wrong can dominate it.",
            Some(false),
        ),
        "brier" => (
            "Brier",
            "Squared distance between the probabilities and the one-hot label, summed over classes; between 0 and 2.",
            Some(false),
        ),
        "ece" => (
            "ECE",
            "Mean gap between confidence and accuracy over bins of equal width, weighted by their rows.",
            Some(false),
        ),
        "ece_equal_mass" => {
            ("ECE, equal mass", "The same over bins with about as many rows each.", Some(false))
        }
        "mce" => ("MCE", "Largest gap of a bin of equal width that is not empty.", Some(false)),
        "rmsce" => ("RMSCE", "Quadratic mean of the gaps of the bins of equal width.", Some(false)),
        "bin_average_error" => {
            ("Mean gap", "Mean of the gaps of the bins, each counted alike.", Some(false))
        }
        "classwise_ece" => (
            "Classwise ECE",
            "ECE of the probability of each class, averaged over classes.",
            Some(false),
        ),
        "classwise_ece_sum" => {
            ("Classwise ECE, sum", "The same, summed over classes.", Some(false))
        }
        "classwise_rmsce" => {
            ("Classwise RMSCE", "Quadratic mean over classes of their RMSCE.", Some(false))
        }
        "ks" => (
            "KS error",
            "Largest cumulative difference between confidence and accuracy; needs no bins.",
            Some(false),
        ),
        "kuiper" => ("Kuiper error", "Range of the same cumulative differences.", Some(false)),
        "smooth_ece" => (
            "SmoothECE",
            "Calibration error smoothed by a kernel, whose width it finds itself.",
            Some(false),
        ),
        "aurc" => (
            "AURC",
            "Area under the risk-coverage curve: errors kept while the least sure rows are given up.",
            Some(false),
        ),
        "eaurc" => ("E-AURC", "AURC less that of the best order of the same rows.", Some(false)),
        "augrc" => ("AUGRC", "Area under the generalized risk-coverage curve.", Some(false)),
        "auroc_confidence" => (
            "AUROC of confidence",
            "How well the confidence tells right from wrong rows; 0.5 is chance.",
            Some(true),
        ),
        "aupr_success" => (
            "AUPR success",
            "Average precision of finding right rows by high confidence.",
            Some(true),
        ),
        "aupr_error" => {
            ("AUPR error", "Average precision of finding wrong rows by low confidence.", Some(true))
        }
        "fpr_at_95_tpr" => (
            "FPR at 95 % TPR",
            "Share of wrong rows kept where 95 % of the right ones are.",
            Some(false),
        ),
        "mean_confidence" => (
            "Mean confidence",
            "Mean probability of the top class: above the accuracy, overconfident on the whole.",
            None,
        ),
        "mean_entropy" => ("Mean entropy", "Mean entropy of the rows, in nats.", None),
        "mean_logit_gap" => {
            ("Mean logit gap", "Mean of the label's logit less the largest other logit.", None)
        }
        other => (other, "", None),
    };
    Words { title, meaning, higher_is_better }
}

#[cfg(test)]
mod tests {
    use softlabel_metrics::{Forecasts, evaluate_forecasts};

    use super::*;

    #[test]
    fn every_metric_has_words() {
        let forecasts = Forecasts::new(&[0.75f64], &[true]).unwrap();
        for (name, _) in evaluate_forecasts(&forecasts, 15).unwrap().metrics() {
            let words = words(name);
            assert!(words.title != name && words.meaning.ends_with('.'), "{name}");
        }
    }
}
