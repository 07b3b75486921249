//! The results as text, for a terminal or a file.

use std::fmt::Write;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, presets,
};
use softlabel_results::{Difference, Metric, Summary};

use crate::words::Outcome;
use crate::{numbers, words};

/// How [`table`] and [`changes`] are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableStyle {
    /// Columns of the terminal. A table that does not fit puts the standard deviations below the means,
    /// and if that is too wide still, leaves out what only describes: confidence, logit gap, temperature.
    pub width: usize,
    /// Whether to use colour; all that it says is said by a mark too.
    pub color: bool,
}

impl Default for TableStyle {
    /// 100 columns, no colour.
    fn default() -> Self {
        Self { width: 100, color: false }
    }
}

/// The table of the results: a row for each arm and calibration, a column for each metric.
///
/// The best mean of a column carries a `*`. Ends with a line break.
///
/// ```no_run
/// # use softlabel_results::RunFolder;
/// use softlabel_report::{TableStyle, table};
/// let summary = RunFolder::open("runs/digits-1").read_summary()?;
/// print!("{}", table(&summary, TableStyle { width: 160, color: true }));
/// # Ok::<(), softlabel_results::Error>(())
/// ```
pub fn table(summary: &Summary, style: TableStyle) -> String {
    let judged: Vec<Metric> =
        Metric::ALL.into_iter().filter(|metric| metric.higher_is_better().is_some()).collect();
    let layouts = [(&Metric::ALL[..], Spread::Beside), (&Metric::ALL, Spread::Below)];
    let fitting = layouts
        .into_iter()
        .map(|(metrics, spread)| layout(summary, metrics, spread, style.color))
        .find(|table| natural_width(table) <= style.width);
    let shortened = fitting.is_none();
    let table = fitting.unwrap_or_else(|| layout(summary, &judged, Spread::Below, style.color));

    let mut text = table.trim_fmt();
    text.push('\n');
    let best = judged.iter().any(|&metric| words::best(&summary.rows, metric).contains(&true));
    let mark = if best { " * marks the best mean." } else { "" };
    _ = writeln!(text, "{}{mark}", words::spread(summary));
    for warning in words::degenerate_fits(summary) {
        _ = writeln!(text, "! {}", printable(&warning));
    }
    if shortened {
        text.push_str("Confidence, logit gap and temperature need a wider terminal.\n");
    }
    text
}

/// Where the standard deviations stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// Beside the mean.
    Beside,
    /// Below the mean, in a row of their own.
    Below,
}

fn layout(summary: &Summary, metrics: &[Metric], spread: Spread, color: bool) -> Table {
    let mut table = plain_table(color);
    let heading = |metric: &Metric| Cell::new(heading(*metric)).set_alignment(CellAlignment::Right);
    table.set_header(std::iter::once(Cell::new("arm")).chain(metrics.iter().map(heading)));

    let best: Vec<Vec<bool>> =
        metrics.iter().map(|&metric| words::best(&summary.rows, metric)).collect();
    let mut before = None;
    for (index, row) in summary.rows.iter().enumerate() {
        let mut means = vec![Cell::new(folded(&printable(&words::label(row, before))))];
        let mut sds = vec![Cell::new("")];
        for (&metric, best) in metrics.iter().zip(&best) {
            let statistic = row.metrics.get(metric);
            let best = best.get(index).copied().unwrap_or(false);
            let sd = statistic.and_then(|statistic| numbers::sd(metric, statistic));
            let mut mean = statistic.map_or(numbers::NONE.to_owned(), |s| numbers::mean(metric, s));
            if best {
                mean.insert(0, '*');
            }
            let sd = sd.map_or(String::new(), |sd| format!("± {sd}"));
            if spread == Spread::Beside && !sd.is_empty() {
                mean = format!("{mean} {sd}");
            }
            let mean = Cell::new(mean).set_alignment(CellAlignment::Right);
            let green = |cell: Cell| cell.fg(Color::Green).add_attribute(Attribute::Bold);
            means.push(if best { green(mean) } else { mean });
            let sd = Cell::new(sd).set_alignment(CellAlignment::Right);
            sds.push(sd.add_attribute(Attribute::Dim));
        }
        table.add_row(means);
        if spread == Spread::Below && summary.seeds.len() > 1 {
            table.add_row(sds);
        }
        before = Some(row);
    }

    set_margins(&mut table);
    table
}

/// A table with a line below its heading and one at its end.
pub(crate) fn plain_table(color: bool) -> Table {
    let rule = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(rule).bottom_border(rule))
        .set_content_arrangement(ContentArrangement::Disabled);
    // Colour is the caller's decision, whatever this process's own output is.
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

pub(crate) fn set_margins(table: &mut Table) {
    // With the blank that stands for a line between columns, two blanks.
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((1, 0));
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 0));
    }
}

