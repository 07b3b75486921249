//! The folder itself: where each file lies, and how it is written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Provenance, Result, RunState, Summary};

/// What to do with a folder that holds something already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// An error.
    Refuse,
    /// Remove the run in it. A folder that holds anything but a run stays as it is, and that is an error.
    Replace,
}

/// A folder with the files of one run.
///
/// A folder that was created, not only opened, is held: nobody else can create a run in it meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    /// Locked for as long as the folder is held.
    _lock: Option<File>,
}

/// All that a run writes; nothing else is ever removed.
const FILES: [&str; 5] =
    ["recipe.toml", "run.json", "metrics.jsonl", "summary.json", "report.html"];
const FOLDERS: [&str; 2] = ["predictions", "calibrators"];

/// How files begin that are not complete yet.
const TEMPORARY: &str = ".softlabel-";

impl RunFolder {
    /// An existing folder, to read from.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), _lock: None }
    }

    /// Makes the folder, or takes an empty one.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::NotARun`], [`Error::InUse`] or [`Error::Io`]; nothing was removed then.
    pub fn create(root: impl Into<PathBuf>, existing: Existing) -> Result<Self> {
        let folder = Self::open(root);
        folder.check_vacant(existing)?;
        create_folder(&folder.root)?;
        let folder = folder.hold()?;
        // Somebody may have been here between the first look and the lock.
        folder.check_vacant(existing)?;
        if existing == Existing::Replace {
            folder.clear()?;
        }
        Ok(folder)
    }

    /// Locks the folder itself; the lock ends with the process, however it ends.
    fn hold(self) -> Result<Self> {
        let failed = |source| Error::Io { action: "locking", path: self.root.clone(), source };
        let folder = File::open(&self.root).map_err(failed)?;
        match folder.try_lock() {
            Ok(()) => Ok(Self { _lock: Some(folder), ..self }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: self.root }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Makes `PARENT/NAME-1`, or with the first number that is free.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made.
    pub fn create_numbered(parent: &Path, name: &str) -> Result<Self> {
        create_folder(parent)?;
        let mut number = 1_u64;
        loop {
            let root = parent.join(format!("{name}-{number}"));
            match fs::create_dir(&root) {
                Ok(()) => return Self::open(root).hold(),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(Error::Io { action: "creating", path: root, source }),
            }
        }
    }

    /// Whether a run may be put here, without touching anything.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn check_vacant(&self, existing: Existing) -> Result<()> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(Error::Io { action: "reading", path: self.root.clone(), source });
            }
        };
        if entries.count() == 0 {
            return Ok(());
        }
        match existing {
            Existing::Refuse => Err(Error::NotEmpty { path: self.root.clone() }),
            Existing::Replace if self.is_run() => Ok(()),
            Existing::Replace => Err(Error::NotARun { path: self.root.clone() }),
        }
    }

    /// Whether `run.json` is one of ours, of whatever version.
    fn is_run(&self) -> bool {
        let text = fs::read_to_string(self.provenance()).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        value["schema"].as_str().is_some_and(|schema| schema.starts_with("softlabel.run/"))
    }

    /// Removes what a run wrote; `run.json`, by which a run is known, goes last.
    fn clear(&self) -> Result<()> {
        let ignore_missing = |path: PathBuf, result: std::io::Result<()>| match result {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Io { action: "removing", path, source })
            }
            _ => Ok(()),
        };
        for name in FOLDERS {
            let path = self.root.join(name);
            let removed = fs::remove_dir_all(&path);
            ignore_missing(path, removed)?;
        }
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let left_by_a_kill = entries.map(|entry| entry.path()).filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
        });
        for path in left_by_a_kill {
            let removed = fs::remove_file(&path);
            ignore_missing(path, removed)?;
        }
        for name in FILES.iter().filter(|name| **name != "run.json").chain(&["run.json"]) {
            let path = self.root.join(name);
            let removed = fs::remove_file(&path);
            ignore_missing(path, removed)?;
        }
        Ok(())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `recipe.toml`, the recipe as it was run.
    pub fn recipe(&self) -> PathBuf {
        self.root.join("recipe.toml")
    }

    /// `run.json`, a [`Provenance`].
    pub fn provenance(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// `summary.json`, a [`Summary`].
    pub fn summary(&self) -> PathBuf {
        self.root.join("summary.json")
    }

    /// `report.html`.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// `predictions/ARM/seed-S/SPLIT.safetensors`.
    pub fn predictions(&self, arm: &str, seed: u64, split: &str) -> PathBuf {
        let folder = self.root.join("predictions").join(arm).join(format!("seed-{seed}"));
        folder.join(format!("{split}.safetensors"))
    }

    /// `calibrators/ARM/seed-S/METHOD.json`.
    pub fn calibrator(&self, arm: &str, seed: u64, method: &str) -> PathBuf {
        self.calibrators(arm, seed).join(format!("{method}.json"))
    }

    /// `calibrators/ARM/seed-S/teacher-N/METHOD.json`: a map fitted to what a teacher of the arm says, which is no arm
    /// of the run; of several teachers the one at position N.
    pub fn teacher_calibrator(
        &self,
        arm: &str,
        seed: u64,
        teacher: usize,
        method: &str,
    ) -> PathBuf {
        let folder = self.calibrators(arm, seed).join(format!("teacher-{teacher}"));
        folder.join(format!("{method}.json"))
    }

    fn calibrators(&self, arm: &str, seed: u64) -> PathBuf {
        self.root.join("calibrators").join(arm).join(format!("seed-{seed}"))
    }

    /// Reads `summary.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] or, for a file of another version, [`Error::Schema`];
    /// [`Error::Unfinished`] if there is none because the run did not end.
    pub fn read_summary(&self) -> Result<Summary> {
        let summary = read_versioned(&self.summary(), Summary::SCHEMA);
        match (&summary, self.read_provenance()) {
            (Err(Error::Io { .. }), Ok(Provenance { state: RunState::Running, .. })) => {
                Err(Error::Unfinished { path: self.root.clone() })
            }
            _ => summary,
        }
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] or, for a file of another version, [`Error::Schema`].
    pub fn read_provenance(&self) -> Result<Provenance> {
        read_versioned(&self.provenance(), Provenance::SCHEMA)
    }

    /// Writes a file of this folder: beside its place, then renamed. Folders on the way are made.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is then as it was before.
    pub fn write(&self, path: &Path, contents: &[u8]) -> Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        create_folder(parent)?;
        let failed = |source| Error::Io { action: "writing", path: path.to_owned(), source };
        let mut file = temporary_file(parent).map_err(failed)?;
        file.write_all(contents).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Malformed`] for a value that JSON cannot hold.
    pub fn write_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|source| Error::Malformed { path: path.to_owned(), source })?;
        text.push('\n');
        self.write(path, text.as_bytes())
    }

    /// Appends one line to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Malformed`] for a value that JSON cannot hold.
    pub fn append_metrics<T: Serialize>(&self, line: &T) -> Result<()> {
        let path = self.metrics();
        let mut text = serde_json::to_string(line)
            .map_err(|source| Error::Malformed { path: path.clone(), source })?;
        text.push('\n');
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| Error::Io { action: "writing", path: path.clone(), source })?;
        file.write_all(text.as_bytes()).map_err(|source| Error::Io {
            action: "writing",
            path,
            source,
        })
    }
}

fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::Io {
        action: "creating",
        path: path.to_owned(),
        source,
    })
}

/// Temporary files are private; results are as open as the user's other files.
fn temporary_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(TEMPORARY).tempfile_in(folder)
}

/// Reads the schema before the rest, so that a newer file is named as such.
fn read_versioned<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|source| Error::Io {
        action: "reading",
        path: path.to_owned(),
        source,
    })?;
    let malformed = |source| Error::Malformed { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
    let found = value.get("schema").and_then(serde_json::Value::as_str).unwrap_or("none");
    if found != expected {
        let found = found.to_owned();
        return Err(Error::Schema { path: path.to_owned(), expected, found });
    }
    serde_json::from_str(&text).map_err(malformed)
}
