//! Snapshots: a rack that says it holds something else than what this process told it is told everything anew.

use std::{convert::Infallible, time::Duration};

use farrier_common::{
    hardware::Architecture,
    id::{BootId, RackId},
    retry::Backoff,
};
use farrier_proto::rack::{self, sync_intents_request::Part};
use tokio_util::sync::CancellationToken;

use super::{Racks, dial::trouble, transient};
use crate::domain::{network::Subnet, observation::Trouble};

/// A sync that fails is tried again by the next heartbeat; this only keeps one broken rack from being asked in a tight loop.
const AFTER_FAILURE: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_millis(500));

impl Racks {
    /// Asks for a snapshot to be sent to a rack, soon.
    pub fn request_sync(&self, rack: RackId) {
        // Only fails when the receiver is gone, and it lives as long as we do.
        let _ = self.inner.wanted.send(rack);
    }

    /// The same for every rack, after something that all of them serve has changed.
    pub fn request_sync_all(&self) {
        let racks: Vec<RackId> = {
            let told = self.inner.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            told.keys().copied().collect()
        };
        for rack in racks {
            self.request_sync(rack);
        }
    }

    /// Does the rack hold the snapshot that this process gave it last?
    #[must_use]
    pub fn holds_current(&self, rack: RackId, snapshot: &str) -> bool {
        // While a sync is under way the answer is yes: another one would change nothing.
        self.inner.told(rack).try_lock().map_or(true, |told| told.as_deref() == Some(snapshot))
    }

    /// Sends the snapshots that were asked for, until stopped.
    ///
    /// # Errors
    /// Never; the type fits the task group.
    pub async fn run_syncs(self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut wanted = self.inner.wanted_receiver.lock().await;
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                rack = wanted.recv() => rack,
            };
            let Some(first) = first else { return Ok(()) };
            let mut racks = vec![first];
            while let Ok(next) = wanted.try_recv() {
                racks.push(next);
            }
            racks.sort_unstable();
            racks.dedup();
            for rack in racks {
                if let Err(t) = self.sync(rack).await {
                    tracing::warn!(rack.id = %rack, why = t.text, "a snapshot could not be given to a rack");
                    AFTER_FAILURE.pause(1).await;
                }
            }
        }
    }

    /// Gives a rack everything that it should hold.
    async fn sync(&self, rack: RackId) -> Result<(), Trouble> {
        let told = self.inner.told(rack);
        let mut told = told.lock().await;
        *told = None;
        // BootId is as good a source of unique ids as any; a snapshot has no id type of its own because nothing refers to it.
        let id = BootId::generate().to_string();
        let parts = self.snapshot(rack, &id).await?;
        let count = parts.len() - 1;
        let mut client = self.inner.client(rack).await?;
        client.sync_intents(tokio_stream::iter(parts)).await.map_err(|s| trouble(&s))?;
        tracing::info!(rack.id = %rack, intents = count, "a rack took over its snapshot");
        *told = Some(id);
        drop(told);
        // Failing to wake them only costs them their patience.
        match self.inner.store.machines_wake_retrying(rack).await {
            Ok(woken) => tracing::debug!(rack.id = %rack, woken, "machines that waited for another try have it now"),
            Err(e) => tracing::warn!(rack.id = %rack, error = %e, "the machines that wait could not be woken"),
        }
        Ok(())
    }

    async fn snapshot(&self, rack: RackId, id: &str) -> Result<Vec<rack::SyncIntentsRequest>, Trouble> {
        let store = &self.inner.store;
        let subnets = store.subnets_of_rack(rack).await.map_err(|e| transient(e.to_string()))?;
        let machines = store.machines_of_rack(rack).await.map_err(|e| transient(e.to_string()))?;
        let header = rack::SnapshotHeader {
            snapshot_id: id.to_owned(),
            subnets: subnets.iter().map(subnet).collect(),
            enlist_image: self.inner.ephemeral(Architecture::Amd64).await.ok(),
        };
        let mut parts = vec![Part::Header(header)];
        for m in &machines {
            match self.inner.intent(m).await {
                Ok(intent) => parts.push(Part::Intent(intent)),
                // Left out, it boots nothing destructive; its own tick says why it waits.
                Err(t) => tracing::warn!(machine.id = %m.id, why = t.text, "a machine has no intent for now"),
            }
        }
        Ok(parts.into_iter().map(|part| rack::SyncIntentsRequest { part: Some(part) }).collect())
    }
}

fn subnet(s: &Subnet) -> rack::Subnet {
    rack::Subnet {
        cidr: s.cidr.to_string(),
        gateway: s.gateway.map_or_else(String::new, |g| g.to_string()),
        dns_servers: s.dns.iter().map(ToString::to_string).collect(),
        dynamic_start: s.dynamic.start().to_string(),
        dynamic_end: s.dynamic.end().to_string(),
        lease_seconds: s.lease_seconds,
    }
}
