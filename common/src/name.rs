//! Names that people give: RFC 1123 labels.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A lower-case RFC 1123 label: 1 to 63 letters, digits and hyphens, neither first nor last a hyphen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A text that is no name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a name: 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'")]
pub struct BadName(String);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bytes = text.as_bytes();
        let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| word(b) || *b == b'-')
            && bytes.first().is_some_and(word)
            && bytes.last().is_some_and(word);
        if good { Ok(Self(text.to_owned())) } else { Err(BadName(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rfc_1123_labels() {
        for good in ["a", "r1", "node-7", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
