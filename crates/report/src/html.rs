//! The results as one HTML file.
//!
//! Functions here turn a [`Summary`] and a [`Provenance`] into text and places; `templates/report.html`
//! says how they are laid out, `report.css` how they look, `diagram.svg` how a diagram is drawn.

use askama::Template;
use softlabel_results::{Metric, Provenance, Row, Summary};

use crate::diagram::{
    Axes, BinNumbers, FEW_SAMPLES, HISTOGRAM_HEIGHT, HISTOGRAM_TOP, LEFT, Mark, PlacedBin, SIZE,
    TOP,
};
use crate::teaching::{LESSON_LEGEND, Lesson, STUDENT_HEADINGS, Student, lessons, students};
use crate::words::{self, Outcome};
use crate::{Result, numbers};

/// The report of a run as one HTML file, which needs neither network nor JavaScript.
///
/// All names are escaped: whatever a recipe calls its arms, they are shown as text.
///
/// # Errors
/// [`Error::Template`](crate::Error::Template) if the template cannot be filled in.
///
/// ```no_run
/// use softlabel_results::RunFolder;
///
/// let folder = RunFolder::open("runs/digits-1");
/// let html = softlabel_report::html(&folder.read_summary()?, &folder.read_provenance()?)?;
/// folder.write(&folder.report(), html.as_bytes())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn html(summary: &Summary, provenance: &Provenance) -> Result<String> {
    let axes = Axes::fitting(summary.rows.iter().map(|row| &row.reliability));
    let arms = arms(summary, &axes);
    let report = Report {
        summary,
        lead: lead(summary, arms.len()),
        facts: facts(summary, provenance),
        tally: tally(summary),
        highlights: highlights(summary),
        columns: Metric::ALL.map(Column::of).into(),
        rows: table_rows(summary),
        spread: words::spread(summary),
        warnings: words::degenerate_fits(summary),
        seed_rows: seed_rows(summary),
        students: students(summary),
        lessons: lessons(summary),
        changes: changes(summary),
        checks: checks(summary),
        arms,
        axes,
        provenance,
        timings: timings(provenance),
        noisy: summary.dataset.label_noise.is_some(),
    };
    Ok(report.render()?)
}

#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Report<'a> {
    summary: &'a Summary,
    provenance: &'a Provenance,
    lead: String,
    facts: Vec<Fact>,
    tally: Option<Tally>,
    highlights: Vec<Highlight>,
    columns: Vec<Column>,
    rows: Vec<TableRow>,
    spread: String,
    warnings: Vec<String>,
    seed_rows: Vec<SeedRow>,
    students: Vec<Student>,
    lessons: Vec<Lesson>,
    changes: Vec<Change>,
    checks: Vec<CheckLine>,
    axes: Axes,
    arms: Vec<Arm>,
    timings: Vec<ArmTime>,
    noisy: bool,
}

struct Tally {
    /// Class of the style sheet.
    class: &'static str,
    text: String,
}

struct Fact {
    term: &'static str,
    text: String,
}

struct Highlight {
    heading: String,
    value: String,
    rows: String,
}

struct Column {
    title: &'static str,
    /// Unit, and whether more or less is better.
    hint: String,
}

struct TableRow {
    /// The arm, unless the row before was of the same arm.
    first_of_arm: bool,
    arm: String,
    calibration: Option<String>,
    cells: Vec<TableCell>,
}

struct TableCell {
    mean: String,
    sd: Option<String>,
    best: bool,
}

struct SeedRow {
    title: String,
    seed: u64,
    cells: Vec<String>,
}

struct Change {
    candidate: String,
    baseline: String,
    lines: Vec<ChangeLine>,
}

struct ChangeLine {
    /// Class of the style sheet.
    class: &'static str,
    symbol: &'static str,
    metric: &'static str,
    change: String,
    seeds: String,
}

struct CheckLine {
    class: &'static str,
    verdict: &'static str,
    row: String,
    finding: String,
}

struct Arm {
    name: String,
    panels: Vec<Panel>,
}

