//! The rack's configuration file: TOML as written, and the same checked.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use farrier_common::config::{self, ConfigError};
use serde::Deserialize;

use crate::join::host_and_port;

/// A configuration that can be used. `deploy/config/rack.toml` documents the fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything durable is in here.
    pub data_dir: PathBuf,
    /// The join token; needed until the rack is enrolled.
    pub join_token_file: Option<PathBuf>,
    /// Where the region is, if no longer where the join token said.
    pub region: Option<String>,
    /// At which machines reach this rack.
    pub address: Ipv4Addr,
    /// `host:port` at which the region reaches this rack.
    pub advertise: String,
    /// Network interfaces on which DHCP is answered.
    pub interfaces: Vec<String>,
    /// Where the boot loaders are.
    pub loaders_dir: PathBuf,
    /// Where to listen.
    pub ports: Ports,
    /// So many network boots of one machine may lead nowhere before it is held.
    pub boot_loop_limit: u32,
    /// So many BMCs are asked for their power on schedule at a time.
    pub bmc_polls: usize,
    /// Certificates of those who may vouch for BMCs' certificates, in PEM form.
    pub bmc_ca_file: Option<PathBuf>,
}

/// Port numbers.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// TCP, `RackService`.
    pub service: u16,
    /// TCP, `AgentService`.
    pub agent: u16,
    /// TCP.
    pub http: u16,
    /// UDP.
    pub dhcp: u16,
    /// UDP.
    pub tftp: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { service: 5251, agent: 5250, http: 5248, dhcp: 67, tftp: 69 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    data_dir: PathBuf,
    join_token_file: Option<PathBuf>,
    region: Option<String>,
    address: String,
    advertise: Option<String>,
    interfaces: Vec<String>,
    #[serde(default = "loaders_dir")]
    loaders_dir: PathBuf,
    service_port: Option<u16>,
    agent_port: Option<u16>,
    http_port: Option<u16>,
    dhcp_port: Option<u16>,
    tftp_port: Option<u16>,
    #[serde(default = "boot_loop_limit")]
    boot_loop_limit: u32,
    #[serde(default = "bmc_polls")]
    bmc_polls: usize,
    bmc_ca_file: Option<PathBuf>,
}

const fn bmc_polls() -> usize {
    crate::bmc::gate::POLLS
}

const fn boot_loop_limit() -> u32 {
    crate::boot::breaker::LIMIT
}

fn loaders_dir() -> PathBuf {
    PathBuf::from("/usr/lib/ipxe")
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML of this shape, or holds what cannot be: then all such fields are named.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        config::load::<Wire>(path)?.check().map_err(ConfigError::Invalid)
    }
}

impl Wire {
    fn check(self) -> Result<Config, Vec<String>> {
        let mut wrong = Vec::new();
        let address = self.address.parse::<Ipv4Addr>().ok().filter(|a| !a.is_unspecified() && !a.is_multicast());
        if address.is_none() {
            wrong.push(format!(
                "address: {:?} is not an IPv4 address at which machines can reach this rack",
                self.address
            ));
        }
        for (field, path) in [
            ("data_dir", Some(&self.data_dir)),
            ("join_token_file", self.join_token_file.as_ref()),
            ("bmc_ca_file", self.bmc_ca_file.as_ref()),
        ] {
            if path.is_some_and(|p| !p.is_absolute()) {
                wrong.push(format!("{field}: must be an absolute path"));
            }
        }
        if !self.loaders_dir.is_absolute() {
            wrong.push("loaders_dir: must be an absolute path".into());
        }
        for (field, value) in [("advertise", &self.advertise), ("region", &self.region)] {
            if value.as_ref().is_some_and(|v| !host_and_port(v)) {
                wrong.push(format!("{field}: {:?} is not host:port", value.as_deref().unwrap_or_default()));
            }
        }
        if self.interfaces.is_empty() {
            wrong.push("interfaces: names no network interface".into());
        }
        for name in &self.interfaces {
            let good = (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
            if !good {
                wrong.push(format!("interfaces: {name:?} is not the name of a network interface"));
            }
        }
        let usual = Ports::default();
        let ports = Ports {
            service: self.service_port.unwrap_or(usual.service),
            agent: self.agent_port.unwrap_or(usual.agent),
            http: self.http_port.unwrap_or(usual.http),
            dhcp: self.dhcp_port.unwrap_or(usual.dhcp),
            tftp: self.tftp_port.unwrap_or(usual.tftp),
        };
        wrong.extend(ports.wrong());
        if !(1..=100).contains(&self.boot_loop_limit) {
            wrong.push("boot_loop_limit: must be 1 to 100".into());
        }
        if !(1..=4096).contains(&self.bmc_polls) {
            wrong.push("bmc_polls: must be 1 to 4096".into());
        }
        match address {
            Some(address) if wrong.is_empty() => Ok(Config {
                data_dir: self.data_dir,
                join_token_file: self.join_token_file,
                region: self.region,
                address,
                advertise: self.advertise.unwrap_or_else(|| format!("{address}:{}", ports.service)),
                interfaces: self.interfaces,
                loaders_dir: self.loaders_dir,
                ports,
                boot_loop_limit: self.boot_loop_limit,
                bmc_polls: self.bmc_polls,
                bmc_ca_file: self.bmc_ca_file,
            }),
            _ => Err(wrong),
        }
    }
}

impl Ports {
    fn wrong(&self) -> Vec<String> {
        let tcp = [("service_port", self.service), ("agent_port", self.agent), ("http_port", self.http)];
        let udp = [("dhcp_port", self.dhcp), ("tftp_port", self.tftp)];
        let mut wrong: Vec<String> = tcp
            .iter()
            .chain(&udp)
            .filter(|(_, p)| *p == 0)
            .map(|(name, _)| format!("{name}: must be 1 to 65535"))
            .collect();
        for group in [&tcp[..], &udp[..]] {
            for (at, (name, port)) in group.iter().enumerate() {
                if let Some((other, _)) = group.iter().take(at).find(|(_, p)| p == port) {
                    wrong.push(format!("{name}: {port} is the same as {other}"));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rack.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|e| farrier_common::telemetry::Chain(&e).to_string())
    }

    #[test]
    fn the_documented_example_is_valid() {
        let config =
            Config::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/rack.toml"))).unwrap();
        assert_eq!(config.advertise, format!("{}:5251", config.address));
        assert_eq!((config.ports.http, config.ports.dhcp), (5248, 67));
        assert_eq!(config.bmc_polls, 256);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let text = "data_dir = \"x\"\naddress = \"0.0.0.0\"\nadvertise = \"a\"\ninterfaces = [\"a/b\"]\nagent_port = 5248\ntftp_port = 0\nboot_loop_limit = 0\nbmc_polls = 0\nbmc_ca_file = \"x\"\n";
        let error = check(text).unwrap_err();
        for field in [
            "data_dir",
            "address",
            "advertise",
            "interfaces",
            "http_port",
            "tftp_port",
            "boot_loop_limit",
            "bmc_polls",
            "bmc_ca_file",
        ] {
            assert!(error.contains(&format!("{field}:")), "{field} in {error}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = check("data_dir = \"/x\"\naddress = \"10.0.0.1\"\ninterfaces = [\"a\"]\nadress = 1\n").unwrap_err();
        assert!(error.contains("adress"), "{error}");
    }
}
