//! Asks the BMCs of all machines for the power state now and then, so that what a machine does by itself is seen.

mod refusals;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{clock::Clock, hardware::PowerState, id::MachineId};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::refusals::Refusals;
use crate::{
    domain::{
        advance::Change,
        machine::Machine,
        observation::{Trouble, TroubleKind},
        reason::Code,
        verbs::bmc::noted,
    },
    racks::{Asker, Racks},
    store::{Extra, Store},
};

/// BMCs asked at once, and machines looked at in one round.
const PARALLEL: usize = 64;
const ROUND: usize = 256;

/// Keeps the power state of every machine at most `interval` old, where the BMC answers. The store hands out each machine
/// once per interval, so a BMC that is silent holds up nobody else's turn and two regions do not ask twice. One that refuses the
/// login is left alone for longer and longer.
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
    let (alarmed, refusals) = (Mutex::default(), Refusals::default());
    let interval_delta = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX);
    let poll = Poll { store, racks, interval: interval_delta, clock, alarmed, refusals };
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
    /// What was told of whose BMC, so that it is told once.
    alarmed: Mutex<HashMap<MachineId, String>>,
    refusals: Refusals,
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
            stream::iter(due).for_each_concurrent(PARALLEL, |m| self.ask(m, told)).await;
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

    async fn ask(&self, m: Machine, told: &mpsc::Sender<(MachineId, PowerState)>) {
        if self.refusals.bar(&m, self.clock.now()) {
            return;
        }
        match self.racks.get_power(&m, Asker::Poll).await {
            Ok(power) => {
                self.alarmed().remove(&m.id);
                self.refusals.forget(m.id);
                // Whoever notes it stays until all have told.
                let _ = told.send((m.id, power)).await;
            }
            Err(t) => {
                tracing::debug!(machine.id = %m.id, why = t.text, "a BMC did not tell the power state");
                self.alarm(m, &t).await;
            }
        }
    }

    fn alarmed(&self) -> MutexGuard<'_, HashMap<MachineId, String>> {
        self.alarmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_news(&self, m: &Machine, text: &str) -> bool {
        self.alarmed().insert(m.id, text.to_owned()).as_deref() != Some(text)
    }

    /// Logs that somebody else answers for a machine's BMC, or that the BMC refuses us. A machine in work is told of it by its own
    /// tick.
    async fn alarm(&self, m: Machine, trouble: &Trouble) {
        let (code, more) = match trouble.kind {
            TroubleKind::Untrusted => (Code::BmcCertificate, String::new()),
            TroubleKind::Refused => {
                let pause = self.refusals.note(&m, self.clock.now()).num_minutes();
                (
                    Code::BmcRefused,
                    format!("; its power is not asked for {pause} minutes, so that the account is not locked"),
                )
            }
            TroubleKind::Transient | TroubleKind::RackAway | TroubleKind::Permanent => return,
        };
        if !self.is_news(&m, &trouble.text) {
            return;
        }
        let (id, version) = (m.id, m.version);
        let event = noted(&m, "engine".to_owned(), &format!("{code}: {}{more}", trouble.text), "");
        let mut change = Change::of(m);
        change.events.push(event);
        // Somebody changes the machine at this moment: it is told with the next look.
        if let Err(error) = self.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await {
            self.alarmed().remove(&id);
            tracing::info!(machine.id = %id, %error, "an alarm is logged later");
        }
    }
}
