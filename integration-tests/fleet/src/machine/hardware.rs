//! What a simulated machine is made of.

use std::borrow::Cow;

use farrier_common::{
    hardware::{Architecture, Firmware as FirmwareKind},
    net::MacAddr,
};
use farrier_proto::{agent::Identity, convert, v1};

use crate::{
    boot::Firmware,
    dice::Dice,
    disk::{Disk, Disks},
};

type Text = Cow<'static, str>;

/// Who makes machines, and what they say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Make {
    /// SMBIOS type 1.
    pub vendor: Text,
    /// SMBIOS type 1.
    pub product: Text,
    /// SMBIOS type 0.
    pub firmware_version: Text,
    /// As `/proc/cpuinfo` tells it.
    pub cpu_model: Text,
    /// Serial numbers begin with this.
    pub serial_prefix: Text,
    /// The first half of hardware addresses.
    pub oui: [u8; 3],
}

impl Make {
    /// Machines as this vendor (a personality's name) makes them; of anybody else if the name is not known.
    #[must_use]
    pub const fn of(vendor: &str) -> Self {
        let xeon = "Intel(R) Xeon(R) Gold 6438Y+";
        let epyc = "AMD EPYC 9354P 32-Core Processor";
        match vendor.as_bytes() {
            b"dell" => Self::new("Dell Inc.", "PowerEdge R660", "2.2.7", xeon, "", [0xb4, 0x45, 0x06]),
            b"hpe" => Self::new("HPE", "ProLiant DL360 Gen11", "U54", xeon, "CZ2", [0x5c, 0xed, 0x8c]),
            b"supermicro" => Self::new("Supermicro", "SYS-111C-NR", "2.1", xeon, "S4", [0x3c, 0xec, 0xef]),
            b"lenovo" => Self::new("Lenovo", "ThinkSystem SR645 V3", "KAE118K", epyc, "J3", [0x08, 0x3a, 0x88]),
            b"openbmc" => Self::new("IBM", "POWER-less Reference Board", "2.14.0", epyc, "YH3", [0x08, 0x94, 0xef]),
            _ => Self::new("Farrier", "Simulated Machine", "1.0", epyc, "FS", [0x52, 0x54, 0x00]),
        }
    }

    const fn new(
        vendor: &'static str,
        product: &'static str,
        firmware_version: &'static str,
        cpu_model: &'static str,
        serial_prefix: &'static str,
        oui: [u8; 3],
    ) -> Self {
        Self {
            vendor: Text::Borrowed(vendor),
            product: Text::Borrowed(product),
            firmware_version: Text::Borrowed(firmware_version),
            cpu_model: Text::Borrowed(cpu_model),
            serial_prefix: Text::Borrowed(serial_prefix),
            oui,
        }
    }
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Who made it.
    pub make: Make,
    /// SMBIOS type 1.
    pub serial: String,
    /// SMBIOS type 1, in the order that people write it.
    pub uuid: [u8; 16],
    /// How it boots from the network.
    pub firmware: Firmware,
    /// Its processors.
    pub architecture: Architecture,
    /// Logical processors.
    pub cpus: u32,
    /// All modules together.
    pub memory_bytes: u64,
    /// Hardware addresses, the boot interface first.
    pub macs: Vec<MacAddr>,
    /// What the in-band interface tells; empty if it tells nothing.
    pub bmc_address: String,
    /// PCI addresses of its GPUs.
    pub gpus: Vec<String>,
}

/// What is chosen for a machine; the rest follows from the dice.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who makes it.
    pub make: Make,
    /// Which one of its fleet it is: hardware addresses count up with this.
    pub index: u32,
    /// How it boots from the network.
    pub firmware: Firmware,
    /// Network interfaces, 1 to 8.
    pub nics: u8,
    /// Sizes of its disks in bytes.
    pub disks: Vec<u64>,
    /// What the in-band interface tells of the BMC.
    pub bmc_address: String,
}

