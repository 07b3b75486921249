//! Rust, the C++ compiler, Python.

use std::env;
use std::process::Command;

use super::Finding;
use crate::compiler::{self, first_line};
use crate::libtorch::{Version, python};
use crate::trouble::Trouble;

/// rustc and cargo against the version that the workspace needs.
pub(super) fn rust() -> Finding {
    let version = |variable: &str, name: &str| {
        let program = env::var_os(variable).unwrap_or_else(|| name.into());
        first_line(Command::new(program).arg("--version"))
    };
    let found = [version("RUSTC", "rustc"), version("CARGO", "cargo")];
    rust_finding(&found, env!("CARGO_PKG_RUST_VERSION"))
}

fn rust_finding(found: &[Option<String>; 2], needed: &str) -> Finding {
    let text: Vec<&str> = found.iter().flatten().map(String::as_str).collect();
    let text = format!("{} (needs {needed})", text.join(", "));
    let new_enough = |line: &Option<String>| {
        let version = line.as_deref()?.split_whitespace().nth(1)?;
        Some(Version::parse(version)? >= Version::parse(needed)?)
    };
    if found.iter().all(|line| new_enough(line) == Some(true)) {
        Finding::ok("rust", text)
    } else {
        Finding::problem("rust", Trouble::new(text, "rustup update stable"))
    }
}

/// The compiler of tch's glue.
pub(super) fn compiler() -> Finding {
    match compiler::find() {
        Ok(found) => Finding::ok("c++", format!("{}: {}", found.command, found.version)),
        Err(trouble) => Finding::problem("c++", trouble),
    }
}

/// Python and pip, which matter only as long as libtorch is not there.
pub(super) fn python(have_libtorch: bool) -> Finding {
    let version = python::version().unwrap_or_default();
    match python::pip() {
        Ok(pip) => {
            let pip = pip.split(" from ").next().unwrap_or_default();
            Finding::ok("python", format!("{version}, {pip}"))
        }
        Err(trouble) if have_libtorch => {
            Finding::ok("python", format!("{} (not needed: libtorch is here)", trouble.what))
        }
        Err(trouble) => Finding::problem("python", trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn an_old_or_missing_rust_is_a_problem() {
        let check = |rustc: Option<&str>, expected| {
            let line = |text: &str| Some(text.to_owned());
            let found = [rustc.and_then(line), line("cargo 1.95.0 (abc 2026-03-21)")];
            assert_eq!(rust_finding(&found, "1.89").status, expected, "{rustc:?}");
        };
        check(Some("rustc 1.89.0 (def 2025-08-04)"), Status::Ok);
        check(Some("rustc 1.97.0-nightly (def 2026-05-01)"), Status::Ok);
        check(Some("rustc 1.88.0 (def 2025-06-26)"), Status::Problem);
        check(None, Status::Problem);
    }
}
