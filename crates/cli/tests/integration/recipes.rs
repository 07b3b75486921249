//! Recipes that are wrong, overrides, and what is said without running anything.

use std::fs;

use crate::{Place, TINY, check_of_accuracy, data_with, example};

/// What is said to a recipe of which one part is replaced; nothing is written.
fn said_to(old: &str, new: &str) -> String {
    assert!(TINY.contains(old), "the recipe has no {old}");
    let place = Place::new(&TINY.replacen(old, new, 1));
    let said = place.run(&[]).failure();
    assert_eq!(place.names("."), ["recipe.toml"]);
    said
}

#[test]
fn a_misspelt_key_is_shown_in_its_line() {
    insta::assert_snapshot!(said_to("epochs", "epoch"), @"
    error: recipe.toml:10:1: unknown field `epoch`, expected one of `epochs`, `batch_size`, `optimizer`, `learning_rate`, `schedule`, `weight_decay`, `momentum`
       |
    10 | epoch = 1
       | ^^^^^
    did you mean `epochs`?
    ");
}

#[test]
fn a_misspelt_value_in_an_inline_table_is_shown_in_its_line() {
    insta::assert_snapshot!(said_to("symmetric", "symetric"), @r#"
    error: recipe.toml:7:19: unknown variant `symetric`, expected one of `symmetric`, `pair_flip`, `matrix`
      |
    7 | noise = { kind = "symetric", rate = 0.2 }
      |                   ^^^^^^^^
    did you mean `symmetric`?
    "#);
}

#[test]
fn a_value_out_of_range_is_shown_in_its_line() {
    insta::assert_snapshot!(said_to("epsilon = 0.1", "epsilon = 1.5"), @r#"
    error: recipe.toml:23:30: epsilon must be in [0, 1], found 1.5
       |
    23 | loss.smoothing = { epsilon = 1.5, convention = "mixture" }
       |                              ^^^
    "#);
}

#[test]
fn a_name_that_nothing_has_is_shown_in_its_line() {
    insta::assert_snapshot!(said_to("compare_with = \"hard\"", "compare_with = \"had\""), @r#"
    error: recipe.toml:24:16: arms.smoothed.compare_with: there is no earlier arm `had`; expected one of: `hard`
       |
    24 | compare_with = "had"
       |                ^^^^^
    did you mean `hard`?
    "#);
}

#[test]
fn no_name_leads_out_of_the_run_folder() {
    for (old, new) in [("\"tiny\"", "\"../x\""), ("arms.smoothed", "arms.\"../../x\"")] {
        let said = said_to(old, new);
        assert!(said.contains("must be 1 to 100 of letters"), "{said}");
    }
}

#[test]
fn a_recipe_that_cannot_be_read_is_named() {
    let place = Place::new(TINY);
    let said = place.softlabel(&["run", "absent.toml"]).failure();
    assert!(said.starts_with("error: reading the recipe absent.toml: "), "{said}");
    fs::create_dir(place.path("folder")).unwrap();
    let said = place.softlabel(&["run", "folder"]).failure();
    assert!(said.starts_with("error: reading the recipe folder: "), "{said}");
    let bytes = [TINY.as_bytes(), b"# \xff"].concat();
    fs::write(place.path("latin.toml"), bytes).unwrap();
    let said = place.softlabel(&["run", "latin.toml"]).failure();
    let line = TINY.lines().count() + 1;
    assert_eq!(said, format!("error: latin.toml:{line}: the recipe is not UTF-8 text\n"));
}

#[test]
fn an_override_that_is_wrong_is_named() {
    let place = Place::new(TINY);
    let said = place.run(&["--set", "seed=1", "--set", "training.epoch=2"]).failure();
    insta::assert_snapshot!(said, @"
    error: --set training.epoch=2: unknown field `epoch`, expected one of `epochs`, `batch_size`, `optimizer`, `learning_rate`, `schedule`, `weight_decay`, `momentum`
    did you mean `epochs`?
    ");
    assert_eq!(place.names("."), ["recipe.toml"]);
}

/// The printed recipe of some arguments.
fn printed(place: &Place, arguments: &[&str]) -> String {
    place.run(&[&["--print-config"], arguments].concat()).success()
}

#[test]
fn the_printed_recipe_prints_itself() {
    let place = Place::new(&(TINY.to_owned() + &check_of_accuracy(0.5)));
    let overrides = ["--set", "training.epochs=7", "--set", "description=two words"];
    let once = printed(&place, &overrides);
    assert!(once.contains("epochs = 7") && once.contains("momentum = 0.9"), "{once}");
    fs::write(place.path("recipe.toml"), &once).unwrap();
    assert_eq!(printed(&place, &[]), once);
    assert_eq!(place.names("."), ["recipe.toml"]);
}

#[test]
fn printing_a_recipe_needs_no_data() {
    for name in ["mnist", "cifar10"] {
        let printed = printed(&Place::new(&example(&format!("{name}.toml"))), &[]);
        assert!(printed.contains(&format!("dataset = \"{name}\"")), "{printed}");
    }
}

#[test]
fn flags_win_over_overrides_and_these_over_the_file() {
    let place = Place::new(TINY);
    let line = |arguments: &[&str], expected: &str| {
        let printed = printed(&place, arguments);
        assert!(printed.lines().any(|line| line == expected), "{arguments:?}: {printed}");
    };
    line(&["--set", "seed=4"], "seed = 4");
    line(&["--seed", "5", "--set", "seed=4"], "seed = 5");
    line(&["--quick", "--set", "training.epochs=9"], "epochs = 1");
}

#[test]
fn quick_makes_no_demands() {
    let place = Place::new(&(TINY.to_owned() + &check_of_accuracy(1.1)));
    assert!(!printed(&place, &["--quick"]).contains("checks"));
    let stdout = place.run(&["--quick", "--out", "run"]).success();
    assert!(!stdout.contains("Checks"), "{stdout}");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let place = Place::new(TINY);
    let arguments = ["--dry-run", "--device", "cpu", "--set", "repeats=2"];
    insta::assert_snapshot!(place.run(&arguments).success(), @"
    recipe     tiny
    data       digits: 10 classes, 989 train, 359 validation, 449 test
    arms       hard, smoothed
    seeds      3, 4
    trainings  4 of 1 epochs
    device     cpu
    folder     runs/tiny-N
    ");
    let stdout = place.run(&["--dry-run", "--device", "cpu", "--out", "there"]).success();
    assert!(stdout.ends_with("folder     there\n"), "{stdout}");
    assert_eq!(place.names("."), ["recipe.toml"]);
}

#[test]
fn a_dry_run_finds_what_a_run_would_find() {
    let place = Place::new(&TINY.replace("hidden = [8]", "convolutions = [1, 1, 1, 1]"));
    let said = place.run(&["--dry-run"]).failure();
    assert!(said.contains("4 convolutions halve images of 8×8 to nothing"), "{said}");
    let said = Place::new(TINY).run(&["--dry-run", "--out", "."]).failure();
    assert!(said.contains(". is not empty"), "{said}");
}

#[test]
fn a_model_that_no_arm_has_is_mentioned() {
    let place = Place::new(TINY);
    let finished = place.run(&["--dry-run", "--set", "models.smal.hidden=[4]"]);
    assert!(finished.stderr.contains("no arm has this model"), "{}", finished.stderr);
    assert!(finished.stderr.contains("smal"), "{}", finished.stderr);
    finished.success();
}

#[test]
fn the_recipe_in_the_folder_is_the_one_that_ran() {
    let place = Place::new(TINY);
    let arguments = ["--set", "training.batch_size=100", "--seed", "8"];
    place.run(&[&arguments[..], &["--out", "run"]].concat()).success();
    assert_eq!(place.read("run/recipe.toml"), printed(&place, &arguments));
}

#[test]
fn the_recipe_for_mnist_runs() {
    let Some(data) = data_with("mnist") else { return };
    let place = Place::new(&example("mnist.toml"));
    // A twentieth of the images: enough to see that it works.
    let arguments = ["--quick", "--set", "data.split.validation=0.95", "--out", "run", "--data"];
    let stdout = place.run(&[&arguments[..], &[data.to_str().unwrap()]].concat()).success();
    assert!(stdout.contains("smoothed"), "{stdout}");
    let summary: serde_json::Value = serde_json::from_str(&place.read("run/summary.json")).unwrap();
    assert_eq!(summary["dataset"]["samples"]["test"], 10_000);
    assert!(summary["rows"][0]["metrics"]["accuracy"]["mean"].as_f64().unwrap() > 0.5);
}

#[test]
fn the_recipe_for_cifar10_fits_its_data() {
    let Some(data) = data_with("cifar10") else { return };
    let place = Place::new(&example("cifar10.toml"));
    let mut command = place.command(&["run", "recipe.toml", "--dry-run"]);
    let output = command.env("SOFTLABEL_DATA", data).output().unwrap();
    let stdout = crate::Finished::new(&output).success();
    assert!(stdout.contains("10 classes") && stdout.contains("10000 test"), "{stdout}");
}
