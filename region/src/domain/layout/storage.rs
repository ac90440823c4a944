//! Declared disks, partitions, arrays, volume groups and filesystems.

use farrier_common::words;
use serde::{Deserialize, Serialize};

use super::{Facts, Fault, Faults, optional_word, word};

mod devices;
mod disks;
mod filesystems;
mod stacks;
#[cfg(test)]
pub(crate) mod tests;

pub(super) use disks::find_disk;

/// Partitions begin and end at multiples of this.
pub const MIB: u64 = 1 << 20;
/// An MBR counts 512-byte sectors with 32 bits.
pub const MOST_MBR: u64 = 1 << 41;

words! {
    /// A partition table.
    Table {
        /// GUID partition table.
        Gpt = "gpt",
        /// Master boot record: four partitions, two TiB.
        Mbr = "mbr",
    }
}

words! {
    /// What a partition is for.
    PartitionKind {
        /// A filesystem.
        Linux = "linux",
        /// The EFI system partition.
        Efi = "efi",
        /// Where GRUB puts its core on a GPT disk of a machine with BIOS.
        BiosGrub = "bios-grub",
        /// Swap.
        Swap = "swap",
        /// A member of an array.
        Raid = "raid",
        /// A member of a volume group.
        Lvm = "lvm",
    }
}

words! {
    /// How a device is formatted.
    FsType {
        /// ext4.
        Ext4 = "ext4",
        /// XFS.
        Xfs = "xfs",
        /// Btrfs.
        Btrfs = "btrfs",
        /// FAT.
        Vfat = "vfat",
        /// Swap.
        Swap = "swap",
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageLayout {
    /// Every disk that is used.
    pub disks: Vec<DiskLayout>,
    /// Software RAID.
    pub raids: Vec<RaidArray>,
    /// LVM.
    pub volume_groups: Vec<VolumeGroup>,
    /// What is formatted and mounted.
    pub filesystems: Vec<FilesystemMount>,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskLayout {
    /// Kernel name or serial number.
    pub disk: String,
    /// `None`: it is used as a whole.
    #[serde(with = "optional_word")]
    pub table: Option<Table>,
    /// The firmware boots from it.
    pub boot: bool,
    /// In order.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Unique in the layout.
    pub name: String,
    /// 0: the rest.
    #[serde(default)]
    pub size_bytes: u64,
    /// What for.
    #[serde(with = "word")]
    pub kind: PartitionKind,
}

/// An array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RaidArray {
    /// Unique in the layout.
    pub name: String,
    /// 0, 1, 5, 6 or 10.
    pub level: u32,
    /// Partitions or disks.
    pub members: Vec<String>,
    /// Partitions or disks.
    pub spares: Vec<String>,
}

/// A volume group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeGroup {
    /// Unique in the layout.
    pub name: String,
    /// Partitions, disks or arrays.
    pub members: Vec<String>,
    /// In order.
    pub volumes: Vec<LogicalVolume>,
}

/// A logical volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogicalVolume {
    /// Unique in its group.
    pub name: String,
    /// 0: the rest.
    pub size_bytes: u64,
}

/// A filesystem or swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemMount {
    /// A partition, array, disk, or GROUP/VOLUME.
    pub device: String,
    /// How it is formatted.
    #[serde(rename = "type", with = "word")]
    pub kind: FsType,
    /// Absolute; empty for swap.
    #[serde(default)]
    pub mount_point: String,
    /// Of the mount.
    #[serde(default)]
    pub options: Vec<String>,
    /// Of the filesystem; may be empty.
    #[serde(default)]
    pub label: String,
}

impl StorageLayout {
    /// Every fault that can be found.
    #[must_use]
    pub fn check(&self, facts: &Facts<'_>) -> Vec<Fault> {
        let mut faults = Faults::default();
        let mut devices = disks::check(self, facts, &mut faults);
        stacks::arrays(self, &mut devices, &mut faults);
        stacks::groups(self, &mut devices, &mut faults);
        filesystems::check(self, facts, &mut devices, &mut faults);
        devices.unused(&mut faults);
        faults.into_vec()
    }
}
