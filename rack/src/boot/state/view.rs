//! Intents in memory, with the indexes that answers need.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use farrier_common::{
    id::{BootId, MachineId},
    net::MacAddr,
};

use super::disk::Loaded;
use crate::boot::intent::{BlobRef, EphemeralImage, Intent, Subnet};

/// What the rack knows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot_id: Option<String>,
    pub(super) subnets: Arc<[Subnet]>,
    pub(super) enlist_image: Option<Arc<EphemeralImage>>,
    machines: HashMap<MachineId, Arc<Intent>>,
    macs: HashMap<MacAddr, Arc<Intent>>,
    boots: HashMap<BootId, Arc<Intent>>,
    addresses: HashMap<Ipv4Addr, MacAddr>,
    blobs: HashMap<String, BootBlob>,
}

/// A kernel or initrd.
#[derive(Debug)]
struct BootBlob {
    blob: BlobRef,
    role: &'static str,
    /// How many images name it.
    count: usize,
}

impl View {
    pub(super) fn new(loaded: Loaded) -> Self {
        let n = loaded.intents.len();
        let mut view = Self {
            snapshot_id: loaded.snapshot_id,
            subnets: loaded.subnets.into(),
            enlist_image: loaded.enlist_image.map(Arc::new),
            machines: HashMap::with_capacity(n),
            macs: HashMap::with_capacity(n),
            boots: HashMap::new(),
            addresses: HashMap::with_capacity(n),
            blobs: HashMap::new(),
        };
        if let Some(image) = view.enlist_image.clone() {
            view.count_blobs(&image);
        }
        for intent in loaded.intents {
            view.put(intent);
        }
        view
    }

    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    pub(super) fn by_machine(&self, machine: MachineId) -> Option<&Arc<Intent>> {
        self.machines.get(&machine)
    }

    pub(super) fn by_mac(&self, mac: MacAddr) -> Option<Arc<Intent>> {
        self.macs.get(&mac).cloned()
    }

    pub(super) fn by_boot(&self, boot: BootId) -> Option<Arc<Intent>> {
        self.boots.get(&boot).cloned()
    }

    pub(super) fn reserved_for(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.addresses.get(&address).copied()
    }

    pub(super) fn boot_blob(&self, sha256: &str) -> Option<BlobRef> {
        self.blobs.get(sha256).map(|b| b.blob.clone())
    }

    pub(super) fn boot_blob_role(&self, sha256: &str) -> Option<&'static str> {
        self.blobs.get(sha256).map(|b| b.role)
    }

    /// Adds or replaces. An interface that two intents name belongs to the one put last.
    pub(super) fn put(&mut self, intent: Intent) {
        self.remove(intent.machine_id);
        let intent = Arc::new(intent);
        for interface in &intent.interfaces {
            self.macs.insert(interface.mac, intent.clone());
            if let Some(address) = interface.address {
                self.addresses.insert(address, interface.mac);
            }
        }
        if let Some(boot) = intent.boot_id() {
            self.boots.insert(boot, intent.clone());
        }
        if let Some(image) = intent.image() {
            self.count_blobs(image);
        }
        self.machines.insert(intent.machine_id, intent);
    }

    pub(super) fn remove(&mut self, machine: MachineId) {
        let Some(old) = self.machines.remove(&machine) else { return };
        for interface in &old.interfaces {
            // The interface may belong to another machine by now.
            if self.macs.get(&interface.mac).is_some_and(|i| i.machine_id == machine) {
                self.macs.remove(&interface.mac);
            }
            if let Some(address) = interface.address
                && self.addresses.get(&address) == Some(&interface.mac)
            {
                self.addresses.remove(&address);
            }
        }
        if let Some(boot) = old.boot_id() {
            self.boots.remove(&boot);
        }
        if let Some(image) = old.image() {
            for blob in [&image.kernel, &image.initrd] {
                if let Some(held) = self.blobs.get_mut(&blob.sha256) {
                    held.count -= 1;
                    if held.count == 0 {
                        self.blobs.remove(&blob.sha256);
                    }
                }
            }
        }
    }

    fn count_blobs(&mut self, image: &EphemeralImage) {
        for (blob, role) in [(&image.kernel, "kernel"), (&image.initrd, "initrd")] {
            let new = || BootBlob { blob: blob.clone(), role, count: 0 };
            self.blobs.entry(blob.sha256.clone()).or_insert_with(new).count += 1;
        }
    }
}
