//! Finds the root file-system of an image that was just written.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use farrier_common::words;

use crate::{
    error::TaskError,
    host::{Host, printable},
    image::gpt,
};

words! {
    /// A file-system, told by its superblock.
    Kind {
        /// ext2, ext3 or ext4.
        Ext = "ext",
        /// XFS.
        Xfs = "xfs",
        /// Btrfs, which the ephemeral kernel does not mount.
        Btrfs = "btrfs",
        /// FAT, such as an EFI system partition.
        Fat = "fat",
    }
}

impl Kind {
    /// The kernel's name of the driver that mounts it; empty if it is never mounted here.
    #[must_use]
    pub const fn driver(self) -> &'static str {
        match self {
            // One driver for all three.
            Self::Ext => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs | Self::Fat => "",
        }
    }
}

/// What is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Which.
    pub kind: Kind,
    /// Its label; empty if it has none.
    pub label: String,
}

/// A partition of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// Its size.
    pub size_bytes: u64,
    /// What the partition table says of it, if that is a GPT.
    pub entry: Option<gpt::Entry>,
    /// What is in it, if that is known.
    pub file_system: Option<FileSystem>,
}

impl Partition {
    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = self
            .file_system
            .as_ref()
            .map_or("unknown content".to_owned(), |f| format!("{}, label {:?}", f.kind, f.label));
        format!("{what}, {} bytes", self.size_bytes)
    }
}

/// Partition types "Linux root (x86-64)" and "Linux root (arm64)" of the Discoverable Partitions Specification.
const ROOT_KINDS: [[u8; 16]; 2] = [
    [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09],
    [0x45, 0xb0, 0x21, 0xb9, 0x1d, 0xf0, 0xc3, 0x41, 0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d, 0x3f, 0xae],
];

/// Labels that distributions give to the root.
const ROOT_LABELS: [&str; 5] = ["rootfs", "cloudimg-rootfs", "root", "ROOT", "/"];

/// The root: what says so by its type, else by its label, else the largest that can be mounted.
///
/// # Errors
/// No partition has a file-system that can be mounted.
pub fn choose(partitions: &[Partition]) -> Result<&Partition, TaskError> {
    let mountable =
        || partitions.iter().filter(|p| p.file_system.as_ref().is_some_and(|f| !f.kind.driver().is_empty()));
    let by_kind = || mountable().find(|p| p.entry.as_ref().is_some_and(|e| ROOT_KINDS.contains(&e.kind)));
    let is_root = |text: &str| ROOT_LABELS.contains(&text);
    let by_label = || mountable().find(|p| p.file_system.as_ref().is_some_and(|f| is_root(&f.label)));
    let by_name = || mountable().find(|p| p.entry.as_ref().is_some_and(|e| is_root(&e.name)));
    let largest = || mountable().max_by(|a, b| (a.size_bytes, b.number).cmp(&(b.size_bytes, a.number)));
    by_kind().or_else(by_label).or_else(by_name).or_else(largest).ok_or_else(|| {
        let each: Vec<_> = partitions.iter().map(|p| format!("{}: {}", p.name, p.describe())).collect();
        let has = if each.is_empty() { "no partition".to_owned() } else { each.join("; ") };
        TaskError::failed(format!(
            "the image has no root file-system that takes the seed (ext2/3/4 or XFS); it has {has}"
        ))
    })
}

/// The partitions that the kernel sees on disk `disk`.
///
/// # Errors
/// The kernel does not tell them, or the disk cannot be read.
pub fn list(host: &Host, disk: &str, file: &File, entries: &[gpt::Entry]) -> Result<Vec<Partition>, TaskError> {
    let names = host.names(format!("block/{disk}")).map_err(TaskError::io("listing partitions"))?;
    let mut found = Vec::new();
    for name in names {
        let of = |attribute: &str| host.number(format!("block/{disk}/{name}/{attribute}"));
        let (Some(number), Some(start), Some(sectors)) = (of("partition"), of("start"), of("size")) else { continue };
        let (from, size_bytes) = (start.saturating_mul(512), sectors.saturating_mul(512));
        let file_system = probe(file, from, size_bytes).map_err(TaskError::io(format!("reading partition {name}")))?;
        let entry = entries.iter().find(|e| e.number == number).cloned();
        found.push(Partition { name, number, size_bytes, entry, file_system });
    }
    found.sort_by_key(|p| p.number);
    Ok(found)
}

