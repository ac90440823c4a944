//! Filesystems, swap, and where they are mounted.

use std::collections::BTreeMap;

use farrier_common::hardware::Firmware;

use super::{
    super::{Facts, Faults, quoted},
    FilesystemMount, FsType, MIB, StorageLayout,
    devices::{Devices, Use},
};

const MOST_FILESYSTEMS: usize = 256;
const MOST_PATH: usize = 255;
const MOST_OPTIONS: usize = 32;
const MOST_OPTION: usize = 128;
const EFI: &str = "/boot/efi";

/// Checks the filesystems.
pub(super) fn check(layout: &StorageLayout, facts: &Facts<'_>, devices: &mut Devices, faults: &mut Faults) {
    let mut mounts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
    let all = faults.bound("storage.filesystems", &layout.filesystems, MOST_FILESYSTEMS);
    for (place, one) in all.iter().enumerate() {
        let field = format!("storage.filesystems[{place}]");
        mount_point(one, &field, faults);
        once(&mut mounts, &one.mount_point, place, &format!("{field}.mount_point"), faults);
        label(one, &field, faults);
        once(&mut labels, &one.label, place, &format!("{field}.label"), faults);
        options(one, &field, faults);
        let what = match (one.kind, one.mount_point.as_str()) {
            (FsType::Swap, _) => Use::Swap,
            (_, EFI) => Use::Efi,
            (FsType::Ext4 | FsType::Xfs | FsType::Btrfs | FsType::Vfat, _) => Use::Filesystem,
        };
        let device = devices.take(&one.device, what, &format!("{field}.device"), faults);
        if let Some(device) = &device {
            let least = least(one.kind);
            let why = format!("is too small for {}, which needs {} MiB", one.kind, least / MIB);
            faults.unless(device.size.is_none_or(|size| size >= least), format!("{field}.device"), why);
        }
        if what == Use::Efi {
            let boots = device.and_then(|d| d.disk).and_then(|d| layout.disks.get(d)).is_none_or(|d| d.boot);
            faults.unless(boots, format!("{field}.device"), "must be on the disk with boot: true");
        }
    }
    faults.unless(mounts.contains_key("/"), "storage.filesystems", "one must be mounted at /, the root");
    if facts.firmware == Some(Firmware::Uefi) {
        let why = "the machine boots with UEFI: one of type vfat must be mounted at /boot/efi";
        faults.unless(mounts.contains_key(EFI), "storage.filesystems", why);
    }
}

fn once<'a>(seen: &mut BTreeMap<&'a str, usize>, text: &'a str, place: usize, field: &str, faults: &mut Faults) {
    if text.is_empty() {
        return;
    }
    match seen.get(text) {
        Some(first) => faults.add(field, format!("{} is that of storage.filesystems[{first}] already", quoted(text))),
        None => {
            seen.insert(text, place);
        }
    }
}

fn mount_point(one: &FilesystemMount, field: &str, faults: &mut Faults) {
    let (field, path) = (format!("{field}.mount_point"), one.mount_point.as_str());
    if one.kind == FsType::Swap {
        faults.unless(path.is_empty(), field, "swap is not mounted: leave it empty");
        return;
    }
    let part = |p: &str| !p.is_empty() && p != "." && p != ".." && p.bytes().all(|b| matches!(b, b'!'..=b'~'));
    let good =
        path.len() <= MOST_PATH && (path == "/" || path.strip_prefix('/').is_some_and(|p| p.split('/').all(part)));
    if !good {
        let why = "must be an absolute path of at most 255 printable characters, without spaces, '.', '..', or '/' at its end";
        faults.add(field, format!("{} {why}", quoted(path)));
        return;
    }
    let system = ["/proc", "/sys", "/dev", "/run"];
    let inside =
        system.iter().find(|s| path.strip_prefix(**s).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    if let Some(inside) = inside {
        faults.add(field, format!("nothing can be mounted under {inside}, which is the kernel's and the system's own"));
    } else if path == "/" {
        faults.unless(one.kind != FsType::Vfat, field, "vfat cannot hold the root: use ext4, xfs or btrfs");
    } else if path == EFI {
        faults.unless(one.kind == FsType::Vfat, field, "/boot/efi must be of type vfat");
    }
}

fn label(one: &FilesystemMount, field: &str, faults: &mut Faults) {
    let most = match one.kind {
        FsType::Ext4 => 16,
        FsType::Xfs => 12,
        FsType::Btrfs => 255,
        FsType::Vfat => 11,
        FsType::Swap => 15,
    };
    let good = one.label.len() <= most && one.label.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let why = format!("a label of {} has at most {most} of a-z, A-Z, 0-9, '.', '_' and '-'", one.kind);
    faults.unless(good, format!("{field}.label"), why);
}

fn options(one: &FilesystemMount, field: &str, faults: &mut Faults) {
    let field = format!("{field}.options");
    for (place, option) in faults.bound(&field, &one.options, MOST_OPTIONS).iter().enumerate() {
        let good =
            (1..=MOST_OPTION).contains(&option.len()) && option.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b',');
        let why = "must be one mount option: 1 to 128 printable characters without spaces and commas";
        faults.unless(good, format!("{field}[{place}]"), why);
    }
}

/// What mkfs refuses to be without.
const fn least(kind: FsType) -> u64 {
    match kind {
        FsType::Xfs => 300 * MIB,
        FsType::Btrfs => 128 * MIB,
        FsType::Ext4 => 2 * MIB,
        FsType::Vfat | FsType::Swap => MIB,
    }
}
