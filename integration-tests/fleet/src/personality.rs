//! Vendors' peculiarities as data: what differs between the BMCs that are out there, one file each.

use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use crate::accounts::AccountRules;

/// The personalities that come with this crate: name and text.
const SHIPPED: [(&str, &str); 5] = [
    ("dell", include_str!("../personalities/dell.toml")),
    ("hpe", include_str!("../personalities/hpe.toml")),
    ("supermicro", include_str!("../personalities/supermicro.toml")),
    ("lenovo", include_str!("../personalities/lenovo.toml")),
    ("openbmc", include_str!("../personalities/openbmc.toml")),
];

/// How one vendor's BMC behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personality {
    /// The vendor, one word.
    pub name: String,
    /// What the machine's labels say.
    pub manufacturer: String,
    /// Model of the machine.
    pub product: String,
    /// Version of the BMC's firmware, as Redfish and web pages show it.
    pub firmware: String,
    /// Accounts, for every face of the BMC.
    pub accounts: AccountRules,
    /// The IPMI face.
    pub ipmi: IpmiTraits,
    /// The Redfish face; its schema is the Redfish server's.
    #[serde(default)]
    pub redfish: toml::Table,
}

/// The IPMI face of a personality.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpmiTraits {
    /// IANA number of the manufacturer.
    pub manufacturer_id: u32,
    /// Product number, the manufacturer's own.
    pub product_id: u16,
    /// Device number.
    pub device_id: u8,
    /// Firmware revision: major (7 bits) and minor (BCD).
    pub firmware: [u8; 2],
    /// The channel of the LAN port.
    pub lan_channel: u8,
    /// Cipher suites offered; this crate can do 3 and 17.
    pub cipher_suites: Vec<u8>,
    /// Sessions at a time.
    pub sessions: usize,
    /// A session ends after so many seconds without a packet.
    pub session_idle_secs: u64,
    /// How a user is looked up when the console asks by name and privilege.
    pub privilege_lookup: PrivilegeLookup,
    /// What a power cycle or reset does while the power is off.
    pub cycle_when_off: WhenOff,
    /// Boot flags are forgotten unless a chassis control command follows within 60 s, as the specification wants.
    pub boot_flags_expire: bool,
    /// Does the EFI bit of the boot flags stay set?
    pub keeps_efi_bit: bool,
}

/// The two readings of IPMI 2.0 table 13-11, "username/privilege look-up", that exist.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PrivilegeLookup {
    /// The user's limit must be what is asked for.
    Exact,
    /// The user's limit must reach what is asked for.
    AtLeast,
}

/// What a power cycle does while the power is off.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum WhenOff {
    /// It is refused: not in this state.
    Refuse,
    /// The power goes on.
    PowerOn,
}

/// A personality that cannot be used.
#[derive(Debug, Error)]
pub enum PersonalityError {
    /// Not in the form of a personality.
    #[error("the personality is not understood: {0}")]
    Form(#[from] toml::de::Error),
    /// A value that no BMC has.
    #[error("{field} of personality {name:?} must be {allowed}")]
    Value {
        /// Which personality.
        name: String,
        /// Which field.
        field: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// No such personality.
    #[error("there is no personality {name:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Personality {
    /// Names of the personalities that come with this crate.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// A personality that comes with this crate.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn shipped(name: &str) -> Result<Arc<Self>, PersonalityError> {
        let found = SHIPPED.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| PersonalityError::Unknown {
            name: name.to_owned(),
            known: Self::names().collect::<Vec<_>>().join(", "),
        })?;
        Self::parse(text)
    }

    /// Reads a personality from TOML.
    ///
    /// # Errors
    /// A field is missing, unknown, or holds what no BMC has.
    pub fn parse(text: &str) -> Result<Arc<Self>, PersonalityError> {
        let read: Self = toml::from_str(text)?;
        read.check()?;
        Ok(Arc::new(read))
    }

    fn check(&self) -> Result<(), PersonalityError> {
        let rules = &self.accounts;
        let password = &rules.password;
        let known = |slots: &[u8]| slots.iter().all(|slot| (1..=rules.slots).contains(slot));
        let suites = &self.ipmi.cipher_suites;
        let faults = [
            ((1..=62).contains(&rules.slots), "accounts.slots", "1 to 62"),
            (known(&rules.fixed_slots), "accounts.fixed_slots", "numbers of slots"),
            (known(&[rules.factory.slot]), "accounts.factory.slot", "the number of a slot"),
            (rules.factory.name.len() <= 16, "accounts.factory.name", "at most 16 bytes"),
            (rules.factory.password.len() <= 20, "accounts.factory.password", "at most 20 bytes"),
            (rules.empty_name.len() <= 16, "accounts.empty_name", "at most 16 bytes"),
            (password.min <= 20 && password.min <= password.max, "accounts.password.min", "at most 20 and max"),
            (suites.iter().all(|s| [3, 17].contains(s)) && !suites.is_empty(), "ipmi.cipher_suites", "of 3 and 17"),
            ((1..=8).contains(&self.ipmi.lan_channel), "ipmi.lan_channel", "1 to 8"),
            ((1..=63).contains(&self.ipmi.sessions), "ipmi.sessions", "1 to 63"),
            ((1..=3600).contains(&self.ipmi.session_idle_secs), "ipmi.session_idle_secs", "1 to 3600"),
            (self.ipmi.manufacturer_id < 1 << 20, "ipmi.manufacturer_id", "a number of 20 bits"),
        ];
        let fault = faults.into_iter().find(|(right, ..)| !right);
        fault.map_or(Ok(()), |(_, field, allowed)| {
            Err(PersonalityError::Value { name: self.name.clone(), field, allowed })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_personality_is_in_order_and_is_called_as_its_file() {
        for name in Personality::names() {
            assert_eq!(Personality::shipped(name).unwrap().name, name);
        }
        let error = Personality::shipped("acme").unwrap_err().to_string();
        assert_eq!(error, r#"there is no personality "acme"; there are dell, hpe, supermicro, lenovo, openbmc"#);
    }

    #[test]
    fn an_impossible_value_is_named() {
        let text = SHIPPED[0].1.replace("cipher_suites = [3, 17]", "cipher_suites = [3, 0]");
        let error = Personality::parse(&text).unwrap_err().to_string();
        assert_eq!(error, r#"ipmi.cipher_suites of personality "dell" must be of 3 and 17"#);
    }
}
