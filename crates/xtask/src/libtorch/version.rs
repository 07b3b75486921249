//! Versions, and which libtorch goes with which tch.

use std::fmt;

/// Three numbers; a build tag such as `+cu130` is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// Major version.
    pub(crate) major: u32,
    /// Minor version.
    pub(crate) minor: u32,
    /// Patch version.
    pub(crate) patch: u32,
}

impl Version {
    /// A version from its numbers.
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `2.11.0`, `2.11.0+cu130`, `2.11` or `2.12.0a0`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let numbers = text.trim().split('+').next()?;
        let mut parts = numbers.split('.').map(leading_number);
        let major = parts.next()??;
        let minor = parts.next()??;
        let patch = parts.next().flatten().unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }

    /// The libtorch that a tch release is written for.
    pub(crate) fn wanted_by_tch(tch: Self) -> Option<Self> {
        match (tch.major, tch.minor) {
            (0, 24) => Some(Self::new(2, 11, 0)),
            (0, 26) => Some(Self::new(2, 13, 0)),
            _ => None,
        }
    }

    /// Same major and minor version.
    pub(crate) fn same_minor(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The number at the start of a text.
fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_tags_and_suffixes_are_dropped() {
        let expected = Some(Version::new(2, 11, 0));
        for text in ["2.11.0", "2.11.0+cu130", " 2.11.0\n", "2.11", "2.11.0a0"] {
            assert_eq!(Version::parse(text), expected, "{text:?}");
        }
        for text in ["", "2", "two.eleven", "nightly"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_known_tch_has_its_libtorch() {
        let wanted = |text| Version::wanted_by_tch(Version::parse(text).unwrap());
        assert_eq!(wanted("0.24.0"), Some(Version::new(2, 11, 0)));
        assert_eq!(wanted("0.26.0"), Some(Version::new(2, 13, 0)));
        assert_eq!(wanted("0.25.0"), None);
    }
}
