//! The cache folder, shared by every clone of the workspace.
//!
//! | path | what |
//! |------|------|
//! | `libtorch-2.11.0-linux-x86_64/` | a whole libtorch: it gets this name only when it is complete |
//! | `peers-py3.12-0123456789ab/` | PyTorch for the benchmarks, complete likewise |
//! | `downloads/` | wheels, until they are unpacked |
//! | `.partial-*` | work in progress; what a killed set-up left is removed by the next |
//! | `lock` | held by the set-up that changes anything here |

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::platform::Platform;
use crate::progress::megabytes;
use crate::trouble::Trouble;

/// Start of the names of unfinished folders.
const PARTIAL: &str = ".partial-";

/// Where fetched libtorchs are kept.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache folder of this user; it need not exist yet.
    pub(crate) fn locate() -> Result<Self> {
        let root = root(&|name| env::var_os(name).filter(|value| !value.is_empty()))?;
        let root = std::path::absolute(&root)
            .with_context(|| format!("cannot make {} absolute", root.display()))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a fetched libtorch belongs.
    pub(crate) fn libtorch(&self, platform: &Platform) -> PathBuf {
        self.root.join(format!("libtorch-{}-{}", platform.version, platform.name))
    }

    /// Where the peers of the benchmarks belong; `pins` tells their versions apart.
    pub(crate) fn peers(&self, pins: &str) -> PathBuf {
        self.root.join(format!("peers-{pins}"))
    }

    /// Free bytes on the disk of the folder, or of its nearest ancestor that exists.
    pub(crate) fn free_space(&self) -> Option<u64> {
        let existing = self.root.ancestors().find(|path| path.is_dir())?;
        fs4::available_space(existing).ok()
    }

    /// Makes the folder and locks it against other set-ups, waiting for them if need be.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        let failed = |error: io::Error| {
            Trouble::new(
                format!("cannot write to the cache {}: {error}", self.root.display()),
                "make that folder writable, or set SOFTLABEL_CACHE to another one",
            )
        };
        fs::create_dir_all(&self.root).map_err(failed)?;
        let file = File::create(self.root.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("another set-up is at work in {}; waiting for it", self.root.display());
                file.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        Ok(Locked { cache: self, _file: file })
    }
}

/// The cache while no other set-up changes it; unlocked when dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    cache: &'a Cache,
    _file: File,
}

impl Locked<'_> {
    /// Removes what killed set-ups left unfinished.
    pub(crate) fn remove_leftovers(&self) -> Result<()> {
        let root = &self.cache.root;
        let context = || format!("cannot tidy up {}", root.display());
        for entry in fs::read_dir(root).with_context(context)? {
            let entry = entry.with_context(context)?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                fs::remove_dir_all(entry.path()).with_context(context)?;
            }
        }
        Ok(())
    }

    /// A fresh folder for unfinished work, removed when dropped.
    pub(crate) fn partial(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(&self.cache.root)
            .with_context(|| format!("cannot make a folder in {}", self.cache.root.display()))
    }

    /// The folder for wheels, made if need be.
    pub(crate) fn downloads(&self) -> Result<PathBuf> {
        let path = self.cache.root.join("downloads");
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Gives finished work its final name, in place of whatever had it.
    pub(crate) fn publish(&self, partial: TempDir, target: &Path) -> Result<()> {
        self.discard(target)?;
        fs::rename(partial.path(), target)
            .with_context(|| format!("cannot rename to {}", target.display()))?;
        // The folder has moved: there is nothing left to remove.
        let _ = partial.keep();
        Ok(())
    }

    /// Removes a folder of the cache; others see it whole or not at all.
    pub(crate) fn discard(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            let grave = self.partial()?;
            fs::rename(folder, grave.path().join("old"))
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        Ok(())
    }

    /// Makes sure that `needed` bytes are free.
    pub(crate) fn require_space(&self, needed: u64) -> Result<()> {
        match self.cache.free_space() {
            Some(free) => Ok(enough_space(&self.cache.root, needed, free)?),
            None => Ok(()),
        }
    }
}

