//! What the program says of itself, and to what it does not understand.

use crate::{Place, TINY};

#[cfg(feature = "torch")]
#[test]
fn the_help_of_run() {
    let help = Place::new(TINY).softlabel(&["run", "--help"]).success();
    insta::assert_snapshot!(help, @r#"
    Run an experiment from a recipe: train every arm for every seed, calibrate, judge, report.

    Leaves a run folder: the recipe as run, run.json, metrics.jsonl, summary.json, report.html, and for
    every arm and seed the logits as safetensors and the fitted calibrators as JSON. Same recipe, same
    seed, same machine: same summary.json, byte for byte.

    Usage: softlabel run [OPTIONS] <RECIPE>

    Arguments:
      <RECIPE>
              Recipe file (TOML)

    Options:
      -q, --quiet
              No progress and no log lines but errors

          --set <KEY=VALUE>
              Set a key of the recipe; the value as in the file, quotes optional around a single word

          --seed <SEED>
              Seed of the first repeat

      -v, --verbose...
              More log lines; twice for still more. `SOFTLABEL_LOG` takes a filter such as
              `softlabel_train=debug`

          --device <DEVICE>
              Where to compute: auto, cpu or cuda:N. A device that is not there is an error
              
              [default: auto]

          --threads <N>
              Threads to compute with; seeds run side by side [default: one a core]

          --data <DIR>
              Folder with data sets, each in a folder of its name: mnist, cifar10
              
              [env: SOFTLABEL_DATA=]

          --out <DIR>
              Folder of the run [default: runs/NAME-N with the first free number]

          --overwrite
              Replace the run in --out, if there is one

          --quick
              One seed, one epoch, no checks: does everything work?

          --tables <FILE.md>
              Fill the tables of the run into a Markdown page, as `softlabel report --tables` does

          --json
              Print the results as one JSON object

          --print-config
              Print the recipe with overrides and defaults in it, and stop

          --dry-run
              Check recipe, data, device and folder, say what would be done, and stop

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Examples:
      softlabel run examples/recipes/digits.toml
      softlabel run examples/recipes/digits.toml --set data.noise.rate=0
      softlabel run examples/recipes/digits.toml --set 'arms.smoothed.loss.smoothing={epsilon=0.2,
      convention="mixture"}'
      SOFTLABEL_DATA=~/data softlabel run examples/recipes/mnist.toml --out runs/mnist

    A flag wins over --set, --set over the file, the file over defaults.
    "#);
}

#[test]
fn help_and_version_go_to_stdout() {
    let place = Place::new(TINY);
    let help = place.softlabel(&["--help"]).success();
    assert!(help.contains("Usage: softlabel [OPTIONS] <COMMAND>"), "{help}");
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Exit status: 0 done, 1 a check said no, 2 an error."), "{help}");
    let version = format!("softlabel {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.softlabel(&["--version"]).success(), version);
    assert!(place.softlabel(&["report", "--help"]).success().contains("<FOLDER>"));
}

#[test]
fn without_arguments_the_usage_is_an_error() {
    let said = Place::new(TINY).softlabel(&[]).failure();
    assert!(said.contains("Usage: softlabel [OPTIONS] <COMMAND>"), "{said}");
}

/// Arguments that are refused, and a part of what is said to them.
#[cfg(feature = "torch")]
fn check(arguments: &[&str], expected: &str) {
    let place = Place::new(TINY);
    let said = place.run(arguments).failure();
    assert!(said.contains(expected), "{arguments:?}: {said}");
    assert_eq!(place.names("."), ["recipe.toml"]);
}

#[cfg(feature = "torch")]
#[test]
fn arguments_that_are_not_understood_are_usage_errors() {
    check(&["--device", "gpu"], "none of auto, cpu, cuda:N");
    check(&["--seed=18446744073709551615"], "is not in 0..9223372036854775808");
    check(&["--overwrite"], "--out <DIR>");
    check(&["--print-config", "--dry-run"], "cannot be used with");
    check(&["--epochs", "3"], "unexpected argument '--epochs'");
}

#[cfg(feature = "torch")]
#[test]
fn a_number_of_threads_that_no_machine_has_is_refused() {
    let place = Place::new(TINY);
    for threads in ["0", "1025"] {
        let argument = format!("--threads={threads}");
        let said = place.softlabel(&["run", "recipe.toml", &argument]).failure();
        assert!(said.contains("expected a number in 1..=1024"), "{said}");
    }
}

#[cfg(feature = "torch")]
#[test]
fn a_device_that_is_not_there_is_an_error() {
    check(&["--device", "cuda:1000"], "device cuda:1000 was asked for, but");
}
