//! Commands that set up and then run one program of the workspace.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};

use crate::libtorch::setup;
use crate::workspace::Workspace;

/// Where the demo writes, relative to the workspace.
const DEMO_OUT: &str = "runs/demo";

/// Trains on the embedded digits and says where the report is.
pub(crate) fn demo(workspace: &Workspace, arguments: &[OsString]) -> Result<ExitCode> {
    setup(workspace, false)?;
    let mut command = workspace.cargo();
    command
        .args(["run", "--release", "--package", "softlabel-cli", "--"])
        .args(["run", "examples/recipes/digits.toml"])
        .args(demo_arguments(arguments));
    let status = run(&mut command)?;
    let out = out_folder(arguments).unwrap_or_else(|| PathBuf::from(DEMO_OUT));
    let report = workspace.root().join(out).join("report.html");
    if status.success() && report.is_file() {
        println!("\nThe report is {}", report.display());
        println!("Open it in a browser: {}", opening(&report));
    }
    Ok(exit_code(status))
}

/// Runs the benchmarks.
pub(crate) fn bench(workspace: &Workspace, arguments: &[OsString]) -> Result<ExitCode> {
    setup(workspace, false)?;
    let mut command = workspace.cargo();
    command.args(["bench", "--package", "softlabel-benches"]).args(arguments);
    Ok(exit_code(run(&mut command)?))
}

fn run(command: &mut Command) -> Result<ExitStatus> {
    command.status().context("cannot run cargo")
}

/// What follows the recipe: our folder, unless the user names another, and the user's arguments.
fn demo_arguments(arguments: &[OsString]) -> Vec<OsString> {
    let mut all = Vec::new();
    if out_folder(arguments).is_none() {
        all.extend(["--out", DEMO_OUT].map(OsString::from));
        if !arguments.iter().any(|argument| argument == "--overwrite") {
            all.push("--overwrite".into());
        }
    }
    all.extend_from_slice(arguments);
    all
}

/// The folder in `--out FOLDER` or `--out=FOLDER`.
fn out_folder(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().map(OsString::as_os_str);
    while let Some(argument) = arguments.next() {
        if argument == "--out" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(folder) = argument.to_str().and_then(|text| text.strip_prefix("--out=")) {
            return Some(PathBuf::from(folder));
        }
    }
    None
}

/// The command that opens a file in a browser.
fn opening(file: &Path) -> String {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quoted = file.as_os_str().to_string_lossy().replace('\'', r"'\''");
    format!("{opener} '{quoted}'")
}

/// The exit status of a program, passed on; one that was killed counts as 2.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(2))
}

/// How a command line reads.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name = |word: &OsStr| {
        let path = Path::new(word);
        let word =
            if path.file_stem() == Some(OsStr::new("cargo")) { OsStr::new("cargo") } else { word };
        word.to_string_lossy().into_owned()
    };
    words.map(name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_demo_has_its_own_folder_unless_told_otherwise() {
        let check = |given: &str, expected: &str| {
            assert_eq!(demo_arguments(&words(given)), words(expected), "{given}");
        };
        check("", "--out runs/demo --overwrite");
        check("--quick", "--out runs/demo --overwrite --quick");
        check("--overwrite", "--out runs/demo --overwrite");
        check("--out here", "--out here");
        check("--out=here --overwrite", "--out=here --overwrite");
    }

    #[cfg(unix)]
    #[test]
    fn the_exit_status_is_passed_on() {
        use std::os::unix::process::ExitStatusExt;
        let check = |raw, expected: u8| {
            let code = exit_code(ExitStatus::from_raw(raw));
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(expected)));
        };
        check(0, 0);
        check(101 << 8, 101);
        check(9, 2);
    }

    #[test]
    fn paths_with_blanks_are_quoted() {
        assert!(opening(Path::new("/a b/report.html")).ends_with(" '/a b/report.html'"));
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/toolchain/bin/cargo");
        command.args(["fmt", "--all"]);
        assert_eq!(shown(&command), "cargo fmt --all");
    }
}
