//! Asks the BMCs of all machines for the power state now and then, so that what a machine does by itself is seen.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{clock::Clock, id::MachineId};
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        advance::Change,
        event::{EventKind, NewEvent},
        machine::Machine,
        observation::{Trouble, TroubleKind},
    },
    racks::Racks,
    store::{Extra, Store},
};

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
    let alarmed = Mutex::default();
    let poll = Poll { store, racks, interval: TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX), clock, alarmed };
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
    /// What was told of whose BMC that is not the one that is known, so that it is told once.
    alarmed: Mutex<HashMap<MachineId, String>>,
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
            Err(t) => {
                tracing::debug!(machine.id = %m.id, why = t.text, "a BMC did not tell the power state");
                if t.kind == TroubleKind::Untrusted && self.is_news(&m, &t) {
                    self.alarm(m, &t).await;
                }
            }
        }
    }

    fn is_news(&self, m: &Machine, trouble: &Trouble) -> bool {
        let mut alarmed = self.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
        alarmed.insert(m.id, trouble.text.clone()).as_ref() != Some(&trouble.text)
    }

    /// Logs that somebody else answers for a machine's BMC. A machine in work is told of it by its own tick.
    async fn alarm(&self, m: Machine, trouble: &Trouble) {
        let (id, version) = (m.id, m.version);
        let event = NewEvent {
            kind: EventKind::Bmc,
            machine: Some(id),
            event: None,
            from: Some(m.state),
            to: Some(m.state),
            phase: m.work.phase,
            actor: "engine".to_owned(),
            reason: format!("bmc-certificate: {}", trouble.text),
        };
        let mut change = Change::of(m);
        change.events.push(event);
        // Somebody changes the machine at this moment: it is told with the next look.
        if let Err(error) = self.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await {
            self.alarmed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            tracing::info!(machine.id = %id, %error, "an alarm is logged later");
        }
    }
}
