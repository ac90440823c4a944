//! How intents are written to disk: the stored shape, apart from the shape that code works with.

use std::{net::Ipv4Addr, time::Duration};

use chrono::DateTime;
use farrier_common::{
    net::{Ipv4Range, MacAddr},
    secret::Secret,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::boot::intent::{BlobRef, Ephemeral, EphemeralImage, Intent, Interface, Subnet, Target};

/// A stored value that cannot be.
#[derive(Debug, Error)]
pub(super) enum BadRecord {
    #[error("not the JSON expected")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Value(String),
}

/// All of a snapshot but its intents.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeaderRecord {
    pub(super) snapshot_id: String,
    subnets: Vec<SubnetRecord>,
    enlist_image: Option<ImageRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubnetRecord {
    cidr: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    dynamic: [Ipv4Addr; 2],
    lease_seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageRecord {
    kernel: BlobRecord,
    initrd: BlobRecord,
    extra_cmdline: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct BlobRecord {
    sha256: String,
    size: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct IntentRecord {
    machine_id: Uuid,
    machine_name: String,
    version: i64,
    interfaces: Vec<InterfaceRecord>,
    target: TargetRecord,
}

#[derive(Serialize, Deserialize)]
struct InterfaceRecord {
    mac: String,
    address: Option<Ipv4Addr>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum TargetRecord {
    LocalDisk { boot_id: Option<Uuid>, phone_home_sha256: Option<String> },
    Ephemeral { boot_id: Uuid, token: String, purpose: String, image: ImageRecord, expires_micros: i64 },
}

// === stored to working shape ===

impl HeaderRecord {
    pub(super) fn new(snapshot_id: &str, subnets: &[Subnet], enlist_image: Option<&EphemeralImage>) -> Self {
        Self {
            snapshot_id: snapshot_id.to_owned(),
            subnets: subnets.iter().map(SubnetRecord::from).collect(),
            enlist_image: enlist_image.map(ImageRecord::from),
        }
    }

    pub(super) fn subnets(&self) -> Result<Vec<Subnet>, BadRecord> {
        self.subnets.iter().map(Subnet::try_from).collect()
    }

    pub(super) fn into_enlist_image(self) -> Option<EphemeralImage> {
        self.enlist_image.map(EphemeralImage::from)
    }
}

impl TryFrom<&SubnetRecord> for Subnet {
    type Error = BadRecord;

    fn try_from(r: &SubnetRecord) -> Result<Self, BadRecord> {
        let [start, end] = r.dynamic;
        let dynamic = Ipv4Range::new(start, end)
            .ok_or_else(|| BadRecord::Value(format!("dynamic: {start} comes after {end}")))?;
        let lease = Duration::from_secs(r.lease_seconds);
        Ok(Self { cidr: r.cidr, gateway: r.gateway, dns: r.dns.clone(), dynamic, lease })
    }
}

impl From<ImageRecord> for EphemeralImage {
    fn from(r: ImageRecord) -> Self {
        let blob = |b: BlobRecord| BlobRef { sha256: b.sha256, size: b.size };
        Self { kernel: blob(r.kernel), initrd: blob(r.initrd), extra_cmdline: r.extra_cmdline }
    }
}

impl TryFrom<IntentRecord> for Intent {
    type Error = BadRecord;

    fn try_from(r: IntentRecord) -> Result<Self, BadRecord> {
        let interface = |i: InterfaceRecord| {
            let mac: MacAddr = i.mac.parse().map_err(|e| BadRecord::Value(format!("mac: {e}")))?;
            Ok(Interface { mac, address: i.address })
        };
        Ok(Self {
            machine_id: farrier_common::id::Id::from_uuid(r.machine_id),
            machine_name: r.machine_name,
            version: r.version,
            interfaces: r.interfaces.into_iter().map(interface).collect::<Result<_, BadRecord>>()?,
            target: r.target.try_into()?,
        })
    }
}

impl TryFrom<TargetRecord> for Target {
    type Error = BadRecord;

    fn try_from(r: TargetRecord) -> Result<Self, BadRecord> {
        use farrier_common::id::Id;
        Ok(match r {
            TargetRecord::LocalDisk { boot_id, phone_home_sha256 } => {
                Self::LocalDisk { boot_id: boot_id.map(Id::from_uuid), phone_home_sha256 }
            }
            TargetRecord::Ephemeral { boot_id, token, purpose, image, expires_micros } => Self::Ephemeral(Ephemeral {
                boot_id: Id::from_uuid(boot_id),
                token: Secret::new(token),
                purpose,
                image: image.into(),
                expires: DateTime::from_timestamp_micros(expires_micros)
                    .ok_or_else(|| BadRecord::Value(format!("expires_micros: {expires_micros} is no time")))?,
            }),
        })
    }
}

// === working to stored shape ===

impl From<&Subnet> for SubnetRecord {
    fn from(s: &Subnet) -> Self {
        Self {
            cidr: s.cidr,
            gateway: s.gateway,
            dns: s.dns.clone(),
            dynamic: [s.dynamic.start(), s.dynamic.end()],
            lease_seconds: s.lease.as_secs(),
        }
    }
}

impl From<&EphemeralImage> for ImageRecord {
    fn from(image: &EphemeralImage) -> Self {
        let blob = |b: &BlobRef| BlobRecord { sha256: b.sha256.clone(), size: b.size };
        Self { kernel: blob(&image.kernel), initrd: blob(&image.initrd), extra_cmdline: image.extra_cmdline.clone() }
    }
}

impl From<&Intent> for IntentRecord {
    fn from(i: &Intent) -> Self {
        let interface = |i: &Interface| InterfaceRecord { mac: i.mac.to_string(), address: i.address };
        Self {
            machine_id: i.machine_id.uuid(),
            machine_name: i.machine_name.clone(),
            version: i.version,
            interfaces: i.interfaces.iter().map(interface).collect(),
            target: (&i.target).into(),
        }
    }
}

impl From<&Target> for TargetRecord {
    fn from(target: &Target) -> Self {
        match target {
            Target::LocalDisk { boot_id, phone_home_sha256 } => Self::LocalDisk {
                boot_id: boot_id.map(farrier_common::id::Id::uuid),
                phone_home_sha256: phone_home_sha256.clone(),
            },
            Target::Ephemeral(e) => Self::Ephemeral {
                boot_id: e.boot_id.uuid(),
                token: e.token.expose().clone(),
                purpose: e.purpose.clone(),
                image: (&e.image).into(),
                expires_micros: e.expires.timestamp_micros(),
            },
        }
    }
}
