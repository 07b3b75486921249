//! Tests of the public interface, by theme.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

mod dense;
mod formulas;
mod losses;
mod maps;
mod overrides;
mod places;
mod round_trip;
mod runs;
mod teachers;
mod voices;

use std::num::NonZeroUsize;
use std::path::Path;

use softlabel_results::{Existing, RunFolder};
use softlabel_train::{Event, Experiment, Outcome, Recipe, Result};
use tch::Device;

/// A recipe with everything that a recipe can have.
const FULL: &str = r#"name = "tiny"
description = "Everything that a recipe can have"
seed = 3
repeats = 2

[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
noise = { kind = "symmetric", rate = 0.2 }

[training]
epochs = 1
batch_size = 64
optimizer = "sgd"
learning_rate = 0.01
schedule = "constant"
weight_decay = 0.001
momentum = 0.5

[evaluation]
bins = 10

[models.small]
hidden = [8, 9]
convolutions = [2]

[arms.hard]
model = "small"
calibrate = ["temperature", "platt"]

[arms.smoothed]
model = "small"
loss.smoothing = { epsilon = 0.1, convention = "mixture" }
compare_with = "hard"

[arms.student]
model = "small"
distill = { teacher = "hard", teacher_calibration = "temperature", temperature = 2.0, soft_weight = 0.9, hard_weight = 0.1, scale = "one" }

[[checks]]
arm = "hard"
metric = "accuracy"
at_least = 0.0

[[checks]]
arm = "hard"
calibration = "temperature"
metric = "nll"
at_least = 0.0
at_most = 100.0
"#;

/// The text with one part of it, which it has, replaced.
fn edited(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "the recipe has no {old}");
    text.replacen(old, new, 1)
}

/// Runs a recipe in a folder of its own, on one thread, and hands over what the observer was told.
fn run(text: &str, folder: &Path) -> Result<(RunFolder, Outcome, Vec<Event>)> {
    let recipe = Recipe::parse("recipe.toml", text, &[])?;
    let experiment = Experiment::prepare(recipe, None, Device::Cpu)?;
    let run = RunFolder::create(folder.join("run"), Existing::Refuse)?;
    let mut events = Vec::new();
    let mut observer = |event: &Event| events.push(event.clone());
    let outcome = experiment.run(&run, NonZeroUsize::MIN, &mut observer)?;
    Ok((run, outcome, events))
}
