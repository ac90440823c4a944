//! From the wire to `boot` and `bmc`, field by field. What comes out cannot be wrong.

use std::{
    collections::HashSet,
    fmt::Display,
    net::{Ipv4Addr, SocketAddrV4},
    str::FromStr,
    time::Duration,
};

use chrono::DateTime;
use farrier_common::{
    hardware::{BmcProtocol, BootDevice, PowerState},
    id::{Id, Kind, MachineId},
    name::Name,
    net::{Ipv4Range, MacAddr},
    secret::Secret,
};
use farrier_proto::{
    convert::{power_from_wire, power_to_wire, protocol_from_wire, protocol_to_wire, webhook_from_wire},
    rack as proto,
    v1::Webhook,
};
use ipnet::Ipv4Net;

use crate::{
    bmc::{
        Face, Identity, Login, Probe,
        account::Account,
        discover::{Discovery, Stranger},
        gate::Class,
        ipmi::lanplus::KnownSuites,
        redfish::{Https, trust::Pin},
        webhook,
    },
    boot::intent::{BlobRef, Ephemeral, EphemeralImage, Intent, Interface, Snapshot, Subnet, Target},
};

/// A field that cannot be, and what may be instead.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {text}")]
pub(super) struct Invalid {
    field: String,
    text: String,
}

impl Invalid {
    pub(super) fn new(field: &str, text: impl Display) -> Self {
        Self { field: field.to_owned(), text: text.to_string() }
    }
}

type Result<T> = std::result::Result<T, Invalid>;

const INTENTS: usize = 200_000;
const SUBNETS: usize = 1024;
const INTERFACES: usize = 64;
const CMDLINE: usize = 1024;
const LEASE_SECONDS: std::ops::RangeInclusive<u32> = 10..=604_800;

/// Wire messages that become checked words. `field` is the message's own name, for errors.
pub(super) trait Checked {
    /// The word.
    type Word;
    /// Checks every field.
    fn checked(self, field: &str) -> Result<Self::Word>;
}

impl<T: Checked> Checked for Option<T> {
    type Word = T::Word;

    fn checked(self, field: &str) -> Result<T::Word> {
        self.ok_or_else(|| Invalid::new(field, "is required"))?.checked(field)
    }
}

impl Checked for proto::Bmc {
    type Word = Login;

    fn checked(self, field: &str) -> Result<Login> {
        match to_probe(self, field)? {
            ToProbe::Known(login) => Ok(login),
            ToProbe::Stranger(_) => Err(Invalid::new(
                &format!("{field}.protocol"),
                "must be IPMI, REDFISH or WEBHOOK; what it is, a probe finds out",
            )),
        }
    }
}

/// A BMC that may be probed.
pub(super) enum ToProbe {
    /// It is known how it is spoken to.
    Known(Login),
    /// It is not.
    Stranger(Stranger),
}