struct Panel {
    title: String,
    calibration: String,
    ece: String,
    accuracy: String,
    confidence: String,
    bias: String,
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

struct ArmTime {
    arm: String,
    trainings: usize,
    mean: String,
    total: String,
}

fn lead(summary: &Summary, arms: usize) -> String {
    format!(
        "{} on {}, each trained with {}, judged on {} held out from training and from calibration.",
        numbers::counted(arms, "arm"),
        summary.dataset.name,
        numbers::counted(summary.seeds.len(), "seed"),
        numbers::counted(summary.dataset.samples.test, "test sample"),
    )
}

fn facts(summary: &Summary, provenance: &Provenance) -> Vec<Fact> {
    let dataset = &summary.dataset;
    let samples = dataset.samples;
    let split = |name, size: usize| format!("{} {name}", numbers::count(size as u64));
    let splits = [
        split("training", samples.train),
        split("validation", samples.validation),
        split("test", samples.test),
    ];
    let seeds: Vec<String> = summary.seeds.iter().map(u64::to_string).collect();
    let threads = numbers::counted(provenance.threads, "thread");
    let took = numbers::duration(provenance.seconds);
    let fact = |term, text| Fact { term, text };
    vec![
        fact(
            "Dataset",
            format!("{}, {} classes", dataset.name, numbers::count(dataset.classes as u64)),
        ),
        fact("Samples", splits.join(", ")),
        fact("Training labels", labels(summary)),
        fact("Seeds", seeds.join(", ")),
        fact("Recipe", provenance.recipe.clone()),
        fact(
            "Software",
            format!("softlabel {}, libtorch {}", provenance.softlabel, provenance.libtorch),
        ),
        fact("Device", format!("{}, {threads}", provenance.device)),
        fact("Run", format!("{}, took {took}", numbers::utc(provenance.started_unix_seconds))),
    ]
}

/// The label noise in words, and how many labels it changed.
fn labels(summary: &Summary) -> String {
    let changed = &summary.dataset.changed_labels;
    let noise = summary.dataset.label_noise.as_deref();
    if noise.is_none() && changed.iter().all(|&share| share == 0.0) {
        return "as they came, no noise added".to_owned();
    }
    let noise = noise.unwrap_or("changed");
    if changed.is_empty() {
        return noise.to_owned();
    }
    let share = softlabel_results::Statistic::of(changed.clone());
    let share = numbers::level(Metric::Accuracy, &share);
    format!("{noise}; {share} of the labels changed")
}

fn highlights(summary: &Summary) -> Vec<Highlight> {
    let highlight = |metric: Metric| {
        let best = words::best(&summary.rows, metric);
        let rows: Vec<&Row> =
            summary.rows.iter().zip(best).filter_map(|(row, best)| best.then_some(row)).collect();
        let titles: Vec<String> = rows.iter().map(|row| row.title()).collect();
        let word = if metric.higher_is_better()? { "Highest" } else { "Lowest" };
        Some(Highlight {
            heading: format!("{word} {}", metric.title()),
            value: numbers::level(metric, rows.first()?.metrics.get(metric)?),
            rows: titles.join(", "),
        })
    };
    Metric::ALL.into_iter().filter_map(highlight).collect()
}

impl Column {
    fn of(metric: Metric) -> Self {
        let better = match metric.higher_is_better() {
            Some(true) => "↑ more is better",
            Some(false) => "↓ less is better",
            None => "",
        };
        let parts = [numbers::heading_unit(metric), better];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { title: metric.title(), hint: parts.join(" ") }
    }
}

fn table_rows(summary: &Summary) -> Vec<TableRow> {
    let best = Metric::ALL.map(|metric| words::best(&summary.rows, metric));
    let mut before = None;
    let mut rows = Vec::new();
    for (index, row) in summary.rows.iter().enumerate() {
        let cell = |(metric, best): (Metric, &Vec<bool>)| {
            let statistic = row.metrics.get(metric);
            TableCell {
                mean: statistic.map_or(numbers::NONE.to_owned(), |s| numbers::mean(metric, s)),
                sd: statistic.and_then(|statistic| numbers::sd(metric, statistic)),
                best: best.get(index).copied().unwrap_or(false),
            }
        };
        rows.push(TableRow {
            first_of_arm: before != Some(&row.arm),
            arm: row.arm.clone(),
            calibration: (!row.calibration.is_none()).then(|| row.calibration.title()),
            cells: Metric::ALL.into_iter().zip(&best).map(cell).collect(),
        });
        before = Some(&row.arm);
    }
    rows
}

fn seed_rows(summary: &Summary) -> Vec<SeedRow> {
    let of_row = |row: &Row| -> Vec<SeedRow> {
        let seed_row = |(index, &seed): (usize, &u64)| {
            let cell = |metric| {
                let value =
                    row.metrics.get(metric).and_then(|statistic| statistic.values.get(index));
                value.map_or(numbers::NONE.to_owned(), |&value| numbers::plain(metric, value))
            };
            SeedRow { title: row.title(), seed, cells: Metric::ALL.map(cell).into() }
        };
        summary.seeds.iter().enumerate().map(seed_row).collect()
    };
    summary.rows.iter().flat_map(of_row).collect()
}

fn changes(summary: &Summary) -> Vec<Change> {
    let change = |comparison: &softlabel_results::Comparison| Change {
        candidate: comparison.candidate.clone(),
        baseline: comparison.baseline.clone(),
        lines: comparison.differences.iter().map(ChangeLine::of).collect(),
    };
    summary.comparisons.iter().map(change).collect()
}

impl ChangeLine {
    fn of(difference: &softlabel_results::Difference) -> Self {
        let outcome = Outcome::of(difference);
        let change = match outcome {
            Outcome::Unchanged => String::new(),
            _ => numbers::change(difference.metric, &difference.change),
        };
        Self {
            class: outcome.word(),
            symbol: outcome.symbol(),
            metric: difference.metric.title(),
            change,
            seeds: words::seeds(difference),
        }
    }
}

fn tally(summary: &Summary) -> Option<Tally> {
    let checks = &summary.checks;
    let passed = checks.iter().all(|check| check.passed);
    (!checks.is_empty()).then(|| Tally { class: tone(passed), text: words::tally(checks) })
}

/// The class of what passed or failed.
fn tone(passed: bool) -> &'static str {
    if passed { "better" } else { "worse" }
}

