//! Errors that carry their cures.
//!
//! Whoever runs a set-up wants to know what to type next, so a [`Trouble`] says what is wrong and then lists the ways out, the best one first.

use std::fmt;

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What was expected and what was found.
    pub(crate) what: String,
    /// Ways out, the best one first; any one of them suffices.
    pub(crate) cures: Vec<String>,
}

impl Trouble {
    /// Trouble with its best cure.
    pub(crate) fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cures: vec![cure.into()] }
    }

    /// Adds another way out.
    #[must_use]
    pub(crate) fn or(mut self, cure: impl Into<String>) -> Self {
        self.cures.push(cure.into());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for (number, cure) in self.cures.iter().enumerate() {
            let lead = if number == 0 { "what to do:" } else { "or:" };
            write!(f, "\n  {lead} {cure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cures_follow_the_trouble_one_a_line() {
        let trouble = Trouble::new("no compiler", "install g++").or("set CXX");
        assert_eq!(trouble.to_string(), "no compiler\n  what to do: install g++\n  or: set CXX");
    }
}
