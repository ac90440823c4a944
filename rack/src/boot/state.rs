//! The intents that a rack holds: on disk, answered from memory.
//!
//! Layout of the folder: `current` names the generation folder in use; in it `header.json` (snapshot, subnets, enlist
//! image) and one file for each machine.
//! A snapshot is written to a new generation folder and becomes current by the replacement of one file, so a crash
//! leaves either all of the old or all of the new.
//! **Invariant:** memory never shows what the disk does not hold yet.

mod disk;
mod record;
#[cfg(test)]
pub(crate) mod samples;
mod view;

use std::{
    io,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use farrier_common::{
    id::{BootId, MachineId},
    net::MacAddr,
};
use thiserror::Error;

use self::{disk::Disk, view::View};
use super::breaker::Breaker;
use super::intent::{BlobRef, EphemeralImage, Intent, Snapshot, Subnet};
use crate::crash::{Crash, Point, Work};

/// The intents. Clones share them. Methods that return `io::Result` wait for the disk.
#[derive(Clone, Debug)]
pub struct BootState {
    shared: Arc<Shared>,
    breaker: Breaker,
    crash: Crash,
}

#[derive(Debug)]
struct Shared {
    view: RwLock<View>,
    disk: Mutex<Disk>,
}

/// Why an intent was not taken.
#[derive(Debug, Error)]
pub enum PutError {
    /// It belongs to another snapshot than the one held.
    #[error("the rack holds {}: sync first", .held.as_deref().map_or("no snapshot".to_owned(), |h| format!("snapshot {h:?}")))]
    WrongSnapshot {
        /// The one held.
        held: Option<String>,
    },
    /// It could not be stored.
    #[error("cannot store the intent")]
    Io(#[source] io::Error),
}

// === impl BootState ===

impl BootState {
    /// Loads what the folder holds; it is made if it does not exist.
    ///
    /// A file that cannot be read as what it should be is logged and left out; the state then claims no snapshot (the
    /// region will send one) and does not enlist unknown machines (one of them may be the machine left out).
    ///
    /// # Errors
    /// The folder or a file in it cannot be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let (disk, loaded) = Disk::open(dir)?;
        let view = View::new(loaded);
        tracing::info!(intents = view.len(), snapshot = view.snapshot_id.as_deref(), "intents loaded");
        let shared = Arc::new(Shared { view: RwLock::new(view), disk: Mutex::new(disk) });
        Ok(Self { shared, breaker: Breaker::default(), crash: Crash::default() })
    }

    /// With a place at which tests let the rack die.
    #[must_use]
    pub fn with_crash(self, crash: Crash) -> Self {
        Self { crash, ..self }
    }

    /// With another limit of boots that lead nowhere.
    #[must_use]
    pub fn with_breaker(self, breaker: Breaker) -> Self {
        Self { breaker, ..self }
    }

    /// Counts the boots that lead nowhere.
    #[must_use]
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The snapshot held, if any.
    #[must_use]
    pub fn snapshot_id(&self) -> Option<String> {
        self.view().snapshot_id.clone()
    }

    /// How many intents are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Is none held?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces everything by a snapshot.
    ///
    /// # Errors
    /// It cannot be stored; everything is as before.
    pub fn replace(&self, snapshot: Snapshot) -> io::Result<()> {
        let mut disk = self.disk();
        disk.replace(&snapshot)?;
        self.crash.at(Point::IntentStored, Work::SyncIntents);
        let view = View::new(disk::Loaded::from(snapshot));
        *self.shared.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(())
    }

    /// Adds or replaces a machine's intent, unless a newer one is held. Returns the version held afterwards.
    ///
    /// # Errors
    /// The intent belongs to another snapshot than the one held, or cannot be stored; everything is as before.
    pub fn put(&self, snapshot_id: &str, intent: Intent) -> Result<i64, PutError> {
        let disk = self.disk();
        {
            let view = self.view();
            if view.snapshot_id.as_deref() != Some(snapshot_id) {
                return Err(PutError::WrongSnapshot { held: view.snapshot_id.clone() });
            }
            if let Some(held) = view.by_machine(intent.machine_id).filter(|held| held.version >= intent.version) {
                return Ok(held.version);
            }
        }
        disk.put(&intent).map_err(PutError::Io)?;
        self.crash.at(Point::IntentStored, Work::PutIntent);
        let version = intent.version;
        self.shared.view.write().unwrap_or_else(PoisonError::into_inner).put(intent);
        Ok(version)
    }

    /// Forgets a machine.
    ///
    /// # Errors
    /// Its file cannot be removed; the intent is still held.
    pub fn remove(&self, machine: MachineId) -> io::Result<()> {
        let disk = self.disk();
        disk.remove(machine)?;
        self.crash.at(Point::IntentStored, Work::RemoveIntent);
        self.shared.view.write().unwrap_or_else(PoisonError::into_inner).remove(machine);
        Ok(())
    }

    /// The intent that names an interface.
    #[must_use]
    pub fn by_mac(&self, mac: MacAddr) -> Option<Arc<Intent>> {
        self.view().by_mac(mac)
    }

    /// The intent that a boot belongs to.
    #[must_use]
    pub fn by_boot(&self, boot: BootId) -> Option<Arc<Intent>> {
        self.view().by_boot(boot)
    }

    /// The interface that an address is reserved for.
    #[must_use]
    pub fn reserved_for(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.view().reserved_for(address)
    }

    /// The address reserved for an interface.
    #[must_use]
    pub fn reservation(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        let intent = self.by_mac(mac)?;
        intent.interfaces.iter().find(|i| i.mac == mac)?.address
    }

    /// The subnets to serve.
    #[must_use]
    pub fn subnets(&self) -> Arc<[Subnet]> {
        self.view().subnets.clone()
    }

    /// What machines get that no intent names.
    #[must_use]
    pub fn enlist_image(&self) -> Option<Arc<EphemeralImage>> {
        self.view().enlist_image.clone()
    }

    /// The blob, if some intent or the enlist image has it for its kernel or initrd: such blobs hold no secret and anybody
    /// may have them.
    #[must_use]
    pub fn boot_blob(&self, sha256: &str) -> Option<BlobRef> {
        self.view().boot_blob(sha256)
    }

    /// What such a blob is: "kernel" or "initrd".
    #[must_use]
    pub fn boot_blob_role(&self, sha256: &str) -> Option<&'static str> {
        self.view().boot_blob_role(sha256)
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.shared.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by every change from its check to its end, so changes do not mix.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
