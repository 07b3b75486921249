//! The crates that work on slices promise to need no libtorch: not in their graph, not to build, not to test.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::step;
use crate::workspace::Workspace;

/// Packages that never pull in libtorch with default features.
const WITHOUT_LIBTORCH: [&str; 8] = [
    "softlabel-core",
    "softlabel-kernels",
    "softlabel-targets",
    "softlabel-metrics",
    "softlabel-posthoc",
    "softlabel-data",
    "softlabel-results",
    "softlabel-report",
];

/// The program, which needs libtorch to train alone: not with `NO_FEATURES`.
const PROGRAM: &str = "softlabel-cli";
const DEFAULT_FEATURES: &[&str] = &[];
const NO_FEATURES: &[&str] = &["--no-default-features"];

/// Packages that stand for libtorch.
const LIBTORCH: [&str; 2] = ["tch", "torch-sys"];

/// Looks at every graph, then tests all of them with a LIBTORCH that leads nowhere.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let graphs = WITHOUT_LIBTORCH.map(|package| (package, DEFAULT_FEATURES));
    for (package, features) in graphs.into_iter().chain([(PROGRAM, NO_FEATURES)]) {
        let tree = tree(workspace, package, features)?;
        if let Some(culprit) = libtorch_in(&tree) {
            let options = features.join(" ");
            bail!(
                "{package} {options} promises to need no libtorch, but depends on {culprit}; \
                 see how: cargo tree -p {package} {options} -e normal,build,dev -i {culprit}"
            );
        }
    }
    // The commands of the program on saved predictions are built and tested without, too; all at once, with the
    // dependencies as the other checks have them: the kernels take minutes to build.
    let packages = WITHOUT_LIBTORCH.iter().chain([&PROGRAM]).flat_map(|name| ["--package", name]);
    step(cargo_without_libtorch(workspace, "test").args(packages).args(NO_FEATURES))?;
    // By itself, as its users build it.
    let arguments = [&["--package", PROGRAM], NO_FEATURES].concat();
    step(cargo_without_libtorch(workspace, "check").args(arguments))?;
    // The facade can do without, and everything can be checked and documented without.
    for features in ["--no-default-features", "--features=doc-only"] {
        step(cargo_without_libtorch(workspace, "check").args([
            "--package",
            "softlabel",
            features,
        ]))?;
    }
    Ok(())
}

fn cargo_without_libtorch(workspace: &Workspace, command: &str) -> Command {
    let mut cargo = workspace.plain_cargo();
    cargo.arg(command).env("LIBTORCH", "/nowhere").env_remove("LIBTORCH_USE_PYTORCH");
    cargo
}

/// The packages that `package` depends on, tests and build scripts included, one a line.
fn tree(workspace: &Workspace, package: &str, features: &[&str]) -> Result<String> {
    let output = workspace
        .plain_cargo()
        .args(["tree", "--package", package])
        .args(features)
        .args(["--edges", "normal,build,dev", "--prefix", "none"])
        .output()
        .context("cannot run cargo tree")?;
    if !output.status.success() {
        bail!(
            "cargo tree of {package} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first package of a tree that stands for libtorch.
fn libtorch_in(tree: &str) -> Option<&'static str> {
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    LIBTORCH.into_iter().find(|name| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_found_by_its_whole_name() {
        let tree = "softlabel-core v0.1.0 (/w/crates/core)\nserde v1.0.0\nbatch v1.0.0 (*)\n";
        assert_eq!(libtorch_in(tree), None);
        assert_eq!(libtorch_in(&format!("{tree}tch v0.24.0\n")), Some("tch"));
        assert_eq!(libtorch_in(&format!("{tree}torch-sys v0.24.0 (*)\n")), Some("torch-sys"));
    }

    #[test]
    fn the_program_trains_with_libtorch_and_does_the_rest_without() {
        let workspace = Workspace::locate().unwrap();
        let found = |features| libtorch_in(&tree(&workspace, PROGRAM, features).unwrap());
        assert_eq!((found(DEFAULT_FEATURES), found(NO_FEATURES)), (Some("tch"), None));
    }

    #[test]
    fn the_tree_of_a_package_begins_with_it() {
        let workspace = Workspace::locate().unwrap();
        let tree = tree(&workspace, "softlabel-core", DEFAULT_FEATURES).unwrap();
        assert!(tree.starts_with("softlabel-core v"), "{tree}");
        let error = super::tree(&workspace, "softlabel-nothing", DEFAULT_FEATURES).unwrap_err();
        assert!(error.to_string().contains("softlabel-nothing"), "{error}");
    }
}
