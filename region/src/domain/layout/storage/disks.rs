//! Disks and partition tables.

use farrier_common::hardware::Firmware;

use super::{
    super::{Facts, Faults, quoted},
    DiskLayout, MIB, MOST_MBR, Partition, PartitionKind, StorageLayout, Table,
    devices::{Device, Devices, Shape, name},
};
use crate::domain::machine::{Disk, Hardware};

const MOST_DISKS: usize = 64;
const MOST_PARTITIONS: usize = 256;
const MOST_GPT: usize = 128;
const MOST_PRIMARY: usize = 4;
const MOST_ID: usize = 128;

/// Checks the disks; answers what the rest of the layout may use.
pub(super) fn check(layout: &StorageLayout, facts: &Facts<'_>, faults: &mut Faults) -> Devices {
    let mut devices = Devices::default();
    let mut known: Vec<(&str, usize)> = Vec::new();
    let disks = faults.bound("storage.disks", &layout.disks, MOST_DISKS);
    faults.unless(!disks.is_empty(), "storage.disks", "at least one is required");
    let all: usize = disks.iter().map(|d| d.partitions.len()).sum();
    faults.unless(all <= MOST_PARTITIONS, "storage.disks", format!("at most {MOST_PARTITIONS} partitions are allowed"));
    for (place, disk) in disks.iter().enumerate() {
        let field = format!("storage.disks[{place}]");
        let found = hardware(disk, &field, facts.hardware, faults);
        if let Some(found) = found {
            match known.iter().find(|(name, _)| *name == found.name) {
                Some((_, first)) => faults.add(
                    format!("{field}.disk"),
                    format!("{} and storage.disks[{first}] are the same disk", quoted(&disk.disk)),
                ),
                None => known.push((&found.name, place)),
            }
        }
        let size = found.map(|d| d.size_bytes);
        let device = Device::new(Shape::Disk { table: disk.table.is_some() }, &field, size, Some(place));
        devices.declare(&disk.disk, device, &format!("{field}.disk"), faults);
        partitions(disk, place, size, &mut devices, faults);
    }
    boot(disks, facts, faults);
    devices
}

/// The disk of the inventory that is meant.
fn hardware<'a>(
    disk: &DiskLayout,
    field: &str,
    hardware: Option<&'a Hardware>,
    faults: &mut Faults,
) -> Option<&'a Disk> {
    let field = format!("{field}.disk");
    let text = disk.disk.as_str();
    let good = (1..=MOST_ID).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'/');
    if !good {
        faults.add(field, "must be a disk's kernel name or serial number: 1 to 128 printable characters without '/'");
        return None;
    }
    let hardware = hardware?;
    match find_disk(hardware, text).as_slice() {
        [one] => Some(one),
        [] => {
            let known: Vec<_> = hardware.disks.iter().map(|d| format!("{} ({})", d.name, d.serial)).collect();
            faults.add(field, format!("the machine has no disk {}; it has: {}", quoted(text), known.join(", ")));
            None
        }
        [_, _, ..] => {
            faults.add(field, format!("more than one disk of the machine is {}: use its kernel name", quoted(text)));
            None
        }
    }
}

/// The disks that a text may mean: by kernel name, or else by serial number.
pub(in crate::domain::layout) fn find_disk<'a>(hardware: &'a Hardware, text: &str) -> Vec<&'a Disk> {
    let named: Vec<_> = hardware.disks.iter().filter(|d| d.name == text).collect();
    if named.is_empty() { hardware.disks.iter().filter(|d| d.serial == text).collect() } else { named }
}

