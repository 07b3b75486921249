//! `softlabel run`.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use softlabel_results::{Existing, Provenance, RunFolder, RunState};
use softlabel_tensor::LIBTORCH_VERSION;
use softlabel_train::{Experiment, Recipe};
use tch::Device;

use crate::Verdict;
use crate::arguments::Run;
use crate::output::{print, print_results};
use crate::progress::Progress;
use crate::report::{check_tables, fill_tables};

/// Where runs go that are not told where to go.
const RUNS: &str = "runs";

/// Runs an experiment, or says what it would do.
pub(crate) fn run(options: &Run, quiet: bool) -> Result<Verdict> {
    let overrides = overrides(options);
    let recipe = read_recipe(&options.recipe, &overrides)?;
    if options.print_config {
        print(&recipe.to_toml()?)?;
        return Ok(Verdict::Done);
    }
    let existing = if options.overwrite { Existing::Replace } else { Existing::Refuse };
    if let Some(out) = &options.out {
        RunFolder::open(out).check_vacant(existing)?;
    }
    if let Some(page) = &options.tables {
        check_tables(page, recipe.name())?;
    }
    let device = options.device.resolve()?;
    let data = options.data.as_deref().filter(|folder| !folder.as_os_str().is_empty());
    let experiment = Experiment::prepare(recipe, data, device)?;
    if options.dry_run {
        print(&plan(&experiment, device, options.out.as_deref()))?;
        return Ok(Verdict::Done);
    }
    let folder = match &options.out {
        Some(out) => RunFolder::create(out, existing)?,
        None => RunFolder::create_numbered(Path::new(RUNS), experiment.recipe().name())?,
    };
    tracing::info!(folder = %folder.root().display(), "run folder");
    let mut provenance = provenance(options, overrides, &experiment, device);
    folder.write_json(&folder.provenance(), &provenance)?;

    let started = Instant::now();
    let epochs = experiment.recipe().epochs();
    let mut progress = Progress::new(experiment.trainings(), epochs, quiet);
    let outcome = experiment.run(&folder, threads(options), &mut |event| progress.observe(event));
    progress.finish();
    provenance.seconds = started.elapsed().as_secs_f64();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            provenance.state = RunState::Failed;
            folder.write_json(&folder.provenance(), &provenance)?;
            return Err(error.into());
        }
    };
    (provenance.state, provenance.timings) = (RunState::Finished, outcome.timings);
    let html = softlabel_report::html(&outcome.summary, &provenance)?;
    folder.write(&folder.report(), html.as_bytes())?;
    folder.write_json(&folder.provenance(), &provenance)?;
    if let Some(page) = &options.tables {
        fill_tables(page, &outcome.summary, &provenance)?;
    }
    print_results(&folder, &outcome.summary, options.json)?;
    let passed = outcome.summary.checks.iter().all(|check| check.passed);
    Ok(if passed { Verdict::Done } else { Verdict::CheckFailed })
}

/// The keys to set: those that were typed, then those that flags stand for; the last one wins.
fn overrides(options: &Run) -> Vec<String> {
    let mut overrides = options.overrides.clone();
    if options.quick {
        overrides.extend(["repeats=1", "training.epochs=1", "checks=[]"].map(String::from));
    }
    overrides.extend(options.seed.map(|seed| format!("seed={seed}")));
    overrides
}

pub(crate) fn read_recipe(path: &Path, overrides: &[String]) -> Result<Recipe> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("reading the recipe {name}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&byte| byte == b'\n').count();
        anyhow!("{name}:{line}: the recipe is not UTF-8 text")
    })?;
    Ok(Recipe::parse(&name, &text, overrides)?)
}

/// What a run would do.
fn plan(experiment: &Experiment, device: Device, out: Option<&Path>) -> String {
    let recipe = experiment.recipe();
    let (data, sizes) = (experiment.data().pool(), experiment.sizes());
    let arms: Vec<&str> = recipe.arms().collect();
    let seeds = recipe.seeds();
    let out = out.map_or(format!("{RUNS}/{}-N", recipe.name()), |out| out.display().to_string());
    format!(
        "recipe     {}\n\
         data       {}: {} classes, {} train, {} validation, {} test\n\
         arms       {}\n\
         seeds      {}\n\
         trainings  {} of {} epochs\n\
         device     {}\n\
         folder     {out}\n",
        recipe.name(),
        data.name(),
        data.classes(),
        sizes.train,
        sizes.validation,
        sizes.test,
        arms.join(", "),
        seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        experiment.trainings(),
        recipe.epochs(),
        device_name(device),
    )
}

fn provenance(
    options: &Run,
    overrides: Vec<String>,
    experiment: &Experiment,
    device: Device,
) -> Provenance {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Provenance {
        schema: Provenance::SCHEMA.to_owned(),
        softlabel: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: LIBTORCH_VERSION.to_owned(),
        device: device_name(device),
        threads: threads(options).get(),
        state: RunState::Running,
        arguments: std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect(),
        recipe: options.recipe.display().to_string(),
        overrides,
        data_folder: options.data.as_ref().map(|folder| folder.display().to_string()),
        seeds: experiment.recipe().seeds(),
        dataset_fingerprint: experiment.fingerprint(),
        started_unix_seconds: since_1970.map_or(0, |time| time.as_secs()),
        seconds: 0.0,
        timings: Vec::new(),
    }
}

/// As many as asked for, else as many as the machine has.
fn threads(options: &Run) -> NonZeroUsize {
    available_threads(options.threads)
}

/// As many as asked for, else as many as the machine has.
pub(crate) fn available_threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        other => format!("{other:?}").to_lowercase(),
    }
}
