//! What is compared, as softlabel and libtorch have it.
//!
//! A new operation is a module with an [`Operation`], a line in [`prepare`], and a function of the same name in
//! `peers.py`.

use anyhow::{Result, bail};

use crate::calibration::{self, Calibrations};
use crate::case::Case;
use crate::cross_entropy::CrossEntropies;
use crate::distillation::Distillations;
use crate::teacher_cache::TeacherCache;

/// Something to carry out, by several who can.
pub(crate) trait Operation {
    /// Everyone who is compared, softlabel first.
    fn sides(&self, threads: i32) -> Vec<Side>;

    /// Carries it out once.
    fn run(&self, side: &Side) -> Result<()>;

    /// How far what comes out is off; none where nobody knows.
    fn error(&self, side: &Side) -> Result<Option<f64>>;
}

/// Who carries an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    Libtorch,
    WarmCopy,
    FreshCopy,
    /// softlabel on the same logits, with labels smoothed uniformly.
    Uniform,
    /// The rows of probabilities read once.
    Reading,
}

/// One of those who are compared.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// As in the report.
    pub(crate) name: &'static str,
    /// Threads that it may use.
    pub(crate) threads: i32,
    /// Whether memory that softlabel kept for it may be used again.
    pub(crate) reuse: bool,
    pub(crate) who: Who,
}

impl Side {
    /// One that may use again what softlabel kept.
    pub(crate) fn new(name: &'static str, threads: i32, who: Who) -> Self {
        Side { name, threads, reuse: true, who }
    }
}

/// softlabel, libtorch on the same tensors, and where logits are what is read, copies of them.
pub(crate) fn sides(threads: i32, scaling: bool, copies: bool) -> Vec<Side> {
    let side = |name, who| Side::new(name, threads, who);
    let mut sides =
        vec![side("softlabel", Who::Ours), side("libtorch eager (same process)", Who::Libtorch)];
    if copies {
        sides.push(side("copy of the logits (warm)", Who::WarmCopy));
        sides.push(side("copy of the logits (fresh)", Who::FreshCopy));
        sides.push(Side { reuse: false, ..side("softlabel, fresh memory", Who::Ours) });
    }
    if scaling && threads > 1 {
        sides.push(Side { threads: 1, ..side("softlabel, 1 thread", Who::Ours) });
    }
    sides
}

/// An operation on tensors drawn with a fixed seed.
pub(crate) fn prepare(case: &Case) -> Result<Box<dyn Operation>> {
    tch::manual_seed(0);
    Ok(match case.operation.as_str() {
        "hard" | "soft" | "vector" | "matrix" | "linear" => Box::new(CrossEntropies::new(case)?),
        "distill" => Box::new(Distillations::new(case)?),
        "teacher_cache" => Box::new(TeacherCache::new(case)?),
        name if calibration::NAMES.contains(&name) => Box::new(Calibrations::new(case)?),
        other => bail!("there is no operation {other}"),
    })
}
