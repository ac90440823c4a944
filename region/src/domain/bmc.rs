//! A machine's BMC: how it is reached, and what it tells of itself.

use std::net::Ipv4Addr;

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, hardware::BmcProtocol, tls::Fingerprint, webhook::Webhook};
use serde::{Deserialize, Serialize};

use super::{observation::Trouble, spelled};

/// How a BMC is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bmc {
    /// How it is spoken to; `None` until a probe has found it out.
    #[serde(with = "spelled::optional", default)]
    pub protocol: Option<BmcProtocol>,
    /// Where.
    pub address: Ipv4Addr,
    /// UDP or TCP port; 0 until the protocol is known.
    pub port: u16,
    /// The account in use now.
    pub username: String,
    /// True once the account in use is one that Farrier made.
    pub managed: bool,
    /// Use the given account for good; make none.
    pub use_as_is: bool,
    /// Redfish: the certificate that it is known by; `None` until it was seen.
    #[serde(with = "spelled::optional", default)]
    pub certificate: Option<Fingerprint>,
    /// Redfish: `Id` of the system, if the BMC has several.
    #[serde(default)]
    pub system: String,
    /// Webhook: what is asked where.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// What it told of itself when it was probed last.
    #[serde(default)]
    pub facts: Option<BmcFacts>,
    /// An account of our name with another password is to be taken over.
    #[serde(default)]
    pub take_over: bool,
    /// When the password of our account was changed last.
    #[serde(default)]
    pub rotated_at: Option<Timestamp>,
    /// A change of that password that is under way.
    #[serde(default)]
    pub rotation: Option<Rotation>,
    /// When a change of that password was given up; `None`: it was changed since.
    #[serde(default)]
    pub rotation_failed_at: Option<Timestamp>,
}

/// A change of our account's password that is under way. The new one is in the vault; the old one is in use until the BMC has
/// taken the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Since when it is wanted.
    pub since: Timestamp,
    /// Who wants it.
    pub by: String,
    /// How often it was tried.
    pub tries: u32,
    /// What kept the last try from succeeding.
    pub trouble: Option<String>,
    /// When it is tried next.
    pub due: Timestamp,
}

/// What a BMC tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BmcFacts {
    /// When.
    pub observed_at: Timestamp,
    /// Who made it.
    pub vendor: String,
    /// Which product.
    pub product: String,
    /// Version of its own firmware.
    pub firmware_version: String,
    /// What can be done with it.
    pub capabilities: Vec<String>,
    /// The protocols that it answers to, if it was to be found out.
    #[serde(with = "spelled::many")]
    pub speaks: Vec<BmcProtocol>,
    /// Why it is spoken to as it is.
    pub because: String,
    /// IPMI: the cipher suite of the session.
    pub cipher_suite: u8,
    /// Redfish: the vendor rules that are applied.
    pub rules: Vec<String>,
}

/// An exchange with a BMC, or several of the same in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When the last one ended.
    pub at: Timestamp,
    /// What was asked and what came of it.
    pub text: String,
    /// How often in a row.
    pub times: u32,
}

/// Characters of a password that is made: IPMI 2.0 holds 16 for certain; the 20-byte form is not supported everywhere.
pub const PASSWORD: usize = 16;
/// After so many tries a rotation is given up: a quarter of an hour.
const ROTATION_TRIES: u32 = 20;
/// Between two tries.
const PATIENCE: (i64, i64) = (2, 60);

impl Bmc {
    /// One on which our account was just made from inside; what it speaks is to be found out.
    #[must_use]
    pub const fn ours(address: Ipv4Addr, username: String) -> Self {
        Self {
            protocol: None,
            address,
            port: 0,
            username,
            managed: true,
            use_as_is: false,
            certificate: None,
            system: String::new(),
            webhook: None,
            facts: None,
            take_over: false,
            rotated_at: None,
            rotation: None,
            rotation_failed_at: None,
        }
    }

    /// Can nothing be done with it but power?
    #[must_use]
    pub fn only_power(&self) -> bool {
        self.protocol.is_some_and(BmcProtocol::only_power)
    }

    /// Is it time to try to change the password?
    #[must_use]
    pub fn owes_rotation(&self, now: Timestamp) -> bool {
        self.rotation.as_ref().is_some_and(|r| r.due <= now)
    }

    /// The password is changed.
    pub fn rotated(&mut self, now: Timestamp) {
        self.rotation = None;
        self.rotated_at = Some(now);
        self.rotation_failed_at = None;
    }

    /// The password could not be changed. `Some`: nobody tries any more, and why.
    pub fn not_rotated(&mut self, trouble: &Trouble, now: Timestamp) -> Option<String> {
        let rotation = self.rotation.as_mut()?;
        rotation.tries = rotation.tries.saturating_add(1);
        rotation.trouble = Some(trouble.text.clone());
        let (least, most) = PATIENCE;
        rotation.due = now + TimeDelta::seconds((least << rotation.tries.min(5)).min(most));
        let why = if trouble.kind.is_final() {
            "trying again would not help".to_owned()
        } else if rotation.tries >= ROTATION_TRIES {
            format!("gave up after {} tries", rotation.tries)
        } else {
            return None;
        };
        self.rotation = None;
        self.rotation_failed_at = Some(now);
        Some(why)
    }

