//! What a terminal shows, pinned as snapshots.

use softlabel_report::{TableStyle, changes, checks, table, teaching};

use crate::sample;

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn the_table_of_a_wide_terminal_has_the_spread_beside_the_mean() {
    let text = table(&sample::summary(), TableStyle { width: 160, ..TableStyle::default() });
    insta::assert_snapshot!(text);
}

#[test]
fn the_table_fits_a_hundred_columns() {
    let text = table(&sample::summary(), TableStyle::default());
    assert!(widest(&text) <= 100, "{} columns", widest(&text));
    insta::assert_snapshot!(text);
}

#[test]
fn the_table_of_a_narrow_terminal_keeps_what_is_judged() {
    let text = table(&sample::summary(), TableStyle { width: 80, ..TableStyle::default() });
    assert!(widest(&text) <= 80, "{} columns", widest(&text));
    insta::assert_snapshot!(text);
}

#[test]
fn maps_that_follow_one_another_are_put_below_one_another() {
    let summary = sample::composed();
    for width in [100, 80] {
        let text = table(&summary, TableStyle { width, ..TableStyle::default() });
        assert!(widest(&text) <= width, "{} columns\n{text}", widest(&text));
        assert!(text.contains("\n  + temperature + isotonic  "), "{text}");
        assert!(text.contains("\n  + ensemble_temperature  "), "{text}");
        assert!(text.contains("\n    + bias_corrected_temperature"), "{text}");
        assert!(text.contains("\n    + isotonic"), "{text}");
    }
    let text = changes(&summary, TableStyle::default());
    assert!(text.contains("hard + temperature + isotonic  "), "{text}");
}

#[test]
fn the_table_of_a_single_seed_has_no_spread() {
    insta::assert_snapshot!(table(&sample::single_seed(), TableStyle::default()));
}

#[test]
fn a_single_row_is_not_the_best_of_anything() {
    let mut summary = sample::summary();
    summary.rows.truncate(1);
    let text = table(&summary, TableStyle::default());
    assert!(!text.contains('*'), "{text}");
}

#[test]
fn students_stand_beside_their_teachers() {
    let text = teaching(&sample::summary(), TableStyle::default());
    assert!(widest(&text) <= 100, "{} columns", widest(&text));
    insta::assert_snapshot!(text);

    let mut summary = sample::summary();
    for arm in &mut summary.arms {
        arm.taught = None;
    }
    assert_eq!(teaching(&summary, TableStyle::default()), "");
}

#[test]
fn colour_is_used_only_when_asked_for() {
    let summary = sample::summary();
    let colored = table(&summary, TableStyle { color: true, ..TableStyle::default() });
    assert!(colored.contains("\u{1b}["));
    assert!(!table(&summary, TableStyle::default()).contains('\u{1b}'));
}

#[test]
fn the_changes_and_checks_of_a_run() {
    insta::assert_snapshot!(changes(&sample::summary(), TableStyle::default()));
    insta::assert_snapshot!(checks(&sample::summary()));
}

#[test]
fn the_changes_of_a_single_seed_say_so() {
    insta::assert_snapshot!(changes(&sample::single_seed(), TableStyle::default()));
}

#[test]
fn nothing_compared_and_nothing_demanded_is_nothing_said() {
    let mut summary = sample::summary();
    summary.comparisons.clear();
    summary.checks.clear();
    assert_eq!(changes(&summary, TableStyle::default()), "");
    assert_eq!(checks(&summary), "");
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let mut summary = sample::summary();
    summary.rows[0].arm = "red\u{1b}[31m\nalarm".into();
    summary.comparisons[0].candidate = summary.rows[0].arm.clone();
    summary.checks[0].row = summary.rows[0].arm.clone();
    for text in [
        table(&summary, TableStyle::default()),
        changes(&summary, TableStyle::default()),
        checks(&summary),
    ] {
        assert!(text.contains("red\u{fffd}[31m\u{fffd}alarm"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn numbers_that_are_none_are_shown_and_never_best() {
    let mut summary = sample::summary();
    summary.rows[0].metrics.nll.mean = f64::NAN;
    summary.rows[1].metrics.nll.mean = f64::INFINITY;
    let text = table(&summary, TableStyle::default());
    assert!(text.contains(" NaN "), "{text}");
    assert!(text.contains(" ∞ "), "{text}");
    assert_eq!(text.matches("*0.").count(), 2, "one best NLL and one best Brier score: {text}");
}
