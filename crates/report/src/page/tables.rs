//! What the tables of a page say.

use softlabel_results::{Arm, Calibration, Metric, Provenance, Row, Summary};

use super::{Mark, Table, matches};
use crate::teaching::teachers;
use crate::{Result, numbers};

/// The level of the intervals of differences.
const LEVEL: f64 = 0.95;

/// What stands after a mark, up to its end.
pub(super) fn table(mark: &Mark<'_>, summary: &Summary, provenance: &Provenance) -> Result<String> {
    Ok(match mark.table {
        Table::Results => results(summary, &arms(mark, summary)?),
        Table::Lessons => lessons(&taught_by(mark, summary)?),
        Table::Errors { class } => errors(class, &arms(mark, summary)?, mark, summary)?,
        Table::Cost => cost(summary, provenance),
    })
}

/// The names of the arms that a mark asks for.
fn arms<'s>(mark: &Mark<'_>, summary: &'s Summary) -> Result<Vec<&'s str>> {
    let mut all: Vec<&str> = summary.rows.iter().map(|row| row.arm.as_str()).collect();
    all.dedup();
    if mark.arms.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for pattern in &mark.arms {
        let before = chosen.len();
        chosen.extend(all.iter().copied().filter(|name| matches(pattern, name)));
        if chosen.len() == before {
            let all = all.join(", ");
            return Err(mark.error(format!("no arm of the run is `{pattern}`: it has {all}")));
        }
    }
    Ok(chosen)
}

/// Those of them that teach.
fn taught_by<'s>(mark: &Mark<'_>, summary: &'s Summary) -> Result<Vec<&'s Arm>> {
    if mark.arms.is_empty() {
        return Ok(teachers(summary).collect());
    }
    Ok(arms(mark, summary)?.into_iter().filter_map(|name| summary.arm(name)).collect())
}

/// Lines of a table.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn with_heading(cells: &[String]) -> Self {
        let mut lines = Self::default();
        lines.row(cells);
        lines.0 += &format!("|{}\n", "---|".repeat(cells.len()));
        lines
    }

    fn row(&mut self, cells: &[String]) {
        // A bar would begin another cell.
        let cells = cells.iter().map(|cell| cell.replace('|', "\\|").replace(['\n', '\r'], " "));
        self.0 += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    }
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

fn results(summary: &Summary, arms: &[&str]) -> String {
    let row = |arm: &str, calibration| summary.row(arm, calibration);
    let is_scaled = arms.iter().any(|arm| row(arm, &Calibration::TEMPERATURE).is_some());
    let compared = arms.iter().any(|arm| difference(summary, arm).is_some());
    let mut heading = vec!["arm", "error %"];
    if compared {
        heading.push("difference to baseline, pp");
    }
    heading.extend(["NLL", "ECE %"]);
    if is_scaled {
        heading.extend(["NLL, temperature-scaled", "ECE %, temperature-scaled", "T"]);
    }
    let heading: Vec<String> = heading.into_iter().map(str::to_owned).collect();
    let mut lines = Lines::with_heading(&heading);
    for arm in arms {
        let raw = row(arm, &Calibration::NONE);
        let mut cells = vec![code(arm), raw.map_or_else(String::new, error)];
        if compared {
            cells.push(difference(summary, arm).unwrap_or_default());
        }
        cells.extend(nll_and_ece(raw));
        if is_scaled {
            let scaled = row(arm, &Calibration::TEMPERATURE);
            cells.extend(nll_and_ece(scaled));
            let temperature = scaled.and_then(|row| row.metrics.temperature.as_ref());
            cells.push(temperature.map_or_else(String::new, |t| numbers::spread(t, 2)));
        }
        lines.row(&cells);
    }
    lines.0
}

/// 1 less the accuracy, in percent.
fn error(row: &Row) -> String {
    let values = row.metrics.accuracy.values.iter().map(|accuracy| 1.0 - accuracy).collect();
    numbers::share(&softlabel_results::Statistic::of(values))
}

fn nll_and_ece(row: Option<&Row>) -> [String; 2] {
    row.map_or_else(Default::default, |row| {
        [numbers::spread(&row.metrics.nll, 3), numbers::share(&row.metrics.ece)]
    })
}