    /// Takes down what a probe found out.
    pub fn learn(&mut self, protocol: BmcProtocol, certificate: Option<Fingerprint>, facts: BmcFacts) {
        self.protocol = Some(protocol);
        if self.port == 0 {
            self.port = protocol.port();
        }
        // A webhook shows none to be remembered: the one that was given stays.
        if !self.only_power() {
            self.certificate = certificate;
        }
        self.facts = Some(facts);
    }
}

/// Who has an IANA enterprise number, among those who make BMCs or the firmware on them.
#[must_use]
pub fn maker(enterprise: u32) -> String {
    let name = match enterprise {
        2 => "IBM",
        11 | 47_196 => "HPE",
        343 => "Intel",
        674 => "Dell",
        5_771 => "Cisco",
        7_244 => "Quanta",
        10_368 => "Fujitsu",
        10_876 | 47_488 => "Supermicro",
        19_046 => "Lenovo",
        37_945 => "Inspur",
        other => return format!("IANA enterprise {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        observation::TroubleKind,
        testing::{at, machine},
    };

    fn rotating() -> Bmc {
        let mut bmc = machine(crate::domain::lifecycle::State::Ready, None).details.bmc.unwrap();
        bmc.rotation = Some(Rotation { since: at(0), by: "user:ann".to_owned(), tries: 0, trouble: None, due: at(0) });
        bmc
    }

    fn trouble(kind: TroubleKind) -> Trouble {
        Trouble { kind, text: "no answer".to_owned() }
    }

    #[test]
    fn a_rotation_is_tried_later_and_not_for_ever() {
        let mut bmc = rotating();
        assert!(bmc.owes_rotation(at(0)));
        assert_eq!(bmc.not_rotated(&trouble(TroubleKind::Transient), at(0)), None);
        assert!(!bmc.owes_rotation(at(3)) && bmc.owes_rotation(at(4)));
        let (mut now, mut tries) = (at(4), 1);
        let told = loop {
            tries += 1;
            if let Some(told) = bmc.not_rotated(&trouble(TroubleKind::Transient), now) {
                break told;
            }
            now = bmc.rotation.as_ref().unwrap().due;
        };
        assert_eq!((tries, told.as_str()), (ROTATION_TRIES, "gave up after 20 tries"));
        assert!(!bmc.owes_rotation(now) && bmc.rotated_at.is_none());
        assert!((now - at(0)).num_minutes() >= 15, "a BMC may start anew meanwhile");
    }

    #[test]
    fn what_would_not_help_is_not_tried_again() {
        for kind in [TroubleKind::Permanent, TroubleKind::Refused, TroubleKind::Untrusted] {
            assert!(rotating().not_rotated(&trouble(kind), at(0)).is_some(), "{kind}");
        }
    }

    #[test]
    fn a_probe_settles_what_was_open_and_leaves_a_port_that_was_given() {
        let mut bmc = Bmc { protocol: None, port: 0, ..rotating() };
        bmc.learn(BmcProtocol::Redfish, None, BmcFacts::default());
        assert_eq!((bmc.protocol, bmc.port), (Some(BmcProtocol::Redfish), 443));
        let mut bmc = Bmc { port: 8443, ..bmc };
        bmc.learn(BmcProtocol::Redfish, None, BmcFacts::default());
        assert_eq!(bmc.port, 8443);
    }

    #[test]
    fn a_webhook_is_kept_as_it_was_given_and_what_it_cannot_do_is_refused() {
        let given = farrier_common::webhook::Given {
            on_url: "http://10.0.0.9/on".to_owned(),
            off_url: "http://10.0.0.9/off".to_owned(),
            query_url: "http://10.0.0.9/state".to_owned(),
            on_regex: "\"on\"".to_owned(),
            off_regex: "\"off\"".to_owned(),
            insecure: false,
        };
        let mut m = machine(crate::domain::lifecycle::State::Ready, None);
        let pinned = Some(Fingerprint::of(b"a certificate"));
        let bmc = m.details.bmc.as_mut().unwrap();
        assert!(!bmc.only_power());
        (bmc.protocol, bmc.webhook, bmc.certificate) =
            (Some(BmcProtocol::Webhook), Some(given.try_into().unwrap()), pinned);
        bmc.learn(BmcProtocol::Webhook, None, BmcFacts::default());
        assert_eq!(bmc.certificate, pinned, "a probe does not forget it");
        let kept: Bmc = serde_json::from_str(&serde_json::to_string(bmc).unwrap()).unwrap();
        assert_eq!(&kept, bmc);
        let told = crate::domain::verbs::bmc::more_than_power(&m, "a probe", "").unwrap_err();
        assert!(told.to_string().contains("driven by webhook"), "{told}");
    }
}
