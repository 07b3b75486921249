//! What the commands on saved predictions do with input that is wrong: they end with 2, say what was expected, where,
//! and what came, and leave files alone that are there.

use std::fs;

use crate::{Finished, Place, TINY};

const ROWS: &str = "1.5,0,0,0\n0,1.5,0,1\n0,0.5,1,2\n0.5,0,0.25,1\n";

fn place(files: &[(&str, &str)]) -> Place {
    let place = Place::new(TINY);
    let three = "a,b,c,label\n".to_owned() + ROWS;
    let calibrator = |classes: usize| {
        format!(
            r#"{{"schema":"softlabel.calibrator/1","method":"temperature","classes":{classes},"parameters":{{"temperature":2.0}}}}"#
        )
    };
    let common = [
        ("ok.csv", three.as_str()),
        ("three.json", &calibrator(3)),
        ("two.json", &calibrator(2)),
        ("keep", "keep"),
        ("keep.csv", "keep"),
    ];
    for (name, content) in common.iter().chain(files) {
        fs::write(place.path(name), content).unwrap();
    }
    place
}

fn run(place: &Place, arguments: &str) -> Finished {
    place.softlabel(&arguments.split(' ').collect::<Vec<_>>())
}

/// The command must fail, say all that is expected, and change no file that is there.
fn fails(place: &Place, arguments: &str, expected: &[&str]) {
    let error = run(place, arguments).failure();
    for expected in expected {
        assert!(error.contains(expected), "{arguments}: {error}");
    }
    for kept in ["keep", "keep.csv"] {
        assert_eq!(place.read(kept), "keep", "{arguments}");
    }
}

/// Every command that reads predictions, with the place where it would write.
fn fails_in_all(place: &Place, file: &str, options: &str, expected: &[&str]) {
    for command in [
        format!("evaluate {file} {options} --report keep"),
        format!("calibrate {file} {options} --method temperature --out keep"),
        format!("apply {file} {options} --calibrator three.json --out keep.csv"),
        format!("compare ok.csv {file} {options}"),
    ] {
        if !command.starts_with("compare") || options.contains("logits") {
            fails(place, &command, expected);
        }
    }
}

#[test]
fn scores_and_labels_that_cannot_be() {
    let place = place(&[]);
    let with =
        |row: &str| fs::write(place.path("x.csv"), format!("a,b,c,label\n{ROWS}{row}\n")).unwrap();
    for (row, expected) in [
        ("NaN,0,0,1", "x.csv: line 6: Logits: expected finite or -inf, found NaN"),
        ("0,inf,0,1", "x.csv: line 6: Logits: expected finite or -inf, found inf"),
        ("-inf,-inf,-inf,1", "x.csv: line 6: Logits: expected one finite value a row, found -inf"),
        ("0,x,0,1", "x.csv: line 6: expected a number in column `b`, found `x`"),
        ("0,0,1", "x.csv: line 6: expected 4 columns, as in the first line, found 3"),
        ("0,0,0,-1", "x.csv: line 6: expected a class, counted from 0, found -1"),
        ("0,0,0,0.5", "x.csv: line 6: expected a class, counted from 0, found 0.5"),
        ("0,0,0,3", "x.csv: label 3 at position 4 is not in 0..3"),
    ] {
        with(row);
        fails_in_all(&place, "x.csv", "--scores logits", &[expected]);
    }
}

