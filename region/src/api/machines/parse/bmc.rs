//! How a BMC is reached, as callers say it.

use std::net::Ipv4Addr;

use farrier_common::{hardware::BmcProtocol, secret::Secret, webhook::Webhook};
use farrier_proto::{convert, v1};

use crate::{
    api::{parse, words::unknown},
    app::machines::GivenBmc,
    domain::{Error, Result, bmc::BmcUpdate},
};

/// Longest `Id` of a Redfish system.
const MOST_SYSTEM: usize = 64;

pub(in super::super) fn bmc(q: v1::BmcCredentials) -> Result<GivenBmc> {
    let protocol = bmc_protocol("bmc.protocol", q.protocol)?;
    let webhook = webhook(&q, protocol)?;
    let address = match webhook.as_ref().and_then(|hook| hook.query.address()) {
        Some(address) if q.address.is_empty() || q.address == address.to_string() => address,
        Some(address) => {
            return Err(Error::invalid(
                "bmc.address",
                format!("is that of the webhook's URLs, {address}, or not given"),
            ));
        }
        None if webhook.is_some() && q.address.is_empty() => {
            let why = "is required where the webhook's URLs name their host by a name: it is what is connected to";
            return Err(Error::invalid("bmc.address", why));
        }
        None => parse::ipv4("bmc.address", &q.address)?,
    };
    one_bmc("bmc.address", address)?;
    let port = bmc_port("bmc.port", q.port)?;
    let password = Secret::new(q.password);
    if port != 0 && protocol.is_none() {
        return Err(Error::invalid("bmc.port", "needs a protocol: without one, the protocols' own ports are asked"));
    }
    // Whether a longer name fits what the BMC turns out to speak, its probe tells.
    let (most_username, most_password) = protocol.unwrap_or(BmcProtocol::Redfish).longest_login();
    // A webhook may be open to everybody, or take a token without a name.
    for (field, text, most) in
        [("bmc.username", &q.username, most_username), ("bmc.password", password.expose(), most_password)]
    {
        if webhook.is_none() || !text.is_empty() {
            printable(field, text, most)?;
        }
    }
    // It would end the name.
    if webhook.is_some() && q.username.contains(':') {
        return Err(Error::invalid("bmc.username", "must not hold ':'"));
    }
    if webhook.is_some() && port != 0 {
        return Err(Error::invalid("bmc.port", "is in the webhook's URLs"));
    }
    let port = webhook.as_ref().map(|hook| hook.query.port()).or(Some(port).filter(|p| *p != 0));
    let certificate = parse::optional("bmc.certificate_sha256", &q.certificate_sha256)?;
    if !q.system.is_empty() {
        printable("bmc.system", &q.system, MOST_SYSTEM)?;
    }
    // A webhook by HTTPS may be known by its certificate, too.
    let by_tls = webhook.as_ref().is_some_and(|hook| hook.query.tls());
    for (field, given) in
        [("bmc.certificate_sha256", certificate.is_some() && !by_tls), ("bmc.system", !q.system.is_empty())]
    {
        if let Some(other) = protocol.filter(|p| given && *p != BmcProtocol::Redfish) {
            return Err(Error::invalid(field, format!("is for redfish; the protocol is {other}")));
        }
    }
    if certificate.is_some() && webhook.as_ref().is_some_and(|hook| hook.insecure) {
        return Err(Error::invalid("bmc.webhook.insecure", "takes any certificate, and certificate_sha256 only one"));
    }
    let (username, take_over, system) = (q.username, q.take_over_account, q.system);
    // There are no accounts that one could be made among.
    let use_as_is = q.use_as_is || webhook.is_some();
    if use_as_is && take_over {
        return Err(Error::invalid(
            "bmc.take_over_account",
            "is for an account of Farrier's own, and use_as_is, as any webhook, makes none",
        ));
    }
    Ok(GivenBmc { protocol, address, port, username, password, use_as_is, take_over, certificate, system, webhook })
}

