//! The commands on saved predictions.

use std::fs;

use serde_json::Value;

use crate::{Finished, Place, TINY, data_with};

/// Confidences 0.75, 0.75, 0.75, 0.5; the third row is wrong, and so is the last, whose tie goes to class 0.
const CSV: &str = "no,yes,label\n0.25,0.75,1\n0.75,0.25,0\n0.75,0.25,1\n0.5,0.5,1\n";

fn place(files: &[(&str, &str)]) -> Place {
    let place = Place::new(TINY);
    for (name, content) in files {
        fs::write(place.path(name), content).unwrap();
    }
    place
}

fn json(finished: Finished) -> Value {
    let text = finished.success();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
}

#[test]
fn the_object_of_evaluate_holds_what_is_promised() {
    let place = place(&[("p.csv", CSV)]);
    let object = json(place.softlabel(&["evaluate", "p.csv", "--scores", "probs", "--json"]));
    assert_eq!(object["schema"], "softlabel.evaluation/1");
    assert_eq!((&object["samples"], &object["classes"]), (&4.into(), &2.into()));
    for name in [
        "accuracy",
        "nll",
        "brier",
        "ece",
        "ece_equal_mass",
        "mce",
        "rmsce",
        "classwise_ece",
        "ks",
        "smooth_ece",
        "aurc",
        "eaurc",
        "augrc",
        "auroc_confidence",
        "mean_confidence",
    ] {
        assert!(object[name].is_number(), "{name}: {}", object[name]);
    }
    assert_eq!(object["bins"].as_array().unwrap().len(), 15);
    assert_eq!(object["intervals"], serde_json::json!({}));
    close(&object["accuracy"], 0.5);
    // −(2 ln 3/4 + ln 1/4 + ln 1/2)/4
    close(&object["nll"], (2.0 * (4.0f64 / 3.0).ln() + 4.0f64.ln() + 2.0f64.ln()) / 4.0);
    // 2/4 · 1/16, twice right; 2 · 9/16; 2 · 1/4
    close(&object["brier"], (2.0 * 0.125 + 1.125 + 0.5) / 4.0);
    // The bin of 0.75: |2/3 − 3/4| · 3/4; the bin of 0.5: |0 − 1/2| · 1/4.
    close(&object["ece"], 0.0625 + 0.125);
    close(&object["mce"], 0.5);
}

#[test]
fn intervals_hold_the_estimate_and_follow_the_seed() {
    let place = place(&[("p.csv", CSV)]);
    let run = |seed| {
        let options = ["--ci", "0.9", "--bootstrap", "200", "--seed", seed, "--json"];
        let evaluate = ["evaluate", "p.csv", "--scores", "probs"];
        json(place.softlabel(&[&evaluate[..], &options].concat()))
    };
    let (first, again, other) = (run("1"), run("1"), run("2"));
    assert_eq!(first, again);
    assert_ne!(first["intervals"], other["intervals"]);
    let interval = &first["intervals"]["accuracy"];
    assert_eq!((interval["estimate"].as_f64(), interval["level"].as_f64()), (Some(0.5), Some(0.9)));
    assert!(interval["lower"].as_f64() <= Some(0.5) && interval["upper"].as_f64() >= Some(0.5));
}

/// Reflected at the estimate, the quantiles are those of the percentile interval.
#[test]
fn an_interval_is_made_as_it_is_asked_for() {
    let place = place(&[("p.csv", CSV)]);
    let run = |interval| {
        let options = ["--ci", "0.9", "--bootstrap", "200", "--interval", interval, "--json"];
        let evaluate = ["evaluate", "p.csv", "--scores", "probs"];
        json(place.softlabel(&[&evaluate[..], &options].concat()))["intervals"]["brier"].clone()
    };
    let (percentile, basic) = (run("percentile"), run("basic"));
    let of = |interval: &Value, key: &str| interval[key].as_f64().unwrap();
    let estimate = of(&percentile, "estimate");
    assert!((of(&basic, "lower") - (2.0 * estimate - of(&percentile, "upper"))).abs() < 1e-12);
    assert!((of(&basic, "upper") - (2.0 * estimate - of(&percentile, "lower"))).abs() < 1e-12);
    assert!(of(&percentile, "lower") < estimate);
    assert_ne!(run("bca"), percentile);
}