#[test]
fn probabilities_that_are_none() {
    let place = place(&[]);
    for (row, plain, renormalized) in [
        ("NaN,0.5,0.5", "expected in [0, 1], found NaN", Some("at least 0, found NaN")),
        ("inf,0,0", "expected in [0, 1], found inf", Some("finite and at least 0, found inf")),
        ("-0.25,0.75,0.5", "expected in [0, 1], found -0.25", Some("at least 0, found -0.25")),
        ("1.5,0.25,0.25", "expected in [0, 1], found 1.5", None),
        ("0.5,0.5,0.5", "row 1 sums to 1.5, expected 1 ± 0.001", None),
        (
            "0,0,0",
            "row 1 sums to 0, expected 1 ± 0.001",
            Some("expected a positive sum of the row"),
        ),
    ] {
        let text = format!("a,b,c,label\n0.5,0.25,0.25,0\n{row},1\n0.1,0.2,0.7,2\n");
        fs::write(place.path("x.csv"), text).unwrap();
        fails_in_all(&place, "x.csv", "--scores probs", &["x.csv: line 3: Probabilities: ", plain]);
        if let Some(expected) = renormalized {
            let expected = ["x.csv: line 3: Probabilities: ", expected];
            fails_in_all(&place, "x.csv", "--scores probs --renormalize", &expected);
        } else {
            let ok = run(&place, "evaluate x.csv --scores probs --renormalize");
            assert!(ok.success().contains("3 samples"), "{row}");
        }
    }
}

#[test]
fn rows_that_are_missing() {
    let place = place(&[
        ("empty.csv", ""),
        ("head.csv", "a,b,c,label\n"),
        ("short.csv", "label\n0\n1\n"),
        ("bare.csv", "a,b,c\n1,2,3\n"),
    ]);
    for file in ["empty.csv", "head.csv"] {
        let expected = format!("{file}: the set of rows is empty: expected at least one");
        fails_in_all(&place, file, "--scores logits", &[&expected]);
    }
    let expected =
        "short.csv: expected 4 labels, one for each row of the scores in ok.csv, found 2";
    fails_in_all(&place, "ok.csv", "--scores logits --labels short.csv", &[expected]);
    let none = "no labels in bare.csv; name an array with --labels-key or a file with --labels";
    fails(&place, "evaluate bare.csv --scores logits", &[none]);
    fails(&place, "calibrate bare.csv --scores logits --method platt --out keep", &[none]);
    fails_in_all(&place, "none.csv", "--scores logits", &["cannot read none.csv: No such file"]);
    let few = "3 classes but only 2 rows; at least one row a class is needed";
    let calibrate = "calibrate ok.csv --scores logits --out keep";
    fails(&place, &format!("{calibrate} --method temperature --fit-rows 0..2"), &[few]);
    let folds = "number of folds: expected 2 to 4, as many as rows, found 5";
    fails(&place, &format!("{calibrate} --method temperature,platt"), &[folds]);
    for (rows, expected) in [
        ("0..5", "--fit-rows: expected rows within 0..4, found 0..5"),
        ("3..3", "expected rows A..B with A below B, such as 0..5000, found `3..3`"),
        ("3", "expected rows A..B with A below B, such as 0..5000, found `3`"),
    ] {
        let command = format!("{calibrate} --method temperature --fit-rows {rows}");
        fails(&place, &command, &[expected]);
    }
    fails(
        &place,
        &format!("{calibrate} --method platt --split 0.01"),
        &["one side of 4 rows empty"],
    );
}

