//! Errors stand at what is meant, say what would be right, and offer the nearest name.

use softlabel_train::{Recipe, RecipeError};

use crate::{FULL, edited};

fn error(text: &str) -> RecipeError {
    Recipe::parse("tiny.toml", text, &[]).unwrap_err()
}

/// Replaces `old` by `new`, which has guillemets around what the error must mark, and checks the mark, a part of the
/// message and the name that is offered.
fn check(old: &str, new: &str, message: &str, nearest: Option<&str>) {
    let marked = edited(FULL, old, new);
    let text = marked.replace(['«', '»'], "");
    let (before, rest) = marked.split_once('«').unwrap();
    let (meant, _) = rest.split_once('»').unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;

    let error = error(&text);
    let shown = error.to_string();
    assert_eq!((error.line(), error.column()), (Some(line), Some(column)), "{new}: {shown}");
    assert_eq!(error.nearest(), nearest, "{new}: {shown}");
    assert!(shown.contains(message), "{new}: {shown}");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with(&format!("tiny.toml:{line}:{column}: ")), "{shown}");
    assert_eq!(lines[2], format!("{line} | {}", text.lines().nth(line - 1).unwrap()));
    let marks = lines[3].chars().filter(|&c| c == '^').count();
    assert_eq!(marks, meant.chars().count(), "{new}: {shown}");
}

#[test]
fn a_misspelt_key_is_marked_and_the_right_one_offered() {
    let unknown = |old, new, right| check(old, new, "unknown field", Some(right));
    unknown("seed", "«sed»", "seed");
    unknown("[training]", "[«trainig»]", "training");
    unknown("epochs", "«epoch»", "epochs");
    unknown("epochs = 1", "epochs = 1\n«epoch» = 1", "epochs");
    unknown("batch_size", "«batchsize»", "batch_size");
    unknown("bins", "«bin»", "bins");
    unknown("dataset", "«datset»", "dataset");
    unknown("validation", "«validaton»", "validation");
    unknown("rate =", "«rat» =", "rate");
    unknown("{ kind = \"symmetric\",", "{ kind = \"symmetric\", «kin» = 1,", "kind");
    unknown("epsilon", "«epsilom»", "epsilon");
    unknown("loss.smoothing", "loss.«smothing»", "smoothing");
    unknown("hidden", "«hiden»", "hidden");
    unknown("calibrate", "«calibrat»", "calibrate");
    unknown("teacher =", "«techer» =", "teacher");
    unknown("at_least", "«at_last»", "at_least");
    unknown("calibration = \"temperature\"\n", "«calibratoin» = \"temperature\"\n", "calibration");
}

#[test]
fn a_misspelt_value_is_marked_and_the_right_one_offered() {
    let unknown = |old, new, right| check(old, new, "unknown variant", Some(right));
    unknown("\"symmetric\"", "\"«symetric»\"", "symmetric");
    unknown("\"mixture\"", "\"«mixtur»\"", "mixture");
    let unknown_method = |old, new, right| check(old, new, "unknown method", Some(right));
    unknown_method("\"temperature\", \"platt\"", "\"«temprature»\"", "temperature");
    unknown_method("\"temperature\", \"platt\"", "\"temperature\", \"«plat»\"", "platt");
    unknown("\"digits\"", "\"«mnits»\"", "mnist");
    unknown("\"sgd\"", "\"«adm»\"", "adam");
    unknown("\"constant\"", "\"«cosin»\"", "cosine");
    unknown("\"accuracy\"", "\"«acuracy»\"", "accuracy");
    unknown("\"one\"", "\"«on»\"", "one");
}

#[test]
fn nothing_is_offered_for_what_resembles_nothing() {
    check("epochs = 1", "epochs = 1\n«zzz» = 1", "unknown field `zzz`", None);
    check("\"digits\"", "\"«imagenet»\"", "expected one of `digits`, `mnist`, `cifar10`", None);
}

