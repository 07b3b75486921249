//! tch, libtorch and CUDA.

use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::compiler::first_line;
use crate::libtorch::cache::Cache;
use crate::libtorch::platform::Platform;
use crate::libtorch::search::{Found, Outcome, Search, same_file};
use crate::libtorch::{Version, python, wanted};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What is known of libtorch, before it is put into words.
pub(super) struct Findings {
    tch: Finding,
    libtorch: Finding,
    cuda: Finding,
    linked: bool,
}

impl Findings {
    /// Searches as a set-up would, and changes nothing.
    pub(super) fn new(workspace: &Workspace) -> Self {
        let versions = workspace
            .locked_tch()
            .map_err(|error| Trouble::new(format!("{error:#}"), "restore Cargo.lock"))
            .and_then(|tch| Ok((tch, wanted(tch)?)));
        let (tch, wanted) = match versions {
            Ok(versions) => versions,
            Err(trouble) => {
                let unknown = || Trouble::new("not looked for", "see tch above");
                return Self {
                    tch: Finding::problem("tch", trouble),
                    libtorch: Finding::problem("libtorch", unknown()),
                    cuda: Finding::warning("cuda", unknown()),
                    linked: false,
                };
            }
        };
        let cached = Cache::locate().ok().and_then(|cache| {
            let platform = Platform::here(wanted)?;
            Some(cache.libtorch(platform))
        });
        let result = Search::here(workspace, wanted, cached).run();
        let found = result.as_ref().ok().and_then(|found| found.found.clone());
        let libtorch = libtorch(result, &workspace.link());
        Self {
            tch: Finding::ok("tch", format!("{tch} in Cargo.lock, which wants libtorch {wanted}")),
            cuda: cuda(found.as_ref(), driver(), wanted),
            linked: found.is_some_and(|found| same_file(&found.folder.path, &workspace.link())),
            libtorch,
        }
    }

    /// Whether builds will find libtorch.
    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// One finding each for tch, libtorch and CUDA.
    pub(super) fn into_findings(self) -> [Finding; 3] {
        [self.tch, self.libtorch, self.cuda]
    }
}

fn libtorch(result: Result<Outcome, Trouble>, link: &Path) -> Finding {
    const SETUP: &str = "cargo xtask setup";
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(trouble) => return Finding::problem("libtorch", trouble),
    };
    let Some(Found { folder, origin }) = outcome.found else {
        let mut what = "none yet".to_owned();
        for reason in outcome.passed_over {
            what.push_str("; ");
            what.push_str(&reason);
        }
        return Finding::problem("libtorch", Trouble::new(what, SETUP));
    };
    let place = folder.path.canonicalize().unwrap_or(folder.path);
    let text = format!("{} in {} ({origin})", folder.version, place.display());
    if same_file(&place, link) {
        Finding::ok("libtorch", text)
    } else {
        let what = format!("{text}, but {} does not lead there", link.display());
        Finding::problem("libtorch", Trouble::new(what, SETUP))
    }
}

/// The GPUs that a driver reports.
fn driver() -> Option<String> {
    first_line(
        Command::new("nvidia-smi")
            .args(["--query-gpu=name,driver_version", "--format=csv,noheader"]),
    )
    .filter(|line| !line.is_empty())
}

fn cuda(found: Option<&Found>, driver: Option<String>, wanted: Version) -> Finding {
    let has_cuda = found.is_some_and(|found| found.folder.has_cuda());
    match (has_cuda, driver) {
        (true, Some(driver)) => Finding::ok("cuda", format!("in libtorch; {driver}")),
        (true, None) => Finding::ok("cuda", "in libtorch, but no driver: the CPU is used"),
        (false, None) => Finding::ok("cuda", "no GPU driver; libtorch is for the CPU"),
        (false, Some(driver)) => Finding::warning(
            "cuda",
            Trouble::new(
                format!("{driver} is here, but libtorch is for the CPU"),
                format!(
                    "to use it: {} -m pip install torch=={wanted}, then cargo xtask setup",
                    python::interpreter()
                ),
            )
            .or("set LIBTORCH to a libtorch with CUDA, then cargo xtask setup"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::libtorch::Folder;
    use crate::libtorch::search::Origin;

    fn found(path: &Path) -> Found {
        Found {
            folder: Folder { path: path.to_owned(), version: Version::new(2, 11, 0) },
            origin: Origin::Cache,
        }
    }

    #[test]
    fn a_libtorch_that_is_not_linked_is_a_problem() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join(".libtorch");
        let status = |result| libtorch(result, &link).status;
        assert_eq!(status(Ok(Outcome::default())), Status::Problem);
        assert_eq!(status(Ok(found(place.path()).into())), Status::Problem);
        assert_eq!(status(Err(Trouble::new("broken", "mend"))), Status::Problem);
        assert_eq!(libtorch(Ok(found(place.path()).into()), place.path()).status, Status::Ok);
    }

    #[test]
    fn an_idle_gpu_is_a_warning() {
        let place = tempfile::tempdir().unwrap();
        let cpu = found(place.path());
        let check = |driver: Option<&str>| {
            cuda(Some(&cpu), driver.map(str::to_owned), Version::new(2, 11, 0))
        };
        assert_eq!(check(None).status, Status::Ok);
        let warning = check(Some("H200, 580.1"));
        assert_eq!(warning.status, Status::Warning);
        assert!(warning.cures[0].contains("torch==2.11.0"));
    }
}
