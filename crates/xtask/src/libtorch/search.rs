//! Looks for a libtorch that is already on the machine.
//!
//! What the user names (`LIBTORCH`, `LIBTORCH_USE_PYTORCH`) is taken or refused, never passed over in silence; what merely lies about is taken if it fits.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Folder, Version, python};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// How a libtorch was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Named by LIBTORCH.
    Variable,
    /// Python's torch, asked for by `LIBTORCH_USE_PYTORCH`.
    PythonAsked,
    /// Python's torch, which happens to fit.
    Python,
    /// What the workspace's link already leads to.
    Link,
    /// Fetched earlier.
    Cache,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "named by LIBTORCH",
            Self::PythonAsked => "Python's torch, because LIBTORCH_USE_PYTORCH is set",
            Self::Python => "Python's torch",
            Self::Link => "what .libtorch already points to",
            Self::Cache => "fetched into the cache",
        })
    }
}

/// A libtorch that fits, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The folder.
    pub(crate) folder: Folder,
    /// How it was found.
    pub(crate) origin: Origin,
}

/// The result of a search.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The first that fits.
    pub(crate) found: Option<Found>,
    /// What was looked at before and does not fit, with the reason.
    pub(crate) passed_over: Vec<String>,
}

/// Where to look.
pub(crate) struct Search<'a> {
    /// The version that is needed.
    pub(crate) wanted: Version,
    /// The workspace's own link.
    pub(crate) link: PathBuf,
    /// LIBTORCH in the environment.
    pub(crate) variable: Option<OsString>,
    /// Whether `LIBTORCH_USE_PYTORCH` is set.
    pub(crate) use_pytorch: bool,
    /// Finds the folder of Python's torch.
    pub(crate) python: &'a dyn Fn() -> Option<PathBuf>,
    /// Where a fetched libtorch would be; none if this platform has no download.
    pub(crate) cached: Option<PathBuf>,
}

impl Search<'_> {
    /// A search with this process's environment.
    pub(crate) fn here(workspace: &Workspace, wanted: Version, cached: Option<PathBuf>) -> Self {
        Self {
            wanted,
            link: workspace.link(),
            variable: env::var_os("LIBTORCH"),
            // torch-sys looks only whether it is set, so "0" counts as well.
            use_pytorch: env::var_os("LIBTORCH_USE_PYTORCH").is_some(),
            python: &python::torch_folder,
            cached,
        }
    }

    /// Looks in every place, in order.
    ///
    /// # Errors
    /// If the user names a libtorch that does not fit.
    pub(crate) fn run(&self) -> Result<Outcome, Trouble> {
        if let Some(found) = self.named_by_variable()? {
            return Ok(found.into());
        }
        if self.use_pytorch {
            return Ok(self.asked_of_python()?.into());
        }
        let mut outcome = Outcome::default();
        let links_to_cache = self
            .cached
            .as_deref()
            .is_some_and(|cached| self.link.exists() && same_file(&self.link, cached));
        let candidates = [
            (Origin::Python, (self.python)()),
            (Origin::Link, Some(self.link.clone()).filter(|link| link.exists() && !links_to_cache)),
            (Origin::Cache, self.cached.clone().filter(|cached| cached.exists())),
        ];
        for (origin, path) in candidates {
            let Some(path) = path else { continue };
            let result = match origin {
                Origin::Cache => Folder::inspect_fetched(&path, self.wanted),
                _ => Folder::inspect(&path, self.wanted),
            };
            match result {
                Ok(folder) => {
                    outcome.found = Some(Found { folder, origin });
                    break;
                }
                Err(reason) => {
                    outcome.passed_over.push(format!("{} ({origin}) {reason}", path.display()));
                }
            }
        }
        Ok(outcome)
    }

    /// The libtorch that LIBTORCH names, unless cargo set it to the workspace's own link.
    fn named_by_variable(&self) -> Result<Option<Found>, Trouble> {
        let Some(path) = self.variable.as_ref().map(PathBuf::from) else {
            return Ok(None);
        };
        if is_link(&path, &self.link) {
            return Ok(None);
        }
        let unset = "unset LIBTORCH: `cargo xtask setup` then finds or fetches one";
        let named = format!("LIBTORCH={}", path.display());
        if self.use_pytorch {
            return Err(Trouble::new(
                format!("{named} and LIBTORCH_USE_PYTORCH are both set; tch would obey the latter"),
                "unset one of them",
            ));
        }
        if !path.is_absolute() {
            return Err(Trouble::new(
                format!("{named} is not an absolute path; build scripts run in other folders"),
                "give the whole path",
            )
            .or(unset));
        }
        let folder = Folder::inspect(&path, self.wanted).map_err(|reason| {
            Trouble::new(
                format!("{named} {reason}"),
                format!(
                    "let LIBTORCH name a folder with lib/ and include/ of libtorch {}",
                    self.wanted
                ),
            )
            .or(unset)
        })?;
        Ok(Some(Found { folder, origin: Origin::Variable }))
    }

    /// Python's torch, which the user asked for.
    fn asked_of_python(&self) -> Result<Found, Trouble> {
        let python = python::interpreter();
        let unset = "unset LIBTORCH_USE_PYTORCH: `cargo xtask setup` then finds or fetches one";
        let install = format!("{python} -m pip install torch=={}", self.wanted);
        let path = (self.python)().ok_or_else(|| {
            Trouble::new(
                format!("LIBTORCH_USE_PYTORCH is set, but {python} has no torch"),
                install.clone(),
            )
            .or(unset)
        })?;
        let folder = Folder::inspect(&path, self.wanted).map_err(|reason| {
            Trouble::new(
                format!("LIBTORCH_USE_PYTORCH is set, but {} {reason}", path.display()),
                install,
            )
            .or(unset)
        })?;
        Ok(Found { folder, origin: Origin::PythonAsked })
    }
}