/// Checks a BMC that need not be known yet.
pub(super) fn to_probe(bmc: proto::Bmc, field: &str) -> Result<ToProbe> {
    let at = |name: &str| format!("{field}.{name}");
    let protocol = protocol_from_wire(bmc.protocol);
    if protocol.is_none() && bmc.protocol != 0 {
        let text = format!("{} is not a known protocol: must be IPMI, REDFISH, WEBHOOK or UNSPECIFIED", bmc.protocol);
        return Err(Invalid::new(&at("protocol"), text));
    }
    let address: Ipv4Addr = parsed(&bmc.address, &at("address"), "is not an IPv4 address")?;
    if address.is_unspecified() || address.is_broadcast() || address.is_multicast() {
        return Err(Invalid::new(&at("address"), format!("{address} is not the address of one host")));
    }
    let port = u16::try_from(bmc.port).map_err(|_| {
        Invalid::new(&at("port"), format!("{} is not 1 to 65535, or 0 for the protocol's own", bmc.port))
    })?;
    // Who may turn out to speak Redfish may have a name as long as Redfish holds.
    let (username, password) = protocol.unwrap_or(BmcProtocol::Redfish).longest_login();
    for (name, text, most) in [("username", &bmc.username, username), ("password", &bmc.password, password)] {
        if text.len() > most || text.bytes().any(|b| b == 0) {
            return Err(Invalid::new(&at(name), format!("must be at most {most} bytes, none of them zero")));
        }
    }
    let pin = optional(&bmc.certificate_sha256, |text| {
        parsed(text, &at("certificate_sha256"), "is not a SHA-256: 64 of 0-9 and a-f")
    })?;
    let https = Https { pin: pin.map_or(Pin::FirstSeen, Pin::Known), system: bmc.system };
    let (username, password) = (bmc.username, bmc.password.into());
    let Some(protocol) = protocol else {
        if port != 0 {
            return Err(Invalid::new(&at("port"), "needs a protocol"));
        }
        return Ok(ToProbe::Stranger(Stranger { address, username, password, https }));
    };
    Ok(ToProbe::Known(Login {
        address: SocketAddrV4::new(address, if port == 0 { protocol.port() } else { port }),
        username,
        password,
        face: match protocol {
            BmcProtocol::Ipmi => Face::Ipmi,
            BmcProtocol::Redfish => Face::Redfish(https),
            BmcProtocol::Webhook => Face::Webhook(Box::new(webhook(bmc.webhook, https.pin, field)?)),
        },
        suites: KnownSuites::default(),
    }))
}

/// What is asked of a webhook. A certificate that nobody pinned needs somebody who vouches for it, unless the admin said not.
fn webhook(given: Option<Webhook>, pin: Pin, field: &str) -> Result<webhook::Face> {
    let field = format!("{field}.webhook");
    let given = given.ok_or_else(|| Invalid::new(&field, "is required"))?;
    let hook = webhook_from_wire(given).map_err(|e| Invalid::new(&format!("{field}.{}", e.field), e.text))?;
    let pin = if pin == Pin::FirstSeen && !hook.insecure { Pin::Vouched } else { pin };
    Ok(webhook::Face { hook, pin })
}

impl Checked for proto::BlobRef {
    type Word = BlobRef;

    fn checked(self, field: &str) -> Result<BlobRef> {
        let sha256 = sha256(self.sha256, &format!("{field}.sha256"))?;
        if self.size_bytes == 0 {
            return Err(Invalid::new(&format!("{field}.size_bytes"), "must be greater than 0"));
        }
        Ok(BlobRef { sha256, size: self.size_bytes })
    }
}

impl Checked for proto::EphemeralImage {
    type Word = EphemeralImage;

    fn checked(self, field: &str) -> Result<EphemeralImage> {
        let plain = self.extra_cmdline.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !plain || self.extra_cmdline.len() > CMDLINE {
            let text = format!("must be at most {CMDLINE} printable ASCII characters on one line");
            return Err(Invalid::new(&format!("{field}.extra_cmdline"), text));
        }
        Ok(EphemeralImage {
            kernel: self.kernel.checked(&format!("{field}.kernel"))?,
            initrd: self.initrd.checked(&format!("{field}.initrd"))?,
            extra_cmdline: self.extra_cmdline,
        })
    }
}

impl Checked for proto::Ephemeral {
    type Word = Ephemeral;

    fn checked(self, field: &str) -> Result<Ephemeral> {
        let at = |name: &str| format!("{field}.{name}");
        // Both end up on a kernel command line.
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=128).contains(&self.token.len()) || !self.token.bytes().all(word) {
            return Err(Invalid::new(&at("token"), "must be 1 to 128 of letters, digits, '-' and '_'"));
        }
        if !(1..=32).contains(&self.purpose.len()) || !self.purpose.bytes().all(word) {
            return Err(Invalid::new(&at("purpose"), "must be 1 to 32 of letters, digits, '-' and '_'"));
        }
        let expires = DateTime::from_timestamp(self.expires_unix, 0).filter(|_| self.expires_unix > 0);
        Ok(Ephemeral {
            boot_id: id(&self.boot_id, &at("boot_id"))?,
            token: Secret::new(self.token),
            purpose: self.purpose,
            image: self.image.checked(&at("image"))?,
            expires: expires
                .ok_or_else(|| Invalid::new(&at("expires_unix"), "must be seconds since 1970, greater than 0"))?,
        })
    }
}

