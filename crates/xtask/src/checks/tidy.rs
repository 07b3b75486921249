//! Rules of the house that no other tool knows.
//!
//! - Code that the compiler cannot vouch for stands in `crates/kernels` and `crates/tensor` only.
//! - Nothing is left unfinished or half debugged.
//! - Every dependency of the workspace, and every lint that is allowed, has its reason in a comment.
//! - No file is larger than a megabyte.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Outcome;
use crate::workspace::Workspace;

/// Largest file, in bytes.
const MAX_SIZE: u64 = 1_000_000;

/// Where code that the compiler cannot vouch for may stand.
const UNCHECKED_CODE: [&str; 2] = ["crates/kernels/", "crates/tensor/"];

/// Marks of unfinished work; put together so that this file holds none of them.
const UNFINISHED: [&str; 3] = [concat!("to", "do!"), concat!("d", "bg!"), concat!("FIX", "ME")];

/// Applies every rule to the files of the repository.
pub(super) fn run(workspace: &Workspace) -> Result<Outcome> {
    let Some(files) = files(workspace.root()) else {
        return Ok(Outcome::Skipped("not a git checkout".to_owned()));
    };
    let mut faults = Vec::new();
    for file in &files {
        let path = workspace.root().join(file);
        // A file may be deleted and not yet committed so.
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.len() > MAX_SIZE {
            faults.push(format!("{file}: {} bytes, over a megabyte", metadata.len()));
        }
        if metadata.is_file() && Path::new(file).extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| file.clone())?;
            faults.extend(code_faults(file, &text));
        }
    }
    let manifest = std::fs::read_to_string(workspace.root().join("Cargo.toml"))
        .context("cannot read Cargo.toml")?;
    faults.extend(manifest_faults(&manifest));
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        0 => Ok(Outcome::Passed),
        1 => bail!("a rule is broken: {}", faults[0]),
        count => bail!("{count} rules are broken"),
    }
}

/// Files of the repository, new ones included and ignored ones not; none outside of git.
fn files(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = String::from_utf8_lossy(&output.stdout);
    let names = names.split('\0').filter(|name| !name.is_empty());
    Some(names.map(str::to_owned).collect())
}

/// Broken rules in a Rust file.
fn code_faults(file: &str, text: &str) -> Vec<String> {
    let unchecked_allowed = UNCHECKED_CODE.iter().any(|folder| file.starts_with(folder));
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        if !unchecked_allowed && has_word(code, concat!("un", "safe")) {
            faults.push(format!(
                "{file}:{number}: only {} may opt out of the compiler's checks",
                UNCHECKED_CODE.join(" and ")
            ));
        }
        if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
            faults.push(format!("{file}:{number}: {mark} is left"));
        }
    }
    faults
}

/// Whether `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Dependencies and allowed lints without a comment in the workspace's Cargo.toml.
fn manifest_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut table = "";
    // Whether a comment, or lines that share one, stands directly above.
    let mut reason = false;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let key = line.split('=').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            table = line;
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if line.is_empty() {
            reason = false;
        } else if table == "[workspace.dependencies]" {
            if !line.contains("path =") && !reason && !line.contains(" # ") {
                faults.push(format!(
                    "Cargo.toml:{number}: why {key} is a dependency is not said above"
                ));
            }
            reason = false;
        } else if table.starts_with("[workspace.lints") {
            let allowed = line.ends_with("\"allow\"");
            if allowed && !reason {
                faults.push(format!("Cargo.toml:{number}: why {key} is allowed is not said above"));
            }
            // Allowed lints that follow one another share a reason.
            reason = reason && allowed;
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(faults: &[String], expected: &[&str]) {
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, start) in faults.iter().zip(expected) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }

    #[test]
    fn unchecked_code_has_its_crates() {
        let word = concat!("un", "safe");
        let text =
            format!("fn f() {{\n    {word} {{ g() }}\n}}\n#![deny({word}_code)] // {word}\n");
        check(&code_faults("crates/core/src/a.rs", &text), &["crates/core/src/a.rs:2:"]);
        check(&code_faults("crates/tensor/src/a.rs", &text), &[]);
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_comments() {
        let text = format!("{}()\n// {}\nlet done = 1;\n", UNFINISHED[0], UNFINISHED[2]);
        check(&code_faults("a.rs", &text), &["a.rs:1:", "a.rs:2:"]);
    }

    #[test]
    fn every_dependency_has_a_reason_of_its_own() {
        let text = "[workspace.dependencies]\n# Ours.\na = { path = \"a\" }\nb = { path = \"b\" }\n\
            # Errors.\nc = \"1\"\nd = \"1\"\ne = \"1\" # Zips.\n[other]\nf = \"1\"\n";
        check(&manifest_faults(text), &["Cargo.toml:7: why d is"]);
    }

    #[test]
    fn allowed_lints_may_share_a_reason() {
        let text = "[workspace.lints.clippy]\npanic = \"warn\"\n# Names.\na = \"allow\"\n\
            b = \"allow\"\nd = \"warn\"\nc = \"allow\"\n";
        check(&manifest_faults(text), &["Cargo.toml:7: why c is"]);
    }

    #[test]
    fn this_file_keeps_its_own_rules() {
        check(&code_faults("crates/xtask/src/checks/tidy.rs", include_str!("tidy.rs")), &[]);
    }

    #[test]
    fn outside_of_git_there_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(files(folder.path()), None);
    }
}
