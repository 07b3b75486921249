//! Which stream says what, and how the program ends.

use std::fs::{self, File};
use std::process::Stdio;

use serde_json::Value;

use crate::{Finished, Place, TINY, check_of_accuracy};

#[test]
fn results_go_to_stdout_and_talk_to_stderr() {
    let place = Place::new(TINY);
    let finished = place.run(&["--out", "out"]);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert!(lines[0].starts_with("[1/2] hard, seed 3: loss "), "{}", finished.stderr);
    assert!(lines[1].starts_with("[2/2] smoothed, seed 3: loss "), "{}", finished.stderr);
    assert_eq!(lines.len(), 2, "{}", finished.stderr);
    let stdout = finished.success();
    for expected in ["hard", "smoothed", "What changed", "Run folder  out", "out/report.html"] {
        assert!(stdout.contains(expected), "no {expected} in: {stdout}");
    }
    assert!(!stdout.contains("loss") && !stdout.contains('\u{1b}'), "{stdout}");
}

#[test]
fn quiet_says_nothing_but_the_results() {
    let place = Place::new(TINY);
    let loud = place.run(&["--out", "out"]).success();
    let finished = place.run(&["--out", "out", "--overwrite", "--quiet"]);
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.success(), loud);
    // But errors are said.
    assert!(place.run(&["--out", "out", "--quiet"]).failure().contains("is not empty"));
}

#[test]
fn more_log_lines_go_to_stderr() {
    let place = Place::new(TINY);
    let finished = place.run(&["--out", "out", "-v"]);
    assert!(finished.stderr.contains("run folder folder=out"), "{}", finished.stderr);
    assert!(!finished.success().contains("folder=out"));
}

#[test]
fn json_is_one_object_and_nothing_else() {
    let place = Place::new(&(TINY.to_owned() + &check_of_accuracy(0.0)));
    let stdout = place.run(&["--out", "out", "--json"]).success();
    assert_eq!(stdout.lines().count(), 1);
    let printed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(printed["schema"], "softlabel.run-output/1");
    assert_eq!(
        (&printed["folder"], &printed["report"]),
        (&"out".into(), &"out/report.html".into())
    );
    let keys: Vec<&String> = printed.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["folder", "report", "schema", "summary"]);
    let written: Value = serde_json::from_str(&place.read("out/summary.json")).unwrap();
    assert_eq!(printed["summary"], written);
    assert_eq!(written["schema"], "softlabel.summary/1");
    assert_eq!(written["checks"][0]["passed"], true);
    assert_eq!(place.softlabel(&["report", "out", "--json"]).success(), stdout);
}

#[test]
fn tables_go_into_a_page_of_other_text() {
    const PAGE: &str = "Ours:\n\n<!-- softlabel tiny results -->\n<!-- /softlabel -->\n\n\
        <!-- softlabel other cost -->\nas it was\n<!-- /softlabel -->\n";
    let place = Place::new(TINY);
    fs::write(place.path("page.md"), PAGE).unwrap();
    place.run(&["--out", "out", "--tables", "page.md"]).success();
    let filled = place.read("page.md");
    assert!(filled.starts_with("Ours:\n\n<!-- softlabel tiny results -->\n| arm | error % |"));
    assert!(filled.contains("\n| `smoothed` | "), "{filled}");
    assert!(filled.ends_with("<!-- softlabel other cost -->\nas it was\n<!-- /softlabel -->\n"));

    // The same from the folder of the run.
    fs::write(place.path("page.md"), PAGE).unwrap();
    place.softlabel(&["report", "out", "--tables", "page.md"]).success();
    assert_eq!(place.read("page.md"), filled);
}

#[test]
fn a_page_without_a_place_for_the_run_is_refused_before_training() {
    let place = Place::new(TINY);
    fs::write(place.path("page.md"), "<!-- softlabel other cost -->\n<!-- /softlabel -->\n")
        .unwrap();
    let said = place.run(&["--out", "out", "--tables", "page.md"]).failure();
    assert!(said.contains("page.md: no line `<!-- softlabel tiny … -->`"), "{said}");
    assert!(said.contains("lines for other"), "{said}");
    let said = place.run(&["--out", "out", "--tables", "nowhere.md"]).failure();
    assert!(said.contains("reading nowhere.md"), "{said}");
    assert_eq!(place.names("."), ["page.md", "recipe.toml"]);
}

#[test]
fn a_check_that_says_no_ends_in_one_and_results_all_the_same() {
    let place = Place::new(&(TINY.to_owned() + &check_of_accuracy(0.0) + &check_of_accuracy(1.1)));
    let finished = place.run(&["--out", "out", "--quiet"]);
    assert_eq!((finished.code, &*finished.stderr), (Some(1), ""));
    assert!(finished.stdout.contains("Checks"), "{}", finished.stdout);
    assert!(finished.stdout.contains("Run folder  out"), "{}", finished.stdout);
    let summary: Value = serde_json::from_str(&place.read("out/summary.json")).unwrap();
    let passed: Vec<&Value> =
        summary["checks"].as_array().unwrap().iter().map(|check| &check["passed"]).collect();
    assert_eq!(passed, [true, false]);
    // Printing it again judges nothing.
    place.softlabel(&["report", "out"]).success();
}

/// Runs the recipe with nobody left to read stdout, and stderr as given.
fn unread(place: &Place, stderr: Stdio) -> Option<i32> {
    let mut command = place.command(&["run", "recipe.toml", "-vv", "--out", "out"]);
    let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code()
}

#[test]
fn nobody_to_read_the_results_is_no_error() {
    let place = Place::new(TINY);
    assert_eq!(unread(&place, Stdio::null()), Some(0));
    assert!(place.read("out/report.html").contains("</html>"));
}

#[test]
fn nobody_to_read_anything_is_no_error() {
    let place = Place::new(TINY);
    assert_eq!(unread(&place, Stdio::piped()), Some(0));
    assert!(place.read("out/report.html").contains("</html>"));
}

#[test]
fn a_check_says_no_whether_or_not_somebody_reads_it() {
    let place = Place::new(&(TINY.to_owned() + &check_of_accuracy(1.1)));
    assert_eq!(unread(&place, Stdio::null()), Some(1));
}

#[test]
#[cfg(target_os = "linux")]
fn results_that_cannot_be_written_are_an_error() {
    let place = Place::new(TINY);
    let mut command = place.command(&["run", "recipe.toml", "--print-config"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let finished = Finished::new(&command.stdout(full).output().unwrap());
    assert!(finished.failure().starts_with("error: writing to stdout: "));
}

#[test]
fn run_json_says_what_made_the_numbers() {
    let place = Place::new(TINY);
    place.run(&["--out", "out", "--set", "repeats=2", "--seed", "7", "--device", "cpu"]).success();
    let run: Value = serde_json::from_str(&place.read("out/run.json")).unwrap();
    assert_eq!(run["schema"], "softlabel.run/1");
    assert_eq!(run["softlabel"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&run["device"], &run["threads"]), (&"cpu".into(), &1.into()));
    assert_eq!((&run["recipe"], &run["state"]), (&"recipe.toml".into(), &"finished".into()));
    assert_eq!(run["overrides"], Value::from(vec!["repeats=2", "seed=7"]));
    assert_eq!(run["seeds"], Value::from(vec![7, 8]));
    assert_eq!(run["timings"].as_array().unwrap().len(), 4);
    assert!(run["seconds"].as_f64().unwrap() > 0.0);
    let summary: Value = serde_json::from_str(&place.read("out/summary.json")).unwrap();
    assert_eq!(run["dataset_fingerprint"], summary["dataset"]["fingerprint"]);
}
