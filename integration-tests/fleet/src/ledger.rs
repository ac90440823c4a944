//! Where every machine is in its life and when it came there, as the region's event log tells it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use farrier_common::clock::Timestamp;
use farrier_proto::v1::{Event, MachineState, watch_events_response::Update};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::drive::Region;

/// Before a broken watch is taken up again.
const PAUSE: Duration = Duration::from_millis(500);

/// One stay of a machine in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Which.
    pub state: MachineState,
    /// What led to it: the word of the life-cycle table.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

#[derive(Debug)]
struct History {
    stays: Vec<Stay>,
    now: watch::Sender<MachineState>,
}

/// A copy of all machines' histories that keeps itself up to date until dropped.
#[derive(Debug)]
pub struct Ledger {
    histories: Arc<Mutex<HashMap<String, History>>>,
    count: watch::Receiver<usize>,
    _follower: AbortOnDropHandle<()>,
}

impl Ledger {
    /// Follows `region` from its first event on. To be called on the threads that `region` is used on.
    #[must_use]
    pub fn follow(region: Region) -> Self {
        let histories = Arc::default();
        let (known, count) = watch::channel(0);
        let follower = tokio::spawn(follow(region, Arc::clone(&histories), known));
        Self { histories, count, _follower: AbortOnDropHandle::new(follower) }
    }

    /// How many machines there are; changes when one comes.
    #[must_use]
    pub fn count(&self) -> watch::Receiver<usize> {
        self.count.clone()
    }

    /// The state of machine `id` now, and what follows.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<watch::Receiver<MachineState>> {
        lock(&self.histories).get(id).map(|history| history.now.subscribe())
    }

    /// How many machines are in which state.
    #[must_use]
    pub fn states(&self) -> BTreeMap<MachineState, usize> {
        let mut states = BTreeMap::new();
        for history in lock(&self.histories).values() {
            *states.entry(*history.now.borrow()).or_default() += 1;
        }
        states
    }

    /// All stays of one machine, oldest first.
    #[must_use]
    pub fn stays(&self, id: &str) -> Vec<Stay> {
        lock(&self.histories).get(id).map(|history| history.stays.clone()).unwrap_or_default()
    }

    /// How long each last completed stay in `state` took, shortest first.
    #[must_use]
    pub fn durations(&self, state: MachineState) -> Vec<TimeDelta> {
        let last = |history: &History| {
            let mut pairs = history.stays.windows(2).rev();
            pairs.find(|pair| pair[0].state == state).map(|pair| pair[1].since - pair[0].since)
        };
        let mut all: Vec<_> = lock(&self.histories).values().filter_map(last).collect();
        all.sort();
        all
    }

    /// Every edge of the life-cycle that some machine has gone along, and how often: from, event, to. Machines come to be from
    /// [`MachineState::Unspecified`].
    #[must_use]
    pub fn edges(&self) -> BTreeMap<(MachineState, String, MachineState), usize> {
        let mut edges = BTreeMap::new();
        for history in lock(&self.histories).values() {
            let mut from = MachineState::Unspecified;
            // What follows the last state of a machine that is deleted is no state.
            for stay in history.stays.iter().filter(|stay| stay.state != MachineState::Unspecified) {
                *edges.entry((from, stay.by.clone(), stay.state)).or_default() += 1;
                from = stay.state;
            }
        }
        edges
    }
}

async fn follow(region: Region, histories: Arc<Mutex<HashMap<String, History>>>, known: watch::Sender<usize>) {
    let mut revision = 0;
    loop {
        match region.watch(revision).await {
            Ok(mut events) => loop {
                match events.message().await {
                    Ok(Some(message)) => match message.update {
                        Some(Update::Event(event)) => {
                            revision = event.revision;
                            note(&mut lock(&histories), &event, &known);
                        }
                        Some(Update::Bookmark(mark)) => revision = revision.max(mark.revision),
                        // A ledger is of the whole life of a fleet: the stream ends, and is asked for again from there.
                        Some(Update::Resync(resync)) => tracing::warn!(?resync, revision, "the ledger fell behind"),
                        None => {}
                    },
                    Ok(None) => break,
                    Err(status) => {
                        tracing::info!(%status, revision, "the watch broke");
                        break;
                    }
                }
            },
            Err(error) => tracing::info!(%error, "the events cannot be watched"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn note(histories: &mut HashMap<String, History>, event: &Event, known: &watch::Sender<usize>) {
    let state = event.to();
    let since =
        event.at.and_then(|at| DateTime::<Utc>::from_timestamp(at.seconds, u32::try_from(at.nanos).unwrap_or(0)));
    let ("transition", false, Some(since)) = (event.kind.as_str(), event.machine_id.is_empty(), since) else { return };
    let is_new = !histories.contains_key(&event.machine_id);
    let history = histories
        .entry(event.machine_id.clone())
        .or_insert_with(|| History { stays: Vec::new(), now: watch::Sender::new(state) });
    if history.stays.last().is_none_or(|last| last.state != state) {
        history.stays.push(Stay { state, by: event.event.clone(), since });
        history.now.send_replace(state);
    }
    if is_new {
        known.send_modify(|count| *count += 1);
    }
}

fn lock(histories: &Mutex<HashMap<String, History>>) -> MutexGuard<'_, HashMap<String, History>> {
    histories.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_are_measured_by_the_logs_own_times() {
        let mut histories = HashMap::new();
        let known = watch::Sender::new(0);
        let mut tell = |second: i64, kind: &str, event: &str, to: MachineState| {
            let at = Some(prost_types::Timestamp { seconds: second, nanos: 500_000_000 });
            let (machine_id, kind, event) = ("a".to_owned(), kind.to_owned(), event.to_owned());
            note(&mut histories, &Event { at, machine_id, kind, event, to: to.into(), ..Event::default() }, &known);
        };
        tell(1, "transition", "enlist", MachineState::New);
        tell(2, "transition", "commission", MachineState::Commissioning);
        tell(3, "phase", "", MachineState::Commissioning);
        tell(9, "transition", "done", MachineState::Ready);
        let states: Vec<_> = histories["a"].stays.iter().map(|s| s.state).collect();
        assert_eq!(states, [MachineState::New, MachineState::Commissioning, MachineState::Ready]);
        assert_eq!(histories["a"].stays[2].since - histories["a"].stays[1].since, TimeDelta::seconds(7));
        assert_eq!(histories["a"].stays[1].by, "commission");
        assert_eq!((*known.borrow(), *histories["a"].now.borrow()), (1, MachineState::Ready));
    }
}