#[test]
fn a_missing_key_is_named_at_its_table() {
    check("[training]\nepochs = 1\n", "«[training]»\n", "missing field `epochs`", None);
    let hard = "[arms.hard]\nmodel = \"small\"\n";
    check(hard, "«[arms.hard]»\n", "missing field `model`", None);
    check("{ kind = \"symmetric\", rate = 0.2 }", "«{ rate = 0.2 }»", "missing field `kind`", None);
    check("{ dataset = \"digits\" }", "«{}»", "missing field `dataset`", None);
    let second = "[[checks]]\narm = \"hard\"\ncalibration = \"temperature\"\nmetric = \"nll\"\n";
    let without = "«[[checks]]»\narm = \"hard\"\ncalibration = \"temperature\"\n";
    check(second, without, "missing field `metric`", None);
    let whole = error(&edited(FULL, "name = \"tiny\"\n", "")).to_string();
    assert!(whole.starts_with("tiny.toml:1:1: missing field `name`"), "{whole}");
    assert!(error("").to_string().starts_with("tiny.toml:1:1: missing field `name`"));
}

#[test]
fn a_value_out_of_range_is_marked_and_the_range_given() {
    let range = |old, new: &str, message| check(old, new, message, None);
    range("epsilon = 0.1", "epsilon = «1.5»", "must be in [0, 1], found 1.5");
    range("epsilon = 0.1", "epsilon = «nan»", "must be in [0, 1], found NaN");
    range("rate = 0.2", "rate = «-0.1»", "must be in [0, 1], found -0.1");
    range("temperature = 2.0", "temperature = «0»", "must be in [0.01, 1000], found 0");
    range("temperature = 2.0", "temperature = «inf»", "must be finite, found inf");
    range("temperature = 2.0", "temperature = «1e-9»", "must be in [0.01, 1000], found 1e-9");
    range("temperature = 2.0", "temperature = «1001»", "must be in [0.01, 1000], found 1001");
    for bad in ["0", "-1", "nan", "inf"] {
        let new = format!("learning_rate = «{bad}»");
        range("learning_rate = 0.01", &new, "training.learning_rate: must be positive and finite");
    }
    range("epochs = 1", "epochs = «0»", "training.epochs: must be in 1..=1000000, found 0");
    range("epochs = 1", "epochs = «1000001»", "must be in 1..=1000000, found 1000001");
    range("epochs = 1", "epochs = «-1»", "`-1`, expected a whole number, 0 or more");
    range("batch_size = 64", "batch_size = «0»", "must be in 1..=1000000, found 0");
    range("repeats = 2", "repeats = «0»", "repeats: must be in 1..=1000, found 0");
    range("repeats = 2", "repeats = «1001»", "repeats: must be in 1..=1000, found 1001");
    range("seed = 3", "seed = «9223372036854775807»", "seed + repeats must be below 2^63");
    range("momentum = 0.5", "momentum = «1»", "training.momentum: must be in [0, 1), found 1");
    range("momentum = 0.5", "momentum = «-0.1»", "must be in [0, 1), found -0.1");
    range("weight_decay = 0.001", "weight_decay = «-1»", "must be finite and not negative");
    range("bins = 10", "bins = «0»", "evaluation.bins: must be in 1..=1000, found 0");
    range("bins = 10", "bins = «1001»", "must be in 1..=1000, found 1001");
    range("[8, 9]", "[8, «0»]", "models.small.hidden.1: a width must be in 1..=65536, found 0");
    range("[8, 9]", "[«65537», 9]", "must be in 1..=65536, found 65537");
    range("[2]", "[«0»]", "models.small.convolutions.0: a width must be in 1..=65536");
    let weight = "must be in [0, 1000000]";
    range("soft_weight = 0.9", "soft_weight = «-1»", weight);
    range("hard_weight = 0.1", "hard_weight = «-0.1»", weight);
    range("hard_weight = 0.1", "hard_weight = «nan»", "must be finite, found NaN");
    let both = "soft_weight = 0.9, hard_weight = 0.1";
    range(both, "soft_weight = «0», hard_weight = 0", "not both 0");
    range("at_most = 100.0", "at_most = «nan»", "checks.1.at_most: must be finite, found NaN");
    range("at_least = 0.0\nat_most", "at_least = «101»\nat_most", "must not be above `at_most`");
}

