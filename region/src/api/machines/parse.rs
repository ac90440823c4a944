//! Requests about machines, made into the types of the use cases.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

use farrier_common::{hardware::BmcProtocol, secret::Secret};
use farrier_proto::{convert, v1};

use crate::{
    api::{parse, words::unknown},
    app::{
        context::Ask,
        machines::{GivenBmc, NewLive, NewMachine, PowerAction, Wanted},
    },
    domain::{Error, Result, bmc::BmcUpdate, script::Chosen},
};

mod update;

pub(super) use update::wishes;

/// Longest `Id` of a Redfish system.
const MOST_SYSTEM: usize = 64;
const MOST_LABELS: usize = 64;
const MOST_KEY: usize = 63;
const MOST_VALUE: usize = 256;
const MOST_SERIAL: usize = 128;
const TIMELINE: usize = 100;
const MOST_TIMELINE: usize = 1000;

pub(super) fn new_machine(q: v1::CreateMachineRequest) -> Result<NewMachine> {
    Ok(NewMachine {
        name: parse::optional("name", &q.name)?,
        architecture: parse::architecture("architecture", q.architecture)?,
        macs: parse::macs("macs", &q.macs)?,
        bmc: bmc(q.bmc.ok_or_else(|| Error::invalid("bmc", "is required"))?)?,
        labels: labels("labels", q.labels)?,
        pool: q.pool,
        zone: parse::optional("zone", &q.zone)?,
        tags: update::tags(&q.tags)?,
        notes: update::notes(q.notes)?,
        commission: chosen(q.commission),
    })
}

pub(super) fn new_live(q: v1::AddLiveMachineRequest) -> Result<NewLive> {
    if !q.project.is_empty() && !q.owner.is_empty() {
        return Err(Error::invalid("project", "is given instead of owner, not with it"));
    }
    Ok(NewLive {
        name: parse::optional("name", &q.name)?,
        architecture: parse::architecture("architecture", q.architecture)?,
        macs: parse::macs("macs", &q.macs)?,
        bmc: q.bmc.map(bmc).transpose()?,
        labels: labels("labels", q.labels)?,
        pool: q.pool,
        zone: parse::optional("zone", &q.zone)?,
        tags: update::tags(&q.tags)?,
        notes: update::notes(q.notes)?,
        owner: parse::optional("owner", &q.owner)?,
        project: q.project,
        rack: parse::optional("rack", &q.rack)?,
        token_seconds: q.token_seconds,
    })
}

/// What a commissioning is to do besides; the names are looked up later.
pub(super) fn chosen(given: Option<v1::CommissionOptions>) -> Chosen {
    let q = given.unwrap_or_default();
    Chosen {
        scripts: q.scripts,
        tests: q.tests,
        keep_storage: q.keep_storage,
        keep_network: q.keep_network,
        stay_up: q.stay_up,
    }
}

pub(super) fn bmc(q: v1::BmcCredentials) -> Result<GivenBmc> {
    let protocol = bmc_protocol("bmc.protocol", q.protocol)?;
    let address = bmc_address("bmc.address", &q.address)?;
    let port = bmc_port("bmc.port", q.port)?;
    let password = Secret::new(q.password);
    if port != 0 && protocol.is_none() {
        return Err(Error::invalid("bmc.port", "needs a protocol: without one, the protocols' own ports are asked"));
    }
    // Whether a longer name fits what the BMC turns out to speak, its probe tells.
    let (most_username, most_password) = protocol.unwrap_or(BmcProtocol::Redfish).longest_login();
    printable("bmc.username", &q.username, most_username)?;
    printable("bmc.password", password.expose(), most_password)?;
    let port = Some(port).filter(|p| *p != 0);
    let certificate = parse::optional("bmc.certificate_sha256", &q.certificate_sha256)?;
    if !q.system.is_empty() {
        printable("bmc.system", &q.system, MOST_SYSTEM)?;
    }
    for (field, given) in [("bmc.certificate_sha256", certificate.is_some()), ("bmc.system", !q.system.is_empty())] {
        if let Some(other) = protocol.filter(|p| given && *p != BmcProtocol::Redfish) {
            return Err(Error::invalid(field, format!("is for redfish; the protocol is {other}")));
        }
    }
    let (username, use_as_is, take_over, system) = (q.username, q.use_as_is, q.take_over_account, q.system);
    if use_as_is && take_over {
        return Err(Error::invalid(
            "bmc.take_over_account",
            "is for an account of Farrier's own, and use_as_is makes none",
        ));
    }
    Ok(GivenBmc { protocol, address, port, username, password, use_as_is, take_over, certificate, system })
}