#[test]
fn what_has_no_interval_is_null_and_says_why() {
    let place = place(&[("zero.csv", "a,b,label\n0,1,0\n0.4,0.6,1\n0.5,0.5,0\n0.3,0.7,1\n")]);
    let options = ["--scores", "probs", "--ci", "0.9", "--bootstrap", "50", "--json"];
    let object = json(place.softlabel(&[&["evaluate", "zero.csv"], &options[..]].concat()));
    let intervals = object["intervals"].as_object().unwrap();
    assert!(intervals["nll"].is_null());
    assert_eq!(object["undefined"]["nll"], "it is +inf");
    for name in ["kuiper", "aupr_error", "aupr_success", "fpr_at_95_tpr", "ece", "aurc"] {
        assert_eq!(intervals[name]["estimate"], object[name], "{name}");
    }
    let options = ["--scores", "probs", "--bootstrap", "50", "--json"];
    let compare = ["compare", "zero.csv", "zero.csv"];
    let object = json(place.softlabel(&[&compare[..], &options[..]].concat()));
    let differences = &object["candidates"][0]["differences"];
    assert!(differences["nll"].is_null() && differences.as_object().unwrap().contains_key("nll"));
    assert_eq!(differences["ece"]["estimate"], 0.0);
}

#[test]
fn top_labels_give_the_metrics_that_they_can() {
    let place = place(&[("top.csv", "true_label,pred_label,confidence\n3,3,0.75\n1,2,0.75\n")]);
    let object = json(place.softlabel(&["evaluate", "top.csv", "--json"]));
    close(&object["ece"], 0.25);
    assert_eq!(
        (&object["classes"], &object["nll"], &object["brier"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert!(object["undefined"]["nll"].as_str().unwrap().contains("all classes"));
    let error =
        place.softlabel(&["calibrate", "top.csv", "--scores", "probs", "--method", "platt"]);
    assert!(error.failure().contains("top.csv: expected scores of all classes"));
}

#[test]
fn a_bound_that_is_passed_exits_with_1() {
    let place = place(&[("p.csv", CSV), ("right.csv", "a,b,label\n0.75,0.25,0\n")]);
    let check = |file, option, bound| {
        let run = place.softlabel(&["evaluate", file, "--scores", "probs", option, bound]);
        (run.code, run.stderr)
    };
    assert_eq!(check("p.csv", "--fail-above", "ece=0.2"), (Some(0), String::new()));
    assert_eq!(check("p.csv", "--fail-below", "accuracy=0.5"), (Some(0), String::new()));
    let (code, stderr) = check("p.csv", "--fail-above", "ece=0.1");
    assert_eq!((code, stderr.as_str()), (Some(1), "failed: ece is 0.1875, above 0.1\n"));
    // Nothing is wrong, so nothing is known of how well wrong rows are found.
    let (code, stderr) = check("right.csv", "--fail-above", "auroc_confidence=1");
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "failed: auroc_confidence is undefined: every row is right\n");
    let (code, stderr) = check("p.csv", "--fail-above", "eec=0.1");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("no metric \"eec\", expected one of accuracy, nll"), "{stderr}");
    assert_eq!(check("p.csv", "--fail-above", "ece").0, Some(2));
}

#[test]
fn a_likelihood_of_zero_is_null_with_its_reason() {
    let place = place(&[("p.csv", "a,b,label\n1,0,1\n")]);
    let object = json(place.softlabel(&["evaluate", "p.csv", "--scores", "probs", "--json"]));
    assert_eq!((&object["nll"], &object["zero_probability_labels"]), (&Value::Null, &1.into()));
    assert_eq!(object["undefined"]["nll"], "it is +inf");
}

#[test]
fn a_report_is_one_file_without_scripts() {
    let place = place(&[("p.csv", CSV)]);
    let options = ["--scores", "probs", "--ci", "0.95", "--bootstrap", "50", "--report", "p.html"];
    place.softlabel(&[&["evaluate", "p.csv"], &options[..]].concat()).success();
    let html = place.read("p.html");
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("95 % interval"));
    assert!(html.contains("0.187500") && html.matches("<svg class=\"diagram\"").count() == 3);
    // Of the three rows of 0.75 one is wrong, and so is the fourth.
    assert!(html.contains("Risk against coverage: 50.00 % of all rows are wrong"), "{html}");
    // Class 1 has 3 of 4 labels, and the probabilities 3/4, 1/4, 1/4 and 1/2.
    assert!(html.contains("<td>75.00 %</td><td>43.75 %</td><td>↓</td>"), "{html}");
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
}

