//! Tables that are filled into a page of other text.

use softlabel_report::{Error, check_page, fill_page};

use crate::sample;

const NAME: &str = "digits-with-noisy-labels";

fn filled(page: &str) -> Result<String, Error> {
    let mut summary = sample::summary();
    summary.name = NAME.into();
    fill_page(page, &summary, &sample::provenance())
}

fn page(marks: &[&str]) -> String {
    let table = |mark: &&str| {
        format!("Before {mark}.\n\n<!-- softlabel {NAME} {mark} -->\nold\n<!-- /softlabel -->\n\n")
    };
    marks.iter().map(table).collect::<String>() + "The end, without a line break"
}

#[test]
fn every_table_is_put_between_its_marks_and_the_rest_stays() {
    let page = page(&[
        "results",
        "results student_* hard",
        "lessons",
        "errors class=3 hard student_from_s*",
        "cost",
    ]);
    let text = filled(&page).unwrap();
    insta::assert_snapshot!(text);
    // Filled again it is the same.
    assert_eq!(filled(&text).unwrap(), text);
}

#[test]
fn differences_are_of_errors_with_the_interval_of_a_paired_t() {
    let text = filled(&page(&["results smoothed"])).unwrap();
    let row = text.lines().find(|line| line.starts_with("| `smoothed`")).unwrap();
    let summary = sample::summary();
    let accuracies = |arm| {
        let row = summary.row(arm, &softlabel_results::Calibration::NONE).unwrap();
        row.metrics.accuracy.values.clone()
    };
    let (hard, smoothed) = (accuracies("hard"), accuracies("smoothed"));
    let gains: Vec<f64> = hard.iter().zip(&smoothed).map(|(h, s)| 100.0 * (h - s)).collect();
    let mean = gains.iter().sum::<f64>() / 5.0;
    let sd = (gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
    // t(0.975, 4) of any table.
    let half = 2.776_445 * sd / 5f64.sqrt();
    let number = |value: f64| format!("{value:+.2}").replace('-', "−");
    let expected = format!("{} [{}, {}]", number(mean), number(mean - half), number(mean + half));
    assert!(row.contains(&expected), "{row}\n{expected}");
}

#[test]
fn tables_of_other_runs_stay() {
    let other = "<!-- softlabel other results -->\nas it was\n<!-- /softlabel -->\n";
    let text = filled(&(other.to_owned() + &page(&["cost"]))).unwrap();
    assert!(text.starts_with(other), "{text}");
    assert!(text.contains("30 trainings"), "{text}");
}

#[test]
fn a_mark_that_cannot_be_followed_says_where_it_stands_and_why() {
    let said = |page: &str| filled(page).unwrap_err().to_string();
    let check = |mark: &str, expected: &str| {
        let error = said(&page(&[mark]));
        assert!(error.starts_with("line 3: ") && error.contains(expected), "{error}");
    };
    check("", "found nothing");
    check("tables", "expected `results`, `lessons`, `errors` or `cost`");
    check("errors three", "found three");
    check("errors class=10", "class 10 of 10");
    check("results teacher*", "no arm of the run is `teacher*`: it has hard, smoothed");

    let error = said(&format!("<!-- softlabel {NAME} results -->\n| table |\n"));
    assert_eq!(error, "line 1: no `<!-- /softlabel -->` after it");
    let error = said("<!-- softlabel other results -->\n<!-- /softlabel -->\n");
    assert!(error.contains("lines for other"), "{error}");
    assert!(matches!(filled("").unwrap_err(), Error::NoMark { runs, .. } if runs.is_empty()));
}

#[test]
fn a_page_is_checked_before_there_are_results() {
    assert!(check_page(&page(&["results whatever"]), NAME).is_ok());
    assert!(matches!(check_page(&page(&["results"]), "other"), Err(Error::NoMark { .. })));
    assert!(matches!(check_page(&page(&["nothing"]), NAME), Err(Error::Mark { line: 3, .. })));
    let open = format!("<!-- softlabel {NAME} cost -->\n");
    assert!(matches!(check_page(&open, NAME), Err(Error::Mark { line: 1, .. })));
}
