//! The command line.

mod predictions;
#[cfg(feature = "torch")]
mod run;
#[cfg(feature = "torch")]
mod teach;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use predictions::{
    Apply, Bound, Calibrate, Choice, Compare, Evaluate, Reading, ScoreKind, WrittenKind,
};
#[cfg(feature = "torch")]
pub(crate) use run::Run;
#[cfg(feature = "torch")]
pub(crate) use teach::Teach;

/// Experiments on label smoothing, calibration and distillation.
///
/// Results go to stdout, progress and logs to stderr.
/// Exit status: 0 done, 1 a check said no, 2 an error.
#[derive(Debug, Parser)]
#[command(name = "softlabel", version, propagate_version = true)]
pub(crate) struct Arguments {
    /// No progress and no log lines but errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// More log lines; twice for still more. `SOFTLABEL_LOG` takes a filter such as `softlabel_train=debug`.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "torch")]
    Run(Run),
    #[cfg(feature = "torch")]
    Teach(Teach),
    Report(Report),
    Evaluate(Evaluate),
    Calibrate(Calibrate),
    Apply(Apply),
    Compare(Compare),
}

/// Print the results of a run folder again, and write its report.html anew.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Folder of a run.
    pub(crate) folder: PathBuf,

    /// Print the results as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,

    /// Fill the tables of the run into a Markdown page, between its lines `<!-- softlabel NAME results -->` and
    /// `<!-- /softlabel -->`; also `lessons`, `errors class=C` and `cost`, and arms after it, as `teacher_*`.
    #[arg(long, value_name = "FILE.md")]
    pub(crate) tables: Option<PathBuf>,

    /// Draw the features that arms with `save_features` kept, in the plane of three classes, into an SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) features: Option<PathBuf>,

    /// What the three classes are called in it [default: their numbers].
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', requires = "features")]
    pub(crate) class_names: Option<Vec<String>>,
}
