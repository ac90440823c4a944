//! A machine: what people want of it and what is known of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, Firmware, PowerState},
    id::{BootId, MachineId, PoolId, ProjectId, RackId, UserId},
    name::Name,
    net::MacAddr,
};
use serde::{Deserialize, Serialize};

use super::{
    bmc::Bmc,
    layout::{network::NetworkLayout, storage::StorageLayout},
    lifecycle::{Class, Phase, State},
    reason::Code,
    rescue::Ssh,
    spelled,
};

/// One machine, as loaded from the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Never changes.
    pub id: MachineId,
    /// Unique.
    pub name: Name,
    /// Where it is in its life. Written by the store alone, from an edge.
    pub state: State,
    /// When it came to this state.
    pub since: Timestamp,
    /// After which a working state fails.
    pub deadline: Option<Timestamp>,
    /// Grows with every change of the machine; the etag.
    pub version: i64,
    /// When the engine looks at it next; `None`: not before somebody acts.
    pub due_at: Option<Timestamp>,
    /// The work in progress.
    pub work: Work,
    /// Why it is here or what it waits for, in a sentence.
    pub reason: String,
    /// The same as a code.
    pub code: Code,
    /// Who holds it.
    pub owner: Option<Owner>,
    /// Who may see and hold it follows from here.
    pub pool: PoolId,
    /// What fails together.
    pub zone: Name,
    /// Free words.
    pub tags: BTreeSet<Name>,
    /// The rack that serves it; `None` until one has met it.
    pub rack: Option<RackId>,
    /// Of its CPU.
    pub architecture: Architecture,
    /// How it boots, once known.
    pub firmware: Option<Firmware>,
    /// What the BMC said last, and when. Written apart from the rest: see `Store::machine_set_power`.
    pub power: Option<(PowerState, Timestamp)>,
    /// Its network interfaces, the boot interface first.
    pub interfaces: Vec<Interface>,
    /// Everything else.
    pub details: Details,
    /// When it was first known.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

/// Who holds a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// One person or program.
    User(UserId),
    /// All members of a project.
    Project(ProjectId),
}

/// Where the engine is in a working state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// The step; `None` at rest, or when the state has just been entered.
    pub phase: Option<Phase>,
    /// When the step began.
    pub phase_since: Option<Timestamp>,
    /// Failed tries of the current step in a row.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Unique among all machines.
    pub mac: MacAddr,
    /// Reserved address.
    pub address: Option<Ipv4Addr>,
}

/// What is kept with a machine but never searched for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Free-form.
    pub labels: BTreeMap<String, String>,
    /// How its BMC is reached; the passwords are in the store's vault.
    pub bmc: Option<Bmc>,
    /// Nobody knows an account on the BMC: one is to be made from inside the machine.
    pub in_band: Option<InBand>,
    /// No BMC is asked: people switch it and tell what they did.
    pub manual: bool,
    /// The boot in progress or the last one.
    pub boot: Option<BootId>,
    /// Fresh boots that were tried in this state.
    pub boot_tries: u32,
    /// What the rack was last told: [`Machine::boot_target`] of then.
    pub published: Option<BootTarget>,
    /// Image of the current or last deployment.
    pub deployment: Option<Deployment>,
    /// A deployment has begun since the last proven wipe: the disks may hold an owner's data.
    pub dirty: bool,
    /// The releaser asked to keep the disks' content, and the policy let him.
    pub skip_erase: bool,
    /// It was added with a workload on it: Farrier has installed nothing there.
    pub live: bool,
    /// After release it must be learnt again, because something failed.
    pub recommission: bool,
    /// The inventory.
    pub hardware: Option<Hardware>,
    /// Declared disks; checked when they were declared.
    pub storage: Option<StorageLayout>,
    /// Declared interfaces; checked when they were declared.
    pub network: Option<NetworkLayout>,
    /// Proof of the last wipe.
    pub last_erase: Vec<DiskErasure>,
    /// Since when what the engine does next has not worked.
    pub trouble_since: Option<Timestamp>,
    /// What people want to remember of it.
    pub notes: String,
    /// Who keeps everybody from it.
    pub lock: Option<Lock>,
    /// When the allocation ends by itself unless the machine is deployed by then.
    pub lease_expires: Option<Timestamp>,
    /// What the last commissioning was to do besides, and which tests were chosen last.
    pub commission: CommissionWishes,
    /// Where rescue was entered, and leads back to.
    #[serde(with = "spelled::optional")]
    pub rescue_from: Option<State>,
    /// Who may log in to the ephemeral environment, and where.
    pub ssh: Ssh,
    /// It is to be left on with SSH when commissioning has ended.
    pub stay_up: bool,
}

/// How an account is to be made on a BMC from inside its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InBand {
    /// An account of our name with another password is to be taken over.
    pub take_over: bool,
}

/// Somebody keeps everybody from a machine: see `verbs::lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Name of the user who locked it.
    pub by: String,
    /// He was an admin then: only admins may unlock it.
    pub admin: bool,
    /// Since when.
    pub since: Timestamp,
    /// Why; may be empty.
    pub comment: String,
}