/// Title, unit, and an arrow where there is a better and a worse.
fn heading(metric: Metric) -> String {
    format!("{}\n{}{}", metric.title(), numbers::heading_unit(metric), arrow(metric))
}

fn arrow(metric: Metric) -> &'static str {
    match metric.higher_is_better() {
        Some(true) => " ↑",
        Some(false) => " ↓",
        None => "",
    }
}

fn natural_width(table: &Table) -> usize {
    let contents: usize = table.column_max_content_widths().into_iter().map(usize::from).sum();
    let padding: usize =
        table.column_iter().map(|column| usize::from(column.padding_width())).sum();
    let between = table.column_iter().len().saturating_sub(1);
    contents + padding + between
}

/// What changed between rows, a line for each comparison; empty if nothing was compared.
///
/// A figure is the mean of candidate minus baseline over the seeds, with a mark for what it means: `✓` better and in
/// no seed worse, `✗` worse and in no seed better, `~` both, with the seeds counted (`4:1` is better in 4, worse in
/// 1), `=` exactly equal.
///
/// ```no_run
/// # use softlabel_results::RunFolder;
/// use softlabel_report::{TableStyle, changes};
/// let summary = RunFolder::open("runs/digits-1").read_summary()?;
/// print!("{}", changes(&summary, TableStyle::default()));
/// # Ok::<(), softlabel_results::Error>(())
/// ```
pub fn changes(summary: &Summary, style: TableStyle) -> String {
    let Some(first) = summary.comparisons.first() else { return String::new() };
    let mut table = plain_table(style.color);
    let titles = [Cell::new("candidate"), Cell::new("against")].into_iter();
    let metrics = first.differences.iter().map(|difference| difference.metric);
    table.set_header(titles.chain(metrics.clone().map(change_heading)));
    for comparison in &summary.comparisons {
        let titles = [&comparison.candidate, &comparison.baseline].into_iter();
        let titles = titles.map(|title| Cell::new(folded(&printable(title))));
        let figures = metrics.clone().map(|metric| {
            let mut differences = comparison.differences.iter();
            let found = differences.find(|difference| difference.metric == metric);
            found.map_or_else(|| Cell::new(numbers::NONE), figure)
        });
        table.add_row(titles.chain(figures));
    }
    set_margins(&mut table);
    let mixed = summary.comparisons.iter().flat_map(|comparison| &comparison.differences);
    let mixed = mixed.map(Outcome::of).any(|outcome| outcome == Outcome::Mixed);
    format!("{}\n{}\n", table.trim_fmt(), words::legend(summary, mixed))
}

fn change_heading(metric: Metric) -> Cell {
    Cell::new(format!("{}\n{}{}", metric.title(), numbers::change_unit(metric), arrow(metric)))
}

/// A title on as many lines as it takes, broken before a `+`: of maps that follow one another there may be many.
pub(crate) fn folded(title: &str) -> String {
    const WIDEST: usize = 40;
    let mut lines = Vec::new();
    let mut line = String::new();
    for (index, part) in title.split(" + ").enumerate() {
        if index > 0 && line.chars().count() + " + ".len() + part.chars().count() > WIDEST {
            lines.push(std::mem::replace(&mut line, "   ".to_owned()));
        }
        if index > 0 {
            line.push_str(" + ");
        }
        line.push_str(part);
    }
    lines.push(line);
    lines.join("\n")
}

/// Mark, mean change, and for mixed outcomes the seeds.
fn figure(difference: &Difference) -> Cell {
    let outcome = Outcome::of(difference);
    let mean = numbers::mean_change(difference.metric, &difference.change);
    let mut text = format!("{} {mean}", outcome.symbol());
    if outcome == Outcome::Mixed {
        text += &format!(" {}:{}", difference.better, difference.worse);
    }
    let cell = Cell::new(text);
    match outcome {
        Outcome::Better => cell.fg(Color::Green),
        Outcome::Worse => cell.fg(Color::Red),
        Outcome::Mixed => cell.fg(Color::Yellow),
        Outcome::Unchanged | Outcome::Undefined => cell,
    }
}

/// What the recipe demanded, a line for each check; empty if it demanded nothing.
///
/// ```no_run
/// # use softlabel_results::RunFolder;
/// use softlabel_report::checks;
/// let summary = RunFolder::open("runs/digits-1").read_summary()?;
/// // ✓ passed  hard + temperature: ECE 1.23 % (at most 5 %)
/// print!("{}", checks(&summary));
/// # Ok::<(), softlabel_results::Error>(())
/// ```
pub fn checks(summary: &Summary) -> String {
    let text =
        |check| format!("{}  {}: {}", words::verdict(check), check.row, words::finding(check));
    summary.checks.iter().map(|check| line(&text(check))).collect()
}

fn line(text: &str) -> String {
    printable(text) + "\n"
}

/// Names come from files: a control character in one must not reach the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
