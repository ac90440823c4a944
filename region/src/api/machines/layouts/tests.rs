//! From the wire and back.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::domain::layout::{Facts, testing};

fn storage_example() -> v1::StorageLayout {
    serde_json::from_str(&testing::example("storage")).unwrap()
}

fn network_example() -> v1::NetworkLayout {
    serde_json::from_str(&testing::example("network")).unwrap()
}

fn masked(paths: &[&str]) -> v1::ConfigureMachineRequest {
    let paths = paths.iter().map(|p| (*p).to_owned()).collect();
    v1::ConfigureMachineRequest { update_mask: Some(prost_types::FieldMask { paths }), ..Default::default() }
}

#[test]
fn the_examples_come_back_as_they_were() {
    let kept = storage_from(storage_example()).unwrap();
    assert_eq!(storage(&kept), storage_example());
    let kept = network_from(network_example()).unwrap();
    assert_eq!(network(&kept), network_example());
}

#[test]
fn the_mask_says_what_is_set() {
    for (request, field) in [
        (masked(&[]), "update_mask"),
        (masked(&["*"]), "update_mask"),
        (masked(&["storage", "labels"]), "update_mask"),
        (v1::ConfigureMachineRequest { storage: Some(storage_example()), ..masked(&["network"]) }, "storage"),
        (v1::ConfigureMachineRequest { network: Some(network_example()), ..masked(&["storage"]) }, "network"),
    ] {
        let told = declared(request).unwrap_err().to_string();
        assert!(told.starts_with(&format!("{field}: ")), "{told}");
    }
    assert_eq!(declared(masked(&["storage"])).unwrap(), Declared { storage: Some(None), network: None });
}