/// What is to be another in how a BMC is reached, and the password of the account that is given.
pub(in crate::api) fn bmc_update(q: v1::SetBmcRequest) -> Result<(BmcUpdate, Option<Secret<String>>)> {
    let protocol = q.protocol.map(|p| bmc_protocol("protocol", p)).transpose()?;
    let password = q.password.map(Secret::new);
    let (most_username, most_password) = protocol.flatten().unwrap_or(BmcProtocol::Redfish).longest_login();
    match (&q.username, &password) {
        (Some(username), Some(password)) => {
            printable("username", username, most_username)?;
            printable("password", password.expose(), most_password)?;
        }
        (None, None) => {}
        (Some(_), None) => return Err(Error::invalid("password", "is required with username")),
        (None, Some(_)) => return Err(Error::invalid("username", "is required with password")),
    }
    if let Some(system) = q.system.as_ref().filter(|s| !s.is_empty()) {
        printable("system", system, MOST_SYSTEM)?;
    }
    let certificate = q.certificate_sha256.as_ref().map(|c| parse::optional("certificate_sha256", c)).transpose()?;
    let update = BmcUpdate {
        address: q.address.as_ref().map(|a| bmc_address("address", a)).transpose()?,
        protocol,
        port: q.port.map(|p| bmc_port("port", p)).transpose()?,
        username: q.username,
        certificate,
        system: q.system,
    };
    Ok((update, password))
}

fn bmc_protocol(field: &str, given: i32) -> Result<Option<BmcProtocol>> {
    match convert::protocol_from_wire(given) {
        None if given != 0 => Err(unknown(field, BmcProtocol::ALL.iter().map(|p| p.as_str()))),
        protocol => Ok(protocol),
    }
}

fn bmc_address(field: &str, text: &str) -> Result<Ipv4Addr> {
    let address = parse::ipv4(field, text)?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(Error::invalid(field, format!("{address} is not the address of one BMC")));
    }
    Ok(address)
}

fn bmc_port(field: &str, given: u32) -> Result<u16> {
    u16::try_from(given).map_err(|_| Error::invalid(field, "must be 1 to 65535, or 0 for the protocol's own"))
}

fn printable(field: &str, text: &str, most: usize) -> Result<()> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if fits { Ok(()) } else { Err(Error::invalid(field, format!("must be 1 to {most} printable ASCII characters"))) }
}

/// Is the full view asked for?
pub(super) fn whole(view: i32, default: bool) -> Result<bool> {
    match v1::MachineView::try_from(view) {
        Ok(v1::MachineView::Unspecified) => Ok(default),
        Ok(v1::MachineView::Basic) => Ok(false),
        Ok(v1::MachineView::Full) => Ok(true),
        Err(_) => Err(Error::invalid("view", "must be one of: basic, full")),
    }
}

/// Free-form labels, in the field of that name.
pub(super) fn labels(field: &str, given: HashMap<String, String>) -> Result<BTreeMap<String, String>> {
    if given.len() > MOST_LABELS {
        return Err(Error::invalid(field, format!("at most {MOST_LABELS} are kept")));
    }
    for (key, value) in &given {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if !(1..=MOST_KEY).contains(&key.len()) || !key.bytes().all(word) {
            let why = format!("a key has 1 to {MOST_KEY} of a-z, A-Z, 0-9, '.', '_', '-' and '/'");
            return Err(Error::invalid(field, why));
        }
        if value.chars().count() > MOST_VALUE || value.chars().any(char::is_control) {
            let why = format!("has at most {MOST_VALUE} characters, none of them control characters");
            return Err(Error::invalid(format!("{field}[{key}]"), why));
        }
    }
    Ok(given.into_iter().collect())
}

pub(super) fn wanted(q: v1::DeployMachineRequest) -> Result<Wanted> {
    if q.image.is_empty() {
        return Err(Error::invalid("image", "is required"));
    }
    if q.disk_serial.len() > MOST_SERIAL {
        return Err(Error::invalid("disk_serial", format!("has at most {MOST_SERIAL} characters")));
    }
    Ok(Wanted {
        image: q.image,
        user_data: Secret::new(q.user_data),
        disk_serial: Some(q.disk_serial).filter(|s| !s.is_empty()),
    })
}

