//! Takes libtorch out of the wheels, which are zip files.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use super::folder::BUILD_VERSION;
use super::manifest::{Entry, Manifest, copy_into};
use super::platform::Platform;
use crate::progress::Progress;
use crate::trouble::Trouble;

/// What `-ltorch` finds where the CUDA half is left out.
const LINKER_SCRIPT: &[u8] = b"INPUT(libtorch_cpu.so)\n";

/// Unpacks `wheels` into `folder`, which is libtorch's folder in the making.
///
/// The list of files is written last: without it nothing takes the folder for a whole libtorch.
pub(crate) fn unpack(platform: &Platform, wheels: &[PathBuf], folder: &Path) -> Result<()> {
    let mut manifest = Manifest::default();
    let mut progress = Progress::start("unpacking libtorch", platform.unpacked);
    for wheel in wheels {
        unpack_wheel(platform, wheel, folder, &mut manifest, &mut progress)
            .with_context(|| format!("cannot unpack {}", wheel.display()))?;
    }
    for library in platform.libraries {
        let expected = platform.destination(library);
        if !manifest.entries.iter().any(|entry| Some(&entry.path) == expected.as_ref()) {
            bail!("none of the wheels holds {library}");
        }
    }
    let add = |path: &str, mut content: &[u8]| -> Result<Entry> {
        copy_into(folder, path, &mut content, &mut |_| {}).map_err(|error| explain(error, folder))
    };
    if platform.linker_script {
        manifest.entries.push(add("lib/libtorch.so", LINKER_SCRIPT)?);
    }
    manifest.entries.push(add(BUILD_VERSION, platform.version.to_string().as_bytes())?);
    manifest.write(folder).map_err(|error| explain(error, folder))
}

fn unpack_wheel(
    platform: &Platform,
    wheel: &Path,
    folder: &Path,
    manifest: &mut Manifest,
    progress: &mut Progress,
) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(wheel)?))?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = file.enclosed_name().filter(|_| file.is_file());
        let Some(path) = name.and_then(|name| platform.destination(name.to_str()?)) else {
            continue;
        };
        let expected = file.size();
        let entry = copy_into(folder, &path, &mut file, &mut |bytes| progress.advance(bytes))
            .map_err(|error| explain(error, folder))
            .with_context(|| format!("cannot write {path}"))?;
        if entry.size != expected {
            bail!("{path} has {} bytes instead of {expected}", entry.size);
        }
        manifest.entries.push(entry);
    }
    Ok(())
}

/// Turns a full disk into trouble with a cure.
fn explain(error: io::Error, folder: &Path) -> anyhow::Error {
    if error.kind() == io::ErrorKind::StorageFull {
        return Trouble::new(
            format!("the disk of {} is full", folder.display()),
            "free some space there; the next set-up goes on with what is downloaded",
        )
        .or("set SOFTLABEL_CACHE to a folder on another disk")
        .into();
    }
    error.into()
}

/// Removes wheels that are no longer needed, and their folder if that leaves it empty.
pub(crate) fn remove(wheels: &[PathBuf]) {
    for wheel in wheels {
        // A wheel that stays behind only takes up space; the next set-up would reuse it.
        let _ = fs::remove_file(wheel);
        if let Some(folder) = wheel.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::{Folder, Version};
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    /// Writes a wheel with a folder and these files; the content of each is its own name.
    fn make_wheel(path: &Path, files: &[&str]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        zip.add_directory("torch/include/ATen/", SimpleFileOptions::default()).unwrap();
        for file in files {
            zip.start_file(*file, SimpleFileOptions::default()).unwrap();
            zip.write_all(file.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    /// Unpacks two made-up wheels; `left_out` is missing from the first.
    fn check(left_out: Option<&str>) -> (tempfile::TempDir, Result<()>) {
        let version = Version::new(2, 11, 0);
        let platform = Platform::here(version).unwrap();
        let place = tempfile::tempdir().unwrap();
        let mut torch = vec![
            "torch/version.py",
            "torch/include/ATen/ATen.h",
            "torch/include/torch/csrc/api/include/torch/torch.h",
            "torch/lib/libtorch_cuda.so",
            "../outside.h",
        ];
        let (ours, other): (Vec<&str>, Vec<&str>) =
            platform.libraries.iter().partition(|name| name.starts_with("torch/"));
        torch.extend(ours.iter().filter(|name| Some(**name) != left_out));
        let wheels = [place.path().join("a.whl"), place.path().join("b.whl")];
        make_wheel(&wheels[0], &torch);
        make_wheel(&wheels[1], &other);
        let result = unpack(platform, &wheels, &place.path().join("libtorch"));
        (place, result)
    }

    #[test]
    fn wheels_become_a_libtorch_with_a_list_of_its_files() {
        let (place, result) = check(None);
        result.unwrap();
        let folder = place.path().join("libtorch");
        Folder::inspect_fetched(&folder, Version::new(2, 11, 0)).unwrap();
        let manifest = Manifest::read(&folder).unwrap().unwrap();
        manifest.check_hashes(&folder, &mut |_| {}).unwrap();
        let paths: Vec<_> = manifest.entries.iter().map(|entry| &*entry.path).collect();
        assert!(paths.contains(&"include/ATen/ATen.h"), "{paths:?}");
        assert!(!folder.join("lib/libtorch_cuda.so").exists());
        assert!(!place.path().join("outside.h").exists());
    }

    #[test]
    fn a_wheel_without_a_library_is_refused_before_the_list_is_written() {
        let platform = Platform::here(Version::new(2, 11, 0)).unwrap();
        let (place, result) = check(Some(platform.libraries[0]));
        let error = result.unwrap_err().to_string();
        assert!(error.contains(platform.libraries[0]), "{error}");
        assert_eq!(Manifest::read(&place.path().join("libtorch")), Ok(None));
    }

    #[test]
    fn a_cut_wheel_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let wheel = place.path().join("a.whl");
        make_wheel(&wheel, &["torch/include/ATen/ATen.h"]);
        let content = fs::read(&wheel).unwrap();
        fs::write(&wheel, &content[..content.len() / 2]).unwrap();
        let platform = Platform::here(Version::new(2, 11, 0)).unwrap();
        let error = unpack(platform, &[wheel], &place.path().join("libtorch")).unwrap_err();
        assert!(error.to_string().starts_with("cannot unpack"), "{error}");
    }

    #[test]
    fn a_full_disk_has_a_cure() {
        let error = explain(io::ErrorKind::StorageFull.into(), Path::new("/cache"));
        assert!(error.to_string().contains("SOFTLABEL_CACHE"), "{error}");
    }

    #[test]
    fn used_wheels_and_their_folder_go() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("downloads");
        fs::create_dir(&folder).unwrap();
        let wheels = [folder.join("a.whl"), folder.join("b.whl")];
        for wheel in &wheels {
            fs::write(wheel, "").unwrap();
        }
        remove(&wheels);
        assert!(!folder.exists());
    }
}
