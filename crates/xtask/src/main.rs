//! Chores of the workspace, started as `cargo xtask <command>`.
//!
//! | command  | what it does |
//! |----------|--------------|
//! | `setup`  | finds or fetches libtorch and links it as `.libtorch` |
//! | `doctor` | says what this machine has, and the cure for what it lacks |
//! | `demo`   | trains on the embedded digits and writes a report |
//! | `test`   | runs every check of the project |
//! | `bench`  | runs the benchmarks |
//!
//! It never links libtorch itself, so it builds on a bare machine in seconds.
//! Exit status: 0 all well, 1 a check or a program said no, 2 something could not be done.

mod checks;
mod chores;
mod compiler;
mod doctor;
mod libtorch;
mod peers;
mod progress;
mod trouble;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::checks::Selection;
use crate::libtorch::setup;
use crate::workspace::Workspace;

/// Chores of the softlabel workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or fetch libtorch and link it as .libtorch
    #[command(after_help = SETUP_HELP)]
    Setup {
        /// Also compare every file of a fetched libtorch with its recorded SHA-256
        #[arg(long)]
        verify: bool,
    },
    /// Say what this machine has, and the cure for what it lacks
    #[command(after_help = "Examples:\n  cargo xtask doctor\n  cargo xtask doctor --json\n\n\
        Exit status: 0 if all is well (warnings included), 1 if there is a problem.")]
    Doctor {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Set up, then train on the embedded digits and write a report
    #[command(after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo -- --quick\n\n\
        Arguments after -- go to `softlabel run`.")]
    Demo {
        /// Arguments for `softlabel run`
        #[arg(last = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Set up, then run every check of the project
    #[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --keep-going\n  \
        cargo xtask test --only clippy --only docs")]
    Test(Selection),
    /// Set up, then run the benchmarks
    #[command(after_help = BENCH_HELP)]
    Bench {
        /// Compare with PyTorch, eager and compiled, which is fetched if need be
        #[arg(long)]
        peers: bool,
        #[command(flatten)]
        extent: peers::Extent,
        /// Arguments for `cargo bench`
        #[arg(last = true, value_name = "ARGUMENTS", conflicts_with = "peers")]
        arguments: Vec<OsString>,
    },
}

const SETUP_HELP: &str = "\
libtorch is looked for in this order; the first that fits is linked:
  1. LIBTORCH in the environment: a folder with lib/ and include/
  2. the torch of python3, if LIBTORCH_USE_PYTORCH is set
  3. a torch of the right version that python3 happens to have
  4. what .libtorch already points to
  5. the cache: SOFTLABEL_CACHE, or softlabel/ in the user's cache folder
  6. a download of the CPU build with pip, into the cache (about 540 MB)

Examples:
  cargo xtask setup
  cargo xtask setup --verify
  LIBTORCH=/opt/libtorch cargo xtask setup
  SOFTLABEL_CACHE=/scratch/softlabel cargo xtask setup";

const BENCH_HELP: &str = "\
Without --peers the criterion benchmarks run; arguments after -- go to `cargo bench`.
With --peers softlabel and PyTorch take turns at the cases of benches/peers/cases.json.
PyTorch is installed into the cache once (a download of 560 MB, 1.4 GB on disk).
The result is a table, and target/bench/peers.json; benches/README.md says what is in them.

Examples:
  cargo xtask bench
  cargo xtask bench -- --bench cross_entropy
  cargo xtask bench --peers
  cargo xtask bench --peers --filter linear --rounds 5
  cargo xtask bench --peers --quick";

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Setup { verify } => {
            setup(&workspace, verify)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { json } => Ok(doctor::run(&workspace, json)),
        Command::Demo { arguments } => chores::demo(&workspace, &arguments),
        Command::Test(selection) => checks::run(&workspace, &selection),
        Command::Bench { peers: true, extent, .. } => {
            peers::run(&workspace, &extent)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench { arguments, .. } => chores::bench(&workspace, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Check;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_after_two_dashes_are_passed_on() {
        let cli = Cli::try_parse_from(["xtask", "demo", "--", "--quick", "-v"]).unwrap();
        let Command::Demo { arguments } = cli.command else {
            panic!("parsed {cli:?}");
        };
        assert_eq!(arguments, ["--quick", "-v"]);
    }

    #[test]
    fn checks_are_chosen_by_name() {
        let cli = Cli::try_parse_from(["xtask", "test", "--only", "clippy", "--only", "tidy"]);
        let Command::Test(selection) = cli.unwrap().command else {
            panic!("not a test command");
        };
        assert_eq!(selection.only, [Check::Clippy, Check::Tidy]);
        assert!(!selection.keep_going);
        let error = Cli::try_parse_from(["xtask", "test", "--only", "spelling"]).unwrap_err();
        assert!(error.to_string().contains("possible values"), "{error}");
    }

    #[test]
    fn the_extent_of_the_comparison_belongs_to_it() {
        let cli = Cli::try_parse_from(["xtask", "bench", "--peers", "--quick"]).unwrap();
        let Command::Bench { peers, extent, .. } = cli.command else {
            panic!("parsed {cli:?}");
        };
        assert!(peers && extent.quick && extent.filter.is_none());
        Cli::try_parse_from(["xtask", "bench", "--quick"]).unwrap_err();
        Cli::try_parse_from(["xtask", "bench", "--peers", "--rounds", "0"]).unwrap_err();
        Cli::try_parse_from(["xtask", "bench", "--peers", "--", "--bench", "x"]).unwrap_err();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|text| text.contains("Examples:")),
                "{} lacks examples",
                command.get_name()
            );
        }
    }
}
