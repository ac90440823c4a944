//! The files of cloud-init's NoCloud data source. JSON is YAML, so nothing needs quoting by hand.

use std::net::SocketAddrV4;

use farrier_common::{id::BootId, net::MacAddr, secret::Secret};
use serde_json::json;

use crate::domain::{Error, Result};

/// The four files.
#[derive(Clone, Debug)]
pub struct Seed {
    /// As the deployer gave it.
    pub user_data: Secret<Vec<u8>>,
    /// Instance and host name.
    pub meta_data: Vec<u8>,
    /// DHCP on the boot interface.
    pub network_config: Vec<u8>,
    /// Calls us when the system is up.
    pub vendor_data: Secret<Vec<u8>>,
}

/// What goes into a seed.
pub(super) struct Parts<'a> {
    /// A new one makes cloud-init run anew.
    pub(super) boot: BootId,
    /// Host name.
    pub(super) name: &'a str,
    /// Of the boot interface.
    pub(super) mac: MacAddr,
    /// The rack's HTTP.
    pub(super) http: SocketAddrV4,
    /// Proves that it is this system that calls.
    pub(super) token: &'a Secret<String>,
    /// As the deployer gave it.
    pub(super) user_data: Secret<Vec<u8>>,
}

impl Seed {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let meta = json!({ "instance-id": parts.boot.to_string(), "local-hostname": parts.name });
        // cloud-init 22.4 (Debian 12) names an interface only if it both matches and sets a name.
        let network = json!({ "version": 2, "ethernets": { "eth0": {
            "match": { "macaddress": parts.mac.to_string() },
            "set-name": "eth0",
            "dhcp4": true,
        } } });
        let url = format!("http://{}/phone-home/{}/{}", parts.http, parts.boot, parts.token.expose());
        let vendor = json!({ "phone_home": { "url": url, "post": ["instance_id", "hostname", "fqdn"], "tries": 20 } });
        Self {
            user_data: parts.user_data,
            meta_data: format!("{meta}\n").into_bytes(),
            network_config: format!("{network}\n").into_bytes(),
            vendor_data: Secret::new(format!("#cloud-config\n{vendor}\n").into_bytes()),
        }
    }
}

/// The address in `http://ADDRESS:PORT`.
pub(super) fn http_base(text: &str) -> Result<SocketAddrV4> {
    let address = text.strip_prefix("http://").and_then(|a| a.trim_end_matches('/').parse().ok());
    address.ok_or_else(|| Error::invalid("http_base", format!("{text:?} is not http://ADDRESS:PORT")))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_seed_names_the_machine_and_calls_home() {
        let seed = Seed::new(Parts {
            boot: BootId::from_uuid(uuid::Uuid::from_u128(7)),
            name: "calm-otter",
            mac: MacAddr([0x52, 0x54, 0, 1, 2, 3]),
            http: http_base("http://10.77.0.1:5248").unwrap(),
            token: &Secret::new("t0ken".to_owned()),
            user_data: Secret::new(b"#!/bin/sh\n".to_vec()),
        });
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let all = [text(&seed.meta_data), text(&seed.network_config), text(seed.vendor_data.expose())].concat();
        expect![[r##"
            {"instance-id":"00000000-0000-0000-0000-000000000007","local-hostname":"calm-otter"}
            {"ethernets":{"eth0":{"dhcp4":true,"match":{"macaddress":"52:54:00:01:02:03"},"set-name":"eth0"}},"version":2}
            #cloud-config
            {"phone_home":{"post":["instance_id","hostname","fqdn"],"tries":20,"url":"http://10.77.0.1:5248/phone-home/00000000-0000-0000-0000-000000000007/t0ken"}}
        "##]]
        .assert_eq(&all);
        assert_eq!(seed.user_data.expose(), b"#!/bin/sh\n");
        assert!(http_base("https://10.0.0.1:1").is_err());
        assert!(http_base("http://rack:5248").is_err());
    }
}
