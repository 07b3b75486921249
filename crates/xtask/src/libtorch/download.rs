//! Downloads the pinned wheels with pip.
//!
//! pip is on most machines that train models, honours the mirrors and proxies they are set up for, and checks hashes.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use super::manifest::sha256;
use super::platform::{Platform, Wheel};
use super::python;
use crate::trouble::Trouble;

/// Wheels of `platform` that are not in `folder`, or are there damaged.
///
/// A damaged one is removed, so that pip does not stumble over it.
pub(crate) fn missing(platform: &'static Platform, folder: &Path) -> Result<Vec<&'static Wheel>> {
    let mut missing = Vec::new();
    for wheel in platform.wheels {
        let path = folder.join(wheel.file);
        if !path.exists() {
            missing.push(wheel);
        } else if sha256(&path, &mut |_| {})? != wheel.sha256 {
            eprintln!("{} is incomplete or damaged; fetching it again", wheel.file);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            missing.push(wheel);
        }
    }
    Ok(missing)
}

/// Paths of all wheels of `platform` in `folder`.
pub(crate) fn paths(platform: &Platform, folder: &Path) -> Vec<PathBuf> {
    let path = |wheel: &Wheel| folder.join(wheel.file);
    platform.wheels.iter().map(path).collect()
}

/// Downloads `wheels` into `folder`; pip works in `scratch`.
pub(crate) fn download(
    platform: &Platform,
    wheels: &[&Wheel],
    folder: &Path,
    scratch: &Path,
) -> Result<()> {
    python::pip()?;
    let requirements = scratch.join("requirements.txt");
    fs::write(&requirements, requirement_lines(wheels))
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut command = Command::new(python::interpreter());
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        // Its own cache would hold the 540 MB a second time.
        .args(["--no-cache-dir", "--require-hashes", "--requirement"])
        .arg(&requirements)
        .arg("--dest")
        .arg(folder)
        .args(["--python-version", "3.12", "--implementation", "cp"])
        .args(["--abi", "cp312", "--abi", "none"])
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        // Some ask pip never to install outside a virtual environment; nothing is installed here.
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .env("TMPDIR", scratch);
    for tag in platform.tags {
        command.args(["--platform", tag]);
    }
    let (status, complaints) = run(&mut command).context("cannot run pip")?;
    if status.success() {
        return Ok(());
    }
    Err(explain(&complaints, platform, folder).into())
}

/// pip's requirements file: a pinned version and its hash on each line.
fn requirement_lines(wheels: &[&Wheel]) -> String {
    let mut lines = String::new();
    for wheel in wheels {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{} --hash=sha256:{}", wheel.requirement, wheel.sha256);
    }
    lines
}

/// Runs pip with its progress on our stderr; returns the end of its complaints too.
pub(crate) fn run(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let mut child =
        command.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::piped()).spawn()?;
    let mut tail = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            eprintln!("{line}");
            tail.push_back(line);
            if tail.len() > 40 {
                tail.pop_front();
            }
        }
    }
    let complaints: Vec<String> = tail.into();
    Ok((child.wait()?, complaints.join("\n")))
}

/// What a failed pip means, judged by its complaints.
fn explain(complaints: &str, platform: &Platform, folder: &Path) -> Trouble {
    let has = |text: &str| complaints.contains(text);
    let files: Vec<&str> = platform.wheels.iter().map(|wheel| wheel.file).collect();
    let by_hand = format!(
        "without a network, put these files from the Python package index into {}: {}",
        folder.display(),
        files.join(", ")
    );
    if has("No space left on device") || has("Errno 28") {
        return Trouble::new("the disk filled up while downloading", "free some space")
            .or("set SOFTLABEL_CACHE to a folder on another disk");
    }
    if has("DO NOT MATCH THE HASHES") {
        return Trouble::new(
            "what the package index served is not what softlabel pins (see above)",
            "try again; if it stays so, the mirror or proxy in between alters files",
        )
        .or("set LIBTORCH to a folder that holds libtorch");
    }
    let network = ["Connection", "connection", "timed out", "resolve", "SSL", "ProxyError"];
    if network.iter().any(|word| has(word)) {
        return Trouble::new(
            "pip could not reach the package index (see above)",
            "check the network, and the proxy or mirror if there is one (HTTPS_PROXY, PIP_INDEX_URL)",
        )
        .or(by_hand)
        .or("set LIBTORCH to a folder that holds libtorch");
    }
    if has("no such option") || has("No matching distribution") {
        return Trouble::new(
            "pip found no wheel that fits (see above)",
            "check the network and what pip is told of it (HTTPS_PROXY, PIP_INDEX_URL, PIP_NO_INDEX)",
        )
        .or(format!(
            "if pip is old, it may not know these platforms: {} -m pip install --upgrade pip",
            python::interpreter()
        ))
        .or(by_hand);
    }
    Trouble::new("pip failed (see above)", "fix what it complains about")
        .or(by_hand)
        .or("set LIBTORCH to a folder that holds libtorch")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::Version;

    fn platform() -> &'static Platform {
        Platform::here(Version::new(2, 11, 0)).unwrap()
    }

    #[test]
    fn every_requirement_has_a_version_and_a_hash() {
        let wheels: Vec<_> = platform().wheels.iter().collect();
        let lines = requirement_lines(&wheels);
        assert_eq!(lines.lines().count(), wheels.len());
        for line in lines.lines() {
            assert!(line.contains("==") && line.contains(" --hash=sha256:"), "{line}");
        }
    }

    #[test]
    fn complaints_become_cures() {
        let check = |complaints: &str, expected: &str| {
            let trouble = explain(complaints, platform(), Path::new("/cache/downloads"));
            assert!(trouble.to_string().contains(expected), "{trouble}");
        };
        check("OSError: [Errno 28] No space left on device", "SOFTLABEL_CACHE");
        check(
            "NewConnectionError: Failed to establish a new connection\n\
             ERROR: No matching distribution found for torch==2.11.0",
            "HTTPS_PROXY",
        );
        check("ERROR: No matching distribution found for torch", "--upgrade pip");
        check("THESE PACKAGES DO NOT MATCH THE HASHES", "mirror or proxy");
        check("Segmentation fault", "/cache/downloads");
    }

    #[test]
    fn a_half_wheel_is_removed_and_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join(platform().wheels[0].file);
        fs::write(&wheel, "half").unwrap();
        let missing = missing(platform(), folder.path()).unwrap();
        assert_eq!(missing.len(), platform().wheels.len());
        assert!(!wheel.exists());
    }

    #[test]
    fn complaints_are_kept_and_the_status_is_passed_on() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo oh no >&2; exit 3"]);
        let (status, complaints) = run(&mut command).unwrap();
        assert_eq!((status.code(), &*complaints), (Some(3), "oh no"));
    }
}
