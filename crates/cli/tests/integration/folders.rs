//! Where runs go, what is replaced, and what a report is made of.

use std::fs;

use crate::{Place, TINY};

const ALL: [&str; 7] = [
    "calibrators",
    "metrics.jsonl",
    "predictions",
    "recipe.toml",
    "report.html",
    "run.json",
    "summary.json",
];

#[test]
fn runs_without_a_folder_are_numbered_in_the_current_one() {
    let place = Place::new(TINY);
    assert!(place.run(&[]).success().contains("\nRun folder  runs/tiny-1\n"));
    fs::create_dir(place.path("runs/tiny-2")).unwrap();
    assert!(place.run(&[]).success().contains("\nRun folder  runs/tiny-3\n"));
    assert_eq!(place.names("runs"), ["tiny-1", "tiny-2", "tiny-3"]);
    assert_eq!(place.names("runs/tiny-3"), ALL);
    assert_eq!(place.names("runs/tiny-3/predictions/hard"), ["seed-3"]);
    let splits = ["test.safetensors", "train.safetensors", "validation.safetensors"];
    assert_eq!(place.names("runs/tiny-3/predictions/smoothed/seed-3"), splits);
    let calibrators = ["platt.json", "temperature.json"];
    assert_eq!(place.names("runs/tiny-3/calibrators/hard/seed-3"), calibrators);
    assert_eq!(place.names("runs/tiny-3/calibrators"), ["hard"]);
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let place = Place::new(TINY);
    fs::create_dir(place.path("out")).unwrap();
    fs::write(place.path("out/thesis.tex"), "years of work").unwrap();
    let said = place.run(&["--out", "out"]).failure();
    assert!(said.contains("out is not empty"), "{said}");
    let said = place.run(&["--out", "out", "--overwrite"]).failure();
    assert!(said.contains("out holds no softlabel run"), "{said}");
    // Not even where a file is called like one of ours.
    fs::write(place.path("out/run.json"), "{\"schema\": \"marathon\"}").unwrap();
    place.run(&["--out", "out", "--overwrite"]).failure();
    assert_eq!(place.read("out/thesis.tex"), "years of work");
    assert_eq!(place.names("out"), ["run.json", "thesis.tex"]);
}

#[test]
fn an_empty_folder_is_taken() {
    let place = Place::new(TINY);
    fs::create_dir(place.path("out")).unwrap();
    place.run(&["--out", "out"]).success();
    assert_eq!(place.names("out"), ALL);
}

#[test]
fn overwriting_replaces_the_run_and_nothing_beside_it() {
    let place = Place::new(TINY);
    place.run(&["--out", "out"]).success();
    let before = place.read("out/summary.json");
    fs::write(place.path("out/notes.txt"), "mine").unwrap();
    assert!(place.run(&["--out", "out"]).failure().contains("--overwrite"));
    assert_eq!(place.read("out/summary.json"), before);

    let arguments = ["--out", "out", "--overwrite", "--seed", "9"];
    let renamed = ["--set", "arms={only={model=\"small\"}}"];
    place.run(&[&arguments[..], &renamed].concat()).success();
    assert_ne!(place.read("out/summary.json"), before);
    assert_eq!(place.read("out/notes.txt"), "mine");
    // Nothing of the old run is left.
    assert_eq!(place.names("out/predictions"), ["only"]);
    assert_eq!(place.names("out/predictions/only"), ["seed-9"]);
    assert!(place.names("out/calibrators").is_empty());
    // A training, an epoch, the errors of two splits, a lesson and a score.
    assert_eq!(place.read("out/metrics.jsonl").lines().count(), 6);
}

#[test]
fn overwriting_what_is_not_there_yet_is_fine() {
    let place = Place::new(TINY);
    place.run(&["--out", "a/b/out", "--overwrite"]).success();
    assert_eq!(place.names("a/b/out"), ALL);
}

#[test]
fn a_run_that_cannot_begin_leaves_the_old_one_alone() {
    let place = Place::new(TINY);
    place.run(&["--out", "out"]).success();
    let before = place.read("out/summary.json");
    let none = ["--set", "data.source.dataset=mnist", "--set", "data.split.test=0"];
    place.run(&[&["--out", "out", "--overwrite"], &none[..]].concat()).failure();
    assert_eq!(place.read("out/summary.json"), before);
    assert_eq!(place.names("out"), ALL);
}

#[test]
fn a_place_where_no_folder_can_be_is_an_error() {
    let place = Place::new(TINY);
    for out in ["recipe.toml", "recipe.toml/x"] {
        let said = place.run(&["--out", out]).failure();
        assert!(said.contains(out), "{said}");
    }
    fs::write(place.path("runs"), "a file").unwrap();
    assert!(place.run(&[]).failure().contains("runs"));
    assert_eq!(place.read("recipe.toml"), TINY);
}

#[test]
fn training_that_diverges_is_an_error_that_says_where() {
    let place = Place::new(TINY);
    let diverging = ["--set", "training.learning_rate=1e30", "--set", "training.optimizer=sgd"];
    let said = place.run(&[&diverging[..], &["--quiet", "--out", "out"]].concat()).failure();
    let expected = "error: arm `hard`, seed 3: the loss is NaN in epoch 1: training diverged \
                    (a smaller training.learning_rate?)\n";
    assert_eq!(said, expected);
    assert!(place.read("out/run.json").contains("\"state\": \"failed\""));
    // A folder without results is no run to report on, but one to replace.
    assert!(place.softlabel(&["report", "out"]).failure().contains("summary.json"));
    place.run(&["--out", "out", "--overwrite"]).success();
    assert_eq!(place.names("out"), ALL);
}

#[test]
fn a_report_is_made_again_from_what_is_in_the_folder() {
    let place = Place::new(TINY);
    let (table, html) = (place.run(&["--out", "out"]).success(), place.read("out/report.html"));
    for damaged in [true, false] {
        if damaged {
            fs::remove_file(place.path("out/report.html")).unwrap();
        }
        assert_eq!(place.softlabel(&["report", "out"]).success(), table);
        assert!(place.read("out/report.html") == html, "the report is another one");
    }
    assert_eq!(place.names("out"), ALL);
}

#[test]
fn what_is_no_run_has_no_report() {
    let place = Place::new(TINY);
    for folder in ["absent", ".", "recipe.toml"] {
        let said = place.softlabel(&["report", folder]).failure();
        assert!(said.contains(&format!("{folder}/summary.json")), "{said}");
    }
    assert_eq!(place.names("."), ["recipe.toml"]);
    fs::write(place.path("summary.json"), "{").unwrap();
    assert!(place.softlabel(&["report", "."]).failure().contains("./summary.json: EOF"));
    fs::write(place.path("summary.json"), "{\"schema\": \"softlabel.summary/999\"}").unwrap();
    let said = place.softlabel(&["report", "."]).failure();
    assert!(said.contains("found softlabel.summary/999"), "{said}");
}
