//! One emulated machine: what it is made of, its power, its disks as seen from outside.
//!
//! The machine is owned by a process of its own, `farrier-labctl serve` ([`chassis`]), which runs QEMU and, beside it,
//! the BMC. Tests talk to it over a socket ([`control`]), as the BMC does; nobody else starts QEMU.

pub mod chassis;
pub mod control;
mod qemu;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use farrier_common::hardware::Firmware;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{
    bmc::{Bmc, BmcKind},
    daemon::Daemon,
    error::{LabError, Result},
    process, wait,
};

/// What a machine is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Its name in the lab; the region makes up another.
    pub name: String,
    /// Of its one network card.
    pub mac: String,
    /// SMBIOS system UUID.
    pub uuid: String,
    /// SMBIOS system serial.
    pub serial: String,
    /// How it boots.
    #[serde(with = "word")]
    pub firmware: Firmware,
    /// Whose its BMC is.
    #[serde(with = "word")]
    pub bmc: BmcKind,
    /// Memory.
    pub memory_mib: u32,
    /// Disks, in order.
    pub disks: Vec<DiskSpec>,
}

/// A disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskSpec {
    /// How it is attached.
    pub bus: Bus,
    /// Its serial number.
    pub serial: String,
    /// Its size.
    pub size_mib: u64,
    /// Does a discard really discard? If not, the disk claims to and keeps its content.
    pub discards: bool,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// PCIe solid state.
    Nvme,
    /// Virtio block.
    Virtio,
}

impl MachineSpec {
    /// A machine with one disk of 2 GiB: NVMe with UEFI, virtio with BIOS. `number` (1 to 99) makes it unique.
    #[must_use]
    pub fn new(number: u8, firmware: Firmware) -> Self {
        let bus = match firmware {
            Firmware::Uefi => Bus::Nvme,
            Firmware::Bios => Bus::Virtio,
        };
        Self {
            name: format!("m{number}"),
            mac: format!("52:54:00:77:00:{number:02x}"),
            uuid: format!("f0a11e5c-0001-4000-8000-0000000000{number:02x}"),
            serial: format!("LAB{number:04}"),
            firmware,
            bmc: BmcKind::IpmiSim,
            memory_mib: 1024,
            disks: vec![DiskSpec { bus, serial: format!("DISK{number:04}"), size_mib: 2048, discards: true }],
        }
    }
}

/// A machine with its BMC, plugged in. Loses its power when dropped.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    dir: PathBuf,
    bmc: Bmc,
    owner: Daemon,
}

impl Machine {
    /// Takes over what [`crate::lab::Lab::add_machine`] has prepared and started.
    pub(crate) const fn new(spec: MachineSpec, dir: PathBuf, bmc: Bmc, owner: Daemon) -> Self {
        Self { spec, dir, bmc, owner }
    }

    /// What it is made of.
    #[must_use]
    pub const fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Its BMC.
    #[must_use]
    pub const fn bmc(&self) -> &Bmc {
        &self.bmc
    }

    /// Where its serial console is logged.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.dir.join("serial.log")
    }

    /// What its owner logs: power, boots, resets.
    #[must_use]
    pub fn chassis_log(&self) -> &Path {
        self.owner.log()
    }

    /// Is the power on? Asked of the machine itself, not of its BMC.
    ///
    /// # Errors
    /// The owner does not answer.
    pub fn is_on(&self) -> Result<bool> {
        Ok(control::ask(&self.socket(), "get power")?.trim() == "power:1")
    }

    /// Presses the power button long: on or off at once.
    ///
    /// # Errors
    /// The owner does not answer.
    pub fn set_power(&self, on: bool) -> Result<()> {
        control::ask(&self.socket(), &format!("set power {}", u8::from(on))).map(drop)
    }

    /// The process of the emulator, if the power is on.
    ///
    /// # Errors
    /// The owner does not answer.
    pub fn emulator(&self) -> Result<Option<u32>> {
        Ok(control::ask(&self.socket(), "pid")?.trim().parse().ok())
    }

    /// Kills the emulator: for everybody outside, the machine lost its power.
    ///
    /// # Errors
    /// The power is off, or stays on.
    pub fn lose_power(&self) -> Result<()> {
        let pid = self.emulator()?.and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| LabError::answer(&self.spec.name, "is off already"))?;
        let killed = kill(Pid::from_raw(pid), Signal::SIGKILL);
        killed.map_err(|e| LabError::answer("cannot kill the emulator", e.to_string()))?;
        wait::until_true("power off", Duration::from_secs(30), || self.is_on().is_ok_and(|on| !on))
    }

    /// The file that holds disk `index`.
    #[must_use]
    pub fn disk(&self, index: usize) -> PathBuf {
        disk_file(&self.dir, index)
    }

    /// Does any disk hold `needle`, anywhere? Reads the disks from outside, byte by byte.
    ///
    /// # Errors
    /// A disk cannot be read.
    pub fn disks_hold(&self, needle: &str) -> Result<bool> {
        for index in 0..self.spec.disks.len() {
            if file_holds(&self.disk(index), needle)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn socket(&self) -> PathBuf {
        control::socket(&self.dir)
    }
}

pub(crate) fn disk_file(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("disk{index}.raw"))
}

/// Makes the empty disks of a machine.
pub(crate) fn make_disks(spec: &MachineSpec, dir: &Path) -> Result<()> {
    for (index, disk) in spec.disks.iter().enumerate() {
        let path = disk_file(dir, index);
        let made = File::create(&path).and_then(|file| file.set_len(disk.size_mib << 20));
        made.map_err(LabError::io(format!("cannot make {}", path.display())))?;
    }
    fs::write(dir.join("serial.log"), "").map_err(LabError::io("cannot make the serial log"))
}

/// Looks for `needle` in a file of any size, with a search that is fast in debug builds too.
fn file_holds(path: &Path, needle: &str) -> Result<bool> {
    let mut grep = Command::new("grep");
    // A line is what stands between two zero bytes: disks have few newlines and many zeros.
    grep.args(["--quiet", "--null-data", "--text", "--fixed-strings", "-e", needle, "--"]).arg(path);
    let ended = process::run(grep, Duration::from_secs(600))?;
    match ended.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(LabError::answer(format!("cannot search {}", path.display()), ended.stderr)),
    }
}

/// Words of `farrier-common` as JSON strings.
mod word {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(word: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(word)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_in_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut content = vec![0_u8; (1 << 20) - 3];
        content.extend_from_slice(b"\xff\nmarker\xff");
        content.resize(3 << 20, 0);
        fs::write(&path, content).unwrap();
        assert!(file_holds(&path, "marker").unwrap());
        assert!(!file_holds(&path, "markers").unwrap());
        assert!(file_holds(&dir.path().join("none"), "marker").is_err());
    }

    #[test]
    fn a_specification_survives_its_file() {
        let spec = MachineSpec::new(7, Firmware::Uefi);
        let back: MachineSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!((back.mac.as_str(), back.firmware), ("52:54:00:77:00:07", Firmware::Uefi));
    }
}
