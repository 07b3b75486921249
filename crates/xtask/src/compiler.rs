//! The C++ compiler that builds tch's glue.
//!
//! Build scripts take `$CXX`, or else the program called `c++`; a machine with only `g++` or `clang++` needs the variable.

use std::env;
use std::process::Command;

use crate::trouble::Trouble;

/// A C++ compiler that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// What was called.
    pub(crate) command: String,
    /// The first line of its `--version`.
    pub(crate) version: String,
}

/// The compiler that build scripts will use.
pub(crate) fn find() -> Result<Compiler, Trouble> {
    find_with(env::var("CXX").ok().as_deref(), &version_line)
}

/// [`find`] with the environment and the trial run as arguments.
fn find_with(
    variable: Option<&str>,
    version: &dyn Fn(&str) -> Option<String>,
) -> Result<Compiler, Trouble> {
    let install = "install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; \
        macOS: xcode-select --install)";
    let found = |command: &str| {
        version(command).map(|version| Compiler { command: command.to_owned(), version })
    };
    if let Some(command) = variable.filter(|command| !command.trim().is_empty()) {
        return found(command).ok_or_else(|| {
            Trouble::new(
                format!("CXX={command} does not run"),
                "unset CXX, or let it name a C++ compiler",
            )
            .or(install)
        });
    }
    if let Some(compiler) = found("c++") {
        return Ok(compiler);
    }
    match ["g++", "clang++"].into_iter().find_map(found) {
        Some(other) => Err(Trouble::new(
            format!(
                "there is no program c++, which build scripts call, though there is {}",
                other.command
            ),
            format!("export CXX={}", other.command),
        )),
        None => Err(Trouble::new(
            "no C++ compiler: neither c++ nor g++ nor clang++ is on the PATH, and CXX is not set",
            install,
        )),
    }
}

/// The first line that `command --version` prints, if it runs.
fn version_line(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    first_line(Command::new(words.next()?).args(words).arg("--version"))
}

/// The first line that a program prints, if it runs and ends well.
pub(crate) fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|out| out.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variable: Option<&str>, present: &[&str]) -> Result<String, Trouble> {
        let version = |command: &str| present.contains(&command).then(|| "13.2".to_owned());
        find_with(variable, &version).map(|compiler| compiler.command)
    }

    #[test]
    fn the_variable_wins() {
        assert_eq!(check(Some("ccache g++"), &["c++", "ccache g++"]).unwrap(), "ccache g++");
        assert_eq!(check(Some(" "), &["c++"]).unwrap(), "c++");
        let trouble = check(Some("icc"), &["c++"]).unwrap_err();
        assert_eq!(trouble.what, "CXX=icc does not run");
    }

    #[test]
    fn another_name_than_the_default_needs_the_variable() {
        let trouble = check(None, &["clang++"]).unwrap_err();
        assert_eq!(trouble.cures, ["export CXX=clang++"]);
    }

    #[test]
    fn none_at_all_names_packages() {
        let trouble = check(None, &[]).unwrap_err();
        assert!(trouble.cures[0].contains("apt install g++"), "{trouble}");
    }
}
