//! What the commands on saved predictions print: their help, their tables and their objects.

use std::fs;

use serde_json::Value;

use crate::{Place, TINY};

/// Overconfident scores of three classes with their labels, among which every class is.
fn place() -> Place {
    let place = Place::new(TINY);
    let (mut first, mut second) = ("a,b,c,label\n".to_owned(), "a,b,c,label\n".to_owned());
    for row in 0..60usize {
        let (top, label) = (row % 3, if row % 5 == 0 { (row + 1) % 3 } else { row % 3 });
        let logits = |high: f64| {
            let mut logits = [0.0, 0.5, 0.25 * (row % 4) as f64];
            logits[top] += high;
            format!("{},{},{},{label}\n", logits[0], logits[1], logits[2])
        };
        first += &logits(4.0);
        second += &logits(2.0);
    }
    fs::write(place.path("p.csv"), first).unwrap();
    fs::write(place.path("q.csv"), second).unwrap();
    place
}

/// An object with its numbers rounded: the last digits are the processor's.
fn rounded(text: &str) -> String {
    fn round(value: &mut Value) {
        match value {
            Value::Number(number) if number.is_f64() => {
                let rounded = number.as_f64().map(|x| (x * 1e6).round() / 1e6 + 0.0);
                *value = serde_json::json!(rounded);
            }
            Value::Array(values) => values.iter_mut().for_each(round),
            Value::Object(entries) => entries.values_mut().for_each(round),
            _ => {}
        }
    }
    let mut object: Value = serde_json::from_str(text).unwrap();
    round(&mut object);
    serde_json::to_string_pretty(&object).unwrap()
}

/// A text without the last digits of the numbers that have all of theirs.
fn shortened(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    let short = words.map(|word| match word.trim_end().parse::<f64>() {
        Ok(number) if word.len() > 12 => format!("{number:.9}{}", &word[word.trim_end().len()..]),
        _ => word.to_owned(),
    });
    short.collect()
}

#[test]
fn the_help_of_the_commands_on_predictions() {
    let place = place();
    for command in ["evaluate", "calibrate", "apply", "compare"] {
        let help = place.softlabel(&[command, "--help"]).success();
        insta::assert_snapshot!(format!("help_of_{command}"), help);
    }
}

#[test]
fn evaluate_prints() {
    let place = place();
    let evaluate = ["evaluate", "p.csv", "--scores", "logits"];
    let intervals = ["--ci", "0.9", "--bootstrap", "50", "--seed", "1"];
    let table = place.softlabel(&[&evaluate[..], &intervals].concat()).success();
    insta::assert_snapshot!(table);
    let object = place.softlabel(&[&evaluate[..], &intervals, &["--json"]].concat()).success();
    insta::assert_snapshot!(rounded(&object));
}

#[test]
fn calibrate_prints() {
    let place = place();
    let calibrate = ["calibrate", "p.csv", "--scores", "logits", "--split", "0.5"];
    let text = place.softlabel(&[&calibrate[..], &["--method", "temperature"]].concat()).success();
    insta::assert_snapshot!(shortened(&text));
    let methods = ["--method", "identity,temperature,vector", "--json"];
    let object = place.softlabel(&[&calibrate[..], &methods].concat()).success();
    insta::assert_snapshot!(rounded(&object));
}

#[test]
fn compare_prints() {
    let place = place();
    let compare = ["compare", "p.csv", "q.csv", "--scores", "logits", "--bootstrap", "50"];
    insta::assert_snapshot!(place.softlabel(&compare).success());
}
