//! The list of files in a fetched libtorch, with size and SHA-256 of each.
//!
//! Sizes are compared at every set-up, which takes milliseconds and finds what killed programs and full disks leave behind.
//! Hashes are compared on request.
//!
//! The file is text: a line per file, `<sha256> <size> <path>`, paths relative to the folder with `/` between parts.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Name of the list in libtorch's folder.
const FILE: &str = "softlabel-manifest";

/// One file of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// SHA-256 in hex.
    pub(crate) sha256: String,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Path relative to the folder.
    pub(crate) path: String,
}

/// The files that a libtorch consists of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Every file, in the order of unpacking.
    pub(crate) entries: Vec<Entry>,
}

impl Manifest {
    /// Reads the list in `folder`; none if there is no such file.
    ///
    /// # Errors
    /// Says why, if the list is unreadable or empty.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        let entries: Option<Vec<Entry>> = text.lines().map(parse_line).collect();
        match entries {
            Some(entries) if !entries.is_empty() => Ok(Some(Self { entries })),
            _ => Err(format!("{} is damaged", path.display())),
        }
    }

    /// Writes the list into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = String::new();
        for entry in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {} {}", entry.sha256, entry.size, entry.path);
        }
        fs::write(folder.join(FILE), text)
    }

    /// Compares the size of every file.
    ///
    /// # Errors
    /// Names the first file that is missing or has another size.
    pub(crate) fn check_sizes(&self, folder: &Path) -> Result<(), String> {
        for entry in &self.entries {
            let found = fs::metadata(folder.join(&entry.path))
                .map_err(|_| format!("{} is missing", entry.path))?
                .len();
            if found != entry.size {
                return Err(format!("{} has {found} bytes instead of {}", entry.path, entry.size));
            }
        }
        Ok(())
    }

    /// Compares the SHA-256 of every file; `advance` is told of bytes read.
    ///
    /// # Errors
    /// Names the first file that differs or cannot be read.
    pub(crate) fn check_hashes(
        &self,
        folder: &Path,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), String> {
        for entry in &self.entries {
            let found = sha256(&folder.join(&entry.path), advance)
                .map_err(|error| format!("{} cannot be read: {error}", entry.path))?;
            if found != entry.sha256 {
                return Err(format!(
                    "{} has SHA-256 {found} instead of {}",
                    entry.path, entry.sha256
                ));
            }
        }
        Ok(())
    }

    /// Bytes of all files together.
    pub(crate) fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }
}

fn parse_line(line: &str) -> Option<Entry> {
    let (sha256, rest) = line.split_once(' ')?;
    let (size, path) = rest.split_once(' ')?;
    Some(Entry { sha256: sha256.to_owned(), size: size.parse().ok()?, path: path.to_owned() })
}

/// Copies everything from `reader` into a new file and returns its entry.
pub(crate) fn copy_into(
    folder: &Path,
    path: &str,
    reader: &mut dyn Read,
    advance: &mut dyn FnMut(u64),
) -> io::Result<Entry> {
    let target: PathBuf = folder.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(&target)?;
    let (sha256, size) = hash_through(reader, &mut file, advance)?;
    Ok(Entry { sha256, size, path: path.to_owned() })
}

/// The SHA-256 of a file, in hex.
pub(crate) fn sha256(path: &Path, advance: &mut dyn FnMut(u64)) -> io::Result<String> {
    let (hash, _) = hash_through(&mut File::open(path)?, &mut io::sink(), advance)?;
    Ok(hash)
}

/// Copies from reader to writer; returns the SHA-256 in hex and the number of bytes.
fn hash_through(
    reader: &mut dyn Read,
    writer: &mut dyn io::Write,
    advance: &mut dyn FnMut(u64),
) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        writer.write_all(&buffer[..read])?;
        total += read as u64;
        advance(read as u64);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((hex, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one file, `lib/a`, and its list.
    fn example() -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        let entry = copy_into(folder.path(), "lib/a", &mut &b"abc"[..], &mut |_| {}).unwrap();
        let manifest = Manifest { entries: vec![entry] };
        manifest.write(folder.path()).unwrap();
        (folder, manifest)
    }

    #[test]
    fn the_list_survives_a_round_trip() {
        let (folder, manifest) = example();
        // printf abc | sha256sum
        assert_eq!(
            manifest.entries[0].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(manifest.size(), 3);
        assert_eq!(Manifest::read(folder.path()).unwrap(), Some(manifest));
    }

    #[test]
    fn a_missing_or_cut_file_is_found_by_its_size() {
        let (folder, manifest) = example();
        assert_eq!(manifest.check_sizes(folder.path()), Ok(()));
        fs::write(folder.path().join("lib/a"), "ab").unwrap();
        let reason = manifest.check_sizes(folder.path()).unwrap_err();
        assert_eq!(reason, "lib/a has 2 bytes instead of 3");
        fs::remove_file(folder.path().join("lib/a")).unwrap();
        let reason = manifest.check_sizes(folder.path()).unwrap_err();
        assert_eq!(reason, "lib/a is missing");
    }

    #[test]
    fn a_changed_byte_is_found_by_its_hash() {
        let (folder, manifest) = example();
        let check = || manifest.check_hashes(folder.path(), &mut |_| {});
        assert_eq!(check(), Ok(()));
        fs::write(folder.path().join("lib/a"), "abd").unwrap();
        assert_eq!(manifest.check_sizes(folder.path()), Ok(()));
        assert!(check().unwrap_err().starts_with("lib/a has SHA-256"));
    }

    #[test]
    fn a_damaged_list_is_an_error_and_an_absent_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()), Ok(None));
        for text in ["", "ba78 3\n", "ba78 three lib/a\n"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert!(Manifest::read(folder.path()).is_err(), "{text:?}");
        }
    }
}