fn checks(summary: &Summary) -> Vec<CheckLine> {
    let line = |check: &softlabel_results::Check| CheckLine {
        class: tone(check.passed),
        verdict: words::verdict(check),
        row: check.row.clone(),
        finding: words::finding(check),
    };
    summary.checks.iter().map(line).collect()
}

fn arms(summary: &Summary, axes: &Axes) -> Vec<Arm> {
    let mut arms: Vec<Arm> = Vec::new();
    for row in &summary.rows {
        let panel = panel(row, axes);
        match arms.iter_mut().find(|arm| arm.name == row.arm) {
            Some(arm) => arm.panels.push(panel),
            None => arms.push(Arm { name: row.arm.clone(), panels: vec![panel] }),
        }
    }
    arms
}

fn panel(row: &Row, axes: &Axes) -> Panel {
    let metrics = &row.metrics;
    let ece = numbers::level(Metric::Ece, &metrics.ece);
    let accuracy = numbers::percent(metrics.accuracy.mean);
    let confidence = numbers::percent(metrics.mean_confidence.mean);
    let bias = words::bias(metrics);
    let bins = axes.place(&row.reliability);
    let empty = bins.iter().filter(|bin| bin.filled.is_none()).count();
    let label = format!(
        "Reliability diagram and confidence histogram of {}: ECE {ece}, accuracy {accuracy}, \
         mean confidence {confidence}, {bias}; {}, {empty} of them without samples",
        row.title(),
        numbers::counted(bins.len(), "bin"),
    );
    Panel {
        title: row.title(),
        calibration: if row.calibration.is_none() {
            "uncalibrated".to_owned()
        } else {
            format!("+ {}", row.calibration.title())
        },
        accuracy_line: Axes::line(metrics.accuracy.mean),
        confidence_line: Axes::line(metrics.mean_confidence.mean),
        ece,
        accuracy,
        confidence,
        bias,
        label,
        bins,
    }
}

fn timings(provenance: &Provenance) -> Vec<ArmTime> {
    let mut seconds: Vec<(&str, Vec<f64>)> = Vec::new();
    for timing in &provenance.timings {
        match seconds.iter_mut().find(|(arm, _)| *arm == timing.arm) {
            Some((_, of_arm)) => of_arm.push(timing.seconds),
            None => seconds.push((&timing.arm, vec![timing.seconds])),
        }
    }
    let time = |(arm, of_arm): (&str, Vec<f64>)| {
        let total: f64 = of_arm.iter().sum();
        ArmTime {
            arm: arm.to_owned(),
            trainings: of_arm.len(),
            mean: numbers::duration(total / of_arm.len() as f64),
            total: numbers::duration(total),
        }
    };
    seconds.into_iter().map(time).collect()
}
