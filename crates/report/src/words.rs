//! What the numbers say: which is best, what changed and for better or worse, which checks hold.

use softlabel_results::{Check, Difference, Metric, MetricTable, Row, Summary};

use crate::numbers;

/// What a difference means, over all seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Better in some seeds and worse in none.
    Better,
    /// Worse in some seeds and better in none.
    Worse,
    /// Better in some seeds and worse in others.
    Mixed,
    /// Exactly equal in every seed.
    Unchanged,
    /// A number that cannot be compared.
    Undefined,
}

impl Outcome {
    pub(crate) fn of(difference: &Difference) -> Self {
        match (difference.better, difference.worse) {
            (0, 0) if difference.change.values.iter().all(|&change| change == 0.0) => {
                Self::Unchanged
            }
            (0, 0) => Self::Undefined,
            (_, 0) => Self::Better,
            (0, _) => Self::Worse,
            _ => Self::Mixed,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Mixed => "mixed",
            Self::Unchanged => "unchanged",
            Self::Undefined => "undefined",
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Better => "✓",
            Self::Worse => "✗",
            Self::Mixed => "~",
            Self::Unchanged => "=",
            Self::Undefined => "?",
        }
    }
}

/// Seeds counted by what the difference meant in each: `better in 3, worse in 2 of 5 seeds`.
pub(crate) fn seeds(difference: &Difference) -> String {
    let total = difference.change.values.len();
    let outcome = Outcome::of(difference);
    if total <= 1 || matches!(outcome, Outcome::Unchanged) {
        return outcome.word().to_owned();
    }
    let equal = difference.change.values.iter().filter(|&&change| change == 0.0).count();
    let undefined = total.saturating_sub(difference.better + difference.worse + equal);
    let counts = [
        ("better", difference.better),
        ("worse", difference.worse),
        ("equal", equal),
        ("undefined", undefined),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(word, count)| format!("{word} in {count}")).collect();
    format!("{} of {total} seeds", counts.join(", "))
}

/// What the marks of changes mean.
pub(crate) fn legend(summary: &Summary, mixed: bool) -> String {
    if summary.seeds.len() < 2 {
        return "Candidate minus baseline in a single seed: ✓ better, ✗ worse, = equal.".to_owned();
    }
    let mixed = if mixed { ", ~ 4:1 better in 4 and worse in 1" } else { "" };
    format!(
        "Candidate minus baseline, mean over {} seeds on the same data.\n\
         ✓ better and never worse, ✗ worse and never better{mixed}, = equal.",
        summary.seeds.len()
    )
}

/// `✓ passed` or `✗ failed`.
pub(crate) fn verdict(check: &Check) -> &'static str {
    if check.passed { "✓ passed" } else { "✗ failed" }
}

/// What was found and what was demanded: `ECE 1.23 % (at most 5 %)`.
pub(crate) fn finding(check: &Check) -> String {
    let bounds = [("at least", check.at_least), ("at most", check.at_most)];
    let demands: Vec<String> = bounds
        .iter()
        .filter_map(|(word, bound)| {
            Some(format!("{word} {}", numbers::bound(check.metric, (*bound)?)))
        })
        .collect();
    let demands = if demands.is_empty() { "no bound".to_owned() } else { demands.join(" and ") };
    let values: Vec<f64> = bounds.iter().filter_map(|(_, bound)| *bound).collect();
    let found = numbers::beside(check.metric, check.found, &values);
    format!("{} {found} ({demands})", check.metric.title())
}

/// All checks in one: `✓ 3 checks passed` or `✗ 1 of 3 checks failed`.
pub(crate) fn tally(checks: &[Check]) -> String {
    let failed = checks.iter().filter(|check| !check.passed).count();
    let all = numbers::counted(checks.len(), "check");
    if failed == 0 { format!("✓ {all} passed") } else { format!("✗ {failed} of {all} failed") }
}

