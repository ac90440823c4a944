//! The inventory of a machine that runs already, as the script on its host tells it.

use std::net::IpAddr;

use farrier_common::secret::Secret;
use farrier_proto::{rack as proto, v1};
use serde::Deserialize;

use super::{Gateway, GatewayError, QUICK};

/// What the script sends.
#[derive(Debug, Deserialize)]
pub struct LiveReport {
    /// Lets the region know whose host it is.
    #[serde(deserialize_with = "secret")]
    pub token: Secret<String>,
    /// What was found.
    pub hardware: LiveHardware,
}

/// Hardware in the script's words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LiveHardware {
    vendor: String,
    product: String,
    serial: String,
    uuid: String,
    firmware_version: String,
    cpu_model: String,
    cpu_cores: u32,
    memory_bytes: u64,
    disks: Vec<LiveDisk>,
    nics: Vec<LiveNic>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LiveDisk {
    name: String,
    serial: String,
    model: String,
    size_bytes: u64,
    rotational: bool,
    bus: String,
    discard: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LiveNic {
    name: String,
    mac: String,
    driver: String,
    carrier: bool,
    speed_mbps: u32,
}

impl Gateway {
    /// Hands over what the script on a live machine's host found; answers the machine's name.
    ///
    /// # Errors
    /// As the region answers.
    pub async fn live_inventory(&self, report: LiveReport, source: IpAddr) -> Result<String, GatewayError> {
        let request = proto::RelayLiveInventoryRequest {
            token: report.token.expose().clone(),
            source_address: source.to_string(),
            hardware: Some(report.hardware.into()),
        };
        let call = self.call(QUICK, request, |mut client, r| async move { client.relay_live_inventory(r).await });
        Ok(call.await?.machine_name)
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Secret<String>, D::Error> {
    String::deserialize(from).map(Secret::new)
}

impl From<LiveHardware> for v1::Hardware {
    fn from(h: LiveHardware) -> Self {
        Self {
            vendor: h.vendor,
            product: h.product,
            serial: h.serial,
            uuid: h.uuid,
            firmware_version: h.firmware_version,
            cpu_model: h.cpu_model,
            cpu_cores: h.cpu_cores,
            memory_bytes: h.memory_bytes,
            disks: h.disks.into_iter().map(Into::into).collect(),
            nics: h.nics.into_iter().map(Into::into).collect(),
            gpus: Vec::new(),
        }
    }
}

impl From<LiveDisk> for v1::Disk {
    fn from(d: LiveDisk) -> Self {
        Self {
            name: d.name,
            serial: d.serial,
            model: d.model,
            size_bytes: d.size_bytes,
            rotational: d.rotational,
            bus: d.bus,
            discard: d.discard,
        }
    }
}

impl From<LiveNic> for v1::Nic {
    fn from(n: LiveNic) -> Self {
        Self { name: n.name, mac: n.mac, driver: n.driver, carrier: n.carrier, speed_mbps: n.speed_mbps }
    }
}
