//! Asks the BMCs of all machines for the power state now and then, so that what a machine does by itself is seen.

use std::{convert::Infallible, time::Duration};

use chrono::TimeDelta;
use farrier_common::{clock::Clock, hardware::PowerState, id::MachineId};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{domain::machine::Machine, racks::Racks, store::Store};

/// BMCs asked at once, and machines looked at in one round.
const PARALLEL: usize = 64;
const ROUND: usize = 256;

/// Keeps the power state of every machine at most `interval` old, where the BMC answers. The store hands out each machine
/// once per interval, so a BMC that is silent holds up nobody else's turn and two regions do not ask twice.
///
/// # Errors
/// Never; the type fits the task group.
pub async fn run(
    store: Store,
    racks: Racks,
    interval: Duration,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let poll = Poll { store, racks, interval: TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX), clock };
    let pause = (interval / 4).clamp(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        // A full round means that there are more to ask.
        while poll.round().await == ROUND && !stop.is_cancelled() {}
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Poll {
    store: Store,
    racks: Racks,
    interval: TimeDelta,
    clock: Clock,
}

impl Poll {
    /// Asks the machines whose turn it is; tells how many.
    async fn round(&self) -> usize {
        let due = match self.store.machines_to_poll(self.clock.now() - self.interval, ROUND).await {
            Ok(due) => due,
            Err(e) => {
                tracing::error!(error = %e, "machines to poll could not be listed");
                return 0;
            }
        };
        let (asked, (told, mut heard)) = (due.len(), mpsc::channel(ROUND));
        let asking = async move {
            let told = &told;
            stream::iter(due).for_each_concurrent(PARALLEL, |m| async move { self.ask(&m, told).await }).await;
        };
        let noting = async {
            let mut seen = Vec::new();
            // What came while the last ones were written is written at once.
            while heard.recv_many(&mut seen, ROUND).await > 0 {
                if let Err(e) = self.store.machines_set_power(seen.drain(..).collect(), self.clock.now()).await {
                    tracing::warn!(error = %e, "power states were not noted");
                }
            }
        };
        tokio::join!(asking, noting);
        asked
    }

    async fn ask(&self, m: &Machine, told: &mpsc::Sender<(MachineId, PowerState)>) {
        match self.racks.get_power(m).await {
            // Whoever notes it stays until all have told.
            Ok(power) => drop(told.send((m.id, power)).await),
            Err(t) => tracing::debug!(machine.id = %m.id, why = t.text, "a BMC did not tell the power state"),
        }
    }
}