/// What a commissioning is to do besides learning the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommissionWishes {
    /// Commissioning scripts, in this order.
    #[serde(with = "spelled::many")]
    pub scripts: Vec<Name>,
    /// Tests to run in testing, in this order; none: there is no testing.
    #[serde(with = "spelled::many")]
    pub tests: Vec<Name>,
    /// Keep the declared storage layout.
    pub keep_storage: bool,
    /// Keep the declared network layout.
    pub keep_network: bool,
    /// Leave the machine on with SSH when it has ended.
    pub stay_up: bool,
}

/// What was or is to be deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Name of the image when it was asked for.
    pub image: String,
    /// Id of the image.
    pub image_id: String,
    /// Which disk; `None`: the smallest that holds it.
    pub disk_serial: Option<String>,
}

/// Result of the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// SMBIOS manufacturer.
    pub vendor: String,
    /// SMBIOS product name.
    pub product: String,
    /// SMBIOS serial number.
    pub serial: String,
    /// SMBIOS system UUID.
    pub uuid: String,
    /// Version of BIOS or UEFI.
    pub firmware_version: String,
    /// As the kernel names it.
    pub cpu_model: String,
    /// Logical CPUs.
    pub cpu_cores: u32,
    /// RAM.
    pub memory_bytes: u64,
    /// Fixed disks.
    pub disks: Vec<Disk>,
    /// Physical network interfaces.
    pub nics: Vec<Nic>,
    /// Display and 3D controllers that are not the console's.
    pub gpus: Vec<Gpu>,
}

/// A fixed disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Kernel name.
    pub name: String,
    /// Serial number.
    pub serial: String,
    /// Model.
    pub model: String,
    /// Capacity.
    pub size_bytes: u64,
    /// It spins.
    pub rotational: bool,
    /// nvme, virtio, ata, scsi, other.
    pub bus: String,
    /// It can discard.
    pub discard: bool,
}

/// A physical network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Kernel name.
    pub name: String,
    /// Address in lower case with colons.
    pub mac: String,
    /// Kernel driver.
    pub driver: String,
    /// It has a link.
    pub carrier: bool,
    /// Megabits per second; 0 if unknown.
    pub speed_mbps: u32,
}

/// A display or 3D controller on the PCI bus that is not the console's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// Such as 0000:65:00.0.
    pub pci_address: String,
    /// Four hex digits, such as 10de.
    pub vendor_id: String,
    /// Four hex digits.
    pub device_id: String,
}

/// Proof that one disk was wiped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskErasure {
    /// Serial number of the disk.
    pub disk_serial: String,
    /// Kernel name then.
    pub disk_name: String,
    /// Capacity.
    pub size_bytes: u64,
    /// discard, write-zeroes or overwrite.
    pub method: String,
    /// Bytes read back and found blank.
    pub sampled_bytes: u64,
    /// When.
    pub finished_at: Timestamp,
}

/// What a machine is to boot from, as its rack is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "boot")]
pub enum BootTarget {
    /// Its own disk.
    LocalDisk,
    /// Its own disk, and the system on it is expected to phone home.
    InstalledOs(BootId),
    /// The ephemeral environment.
    Ephemeral(BootId),
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = if self.comment.is_empty() { "no reason given" } else { &self.comment };
        write!(f, "by {} since {}: {why}", self.by, self.since.format("%F %T UTC"))
    }
}

impl Machine {
    /// What it is to boot from now: a function of state, phase and boot alone.
    #[must_use]
    pub fn boot_target(&self) -> BootTarget {
        let (Some(boot), Class::Working | Class::Rest) = (self.details.boot, self.state.class()) else {
            return BootTarget::LocalDisk;
        };
        // Whoever restarts in rescue does not boot a system that is being repaired: its agent is refused, and told of.
        if self.state == State::Rescue {
            return BootTarget::Ephemeral(boot);
        }
        if self.state.class() == Class::Rest {
            return BootTarget::LocalDisk;
        }
        match self.work.phase {
            Some(
                Phase::BmcInBand
                | Phase::PowerOff
                | Phase::Boot
                | Phase::Inventory
                | Phase::WriteImage
                | Phase::Erase
                | Phase::Scripts
                | Phase::Tests
                | Phase::OpenSsh,
            ) => BootTarget::Ephemeral(boot),
            // The system was installed in an earlier boot, and has phoned home since.
            Some(Phase::StartOs | Phase::AwaitOs) if self.state == State::ExitingRescue => BootTarget::LocalDisk,
            Some(Phase::StartOs | Phase::AwaitOs) => BootTarget::InstalledOs(boot),
            Some(Phase::ProbeBmc | Phase::BmcAccount | Phase::Finish) | None => BootTarget::LocalDisk,
        }
    }

    /// How long the current phase has lasted.
    #[must_use]
    pub fn phase_age(&self, now: Timestamp) -> TimeDelta {
        self.work.phase_since.map_or_else(TimeDelta::zero, |since| now - since)
    }

    /// The etag.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{}", self.version)
    }
}