impl Hardware {
    /// Builds a machine and its blank disks.
    #[must_use]
    pub fn build(order: &Order, dice: &mut Dice) -> (Self, Vec<Disk>) {
        let architecture = order.firmware.uefi().unwrap_or(Architecture::Amd64);
        let mut uuid: [u8; 16] = dice.bytes();
        (uuid[6], uuid[8]) = (uuid[6] & 0x0f | 0x40, uuid[8] & 0x3f | 0x80);
        let [a, b, c] = order.make.oui;
        let mac = |nic: u8| {
            // Eight addresses for each machine: 2^21 machines of one make.
            let [_, d, e, f] = ((order.index << 3) | u32::from(nic)).to_be_bytes();
            MacAddr([a, b, c, d, e, f])
        };
        let hardware = Self {
            serial: format!("{}{:07}", order.make.serial_prefix, order.index),
            make: order.make.clone(),
            uuid,
            firmware: order.firmware,
            architecture,
            cpus: [16, 32, 64, 128][usize::try_from(dice.below(4)).unwrap_or(0)],
            memory_bytes: (64 << dice.below(4)) << 30,
            macs: (0..order.nics.clamp(1, 8)).map(mac).collect(),
            bmc_address: order.bmc_address.clone(),
            // One machine in four is for those who compute.
            gpus: if order.index % 4 == 3 { GPUS.map(str::to_owned).to_vec() } else { Vec::new() },
        };
        let disks = order.disks.iter().enumerate().map(|(n, size)| disk(order.index, n, *size)).collect();
        (hardware, disks)
    }

    /// Who it says it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let kind = if self.firmware.uefi().is_some() { FirmwareKind::Uefi } else { FirmwareKind::Bios };
        Identity {
            macs: self.macs.iter().map(ToString::to_string).collect(),
            architecture: convert::architecture_to_wire(self.architecture).into(),
            firmware: convert::firmware_to_wire(kind).into(),
            vendor: self.make.vendor.to_string(),
            product: self.make.product.to_string(),
            serial: self.serial.clone(),
            uuid: uuid::Uuid::from_bytes(self.uuid).to_string(),
            bmc_address: self.bmc_address.clone(),
        }
    }

    /// What an inventory of it finds.
    #[must_use]
    pub fn inventory(&self, disks: &Disks) -> v1::Hardware {
        let nic = |(n, mac): (usize, &MacAddr)| v1::Nic {
            name: format!("eno{}", n + 1),
            mac: mac.to_string(),
            driver: "ice".to_owned(),
            carrier: n == 0,
            speed_mbps: if n == 0 { 25_000 } else { 0 },
        };
        v1::Hardware {
            vendor: self.make.vendor.to_string(),
            product: self.make.product.to_string(),
            serial: self.serial.clone(),
            uuid: uuid::Uuid::from_bytes(self.uuid).to_string(),
            firmware_version: self.make.firmware_version.to_string(),
            cpu_model: self.make.cpu_model.to_string(),
            cpu_cores: self.cpus,
            memory_bytes: self.memory_bytes,
            disks: disks.inventory(),
            nics: self.macs.iter().enumerate().map(nic).collect(),
            gpus: self.gpus.iter().map(|address| gpu(address)).collect(),
        }
    }
}

const GPUS: [&str; 2] = ["0000:65:00.0", "0000:ca:00.0"];

fn gpu(pci_address: &str) -> v1::Gpu {
    v1::Gpu { pci_address: pci_address.to_owned(), vendor_id: "10de".to_owned(), device_id: "2330".to_owned() }
}

fn disk(machine: u32, n: usize, size_bytes: u64) -> Disk {
    // The first is a fast one, the others spin: both ways of erasing are taken.
    let (name, model, bus) = if n == 0 {
        ("nvme0n1".to_owned(), "SAMSUNG MZWLO3T8HCLS-00A07", "nvme")
    } else {
        let letter = char::from(b'a' + u8::try_from(n.saturating_sub(1).min(25)).unwrap_or(25));
        (format!("sd{letter}"), "SEAGATE ST4000NM018B", "scsi")
    };
    let serial = format!("S7BYNG0W{machine:06}{n:02}");
    Disk::blank(name, serial, model, bus, size_bytes)
}