#[test]
fn split_shares_out_of_range_are_found_on_their_line() {
    for (shares, message) in [
        ("{ validation = 1.2, test = 0.25 }", "must be in [0, 1], found 1.2"),
        ("{ validation = 0.2, test = -0.25 }", "must be in [0, 1], found -0.25"),
        ("{ validation = 0.8, test = 0.25 }", "validation + test must be below 1, found 1.05"),
        ("{ validation = nan, test = 0.25 }", "must be in [0, 1], found NaN"),
        ("{ validation = 0, test = 0.25 }", "must be above 0, found 0: arm `hard` fits"),
    ] {
        let error = error(&edited(FULL, "{ validation = 0.2, test = 0.25 }", shares));
        assert_eq!(error.line(), Some(8), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_value_of_another_type_is_marked() {
    let other = |old, new, message| check(old, new, message, None);
    other("epochs = 1", "epochs = «1.5»", "floating point `1.5`, expected a whole number");
    other("epochs = 1", "epochs = «\"1\"»", "string \"1\", expected a whole number");
    other("epochs = 1", "epochs = «99999999999999999999»", "expected a whole number");
    other("learning_rate = 0.01", "learning_rate = «\"fast\"»", "expected a number");
    other("[8, 9]", "«8»", "integer `8`, expected a list");
    other("[8, 9]", "[8, «\"9\"»]", "expected a whole number");
    other("name = \"tiny\"", "name = «1»", "expected a string");
    other("{ epsilon = 0.1, convention = \"mixture\" }", "«0.1»", "expected a table");
}

#[test]
fn a_name_that_nothing_has_is_marked_and_the_nearest_offered() {
    check("model = \"small\"", "model = «\"smal\"»", "there is no model `smal`", Some("small"));
    let teacher = "there is no earlier arm `smothed`; expected one of: `hard`, `smoothed`";
    check("teacher = \"hard\"", "teacher = «\"smothed\"»", teacher, Some("smoothed"));
    let baseline = "there is no earlier arm `had`; expected one of: `hard`";
    check("compare_with = \"hard\"", "compare_with = «\"had\"»", baseline, Some("hard"));
    let second = "at_least = 0.0\n\n[[checks]]\narm = ";
    let arm = "checks.1.arm: there is no arm `studnt`";
    check(&format!("{second}\"hard\""), &format!("{second}«\"studnt\"»"), arm, Some("student"));
}

#[test]
fn nobody_is_taught_by_or_compared_with_a_later_arm_or_itself() {
    let later = |old, new| check(old, new, "there is no earlier arm", None);
    later("teacher = \"hard\"", "teacher = «\"student\"»");
    later("compare_with = \"hard\"", "compare_with = «\"student\"»");
    let first = "[arms.hard]\nmodel = \"small\"\n";
    let none = "there is no earlier arm `smoothed`; expected one of: there is none";
    check(first, &format!("{first}compare_with = «\"smoothed\"»\n"), none, None);
}

#[test]
fn calibrations_that_make_no_sense_are_marked() {
    let calibrate = "[\"temperature\", \"platt\"]";
    check(calibrate, "[«\"none\"»]", "`none` does not belong here", None);
    check(calibrate, "[\"platt\", «\"platt\"»]", "there is a map `platt` already", None);
    let teacher = "teacher_calibration = \"temperature\"";
    let unknown = "unknown method `plat`, expected one of `none`, ";
    check(teacher, "teacher_calibration = \"«plat»\"", unknown, Some("platt"));
    let named = "[{ method = \"beta\", name = «\"platt\"» }]";
    check(calibrate, named, "`platt` is the name of a method", None);
}

#[test]
fn smoothing_that_nothing_would_come_of_is_marked() {
    let old = "distill = { teacher = \"hard\", teacher_calibration = \"temperature\", \
               temperature = 2.0, soft_weight = 0.9, hard_weight = 0.1,";
    let smoothing = "loss.smoothing = «{ epsilon = 0.1, convention = \"mixture\" }»\n";
    let new = smoothing.to_owned() + &old.replace("hard_weight = 0.1", "hard_weight = 0");
    check(old, &new, "does nothing: distill.hard_weight is 0", None);
}

#[test]
fn what_is_of_a_cross_entropy_without_weight_is_marked() {
    let arm = "[arms.hard]\nmodel = \"small\"\n";
    for what in [
        "smoothing = «{ epsilon = 0.1, convention = \"mixture\" }»",
        "online_smoothing = «{ epsilon = 0.1 }»",
        "class_weights = «[1, 1, 1, 1, 1, 1, 1, 1, 1, 2]»",
        "mean_over = «\"samples\"»",
        "z_loss = «0.1»",
        "softcap = «30»",
        "logit_scale = «0.5»",
    ] {
        let loss = format!("loss = {{ weight = 0, terms = [{{ kind = \"brier\" }}], {what} }}\n");
        let message = "does nothing: it is of the cross-entropy, whose weight is 0";
        check(arm, &format!("{arm}{loss}"), message, None);
    }
}

#[test]
fn a_check_that_could_never_be_judged_is_refused() {
    let first = "arm = \"hard\"\nmetric = \"accuracy\"\n";
    check(
        first,
        "arm = \"hard\"\nmetric = «\"temperature\"»\n",
        "only a row with the method `temperature` as its `calibration` has a temperature",
        None,
    );
    let student = "arm = \"student\"\ncalibration = «\"platt\"»\nmetric = \"accuracy\"\n";
    check(first, student, "there is no row of arm `student` with calibration `platt`", None);
    let bounds = "[[checks]]\narm = \"hard\"\nmetric = \"accuracy\"\nat_least = 0.0\n";
    let none = "«[[checks]]»\narm = \"hard\"\nmetric = \"accuracy\"\n";
    check(bounds, none, "expected `at_least`, `at_most` or both", None);
}

#[test]
fn a_name_that_would_leave_the_run_folder_is_refused() {
    let long = "a".repeat(101);
    for bad in ["../x", "", "a/b", "a\\\\b", ".", "..", ".x", "-x", "a b", "ü", "a\\nb", &long] {
        let unusable = |old, new: &str| check(old, new, "must be 1 to 100 of letters", None);
        unusable("name = \"tiny\"", &format!("name = «\"{bad}\"»"));
        unusable("[arms.hard]", &format!("[arms.«\"{bad}\"»]"));
        unusable("[models.small]", &format!("[models.«\"{bad}\"»]"));
    }
    let absolute = edited(FULL, "\"tiny\"", "\"/x\"");
    assert!(Recipe::parse("tiny.toml", &absolute, &[]).is_err());
}

#[test]
fn names_with_dots_and_digits_are_fine() {
    let text = FULL.replace("[arms.hard]", "[arms.\"0.1-hard_\"]");
    let text = text.replace("\"hard\"", "\"0.1-hard_\"");
    let recipe = Recipe::parse("tiny.toml", &text, &[]).unwrap();
    assert_eq!(recipe.arms().next(), Some("0.1-hard_"));
}

#[test]
fn toml_that_is_none_is_marked() {
    let syntax = |old, new, message| check(old, new, message, None);
    syntax("seed = 3\n", "seed = 3\n«seed» = 4\n", "duplicate key");
    syntax("[arms.smoothed]", "[arms.«hard»]", "duplicate key");
    syntax("epsilon = 0.1,", "epsilon = 0.1, «epsilon» = 0.2,", "duplicate key");
    for (old, new, line) in
        [("[training]", "[training", 11), ("= 64", "=", 13), ("\"tiny\"", "\"tiny", 1)]
    {
        assert_eq!(error(&edited(FULL, old, new)).line(), Some(line));
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_not_move_the_place() {
    let windows = FULL.replace('\n', "\r\n");
    assert!(Recipe::parse("tiny.toml", &windows, &[]).is_ok());
    assert!(Recipe::parse("tiny.toml", &format!("\u{feff}{FULL}"), &[]).is_ok());
    let error = error(&edited(&windows, "epochs", "epoch"));
    assert_eq!((error.line(), error.column()), (Some(12), Some(1)));
}

#[test]
fn a_hostile_recipe_is_an_error_and_no_crash() {
    for text in ["a=".to_owned() + &"[".repeat(100_000), "[a".to_owned() + &".a".repeat(100_000)] {
        let shown = error(&text).to_string();
        assert!(shown.chars().count() < 1000, "{} characters", shown.chars().count());
    }
    let shown = error("x = \"\u{7f}\u{1b}[31m\"").to_string();
    assert!(!shown.contains(['\u{1b}', '\u{7f}']), "{shown:?}");
}
