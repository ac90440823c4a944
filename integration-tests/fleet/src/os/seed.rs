//! The `NoCloud` seed, as cloud-init reads it. Its files are YAML; those of Farrier are JSON, which is YAML too, and that is
//! what is understood here.

use farrier_common::net::MacAddr;
use farrier_proto::agent::NoCloudSeed;
use serde_json::{Map, Value};

/// What the seed tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) instance_id: String,
    pub(super) hostname: String,
    pub(super) phone_home: Option<PhoneHome>,
}

/// `phone_home` of the cloud-config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PhoneHome {
    pub(super) url: String,
    /// What is told.
    pub(super) post: Vec<String>,
    pub(super) tries: u32,
}

/// What cloud-init tells if it is asked for "all".
const ALL: [&str; 7] =
    ["pub_key_rsa", "pub_key_ecdsa", "pub_key_ed25519", "instance_id", "hostname", "fqdn", "pub_key_dsa"];
const TRIES: u64 = 10;
const MOST_TRIES: u64 = 100;

impl Seed {
    /// Reads a seed for the machine with these interfaces.
    ///
    /// # Errors
    /// It cannot be understood, or its network is that of another machine.
    pub(super) fn read(seed: &NoCloudSeed, macs: &[MacAddr]) -> Result<Self, String> {
        let meta = object("meta-data", &seed.meta_data)?;
        let text = |name: &str| meta.get(name).and_then(Value::as_str).map(str::to_owned);
        network(&seed.network_config, macs)?;
        let mut config = cloud_config("vendor-data", &seed.vendor_data)?;
        // User data wins over vendor data, key by key. What is no JSON says nothing about the keys that matter here.
        config.extend(cloud_config("user-data", &seed.user_data).unwrap_or_default());
        let instance_id = text("instance-id").ok_or("meta-data: there is no instance-id")?;
        let hostname = text("local-hostname").or_else(|| text("hostname")).unwrap_or_else(|| "localhost".to_owned());
        let phone_home = config.get("phone_home").map(PhoneHome::read).transpose()?;
        Ok(Self { instance_id, hostname, phone_home })
    }

    /// The body of the call: form-encoded, as cloud-init does it.
    pub(super) fn form(&self, fields: &[String]) -> String {
        let value = |field: &str| match field {
            "instance_id" => self.instance_id.as_str(),
            "hostname" => self.hostname.split('.').next().unwrap_or_default(),
            "fqdn" => self.hostname.as_str(),
            _ => "N/A",
        };
        let pair = |field: &String| format!("{}={}", encode(field), encode(value(field)));
        fields.iter().map(pair).collect::<Vec<_>>().join("&")
    }
}

impl PhoneHome {
    fn read(value: &Value) -> Result<Self, String> {
        let url = value.get("url").and_then(Value::as_str).ok_or("phone_home: there is no url")?;
        let post = match value.get("post") {
            Some(Value::Array(fields)) => fields.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None | Some(_) => ALL.map(str::to_owned).to_vec(),
        };
        let tries = value.get("tries").and_then(Value::as_u64).unwrap_or(TRIES).clamp(1, MOST_TRIES);
        Ok(Self { url: url.replace("$INSTANCE_ID", ""), post, tries: u32::try_from(tries).unwrap_or(1) })
    }
}

/// An interface that is matched by a hardware address has to be there, or the system has no network.
fn network(bytes: &[u8], macs: &[MacAddr]) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let config = object("network-config", bytes)?;
    let Some(Value::Object(ethernets)) = config.get("ethernets") else { return Ok(()) };
    let ours = |ethernet: &Value| match ethernet.pointer("/match/macaddress").and_then(Value::as_str) {
        Some(mac) => mac.parse().is_ok_and(|mac| macs.contains(&mac)),
        None => true,
    };
    if ethernets.is_empty() || ethernets.values().any(ours) {
        Ok(())
    } else {
        Err("network-config: none of its interfaces is in this machine".to_owned())
    }
}

fn cloud_config(name: &str, bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match bytes.strip_prefix(b"#cloud-config\n") {
        Some(rest) if !rest.trim_ascii().is_empty() => object(name, rest),
        _ => Ok(Map::new()),
    }
}

fn object(name: &str, bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(format!("{name}: is no object")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 1, 2, 3]);

    fn seed() -> NoCloudSeed {
        let vendor = r##"#cloud-config
{"phone_home":{"post":["instance_id","hostname","fqdn"],"tries":20,"url":"http://10.77.0.1:5248/phone-home/7/t0ken"}}
"##;
        let network = r#"{"version":2,"ethernets":{"eth0":{"match":{"macaddress":"52:54:00:01:02:03"},"dhcp4":true}}}"#;
        NoCloudSeed {
            user_data: b"#!/bin/sh\n".to_vec(),
            meta_data: br#"{"instance-id":"7","local-hostname":"calm-otter.lab"}"#.to_vec(),
            network_config: network.as_bytes().to_vec(),
            vendor_data: vendor.as_bytes().to_vec(),
        }
    }

    #[test]
    fn the_seed_of_farrier_is_understood() {
        let read = Seed::read(&seed(), &[MAC]).unwrap();
        let home = read.phone_home.clone().unwrap();
        assert_eq!((home.url.as_str(), home.tries), ("http://10.77.0.1:5248/phone-home/7/t0ken", 20));
        assert_eq!(read.form(&home.post), "instance_id=7&hostname=calm-otter&fqdn=calm-otter.lab");
        assert_eq!(encode("a b/ä"), "a+b%2F%C3%A4");
    }

    #[test]
    fn another_machines_seed_and_nonsense_are_refused() {
        assert!(Seed::read(&seed(), &[MacAddr([9; 6])]).unwrap_err().starts_with("network-config"));
        assert!(Seed::read(&NoCloudSeed { meta_data: Vec::new(), ..seed() }, &[MAC]).is_err());
        assert!(Seed::read(&NoCloudSeed { meta_data: b"{}".to_vec(), ..seed() }, &[MAC]).is_err());
        let user_data = b"#cloud-config\n{\"phone_home\":{\"url\":\"http://mine/\"}}".to_vec();
        let read = Seed::read(&NoCloudSeed { user_data, ..seed() }, &[MAC]).unwrap();
        assert_eq!(read.phone_home.unwrap().url, "http://mine/");
    }
}
