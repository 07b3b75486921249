//! The Python packages of the peers, in a folder of the cache.
//!
//! pip installs them with `--target`, so neither a virtual environment nor the user's own packages take part.
//! The folder is named after the Python and the pins, and gets its name only when everything in it is complete and torch can be imported.
//!
//! **Without CUDA.**
//! On Linux the wheel of torch is the CUDA build, whose Python half asks the loader for CUDA libraries of 2 GB that a comparison on the processor never calls.
//! In their place stand empty libraries of the same names, made here; what they lack is looked for at its first use, which does not come.
//! For that, torch has to be loaded lazily: a `sitecustomize.py` beside it sees to it.
//! The half of torch that computes on the processor is that of the wheel, untouched.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::compiler;
use crate::libtorch::cache::{Cache, Locked};
use crate::libtorch::{download, python};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What is installed, relative to the workspace.
const REQUIREMENTS: &str = "benches/peers/requirements.txt";
/// The program of the peers.
const PROGRAM: &str = "benches/peers/peers.py";
/// Minor versions of Python 3 that the wheels are pinned for.
const PYTHONS: std::ops::RangeInclusive<u32> = 11..=14;
/// Download and result, and pip's copies on the way, in bytes.
const SPACE: u64 = 3_500_000_000;
/// Where torch looks for libraries of CUDA.
const LIBRARIES: &str = "nvidia/cu13/lib";
/// Those that it asks for and never calls.
const NEVER_CALLED: [&str; 10] = [
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcudnn.so.9",
    "libcufft.so.12",
    "libcufile.so.0",
    "libcurand.so.10",
    "libcusparse.so.12",
    "libcusparseLt.so.0",
    "libnccl.so.2",
    "libnvshmem_host.so.3",
];
/// Read by Python at its start.
const LAZY: &str = "\
\"\"\"Lets torch be loaded beside CUDA libraries that are empty.\"\"\"

import os
import sys

sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_LOCAL)
";

/// Installed packages.
#[derive(Debug)]
pub(crate) struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// The peers' program, ready to start.
    pub(crate) fn python(&self, workspace: &Workspace) -> Command {
        let mut command = self.interpreter();
        command
            .arg(workspace.root().join(PROGRAM))
            .env("TORCHINDUCTOR_CACHE_DIR", workspace.root().join("target/bench/inductor"));
        command
    }

    /// Python with these packages and none of the user's.
    fn interpreter(&self) -> Command {
        let mut command = Command::new(python::interpreter());
        command
            .env("PYTHONPATH", &self.folder)
            .env("PYTHONNOUSERSITE", "1")
            .env("CUDA_VISIBLE_DEVICES", "")
            .env_remove("LD_BIND_NOW")
            .env_remove("PYTHONHOME");
        command
    }
}

/// The packages, installed now if they are not there yet.
pub(crate) fn ready(workspace: &Workspace) -> Result<Environment> {
    let minor = supported(std::env::consts::OS, std::env::consts::ARCH, python_minor())?;
    let requirements = workspace.root().join(REQUIREMENTS);
    let text = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let cache = Cache::locate()?;
    let folder = cache.peers(&format!("py3.{minor}-{}", fingerprint(&text)));
    if !folder.is_dir() {
        let locked = cache.lock()?;
        locked.remove_leftovers()?;
        // Another set-up may have finished while this one waited.
        if !folder.is_dir() {
            install(&locked, &requirements, &folder)?;
        }
    }
    eprintln!("peers in {}", folder.display());
    Ok(Environment { folder })
}

fn install(locked: &Locked<'_>, requirements: &Path, target: &Path) -> Result<()> {
    let pip = python::pip()?;
    locked.require_space(SPACE)?;
    eprintln!(
        "installing the peers (560 MB to fetch) with {}",
        pip.split(" from ").next().unwrap_or_default()
    );
    let scratch = locked.partial()?;
    let partial = locked.partial()?;
    let mut command = Command::new(python::interpreter());
    command
        .args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--require-hashes"])
        // Its own cache would hold the 560 MB a second time.
        .args(["--no-cache-dir", "--requirement"])
        .arg(requirements)
        .arg("--target")
        .arg(partial.path())
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .env("TMPDIR", scratch.path());
    let (status, complaints) = download::run(&mut command).context("cannot run pip")?;
    if !status.success() {
        return Err(explain(&complaints).into());
    }
    drop(scratch);
    let environment = Environment { folder: partial.path().to_owned() };
    leave_out_cuda(&environment.folder)?;
    check_import(&environment)?;
    locked.publish(partial, target)
}

/// Makes the empty libraries, and torch load lazily.
fn leave_out_cuda(folder: &Path) -> Result<()> {
    let compiler = compiler::find()?.command;
    let libraries = folder.join(LIBRARIES);
    for name in NEVER_CALLED {
        let mut words = compiler.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("c++"));
        command
            .args(words)
            .args(["-shared", "-x", "c++", "/dev/null", "-o"])
            .arg(libraries.join(name))
            .arg(format!("-Wl,-soname,{name}"));
        let output = command.output().with_context(|| format!("cannot run {compiler}"))?;
        if !output.status.success() {
            let complaints = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("{compiler} cannot make {name}: {complaints}");
        }
    }
    let path = folder.join("sitecustomize.py");
    fs::write(&path, LAZY).with_context(|| format!("cannot write {}", path.display()))
}

fn check_import(environment: &Environment) -> Result<()> {
    let output = environment
        .interpreter()
        .args(["-c", "import numpy, torch; print(torch.ones(2).sum().item())"])
        .output()
        .context("cannot run Python")?;
    if output.status.success() {
        return Ok(());
    }
    let complaints = String::from_utf8_lossy(&output.stderr);
    bail!("what was installed cannot be imported: {}", complaints.trim())
}

