//! A machine's `/sys`, `/proc` and `/dev` in a folder, as a kernel would show this hardware, and the environment's SSH server.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{Layout, ProgramError, ProgramSpec, files};
use crate::{
    disk::{Disk, Disks},
    machine::hardware::Hardware,
};

/// Writes what the kernel shows in this boot. Disks that are there are left alone.
pub(super) async fn build(
    spec: &ProgramSpec,
    hardware: &Hardware,
    disks: &[Disk],
    cmdline: &str,
) -> Result<(), ProgramError> {
    let tree = Tree(spec.dir.clone());
    let (hardware, disks, layout) = (hardware.clone(), disks.to_vec(), spec.layout.clone());
    let cmdline = format!("{cmdline}\n");
    let built = tokio::task::spawn_blocking(move || {
        tree.firmware(&hardware)?;
        tree.interfaces(&hardware)?;
        tree.gpus(&hardware)?;
        tree.put("proc/cmdline", &cmdline)?;
        tree.programs()?;
        disks.iter().try_for_each(|disk| tree.disk(disk, &layout))
    });
    let built = built.await.map_err(io::Error::other).flatten();
    built.map_err(ProgramError::io(format!("making up a machine in {}", spec.dir.display())))
}

/// As the kernel names it.
pub(super) fn partition_name(disk: &str, number: usize) -> String {
    let between = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

/// Where Debian has what the ephemeral image has in `/bin`.
const PROGRAMS: [(&str, &str); 2] =
    [("bin/dropbear", "/usr/sbin/dropbear"), ("bin/dropbearkey", "/usr/bin/dropbearkey")];

struct Tree(PathBuf);

impl Tree {
    fn put(&self, path: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, content)
    }

    fn programs(&self) -> io::Result<()> {
        fs::create_dir_all(self.0.join("bin"))?;
        PROGRAMS.iter().try_for_each(|(name, program)| link(program.into(), &self.0.join(name)))
    }

    fn firmware(&self, hardware: &Hardware) -> io::Result<()> {
        let told = hardware.inventory(&Disks::new(Vec::new(), std::sync::Arc::default()));
        for (name, text) in [
            ("sys_vendor", &told.vendor),
            ("product_name", &told.product),
            ("product_serial", &told.serial),
            ("product_uuid", &told.uuid),
            ("bios_version", &told.firmware_version),
        ] {
            self.put(&format!("sys/class/dmi/id/{name}"), format!("{text}\n"))?;
        }
        if hardware.firmware.uefi().is_some() {
            fs::create_dir_all(self.0.join("sys/firmware/efi"))?;
        }
        let cpus = (0..hardware.cpus).fold(String::new(), |mut all, n| {
            // Writing to a string cannot fail.
            let _ = writeln!(all, "processor\t: {n}\nmodel name\t: {}\n", told.cpu_model);
            all
        });
        self.put("proc/cpuinfo", cpus)?;
        self.put("proc/meminfo", format!("MemTotal:       {} kB\n", hardware.memory_bytes >> 10))
    }

    fn interfaces(&self, hardware: &Hardware) -> io::Result<()> {
        for nic in hardware.inventory(&Disks::new(Vec::new(), std::sync::Arc::default())).nics {
            let at = format!("sys/class/net/{}", nic.name);
            let speed = if nic.carrier { nic.speed_mbps.to_string() } else { "-1".to_owned() };
            let carrier = u8::from(nic.carrier).to_string();
            for (name, text) in
                [("address", &nic.mac), ("type", &"1".to_owned()), ("carrier", &carrier), ("speed", &speed)]
            {
                self.put(&format!("{at}/{name}"), format!("{text}\n"))?;
            }
            let device = self.0.join(&at).join("device");
            fs::create_dir_all(&device)?;
            link(Path::new("../../../../bus/pci/drivers").join(&nic.driver), &device.join("driver"))?;
        }
        Ok(())
    }

    fn gpus(&self, hardware: &Hardware) -> io::Result<()> {
        for gpu in hardware.inventory(&Disks::new(Vec::new(), std::sync::Arc::default())).gpus {
            let at = format!("sys/bus/pci/devices/{}", gpu.pci_address);
            self.put(&format!("{at}/class"), "0x030200\n")?;
            self.put(&format!("{at}/vendor"), format!("0x{}\n", gpu.vendor_id))?;
            self.put(&format!("{at}/device"), format!("0x{}\n", gpu.device_id))?;
        }
        Ok(())
    }

    fn disk(&self, disk: &Disk, layout: &Layout) -> io::Result<()> {
        let at = format!("sys/block/{}", disk.name);
        let number = |name: &str, value: u64| self.put(&format!("{at}/{name}"), format!("{value}\n"));
        number("size", disk.size_bytes / 512)?;
        for name in ["ro", "removable", "hidden"] {
            number(name, 0)?;
        }
        number("queue/logical_block_size", 512)?;
        number("queue/rotational", u64::from(!disk.discards()))?;
        number("queue/discard_max_bytes", if disk.discards() { 2_199_023_255_040 } else { 0 })?;
        self.identity(&at, disk)?;
        for partition in layout.partitions() {
            let name = partition_name(&disk.name, partition.number);
            let told = [("start", partition.start), ("size", partition.sectors)];
            self.put(&format!("{at}/{name}/partition"), format!("{}\n", partition.number))?;
            told.iter().try_for_each(|(what, value)| number(&format!("{name}/{what}"), *value))?;
        }
        fs::create_dir_all(self.0.join("dev"))?;
        files::make(&self.0.join("dev").join(&disk.name), disk.size_bytes, &disk.content)
    }

    /// NVMe tells model and serial number plainly, SCSI in its own way.
    fn identity(&self, at: &str, disk: &Disk) -> io::Result<()> {
        if disk.bus != "scsi" {
            self.put(&format!("{at}/device/model"), format!("{}\n", disk.model))?;
            return self.put(&format!("{at}/device/serial"), format!("{}\n", disk.serial));
        }
        let (vendor, model) = disk.model.split_once(' ').unwrap_or(("", disk.model));
        self.put(&format!("{at}/device/vendor"), format!("{vendor:8}\n"))?;
        self.put(&format!("{at}/device/model"), format!("{model:16}\n"))?;
        let length = u8::try_from(disk.serial.len()).map_err(io::Error::other)?;
        self.put(&format!("{at}/device/vpd_pg80"), [&[0, 0x80, 0, length], disk.serial.as_bytes()].concat())
    }
}

fn link(to: PathBuf, from: &Path) -> io::Result<()> {
    match fs::remove_file(from) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    symlink(to, from)
}
