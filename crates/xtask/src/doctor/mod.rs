//! `cargo xtask doctor`: what this machine has, and the cure for what it lacks.

mod libtorch;
pub(crate) mod machine;
mod tools;

use std::process::ExitCode;

use serde_json::json;

use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// Works, but not as one may expect.
    Warning,
    /// Does not work.
    Problem,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was found in one place.
#[derive(Debug)]
pub(crate) struct Finding {
    name: &'static str,
    status: Status,
    found: String,
    cures: Vec<String>,
}

impl Finding {
    /// All is well.
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), cures: Vec::new() }
    }

    /// It works, but not as one may expect.
    fn warning(name: &'static str, trouble: Trouble) -> Self {
        Self { name, status: Status::Warning, found: trouble.what, cures: trouble.cures }
    }

    /// It does not work.
    fn problem(name: &'static str, trouble: Trouble) -> Self {
        Self { status: Status::Problem, ..Self::warning(name, trouble) }
    }
}

/// Examines the machine and prints what it found; the status is 1 if there is a problem.
pub(crate) fn run(workspace: &Workspace, as_json: bool) -> ExitCode {
    let findings = examine(workspace);
    if as_json {
        println!("{}", to_json(&findings));
    } else {
        print!("{}", to_text(&findings));
    }
    let ill = findings.iter().any(|finding| finding.status == Status::Problem);
    ExitCode::from(u8::from(ill))
}

fn examine(workspace: &Workspace) -> Vec<Finding> {
    let libtorch = libtorch::Findings::new(workspace);
    let mut findings = vec![tools::rust(), tools::compiler(), tools::python(libtorch.is_linked())];
    findings.extend(libtorch.into_findings());
    findings.extend([
        machine::environment(),
        machine::processor(),
        machine::memory(),
        machine::cache(),
        machine::data(),
    ]);
    findings
}

/// One line per finding; cures on the lines below.
fn to_text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let word = finding.status.word();
        lines.push(format!("{word:<8} {:<13} {}", finding.name, finding.found));
        for (number, cure) in finding.cures.iter().enumerate() {
            let lead = if number == 0 { "cure:" } else { "or:" };
            lines.push(format!("{:<22} {lead} {cure}", ""));
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    lines.push(match (count(Status::Problem), count(Status::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (problems, warnings) => format!("problems: {problems}, warnings: {warnings}"),
    });
    lines.join("\n") + "\n"
}

/// The same as one JSON object; `cure` is null where none is needed.
fn to_json(findings: &[Finding]) -> serde_json::Value {
    let checks: Vec<_> = findings
        .iter()
        .map(|finding| {
            let cure = (!finding.cures.is_empty()).then(|| finding.cures.join("; or: "));
            json!({
                "name": finding.name,
                "status": finding.status.word(),
                "found": finding.found,
                "cure": cure,
            })
        })
        .collect();
    json!({ "schema": "softlabel.doctor/1", "checks": checks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> [Finding; 2] {
        let trouble = Trouble::new("none found", "install g++").or("set CXX");
        [Finding::ok("rust", "rustc 1.95.0"), Finding::problem("c++", trouble)]
    }

    #[test]
    fn cures_stand_below_their_finding() {
        assert_eq!(
            to_text(&example()),
            "ok       rust          rustc 1.95.0\n\
             problem  c++           none found\n\
             \x20                      cure: install g++\n\
             \x20                      or: set CXX\n\
             problems: 1, warnings: 0\n"
        );
    }

    #[test]
    fn the_json_form_says_the_same() {
        let value = to_json(&example());
        assert_eq!(value["schema"], "softlabel.doctor/1");
        assert_eq!(value["checks"][0]["status"], "ok");
        assert!(value["checks"][0]["cure"].is_null());
        assert_eq!(value["checks"][1]["cure"], "install g++; or: set CXX");
    }

    #[test]
    fn every_place_is_examined_once() {
        let findings = examine(&Workspace::locate().unwrap());
        let mut names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
        assert!(names.len() >= 10, "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), findings.len());
    }
}
