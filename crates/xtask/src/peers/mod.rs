//! `cargo xtask bench --peers`: softlabel against PyTorch, on the same machine in turns.
//!
//! [`environment`] installs PyTorch, [`case`] says what is compared, [`worker`] talks to the two programs that do the work, and [`report`] puts their numbers together.
//!
//! Both programs live through all rounds and take turns case by case, so that a slow minute of the machine hits both and a function is compiled once.
//! Memory is measured by another pair, because that takes another allocator; see [`Freed`].

mod case;
mod environment;
mod report;
mod worker;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use self::case::Case;
use self::environment::Environment;
use self::report::{Report, Samples};
use self::worker::Worker;
use crate::chores::shown;
use crate::compiler::first_line;
use crate::doctor::machine::{features, meminfo};
use crate::libtorch::{setup, wanted};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// How long a side is timed in one round, in seconds.
const MIN_SECONDS: f64 = 0.5;
/// Load from which on the machine counts as busy with something else.
const BUSY: f64 = 0.5;

/// How much is compared.
#[derive(Debug, Args)]
pub(crate) struct Extent {
    /// Small shapes, one round, one run each: whether it works, not how fast it is
    #[arg(long, requires = "peers")]
    pub(crate) quick: bool,
    /// Only cases whose name, shape or dtype contains this
    #[arg(long, value_name = "TEXT", requires = "peers")]
    pub(crate) filter: Option<String>,
    /// Times that both sides take their turn
    #[arg(long, value_name = "COUNT", requires = "peers", default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
}

/// What becomes of memory that an operation frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freed {
    /// It is kept for the next run, up to the 32 MB a piece that glibc can keep.
    ///
    /// Left alone, glibc keeps such pieces or returns them depending on all that went before, and a returned one costs its page faults anew: tenfold times, by chance.
    Kept,
    /// It is returned at once, so that the next peak shows all that it takes.
    Returned,
}

impl Freed {
    /// Settings of glibc's allocator; others pass them over.
    fn settings(self) -> [(&'static str, &'static str); 2] {
        let (mmap, trim) = match self {
            Self::Kept => ("33554432", "17179869184"),
            Self::Returned => ("65536", "0"),
        };
        [("MALLOC_MMAP_THRESHOLD_", mmap), ("MALLOC_TRIM_THRESHOLD_", trim)]
    }
}

/// The two programs.
struct Pair {
    ours: Worker,
    peer: Worker,
}

impl Pair {
    /// Starts both.
    fn start(
        workspace: &Workspace,
        environment: &Environment,
        quick: bool,
        freed: Freed,
    ) -> Result<Self> {
        let threads = threads().to_string();
        let start = |mut command: Command| {
            Worker::start(command.envs(freed.settings()).env("OMP_NUM_THREADS", &threads))
        };
        let mut ours = workspace.cargo();
        ours.args(["run", "--quiet"]).args(program(quick));
        Ok(Self { ours: start(ours)?, peer: start(environment.python(workspace))? })
    }

    /// Puts one request to each and adds the answers to `samples`.
    fn ask(
        &mut self,
        case: &Case,
        measure: &str,
        threads: usize,
        quick: bool,
        samples: &mut Samples,
    ) -> Result<()> {
        let min_seconds = if quick { 0.0 } else { MIN_SECONDS };
        let request = json!({
            "case": case.value(), "measure": measure, "threads": threads, "min_seconds": min_seconds,
        });
        for worker in [&mut self.ours, &mut self.peer] {
            let numbers = worker.ask(&request).with_context(|| case.to_string())?;
            samples.add(measure, &numbers);
        }
        Ok(())
    }
}