fn partitions(disk: &DiskLayout, place: usize, size: Option<u64>, devices: &mut Devices, faults: &mut Faults) {
    let list = format!("storage.disks[{place}].partitions");
    let Some(table) = disk.table else {
        faults.unless(disk.partitions.is_empty(), list, "need a table: gpt or mbr");
        return;
    };
    let most = match table {
        Table::Gpt => MOST_GPT,
        Table::Mbr => MOST_PRIMARY,
    };
    faults.unless(!disk.partitions.is_empty(), list.clone(), format!("a disk with table {table} has at least one"));
    let room = room(table, size, place, faults);
    let mut used = 0_u64;
    let parts = faults.bound(&list, &disk.partitions, most);
    for (nth, part) in parts.iter().enumerate() {
        let field = format!("{list}[{nth}]");
        if table == Table::Mbr && part.kind == PartitionKind::BiosGrub {
            faults.add(format!("{field}.kind"), "bios-grub is for gpt only: on an mbr disk GRUB needs no partition");
        }
        let last = nth + 1 == parts.len();
        // The rest of a disk of unknown size is unknown, whatever the table's own limit.
        let left = room.map(|room| room.saturating_sub(used)).filter(|_| part.size_bytes != 0 || size.is_some());
        let size = one(part, &field, last, left, faults);
        used = used.saturating_add(size.unwrap_or(0));
        if name(&format!("{field}.name"), &part.name, faults) {
            let device = Device::new(Shape::Partition(part.kind), &field, size, Some(place));
            devices.declare(&part.name, device, &format!("{field}.name"), faults);
        }
    }
}

/// The size of a partition, if it can be told. `left`: what is there for it, if that is known.
fn one(part: &Partition, field: &str, last: bool, left: Option<u64>, faults: &mut Faults) -> Option<u64> {
    let field = format!("{field}.size_bytes");
    if part.size_bytes == 0 {
        faults.unless(last, field.clone(), "0 means the rest of the disk: only the last partition may have it");
        if last && let Some(left) = left {
            faults.unless(left >= MIB, field, "nothing is left on the disk for it");
        }
        return left.filter(|_| last);
    }
    faults.unless(part.size_bytes.is_multiple_of(MIB), field.clone(), "must be a multiple of 1 MiB (1048576)");
    if let Some(left) = left {
        let why = format!("only {left} bytes are left behind the partition table and the partitions before");
        faults.unless(part.size_bytes <= left, field, why);
    }
    Some(part.size_bytes)
}

/// How much all partitions of a disk may take: 1 MiB in front is the table's, and at the end of a GPT disk its copy's.
fn room(table: Table, size: Option<u64>, place: usize, faults: &mut Faults) -> Option<u64> {
    match table {
        Table::Gpt => size.map(|size| (size / MIB * MIB).saturating_sub(2 * MIB)),
        Table::Mbr => {
            let most = MOST_MBR - MIB;
            if size.is_some_and(|size| size > MOST_MBR) {
                let field = format!("storage.disks[{place}].table");
                faults.add(field, "mbr reaches 2 TiB, and the disk is larger: use gpt");
            }
            Some(size.map_or(most, |size| (size / MIB * MIB).saturating_sub(MIB).min(most)))
        }
    }
}

/// Exactly one disk is booted from, and the firmware finds there what it needs.
fn boot(disks: &[DiskLayout], facts: &Facts<'_>, faults: &mut Faults) {
    let boots: Vec<(usize, &DiskLayout)> = disks.iter().enumerate().filter(|(_, d)| d.boot).collect();
    let [(place, disk)] = boots.as_slice() else {
        let why = format!("exactly one disk must have boot: true; {} have it", boots.len());
        faults.add("storage.disks", why);
        return;
    };
    let field = format!("storage.disks[{place}]");
    let has = |kind| disk.partitions.iter().any(|p| p.kind == kind);
    match (disk.table, facts.firmware) {
        (None, _) => faults.add(format!("{field}.boot"), "the boot disk needs a partition table"),
        (Some(_), Some(Firmware::Uefi)) => {
            let why = "the machine boots with UEFI: its boot disk needs a partition of kind efi, mounted at /boot/efi";
            faults.unless(has(PartitionKind::Efi), format!("{field}.partitions"), why);
        }
        (Some(Table::Gpt), Some(Firmware::Bios)) => {
            let why = "the machine boots with BIOS: its gpt boot disk needs a partition of kind bios-grub";
            faults.unless(has(PartitionKind::BiosGrub), format!("{field}.partitions"), why);
        }
        (Some(Table::Mbr), Some(Firmware::Bios)) | (Some(_), None) => {}
    }
}
