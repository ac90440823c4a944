//! Asks the BMCs of all machines for the power state now and then, so that what a machine does by itself is seen.

use std::{convert::Infallible, time::Duration};

use chrono::TimeDelta;
use farrier_common::clock::Clock;
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{domain::machine::Machine, racks::Racks, store::Store};

/// BMCs asked at once, and machines looked at in one round.
const PARALLEL: usize = 32;
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
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        poll.round().await;
    }
}

struct Poll {
    store: Store,
    racks: Racks,
    interval: TimeDelta,
    clock: Clock,
}

impl Poll {
    async fn round(&self) {
        match self.store.machines_to_poll(self.clock.now() - self.interval, ROUND).await {
            Ok(due) => stream::iter(due).for_each_concurrent(PARALLEL, |m| self.ask(m)).await,
            Err(e) => tracing::error!(error = %e, "machines to poll could not be listed"),
        }
    }

    async fn ask(&self, m: Machine) {
        match self.racks.get_power(&m).await {
            Ok(power) => {
                if let Err(e) = self.store.machine_set_power(m.id, power, self.clock.now()).await {
                    tracing::warn!(machine.id = %m.id, error = %e, "the power state was not noted");
                }
            }
            Err(t) => tracing::debug!(machine.id = %m.id, why = t.text, "a BMC did not tell the power state"),
        }
    }
}