pub(super) fn comment(text: &str) -> Result<String> {
    parse::comment("comment", text)
}

/// The comment of a verb, or else that of its options, which was read already.
pub(in super::super) fn why<T>(ask: &Ask<T>, text: &str) -> Result<String> {
    if text.is_empty() { Ok(ask.request.comment.clone()) } else { comment(text) }
}

/// What is asked of the chassis power.
pub(super) enum Power {
    Query,
    Change(PowerAction),
}

pub(super) fn power(number: i32) -> Result<Power> {
    match v1::PowerAction::try_from(number) {
        Ok(v1::PowerAction::Query) => Ok(Power::Query),
        Ok(v1::PowerAction::On) => Ok(Power::Change(PowerAction::On)),
        Ok(v1::PowerAction::Off) => Ok(Power::Change(PowerAction::Off)),
        Ok(v1::PowerAction::Cycle) => Ok(Power::Change(PowerAction::Cycle)),
        Ok(v1::PowerAction::SoftOff) => Ok(Power::Change(PowerAction::SoftOff)),
        Ok(v1::PowerAction::Unspecified) | Err(_) => {
            Err(unknown("action", PowerAction::ALL.iter().map(|a| a.as_str()).chain(["query"])))
        }
    }
}

pub(super) fn timeline_size(number: i32) -> Result<usize> {
    match usize::try_from(number) {
        Ok(0) => Ok(TIMELINE),
        Ok(size) if size <= MOST_TIMELINE => Ok(size),
        Ok(_) | Err(_) => Err(Error::invalid("timeline_size", format!("must be 0 to {MOST_TIMELINE}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> v1::BmcCredentials {
        v1::BmcCredentials {
            protocol: v1::BmcProtocol::Ipmi.into(),
            address: "10.0.0.9".to_owned(),
            username: "root".to_owned(),
            password: "calvin".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn wrong_credentials_name_their_field_and_never_show_the_password() {
        assert_eq!(bmc(credentials()).unwrap().port, None);
        type Spoil = fn(&mut v1::BmcCredentials);
        let spoiled: [(&str, Spoil); 12] = [
            ("bmc.take_over_account", |c| (c.use_as_is, c.take_over_account) = (true, true)),
            ("bmc.port", |c| (c.protocol, c.port) = (0, 623)),
            ("bmc.protocol", |c| c.protocol = 9),
            ("bmc.address", |c| c.address = "bmc.example".into()),
            ("bmc.address", |c| c.address = "0.0.0.0".into()),
            ("bmc.port", |c| c.port = 65_536),
            ("bmc.username", |c| c.username = String::new()),
            ("bmc.username", |c| c.username = "seventeen-letters".into()),
            ("bmc.password", |c| c.password = "hunter2hunter2hunter2".into()),
            ("bmc.certificate_sha256", |c| c.certificate_sha256 = "a0".into()),
            ("bmc.certificate_sha256", |c| c.certificate_sha256 = "a0".repeat(32)),
            ("bmc.system", |c| c.system = "System.Embedded.1".into()),
        ];
        for (field, spoil) in spoiled {
            let mut c = credentials();
            spoil(&mut c);
            let told = bmc(c).unwrap_err().to_string();
            assert!(told.starts_with(&format!("{field}: ")) && !told.contains("hunter2"), "{told}");
        }
        let redfish = v1::BmcCredentials {
            protocol: v1::BmcProtocol::Redfish.into(),
            password: "x".repeat(128),
            certificate_sha256: "a0".repeat(32),
            system: "System.Embedded.1".to_owned(),
            ..credentials()
        };
        assert!(bmc(redfish.clone()).unwrap().certificate.is_some());
        let unknown = bmc(v1::BmcCredentials { protocol: 0, ..redfish }).unwrap();
        assert_eq!((unknown.protocol, unknown.port), (None, None), "to be found out");
    }

    #[test]
    fn labels_are_bounded() {
        let one = |k: &str, v: &str| labels("labels", HashMap::from([(k.to_owned(), v.to_owned())]));
        assert!(one("site/row", "a 7").is_ok());
        assert!(one("", "x").is_err());
        assert!(one("a b", "x").is_err());
        assert!(one("a", "x\n").is_err());
        assert!(one("a", &"x".repeat(257)).is_err());
        assert!(labels("labels", (0..65).map(|n| (format!("k{n}"), String::new())).collect()).is_err());
    }
}