fn enough_space(root: &Path, needed: u64, free: u64) -> Result<(), Trouble> {
    if free >= needed {
        return Ok(());
    }
    Err(Trouble::new(
        format!(
            "too little disk space: {} are free in {}, {} are needed for a while",
            megabytes(free),
            root.display(),
            megabytes(needed)
        ),
        "free some space there",
    )
    .or("set SOFTLABEL_CACHE to a folder on another disk"))
}

/// The cache folder, given a way to look up variables.
fn root(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, Trouble> {
    let under = |folder: OsString, rest: &str| PathBuf::from(folder).join(rest);
    let home_part =
        if cfg!(target_os = "macos") { "Library/Caches/softlabel" } else { ".cache/softlabel" };
    variable("SOFTLABEL_CACHE")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| under(folder, "softlabel")))
        .or_else(|| variable("HOME").map(|home| under(home, home_part)))
        .ok_or_else(|| {
            Trouble::new(
                "there is no cache folder: SOFTLABEL_CACHE, XDG_CACHE_HOME and HOME are not set",
                "set SOFTLABEL_CACHE to a folder of your own",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cache");
        (folder, Cache { root })
    }

    #[test]
    fn the_variables_are_asked_in_order() {
        let check = |set: &[&str]| {
            let variable = |name: &str| set.contains(&name).then(|| format!("/{name}").into());
            root(&variable).map(|path| path.display().to_string())
        };
        let all = ["SOFTLABEL_CACHE", "XDG_CACHE_HOME", "HOME"];
        assert_eq!(check(&all).unwrap(), "/SOFTLABEL_CACHE");
        assert_eq!(check(&all[1..]).unwrap(), "/XDG_CACHE_HOME/softlabel");
        assert!(
            check(&all[2..]).unwrap().ends_with("aches/softlabel") || !cfg!(target_os = "macos")
        );
        assert!(check(&all[2..]).unwrap().starts_with("/HOME/"));
        assert!(check(&[]).unwrap_err().cures[0].contains("SOFTLABEL_CACHE"));
    }

    #[test]
    fn finished_work_replaces_what_was_there_and_leaves_nothing_else() {
        let (_folder, cache) = example();
        let locked = cache.lock().unwrap();
        let target = cache.root().join("libtorch");
        for round in ["first", "second"] {
            let partial = locked.partial().unwrap();
            fs::write(partial.path().join("file"), round).unwrap();
            locked.publish(partial, &target).unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), round);
        }
        assert_eq!(names(cache.root()), ["libtorch", "lock"]);
    }

    #[test]
    fn leftovers_of_a_killed_set_up_are_removed() {
        let (_folder, cache) = example();
        let locked = cache.lock().unwrap();
        let killed = locked.partial().unwrap().keep();
        fs::write(killed.join("half"), "").unwrap();
        locked.remove_leftovers().unwrap();
        assert_eq!(names(cache.root()), ["lock"]);
    }

    #[test]
    fn unfinished_work_disappears_with_its_guard() {
        let (_folder, cache) = example();
        let locked = cache.lock().unwrap();
        drop(locked.partial().unwrap());
        assert_eq!(names(cache.root()), ["lock"]);
    }

    #[test]
    fn a_second_set_up_waits_for_the_first() {
        let (_folder, cache) = example();
        let locked = cache.lock().unwrap();
        let file = File::open(cache.root().join("lock")).unwrap();
        assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        drop(locked);
        file.try_lock().unwrap();
    }

    #[test]
    fn too_little_space_names_both_numbers() {
        let root = Path::new("/cache");
        assert_eq!(enough_space(root, 10, 10), Ok(()));
        let trouble = enough_space(root, 1_100_000_000, 200_000_000).unwrap_err();
        assert!(trouble.what.contains("200 MB are free"), "{trouble}");
        assert!(trouble.what.contains("1100 MB are needed"), "{trouble}");
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