/// The minor version of Python 3.
fn python_minor() -> Option<u32> {
    minor(&python::version()?)
}

/// The 12 of `Python 3.12.4`.
fn minor(version: &str) -> Option<u32> {
    let numbers = version.strip_prefix("Python 3.")?;
    numbers.split('.').next()?.parse().ok()
}

/// The minor version, if the pins hold for this machine.
fn supported(os: &str, arch: &str, minor: Option<u32>) -> Result<u32, Trouble> {
    if (os, arch) != ("linux", "x86_64") {
        return Err(Trouble::new(
            format!("the peers are pinned for Linux on x86_64, and this is {os} on {arch}"),
            "run `cargo xtask bench`, which compares with libtorch in the same process",
        ));
    }
    let python = python::interpreter();
    let (first, last) = (PYTHONS.start(), PYTHONS.end());
    minor.filter(|minor| PYTHONS.contains(minor)).ok_or_else(|| {
        let found = minor.map_or_else(|| "no Python 3".to_owned(), |minor| format!("3.{minor}"));
        Trouble::new(
            format!(
                "the peers are pinned for Python 3.{first} to 3.{last}, and {python} is {found}"
            ),
            format!("put such a {python} first on the PATH"),
        )
    })
}

/// What tells one set of pins from another.
fn fingerprint(text: &str) -> String {
    let mut hex = String::new();
    // The list of empty libraries is part of what is made.
    let digest = Sha256::new().chain_update(text).chain_update(NEVER_CALLED.concat()).finalize();
    for byte in digest.iter().take(6) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// What a failed pip means, judged by its complaints.
fn explain(complaints: &str) -> Trouble {
    let has = |text: &str| complaints.contains(text);
    if has("No space left on device") || has("Errno 28") {
        return Trouble::new("the disk filled up while installing", "free some space")
            .or("set SOFTLABEL_CACHE to a folder on another disk");
    }
    if has("DO NOT MATCH THE HASHES") {
        return Trouble::new(
            format!("what the package index served is not what {REQUIREMENTS} pins (see above)"),
            "try again; if it stays so, the mirror or proxy in between alters files",
        );
    }
    Trouble::new(
        "pip could not install the peers (see above)",
        "check the network, and the proxy or mirror if there is one (HTTPS_PROXY, PIP_INDEX_URL)",
    )
    .or(format!("if pip is old: {} -m pip install --upgrade pip", python::interpreter()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::first_line;

    #[test]
    fn a_machine_without_pins_is_told() {
        assert_eq!(supported("linux", "x86_64", Some(12)), Ok(12));
        let check = |os, arch, minor, expected: &str| {
            let trouble = supported(os, arch, minor).unwrap_err();
            assert!(trouble.what.contains(expected), "{trouble}");
        };
        check("macos", "aarch64", Some(12), "this is macos on aarch64");
        check("linux", "x86_64", Some(9), "is 3.9");
        check("linux", "x86_64", None, "no Python 3");
    }

    #[test]
    fn pythons_are_told_apart_by_their_minor_version() {
        assert_eq!(minor("Python 3.12.4"), Some(12));
        assert_eq!(minor("Python 3.14.0rc1"), Some(14));
        assert_eq!(minor("Python 2.7.18"), None);
    }

    #[test]
    fn other_pins_are_another_folder() {
        assert_eq!(fingerprint("torch==2.11.0").len(), 12);
        assert_ne!(fingerprint("torch==2.11.0"), fingerprint("torch==2.11.1"));
    }

    #[test]
    fn every_pin_has_a_version_and_a_hash_for_each_wheel() {
        let workspace = Workspace::locate().unwrap();
        let text = fs::read_to_string(workspace.root().join(REQUIREMENTS)).unwrap();
        let joined = text.replace("\\\n", " ");
        let pins: Vec<&str> =
            joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        for pin in &pins {
            let mut words = pin.split_whitespace();
            assert!(words.next().unwrap().contains("=="), "{pin}");
            let hashes: Vec<_> =
                words.map(|word| word.strip_prefix("--hash=sha256:").unwrap().len()).collect();
            assert!(hashes == [64] || hashes == [64; 4], "{pin}");
        }
        // The peer's libtorch is that of tch.
        let wanted = crate::libtorch::wanted(workspace.locked_tch().unwrap()).unwrap();
        let torch = format!("torch=={wanted} ");
        assert!(pins.iter().any(|pin| pin.starts_with(&torch)), "{torch}");
    }

    #[test]
    fn complaints_become_cures() {
        let check = |complaints: &str, expected: &str| {
            assert!(explain(complaints).to_string().contains(expected), "{complaints}");
        };
        check("OSError: [Errno 28] No space left on device", "SOFTLABEL_CACHE");
        check("THESE PACKAGES DO NOT MATCH THE HASHES", "mirror or proxy");
        check("ERROR: No matching distribution found", "HTTPS_PROXY");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn empty_libraries_and_the_lazy_start_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let libraries = folder.path().join(LIBRARIES);
        fs::create_dir_all(&libraries).unwrap();
        leave_out_cuda(folder.path()).unwrap();
        let made = fs::read_dir(&libraries).unwrap().count();
        assert_eq!(made, NEVER_CALLED.len());
        let environment = Environment { folder: folder.path().to_owned() };
        let lazy = "import os, sys; print(sys.getdlopenflags() == os.RTLD_LAZY)";
        let found = first_line(environment.interpreter().args(["-c", lazy]));
        assert_eq!(found.as_deref(), Some("True"));
    }
}
