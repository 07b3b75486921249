//! Runs every example and every recipe in its quick mode.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::{Outcome, step};
use crate::workspace::Workspace;

/// Runs each program in `examples`.
pub(super) fn examples(workspace: &Workspace) -> Result<Outcome> {
    let names = example_names(&workspace.root().join("examples"))?;
    if names.is_empty() {
        return Ok(Outcome::Skipped("examples holds none".to_owned()));
    }
    for name in names {
        step(workspace.cargo().args(["run", "--package", "softlabel-examples"]).args([
            "--example",
            &name,
            "--",
            "--quick",
        ]))?;
    }
    Ok(Outcome::Passed)
}

/// Runs each recipe in `examples/recipes` whose data are there, one after the other by name: a run may teach a later one.
pub(super) fn recipes(workspace: &Workspace) -> Result<Outcome> {
    let all = recipe_files(&workspace.root().join("examples/recipes"))?;
    if all.is_empty() {
        return Ok(Outcome::Skipped("examples/recipes holds none".to_owned()));
    }
    let data = env::var_os("SOFTLABEL_DATA").map(PathBuf::from);
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut skipped = Vec::new();
    for path in &all {
        let recipe = read(path)?;
        if !has_data(&recipe, data.as_deref()) {
            skipped.push(stem(path));
            continue;
        }
        step(
            workspace
                .cargo()
                .args(["run", "--package", "softlabel-cli", "--", "run"])
                .arg(Path::new("examples/recipes").join(file_name(path)))
                .args(["--quick", "--threads", "1", "--out"])
                .arg(folder.path().join(stem(path)))
                .args(taught_by_runs(&recipe, folder.path())),
        )?;
    }
    if skipped.is_empty() {
        return Ok(Outcome::Passed);
    }
    let note = format!("skipped, no such data in SOFTLABEL_DATA: {}", skipped.join(", "));
    println!("{note}");
    Ok(Outcome::PassedExcept(note))
}

fn read(path: &Path) -> Result<Table> {
    let cannot = || format!("cannot read {}", path.display());
    fs::read_to_string(path).with_context(cannot)?.parse().with_context(cannot)
}

/// Whether the data of a recipe are there: the digits and maps of them, which are part of the program, or a folder of
/// their name.
fn has_data(recipe: &Table, data: Option<&Path>) -> bool {
    let source = recipe.get("data").and_then(|data| data.get("source"));
    let dataset = source.and_then(|source| source.get("dataset")).and_then(Value::as_str);
    dataset.is_some_and(|dataset| {
        matches!(dataset, "digits" | "digit_maps")
            || data.is_some_and(|data| data.join(dataset).is_dir())
    })
}

/// Overrides for arms whose teachers are arms of another run: that of the recipe of its name, which was run before.
fn taught_by_runs(recipe: &Table, runs: &Path) -> Vec<String> {
    let arms = recipe.get("arms").and_then(Value::as_table).into_iter().flatten();
    let of_arm = |(name, arm): (&String, &Value)| {
        let run = arm.get("distill")?.get("teacher")?.get("run")?.as_str()?;
        let run = runs.join(Path::new(run).file_name()?).display().to_string();
        let key = format!("arms.{name}.distill.teacher.run");
        Some(["--set".to_owned(), format!("{key}={}", Value::String(run))])
    };
    arms.filter_map(of_arm).flatten().collect()
}

/// Names of examples: a file `NAME.rs`, or a folder `NAME` with a `main.rs`.
fn example_names(folder: &Path) -> Result<Vec<String>> {
    let is_example =
        |path: &Path| path.extension() == Some(OsStr::new("rs")) || path.join("main.rs").is_file();
    let paths = sorted(folder)?;
    Ok(paths.iter().filter(|path| is_example(path)).map(|path| stem(path)).collect())
}

fn recipe_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = sorted(folder)?;
    paths.retain(|path| path.extension() == Some(OsStr::new("toml")));
    Ok(paths)
}

/// What a folder holds, by name; a folder that is not there holds nothing.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let context = || format!("cannot list {}", folder.display());
    let mut paths = fs::read_dir(folder)
        .with_context(context)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(context)?;
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_files_and_folders_with_a_main() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("big")).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        for file in ["b.rs", "a.rs", "notes.md", "big/main.rs"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(example_names(folder.path()).unwrap(), ["a", "b", "big"]);
        let nowhere = folder.path().join("nowhere");
        assert!(example_names(&nowhere).unwrap().is_empty());
    }

    fn recipe(dataset: &str) -> Table {
        format!("name = \"any\"\n[data]\nsource = {{ dataset = {dataset:?} }}").parse().unwrap()
    }

    #[test]
    fn only_what_is_made_of_the_digits_needs_no_data() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("mnist")).unwrap();
        for (dataset, without, with) in [
            ("digits", true, true),
            ("digit_maps", true, true),
            ("mnist", false, true),
            ("cifar10", false, false),
        ] {
            assert_eq!(has_data(&recipe(dataset), None), without, "{dataset}");
            assert_eq!(has_data(&recipe(dataset), Some(data.path())), with, "{dataset}");
        }
        assert!(!has_data(&Table::new(), Some(data.path())));
    }

    #[test]
    fn teachers_of_another_run_are_looked_for_among_the_runs_of_the_check() {
        let text = "[arms.a]\nmodel = \"m\"\n[arms.b.distill]\n\
            teacher = { run = \"runs/large\", arm = \"a\" }\n[arms.c.distill]\nteacher = \"a\"\n";
        let overrides = taught_by_runs(&text.parse().unwrap(), Path::new("/tmp/x"));
        assert_eq!(overrides, ["--set", "arms.b.distill.teacher.run=\"/tmp/x/large\""]);
    }

    #[test]
    fn each_of_our_own_recipes_says_what_its_data_are() {
        let workspace = Workspace::locate().unwrap();
        let all = recipe_files(&workspace.root().join("examples/recipes")).unwrap();
        let everything = tempfile::tempdir().unwrap();
        for dataset in ["mnist", "cifar10"] {
            fs::create_dir(everything.path().join(dataset)).unwrap();
        }
        for path in all {
            assert!(has_data(&read(&path).unwrap(), Some(everything.path())), "{}", path.display());
        }
    }

    #[test]
    fn recipes_are_toml_files() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b.toml", "a.toml", "README.md"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let files = recipe_files(folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|path| file_name(path)).collect();
        assert_eq!(names, ["a.toml", "b.toml"]);
    }
}
