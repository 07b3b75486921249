//! The workspace: where it is, which tch its lock file holds, and how its programs are started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::libtorch::Version;
use crate::trouble::Trouble;

/// The variable that names folders with shared libraries.
pub(crate) const LIBRARY_PATH: &str =
    if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// The workspace this program belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace from the place of this package.
    pub(crate) fn locate() -> Result<Self> {
        // The variable is there under `cargo run`; the constant serves a binary started by hand.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").is_file())
            .with_context(|| format!("no Cargo.lock in or above {}", package.display()))?;
        Ok(Self::at(root))
    }

    /// The workspace whose root is `root`.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder with the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The link to libtorch that `.cargo/config.toml` points every build to.
    pub(crate) fn link(&self) -> PathBuf {
        self.root.join(".libtorch")
    }

    /// The version of tch in the lock file.
    pub(crate) fn locked_tch(&self) -> Result<Version> {
        let path = self.root.join("Cargo.lock");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        tch_version(&text).ok_or_else(|| {
            Trouble::new(
                format!("{} holds no version of tch", path.display()),
                "restore Cargo.lock from the repository",
            )
            .into()
        })
    }

    /// `cargo` in the workspace root, with libtorch's folder on the library path.
    ///
    /// LIBTORCH is left as it is, so that a build from here and one started by hand see the same value and neither rebuilds what the other built.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.plain_cargo();
        command.env(LIBRARY_PATH, prepended(&self.link().join("lib"), env::var_os(LIBRARY_PATH)));
        command
    }

    /// `cargo` in the workspace root and nothing else.
    pub(crate) fn plain_cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }
}

/// A list of search folders with `folder` in front.
fn prepended(folder: &Path, rest: Option<OsString>) -> OsString {
    let mut list = folder.as_os_str().to_owned();
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        list.push(":");
        list.push(rest);
    }
    list
}

/// The version that follows `name = "tch"` in the text of a lock file.
fn tch_version(lock: &str) -> Option<Version> {
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"tch\"");
    lines.next()?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"').and_then(Version::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_tch() {
        let lock = "[[package]]\nname = \"tch-helper\"\nversion = \"9.0.0\"\n\n\
            [[package]]\nname = \"tch\"\nversion = \"0.24.0\"\nsource = \"…\"\n";
        assert_eq!(tch_version(lock), Version::parse("0.24.0"));
        assert_eq!(tch_version("[[package]]\nname = \"anyhow\"\n"), None);
        assert_eq!(tch_version(""), None);
    }

    #[test]
    fn our_own_lock_file_has_a_known_tch() {
        let tch = Workspace::locate().unwrap().locked_tch().unwrap();
        assert!(Version::wanted_by_tch(tch).is_some(), "tch {tch}");
    }

    #[test]
    fn the_library_path_keeps_what_was_there() {
        let folder = Path::new("/w/.libtorch/lib");
        assert_eq!(prepended(folder, Some("/a:/b".into())), "/w/.libtorch/lib:/a:/b");
        assert_eq!(prepended(folder, Some("".into())), "/w/.libtorch/lib");
        assert_eq!(prepended(folder, None), "/w/.libtorch/lib");
    }
}