/// 9 to 1 is said, 3 to 1 is true: the temperature is 2 whatever the rows.
fn overconfident() -> String {
    let logit = 9.0f64.ln();
    let row = |row: usize| format!("{logit},0,{}\n", usize::from(row % 4 == 3));
    "logit_a,logit_b,label\n".to_owned() + &(0..80).map(row).collect::<String>()
}

#[test]
fn a_calibrator_is_fitted_written_applied_and_judged() {
    let place = place(&[("v.csv", &overconfident())]);
    let fit = ["calibrate", "v.csv", "--scores", "logits", "--method", "temperature"];
    let options = ["--fit-rows", "0..40", "--out", "c.json", "--json"];
    let object = json(place.softlabel(&[&fit[..], &options].concat()));
    assert_eq!(
        (&object["schema"], &object["method"]),
        (&"softlabel.calibration/1".into(), &"temperature".into())
    );
    let temperature = object["parameters"]["temperature"].as_f64().unwrap();
    assert!((temperature - 2.0).abs() < 1e-9, "{temperature}");
    assert_eq!(
        (&object["fit"]["samples"], &object["fit"]["converged"]),
        (&40.into(), &true.into())
    );
    assert_eq!(object["test"]["before"]["samples"], 40);
    close(&object["test"]["before"]["ece"], 0.15);
    assert!(object["test"]["after"]["ece"].as_f64().unwrap() < 1e-9);

    let mapped = ["evaluate", "v.csv", "--scores", "logits", "--calibrator", "c.json", "--json"];
    let mapped = json(place.softlabel(&mapped));
    assert!(mapped["ece"].as_f64().unwrap() < 1e-9);
    for out in ["out.npz", "out.safetensors", "out.csv"] {
        let apply =
            ["apply", "v.csv", "--scores", "logits", "--calibrator", "c.json", "--out", out];
        assert_eq!(place.softlabel(&apply).success(), "");
        let again = json(place.softlabel(&["evaluate", out, "--scores", "probs", "--json"]));
        close(&again["nll"], mapped["nll"].as_f64().unwrap());
    }

    let all = json(place.softlabel(&[&fit[..], &["--json"]].concat()));
    assert_eq!((&all["fit"]["samples"], &all["test"]), (&80.into(), &Value::Null));
}

/// The shares of annotators are what a temperature is fitted to, and what it is judged by.
#[test]
fn soft_rows_are_fitted_to() {
    // 90 % sure in all rows, where 75 % of the annotators agree: T = 2.
    let mut scores = "no,yes\n".to_owned();
    let mut people = "no,yes\n".to_owned();
    for _ in 0..8 {
        scores += "0.9,0.1\n";
        people += "0.75,0.25\n";
    }
    let place = place(&[("p.csv", &scores), ("people.csv", &people)]);
    let fit = ["calibrate", "p.csv", "--labels", "people.csv", "--scores", "probs", "--method"];
    let told = ["temperature", "--fit-rows", "0..4", "--json"];
    let object = json(place.softlabel(&[&fit[..], &told].concat()));
    let temperature = object["parameters"]["temperature"].as_f64().unwrap();
    assert!((temperature - 2.0).abs() < 1e-9, "{object}");
    let soft = &object["test"]["after"]["soft_labels"];
    let entropy = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
    assert!((soft["cross_entropy"].as_f64().unwrap() - entropy).abs() < 1e-9, "{soft}");
    let error = place.softlabel(&[&fit[..], &["spline"]].concat()).failure();
    assert!(error.contains("distributions in place of labels"), "{error}");
}

#[test]
fn the_best_of_several_methods_is_taken() {
    let place = place(&[("v.csv", &overconfident())]);
    let fit = ["calibrate", "v.csv", "--scores", "logits", "--split", "0.5", "--json", "--method"];
    let object = json(place.softlabel(&[&fit[..], &["temperature,platt", "--cv", "4"]].concat()));
    let candidates = object["selection"].as_array().unwrap();
    let best = candidates
        .iter()
        .min_by(|a, b| a["nll"].as_f64().unwrap().total_cmp(&b["nll"].as_f64().unwrap()));
    assert_eq!((candidates.len(), &best.unwrap()["method"]), (2, &object["method"]));
    let unknown = place.softlabel(&[&fit[..], &["temprature"]].concat()).failure();
    assert!(
        unknown.contains("unknown method \"temprature\", expected one of temperature"),
        "{unknown}"
    );
}

