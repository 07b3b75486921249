//! The results as text, for a terminal or a file.

use std::fmt::Write;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, presets,
};
use softlabel_results::{Metric, Summary};

use crate::{numbers, words};

/// How [`table`] is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableStyle {
    /// Columns of the terminal. A table that does not fit puts the standard deviations below the means,
    /// and if that is too wide still, leaves out what only describes: confidence, logit gap, temperature.
    pub width: usize,
    /// Whether to set the best numbers in colour; they carry a `*` in any case.
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

    let heading = |metric: &Metric| Cell::new(heading(*metric)).set_alignment(CellAlignment::Right);
    table.set_header(std::iter::once(Cell::new("arm")).chain(metrics.iter().map(heading)));

    let best: Vec<Vec<bool>> =
        metrics.iter().map(|&metric| words::best(&summary.rows, metric)).collect();
    let mut before = None;
    for (index, row) in summary.rows.iter().enumerate() {
        let mut means = vec![Cell::new(printable(&words::label(row, before)))];
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

    // With the blank that stands for a line between columns, two blanks.
    for column in table.column_iter_mut().skip(1) {
        column.set_padding((1, 0));
    }
    if let Some(arms) = table.column_mut(0) {
        arms.set_padding((0, 0));
    }
    table
}

/// Title, unit, and an arrow where there is a better and a worse.
fn heading(metric: Metric) -> String {
    let arrow = match metric.higher_is_better() {
        Some(true) => " ↑",
        Some(false) => " ↓",
        None => "",
    };
    format!("{}\n{}{arrow}", metric.title(), numbers::heading_unit(metric))
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
/// ```no_run
/// # use softlabel_results::RunFolder;
/// use softlabel_report::changes;
/// let summary = RunFolder::open("runs/digits-1").read_summary()?;
/// // hard + temperature against hard: NLL −0.0812 ± 0.0040, ECE −8.10 ± 1.20 pp (better in 5 of 5 seeds); accuracy unchanged
/// print!("{}", changes(&summary));
/// # Ok::<(), softlabel_results::Error>(())
/// ```
pub fn changes(summary: &Summary) -> String {
    summary.comparisons.iter().map(|comparison| line(&words::sentence(comparison))).collect()
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
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
