//! Runs every example and every recipe in its quick mode.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

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

/// Runs each recipe in `examples/recipes` whose data are there.
pub(super) fn recipes(workspace: &Workspace) -> Result<Outcome> {
    let all = recipe_files(&workspace.root().join("examples/recipes"))?;
    if all.is_empty() {
        return Ok(Outcome::Skipped("examples/recipes holds none".to_owned()));
    }
    let data = env::var_os("SOFTLABEL_DATA").map(PathBuf::from);
    let (run, skipped): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|recipe| has_data(recipe, data.as_deref()));
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    for recipe in &run {
        step(
            workspace
                .cargo()
                .args(["run", "--package", "softlabel-cli", "--", "run"])
                .arg(Path::new("examples/recipes").join(file_name(recipe)))
                .args(["--quick", "--threads", "1", "--out"])
                .arg(folder.path().join(stem(recipe))),
        )?;
    }
    if skipped.is_empty() {
        return Ok(Outcome::Passed);
    }
    let names: Vec<String> = skipped.iter().map(|recipe| stem(recipe)).collect();
    let note = format!("skipped, no such folder in SOFTLABEL_DATA: {}", names.join(", "));
    println!("{note}");
    Ok(Outcome::PassedExcept(note))
}

/// Whether the data of a recipe are there: the digits, which are part of the program, or a folder of its name.
fn has_data(recipe: &Path, data: Option<&Path>) -> bool {
    let stem = stem(recipe);
    stem.split('-').any(|word| word == "digits")
        || data.is_some_and(|data| data.join(stem).is_dir())
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

    #[test]
    fn only_the_digits_need_no_data() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("mnist")).unwrap();
        for (recipe, without, with) in [
            ("digits.toml", true, true),
            ("distill-digits.toml", true, true),
            ("mnist.toml", false, true),
            ("cifar10.toml", false, false),
        ] {
            assert_eq!(has_data(Path::new(recipe), None), without, "{recipe}");
            assert_eq!(has_data(Path::new(recipe), Some(data.path())), with, "{recipe}");
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
