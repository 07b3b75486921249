//! Run folders: what is refused, what is replaced, what is never touched.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside `#[test]` functions.

use std::fs;
use std::path::Path;

use softlabel_results::{
    Check, Error, Existing, Metric, Provenance, RunFolder, RunState, Statistic,
};

fn provenance() -> Provenance {
    Provenance {
        schema: Provenance::SCHEMA.to_owned(),
        softlabel: "0.1.0".to_owned(),
        libtorch: "2.11.0".to_owned(),
        device: "cpu".to_owned(),
        threads: 2,
        state: RunState::Running,
        arguments: vec!["run".to_owned()],
        recipe: "recipe.toml".to_owned(),
        overrides: vec!["seed=1".to_owned()],
        data_folder: None,
        seeds: vec![1, 2],
        dataset_fingerprint: "ab".to_owned(),
        started_unix_seconds: 1,
        seconds: 0.1 + 0.2,
        timings: Vec::new(),
    }
}

/// A run with a file of every kind.
fn finished_run(root: &Path) -> RunFolder {
    let folder = RunFolder::create(root, Existing::Refuse).unwrap();
    folder.write_json(&folder.provenance(), &provenance()).unwrap();
    folder.append_metrics(&1).unwrap();
    folder.write(&folder.predictions("arm", 7, "test"), b"logits").unwrap();
    folder.write(&folder.calibrator("arm", 7, "platt"), b"{}").unwrap();
    folder.write(&folder.report(), b"<html>").unwrap();
    folder
}

#[test]
fn an_empty_folder_is_taken_and_a_full_one_refused() {
    let place = tempfile::tempdir().unwrap();
    finished_run(place.path());
    let error = RunFolder::create(place.path(), Existing::Refuse).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
    assert!(place.path().join("predictions/arm/seed-7/test.safetensors").is_file());
}

#[test]
fn replacing_removes_the_run_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    finished_run(place.path());
    fs::write(place.path().join("notes.txt"), "mine").unwrap();
    RunFolder::create(place.path(), Existing::Replace).unwrap();
    let left: Vec<_> =
        fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn what_is_no_run_is_not_replaced() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("recipe.toml"), "mine").unwrap();
    for foreign in ["", r#"{"mine": 1}"#, r#"{"schema": "other.run/1"}"#] {
        fs::write(place.path().join("run.json"), foreign).unwrap();
        let error = RunFolder::create(place.path(), Existing::Replace).unwrap_err();
        assert!(matches!(error, Error::NotARun { .. }), "{error}");
    }
    assert_eq!(fs::read_to_string(place.path().join("recipe.toml")).unwrap(), "mine");
}

#[test]
fn a_folder_is_held_by_one_run_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let held = finished_run(place.path());
    let error = RunFolder::create(place.path(), Existing::Replace).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(held.report().is_file());
    drop(held);
    assert!(RunFolder::create(place.path(), Existing::Replace).is_ok());
}

#[test]
fn a_run_that_did_not_end_is_named_as_such() {
    let place = tempfile::tempdir().unwrap();
    let error = finished_run(place.path()).read_summary().unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }), "{error}");
}

#[test]
fn what_a_killed_run_left_half_written_goes_with_it() {
    let place = tempfile::tempdir().unwrap();
    finished_run(place.path());
    fs::write(place.path().join(".softlabel-x1y2"), "half").unwrap();
    RunFolder::create(place.path(), Existing::Replace).unwrap();
    assert!(!place.path().join(".softlabel-x1y2").exists());
}

#[test]
fn numbers_go_on_where_they_are_free() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("digits-2")).unwrap();
    let names: Vec<_> = (0..2)
        .map(|_| RunFolder::create_numbered(place.path(), "digits").unwrap())
        .map(|folder| folder.root().file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["digits-1", "digits-3"]);
}

#[test]
fn provenance_comes_back_to_the_last_bit() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(finished_run(place.path()).read_provenance().unwrap(), provenance());
}