/// For each row whether its mean is the best of the column, at the digits that are shown.
/// Where all look equal, or the metric has no better and worse, none is.
pub(crate) fn best(rows: &[Row], metric: Metric) -> Vec<bool> {
    let means: Vec<Option<f64>> = rows
        .iter()
        .map(|row| {
            row.metrics.get(metric).map(|statistic| statistic.mean).filter(|mean| !mean.is_nan())
        })
        .collect();
    let known = means.iter().flatten().copied();
    let best = match metric.higher_is_better() {
        Some(true) => known.max_by(f64::total_cmp),
        Some(false) => known.min_by(f64::total_cmp),
        None => None,
    };
    let text = |mean: f64| numbers::plain(metric, mean);
    let is_best =
        |mean: &Option<f64>| matches!((mean, best), (Some(m), Some(b)) if text(*m) == text(b));
    let marks: Vec<bool> = means.iter().map(is_best).collect();
    if marks.contains(&false) { marks } else { vec![false; rows.len()] }
}

/// The label of a row below the label of the one before: the arm is not said twice.
pub(crate) fn label(row: &Row, before: Option<&Row>) -> String {
    match before {
        Some(before) if before.arm == row.arm => format!("  + {}", row.calibration.title()),
        _ => row.title(),
    }
}

/// How far the mean confidence is from the accuracy: `overconfident by 8.10 pp`.
pub(crate) fn bias(metrics: &MetricTable) -> String {
    let gap = metrics.mean_confidence.mean - metrics.accuracy.mean;
    let size = numbers::decimal(gap.abs() * 100.0, 2);
    match numbers::decimal(gap * 100.0, 2).as_str() {
        "0.00" => "confidence equals accuracy on average".to_owned(),
        _ if gap > 0.0 => format!("overconfident by {size} pp"),
        _ if gap < 0.0 => format!("underconfident by {size} pp"),
        _ => "confidence unknown".to_owned(),
    }
}

/// Rows whose numbers rest on a fit that the data did not determine, a sentence each.
pub(crate) fn degenerate_fits(summary: &Summary) -> Vec<String> {
    let sentence = |row: &Row| {
        let fits = row.degenerate_fits.iter();
        let fits: Vec<_> = fits.map(|fit| format!("seed {} ({})", fit.seed, fit.outcome)).collect();
        format!(
            "{}: the validation split does not determine the fit for {}.",
            row.title(),
            fits.join(", ")
        )
    };
    summary.rows.iter().filter(|row| !row.degenerate_fits.is_empty()).map(sentence).collect()
}

/// What ± means in this run.
pub(crate) fn spread(summary: &Summary) -> String {
    match summary.seeds.len() {
        0 | 1 => "A single seed: nothing is known of the spread.".to_owned(),
        count => format!("Mean ± sample standard deviation over {count} seeds."),
    }
}

#[cfg(test)]
mod tests {
    use softlabel_results::Statistic;

    use super::*;

    fn difference(metric: Metric, values: &[f64], better: usize, worse: usize) -> Difference {
        Difference { metric, change: Statistic::of(values.to_vec()), better, worse }
    }

    #[test]
    fn seeds_are_counted_by_what_they_say() {
        let check = |values: &[f64], better, worse, expected: &str| {
            assert_eq!(seeds(&difference(Metric::Ece, values, better, worse)), expected);
        };
        check(&[-0.1, -0.2], 2, 0, "better in 2 of 2 seeds");
        check(&[-0.1, 0.2, 0.0], 1, 1, "better in 1, worse in 1, equal in 1 of 3 seeds");
        check(&[0.0, 0.0], 0, 0, "unchanged");
        check(&[0.1], 0, 1, "worse");
        check(&[f64::NAN, -0.1], 1, 0, "better in 1, undefined in 1 of 2 seeds");
        check(&[f64::NAN], 0, 0, "undefined");
    }

    #[test]
    fn checks_say_what_was_found_and_what_was_demanded() {
        let mut check = Check {
            row: "hard".into(),
            metric: Metric::Ece,
            at_least: None,
            at_most: Some(0.05),
            found: 0.0123,
            passed: true,
        };
        assert_eq!(finding(&check), "ECE 1.23 % (at most 5 %)");
        check.at_least = Some(0.01);
        assert_eq!(finding(&check), "ECE 1.23 % (at least 1 % and at most 5 %)");
        (check.at_least, check.at_most) = (None, None);
        assert_eq!(finding(&check), "ECE 1.23 % (no bound)");
    }
}