impl Checked for proto::LocalDisk {
    type Word = Target;

    fn checked(self, field: &str) -> Result<Target> {
        let at = |name: &str| format!("{field}.{name}");
        let boot_id = optional(&self.boot_id, |text| id(text, &at("boot_id")))?;
        let phone_home_sha256 = optional(&self.phone_home_sha256, |t| sha256(t.to_owned(), &at("phone_home_sha256")))?;
        if phone_home_sha256.is_some() && boot_id.is_none() {
            return Err(Invalid::new(&at("boot_id"), "is required with phone_home_sha256"));
        }
        Ok(Target::LocalDisk { boot_id, phone_home_sha256 })
    }
}

impl Checked for proto::IntentInterface {
    type Word = Interface;

    fn checked(self, field: &str) -> Result<Interface> {
        let mac: MacAddr = self.mac.parse().map_err(|e| Invalid::new(&format!("{field}.mac"), e))?;
        let [first, ..] = mac.0;
        if first & 1 == 1 || mac.0 == [0; 6] {
            return Err(Invalid::new(&format!("{field}.mac"), format!("{mac} is not the address of one interface")));
        }
        let at = format!("{field}.address");
        let address = optional(&self.address, |text| parsed(text, &at, "is not an IPv4 address"))?;
        Ok(Interface { mac, address })
    }
}

impl Checked for proto::BootIntent {
    type Word = Intent;

    fn checked(self, field: &str) -> Result<Intent> {
        let at = |name: &str| format!("{field}.{name}");
        let name: Name = self.machine_name.parse().map_err(|e| Invalid::new(&at("machine_name"), e))?;
        if self.version < 1 {
            return Err(Invalid::new(&at("version"), format!("{} is not greater than 0", self.version)));
        }
        if !(1..=INTERFACES).contains(&self.interfaces.len()) {
            return Err(Invalid::new(&at("interfaces"), format!("must be 1 to {INTERFACES}")));
        }
        let mut interfaces = Vec::with_capacity(self.interfaces.len());
        for (number, interface) in self.interfaces.into_iter().enumerate() {
            interfaces.push(interface.checked(&format!("{field}.interfaces[{number}]"))?);
        }
        let target = match self.target {
            Some(proto::boot_intent::Target::LocalDisk(disk)) => disk.checked(&at("local_disk"))?,
            Some(proto::boot_intent::Target::Ephemeral(image)) => Target::Ephemeral(image.checked(&at("ephemeral"))?),
            None => return Err(Invalid::new(&at("target"), "must be local_disk or ephemeral")),
        };
        Ok(Intent {
            machine_id: id(&self.machine_id, &at("machine_id"))?,
            machine_name: name.as_str().to_owned(),
            version: self.version,
            interfaces,
            target,
        })
    }
}

impl Checked for proto::Subnet {
    type Word = Subnet;

