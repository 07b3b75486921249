//! Whether a folder holds a whole libtorch, and of which version.
//!
//! A libtorch distribution, the `torch` folder of a Python installation and what [`super::fetch`] unpacks all have the same `lib` and `include`.
//! They differ in where the version stands, so it is looked for in several places.

use std::fs;
use std::path::{Path, PathBuf};

use super::Version;
use super::manifest::Manifest;

/// The file with the version; torch-sys reads it too.
pub(crate) const BUILD_VERSION: &str = "build-version";

/// What every program needs to compile and link.
const NEEDED: [&str; 4] = if cfg!(target_os = "macos") {
    [
        "include/torch/csrc/api/include/torch/torch.h",
        "lib/libtorch.dylib",
        "lib/libtorch_cpu.dylib",
        "lib/libc10.dylib",
    ]
} else {
    [
        "include/torch/csrc/api/include/torch/torch.h",
        "lib/libtorch.so",
        "lib/libtorch_cpu.so",
        "lib/libc10.so",
    ]
};

/// A folder that holds a whole libtorch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its version.
    pub(crate) version: Version,
}

impl Folder {
    /// Looks whether `path` holds libtorch `wanted`.
    ///
    /// # Errors
    /// Says why not, as a sentence without subject: "has no lib/libc10.so".
    pub(crate) fn inspect(path: &Path, wanted: Version) -> Result<Self, String> {
        if !path.is_dir() {
            return Err("is not a folder".to_owned());
        }
        let version = read_version(path);
        if let Some((found, exact)) = version
            && (!found.same_minor(wanted) || (exact && found != wanted))
        {
            return Err(format!("holds libtorch {found} instead of {wanted}"));
        }
        if let Some(missing) = NEEDED.iter().find(|file| !path.join(file).is_file()) {
            return Err(format!("has no {missing}"));
        }
        if let Some(manifest) = Manifest::read(path)? {
            manifest.check_sizes(path).map_err(|reason| format!("is damaged: {reason}"))?;
        }
        match version {
            Some((version, _)) => Ok(Self { path: path.to_owned(), version }),
            None => Err(format!(
                "does not say its version (no {BUILD_VERSION}, version.py or version.h)"
            )),
        }
    }

    /// Looks whether `path` holds a libtorch that this program fetched.
    ///
    /// # Errors
    /// Says why not, as [`Folder::inspect`] does; the list of files must be there too.
    pub(crate) fn inspect_fetched(path: &Path, wanted: Version) -> Result<Self, String> {
        match Manifest::read(path)? {
            Some(_) => Self::inspect(path, wanted),
            None => Err("is damaged: the list of its files is missing".to_owned()),
        }
    }

    /// Whether the CUDA half of libtorch is there too.
    pub(crate) fn has_cuda(&self) -> bool {
        self.path.join("lib/libtorch_cuda.so").is_file()
    }
}

/// The version of the libtorch in `folder`, and whether torch-sys insists on its patch number too.
fn read_version(folder: &Path) -> Option<(Version, bool)> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    if let Some(version) = read(BUILD_VERSION).and_then(|text| Version::parse(&text)) {
        return Some((version, true));
    }
    let version = read("version.py").and_then(|text| version_in_python(&text)).or_else(|| {
        ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"]
            .iter()
            .find_map(|name| read(name).and_then(|text| version_in_header(&text)))
    })?;
    Some((version, false))
}

/// The version in a line such as `__version__ = '2.11.0+cu130'`.
fn version_in_python(text: &str) -> Option<Version> {
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    let quoted = line.split_once('=')?.1.trim();
    Version::parse(quoted.trim_matches(['\'', '"']))
}

/// The version in lines such as `#define TORCH_VERSION_MAJOR 2`.
fn version_in_header(text: &str) -> Option<Version> {
    let number = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(name))
                .then(|| words.next()?.parse().ok())
                .flatten()
        })
    };
    Some(Version::new(
        number("TORCH_VERSION_MAJOR")?,
        number("TORCH_VERSION_MINOR")?,
        number("TORCH_VERSION_PATCH")?,
    ))
}

/// Makes a folder that passes [`Folder::inspect`], for tests.
#[cfg(test)]
pub(crate) fn make_example(path: &Path, version: &str) {
    for file in NEEDED {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    fs::write(path.join(BUILD_VERSION), version).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Version = Version::new(2, 11, 0);

    fn check(change: impl FnOnce(&Path)) -> Result<Version, String> {
        let folder = tempfile::tempdir().unwrap();
        make_example(folder.path(), "2.11.0+cpu\n");
        change(folder.path());
        Folder::inspect(folder.path(), WANTED).map(|found| found.version)
    }

    #[test]
    fn a_whole_libtorch_is_accepted() {
        assert_eq!(check(|_| {}), Ok(WANTED));
    }

    #[test]
    fn another_version_is_named() {
        let reason = check(|path| fs::write(path.join(BUILD_VERSION), "2.9.1").unwrap());
        assert_eq!(reason.unwrap_err(), "holds libtorch 2.9.1 instead of 2.11.0");
    }

    #[test]
    fn the_version_of_a_python_torch_may_differ_in_its_patch() {
        let python = |version: &str| {
            let line = format!("__version__ = '{version}'\n");
            check(|path| {
                fs::remove_file(path.join(BUILD_VERSION)).unwrap();
                fs::write(path.join("version.py"), line).unwrap();
            })
        };
        assert_eq!(python("2.11.0+cu130"), Ok(WANTED));
        assert_eq!(python("2.11.1"), Ok(Version::new(2, 11, 1)));
        assert!(python("2.12.0").is_err());
        // build-version is compared exactly by torch-sys.
        assert!(check(|path| fs::write(path.join(BUILD_VERSION), "2.11.1").unwrap()).is_err());
    }

    #[test]
    fn headers_know_the_version_when_nothing_else_does() {
        let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n\
            #define TORCH_VERSION_PATCH 0\n";
        let found = check(|path| {
            fs::remove_file(path.join(BUILD_VERSION)).unwrap();
            let folder = path.join("include/torch/headeronly");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("version.h"), header).unwrap();
        });
        assert_eq!(found, Ok(WANTED));
        let reason = check(|path| fs::remove_file(path.join(BUILD_VERSION)).unwrap());
        assert!(reason.unwrap_err().starts_with("does not say its version"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = NEEDED[3];
        let reason = check(|path| fs::remove_file(path.join(missing)).unwrap());
        assert_eq!(reason.unwrap_err(), format!("has no {missing}"));
        let reason = Folder::inspect(Path::new("/nowhere/at/all"), WANTED).unwrap_err();
        assert_eq!(reason, "is not a folder");
    }

    #[test]
    fn what_was_fetched_has_a_list_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        make_example(folder.path(), "2.11.0");
        assert!(Folder::inspect(folder.path(), WANTED).is_ok());
        let reason = Folder::inspect_fetched(folder.path(), WANTED).unwrap_err();
        assert_eq!(reason, "is damaged: the list of its files is missing");
        fs::write(folder.path().join("softlabel-manifest"), format!("{:064} 6 build-version\n", 0))
            .unwrap();
        assert!(Folder::inspect_fetched(folder.path(), WANTED).is_ok());
    }

    #[test]
    fn a_file_that_differs_from_the_list_is_damage() {
        let reason = check(|path| {
            let line = format!("{:064} 7 lib/libextra.so\n", 0);
            fs::write(path.join("softlabel-manifest"), line).unwrap();
        });
        assert_eq!(reason.unwrap_err(), "is damaged: lib/libextra.so is missing");
    }
}