impl From<Found> for Outcome {
    fn from(found: Found) -> Self {
        Self { found: Some(found), passed_over: Vec::new() }
    }
}

/// Whether `path` is the link itself, whatever it leads to.
fn is_link(path: &Path, link: &Path) -> bool {
    let parents_agree = || same_file(path.parent()?, link.parent()?).then_some(());
    path == link || (path.file_name() == link.file_name() && parents_agree().is_some())
}

/// Whether two paths lead to the same existing file or folder.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::folder::make_example;

    const WANTED: Version = Version::new(2, 11, 0);

    /// A machine that has a libtorch in every place.
    struct Machine {
        place: tempfile::TempDir,
        variable: Option<OsString>,
        use_pytorch: bool,
    }

    impl Machine {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            for name in ["variable", "python", ".libtorch", "cache"] {
                make_example(&place.path().join(name), "2.11.0");
            }
            let list = place.path().join("cache/softlabel-manifest");
            std::fs::write(list, format!("{:064} 0 lib/extra\n", 0)).unwrap();
            std::fs::write(place.path().join("cache/lib/extra"), "").unwrap();
            Self { place, variable: None, use_pytorch: false }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.place.path().join(name)
        }

        /// Puts another version into these places.
        fn age(self, names: &[&str]) -> Self {
            for name in names {
                make_example(&self.path(name), "2.9.0");
            }
            self
        }

        fn run(&self) -> Result<Outcome, Trouble> {
            let python = || Some(self.path("python")).filter(|path| path.exists());
            Search {
                wanted: WANTED,
                link: self.path(".libtorch"),
                variable: self.variable.clone(),
                use_pytorch: self.use_pytorch,
                python: &python,
                cached: Some(self.path("cache")),
            }
            .run()
        }

        fn origin(&self) -> Option<Origin> {
            self.run().unwrap().found.map(|found| found.origin)
        }
    }

    #[test]
    fn the_first_that_fits_wins() {
        let mut machine = Machine::new();
        assert_eq!(machine.origin(), Some(Origin::Python));
        machine = machine.age(&["python"]);
        assert_eq!(machine.origin(), Some(Origin::Link));
        machine = machine.age(&[".libtorch"]);
        assert_eq!(machine.origin(), Some(Origin::Cache));
        machine = machine.age(&["cache"]);
        let outcome = machine.run().unwrap();
        assert_eq!(outcome.found, None);
        assert_eq!(outcome.passed_over.len(), 3);
        assert!(outcome.passed_over[0].contains("holds libtorch 2.9.0"));
    }

    #[test]
    fn what_the_user_names_comes_first() {
        let mut machine = Machine::new();
        machine.use_pytorch = true;
        assert_eq!(machine.origin(), Some(Origin::PythonAsked));
        machine.use_pytorch = false;
        machine.variable = Some(machine.path("variable").into());
        assert_eq!(machine.origin(), Some(Origin::Variable));
    }

    #[test]
    fn the_workspace_link_in_the_variable_is_cargo_speaking() {
        let mut machine = Machine::new().age(&["python"]);
        machine.variable = Some(machine.path(".libtorch").into());
        assert_eq!(machine.origin(), Some(Origin::Link));
        machine.variable = Some(machine.path("cache/../.libtorch").into());
        assert_eq!(machine.origin(), Some(Origin::Link));
    }

    #[test]
    fn a_named_libtorch_that_does_not_fit_is_an_error() {
        let mut machine = Machine::new().age(&["variable", "python"]);
        let check = |machine: &Machine, expected: &str| {
            let trouble = machine.run().unwrap_err();
            assert!(trouble.what.contains(expected), "{trouble}");
            assert!(trouble.cures.iter().any(|cure| cure.starts_with("unset")));
        };
        machine.variable = Some(machine.path("variable").into());
        check(&machine, "holds libtorch 2.9.0 instead of 2.11.0");
        machine.variable = Some(machine.path("nowhere").into());
        check(&machine, "is not a folder");
        machine.variable = Some("libtorch".into());
        check(&machine, "not an absolute path");
        machine.use_pytorch = true;
        check(&machine, "both set");
        machine.variable = None;
        check(&machine, "holds libtorch 2.9.0");
        std::fs::remove_dir_all(machine.path("python")).unwrap();
        check(&machine, "has no torch");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_the_cache_is_reported_as_the_cache() {
        let machine = Machine::new().age(&["python"]);
        std::fs::remove_dir_all(machine.path(".libtorch")).unwrap();
        std::os::unix::fs::symlink(machine.path("cache"), machine.path(".libtorch")).unwrap();
        assert_eq!(machine.origin(), Some(Origin::Cache));
    }
}
