//! Settings of a machine's firmware, which its BMC holds. Nothing of them is kept here.

use std::collections::BTreeSet;

use super::{Error, Result};

const MOST: usize = 100;
const MOST_NAME: usize = 128;
const MOST_VALUE: usize = 256;

/// What the firmware is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In order of their names.
    pub attributes: Vec<Attribute>,
    /// `None`: the BMC does not offer it.
    pub secure_boot: Option<SecureBoot>,
}

/// A BIOS attribute. Numbers and truth values are written as JSON writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, which is the vendor's.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What it will be after the next start, if that is something else.
    pub pending: Option<String>,
}

/// UEFI Secure Boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureBoot {
    /// It is on from the next start on.
    pub enable: bool,
    /// It was on at the last start; `None`: the BMC does not say.
    pub enforced: Option<bool>,
    /// `SetupMode`, `UserMode`, `AuditMode` or `DeployedMode`; empty: the BMC does not say.
    pub mode: String,
}

/// What somebody wants to be; checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    attributes: Vec<(String, String)>,
    secure_boot: Option<bool>,
}

impl Wanted {
    /// Checks names and values by themselves; whether there are such attributes, the BMC knows.
    ///
    /// # Errors
    /// Nothing is to be set, too much is, a name is given twice or is a password's, or a name or value cannot be one.
    pub fn new(attributes: Vec<(String, String)>, secure_boot: Option<bool>) -> Result<Self> {
        let wrong = |why: String| Err(Error::invalid("attributes", why));
        if attributes.is_empty() && secure_boot.is_none() {
            return wrong("nothing is to be set: give attributes or secure_boot".to_owned());
        }
        if attributes.len() > MOST {
            return wrong(format!("at most {MOST} at a time"));
        }
        let mut names = BTreeSet::new();
        for (name, value) in &attributes {
            if !fits(name, 1, MOST_NAME) {
                return wrong(format!("a name has 1 to {MOST_NAME} printable ASCII characters"));
            }
            if !fits(value, 0, MOST_VALUE) {
                return wrong(format!("{name}: a value has at most {MOST_VALUE} printable ASCII characters"));
            }
            if !names.insert(name) {
                return wrong(format!("{name} is given twice"));
            }
            // It would be in command lines, and in what a BMC says when it refuses it. Redfish has an action of its own for them.
            if name.to_ascii_lowercase().contains("password") {
                return wrong(format!("{name}: passwords of the firmware are not set here"));
            }
        }
        Ok(Self { attributes, secure_boot })
    }

    /// Names and values of BIOS attributes.
    #[must_use]
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// `None`: stays as it is.
    #[must_use]
    pub const fn secure_boot(&self) -> Option<bool> {
        self.secure_boot
    }

    /// For the log: which attributes, without their values: it is short.
    #[must_use]
    pub fn summary(&self) -> String {
        let names: Vec<_> = self.attributes.iter().map(|(name, _)| name.as_str()).collect();
        let names = if names.is_empty() { String::new() } else { format!("BIOS attributes {}", names.join(", ")) };
        let secure = self.secure_boot.map(|on| format!("secure boot {}", if on { "on" } else { "off" }));
        [Some(names).filter(|n| !n.is_empty()), secure].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn fits(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)], secure_boot: Option<bool>) -> Result<Wanted> {
        Wanted::new(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), secure_boot)
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        let long = "x".repeat(257);
        for (pairs, why) in [
            (&[][..], "nothing is to be set"),
            (&[("", "on")], "a name has 1 to 128"),
            (&[("Boot\n", "on")], "a name has 1 to 128"),
            (&[("AssetTag", &long)], "AssetTag: a value has at most 256"),
            (&[("SetupPassword", "hunter2")], "SetupPassword: passwords of the firmware are not set here"),
            (&[("A", "1"), ("A", "2")], "A is given twice"),
            (&[("A", "1"); 101], "at most 100"),
        ] {
            let told = wanted(pairs, None).unwrap_err().to_string();
            assert!(
                told.starts_with("attributes: ")
                    && told.contains(why)
                    && !told.contains(&long)
                    && !told.contains("hunter2"),
                "{told}"
            );
        }
    }

    #[test]
    fn the_log_tells_names_and_no_values() {
        let told = wanted(&[("BootMode", "Uefi"), ("AssetTag", "r7")], Some(true)).unwrap().summary();
        assert_eq!(told, "BIOS attributes BootMode, AssetTag; secure boot on");
        assert_eq!(wanted(&[], Some(false)).unwrap().summary(), "secure boot off");
    }
}
