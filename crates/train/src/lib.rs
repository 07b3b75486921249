//! Recipes, models and the training loop behind `softlabel run`.
//!
//! A [`Recipe`] says what to compare: *arms*, each a model, a loss, perhaps a teacher, and the calibration maps that
//! are fitted to its predictions. An [`Experiment`] runs it: every arm for every seed, on the same splits, from the
//! same initial weights, in the same order of batches, so that arms differ in what the recipe says and in nothing
//! else. What comes out goes to a [`RunFolder`](softlabel_results::RunFolder) and into a
//! [`Summary`](softlabel_results::Summary).
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use softlabel_results::{Calibration, Existing, RunFolder};
//! use softlabel_train::{Experiment, Recipe};
//!
//! let recipe = Recipe::parse("tiny.toml", r#"
//! name = "tiny"
//! [data]
//! source = { dataset = "digits" }
//! split = { validation = 0.2, test = 0.25 }
//! [training]
//! epochs = 8
//! batch_size = 64
//! learning_rate = 0.01
//! [models.small]
//! hidden = [32]
//! [arms.smoothed]
//! model = "small"
//! loss.smoothing = { epsilon = 0.1, convention = "mixture" }
//! calibrate = ["temperature"]
//! "#, &[])?;
//!
//! let folder = tempfile::tempdir()?;
//! let run = RunFolder::create(folder.path(), Existing::Refuse)?;
//! let experiment = Experiment::prepare(recipe, None, tch::Device::Cpu)?;
//! let outcome = experiment.run(&run, NonZeroUsize::MIN, &mut |_| {})?;
//!
//! let row = outcome.summary.row("smoothed", &Calibration::TEMPERATURE).unwrap();
//! assert!(row.metrics.accuracy.mean > 0.9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate draws nothing and prints nothing: progress goes to an observer as [`Event`]s.

mod calibration;
mod checkpoint;
mod class_bias;
mod error;
mod event;
mod experiment;
mod features;
mod imitation;
mod lesson;
mod maps;
mod mentors;
mod mixing;
mod model;
mod objective;
mod optimize;
mod recipe;
mod record;
mod samples;
mod shift;
mod table;
mod tally;
mod teach;
mod teachers;
mod teaching;
mod threads;
mod training;

pub use error::{Error, Result};
pub use event::{Event, Validation};
pub use experiment::{Experiment, Outcome};
pub use recipe::{Recipe, RecipeError};
pub use teach::{Taught, Teach, TeachWith};
