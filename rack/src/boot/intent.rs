//! The words of a boot: intents, what they lead to, and the subnets that machines boot on.

use std::{net::Ipv4Addr, time::Duration};

use farrier_common::{
    clock::Timestamp,
    id::{BootId, MachineId},
    net::{Ipv4Range, MacAddr},
    secret::Secret,
};
use ipnet::Ipv4Net;

/// What one machine boots now.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Whose intent it is.
    pub machine_id: MachineId,
    /// The machine's name, for people.
    pub machine_name: String,
    /// Grows with every change.
    pub version: i64,
    /// By which the machine is known on the wire.
    pub interfaces: Vec<Interface>,
    /// Where the boot leads.
    pub target: Target,
}

/// A network interface of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its hardware address.
    pub mac: MacAddr,
    /// The address reserved for it; none: from the dynamic range.
    pub address: Option<Ipv4Addr>,
}

/// Where a boot leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// The firmware goes on to the disk.
    LocalDisk {
        /// The boot whose installed system has yet to phone home.
        boot_id: Option<BootId>,
        /// SHA-256 in hex of the token that it will phone home with.
        phone_home_sha256: Option<String>,
    },
    /// The ephemeral environment.
    Ephemeral(Ephemeral),
}

/// A pass through the ephemeral environment.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    /// The pass.
    pub boot_id: BootId,
    /// Works once: the agent's first call spends it.
    pub token: Secret<String>,
    /// Why: commissioning, deploying, releasing.
    pub purpose: String,
    /// What is booted.
    pub image: EphemeralImage,
    /// From then on the machine is sent to its local disk instead.
    pub expires: Timestamp,
}

/// A kernel and its initrd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralImage {
    /// The kernel.
    pub kernel: BlobRef,
    /// The initrd.
    pub initrd: BlobRef,
    /// Added to the kernel's command line.
    pub extra_cmdline: String,
}

/// A file, known by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// SHA-256 in lower-case hex.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A subnet on which machines boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Network and prefix length.
    pub cidr: Ipv4Net,
    /// The router, if any.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// For machines without a reservation.
    pub dynamic: Ipv4Range,
    /// How long a lease lasts.
    pub lease: Duration,
}

/// All that a rack is to know.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Names this snapshot.
    pub id: String,
    /// The subnets to serve.
    pub subnets: Vec<Subnet>,
    /// For machines that no intent names; none: they are sent to their local disk.
    pub enlist_image: Option<EphemeralImage>,
    /// One for each machine.
    pub intents: Vec<Intent>,
}

// === impl Intent ===

impl Intent {
    /// The boot that the intent belongs to, if any.
    #[must_use]
    pub fn boot_id(&self) -> Option<BootId> {
        match &self.target {
            Target::LocalDisk { boot_id, .. } => *boot_id,
            Target::Ephemeral(e) => Some(e.boot_id),
        }
    }

    /// The kernel and initrd that the intent leads to, if any.
    #[must_use]
    pub fn image(&self) -> Option<&EphemeralImage> {
        match &self.target {
            Target::LocalDisk { .. } => None,
            Target::Ephemeral(e) => Some(&e.image),
        }
    }
}