/// One class alone is no error: the fit says what it is.
#[test]
fn one_class_alone_is_fitted_and_said_to_be_degenerate() {
    let place = place(&[("one.csv", "a,b,c,label\n2,0,1,1\n0,1,0,1\n0,3,1,1\n1,0,0,1\n")]);
    for (method, outcome) in [("platt", "one_sided"), ("matrix", "separable")] {
        let command = format!("calibrate one.csv --scores logits --method {method} --json");
        let ended = run(&place, &command);
        assert!(ended.stderr.contains("warning: the fit is degenerate"), "{}", ended.stderr);
        let object: serde_json::Value = serde_json::from_str(&ended.success()).unwrap();
        assert_eq!(object["fit"]["outcome"], outcome, "{object}");
        assert_eq!(object["fit"]["converged"], false);
    }
    let object = run(&place, "evaluate one.csv --scores logits --json").success();
    assert!(object.contains(r#""samples":4"#), "{object}");
}

/// Files as the program writes them, cut off, too long, or something else.
#[test]
fn files_that_are_damaged() {
    let place = place(&[]);
    for format in ["npz", "npy", "safetensors"] {
        let name = format!("x.{format}");
        let apply = "apply ok.csv --scores logits --calibrator three.json --out";
        run(&place, &format!("{apply} {name}")).success();
        let options = match format {
            "npy" => "--scores probs --labels ok.csv --labels-key label",
            _ => "--scores probs",
        };
        let evaluate = format!("evaluate {name} {options}");
        assert!(run(&place, &evaluate).success().contains("4 samples"));
        let whole = fs::read(place.path(&name)).unwrap();
        let long = [&whole[..], b"more"].concat();
        let mut damaged: Vec<&[u8]> =
            vec![&whole[..whole.len() - 7], &whole[..20], b"", b"neither this nor that"];
        // What follows an archive is not part of it.
        if format != "npz" {
            damaged.push(&long);
        }
        for bytes in damaged {
            fs::write(place.path(&name), bytes).unwrap();
            let expected = format!("{name}: ");
            fails_in_all(&place, &name, options, &[&expected]);
        }
    }
    fs::write(place.path("x.csv"), b"a,b\n\xff\xfe,1\n").unwrap();
    fails(&place, "evaluate x.csv --scores logits", &["x.csv: line 2: expected UTF-8 text"]);
}

#[test]
fn arrays_that_are_not_there_or_not_the_only_ones() {
    let place = place(&[]);
    let apply = "apply ok.csv --scores logits --calibrator three.json --out x.npz";
    run(&place, apply).success();
    for (options, expected) in [
        ("--scores-key z", "x.npz: no array `z` for the scores in the file, which has `"),
        ("--labels-key z", "x.npz: no array `z` for the labels in the file, which has `"),
        ("--scores-key labels", "x.npz: expected scores of f16, bf16, f32 or f64, found `labels`"),
    ] {
        fails(&place, &format!("evaluate x.npz --scores probs {options}"), &[expected]);
    }
    // A safetensors file is a header and values: two arrays that could both be the scores.
    let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend([0; 16]);
    fs::write(place.path("two.safetensors"), bytes).unwrap();
    let expected =
        ["two.safetensors: several arrays could be the scores: `a`", "name one with --scores-key"];
    fails(&place, "evaluate two.safetensors --scores logits", &expected);
}

#[test]
fn calibrators_that_do_not_fit() {
    let place = place(&[
        ("newer.json", r#"{"schema":"softlabel.calibrator/2"}"#),
        ("other.json", r#"{"schema":"elsewhere/1"}"#),
        ("cut.json", r#"{"schema":"softlabel.cal"#),
    ]);
    for (calibrator, expected) in [
        ("two.json", "two.json: the calibrator is for 2 classes, but the scores have 3"),
        ("newer.json", "newer.json: the document has version 2 of its schema, but at most 1 is"),
        (
            "other.json",
            r#"expected a document of schema "softlabel.calibrator/1", found "elsewhere/1""#,
        ),
        ("cut.json", "cut.json: a calibrator cannot be read: EOF"),
        ("none.json", "cannot read none.json: No such file"),
    ] {
        for command in ["evaluate ok.csv --report keep", "apply ok.csv --out keep.csv"] {
            let command = format!("{command} --scores logits --calibrator {calibrator}");
            fails(&place, &command, &[expected]);
        }
    }
}

#[test]
fn places_that_cannot_be_written() {
    let place = place(&[]);
    for command in [
        "evaluate ok.csv --scores logits --report keep/x.html",
        "calibrate ok.csv --scores logits --method temperature --out keep/x.json",
        "apply ok.csv --scores logits --calibrator three.json --out keep/x.npz",
    ] {
        fails(&place, command, &["keep: "]);
    }
    let apply = "apply ok.csv --scores logits --calibrator three.json --out";
    fails(&place, &format!("{apply} keep"), &["keep: expected a file of predictions, named *.npy"]);
    // A folder that is not there is made, by every command.
    run(&place, "evaluate ok.csv --scores logits --report new/a/x.html").success();
    run(&place, &format!("{apply} new/b/x.csv")).success();
    run(&place, "calibrate ok.csv --scores logits --method temperature --out new/c/x.json")
        .success();
    for made in ["new/a/x.html", "new/b/x.csv", "new/c/x.json"] {
        assert!(!place.read(made).is_empty());
    }
}

#[test]
fn what_a_calibration_will_need_is_looked_at_before_the_fit() {
    let place = place(&[]);
    let calibrate = "calibrate ok.csv --scores logits --method temperature";
    let bins = "number of bins must be in 1..=1000000, found 0";
    fails(&place, &format!("{calibrate} --bins 0"), &[bins]);
    fails(&place, &format!("{calibrate} --bins 0 --split 1"), &[bins]);
    let folder = ".: expected the name of a file, found a folder";
    fails(&place, &format!("{calibrate} --out ."), &[folder]);
}

#[test]
fn numbers_and_metrics_that_are_none() {
    let place = place(&[]);
    for (options, expected) in [
        ("--fail-above eec=1", "no metric \"eec\", expected one of accuracy, nll"),
        ("--fail-below eec=1", "no metric \"eec\", expected one of accuracy, nll"),
        ("--fail-above ece=x", "expected METRIC=VALUE such as ece=0.05, found `ece=x`"),
        ("--fail-above ece=nan", "expected METRIC=VALUE such as ece=0.05, found `ece=nan`"),
        ("--bins 0", "number of bins must be in 1..=1000000, found 0"),
        ("--ci 1", "confidence level must be in (0, 1), found 1"),
        ("--ci 0.9 --bootstrap 1", "number of replicates must be in 2..=1000000, found 1"),
    ] {
        fails(
            &place,
            &format!("evaluate ok.csv --scores logits {options} --report keep"),
            &[expected],
        );
    }
}

#[test]
fn errors_name_the_option_that_helps() {
    let place = place(&[
        ("sums.csv", "a,b,label\n0.6,0.5,0\n0.4,0.6,1\n"),
        ("zero.csv", "a,b,label\n0,1,0\n0.4,0.6,1\n0.5,0.5,0\n0.3,0.7,1\n"),
    ]);
    let probs = "--scores probs";
    for command in ["evaluate sums.csv", "apply sums.csv --calibrator two.json --out x.csv"] {
        let expected = ["row 0 sums to 1.1", "--renormalize divides each row by its sum"];
        fails(&place, &format!("{command} {probs}"), &expected);
    }
    let fit = format!("calibrate zero.csv {probs} --method temperature");
    fails(&place, &fit, &["row 0", "--clip 1e-6"]);
    run(&place, &format!("{fit} --clip 1e-6")).success();
    run(&place, "evaluate sums.csv --scores probs --renormalize").success();
    // Of a recipe these options are none.
    let recipe = run(&place, "evaluate ok.csv --scores probs").failure();
    assert!(!recipe.contains("--clip"), "{recipe}");
}

#[test]
fn what_confidences_have_no_use_for_is_refused() {
    let place = place(&[("top.csv", "true_label,pred_label,confidence\n0,0,0.9\n1,0,0.6\n")]);
    for option in
        ["--labels ok.csv", "--labels-key label", "--renormalize", "--clip 0.1", "--scores logits"]
    {
        let expected = [option.split(' ').next().unwrap(), "top.csv", "confidence, a probability"];
        fails(&place, &format!("evaluate top.csv {option}"), &expected);
        fails(&place, &format!("compare top.csv top.csv {option}"), &expected);
    }
    run(&place, "evaluate top.csv --scores probs").success();
}

#[test]
fn columns_have_commas_between_them() {
    for (separator, name) in [(';', "semicolons"), ('\t', "tabs")] {
        let text = "a,b,label\n0.5,0.5,0\n0.2,0.8,1\n".replace(',', &separator.to_string());
        let place = place(&[("columns.csv", &text)]);
        let expected = ["line 1", "columns with commas between them", name];
        fails(&place, "evaluate columns.csv --scores probs", &expected);
    }
}
