//! The `softlabel` program.

mod apply;
mod arguments;
mod calibrate;
mod compare;
mod evaluate;
mod evaluation;
mod output;
mod predictions;
#[cfg(feature = "torch")]
mod progress;
mod remedy;
mod report;
#[cfg(feature = "torch")]
mod run;
mod selection;
#[cfg(feature = "torch")]
mod teach;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Command};

/// How a command ended, if it ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Done.
    Done,
    /// Done, and a check said no.
    CheckFailed,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(&arguments);
    let result = match &arguments.command {
        #[cfg(feature = "torch")]
        Command::Run(options) => run::run(options, arguments.quiet),
        #[cfg(feature = "torch")]
        Command::Teach(options) => teach::teach(options, arguments.quiet),
        Command::Report(options) => report::report(options),
        Command::Evaluate(options) => evaluate::evaluate(options).map_err(remedy::named),
        Command::Calibrate(options) => calibrate::calibrate(options).map_err(remedy::named),
        Command::Apply(options) => apply::apply(options).map_err(remedy::named),
        Command::Compare(options) => compare::compare(options).map_err(remedy::named),
    };
    match result {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::CheckFailed) => ExitCode::from(1),
        Err(error) => {
            output::print_error(&error);
            ExitCode::from(2)
        }
    }
}

/// Log lines go to stderr; `SOFTLABEL_LOG` says which, else warnings, more with `-v`, errors only with `--quiet`.
fn log_to_stderr(arguments: &Arguments) {
    let level = match (arguments.quiet, arguments.verbose) {
        (true, _) => "error",
        // The commands say themselves how a fit ended.
        (false, 0) => "warn,softlabel_posthoc=error",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("SOFTLABEL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(console::colors_enabled_stderr())
        .with_target(false)
        .without_time()
        // Would panic where stderr is closed.
        .log_internal_errors(false)
        .init();
}
