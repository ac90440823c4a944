//! Which machine an allocation gets: what people may ask for, whether a machine has it, and which is the cheapest. Pure.
//!
//! **Cost**, the cheaper first: GPUs beyond those that are asked for, then CPU cores, memory, bytes of all disks, speed of
//! all NICs, and last the name, so that the order is total and the same request finds the same machine.
//! **Invariant:** each disk, NIC and GPU that is asked for is met by a device of its own: devices are matched, not counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use farrier_common::{
    hardware::{Architecture, BmcProtocol},
    id::{MachineId, PoolId, RackId},
    name::Name,
    words,
};
use ipnet::Ipv4Net;

use super::{
    machine::{Disk, Machine},
    user::{Role, User},
};

mod matching;
mod plan;
mod refusal;

pub use matching::{Group, assign};
pub use plan::{Plan, Short, Want, plan, unfit};
pub use refusal::{Census, Unmet};

words! {
    /// What a disk is made of.
    DiskKind {
        /// It does not spin, whatever its bus.
        Ssd = "ssd",
        /// It spins.
        Hdd = "hdd",
        /// It is on the NVMe bus.
        Nvme = "nvme",
    }
}

/// Something that was named, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    /// As the caller knows it.
    pub name: String,
    /// As machines know it.
    pub is: T,
}

/// What a machine must have. Empty fields ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Of the CPU.
    pub architecture: Option<Architecture>,
    /// Logical CPUs, at least.
    pub min_cpu_cores: u32,
    /// RAM, at least.
    pub min_memory_bytes: u64,
    /// Each needs a disk of its own.
    pub disks: Vec<DiskNeed>,
    /// Each needs a NIC of its own.
    pub nics: Vec<NicNeed>,
    /// Each needs a GPU of its own.
    pub gpus: Vec<GpuNeed>,
    /// All of them.
    pub tags: BTreeSet<Name>,
    /// None of them.
    pub not_tags: BTreeSet<Name>,
    /// In this pool.
    pub pool: Option<Named<PoolId>>,
    /// In this zone.
    pub zone: Option<Name>,
    /// Served by this rack.
    pub rack: Option<Named<RackId>>,
    /// With an address in this network.
    pub subnet: Option<Named<Ipv4Net>>,
    /// How its BMC is spoken to.
    pub bmc_protocol: Option<BmcProtocol>,
    /// SMBIOS manufacturer, letter case aside; empty: any.
    pub vendor: String,
    /// SMBIOS product name, letter case aside; empty: any.
    pub product: String,
    /// All of them, with these values.
    pub labels: BTreeMap<String, String>,
    /// One of these, by id or name; empty: any.
    pub machines: BTreeSet<String>,
    /// None of these, by id or name.
    pub not_machines: BTreeSet<String>,
}

/// A disk that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskNeed {
    /// Capacity, at least.
    pub min_bytes: u64,
    /// `None`: any.
    pub kind: Option<DiskKind>,
}

/// A network interface that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicNeed {
    /// Megabits per second, at least. A NIC whose driver does not tell its speed counts as 0.
    pub min_speed_mbps: u32,
    /// It has a link.
    pub carrier: bool,
}

/// A GPU that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuNeed {
    /// Four hex digits in lower case; empty: any.
    pub vendor_id: String,
    /// The same.
    pub device_id: String,
}

/// What an allocation looks at in a machine: small, so that thousands can be held ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which machine.
    pub id: MachineId,
    name: Name,
    architecture: Architecture,
    cpu_cores: u32,
    memory_bytes: u64,
    disks: Vec<(u64, bool, bool)>,
    nics: Vec<(u32, bool)>,
    gpus: Vec<(String, String)>,
    tags: BTreeSet<Name>,
    pool: PoolId,
    zone: Name,
    rack: Option<RackId>,
    addresses: Vec<Ipv4Addr>,
    bmc_protocol: Option<BmcProtocol>,
    vendor: String,
    product: String,
    labels: BTreeMap<String, String>,
    locked: bool,
}

/// Which fitting machine is taken first: the one with the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    gpus_too_many: usize,
    cpu_cores: u32,
    memory_bytes: u64,
    disk_bytes: u64,
    nic_mbps: u64,
    name: Name,
}

impl From<&Machine> for Candidate {
    fn from(m: &Machine) -> Self {
        let known = m.details.hardware.clone().unwrap_or_default();
        let disk = |d: &Disk| (d.size_bytes, d.rotational, d.bus == "nvme");
        Self {
            id: m.id,
            name: m.name.clone(),
            architecture: m.architecture,
            cpu_cores: known.cpu_cores,
            memory_bytes: known.memory_bytes,
            disks: known.disks.iter().map(disk).collect(),
            nics: known.nics.iter().map(|n| (n.speed_mbps, n.carrier)).collect(),
            gpus: known.gpus.into_iter().map(|g| (g.vendor_id, g.device_id)).collect(),
            tags: m.tags.clone(),
            pool: m.pool,
            zone: m.zone.clone(),
            rack: m.rack,
            addresses: m.interfaces.iter().filter_map(|i| i.address).collect(),
            bmc_protocol: m.details.bmc.as_ref().and_then(|b| b.protocol),
            vendor: known.vendor,
            product: known.product,
            labels: m.details.labels.clone(),
            locked: m.details.lock.is_some(),
        }
    }
}

