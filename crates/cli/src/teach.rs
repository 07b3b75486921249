//! `softlabel teach`.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use softlabel_train::{Experiment, Teach, TeachWith};

use crate::Verdict;
use crate::arguments;
use crate::output::print;
use crate::progress::Progress;
use crate::run::{available_threads, read_recipe};

/// Trains or loads a teacher and writes what it says.
pub(crate) fn teach(options: &arguments::Teach, quiet: bool) -> Result<Verdict> {
    let mut overrides = options.overrides.clone();
    overrides.extend(options.seed.map(|seed| format!("seed={seed}")));
    let recipe = read_recipe(&options.recipe, &overrides)?;
    let device = options.device.resolve()?;
    let data = options.data.as_deref().filter(|folder| !folder.as_os_str().is_empty());
    let experiment = Experiment::prepare(recipe, data, device)?;
    let with = match (&options.arm, &options.script) {
        (Some(arm), _) => TeachWith::Arm(arm.clone()),
        (None, Some(script)) => {
            let classes = options.classes.map(NonZeroUsize::get);
            TeachWith::Script { path: script.clone(), classes }
        }
        (None, None) => return Err(anyhow::anyhow!("name the teacher with --arm or --script")),
    };
    let teach = Teach { with, folder: options.out.clone(), encoding: options.encoding };
    let threads = available_threads(options.threads).get();
    tch::set_num_threads(i32::try_from(threads).context("too many threads")?);
    let mut progress = Progress::new(1, experiment.recipe().epochs(), quiet);
    let taught = experiment.teach(&teach, &mut |event| progress.observe(event));
    progress.finish();
    let taught = taught?;
    let fingerprint = taught.origin.fingerprint();
    print(&format!(
        "Cache        {}\n\
         samples      {} ({} there before)\n\
         kept mass    {:.4}\n\
         weights      {}\n\
         data         {}\n\
         fingerprint  {fingerprint}\n",
        options.out.display(),
        taught.samples,
        taught.before,
        taught.kept_mass,
        taught.origin.weights,
        taught.origin.data,
    ))?;
    Ok(Verdict::Done)
}
