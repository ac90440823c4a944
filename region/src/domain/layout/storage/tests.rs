//! What a storage layout may be, and what it may not.

use farrier_common::hardware::Firmware;

use super::*;
use crate::domain::{
    layout::{self, testing},
    machine::Hardware,
};

const GIB: u64 = 1 << 30;

/// The example of the documentation.
pub(crate) fn example() -> StorageLayout {
    serde_json::from_str(&testing::example("storage")).unwrap()
}

fn told(layout: &StorageLayout, hardware: Option<&Hardware>, firmware: Option<Firmware>) -> Vec<String> {
    layout.check(&Facts { hardware, firmware }).iter().map(ToString::to_string).collect()
}

fn spoiled(spoil: impl Fn(&mut StorageLayout)) -> Vec<String> {
    let mut layout = example();
    spoil(&mut layout);
    told(&layout, Some(&testing::hardware()), Some(Firmware::Uefi))
}

#[test]
fn the_example_of_the_documentation_is_sound() {
    for hardware in [None, Some(&testing::hardware())] {
        for firmware in [None, Some(Firmware::Uefi)] {
            assert_eq!(told(&example(), hardware, firmware), [""; 0]);
        }
    }
    let json = serde_json::to_string(&example()).unwrap();
    assert_eq!(serde_json::from_str::<StorageLayout>(&json).unwrap(), example());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one line for each fault")]
fn each_fault_names_its_field() {
    type Spoil = fn(&mut StorageLayout);
    let spoiled_by: &[(Spoil, &str)] = &[
        (
            |l| l.disks[2].disk = "sdx".into(),
            "storage.disks[2].disk: the machine has no disk \"sdx\"; it has: sda (A1)",
        ),
        (|l| l.disks[2].disk = "A1".into(), "storage.disks[2].disk: \"A1\" and storage.disks[0] are the same disk"),
        (|l| l.disks[2].disk = "a/b".into(), "storage.disks[2].disk: must be a disk's kernel name"),
        (|l| l.disks[1].boot = true, "storage.disks: exactly one disk must have boot: true; 2 have it"),
        (|l| l.disks[0].boot = false, "storage.disks: exactly one disk must have boot: true; 0 have it"),
        (
            |l| l.disks[0].partitions[1].size_bytes += 512,
            "storage.disks[0].partitions[1].size_bytes: must be a multiple of 1 MiB",
        ),
        (|l| l.disks[0].partitions[1].size_bytes = 0, "storage.disks[0].partitions[1].size_bytes: 0 means the rest"),
        (|l| l.disks[0].partitions[3].size_bytes = 400 * GIB, "storage.disks[0].partitions[3].size_bytes: only "),
        (
            |l| l.disks[0].partitions[1].name = "esp".into(),
            "storage.disks[0].partitions[1].name: \"esp\" is the name of storage.disks[0].partitions[0] already",
        ),
        (|l| l.disks[0].partitions[1].name = "-x".into(), "storage.disks[0].partitions[1].name: \"-x\" must be"),
        (|l| l.disks[1].table = Some(Table::Mbr), ""),
        (|l| l.disks[2].table = Some(Table::Mbr), "storage.disks[2].table: mbr reaches 2 TiB"),
        (
            |l| l.disks[2].table = Some(Table::Gpt),
            "storage.disks[2].partitions: a disk with table gpt has at least one",
        ),
        (|l| l.disks[1].table = None, "storage.disks[1].partitions: need a table"),
        (|l| drop(l.filesystems.remove(4)), "storage.disks[2]: has neither a table nor a use"),
        (|l| l.raids[0].level = 4, "storage.raids[0].level: must be 0, 1, 5, 6 or 10"),
        (|l| l.raids[0].level = 5, "storage.raids[0].members: level 5 needs at least 3 members; it has 2"),
        (
            |l| l.raids[0].members[1] = "half-a".into(),
            "storage.raids[0].members[1]: \"half-a\" is used by storage.raids[0].members[0]",
        ),
        (|l| l.raids[0].members[1] = "boot".into(), "storage.raids[0].members[1]: \"boot\" is not of kind raid"),
        (
            |l| l.raids[0].members[1] = "sda".into(),
            "storage.raids[0].members[1]: \"sda\" is a disk with a partition table",
        ),
        (|l| l.raids[0].members[1] = "md0".into(), "storage.raids[0].members[1]: \"md0\" is no device"),
        (|l| drop(l.raids.pop()), "storage.volume_groups[0].members[0]: \"md0\" is no device of this layout"),
        (
            |l| l.volume_groups[0].volumes[0].size_bytes = 90 * GIB + MIB,
            "storage.volume_groups[0].volumes[0].size_bytes: must be a multiple of 4 MiB",
        ),
        (
            |l| l.volume_groups[0].volumes[0].size_bytes = 100 * GIB,
            "storage.volume_groups[0].volumes[0].size_bytes: only 107",
        ),
        (
            |l| l.volume_groups[0].volumes[0].size_bytes = 0,
            "storage.volume_groups[0].volumes[0].size_bytes: 0 means the rest of the group",
        ),
        (|l| l.volume_groups[0].members.clear(), "storage.volume_groups[0].members: at least one is required"),
        (
            |l| l.filesystems[0].kind = FsType::Ext4,
            "storage.filesystems[0].mount_point: /boot/efi must be of type vfat",
        ),
        (
            |l| l.filesystems[0].mount_point = "/efi".into(),
            "storage.filesystems[0].device: \"esp\" is not of kind linux",
        ),
        (
            |l| l.filesystems[1].mount_point = "/boot/".into(),
            "storage.filesystems[1].mount_point: \"/boot/\" must be an absolute path",
        ),
        (
            |l| l.filesystems[1].mount_point = "/var".into(),
            "storage.filesystems[3].mount_point: \"/var\" is that of storage.filesystems[1] already",
        ),
        (
            |l| l.filesystems[1].mount_point = "/proc/x".into(),
            "storage.filesystems[1].mount_point: nothing can be mounted under /proc",
        ),
        (|l| l.filesystems[2].mount_point = "/root".into(), "storage.filesystems: one must be mounted at /, the root"),
        (|l| l.filesystems[2].kind = FsType::Vfat, "storage.filesystems[2].mount_point: vfat cannot hold the root"),
        (
            |l| l.filesystems[2].label = "seventeen-letters".into(),
            "storage.filesystems[2].label: a label of ext4 has at most 16",
        ),
        (|l| l.filesystems[2].device = "system".into(), "storage.filesystems[2].device: \"system\" is a volume group"),
        (|l| l.filesystems[3].options[0] = "a,b".into(), "storage.filesystems[3].options[0]: must be one mount option"),
        (|l| l.filesystems[5].mount_point = "/swap".into(), "storage.filesystems[5].mount_point: swap is not mounted"),
        (
            |l| drop(l.filesystems.pop()),
            "storage.disks[0].partitions[3]: is of kind swap, and no filesystem of type swap uses it",
        ),
    ];
    for (spoil, want) in spoiled_by {
        let got = spoiled(spoil);
        if want.is_empty() {
            assert_eq!(got, [""; 0]);
        } else {
            assert!(got.iter().any(|fault| fault.starts_with(want)), "wanted {want:?}, got {got:#?}");
        }
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let got = spoiled(|l| {
        l.disks[0].partitions[1].size_bytes += 1;
        l.filesystems[2].label = "a b".into();
        l.filesystems[1].mount_point = "boot".into();
    });
    assert_eq!(got.len(), 3, "{got:#?}");
    let faults: Vec<_> = (0..20).map(|n| Fault { field: format!("f{n}"), why: "no".into() }).collect();
    let text = layout::sound(&faults).unwrap_err().to_string();
    assert!(text.starts_with("f0: no; f1: no; ") && text.ends_with("; f11: no; and 8 more faults"), "{text}");
}

#[test]
fn the_firmware_says_what_it_boots_from() {
    let bios = told(&example(), Some(&testing::hardware()), Some(Firmware::Bios));
    assert_eq!(
        bios,
        [
            "storage.disks[0].partitions: the machine boots with BIOS: its gpt boot disk needs a partition of kind bios-grub"
        ]
    );
    let got = spoiled(|l| {
        l.disks[0].partitions.remove(0);
        l.filesystems.remove(0);
    });
    assert_eq!(got.len(), 2, "{got:#?}");
    assert!(got.iter().all(|fault| fault.contains("UEFI")), "{got:#?}");
}

#[test]
fn the_rest_of_a_disk_is_what_the_table_leaves() {
    let mut hardware = testing::hardware();
    hardware.disks[1].size_bytes = 102 * MIB + 4096;
    let layout = |size| {
        let part = Partition { name: "p".into(), size_bytes: size, kind: PartitionKind::Linux };
        let disk = DiskLayout { disk: "sdb".into(), table: Some(Table::Gpt), boot: true, partitions: vec![part] };
        let root = FilesystemMount {
            device: "p".into(),
            kind: FsType::Ext4,
            mount_point: "/".into(),
            options: vec![],
            label: String::new(),
        };
        StorageLayout { disks: vec![disk], filesystems: vec![root], ..StorageLayout::default() }
    };
    assert_eq!(told(&layout(100 * MIB), Some(&hardware), None), [""; 0]);
    assert_eq!(told(&layout(0), Some(&hardware), None), [""; 0]);
    let got = told(&layout(101 * MIB), Some(&hardware), None);
    assert_eq!(
        got,
        [
            "storage.disks[0].partitions[0].size_bytes: only 104857600 bytes are left behind the partition table and the partitions before"
        ]
    );
    hardware.disks[1].size_bytes = 2 * MIB;
    assert!(told(&layout(0), Some(&hardware), None)[0].contains("nothing is left"));
}

#[test]
fn copies_on_one_disk_are_no_copies() {
    let got = spoiled(|l| {
        let half = l.disks[1].partitions[0].clone();
        l.disks[0].partitions.push(half);
        l.disks.remove(1);
    });
    assert!(
        got.iter().any(|fault| fault.starts_with("storage.raids[0].members: storage.disks[0].partitions[4] and ")),
        "{got:#?}"
    );
}

#[test]
fn counts_have_limits() {
    let got = spoiled(|l| {
        let part = |n: u64| Partition { name: format!("x{n}"), size_bytes: MIB, kind: PartitionKind::Linux };
        l.disks[1].partitions.extend((0..300).map(part));
        l.disks.extend((0..70).map(|n| DiskLayout { disk: format!("d{n}"), ..DiskLayout::default() }));
    });
    for want in [
        "storage.disks: has 73 entries; at most 64",
        "storage.disks: at most 256 partitions",
        "storage.disks[1].partitions: has 301 entries; at most 128",
    ] {
        assert!(got.iter().any(|fault| fault.starts_with(want)), "{want}");
    }
}
