//! Files mapped into memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file that the system reads as they are touched: opening costs nothing, and what was read stays in
/// memory for as long as there is room, for all programs together.
///
/// The file must not be shortened or written to while it is mapped, by any program: bytes that are gone end the
/// process. Files that are only ever replaced by renaming, as those of this project are, are safe: what is mapped stays
/// what it was.
///
/// ```
/// let path = std::env::temp_dir().join(format!("softlabel-mapped-{}", std::process::id()));
/// std::fs::write(&path, b"abc")?;
/// let file = softlabel_tensor::MappedFile::open(&path)?;
/// assert_eq!(file.as_ref(), b"abc");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MappedFile {
    /// None if the file is empty, which cannot be mapped.
    bytes: Option<Mmap>,
}

impl MappedFile {
    /// Maps a whole file for reading.
    ///
    /// # Errors
    /// What the system says: the file is not there, or not readable.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self { bytes: None });
        }
        // SAFETY: the bytes are only read, and nobody may change or shorten the file meanwhile, which is what this
        // type asks of its callers and what writing by renaming keeps.
        let bytes = unsafe { Mmap::map(&file) }?;
        Ok(Self { bytes: Some(bytes) })
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }
}