    fn checked(self, field: &str) -> Result<Subnet> {
        let at = |name: &str| format!("{field}.{name}");
        let cidr: Ipv4Net = parsed(&self.cidr, &at("cidr"), "is not a subnet such as 10.77.0.0/24")?;
        if cidr.trunc() != cidr || cidr.prefix_len() > 30 {
            return Err(Invalid::new(
                &at("cidr"),
                format!("{cidr} is not a subnet: host bits must be 0, the prefix at most 30"),
            ));
        }
        let host = |text: &str, name: &str| {
            let address: Ipv4Addr = parsed(text, &at(name), "is not an IPv4 address")?;
            if cidr.contains(&address) && address != cidr.network() && address != cidr.broadcast() {
                return Ok(address);
            }
            Err(Invalid::new(&at(name), format!("{address} is not the address of a host in {cidr}")))
        };
        let (start, end) = (host(&self.dynamic_start, "dynamic_start")?, host(&self.dynamic_end, "dynamic_end")?);
        let dynamic = Ipv4Range::new(start, end);
        if !LEASE_SECONDS.contains(&self.lease_seconds) {
            let text = format!("{} is not {} to {}", self.lease_seconds, LEASE_SECONDS.start(), LEASE_SECONDS.end());
            return Err(Invalid::new(&at("lease_seconds"), text));
        }
        let mut dns = Vec::with_capacity(self.dns_servers.len());
        for (number, server) in self.dns_servers.iter().enumerate() {
            dns.push(parsed(server, &format!("{field}.dns_servers[{number}]"), "is not an IPv4 address")?);
        }
        Ok(Subnet {
            cidr,
            gateway: optional(&self.gateway, |text| host(text, "gateway"))?,
            dns,
            dynamic: dynamic
                .ok_or_else(|| Invalid::new(&at("dynamic_end"), format!("{end} comes before dynamic_start {start}")))?,
            lease: Duration::from_secs(self.lease_seconds.into()),
        })
    }
}

/// A snapshot while it comes in.
#[derive(Debug)]
pub(super) struct SnapshotParts {
    snapshot: Snapshot,
    machines: HashSet<MachineId>,
    macs: HashSet<MacAddr>,
    addresses: HashSet<Ipv4Addr>,
}

impl SnapshotParts {
    pub(super) fn new(header: proto::SnapshotHeader) -> Result<Self> {
        let id = header.snapshot_id;
        if !(1..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Invalid::new(
                "header.snapshot_id",
                "must be 1 to 128 printable ASCII characters without blanks",
            ));
        }
        if header.subnets.len() > SUBNETS {
            return Err(Invalid::new("header.subnets", format!("must be at most {SUBNETS}")));
        }
        let mut subnets: Vec<Subnet> = Vec::with_capacity(header.subnets.len());
        for (number, subnet) in header.subnets.into_iter().enumerate() {
            let field = format!("header.subnets[{number}]");
            let subnet = subnet.checked(&field)?;
            let overlap = subnets.iter().find(|s| s.cidr.contains(&subnet.cidr) || subnet.cidr.contains(&s.cidr));
            if let Some(other) = overlap {
                return Err(Invalid::new(
                    &format!("{field}.cidr"),
                    format!("{} overlaps with {}", subnet.cidr, other.cidr),
                ));
            }
            subnets.push(subnet);
        }
        let enlist_image = header.enlist_image.map(|image| image.checked("header.enlist_image")).transpose()?;
        Ok(Self {
            snapshot: Snapshot { id, subnets, enlist_image, intents: Vec::new() },
            machines: HashSet::new(),
            macs: HashSet::new(),
            addresses: HashSet::new(),
        })
    }

    pub(super) fn add(&mut self, intent: proto::BootIntent) -> Result<()> {
        let field = format!("intents[{}]", self.snapshot.intents.len());
        if self.snapshot.intents.len() >= INTENTS {
            return Err(Invalid::new("intents", format!("must be at most {INTENTS}")));
        }
        let intent = intent.checked(&field)?;
        if !self.machines.insert(intent.machine_id) {
            return Err(Invalid::new(&format!("{field}.machine_id"), format!("{} comes twice", intent.machine_id)));
        }
        for (number, interface) in intent.interfaces.iter().enumerate() {
            if !self.macs.insert(interface.mac) {
                let at = format!("{field}.interfaces[{number}].mac");
                return Err(Invalid::new(&at, format!("{} comes twice", interface.mac)));
            }
            if let Some(address) = interface.address.filter(|address| !self.addresses.insert(*address)) {
                let at = format!("{field}.interfaces[{number}].address");
                return Err(Invalid::new(&at, format!("{address} comes twice")));
            }
        }
        self.snapshot.intents.push(intent);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Snapshot> {
        Ok(self.snapshot)
    }
}

