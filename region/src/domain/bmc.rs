//! A machine's BMC: how it is reached, and what it tells of itself.

use std::net::Ipv4Addr;

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    hardware::{BmcProtocol, EventSeverity},
    tls::Fingerprint,
    webhook::Webhook,
};
use serde::{Deserialize, Serialize};

use super::{Error, Result, observation::Trouble, spelled};

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

/// The newest entries of a BMC's own event log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    /// The newest first.
    pub events: Vec<BmcEvent>,
    /// There are older ones.
    pub more: bool,
    /// What the BMC calls it.
    pub name: String,
}

/// What a BMC has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcEvent {
    /// The BMC's own.
    pub id: String,
    /// When, by the BMC's clock; `None`: it does not say.
    pub at: Option<Timestamp>,
    /// How bad; `None`: it does not say.
    pub severity: Option<EventSeverity>,
    /// What.
    pub text: String,
}

/// What somebody wants to be another in how a BMC is reached; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BmcUpdate {
    /// Where.
    pub address: Option<Ipv4Addr>,
    /// How it is spoken to; `Some(None)`: to be found out.
    pub protocol: Option<Option<BmcProtocol>>,
    /// UDP or TCP port; 0: the protocol's own.
    pub port: Option<u16>,
    /// An account that exists, to be used as it is.
    pub username: Option<String>,
    /// Redfish: the certificate that it must show; `Some(None)`: the one that it shows now.
    pub certificate: Option<Option<Fingerprint>>,
    /// Redfish: `Id` of the system.
    pub system: Option<String>,
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

    /// The same BMC, reached as `update` says.
    ///
    /// # Errors
    /// Nothing is to be another, or what results cannot be; the text names the field.
    pub fn updated(&self, update: &BmcUpdate) -> Result<Self> {
        if *update == BmcUpdate::default() {
            let why = "nothing is to be changed: give address, protocol, port, username and password, certificate_sha256 or system";
            return Err(Error::invalid("bmc", why));
        }
        let mut bmc = self.clone();
        bmc.address = update.address.unwrap_or(self.address);
        if let Some(protocol) = update.protocol {
            if let Some(only) = protocol.filter(|p| p.only_power()) {
                return Err(Error::invalid(
                    "protocol",
                    format!("{only} is not reached by a login: commission the machine with it"),
                ));
            }
            bmc.protocol = protocol;
            bmc.port = protocol.map(BmcProtocol::port).unwrap_or_default();
        }
        match (update.port, bmc.protocol) {
            (Some(0), protocol) => bmc.port = protocol.map(BmcProtocol::port).unwrap_or_default(),
            (Some(port), Some(_)) => bmc.port = port,
            (Some(_), None) => {
                return Err(Error::invalid(
                    "port",
                    "needs a protocol: without one, the protocols' own ports are asked",
                ));
            }
            (None, _) => {}
        }
        if let Some(username) = &update.username {
            bmc.username.clone_from(username);
            bmc.managed = false;
        }
        bmc.certificate = update.certificate.unwrap_or(self.certificate);
        bmc.system = update.system.clone().unwrap_or_else(|| self.system.clone());
        let only_redfish = [
            ("certificate_sha256", update.certificate.flatten().is_some()),
            ("system", update.system.as_ref().is_some_and(|s| !s.is_empty())),
        ];
        if let Some(BmcProtocol::Ipmi) = bmc.protocol {
            if let Some((field, _)) = only_redfish.iter().find(|(_, given)| *given) {
                return Err(Error::invalid(*field, "is for redfish; the protocol is ipmi"));
            }
            (bmc.certificate, bmc.system) = (None, String::new());
        }
        Ok(bmc)
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
    fn only_what_is_given_becomes_another() {
        let bmc = Bmc { protocol: Some(BmcProtocol::Redfish), port: 8443, managed: true, ..rotating() };
        let update = |update: BmcUpdate| bmc.updated(&update);
        let moved = update(BmcUpdate { address: Some([10, 9, 8, 7].into()), ..BmcUpdate::default() }).unwrap();
        assert_eq!(moved, Bmc { address: [10, 9, 8, 7].into(), ..bmc.clone() });
        let other = update(BmcUpdate { username: Some("root".to_owned()), ..BmcUpdate::default() }).unwrap();
        assert_eq!((other.username.as_str(), other.managed), ("root", false));
        let ipmi = BmcUpdate { protocol: Some(Some(BmcProtocol::Ipmi)), ..BmcUpdate::default() };
        assert_eq!(update(ipmi.clone()).unwrap().port, 623);
        let open = BmcUpdate { protocol: Some(None), ..BmcUpdate::default() };
        assert_eq!((update(open.clone()).unwrap().protocol, update(open.clone()).unwrap().port), (None, 0));
        for (wrong, field) in [
            (BmcUpdate::default(), "bmc"),
            (BmcUpdate { port: Some(7), ..open }, "port"),
            (BmcUpdate { system: Some("1".to_owned()), ..ipmi }, "system"),
        ] {
            let error = update(wrong).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
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
