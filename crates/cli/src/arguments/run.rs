//! The options of `softlabel run`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use softlabel_tensor::DeviceChoice;

/// Run an experiment from a recipe: train every arm for every seed, calibrate, judge, report.
///
/// Leaves a run folder: the recipe as run, run.json, metrics.jsonl, summary.json, report.html, and for every arm
/// and seed the logits as safetensors and the fitted calibrators as JSON.
/// Same recipe, same seed, same machine: same summary.json, byte for byte.
#[allow(clippy::struct_excessive_bools)] // Flags of a command line are booleans.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  softlabel run examples/recipes/digits.toml
  softlabel run examples/recipes/digits.toml --set data.noise.rate=0
  softlabel run examples/recipes/digits.toml --set 'arms.smoothed.loss.smoothing={epsilon=0.2, convention=\"mixture\"}'
  SOFTLABEL_DATA=~/data softlabel run examples/recipes/mnist.toml --out runs/mnist

A flag wins over --set, --set over the file, the file over defaults.")]
pub(crate) struct Run {
    /// Recipe file (TOML).
    pub(crate) recipe: PathBuf,

    /// Set a key of the recipe; the value as in the file, quotes optional around a single word.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,

    /// Seed of the first repeat.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..1 << 63))]
    pub(crate) seed: Option<u64>,

    /// Where to compute: auto, cpu or cuda:N. A device that is not there is an error.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,

    /// Threads to compute with; seeds run side by side [default: one a core].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Folder with data sets, each in a folder of its name: mnist, cifar10.
    #[arg(long, value_name = "DIR", env = "SOFTLABEL_DATA", value_parser = folder())]
    pub(crate) data: Option<PathBuf>,

    /// Folder of the run [default: runs/NAME-N with the first free number].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the run in --out, if there is one.
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,

    /// One seed, one epoch, no checks: does everything work?
    #[arg(long)]
    pub(crate) quick: bool,

    /// Fill the tables of the run into a Markdown page, as `softlabel report --tables` does.
    #[arg(long, value_name = "FILE.md")]
    pub(crate) tables: Option<PathBuf>,

    /// Print the results as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the recipe with overrides and defaults in it, and stop.
    #[arg(long)]
    pub(crate) print_config: bool,

    /// Check recipe, data, device and folder, say what would be done, and stop.
    #[arg(long, conflicts_with = "print_config")]
    #[allow(clippy::struct_field_names)] // Named as the flag.
    pub(crate) dry_run: bool,
}

/// More than any machine has cores for would only wait for each other.
pub(super) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= 1024);
    threads.ok_or_else(|| "expected a number in 1..=1024".to_owned())
}

/// Any path; an environment variable that is set to nothing is an empty one.
pub(super) fn folder() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