/// What was found out about a BMC, for the wire.
pub(super) fn discovery(found: Discovery) -> proto::ProbeBmcResponse {
    proto::ProbeBmcResponse {
        speaks: found.speaks.into_iter().map(|p| protocol_to_wire(p).into()).collect(),
        because: found.because,
        ..probe(found.probe)
    }
}

/// What a BMC said of itself, for the wire.
pub(super) fn probe(probe: Probe) -> proto::ProbeBmcResponse {
    let common = proto::ProbeBmcResponse {
        firmware_version: probe.firmware_version,
        power: probe.power.map_or(0, |p| power_to_wire(p).into()),
        capabilities: probe.capabilities.iter().map(ToString::to_string).collect(),
        ..proto::ProbeBmcResponse::default()
    };
    match probe.identity {
        Identity::Ipmi(ipmi) => proto::ProbeBmcResponse {
            protocol: protocol_to_wire(BmcProtocol::Ipmi).into(),
            manufacturer_id: ipmi.manufacturer_id,
            product_id: ipmi.product_id,
            ipmi_version: ipmi.version,
            cipher_suite: ipmi.cipher_suite.into(),
            ..common
        },
        Identity::Webhook => {
            proto::ProbeBmcResponse { protocol: protocol_to_wire(BmcProtocol::Webhook).into(), ..common }
        }
        Identity::Redfish(redfish) => proto::ProbeBmcResponse {
            protocol: protocol_to_wire(BmcProtocol::Redfish).into(),
            redfish: Some(proto::RedfishIdentity {
                vendor: redfish.vendor,
                product: redfish.product,
                version: redfish.version,
                model: redfish.model,
                serial: redfish.serial,
                certificate_sha256: redfish.certificate.to_string(),
                rules: redfish.rules.iter().map(ToString::to_string).collect(),
            }),
            ..common
        },
    }
}

/// Who does not say that somebody waits gets nobody's place.
pub(super) const fn urgency(urgency: proto::Urgency) -> Class {
    match urgency {
        proto::Urgency::Unspecified | proto::Urgency::Poll => Class::Polling,
        proto::Urgency::Person => Class::Inventory,
        proto::Urgency::Lifecycle => Class::Lifecycle,
    }
}

pub(super) fn power(number: i32) -> Result<PowerState> {
    power_from_wire(number).ok_or_else(|| Invalid::new("power", "must be ON or OFF"))
}

pub(super) fn boot_device(number: i32) -> Result<BootDevice> {
    match proto::BootDevice::try_from(number) {
        Ok(proto::BootDevice::Network) => Ok(BootDevice::Network),
        Ok(proto::BootDevice::Disk) => Ok(BootDevice::Disk),
        Ok(proto::BootDevice::Unspecified) | Err(_) => Err(Invalid::new("device", "must be NETWORK or DISK")),
    }
}

pub(super) fn account(username: String, password: String) -> Result<Account> {
    Account::new(username, password.into()).map_err(|text| {
        let (field, text) = text.split_once(' ').unwrap_or(("username", text));
        Invalid::new(field, text)
    })
}

pub(super) fn id<K: Kind>(text: &str, field: &str) -> Result<Id<K>> {
    text.parse().map_err(|e| Invalid::new(field, e))
}

fn sha256(text: String, field: &str) -> Result<String> {
    let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if good { Ok(text) } else { Err(Invalid::new(field, "must be a SHA-256: 64 of 0-9 and a-f")) }
}

fn parsed<T: FromStr>(text: &str, field: &str, complaint: &str) -> Result<T> {
    let shown: String = text.chars().take(60).collect();
    text.parse().map_err(|_| Invalid::new(field, format!("{shown:?} {complaint}")))
}

fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

#[cfg(test)]
mod tests;
