//! Hardware and layouts for the unit tests.

use crate::domain::machine::{Disk, Hardware, Nic};

/// An example of `docs/layouts.md`: the block ```` ```json NAME ````.
pub(crate) fn example(name: &str) -> String {
    let page = include_str!("../../../../docs/layouts.md");
    let (_, after) = page.split_once(&format!("```json {name}\n")).expect("the page has the example");
    after.split_once("\n```").expect("the example ends").0.to_owned()
}

pub(crate) fn disk(name: &str, gib: u64, rotational: bool, bus: &str) -> Disk {
    let serial =
        name.strip_prefix("sd").map_or_else(|| name.to_uppercase(), |letter| format!("{}1", letter.to_uppercase()));
    Disk { name: name.into(), serial, size_bytes: gib << 30, rotational, bus: bus.into(), ..Disk::default() }
}

pub(crate) fn nic(name: &str, speed_mbps: u32) -> Nic {
    Nic { name: name.into(), mac: "52:54:00:00:00:01".into(), carrier: true, speed_mbps, ..Nic::default() }
}

/// What the examples fit.
pub(crate) fn hardware() -> Hardware {
    Hardware {
        disks: vec![disk("sda", 240, false, "ata"), disk("sdb", 240, false, "ata"), disk("sdc", 4000, true, "ata")],
        nics: vec![nic("eno1", 10_000), nic("eno2", 10_000), nic("eno3", 1000), nic("eno4", 1000)],
        ..Hardware::default()
    }
}