#[test]
fn models_are_compared_on_the_same_rows() {
    let better = "no,yes,label\n0.125,0.875,1\n0.875,0.125,0\n0.25,0.75,1\n0.25,0.75,1\n";
    let other = "no,yes,label\n0.25,0.75,1\n0.75,0.25,1\n0.75,0.25,1\n0.5,0.5,1\n";
    let place = place(&[("a.csv", CSV), ("b.csv", better), ("c.csv", other)]);
    let compare = ["compare", "a.csv", "b.csv", "--scores", "probs", "--bootstrap", "100"];
    let object = json(place.softlabel(&[&compare[..], &["--json"]].concat()));
    assert_eq!(object["schema"], "softlabel.comparison/1");
    let candidate = &object["candidates"][0];
    assert_eq!(
        (&object["baseline"]["file"], &candidate["file"]),
        (&"a.csv".into(), &"b.csv".into())
    );
    close(&candidate["differences"]["accuracy"]["estimate"], 0.5);
    assert!(place.softlabel(&compare).success().contains("difference"));
    let error = place.softlabel(&["compare", "a.csv", "c.csv", "--scores", "probs"]).failure();
    assert!(
        error.contains("c.csv: expected the labels of a.csv, but in row 1 found label 1"),
        "{error}"
    );
}

#[test]
fn errors_name_the_file_and_the_cure() {
    let place = place(&[
        ("p.csv", CSV),
        ("sum.csv", "a,b,label\n0.5,0.25,0\n"),
        ("nolabel.csv", "a,b\n0.5,0.5\n"),
        ("short.csv", "label\n0\n"),
        ("label.csv", "a,b,label\n0.5,0.5,2\n"),
        ("c.json", r#"{"schema":"softlabel.calibrator/9"}"#),
    ]);
    for (arguments, expected) in [
        ("p.csv", "say --scores logits, log-probs or probs"),
        ("sum.csv --scores probs", "sum.csv: line 2"),
        ("nolabel.csv --scores probs", "no labels in nolabel.csv; name an array with --labels-key"),
        ("p.csv --labels short.csv --scores probs", "short.csv: expected 4 labels"),
        ("label.csv --scores probs", "label.csv: label 2 at position 0 is not in 0..2"),
        ("p.csv --scores probs --calibrator c.json", "c.json: the document has version 9"),
        ("p.csv --scores probs --ci 95", "confidence level must be in (0, 1), found 95"),
        ("p.csv --scores probs --bins 0", "bins"),
        ("recipe.toml --scores probs", "recipe.toml: expected a file of predictions"),
    ] {
        let arguments: Vec<&str> = ["evaluate"].into_iter().chain(arguments.split(' ')).collect();
        let error = place.softlabel(&arguments).failure();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let renormalized = ["evaluate", "sum.csv", "--scores", "probs", "--renormalize"];
    assert_eq!(place.softlabel(&renormalized).code, Some(0));
}

/// Values from golden.json, made with numpy and scipy in f64.
#[test]
fn a_real_network_gives_the_reference_values() {
    let Some(data) = data_with("predictions") else { return };
    let file = data.join("predictions/wideresnet-16-4-cifar-10.npz").display().to_string();
    let place = Place::new(TINY);
    let object = json(place.softlabel(&["evaluate", &file, "--scores", "probs", "--json"]));
    for (name, expected) in [
        ("accuracy", 0.9109),
        ("nll", 0.378_169_586_396_188_14),
        ("brier", 0.143_871_091_740_816_47),
        ("ece", 0.053_716_295_421_123_5),
        ("classwise_ece", 0.012_427_466_114_293_498),
        ("aurc", 0.012_710_202_485_231_619),
    ] {
        close(&object[name], expected);
    }
    let fit = ["calibrate", &file, "--scores", "probs", "--method", "temperature", "--json"];
    let object = json(place.softlabel(&[&fit[..], &["--fit-rows", "0..5000"]].concat()));
    let temperature = object["parameters"]["temperature"].as_f64().unwrap();
    assert!((temperature - 2.059_224_216_049_136).abs() < 1e-7, "{temperature}");
}