/// Sets up, compares, prints and writes.
pub(crate) fn run(workspace: &Workspace, extent: &Extent) -> Result<()> {
    // Before anything of our own makes the machine busy.
    let load = load();
    setup(workspace, false)?;
    let cases = case::read(workspace, extent)?;
    let environment = environment::ready(workspace)?;
    let threads = threads();
    if let Some(load) = load.filter(|load| *load > BUSY) {
        eprintln!(
            "warning: other programs are busy (load {load}), which can make any number many times larger; \
             what to do: close them and run this again"
        );
    }
    let rounds = if extent.quick { 1 } else { extent.rounds };
    build(workspace, extent)?;
    let mut samples: Vec<Samples> = cases.iter().map(|_| Samples::default()).collect();

    let mut pair = Pair::start(workspace, &environment, extent.quick, Freed::Kept)?;
    let versions = versions(workspace, &pair)?;
    let mut measures: Vec<String> =
        (1..=rounds).map(|n| format!("round {n} of {rounds}")).collect();
    measures.push("errors".to_owned());
    for (number, what) in measures.iter().enumerate() {
        let measure = if number < usize::from(rounds) { "time" } else { "error" };
        for (case, samples) in cases.iter().zip(&mut samples) {
            eprintln!("{what}: {case}");
            pair.ask(case, measure, threads, extent.quick, samples)?;
        }
    }
    drop(pair);
    let mut pair = Pair::start(workspace, &environment, extent.quick, Freed::Returned)?;
    for (case, samples) in cases.iter().zip(&mut samples) {
        eprintln!("memory: {case}");
        pair.ask(case, "memory", threads, extent.quick, samples)?;
    }
    drop(pair);

    let rows = cases.iter().zip(&samples).flat_map(|(case, samples)| samples.rows(case)).collect();
    let settings = json!({
        "quick": extent.quick, "filter": extent.filter, "rounds": rounds,
        "min_seconds": if extent.quick { 0.0 } else { MIN_SECONDS },
    });
    let report = Report { machine: machine(load), versions, threads, settings, rows };
    print!("\n{}", report.table());
    let name = if extent.quick { "peers-quick.json" } else { "peers.json" };
    let folder = workspace.root().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(name);
    report.write(&path)?;
    println!("\nThe numbers are in {}", path.display());
    Ok(())
}

/// Threads of each side: as many as there are cores.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads wanted to run in the last minute, on average; none where Linux does not say.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// What follows `cargo run` or `cargo build`: quick runs take what tests have built.
fn program(quick: bool) -> Vec<&'static str> {
    let mut arguments = vec!["--package", "softlabel-benches", "--bin", "peers"];
    if !quick {
        arguments.push("--release");
    }
    arguments
}

fn build(workspace: &Workspace, extent: &Extent) -> Result<()> {
    let mut command = workspace.cargo();
    command.arg("build").args(program(extent.quick));
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(&command));
    }
    Ok(())
}

/// What was compared: our own versions, and those the programs say.
fn versions(workspace: &Workspace, pair: &Pair) -> Result<Value> {
    let tch = workspace.locked_tch()?;
    let mut versions = Map::new();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    versions.insert("rustc".to_owned(), json!(first_line(Command::new(rustc).arg("--version"))));
    versions.insert("tch".to_owned(), json!(tch.to_string()));
    versions.insert("libtorch".to_owned(), json!(wanted(tch)?.to_string()));
    versions.extend(pair.ours.versions().clone());
    versions.extend(pair.peer.versions().clone());
    Ok(Value::Object(versions))
}

/// The machine, as far as it tells.
fn machine(load: Option<f64>) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    json!({
        "cpu": processor_name(&read("/proc/cpuinfo")),
        "cores": threads(),
        "load_before": load,
        "features": features(),
        "memory_bytes": meminfo(&read("/proc/meminfo"), "MemTotal"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}

/// The name that Linux has for the processor.
fn processor_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

/// What is wrong with a comparison that compares nothing.
fn nothing_left(filter: &str) -> Trouble {
    Trouble::new(
        format!("no case has {filter:?} in its name, shape or dtype"),
        "choose one of benches/peers/cases.json, for example --filter linear",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name_or_none() {
        let text = "processor\t: 0\nmodel name\t: A: B @ 2 GHz\nmodel name\t: C\n";
        assert_eq!(processor_name(text), Some("A: B @ 2 GHz"));
        assert_eq!(processor_name("processor\t: 0\n"), None);
    }

    #[test]
    fn only_a_quick_run_goes_without_optimization() {
        assert!(program(false).contains(&"--release"));
        assert!(!program(true).contains(&"--release"));
    }
}
