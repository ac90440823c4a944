//! Asks the BMCs of all machines for the power state now and then, so that what a machine does by itself is seen.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use chrono::TimeDelta;
use farrier_common::{
    clock::{Clock, Timestamp},
    id::MachineId,
    retry::Backoff,
};
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{domain::machine::Machine, racks::Racks, store::Store};

/// BMCs asked at once, and machines looked at in one round.
const PARALLEL: usize = 16;
const ROUND: usize = 256;

/// Keeps the power state of every machine at most `interval` old, where the BMC answers.
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
    let mut silent = HashMap::new();
    let pause = (interval / 4).clamp(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        poll.round(&mut silent).await;
    }
}

struct Poll {
    store: Store,
    racks: Racks,
    interval: TimeDelta,
    clock: Clock,
}

/// BMCs that did not answer: failures in a row, and when to ask again.
type Silent = HashMap<MachineId, (u32, Timestamp)>;

impl Poll {
    async fn round(&self, silent: &mut Silent) {
        let now = self.clock.now();
        let due = match self.store.machines_to_poll(now - self.interval, ROUND).await {
            Ok(due) => due,
            Err(e) => {
                tracing::error!(error = %e, "machines to poll could not be listed");
                return;
            }
        };
        silent.retain(|id, _| due.iter().any(|m| m.id == *id));
        let asked: Vec<_> = due.into_iter().filter(|m| silent.get(&m.id).is_none_or(|(_, at)| *at <= now)).collect();
        let answers: Vec<_> = stream::iter(asked).map(|m| self.ask(m)).buffer_unordered(PARALLEL).collect().await;
        let patience = Backoff::new(self.interval.to_std().unwrap_or_default(), Duration::from_secs(600));
        for (id, answered) in answers {
            if answered {
                silent.remove(&id);
            } else {
                let failures = silent.get(&id).map_or(1, |(n, _)| n + 1);
                let wait = TimeDelta::from_std(patience.wait(failures)).unwrap_or(TimeDelta::MAX);
                silent.insert(id, (failures, self.clock.now() + wait));
            }
        }
    }

    async fn ask(&self, m: Machine) -> (MachineId, bool) {
        match self.racks.get_power(&m).await {
            Ok(power) => {
                if let Err(e) = self.store.machine_set_power(m.id, power, self.clock.now()).await {
                    tracing::warn!(machine.id = %m.id, error = %e, "the power state was not noted");
                }
                (m.id, true)
            }
            Err(t) => {
                tracing::debug!(machine.id = %m.id, why = t.text, "a BMC did not tell the power state");
                (m.id, false)
            }
        }
    }
}
