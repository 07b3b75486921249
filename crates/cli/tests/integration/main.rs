//! Tests of the built program, by theme.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bad_input;
#[cfg(feature = "torch")]
mod data;
#[cfg(feature = "torch")]
mod folders;
mod help;
#[cfg(feature = "torch")]
mod numbers;
#[cfg(feature = "torch")]
mod output;
mod predictions;
mod printed;
#[cfg(feature = "torch")]
mod recipes;
#[cfg(feature = "torch")]
mod teach;

use std::fs;
#[cfg(feature = "torch")]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Small enough to train in no time.
const TINY: &str = r#"name = "tiny"
seed = 3

[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
noise = { kind = "symmetric", rate = 0.2 }

[training]
epochs = 1
batch_size = 64
learning_rate = 0.01

[models.small]
hidden = [8]

[arms.hard]
model = "small"
calibrate = ["temperature", "platt"]

[arms.smoothed]
model = "small"
loss.smoothing = { epsilon = 0.1, convention = "mixture" }
compare_with = "hard"
"#;

/// A demand on the numbers.
#[cfg(feature = "torch")]
fn check_of_accuracy(at_least: f64) -> String {
    format!("[[checks]]\narm = \"hard\"\nmetric = \"accuracy\"\nat_least = {at_least:?}\n")
}

/// A folder with a recipe, in which the program runs.
struct Place {
    folder: TempDir,
}

impl Place {
    /// A folder with a `recipe.toml`.
    fn new(recipe: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(place.path("recipe.toml"), recipe).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names of all that lies in a folder, or none if there is no such folder.
    #[cfg(feature = "torch")]
    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The program, not started: in this folder, and with nothing of the environment that it reads.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softlabel"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["SOFTLABEL_DATA", "SOFTLABEL_LOG", "CLICOLOR_FORCE", "COLUMNS"] {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1");
        command
    }

    /// What the program says to some arguments.
    fn softlabel(&self, arguments: &[&str]) -> Finished {
        Finished::new(&self.command(arguments).output().unwrap())
    }

    /// `softlabel run recipe.toml`, on one thread, and more arguments.
    #[cfg(feature = "torch")]
    fn run(&self, arguments: &[&str]) -> Finished {
        self.softlabel(&[&["run", "recipe.toml", "--threads", "1"], arguments].concat())
    }
}

/// How the program ended and what it said.
struct Finished {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Finished {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }

    /// It must have ended well; what it printed.
    fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// It must have ended in an error, with nothing on stdout; what it said.
    fn failure(self) -> String {
        assert_eq!((self.code, &*self.stdout), (Some(2), ""), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}

/// The data folder, if it has `name`; else says what is skipped.
fn data_with(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SOFTLABEL_DATA").map(PathBuf::from);
    let found = root.filter(|root| root.join(name).is_dir());
    if found.is_none() {
        eprintln!("skipped: there is no {name} in SOFTLABEL_DATA");
    }
    found
}

/// A recipe that comes with the project.
#[cfg(feature = "torch")]
fn example(name: &str) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recipes");
    fs::read_to_string(examples.join(name)).unwrap()
}