#[test]
fn a_file_of_another_schema_is_named_as_such() {
    let place = tempfile::tempdir().unwrap();
    let folder = finished_run(place.path());
    let newer = Provenance { schema: "softlabel.run/2".to_owned(), ..provenance() };
    folder.write_json(&folder.provenance(), &newer).unwrap();
    let error = folder.read_provenance().unwrap_err();
    assert!(error.to_string().ends_with("expected schema softlabel.run/1, found softlabel.run/2"));
    fs::write(folder.provenance(), "{").unwrap();
    assert!(matches!(folder.read_provenance().unwrap_err(), Error::Malformed { .. }));
    assert!(matches!(folder.read_summary().unwrap_err(), Error::Io { action: "reading", .. }));
}

#[test]
fn nothing_half_written_stays_beside_a_file() {
    let place = tempfile::tempdir().unwrap();
    let folder = finished_run(place.path());
    folder.write(&folder.report(), b"again").unwrap();
    assert_eq!(fs::read(folder.report()).unwrap(), b"again");
    let beside = fs::read_dir(place.path()).unwrap().count();
    assert_eq!(beside, 5, "run.json, metrics.jsonl, report.html, predictions, calibrators");
}

#[test]
fn the_deviation_is_that_of_a_sample() {
    let statistic = Statistic::of(vec![2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
    // Σ(x − 5)² = 32 over n − 1 = 7.
    assert_eq!((statistic.mean, statistic.sd), (5.0, Some((32.0f64 / 7.0).sqrt())));
    assert!(Statistic::of(Vec::new()).mean.is_nan());
}

#[test]
fn numbers_without_digits_are_read_back_as_they_were() {
    let statistic = Statistic::of(vec![f64::INFINITY, 0.1 + 0.2]);
    let written = serde_json::to_string(&statistic).unwrap();
    assert_eq!(written, r#"{"mean":"inf","sd":null,"values":["inf",0.30000000000000004]}"#);
    assert_eq!(serde_json::from_str::<Statistic>(&written).unwrap(), statistic);
    let low: Statistic = serde_json::from_str(r#"{"mean":"-inf","sd":null,"values":[]}"#).unwrap();
    assert_eq!((low.mean, low.sd), (f64::NEG_INFINITY, None));
    let whole: Statistic = serde_json::from_str(r#"{"mean":1,"sd":2,"values":[1]}"#).unwrap();
    assert_eq!(whole, Statistic { mean: 1.0, sd: Some(2.0), values: vec![1.0] });

    let nothing = Statistic::of(Vec::new());
    let written = serde_json::to_string(&nothing).unwrap();
    assert_eq!(written, r#"{"mean":null,"sd":null,"values":[]}"#);
    assert!(serde_json::from_str::<Statistic>(&written).unwrap().mean.is_nan());
    let undefined: Statistic =
        serde_json::from_str(r#"{"mean":null,"sd":null,"values":[null,"inf"]}"#).unwrap();
    assert!(undefined.values[0].is_nan() && undefined.values[1] == f64::INFINITY);

    for bad in ["\"1\"", "\"nan\"", "[]"] {
        let text = format!(r#"{{"mean":{bad},"sd":null,"values":[]}}"#);
        let error = serde_json::from_str::<Statistic>(&text).unwrap_err().to_string();
        assert!(error.starts_with("expected a number, \"inf\" or \"-inf\""), "{error}");
    }
}

#[test]
fn what_a_check_found_may_be_infinite() {
    for found in [f64::INFINITY, f64::NEG_INFINITY, 0.25] {
        let metric = Metric::Nll;
        let check = Check {
            row: "arm".to_owned(),
            metric,
            at_least: None,
            at_most: Some(1.0),
            found,
            passed: false,
        };
        let written = serde_json::to_string(&check).unwrap();
        assert_eq!(serde_json::from_str::<Check>(&written).unwrap(), check);
    }
}