/// Looks for a superblock in the `size` bytes from `from`.
///
/// # Errors
/// The disk cannot be read.
pub fn probe(file: &File, from: u64, size: u64) -> io::Result<Option<FileSystem>> {
    let read = |at: u64, length: usize| -> io::Result<Vec<u8>> {
        if at + length as u64 > size {
            return Ok(vec![0; length]);
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, from.saturating_add(at))?;
        Ok(bytes)
    };
    let start = read(0, 512)?;
    if start.starts_with(b"XFSB") {
        return Ok(Some(FileSystem { kind: Kind::Xfs, label: printable(&start[108..120]) }));
    }
    let ext = read(1024, 256)?;
    if ext[56..58] == [0x53, 0xef] {
        return Ok(Some(FileSystem { kind: Kind::Ext, label: printable(&ext[120..136]) }));
    }
    let btrfs = read(65_536, 1024)?;
    if btrfs[64..72] == *b"_BHRfS_M" {
        return Ok(Some(FileSystem { kind: Kind::Btrfs, label: printable(&btrfs[299..555]) }));
    }
    for (at, label) in [(54, 43..54), (82, 71..82)] {
        if start[at..].starts_with(b"FAT") && start[510..] == [0x55, 0xaa] {
            return Ok(Some(FileSystem { kind: Kind::Fat, label: printable(&start[label]) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn partition(number: u64, size_bytes: u64, kind: Option<Kind>, label: &str) -> Partition {
        let file_system = kind.map(|kind| FileSystem { kind, label: label.to_owned() });
        Partition { name: format!("vda{number}"), number, size_bytes, entry: None, file_system }
    }

    fn entry(kind: [u8; 16], name: &str) -> Option<gpt::Entry> {
        Some(gpt::Entry { number: 0, kind, name: name.to_owned(), first: 0, last: 0 })
    }

    #[test]
    fn type_beats_label_beats_name_beats_size() {
        let efi = partition(1, 900, Some(Kind::Fat), "root");
        let boot = partition(2, 100, Some(Kind::Ext), "boot");
        let data = partition(3, 800, Some(Kind::Xfs), "data");
        let named = Partition { entry: entry([1; 16], "rootfs"), ..partition(4, 50, Some(Kind::Ext), "") };
        let labelled = partition(5, 40, Some(Kind::Ext), "cloudimg-rootfs");
        let typed = Partition { entry: entry(ROOT_KINDS[0], ""), ..partition(6, 30, Some(Kind::Xfs), "") };
        let all = [efi, boot, data, named, labelled, typed];
        for (count, expected) in [(6, "vda6"), (5, "vda5"), (4, "vda4"), (3, "vda3"), (2, "vda2")] {
            assert_eq!(choose(&all[..count]).unwrap().name, expected);
        }
        assert!(choose(&all[..1]).unwrap_err().to_string().contains("vda1: fat"));
        assert!(choose(&[]).unwrap_err().to_string().contains("no partition"));
    }

    #[test]
    fn of_equal_sizes_the_first_is_taken_and_foreign_roots_are_not() {
        let same = [partition(1, 100, Some(Kind::Ext), ""), partition(2, 100, Some(Kind::Ext), "")];
        assert_eq!(choose(&same).unwrap().number, 1);
        let btrfs = [Partition { entry: entry(ROOT_KINDS[0], "root"), ..partition(1, 100, Some(Kind::Btrfs), "root") }];
        assert!(choose(&btrfs).is_err());
    }

    #[test]
    fn a_real_ext4_is_recognised_in_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let made = Command::new("/usr/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", "rootfs", "-E", "offset=1048576"])
            .arg(file.path())
            .arg("4096k")
            .status();
        if !made.is_ok_and(|s| s.success()) {
            eprintln!("skipped: mke2fs is not installed");
            return;
        }
        let found = probe(file.as_file(), 1 << 20, 4 << 20).unwrap();
        assert_eq!(found, Some(FileSystem { kind: Kind::Ext, label: "rootfs".to_owned() }));
        assert_eq!(probe(file.as_file(), 0, 1 << 20).unwrap(), None);
        assert_eq!(probe(file.as_file(), 0, 100).unwrap(), None);
    }

    #[test]
    fn other_superblocks_are_recognised() {
        let check = |writes: &[(u64, &[u8])], kind: Kind, label: &str| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 20).unwrap();
            for (at, bytes) in writes {
                file.write_all_at(bytes, *at).unwrap();
            }
            assert_eq!(probe(&file, 0, 1 << 20).unwrap(), Some(FileSystem { kind, label: label.to_owned() }));
        };
        check(&[(0, b"XFSB"), (108, b"root")], Kind::Xfs, "root");
        check(&[(65_600, b"_BHRfS_M"), (65_835, b"fedora")], Kind::Btrfs, "fedora");
        check(&[(82, b"FAT32   "), (71, b"UEFI       "), (510, &[0x55, 0xaa])], Kind::Fat, "UEFI");
    }
}
