//! Which part of a source becomes which of a destination.

use farrier_common::hardware::Firmware;

use super::*;
use crate::domain::{
    layout::{network, storage, testing},
    lifecycle::State,
};

fn copied(change: impl Fn(&mut Hardware)) -> Copied {
    let (hardware, storage, network) = (testing::hardware(), storage::tests::example(), network::tests::example());
    let mut to = crate::domain::testing::machine(State::Ready, None);
    to.firmware = Some(Firmware::Uefi);
    let mut other = testing::hardware();
    change(&mut other);
    to.details.hardware = Some(other);
    copy(&Original { hardware: &hardware, storage: Some(&storage), network: Some(&network) }, &to)
}

fn matched(copied: &Copied) -> Vec<String> {
    copied.matches.iter().map(|m| format!("{} > {} {}", m.source, m.destination, m.rule)).collect()
}

#[test]
fn the_same_hardware_gets_the_same_but_for_addresses() {
    let copied = copied(|_| {});
    assert_eq!(copied.refusals, [""; 0]);
    assert_eq!(copied.storage, Some(storage::tests::example()));
    let network = copied.network.clone().unwrap();
    assert!(network.bonds[0].addresses == Addresses { dhcp4: true, ..Addresses::default() });
    assert_eq!(network.routes[0].interface, "bond0");
    assert_eq!(
        matched(&copied),
        [
            "sda > sda name",
            "sdb > sdb name",
            "sdc > sdc name",
            "eno1 > eno1 name",
            "eno2 > eno2 name",
            "eno3 > eno3 name",
            "bond0 10.0.0.5/24, fd00::5/64 > bond0 dhcp4 static-to-dhcp",
        ]
    );
}

#[test]
fn other_names_are_matched_by_type_and_size_and_by_position_and_speed() {
    let copied = copied(|h| {
        let disks =
            [("vda", 300, false), ("vdb", 250, false), ("sdc", 100, false), ("vdc", 240, false), ("vdd", 5000, true)];
        h.disks = disks.iter().map(|(name, gib, spins)| testing::disk(name, *gib, *spins, "ata")).collect();
        let nics = [("p0", 1000), ("p1", 10_000), ("eno2", 10_000), ("p3", 10_000)];
        h.nics = nics.iter().map(|(name, speed)| testing::nic(name, *speed)).collect();
    });
    assert_eq!(copied.refusals, [""; 0]);
    assert_eq!(
        matched(&copied)[..6],
        [
            "sdc > vdd size-and-type",
            "sda > vdc size-and-type",
            "sdb > vdb size-and-type",
            "eno2 > eno2 name",
            "eno1 > p1 position-and-speed",
            "eno3 > p0 position-and-speed",
        ]
    );
    let storage = copied.storage.unwrap();
    assert_eq!(storage.disks[0].disk, "vdc");
    assert_eq!(storage.filesystems[4].device, "vdd");
    let network = copied.network.unwrap();
    assert_eq!(network.bonds[0].members, ["p1", "eno2"]);
    assert_eq!(network.interfaces[2].name, "p0");
}

#[test]
fn every_reason_is_told() {
    let copied = copied(|h| {
        h.disks = vec![testing::disk("sda", 239, false, "ata"), testing::disk("sdb", 900, true, "ata")];
        h.nics = vec![testing::nic("eno1", 10_000)];
    });
    assert_eq!(copied.refusals.len(), 5, "{:#?}", copied.refusals);
    assert!(
        copied.refusals[1].starts_with("no disk for sda: it takes one of type ssd with at least 257698037760 bytes")
    );
    assert!(copied.refusals[1].ends_with("there are: sda (ssd, 256624295936 bytes), sdb (hdd, 966367641600 bytes)"));
    assert!(copied.refusals[4].starts_with("no NIC for eno3: it takes one of that name, or one of 1000 Mb/s"));
    assert_eq!((copied.storage, copied.network), (None, None));
}

#[test]
fn what_does_not_fit_in_another_way_is_refused() {
    // The destination has a disk that is called as a partition is.
    let copied = copied(|h| h.disks[2] = testing::disk("boot", 4000, true, "ata"));
    assert!(copied.refusals.iter().any(|r| r.contains("\"boot\" is the name of")), "{:#?}", copied.refusals);
    let mut unknown = crate::domain::testing::machine(State::Ready, None);
    unknown.details.hardware = None;
    let (hardware, network) = (testing::hardware(), network::tests::example());
    let original = Original { hardware: &hardware, storage: None, network: Some(&network) };
    assert_eq!(copy(&original, &unknown).refusals, ["its hardware is not known: commission it first"]);
}

#[test]
fn a_disk_by_serial_number_stays_one() {
    let (hardware, mut storage) = (testing::hardware(), storage::tests::example());
    "C1".clone_into(&mut storage.disks[2].disk);
    "C1".clone_into(&mut storage.filesystems[4].device);
    let mut to = crate::domain::testing::machine(State::Ready, None);
    let mut other = testing::hardware();
    other.disks[2].serial = "Z9".into();
    to.details.hardware = Some(other);
    let copied = copy(&Original { hardware: &hardware, storage: Some(&storage), network: None }, &to);
    assert_eq!(copied.refusals, [""; 0]);
    let got = copied.storage.unwrap();
    assert_eq!((got.disks[2].disk.as_str(), got.filesystems[4].device.as_str()), ("Z9", "Z9"));
}
