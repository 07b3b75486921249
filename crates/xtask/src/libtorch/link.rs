//! The workspace's link to libtorch.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::search::same_file;
use crate::trouble::Trouble;

/// What became of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// There was none.
    Made,
    /// It led there already.
    None,
    /// It led elsewhere.
    Replaced,
}

/// Makes `link` lead to `target`; whoever looks sees the old link or the new one.
pub(crate) fn point(link: &Path, target: &Path) -> Result<Change> {
    if same_file(link, target) {
        return Ok(Change::None);
    }
    let change = match fs::symlink_metadata(link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Change::Made,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", link.display())),
        Ok(found) if found.is_symlink() => Change::Replaced,
        Ok(_) => {
            return Err(Trouble::new(
                format!("{} is not a link but a file or folder", link.display()),
                "move it away, then run `cargo xtask setup` again",
            )
            .into());
        }
    };
    let folder = link.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new()
        .prefix(".libtorch-")
        .make_in(folder, |path| symlink(target, path))
        .and_then(|made| made.into_temp_path().persist(link).map_err(Into::into));
    made.with_context(|| format!("cannot make {} a link to {}", link.display(), target.display()))?;
    Ok(change)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "links are made on Linux and macOS only; set LIBTORCH for every build instead",
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_made_kept_and_replaced() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join(".libtorch");
        let [first, second] = ["first", "second"].map(|name| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        assert_eq!(point(&link, &first).unwrap(), Change::Made);
        assert_eq!(point(&link, &first).unwrap(), Change::None);
        assert_eq!(point(&link, &second).unwrap(), Change::Replaced);
        assert_eq!(fs::read_link(&link).unwrap(), second);
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_link_to_nowhere_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join(".libtorch");
        symlink(Path::new("/nowhere/at/all"), &link).unwrap();
        assert_eq!(point(&link, place.path()).unwrap(), Change::Replaced);
    }

    #[test]
    fn a_folder_in_the_place_of_the_link_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join(".libtorch");
        fs::create_dir(&link).unwrap();
        fs::write(link.join("precious"), "").unwrap();
        let error = point(&link, Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("move it away"), "{error}");
        assert!(link.join("precious").exists());
    }
}
