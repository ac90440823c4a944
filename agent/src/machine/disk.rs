//! The machine's own disks, and which of them takes an image.

use std::{fs, io, time::Duration};

use farrier_common::words;
use farrier_proto::v1;

use crate::{
    error::TaskError,
    host::{Host, printable},
};

words! {
    /// How a disk is attached.
    Bus {
        /// NVM Express.
        Nvme = "nvme",
        /// virtio-blk.
        Virtio = "virtio",
        /// ATA, through libata.
        Ata = "ata",
        /// SCSI, SAS or a RAID controller.
        Scsi = "scsi",
        /// Anything else, such as USB or eMMC.
        Other = "other",
    }
}

/// A whole, non-removable disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name.
    pub name: String,
    /// Empty if the disk does not tell.
    pub serial: String,
    /// Empty if the disk does not tell.
    pub model: String,
    /// Its size.
    pub size_bytes: u64,
    /// It spins.
    pub rotational: bool,
    /// How it is attached.
    pub bus: Bus,
    /// It can discard.
    pub discard: bool,
    /// The kernel refuses writes.
    pub read_only: bool,
    /// Bytes of the smallest addressable block.
    pub sector_bytes: u64,
}

/// Names that are no disk of the machine's own: memory, files, networks, compositions of disks, tapes and trays.
const NOT_DISKS: [&str; 14] =
    ["loop", "ram", "zram", "sr", "fd", "md", "dm-", "nbd", "rbd", "drbd", "bcache", "zd", "pmem", "mtdblock"];

/// The disks, ordered by name.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn list(host: &Host) -> io::Result<Vec<Disk>> {
    Ok(host.names("block")?.into_iter().filter_map(|name| look(host, name)).collect())
}

/// Waits until the list of disks has stayed the same for a while: controllers go on finding disks after their driver is up.
///
/// # Errors
/// The kernel's list cannot be read.
pub async fn settled(host: &Host) -> io::Result<Vec<Disk>> {
    const STEP: Duration = Duration::from_millis(250);
    const LONGEST: u32 = 120;
    // SCSI hosts (ATA too) look for disks on their own time; NVMe and virtio have theirs when the driver is up.
    let calm = if host.names("class/scsi_host")?.is_empty() { 4 } else { 12 };
    let (mut last, mut same) = (list(host)?, 0);
    for _ in 0..LONGEST {
        if same >= calm {
            break;
        }
        tokio::time::sleep(STEP).await;
        let now = list(host)?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

fn look(host: &Host, name: String) -> Option<Disk> {
    let of = |attribute: &str| format!("block/{name}/{attribute}");
    let is = |attribute: &str| host.attribute(of(attribute)) == "1";
    let pseudo = NOT_DISKS
        .iter()
        .any(|p| name.strip_prefix(p).is_some_and(|r| p.ends_with('-') || r.starts_with(|c: char| c.is_ascii_digit())));
    // The boot and replay-protected areas of an eMMC are small parts of it that show up as disks.
    let part_of_emmc = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    if pseudo || part_of_emmc || is("removable") || is("hidden") {
        return None;
    }
    // The kernel counts in 512 bytes here whatever the disk's own sectors are.
    let size_bytes = host.number(of("size")).unwrap_or(0).saturating_mul(512);
    if size_bytes == 0 {
        return None;
    }
    Some(Disk {
        serial: serial(host, &name),
        model: model(host, &name),
        size_bytes,
        rotational: is("queue/rotational"),
        bus: bus(host, &name),
        discard: host.number(of("queue/discard_max_bytes")).unwrap_or(0) > 0,
        read_only: is("ro"),
        sector_bytes: host.number(of("queue/logical_block_size")).unwrap_or(512),
        name,
    })
}

fn bus(host: &Host, name: &str) -> Bus {
    let path = fs::read_link(host.sys(format!("block/{name}"))).unwrap_or_default();
    if name.starts_with("nvme") {
        Bus::Nvme
    } else if name.starts_with("vd") {
        Bus::Virtio
    } else if !name.starts_with("sd") || path.to_string_lossy().contains("/usb") {
        Bus::Other
    } else if host.attribute(format!("block/{name}/device/vendor")) == "ATA" {
        Bus::Ata
    } else {
        Bus::Scsi
    }
}

/// SCSI disks tell maker and model apart; for the others the "maker" is the bus.
fn model(host: &Host, name: &str) -> String {
    let of = |attribute: &str| host.attribute(format!("block/{name}/device/{attribute}"));
    let vendor = if bus(host, name) == Bus::Scsi { of("vendor") } else { String::new() };
    format!("{vendor} {}", of("model")).trim().to_owned()
}

/// NVMe, virtio and eMMC tell it plainly; SCSI and ATA in page 0x80 of the vital product data.
fn serial(host: &Host, name: &str) -> String {
    let plain =
        ["serial", "device/serial"].iter().map(|a| host.attribute(format!("block/{name}/{a}"))).find(|s| !s.is_empty());
    plain.unwrap_or_else(|| {
        let page = fs::read(host.sys(format!("block/{name}/device/vpd_pg80"))).unwrap_or_default();
        let length = page.get(3).copied().map_or(0, usize::from);
        let text = printable(page.get(4..4 + length).or_else(|| page.get(4..)).unwrap_or_default());
        if text.is_empty() { host.attribute(format!("block/{name}/device/wwid")) } else { text }
    })
}

/// The disk that takes an image of `size` bytes: the one with that serial, or the smallest that is large enough.
///
/// # Errors
/// There is none, or the serial is not that of exactly one.
pub fn choose<'a>(disks: &'a [Disk], serial: &str, size: u64) -> Result<&'a Disk, TaskError> {
    if serial.is_empty() {
        let fits = disks.iter().filter(|d| d.size_bytes >= size && !d.read_only);
        return fits.min_by(|a, b| (a.size_bytes, &a.name).cmp(&(b.size_bytes, &b.name))).ok_or_else(|| {
            TaskError::failed(format!("no disk can be written and holds {size} bytes; {}", overview(disks)))
        });
    }
    let mut named = disks.iter().filter(|d| d.serial == serial);
    let disk =
        named.next().ok_or_else(|| TaskError::failed(format!("no disk has serial {serial:?}; {}", overview(disks))))?;
    if let Some(other) = named.next() {
        return Err(TaskError::failed(format!("{} and {} both have serial {serial:?}", disk.name, other.name)));
    }
    if disk.read_only {
        return Err(TaskError::failed(format!("disk {} (serial {serial:?}) is read-only", disk.name)));
    }
    if disk.size_bytes < size {
        let (name, has) = (&disk.name, disk.size_bytes);
        return Err(TaskError::failed(format!(
            "disk {name} (serial {serial:?}) has {has} bytes, the image needs {size}"
        )));
    }
    Ok(disk)
}

fn overview(disks: &[Disk]) -> String {
    let each: Vec<_> =
        disks.iter().map(|d| format!("{} (serial {:?}, {} bytes)", d.name, d.serial, d.size_bytes)).collect();
    if each.is_empty() {
        "the machine shows no disk".to_owned()
    } else {
        format!("the machine has {}", each.join(", "))
    }
}

impl From<&Disk> for v1::Disk {
    fn from(disk: &Disk) -> Self {
        Self {
            name: disk.name.clone(),
            serial: disk.serial.clone(),
            model: disk.model.clone(),
            size_bytes: disk.size_bytes,
            rotational: disk.rotational,
            bus: disk.bus.to_string(),
            discard: disk.discard,
        }
    }
}

#[cfg(test)]
mod tests;