/// The error of an arm less that of the arm that it is compared with.
fn difference(summary: &Summary, arm: &str) -> Option<String> {
    let is_arm = |title: &str| summary.rows.iter().any(|row| row.arm == title);
    let mut comparisons = summary.comparisons.iter();
    let comparison =
        comparisons.find(|c| c.candidate == arm && c.baseline != arm && is_arm(&c.baseline))?;
    let mut differences = comparison.differences.iter();
    let accuracy = &differences.find(|difference| difference.metric == Metric::Accuracy)?.change;
    let points = |value: f64| numbers::signed(-value * 100.0, 2);
    let interval = accuracy.interval(LEVEL);
    let interval = interval.map(|[l, h]| format!(" [{}, {}]", points(h), points(l)));
    Some(points(accuracy.mean) + &interval.unwrap_or_default())
}

fn lessons(teachers: &[&Arm]) -> String {
    let mut temperatures: Vec<f64> = Vec::new();
    for lesson in teachers.iter().flat_map(|teacher| &teacher.lessons) {
        if !temperatures.contains(&lesson.temperature) {
            temperatures.push(lesson.temperature);
        }
    }
    let mut heading = vec!["teacher".to_owned(), "training error %".to_owned()];
    for (index, &temperature) in temperatures.iter().enumerate() {
        let at = if index == 0 { "T = " } else { "" };
        let at = format!("{at}{}", numbers::short(temperature));
        heading.extend([format!("γ at {at}"), format!("1 − S at {at}")]);
    }
    let mut lines = Lines::with_heading(&heading);
    for teacher in teachers {
        let mut cells = vec![code(&teacher.name), numbers::share(&teacher.training_errors.share)];
        for temperature in &temperatures {
            let lesson = teacher.lessons.iter().find(|l| l.temperature == *temperature);
            cells.extend(lesson.map_or_else(Default::default, |lesson| {
                let dispersion = numbers::spread(&lesson.class_dispersion, 4);
                [numbers::spread(&lesson.wrong_class_mass, 3), dispersion]
            }));
        }
        lines.row(&cells);
    }
    lines.0
}

fn errors(class: usize, arms: &[&str], mark: &Mark<'_>, summary: &Summary) -> Result<String> {
    let known: Vec<&Arm> = arms.iter().filter_map(|name| summary.arm(name)).collect();
    let biased = known.iter().any(|arm| arm.class_bias.is_some());
    let counts = known.first().map(|arm| arm.test_errors.samples_by_class.as_slice());
    let counts = counts.unwrap_or_default();
    let Some(of_class) = counts.get(class) else {
        return Err(mark.error(format!("class {class} of {}", counts.len())));
    };
    let all: f64 = counts.iter().map(|count| count.mean).sum();
    let mut heading = vec!["arm".to_owned(), "teacher".to_owned()];
    if biased {
        heading.push("constant".to_owned());
    }
    heading.push(format!("errors of {}", numbers::whole(all)));
    heading.push(format!("of them on the {} of class {class}", numbers::whole(of_class.mean)));
    let mut lines = Lines::with_heading(&heading);
    for arm in known {
        let teachers = arm.taught.as_ref().map(|taught| taught.teachers.join(", "));
        let mut cells = vec![code(&arm.name), teachers.unwrap_or_else(|| "labels".to_owned())];
        if biased {
            let bias = arm.class_bias.as_ref().map(|bias| numbers::spread(bias, 2));
            cells.push(bias.unwrap_or_default());
        }
        cells.push(numbers::spread(&arm.test_errors.count, 1));
        let on_class = arm.test_errors.by_class.get(class);
        cells.push(on_class.map_or_else(String::new, |count| numbers::spread(count, 1)));
        lines.row(&cells);
    }
    Ok(lines.0)
}

fn cost(summary: &Summary, provenance: &Provenance) -> String {
    format!(
        "{} with {} on {}, {}: {}.\n",
        numbers::counted(provenance.timings.len(), "training"),
        numbers::counted(summary.seeds.len(), "seed"),
        provenance.device,
        numbers::counted(provenance.threads, "thread"),
        numbers::duration(provenance.seconds),
    )
}
