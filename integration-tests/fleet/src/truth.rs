//! What really happened to a machine, whatever anybody was told: the judge of every test with simulated machines.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use farrier_common::words;

words! {
    /// Something that really happened to one machine.
    Fact {
        /// The power went from off to on.
        PowerOn = "power-on",
        /// The power went from on to off.
        PowerOff = "power-off",
        /// The power went off and on again by one command.
        PowerCycle = "power-cycle",
        /// The machine was reset without loss of power.
        Reset = "reset",
        /// The operating system was asked to shut down.
        SoftOff = "soft-off",
        /// The firmware obeyed a boot override.
        BootOverride = "boot-override",
        /// An operating system was written to a disk, to its end.
        Install = "install",
        /// An installed system was started.
        SystemStart = "system-start",
        /// A disk was wiped, to its end.
        Wipe = "wipe",
        /// A BMC account came to be.
        AccountMade = "account-made",
        /// A BMC account ceased to be.
        AccountRemoved = "account-removed",
        /// The password of a BMC account was set.
        PasswordSet = "password-set",
        /// Somebody logged in to the BMC.
        Login = "login",
        /// A wrong name or password was refused by the BMC.
        LoginRefused = "login-refused",
        /// The BMC locked somebody out after wrong passwords.
        Lockout = "lockout",
        /// A fault had the BMC take in a packet without a word.
        Unanswered = "unanswered",
    }
}

/// Counters of what happened to one machine. Shared by everything that makes something happen.
#[derive(Debug, Default)]
pub struct Truth([AtomicU64; Fact::ALL.len()]);

impl Truth {
    /// Notes that it happened once more.
    pub fn count(&self, fact: Fact) {
        self.0[fact as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, fact: Fact) -> u64 {
        self.0[fact as usize].load(Ordering::Relaxed)
    }

    /// All that happened at least once.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Fact, u64> {
        Fact::ALL.iter().map(|fact| (*fact, self.of(*fact))).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_what_happened() {
        let truth = Truth::default();
        truth.count(Fact::Wipe);
        truth.count(Fact::Wipe);
        truth.count(Fact::PowerOn);
        assert_eq!(truth.snapshot(), BTreeMap::from([(Fact::PowerOn, 1), (Fact::Wipe, 2)]));
        assert_eq!(truth.of(Fact::Install), 0);
    }
}
