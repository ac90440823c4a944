//! Intents for tests.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use farrier_common::{
    clock::Timestamp,
    id::{BootId, MachineId},
    net::{Ipv4Range, MacAddr},
    secret::Secret,
};

use crate::boot::intent::{BlobRef, Ephemeral, EphemeralImage, Intent, Interface, Snapshot, Subnet, Target};

pub(crate) fn now() -> Timestamp {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(crate) fn mac(n: u16) -> MacAddr {
    let [hi, lo] = n.to_be_bytes();
    MacAddr([0x52, 0x54, 0, 0x77, hi, lo])
}

pub(crate) fn image() -> EphemeralImage {
    EphemeralImage {
        kernel: BlobRef { sha256: "aa".repeat(32), size: 14_000_000 },
        initrd: BlobRef { sha256: "bb".repeat(32), size: 1_200_000 },
        extra_cmdline: "quiet loglevel=3".to_owned(),
    }
}

pub(crate) fn ephemeral(n: u16, address: &str) -> Intent {
    let target = Target::Ephemeral(Ephemeral {
        boot_id: BootId::generate(),
        token: Secret::new("0f".repeat(32)),
        purpose: "commissioning".to_owned(),
        image: image(),
        expires: now() + TimeDelta::hours(1),
    });
    Intent { target, interfaces: vec![Interface { mac: mac(n), address: address.parse().ok() }], ..local_disk(n) }
}

pub(crate) fn local_disk(n: u16) -> Intent {
    Intent {
        machine_id: MachineId::generate(),
        machine_name: format!("node-{n}"),
        version: 1,
        interfaces: vec![Interface { mac: mac(n), address: None }],
        target: Target::LocalDisk { boot_id: None, phone_home_sha256: None },
    }
}

pub(crate) fn subnet() -> Subnet {
    Subnet {
        cidr: "10.77.0.0/24".parse().unwrap(),
        gateway: Some([10, 77, 0, 1].into()),
        dns: vec![[10, 77, 0, 2].into()],
        dynamic: Ipv4Range::new([10, 77, 0, 100].into(), [10, 77, 0, 109].into()).unwrap(),
        lease: Duration::from_secs(3600),
    }
}

pub(crate) fn snapshot(intents: Vec<Intent>) -> Snapshot {
    Snapshot { id: "s1".to_owned(), subnets: vec![subnet()], enlist_image: Some(image()), intents }
}
