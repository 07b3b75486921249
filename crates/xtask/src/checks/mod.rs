//! Every check of the project, in the order from quick to slow.

mod graph;
mod runs;
mod tidy;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::chores::shown;
use crate::libtorch::setup;
use crate::workspace::Workspace;

/// Which checks to run, and what to do when one fails.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Run this check alone; may be given several times
    #[arg(long, value_name = "CHECK")]
    pub(crate) only: Vec<Check>,
    /// Go on after a failure
    #[arg(long)]
    pub(crate) keep_going: bool,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// Code is formatted
    Fmt,
    /// Rules of the house that no tool knows
    Tidy,
    /// Crates that promise it build and pass without libtorch
    WithoutLibtorch,
    /// No warnings
    Clippy,
    /// Unit and integration tests
    Tests,
    /// Code in documentation
    Doctests,
    /// Documentation builds without warnings
    Docs,
    /// Every example, in its quick mode
    Examples,
    /// Every recipe, in its quick mode
    Recipes,
}

/// How a check ended, if it did not fail.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// All of it passed.
    Passed,
    /// It passed as far as it could run.
    PassedExcept(String),
    /// It could not run.
    Skipped(String),
}

/// A line of the closing summary.
#[derive(Debug)]
struct Line {
    check: Check,
    took: Duration,
    result: Result<Outcome>,
}

impl Line {
    fn row(&self) -> String {
        let (mark, note) = match &self.result {
            Ok(Outcome::Passed) => ("ok", String::new()),
            Ok(Outcome::PassedExcept(note)) => ("ok", note.clone()),
            Ok(Outcome::Skipped(reason)) => ("skipped", reason.clone()),
            Err(error) => ("FAILED", first_line(&format!("{error:#}"))),
        };
        let seconds = self.took.as_secs_f64();
        let row = format!("{mark:<8} {:<16} {seconds:>7.1} s  {note}", self.check.name());
        row.trim_end().to_owned()
    }
}

impl Check {
    /// Name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether a libtorch must be there.
    fn needs_libtorch(self) -> bool {
        !matches!(self, Self::Fmt | Self::Tidy | Self::WithoutLibtorch)
    }

    fn run(self, workspace: &Workspace) -> Result<Outcome> {
        let cargo = |arguments: &str| {
            let mut command = workspace.cargo();
            command.args(arguments.split_whitespace());
            command
        };
        match self {
            Self::Fmt => step(&mut cargo("fmt --all --check"))?,
            Self::Tidy => return tidy::run(workspace),
            Self::WithoutLibtorch => graph::run(workspace)?,
            Self::Clippy => step(&mut cargo("clippy --workspace --all-targets -- -D warnings"))?,
            // Not --all-targets, which would run the benchmarks.
            Self::Tests => step(&mut cargo("test --workspace --lib --bins --tests --examples"))?,
            Self::Doctests => step(&mut cargo("test --workspace --doc"))?,
            Self::Docs => {
                step(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
            }
            Self::Examples => return runs::examples(workspace),
            Self::Recipes => return runs::recipes(workspace),
        }
        Ok(Outcome::Passed)
    }
}

/// Runs the chosen checks and prints a summary; the status is 1 if any failed.
pub(crate) fn run(workspace: &Workspace, selection: &Selection) -> Result<ExitCode> {
    let chosen: Vec<Check> = Check::value_variants()
        .iter()
        .copied()
        .filter(|check| selection.only.is_empty() || selection.only.contains(check))
        .collect();
    if chosen.iter().any(|check| check.needs_libtorch()) {
        setup(workspace, false)?;
    }
    let mut lines = Vec::new();
    for check in &chosen {
        println!("\n=== {} ===", check.name());
        let start = Instant::now();
        let result = check.run(workspace);
        if let Err(error) = &result {
            eprintln!("{} failed: {error:#}", check.name());
        }
        let failed = result.is_err();
        lines.push(Line { check: *check, took: start.elapsed(), result });
        if failed && !selection.keep_going {
            break;
        }
    }
    print!("\n=== summary ===\n{}", summary(&lines, &chosen));
    let failed = lines.iter().any(|line| line.result.is_err());
    Ok(ExitCode::from(u8::from(failed)))
}

/// One line per check, those not reached included.
fn summary(lines: &[Line], chosen: &[Check]) -> String {
    let mut rows: Vec<String> = lines.iter().map(Line::row).collect();
    let not_run = &chosen[lines.len()..];
    rows.extend(not_run.iter().map(|check| format!("{:<8} {}", "not run", check.name())));
    rows.join("\n") + "\n"
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Shows a command, runs it, and fails if it does.
fn step(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_a_line_for_every_chosen_check() {
        let chosen = [Check::Fmt, Check::Recipes, Check::Clippy, Check::Docs];
        let line = |check, result| Line { check, took: Duration::from_millis(1500), result };
        let lines = [
            line(Check::Fmt, Ok(Outcome::Passed)),
            line(Check::Recipes, Ok(Outcome::Skipped("no data".to_owned()))),
            line(Check::Clippy, Err(anyhow::anyhow!("it ended badly\nreally"))),
        ];
        assert_eq!(
            summary(&lines, &chosen),
            "ok       fmt                  1.5 s\n\
             skipped  recipes              1.5 s  no data\n\
             FAILED   clippy               1.5 s  it ended badly\n\
             not run  docs\n"
        );
    }

    #[test]
    fn a_step_fails_with_its_command() {
        let error = step(Command::new("false").arg("--now")).unwrap_err();
        assert!(error.to_string().starts_with("`false --now` ended with"), "{error}");
        step(&mut Command::new("true")).unwrap();
        let error = step(&mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot run no-such-program");
    }

    #[test]
    fn only_the_checks_that_link_it_need_libtorch() {
        assert!(!Check::Tidy.needs_libtorch());
        assert!(Check::Doctests.needs_libtorch());
    }
}