impl Candidate {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// May this person hold machines of its pool?
    #[must_use]
    pub fn open_to(&self, user: &User) -> bool {
        user.role == Role::Admin || user.pools.contains(&self.pool)
    }

    /// What it costs to give this machine to whoever asks for that.
    ///
    /// # Errors
    /// It does not fit; every reason why.
    pub fn fits(&self, asked: &Constraints) -> Result<Cost, Vec<Unmet>> {
        let unmet: Vec<Unmet> = self.place(asked).into_iter().chain(self.hardware(asked)).collect();
        if !unmet.is_empty() {
            return Err(unmet);
        }
        Ok(Cost {
            gpus_too_many: self.gpus.len().saturating_sub(asked.gpus.len()),
            cpu_cores: self.cpu_cores,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.disks.iter().fold(0, |sum, (bytes, ..)| sum.saturating_add(*bytes)),
            nic_mbps: self.nics.iter().map(|(mbps, _)| u64::from(*mbps)).sum(),
            name: self.name.clone(),
        })
    }

    fn place(&self, asked: &Constraints) -> Vec<Unmet> {
        let named = |set: &BTreeSet<String>| set.contains(self.name.as_str()) || set.contains(&self.id.to_string());
        let mut unmet = Vec::new();
        let mut must = |holds: bool, otherwise: Unmet| {
            if !holds {
                unmet.push(otherwise);
            }
        };
        must(!self.locked, Unmet::Locked);
        must(asked.machines.is_empty() || named(&asked.machines), Unmet::NotNamed);
        must(!named(&asked.not_machines), Unmet::Excluded);
        must(asked.pool.as_ref().is_none_or(|p| p.is == self.pool), Unmet::Pool);
        must(asked.zone.as_ref().is_none_or(|z| *z == self.zone), Unmet::Zone);
        must(asked.rack.as_ref().is_none_or(|r| Some(r.is) == self.rack), Unmet::Rack);
        let within = |net: &Named<Ipv4Net>| self.addresses.iter().any(|a| net.is.contains(a));
        must(asked.subnet.as_ref().is_none_or(within), Unmet::Subnet);
        for tag in &asked.tags {
            must(self.tags.contains(tag), Unmet::LacksTag(tag.clone()));
        }
        for tag in &asked.not_tags {
            must(!self.tags.contains(tag), Unmet::HasTag(tag.clone()));
        }
        for (key, value) in &asked.labels {
            must(self.labels.get(key) == Some(value), Unmet::Label(key.clone()));
        }
        unmet
    }

    fn hardware(&self, asked: &Constraints) -> Vec<Unmet> {
        let same = |asked: &str, is: &str| asked.is_empty() || asked.to_lowercase() == is.trim().to_lowercase();
        let mut unmet = Vec::new();
        let mut must = |holds: bool, otherwise: Unmet| {
            if !holds {
                unmet.push(otherwise);
            }
        };
        must(asked.architecture.is_none_or(|a| a == self.architecture), Unmet::Architecture);
        must(self.cpu_cores >= asked.min_cpu_cores, Unmet::Cores);
        must(self.memory_bytes >= asked.min_memory_bytes, Unmet::Memory);
        must(matching::each_its_own(&asked.disks, &self.disks, meets_disk), Unmet::Disks);
        must(matching::each_its_own(&asked.nics, &self.nics, meets_nic), Unmet::Nics);
        must(matching::each_its_own(&asked.gpus, &self.gpus, meets_gpu), Unmet::Gpus);
        must(asked.bmc_protocol.is_none_or(|p| Some(p) == self.bmc_protocol), Unmet::BmcProtocol);
        must(same(&asked.vendor, &self.vendor), Unmet::Vendor);
        must(same(&asked.product, &self.product), Unmet::Product);
        unmet
    }
}

fn meets_disk(need: &DiskNeed, (bytes, rotational, nvme): &(u64, bool, bool)) -> bool {
    let kind = match need.kind {
        None => true,
        Some(DiskKind::Ssd) => !rotational,
        Some(DiskKind::Hdd) => *rotational,
        Some(DiskKind::Nvme) => *nvme,
    };
    kind && *bytes >= need.min_bytes
}

const fn meets_nic(need: &NicNeed, (mbps, carrier): &(u32, bool)) -> bool {
    *mbps >= need.min_speed_mbps && (*carrier || !need.carrier)
}

fn meets_gpu(need: &GpuNeed, (vendor, device): &(String, String)) -> bool {
    let same = |asked: &str, is: &str| asked.is_empty() || asked.eq_ignore_ascii_case(is);
    same(&need.vendor_id, vendor) && same(&need.device_id, device)
}

#[cfg(test)]
mod tests;
