//! Arrays and volume groups: what is made of several devices.

use super::{
    super::Faults,
    MIB, RaidArray, StorageLayout, VolumeGroup,
    devices::{Device, Devices, Shape, Use, name},
};

const MOST_ARRAYS: usize = 32;
const MOST_MEMBERS: usize = 64;
const MOST_GROUPS: usize = 32;
const MOST_VOLUMES: usize = 256;
/// LVM gives space in extents of this.
const EXTENT: u64 = 4 * MIB;

/// Checks the arrays and declares them.
pub(super) fn arrays(layout: &StorageLayout, devices: &mut Devices, faults: &mut Faults) {
    for (place, array) in faults.bound("storage.raids", &layout.raids, MOST_ARRAYS).iter().enumerate() {
        let field = format!("storage.raids[{place}]");
        let members = take(&array.members, Use::Raid, &format!("{field}.members"), devices, faults);
        let spares = take(&array.spares, Use::Raid, &format!("{field}.spares"), devices, faults);
        let size = level(array, &field, &members, &spares, faults);
        if name(&format!("{field}.name"), &array.name, faults) {
            devices.declare(
                &array.name,
                Device::new(Shape::Array, &field, size, None),
                &format!("{field}.name"),
                faults,
            );
        }
    }
}

/// Members that there are and that are free.
fn take(names: &[String], what: Use, field: &str, devices: &mut Devices, faults: &mut Faults) -> Vec<Device> {
    let names = faults.bound(field, names, MOST_MEMBERS);
    let each =
        names.iter().enumerate().filter_map(|(n, name)| devices.take(name, what, &format!("{field}[{n}]"), faults));
    each.collect()
}

/// Checks what the level asks for; answers the size of the array, if it can be told.
fn level(array: &RaidArray, field: &str, members: &[Device], spares: &[Device], faults: &mut Faults) -> Option<u64> {
    let count = u64::try_from(array.members.len()).unwrap_or(u64::MAX);
    let (least, data) = match array.level {
        0 => (2, count),
        1 => (2, 1),
        5 => (3, count.saturating_sub(1)),
        6 => (4, count.saturating_sub(2)),
        10 => (4, count / 2),
        _ => {
            faults.add(format!("{field}.level"), "must be 0, 1, 5, 6 or 10");
            return None;
        }
    };
    let why = format!("level {} needs at least {least} members; it has {count}", array.level);
    faults.unless(count >= least, format!("{field}.members"), why);
    if array.level == 0 {
        faults.unless(array.spares.is_empty(), format!("{field}.spares"), "level 0 has no use for spares");
    } else {
        apart(field, members, spares, faults);
    }
    let sizes: Option<Vec<u64>> = members.iter().map(|m| m.size).collect();
    let sizes = sizes.filter(|sizes| sizes.len() == array.members.len())?;
    let smallest = sizes.iter().copied().min()?;
    for (place, spare) in spares.iter().enumerate() {
        let why = format!("is smaller than the smallest member, which has {smallest} bytes");
        faults.unless(spare.size.is_none_or(|size| size >= smallest), format!("{field}.spares[{place}]"), why);
    }
    let each = smallest.saturating_sub(metadata(smallest));
    faults.unless(each >= MIB, format!("{field}.members"), "the smallest is too small for an array's own data");
    // A stripe of unequal members uses each to its end.
    let striped = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(size.saturating_sub(metadata(*size))));
    Some(if array.level == 0 { striped } else { each.saturating_mul(data) })
}

/// Two copies on one disk would die together.
fn apart(field: &str, members: &[Device], spares: &[Device], faults: &mut Faults) {
    let mut seen: Vec<(usize, &str)> = Vec::new();
    for device in members.iter().chain(spares) {
        let Some(disk) = device.disk else { continue };
        match seen.iter().find(|(other, _)| *other == disk) {
            Some((_, first)) => faults.add(
                format!("{field}.members"),
                format!("{} and {first} are on the same disk, which would fail with both", device.field),
            ),
            None => seen.push((disk, &device.field)),
        }
    }
}

/// What an array keeps of each member for itself: the superblock, and before the data up to 128 MiB, but never more than
/// a thousandth.
fn metadata(size: u64) -> u64 {
    let mut gap = 128 * MIB;
    while gap > MIB && gap.saturating_mul(1024) > size {
        gap /= 2;
    }
    gap + MIB
}

/// Checks the volume groups and declares their volumes.
pub(super) fn groups(layout: &StorageLayout, devices: &mut Devices, faults: &mut Faults) {
    let groups = faults.bound("storage.volume_groups", &layout.volume_groups, MOST_GROUPS);
    let all: usize = groups.iter().map(|g| g.volumes.len()).sum();
    let why = format!("at most {MOST_VOLUMES} volumes are allowed");
    faults.unless(all <= MOST_VOLUMES, "storage.volume_groups", why);
    for (place, group) in groups.iter().enumerate() {
        let field = format!("storage.volume_groups[{place}]");
        let list = format!("{field}.members");
        faults.unless(!group.members.is_empty(), list.clone(), "at least one is required");
        let members = take(&group.members, Use::Lvm, &list, devices, faults);
        let whole = members.len() == group.members.len();
        let room =
            members.iter().try_fold(0_u64, |sum, m| Some(sum.saturating_add(extents(m.size?)))).filter(|_| whole);
        if name(&format!("{field}.name"), &group.name, faults) {
            devices.declare(
                &group.name,
                Device::new(Shape::Group, &field, room, None),
                &format!("{field}.name"),
                faults,
            );
        }
        volumes(group, &field, room, devices, faults);
    }
}

/// What a physical volume gives its group: 1 MiB is LVM's own.
fn extents(size: u64) -> u64 {
    size.saturating_sub(MIB) / EXTENT * EXTENT
}

fn volumes(group: &VolumeGroup, field: &str, room: Option<u64>, devices: &mut Devices, faults: &mut Faults) {
    let mut left = room;
    let volumes = faults.bound(&format!("{field}.volumes"), &group.volumes, MOST_VOLUMES);
    for (place, volume) in volumes.iter().enumerate() {
        let field = format!("{field}.volumes[{place}]");
        let size_field = format!("{field}.size_bytes");
        let last = place + 1 == volumes.len();
        let size = if volume.size_bytes == 0 {
            faults.unless(last, size_field.clone(), "0 means the rest of the group: only the last volume may have it");
            faults.unless(left.is_none_or(|left| left >= EXTENT), size_field, "nothing is left in the group for it");
            left.filter(|_| last)
        } else {
            let whole = volume.size_bytes.is_multiple_of(EXTENT);
            faults.unless(whole, size_field.clone(), "must be a multiple of 4 MiB (4194304), the extent of LVM");
            if let Some(left) = left {
                let why = format!("only {left} bytes are left in the group");
                faults.unless(volume.size_bytes <= left, size_field, why);
            }
            left = left.map(|left| left.saturating_sub(volume.size_bytes));
            Some(volume.size_bytes)
        };
        if name(&format!("{field}.name"), &volume.name, faults) {
            let path = format!("{}/{}", group.name, volume.name);
            devices.declare(&path, Device::new(Shape::Volume, &field, size, None), &format!("{field}.name"), faults);
        }
    }
}
