//! Drives machines through their working states.
//!
//! One **tick** handles one machine: claim, load, observe (no transaction open), decide (pure), at most one effect, commit
//! guarded by version and epoch. Wake-ups only set `due_at`; they carry nothing to act on. There is no lock over the fleet:
//! one dead BMC slows one machine. Killed at any point, the next tick starts from what can be observed.

mod act;
mod observe;
pub mod poll;
mod tick;

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use farrier_common::{clock::Clock, name::Name};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    crash::Crash,
    domain::{advance::Deadlines, decide::Rules},
    racks::Racks,
    store::{Claimed, Store},
    vault::Vault,
};

/// Ticks in flight at once: each mostly waits for a BMC.
const PARALLEL: usize = 64;
/// How long a machine waits when the process that works on it dies and does not come back: one that is started again ends
/// its own claims. A tick that takes longer renews its lease.
const LEASE: TimeDelta = TimeDelta::seconds(15);
const RENEW: Duration = Duration::from_secs(5);
/// How long a tick may take in all.
const TICK: Duration = Duration::from_secs(170);
/// How often the engine looks for due machines when nobody nudges it.
const LOOK: Duration = Duration::from_millis(250);

/// The engine of one region process.
#[derive(Clone)]
pub struct Engine {
    /// The machine database.
    pub store: Store,
    /// The hands.
    pub racks: Racks,
    /// Where secrets are sealed.
    pub vault: Vault,
    /// Bounds.
    pub rules: Rules,
    /// How long working states may last.
    pub deadlines: Deadlines,
    /// Name of the BMC account that Farrier makes.
    pub bmc_account: Name,
    /// Time.
    pub clock: Clock,
    /// Who holds the leases: no other process that runs, and the same one after a restart.
    pub owner: String,
    /// Where tests let the region die.
    pub crash: Crash,
}

impl Engine {
    /// Works until stopped, then lets the ticks under way end.
    ///
    /// # Errors
    /// Never for a fault of a machine or the database, which is logged and tried again; only if a tick panics.
    pub async fn run(self, stop: CancellationToken) -> Result<(), String> {
        let engine = Arc::new(self);
        let room = Arc::new(Semaphore::new(PARALLEL));
        let mut ticks = JoinSet::new();
        while !stop.is_cancelled() {
            while let Some(ended) = ticks.try_join_next() {
                ended.map_err(|e| format!("a tick died: {e}"))?;
            }
            for claimed in engine.claim(room.available_permits()).await {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
                let engine = Arc::clone(&engine);
                ticks.spawn(async move {
                    engine.handle(claimed).await;
                    drop(permit);
                });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = engine.store.work().notified() => {}
                ended = ticks.join_next(), if room.available_permits() == 0 => {
                    ended.transpose().map_err(|e| format!("a tick died: {e}"))?;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while let Some(ended) = ticks.join_next().await {
            ended.map_err(|e| format!("a tick died: {e}"))?;
        }
        Ok(())
    }

    async fn claim(&self, room: usize) -> Vec<Claimed> {
        if room == 0 {
            return Vec::new();
        }
        match self.store.machine_claim_due(&self.owner, self.clock.now(), LEASE, room).await {
            Ok(claimed) => claimed,
            Err(e) => {
                tracing::error!(error = %e, "due machines could not be claimed");
                Vec::new()
            }
        }
    }

    async fn handle(&self, claimed: Claimed) {
        let machine = claimed.view.machine.id;
        let name = claimed.view.machine.name.clone();
        let claim = claimed.claim();
        let tick = timeout(TICK, self.tick(claimed));
        tokio::pin!(tick);
        let ended = loop {
            tokio::select! {
                ended = &mut tick => break ended,
                () = tokio::time::sleep(RENEW) => {
                    // Should this fail and the lease end, another claim makes this one worthless: the commit is guarded.
                    if let Err(e) = self.store.machine_renew_claim(claim, self.clock.now() + LEASE).await {
                        tracing::warn!(machine.id = %machine, %name, error = %e, "a lease could not be renewed");
                    }
                }
            }
        };
        match ended {
            Ok(Ok(())) => {}
            // The claim is left to its lease: a fault of ours or of the database must not be tried in a tight loop.
            Ok(Err(e)) => {
                tracing::error!(machine.id = %machine, %name, error = %e, "a tick failed; its lease will end");
            }
            Err(_) => tracing::error!(machine.id = %machine, %name, "a tick took too long; its lease will end"),
        }
    }
}
