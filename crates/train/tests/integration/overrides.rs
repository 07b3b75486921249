//! Overrides change what the file says, and an error names the one that is to blame.

use softlabel_train::{Recipe, RecipeError};

use crate::FULL;

fn with(overrides: &[&str]) -> Result<Recipe, RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|&typed| typed.to_owned()).collect();
    Recipe::parse("tiny.toml", FULL, &overrides)
}

/// The overrides, and a line of the printed recipe that follows from them.
fn check(overrides: &[&str], line: &str) {
    let toml = with(overrides).unwrap().to_toml().unwrap();
    assert!(toml.lines().any(|found| found == line), "{overrides:?}: no {line} in\n{toml}");
}

/// The overrides, which of them is blamed, a part of the message, and the name that is offered.
fn check_error(overrides: &[&str], blamed: usize, message: &str, nearest: Option<&str>) {
    let error = with(overrides).unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with(&format!("--set {}: ", overrides[blamed])), "{shown}");
    assert!(shown.contains(message), "{shown}");
    assert_eq!((error.nearest(), error.line()), (nearest, None), "{shown}");
}

#[test]
fn every_kind_of_value_can_be_set() {
    check(&["training.epochs=7"], "epochs = 7");
    check(&["training.learning_rate=1e-3"], "learning_rate = 0.001");
    check(&["training.learning_rate=1"], "learning_rate = 1.0");
    check(&["training.optimizer=adamw"], "optimizer = \"adamw\"");
    check(&["training.optimizer=\"adamw\""], "optimizer = \"adamw\"");
    check(&["description=two words"], "description = \"two words\"");
    check(&["description=x=y"], "description = \"x=y\"");
    check(&["models.small.hidden=[]"], "hidden = []");
    check(&["data.noise={kind=\"pair_flip\",rate=0.5}"], "kind = \"pair_flip\"");
    check(&["arms.smoothed.loss.smoothing.epsilon=0.25"], "epsilon = 0.25");
    check(&["arms.\"smoothed\".loss.smoothing.epsilon=0.25"], "epsilon = 0.25");
    check(&[" training.epochs = 7 "], "epochs = 7");
    check(&["arms.new.model=small"], "[arms.new]");
    assert!(!with(&["checks=[]"]).unwrap().to_toml().unwrap().contains("checks"));
}

#[test]
fn the_last_of_the_same_key_wins() {
    check(&["training.epochs=0", "training.epochs=7"], "epochs = 7");
    check_error(&["training.epochs=7", "training.epochs=0"], 1, "found 0", None);
}

#[test]
fn two_that_need_each_other_work_in_either_order() {
    let (model, use_it) = ("models.other.hidden=[4]", "arms.hard.model=other");
    for both in [[model, use_it], [use_it, model]] {
        check(&both, "model = \"other\"");
    }
    check_error(&[use_it], 0, "there is no model `other`", None);
}

#[test]
fn the_one_to_blame_is_named() {
    let (missing, bad) = ("arms.hard.model=other", "training.epochs=0");
    check_error(&[missing, bad], 1, "training.epochs: must be in 1..=1000000, found 0", None);
    check_error(&[bad, missing], 0, "training.epochs: must be in 1..=1000000, found 0", None);
    let unneeded = "models.another.hidden=[4]";
    check_error(&[unneeded, missing], 1, "there is no model `other`", Some("another"));
    check_error(&[missing, unneeded], 0, "there is no model `other`", Some("another"));
    check_error(&["seed=1", "training.epoch=1", "repeats=1"], 1, "unknown field", Some("epochs"));
}

#[test]
fn a_misspelt_key_is_offered_the_nearest() {
    check_error(&["training.epoch=2"], 0, "unknown field `epoch`", Some("epochs"));
    check_error(&["trainin.epochs=2"], 0, "unknown field `trainin`", Some("training"));
    check_error(&["data.noise={kind=\"symmetric\",rte=1}"], 0, "unknown field", Some("rate"));
    let arm = "arms.smothed.loss.smoothing.epsilon=0.2";
    check_error(&[arm], 0, "there is no `smothed` in [arms]", Some("smoothed"));
    check_error(&["data.source.dataset=mnits"], 0, "unknown variant `mnits`", Some("mnist"));
}

#[test]
fn a_value_out_of_range_or_of_another_type_is_refused() {
    check_error(&["arms.smoothed.loss.smoothing.epsilon=1.5"], 0, "must be in [0, 1]", None);
    check_error(&["data.noise.rate=-1"], 0, "must be in [0, 1], found -1", None);
    check_error(&["data.split.validation=0.9"], 0, "validation + test must be below 1", None);
    check_error(&["training.epochs=many"], 0, "expected a whole number", None);
    check_error(&["arms.hard=3"], 0, "expected a table", None);
    check_error(&["seed=-1"], 0, "expected a whole number", None);
    check_error(&["name=../x"], 0, "must be 1 to 100 of letters", None);
    check_error(&["models={}"], 0, "models: expected at least one model", None);
    check_error(&["arms={}"], 0, "arms: expected at least one arm", None);
}

#[test]
fn what_is_no_override_is_refused() {
    check_error(&["training.epochs"], 0, "expected key=value, as in training.epochs=5", None);
    check_error(&[""], 0, "expected key=value", None);
    check_error(&["=1"], 0, "`` is no key", None);
    check_error(&["training..epochs=1"], 0, "`training..epochs` is no key", None);
    check_error(&["training.epochs="], 0, "`` is no value", None);
    check_error(&["models.small.hidden=[8"], 0, "`[8` is no value", None);
    check_error(&["training.epochs.x=1"], 0, "`training.epochs` is a value, not a table", None);
    check_error(&["checks.0.arm=hard"], 0, "`checks` is a value, not a table", None);
}

#[test]
fn a_line_break_smuggles_no_second_key_in() {
    let error = with(&["training.epochs=1\nseed = 9"]).unwrap_err().to_string();
    assert!(error.contains("is no value"), "{error}");
}

#[test]
fn an_error_of_the_file_is_not_blamed_on_an_override() {
    let broken = FULL.replace("epochs = 1", "epochs = 0");
    let error = Recipe::parse("tiny.toml", &broken, &["seed=1".to_owned()]).unwrap_err();
    assert_eq!(error.line(), Some(12), "{error}");
}