#[test]
fn what_cannot_be_read_names_its_field() {
    type Spoil = fn(&mut v1::StorageLayout, &mut v1::NetworkLayout);
    let spoiled: &[(Spoil, &str)] = &[
        (|s, _| s.disks[1].table = "bsd".into(), "storage.disks[1].table: \"bsd\" is not one of gpt, mbr"),
        (
            |s, _| s.disks[0].partitions[2].kind = "x".into(),
            "storage.disks[0].partitions[2].kind: \"x\" is not one of linux, ",
        ),
        (|s, _| s.filesystems[3].r#type = "zfs".into(), "storage.filesystems[3].type: \"zfs\" is not one of ext4, "),
        (|_, n| n.bonds[0].mode = "4".into(), "network.bonds[0].mode: \"4\" is not one of balance-rr, "),
        (
            |_, n| n.bonds[0].addresses.as_mut().unwrap().r#static[1] = "10.0.0.5".into(),
            "network.bonds[0].addresses.static[1]: \"10.0.0.5\" is not an address with prefix length",
        ),
        (
            |_, n| n.bonds[0].addresses.as_mut().unwrap().gateway4 = "fd00::1".into(),
            "network.bonds[0].addresses.gateway4: \"fd00::1\" is not an IPv4 address",
        ),
        (|_, n| n.routes[0].to = "all".into(), "network.routes[0].to: must be \"default\" or a network"),
        (|_, n| n.routes[0].via = String::new(), "network.routes[0].via: \"\" is not an IPv4 or IPv6 address"),
        (|_, n| n.dns_servers[0] = "ns1".into(), "network.dns_servers[0]: \"ns1\" is not an IPv4 or IPv6 address"),
        (|_, n| n.dns_servers = vec![String::new(); 1001], "network.dns_servers: has 1001 entries"),
    ];
    for (spoil, want) in spoiled {
        let (mut s, mut n) = (storage_example(), network_example());
        spoil(&mut s, &mut n);
        let request =
            v1::ConfigureMachineRequest { storage: Some(s), network: Some(n), ..masked(&["storage", "network"]) };
        let told = declared(request).unwrap_err().to_string();
        assert!(told.starts_with(want), "{told}");
    }
}

/// Sound layouts of a disk or more, each with a partition or more, on hardware that nobody has looked at.
fn sound_storage() -> impl Strategy<Value = v1::StorageLayout> {
    let sizes = vec(vec(1_u64..5000, 1..6), 1..5);
    (sizes, any::<bool>()).prop_map(|(sizes, rest)| {
        let mut layout = v1::StorageLayout::default();
        for (d, sizes) in sizes.iter().enumerate() {
            let part = |(p, size): (usize, &u64)| v1::Partition {
                name: format!("p{d}-{p}"),
                size_bytes: if rest && p + 1 == sizes.len() { 0 } else { (size + 300) << 20 },
                kind: "linux".to_owned(),
            };
            let partitions: Vec<_> = sizes.iter().enumerate().map(part).collect();
            for part in &partitions {
                layout.filesystems.push(v1::FilesystemMount {
                    device: part.name.clone(),
                    r#type: ["ext4", "xfs", "btrfs"][part.name.len() % 3].to_owned(),
                    mount_point: if part.name == "p0-0" { "/".to_owned() } else { format!("/srv/{}", part.name) },
                    ..Default::default()
                });
            }
            layout.disks.push(v1::DiskLayout {
                disk: format!("sd{d}"),
                table: "gpt".to_owned(),
                boot: d == 0,
                partitions,
            });
        }
        layout
    })
}

fn sound_network() -> impl Strategy<Value = v1::NetworkLayout> {
    vec((1_u8..255, 1_u32..4095, any::<bool>(), prop_oneof![Just(0_u32), 1280_u32..9217]), 1..6).prop_map(|links| {
        let mut layout = v1::NetworkLayout::default();
        for (n, (host, id, six, mtu)) in links.into_iter().enumerate() {
            let fixed = if six { format!("fd00:{:x}::{host:x}/64", n + 1) } else { format!("10.{n}.0.{host}/16") };
            let addresses = v1::InterfaceAddresses { r#static: vec![fixed], ..Default::default() };
            layout.interfaces.push(v1::PhysicalInterface { name: format!("eth{n}"), addresses: None, mtu });
            let vlan =
                v1::Vlan { name: format!("v{n}"), link: format!("eth{n}"), id, addresses: Some(addresses), mtu: 0 };
            layout.vlans.push(vlan);
        }
        layout
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/0-9.:]{0,20}",
        any::<String>(),
        proptest::sample::select(vec![
            "gpt",
            "mbr",
            "sda",
            "linux",
            "raid",
            "eth0",
            "10.0.0.1/8",
            "fe80::1",
            "0.0.0.0/0",
            "default",
            "/"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sound_layouts_come_back_as_they_were(s in sound_storage(), n in sound_network()) {
        let kept = storage_from(s.clone()).unwrap();
        prop_assert_eq!(kept.check(&Facts::default()), vec![]);
        prop_assert_eq!(storage(&kept), s);
        prop_assert_eq!(serde_json::from_value::<StorageLayout>(serde_json::to_value(&kept).unwrap()).unwrap(), kept);
        let kept = network_from(n.clone()).unwrap();
        prop_assert_eq!(kept.check(&Facts::default()), vec![]);
        prop_assert_eq!(network(&kept), n);
        prop_assert_eq!(serde_json::from_value::<NetworkLayout>(serde_json::to_value(&kept).unwrap()).unwrap(), kept);
    }

    #[test]
    fn nothing_makes_it_panic(texts in vec(text(), 24), numbers in vec(any::<u64>(), 8), level in 0_u32..11) {
        let t = |n: usize| texts[n].clone();
        let partition = |n: usize, kind: &str| v1::Partition { name: t(n), size_bytes: numbers[n], kind: kind.to_owned() };
        let partitions = vec![partition(0, "raid"), partition(1, "lvm"), partition(2, "linux")];
        let disk = v1::DiskLayout { disk: t(3), table: "mbr".to_owned(), boot: true, partitions };
        let s = v1::StorageLayout {
            disks: vec![disk.clone(), v1::DiskLayout { table: "gpt".to_owned(), ..disk }],
            raids: vec![v1::RaidArray { name: t(4), level, members: vec![t(0), t(5), t(0)], spares: vec![t(6)] }],
            volume_groups: vec![v1::VolumeGroup {
                name: t(7),
                members: vec![t(1), t(4)],
                volumes: vec![v1::LogicalVolume { name: t(8), size_bytes: numbers[3] }, v1::LogicalVolume { name: t(9), size_bytes: numbers[4] }],
            }],
            filesystems: vec![v1::FilesystemMount { device: t(2), r#type: "xfs".to_owned(), mount_point: t(10), options: vec![t(11)], label: t(12) }],
        };
        let hardware = testing::hardware();
        for facts in [Facts::default(), Facts { hardware: Some(&hardware), firmware: None }] {
            drop(storage_from(s.clone()).map(|s| s.check(&facts)));
        }
        let addresses = Some(v1::InterfaceAddresses { dhcp4: true, r#static: vec![t(13)], gateway4: t(14), gateway6: t(15) });
        let small = u32::try_from(numbers[5] >> 32).unwrap();
        let n = v1::NetworkLayout {
            interfaces: vec![v1::PhysicalInterface { name: t(16), addresses: addresses.clone(), mtu: small }],
            bonds: vec![],
            bridges: vec![v1::Bridge { name: t(17), members: vec![t(16), t(18)], addresses, mtu: small, stp: false }],
            vlans: vec![v1::Vlan { name: t(18), link: t(17), id: small, addresses: None, mtu: small }],
            routes: vec![v1::Route { to: t(19), via: t(20), metric: small, interface: t(21) }],
            dns_servers: vec![t(22)],
            search_domains: vec![t(23)],
        };
        for only in [n.clone(), v1::NetworkLayout { routes: vec![], dns_servers: vec![], ..n }] {
            drop(network_from(only).map(|n| n.check(&Facts { hardware: Some(&hardware), firmware: None })));
        }
    }
}
