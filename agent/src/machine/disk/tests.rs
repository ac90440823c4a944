use std::path::Path;

use super::*;

fn put(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join("sys").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn add(root: &Path, name: &str, gib: u64, attributes: &[(&str, &str)]) {
    put(root, &format!("block/{name}/size"), (gib << 21).to_string());
    for (attribute, value) in attributes {
        put(root, &format!("block/{name}/{attribute}"), format!("{value}\n"));
    }
}

fn disk(name: &str, serial: &str, size_bytes: u64) -> Disk {
    let (name, serial, model) = (name.to_owned(), serial.to_owned(), String::new());
    Disk {
        name,
        serial,
        model,
        size_bytes,
        rotational: false,
        bus: Bus::Scsi,
        discard: false,
        read_only: false,
        sector_bytes: 512,
    }
}

#[test]
fn only_the_machines_own_disks_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    add(
        root,
        "nvme0n1",
        10,
        &[("device/serial", "N1   "), ("device/model", "Fast"), ("queue/discard_max_bytes", "4096")],
    );
    add(root, "vda", 2, &[("serial", "V1"), ("queue/logical_block_size", "4096")]);
    add(root, "sda", 4, &[("device/vendor", "ATA     "), ("queue/rotational", "1")]);
    put(root, "block/sda/device/vpd_pg80", b"\x00\x80\x00\x06 S-123trailing");
    add(root, "sdb", 4, &[("device/vendor", "SEAGATE"), ("device/model", "ST1"), ("device/wwid", "naa.5000")]);
    add(root, "sdc", 4, &[("removable", "1")]);
    add(root, "sdd", 0, &[]);
    add(root, "nvme0c0n1", 10, &[("hidden", "1")]);
    for name in ["loop0", "ram0", "zram0", "sr0", "fd0", "md127", "dm-0", "nbd0", "mmcblk0boot0", "mmcblk0rpmb"] {
        add(root, name, 1, &[]);
    }
    let found = list(&Host::below(root)).unwrap();
    let seen: Vec<_> = found.iter().map(|d| (d.name.as_str(), d.serial.as_str(), d.bus, d.size_bytes >> 30)).collect();
    assert_eq!(
        seen,
        [
            ("nvme0n1", "N1", Bus::Nvme, 10),
            ("sda", "S-123", Bus::Ata, 4),
            ("sdb", "naa.5000", Bus::Scsi, 4),
            ("vda", "V1", Bus::Virtio, 2)
        ]
    );
    assert!(found[0].discard && !found[1].discard && found[1].rotational);
    assert_eq!(found[3].sector_bytes, 4096);
    assert_eq!((found[0].model.as_str(), found[2].model.as_str()), ("Fast", "SEAGATE ST1"));
}

#[test]
fn the_smallest_disk_that_holds_the_image_is_taken() {
    let disks = [disk("sda", "A", 400), disk("sdb", "B", 200), disk("sdc", "C", 200), disk("sdd", "D", 100)];
    let check = |size, expected| assert_eq!(choose(&disks, "", size).unwrap().name, expected);
    check(101, "sdb");
    check(100, "sdd");
    check(201, "sda");
    assert!(choose(&disks, "", 401).unwrap_err().to_string().contains("sda (serial \"A\", 400 bytes)"));
    assert!(choose(&[], "", 1).unwrap_err().to_string().contains("no disk"));
}

#[test]
fn a_serial_must_be_that_of_one_disk_that_can_take_it() {
    let disks = [
        disk("sda", "A", 400),
        disk("sdb", "B", 200),
        disk("sdc", "B", 200),
        Disk { read_only: true, ..disk("sdd", "D", 400) },
    ];
    let refused = |serial, expected: &str| {
        let error = choose(&disks, serial, 300).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    assert_eq!(choose(&disks, "A", 300).unwrap().name, "sda");
    refused("B", "sdb and sdc both");
    refused("X", "no disk has serial");
    refused("D", "read-only");
    assert!(choose(&disks, "A", 500).unwrap_err().to_string().contains("has 400 bytes, the image needs 500"));
}
