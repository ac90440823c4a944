//! Declared storage and network of a machine: what people want a deployment to make of disks and interfaces.
//!
//! **Invariant:** what is stored has been checked, against itself and against the hardware as far as it was known then. A
//! check finds every fault that it can, each with the path of its field.

use std::fmt::Display;

use super::{
    Error,
    machine::{Hardware, Machine},
};
use farrier_common::hardware::Firmware;

pub mod clone;
pub mod network;
pub mod storage;
#[cfg(test)]
pub(crate) mod testing;

/// How many faults are told at once.
const MOST_TOLD: usize = 12;
/// How long a text of the caller's is repeated to him.
const MOST_QUOTED: usize = 60;
/// How long one fault may get.
const MOST_FAULT: usize = 240;

/// What a layout is checked against, besides itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The inventory, if there was one.
    pub hardware: Option<&'a Hardware>,
    /// How the machine boots, once known.
    pub firmware: Option<Firmware>,
}

impl<'a> From<&'a Machine> for Facts<'a> {
    fn from(m: &'a Machine) -> Self {
        Self { hardware: m.details.hardware.as_ref(), firmware: m.firmware }
    }
}

/// Something in a layout that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field, such as `storage.disks[0].partitions[2].size_bytes`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub why: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One more.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over temporaries")]
    fn add(&mut self, field: impl Into<String>, why: impl ToString) {
        let why = why.to_string().chars().take(MOST_FAULT).collect();
        self.0.push(Fault { field: field.into(), why });
    }

    /// One more if `good` is false.
    fn unless(&mut self, good: bool, field: impl Into<String>, why: impl ToString) {
        if !good {
            self.add(field, why);
        }
    }

    /// A list has its limit; what is beyond it is not looked at.
    fn bound<'a, T>(&mut self, field: &str, list: &'a [T], most: usize) -> &'a [T] {
        self.unless(list.len() <= most, field, format!("has {} entries; at most {most} are allowed", list.len()));
        list.get(..most).unwrap_or(list)
    }

    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}

/// One error that tells all faults, as far as there is room.
///
/// # Errors
/// There is a fault.
pub fn sound(faults: &[Fault]) -> super::Result<()> {
    let Some((first, more)) = faults.split_first() else { return Ok(()) };
    let mut reason = first.why.clone();
    for fault in more.iter().take(MOST_TOLD - 1) {
        reason = format!("{reason}; {fault}");
    }
    if faults.len() > MOST_TOLD {
        reason = format!("{reason}; and {} more faults", faults.len() - MOST_TOLD);
    }
    Err(Error::invalid(first.field.clone(), reason))
}

/// A text of the caller's, cut and made visible.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(MOST_QUOTED).collect::<String>())
}

/// A word or an address, stored by its text.
mod word {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(word: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(word)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The same, where the empty text means none.
mod optional_word {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde hands it over so")]
    pub(super) fn serialize<T: Display, S: Serializer>(word: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match word {
            Some(word) => to.collect_str(word),
            None => to.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
    }
}
