//! The devices that a storage layout has, by name, and what each is used for.

use std::collections::BTreeMap;

use super::{
    super::{Faults, quoted},
    PartitionKind,
};

/// Of partitions, arrays, groups and volumes. GPT keeps 36 characters of a name.
const MOST_NAME: usize = 36;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Disk { table: bool },
    Partition(PartitionKind),
    Array,
    Group,
    Volume,
}

/// What somebody wants to use a device for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Raid,
    Lvm,
    Filesystem,
    Efi,
    Swap,
}

/// One device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) shape: Shape,
    /// Where it is declared.
    pub(super) field: String,
    /// If it can be told.
    pub(super) size: Option<u64>,
    /// Which disk it is on, of those that the layout declares; `None`: on several.
    pub(super) disk: Option<usize>,
    /// Where it is used.
    used: Option<String>,
}

/// All of them. A partition, an array, a group and a disk never share a name.
#[derive(Debug, Default)]
pub(super) struct Devices(BTreeMap<String, Device>);

impl Devices {
    /// Declares one; a name that is taken is a fault.
    pub(super) fn declare(&mut self, name: &str, device: Device, field: &str, faults: &mut Faults) {
        if let Some(other) = self.0.get(name) {
            faults.add(field, format!("{} is the name of {} already", quoted(name), other.field));
            return;
        }
        self.0.insert(name.to_owned(), device);
    }

    /// The device of that name for that use; a fault if there is none, it is used already, or it is for something else.
    pub(super) fn take(&mut self, name: &str, what: Use, field: &str, faults: &mut Faults) -> Option<Device> {
        let Some(device) = self.0.get_mut(name) else {
            faults.add(field, format!("{} is no device of this layout", quoted(name)));
            return None;
        };
        if let Err(why) = fits(device.shape, what) {
            faults.add(field, format!("{} {why}", quoted(name)));
            return None;
        }
        if let Some(used) = &device.used {
            faults.add(field, format!("{} is used by {used} already", quoted(name)));
            return None;
        }
        device.used = Some(field.to_owned());
        Some(device.clone())
    }

    /// What is declared for a use must have it.
    pub(super) fn unused(&self, faults: &mut Faults) {
        use PartitionKind as K;
        for device in self.0.values().filter(|d| d.used.is_none()) {
            let why = match device.shape {
                Shape::Partition(K::Raid) => "is of kind raid, and no array uses it",
                Shape::Partition(K::Lvm) => "is of kind lvm, and no volume group uses it",
                Shape::Partition(K::Swap) => "is of kind swap, and no filesystem of type swap uses it",
                Shape::Disk { table: false } => "has neither a table nor a use: give it one or leave it out",
                Shape::Partition(K::Linux | K::Efi | K::BiosGrub)
                | Shape::Disk { table: true }
                | Shape::Array
                | Shape::Group
                | Shape::Volume => continue,
            };
            faults.add(&device.field, why);
        }
    }
}

impl Device {
    pub(super) fn new(shape: Shape, field: &str, size: Option<u64>, disk: Option<usize>) -> Self {
        Self { shape, field: field.to_owned(), size, disk, used: None }
    }
}

/// May a device of this shape be used so?
fn fits(shape: Shape, what: Use) -> Result<(), &'static str> {
    use PartitionKind as K;
    match (shape, what) {
        (Shape::Disk { table: true }, _) => Err("is a disk with a partition table: use its partitions"),
        (Shape::Group, _) => Err("is a volume group: use its volumes, as GROUP/VOLUME"),
        (Shape::Disk { table: false } | Shape::Array | Shape::Volume, Use::Efi) => {
            Err("cannot be mounted at /boot/efi: that is for a partition of kind efi")
        }
        (Shape::Disk { table: false }, _)
        | (Shape::Partition(K::Raid), Use::Raid)
        | (Shape::Partition(K::Lvm), Use::Lvm)
        | (Shape::Partition(K::Linux), Use::Filesystem)
        | (Shape::Partition(K::Swap), Use::Swap)
        | (Shape::Partition(K::Efi), Use::Efi)
        | (Shape::Array, Use::Lvm | Use::Filesystem | Use::Swap)
        | (Shape::Volume, Use::Filesystem | Use::Swap) => Ok(()),
        (Shape::Array, Use::Raid) => Err("is an array: members of an array are partitions and disks"),
        (Shape::Volume, Use::Raid | Use::Lvm) => Err("is a logical volume: those carry filesystems only"),
        (Shape::Partition(K::BiosGrub), _) => Err("is of kind bios-grub, which nothing uses but the boot loader"),
        (Shape::Partition(_), Use::Raid) => Err("is not of kind raid"),
        (Shape::Partition(_), Use::Lvm) => Err("is not of kind lvm"),
        (Shape::Partition(_), Use::Filesystem) => Err("is not of kind linux"),
        (Shape::Partition(_), Use::Swap) => Err("is not of kind swap"),
        (Shape::Partition(_), Use::Efi) => Err("is not of kind efi, which /boot/efi must be"),
    }
}

/// A name that a partition, an array, a group or a volume may have.
pub(super) fn name(field: &str, name: &str, faults: &mut Faults) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
    let good = (1..=MOST_NAME).contains(&name.len())
        && name.bytes().all(word)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !good {
        let why = "must be 1 to 36 of a-z, A-Z, 0-9, '.', '_', '-' and '+', the first a letter, a digit or '_'";
        faults.add(field, format!("{} {why}", quoted(name)));
    }
    good
}
