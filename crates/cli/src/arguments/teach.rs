//! The options of `softlabel teach`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use softlabel_data::logit_cache::Encoding;
use softlabel_tensor::DeviceChoice;

use super::run::{folder, threads};

/// Write what a teacher says of every sample to a logit cache, from which recipes can teach.
///
/// The teacher is an arm of the recipe, which is trained first, or a TorchScript file.
/// The cache is a folder of safetensors files and an index by sample id, with a fingerprint of the teacher and the data.
/// A cache that was begun is gone on with.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("teacher").required(true))]
#[command(after_help = "Examples:
  softlabel teach examples/recipes/digits.toml --arm hard --out caches/hard
  softlabel teach examples/recipes/mnist.toml --script teacher.pt --encoding f16 --out caches/teacher
  softlabel run examples/recipes/digits.toml --set 'arms.student_of_hard.distill.teacher={cache=\"caches/hard\"}'")]
pub(crate) struct Teach {
    /// Recipe file (TOML).
    pub(crate) recipe: PathBuf,

    /// Arm that teaches; it and its own teachers are trained for the first seed.
    #[arg(long, group = "teacher")]
    pub(crate) arm: Option<String>,

    /// TorchScript file that teaches, saved in evaluation mode; its pixels go from 0 to 1.
    #[arg(long, value_name = "FILE", group = "teacher")]
    pub(crate) script: Option<PathBuf>,

    /// Classes of the TorchScript file, if they are not as many as those of the data; students say what becomes of the
    /// others with `distill.classes`.
    #[arg(long, value_name = "K", requires = "script")]
    pub(crate) classes: Option<NonZeroUsize>,

    /// Folder of the cache.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// What is kept of the logits: f32, f16, or top-K, the K largest and the mass of the rest.
    #[arg(long, default_value = "f32", value_parser = encoding)]
    pub(crate) encoding: Encoding,

    /// Set a key of the recipe; the value as in the file, quotes optional around a single word.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,

    /// Seed.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..1 << 63))]
    pub(crate) seed: Option<u64>,

    /// Where to compute: auto, cpu or cuda:N. A device that is not there is an error.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,

    /// Threads to compute with [default: one a core].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Folder with data sets, each in a folder of its name: mnist, cifar10.
    #[arg(long, value_name = "DIR", env = "SOFTLABEL_DATA", value_parser = folder())]
    pub(crate) data: Option<PathBuf>,
}

fn encoding(text: &str) -> Result<Encoding, String> {
    match (text, text.strip_prefix("top-").map(str::parse)) {
        ("f32", _) => Ok(Encoding::F32),
        ("f16", _) => Ok(Encoding::F16),
        (_, Some(Ok(k))) if k > 0 => Ok(Encoding::TopK(k)),
        _ => Err("expected f32, f16 or top-K, as in top-8".to_owned()),
    }
}