/// What is asked of a webhook: for that protocol alone, and required for it.
fn webhook(q: &v1::BmcCredentials, protocol: Option<BmcProtocol>) -> Result<Option<Webhook>> {
    match (&q.webhook, protocol == Some(BmcProtocol::Webhook)) {
        (None, false) => Ok(None),
        (Some(_), false) => Err(Error::invalid("bmc.webhook", "is for the protocol webhook")),
        (None, true) => Err(Error::invalid("bmc.webhook", "is required for the protocol webhook")),
        (Some(hook), true) => {
            let checked = convert::webhook_from_wire(hook.clone());
            checked.map(Some).map_err(|e| Error::invalid(format!("bmc.webhook.{}", e.field), e.text))
        }
    }
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
    let address = q.address.as_ref().map(|a| parse::ipv4("address", a).and_then(|a| one_bmc("address", a)));
    let update = BmcUpdate {
        address: address.transpose()?,
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

fn one_bmc(field: &str, address: Ipv4Addr) -> Result<Ipv4Addr> {
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

    fn hook() -> v1::BmcCredentials {
        let at = |path: &str| format!("http://10.0.0.9:8080/{path}");
        v1::BmcCredentials {
            protocol: v1::BmcProtocol::Webhook.into(),
            webhook: Some(v1::Webhook {
                on_url: at("on"),
                off_url: at("off"),
                query_url: at("state"),
                on_regex: "\"on\"".to_owned(),
                off_regex: "\"off\"".to_owned(),
                insecure: false,
            }),
            ..Default::default()
        }
    }

    fn secure(q: &mut v1::BmcCredentials, edit: impl Fn(&mut v1::Webhook)) {
        let hook = q.webhook.as_mut().unwrap();
        for url in [&mut hook.on_url, &mut hook.off_url, &mut hook.query_url] {
            *url = url.replace("http://10.0.0.9:8080", "https://plug.lab");
        }
        edit(hook);
    }

    #[test]
    fn a_webhook_says_itself_where_it_is_and_makes_no_account() {
        let given = bmc(hook()).unwrap();
        assert_eq!((given.address.to_string().as_str(), given.port, given.use_as_is), ("10.0.0.9", Some(8080), true));
        let mut named = v1::BmcCredentials { address: "10.0.0.7".into(), password: "t".repeat(4096), ..hook() };
        secure(&mut named, |_| ());
        let given = bmc(named.clone()).unwrap();
        assert_eq!((given.address.to_string().as_str(), given.port), ("10.0.0.7", Some(443)));
        assert!(
            bmc(v1::BmcCredentials { certificate_sha256: "a0".repeat(32), ..named }).unwrap().certificate.is_some()
        );
    }

    #[test]
    fn a_wrong_webhook_names_its_field_and_never_shows_the_token() {
        type Spoil = fn(&mut v1::BmcCredentials);
        let spoiled: [(&str, Spoil); 14] = [
            ("bmc.webhook", |c| c.webhook = None),
            ("bmc.webhook", |c| c.protocol = v1::BmcProtocol::Redfish.into()),
            ("bmc.webhook", |c| c.protocol = 0),
            ("bmc.webhook.query_url", |c| c.webhook.as_mut().unwrap().query_url.clear()),
            ("bmc.webhook.on_url", |c| c.webhook.as_mut().unwrap().on_url = "http://10.0.0.8/on".into()),
            ("bmc.webhook.on_regex", |c| c.webhook.as_mut().unwrap().on_regex = "(".into()),
            ("bmc.webhook.insecure", |c| c.webhook.as_mut().unwrap().insecure = true),
            ("bmc.webhook.insecure", |c| {
                secure(c, |h| h.insecure = true);
                (c.address, c.certificate_sha256) = ("10.0.0.7".into(), "a0".repeat(32));
            }),
            ("bmc.address", |c| c.address = "10.0.0.8".into()),
            ("bmc.address", |c| secure(c, |_| ())),
            ("bmc.port", |c| c.port = 8080),
            ("bmc.username", |c| c.username = "a:b".into()),
            ("bmc.password", |c| c.password = "hunter2\n".into()),
            ("bmc.certificate_sha256", |c| c.certificate_sha256 = "a0".repeat(32)),
        ];
        for (field, spoil) in spoiled {
            let mut c = v1::BmcCredentials { password: "hunter2".into(), ..hook() };
            spoil(&mut c);
            let told = bmc(c).unwrap_err().to_string();
            assert!(told.starts_with(&format!("{field}: ")) && !told.contains("hunter2"), "{told}");
        }
    }
}
