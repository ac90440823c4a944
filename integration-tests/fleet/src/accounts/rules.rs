//! What a vendor's BMC demands of accounts.

use serde::Deserialize;

/// Rules for the accounts of one BMC.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRules {
    /// Number of slots.
    pub slots: u8,
    /// Slots that cannot be written.
    pub fixed_slots: Vec<u8>,
    /// The account that the BMC is delivered with, an administrator.
    pub factory: Factory,
    /// What the BMC calls a free slot over IPMI.
    pub empty_name: String,
    /// Does it tell over IPMI whether a user is enabled?
    pub tells_enabled: bool,
    /// Two users cannot have one name.
    pub unique_names: bool,
    /// A user without a name takes no password.
    pub name_before_password: bool,
    /// A user without a password cannot be enabled.
    pub password_before_enable: bool,
    /// A user without a privilege limit gets no access to IPMI messages, not even by the command that sets both.
    pub privilege_before_messaging: bool,
    /// Demands on passwords.
    pub password: PasswordRules,
    /// What follows wrong passwords.
    pub lockout: Option<Lockout>,
}

/// The account that a BMC is delivered with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factory {
    /// Its slot.
    pub slot: u8,
    /// Its name.
    pub name: String,
    /// Its password, printed on a label or known to everybody.
    pub password: String,
}

/// Demands on a new password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRules {
    /// Characters at least.
    pub min: usize,
    /// Characters at most; IPMI itself takes 20.
    pub max: usize,
    /// Capital letters at least.
    #[serde(default)]
    pub upper: usize,
    /// Small letters at least.
    #[serde(default)]
    pub lower: usize,
    /// Digits at least.
    #[serde(default)]
    pub digits: usize,
    /// Other characters at least.
    #[serde(default)]
    pub others: usize,
    /// How often one character may follow itself, itself included; no limit if not given.
    pub max_run: Option<usize>,
}

/// When wrong passwords lock somebody out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockout {
    /// So many wrong passwords …
    pub attempts: u32,
    /// … within so many seconds …
    pub window_secs: u64,
    /// … lock out for so many seconds.
    pub penalty_secs: u64,
    /// Whom.
    pub scope: LockoutScope,
}

/// Whom a lock-out hits.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LockoutScope {
    /// The user, wherever it comes from.
    User,
    /// The address, whichever user it asks for.
    Address,
}

impl PasswordRules {
    /// Checks a new password; the error says what is demanded.
    ///
    /// # Errors
    /// It does not do.
    pub fn check(&self, password: &[u8]) -> Result<(), &'static str> {
        let count = |kind: fn(&u8) -> bool| password.iter().filter(|b| kind(b)).count();
        let demands = [
            (password.len() >= self.min, "is too short"),
            (password.len() <= self.max, "is too long"),
            (count(u8::is_ascii_uppercase) >= self.upper, "needs more capital letters"),
            (count(u8::is_ascii_lowercase) >= self.lower, "needs more small letters"),
            (count(u8::is_ascii_digit) >= self.digits, "needs more digits"),
            (
                count(|b| !b.is_ascii_alphanumeric()) >= self.others,
                "needs more characters that are no letters or digits",
            ),
            (self.max_run.is_none_or(|most| longest_run(password) <= most), "repeats a character too often"),
        ];
        demands.into_iter().find(|(met, _)| !met).map_or(Ok(()), |(_, why)| Err(why))
    }
}

fn longest_run(password: &[u8]) -> usize {
    password.chunk_by(|a, b| a == b).map(<[u8]>::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_demand_is_told() {
        let rules = PasswordRules { min: 6, max: 12, upper: 1, lower: 1, digits: 2, others: 1, max_run: Some(2) };
        let check = |password: &str, expected| assert_eq!(rules.check(password.as_bytes()), expected, "{password}");
        check("Ab12!x", Ok(()));
        check("Ab1!x", Err("is too short"));
        check("Ab12!xxyyzz..", Err("is too long"));
        check("ab12!x", Err("needs more capital letters"));
        check("AB12!X", Err("needs more small letters"));
        check("Abc1!x", Err("needs more digits"));
        check("Ab12xx", Err("needs more characters that are no letters or digits"));
        check("Ab12!xxx", Err("repeats a character too often"));
    }
}
