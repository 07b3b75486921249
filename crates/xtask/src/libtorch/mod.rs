//! Finds or fetches libtorch, and links it into the workspace.
//!
//! `version` and `platform` say what is needed, [`search`] looks for it, `download` and `unpack` fetch it into the [`cache`], and `folder` judges what was found.

pub(crate) mod cache;
pub(crate) mod download;
mod folder;
mod link;
pub(crate) mod manifest;
pub(crate) mod platform;
pub(crate) mod python;
pub(crate) mod search;
mod unpack;
mod version;

use std::path::Path;

use anyhow::Result;

use self::cache::{Cache, Locked};
pub(crate) use self::folder::Folder;
use self::manifest::Manifest;
use self::platform::Platform;
use self::search::{Search, same_file};
pub(crate) use self::version::Version;
use crate::compiler;
use crate::progress::{Progress, megabytes};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// Room for pip's own files and the file system's.
const SLACK: u64 = 20_000_000;

/// The libtorch that a release of tch needs.
pub(crate) fn wanted(tch: Version) -> Result<Version, Trouble> {
    Version::wanted_by_tch(tch).ok_or_else(|| {
        Trouble::new(
            format!("Cargo.lock holds tch {tch}, and which libtorch that needs is not known here"),
            "go back to a known one: cargo update -p tch --precise 0.24.0",
        )
    })
}

/// Makes the workspace ready to build: a C++ compiler, a libtorch, and the link to it.
pub(crate) fn setup(workspace: &Workspace, verify: bool) -> Result<()> {
    let wanted = wanted(workspace.locked_tch()?)?;
    compiler::find()?;
    let cache = Cache::locate()?;
    let platform = Platform::here(wanted);
    let cached = platform.map(|platform| cache.libtorch(platform));
    let outcome = Search::here(workspace, wanted, cached).run()?;
    for passed_over in &outcome.passed_over {
        eprintln!("passed over: {passed_over}");
    }
    let (mut folder, origin) = match outcome.found {
        Some(found) => (found.folder, found.origin.to_string()),
        None => (fetch(&cache, available(platform, wanted)?)?, "fetched just now".to_owned()),
    };
    if verify && let Err(reason) = check_hashes(&folder) {
        folder = replace_damaged(&cache, platform, &folder, &reason)?;
    }
    let change = link::point(&workspace.link(), &folder.path)?;
    let place = folder.path.canonicalize().unwrap_or(folder.path);
    eprintln!("libtorch {} in {} ({origin})", folder.version, place.display());
    if change == link::Change::Replaced {
        eprintln!(
            "note: .libtorch led elsewhere before; if linking fails: cargo clean -p torch-sys"
        );
    }
    Ok(())
}

/// The download for this machine.
fn available(
    platform: Option<&'static Platform>,
    wanted: Version,
) -> Result<&'static Platform, Trouble> {
    platform.ok_or_else(|| {
        Trouble::new(
            format!(
                "no libtorch {wanted} was found, and there is none to fetch for {} on {}",
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
            format!("set LIBTORCH to a folder with lib/ and include/ of libtorch {wanted}"),
        )
        .or(format!("{} -m pip install torch=={wanted}", python::interpreter()))
    })
}

/// Fetches libtorch into the cache, unless another set-up just did.
fn fetch(cache: &Cache, platform: &'static Platform) -> Result<Folder> {
    let locked = cache.lock()?;
    locked.remove_leftovers()?;
    let target = cache.libtorch(platform);
    if let Ok(folder) = Folder::inspect_fetched(&target, platform.version) {
        return Ok(folder);
    }
    fetch_locked(&locked, platform, &target)
}

fn fetch_locked(locked: &Locked<'_>, platform: &'static Platform, target: &Path) -> Result<Folder> {
    let downloads = locked.downloads()?;
    let missing = download::missing(platform, &downloads)?;
    let size: u64 = missing.iter().map(|wheel| wheel.size).sum();
    // pip holds each wheel twice for a moment; later wheels and libtorch lie side by side.
    locked.require_space((2 * size).max(size + platform.unpacked) + SLACK)?;
    if !missing.is_empty() {
        eprintln!(
            "fetching the CPU build of libtorch {}: {} of {}",
            platform.version,
            megabytes(size),
            megabytes(platform.download_size())
        );
        let scratch = locked.partial()?;
        download::download(platform, &missing, &downloads, scratch.path())?;
    }
    let wheels = download::paths(platform, &downloads);
    let partial = locked.partial()?;
    unpack::unpack(platform, &wheels, partial.path())?;
    locked.publish(partial, target)?;
    unpack::remove(&wheels);
    Folder::inspect_fetched(target, platform.version)
        .map_err(|reason| anyhow::anyhow!("{} {reason}", target.display()))
}

/// Compares every file with its recorded hash; a libtorch from elsewhere has none recorded.
fn check_hashes(folder: &Folder) -> Result<(), String> {
    let Some(manifest) = Manifest::read(&folder.path)? else {
        eprintln!(
            "{} was not fetched by this program: there are no hashes to compare",
            folder.path.display()
        );
        return Ok(());
    };
    let mut progress = Progress::start("verifying libtorch", manifest.size());
    manifest.check_hashes(&folder.path, &mut |bytes| progress.advance(bytes))
}

/// Fetches the cached libtorch again if that is the damaged one.
fn replace_damaged(
    cache: &Cache,
    platform: Option<&'static Platform>,
    folder: &Folder,
    reason: &str,
) -> Result<Folder> {
    let in_cache = platform
        .map(|platform| (platform, cache.libtorch(platform)))
        .filter(|(_, target)| same_file(target, &folder.path));
    let Some((platform, target)) = in_cache else {
        return Err(Trouble::new(
            format!("{} is damaged: {reason}", folder.path.display()),
            "remove that folder and run `cargo xtask setup` again",
        )
        .into());
    };
    eprintln!("the cached libtorch is damaged: {reason}");
    let locked = cache.lock()?;
    locked.remove_leftovers()?;
    locked.discard(&target)?;
    fetch_locked(&locked, platform, &target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_tch_says_how_to_go_back() {
        let trouble = wanted(Version::new(0, 99, 0)).unwrap_err();
        assert!(trouble.what.contains("tch 0.99.0"), "{trouble}");
        assert!(trouble.cures[0].contains("--precise 0.24.0"), "{trouble}");
        assert_eq!(wanted(Version::new(0, 24, 0)), Ok(Version::new(2, 11, 0)));
    }

    #[test]
    fn a_machine_without_a_download_is_told_of_libtorch() {
        let trouble = available(None, Version::new(2, 13, 0)).unwrap_err();
        assert!(trouble.cures[0].contains("set LIBTORCH"), "{trouble}");
    }
}
