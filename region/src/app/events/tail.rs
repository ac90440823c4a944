//! The end of the event log, in memory: read once a process, however many watch.
//!
//! **Invariants:** the ring holds every event between its floor and its last revision; nobody who reads from it holds its
//! lock while waiting; while nobody watches nothing is read and nothing is held.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use farrier_common::retry::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Result, event::LoggedEvent},
    store::{EventScope, Store},
};

/// Read at once.
const BATCH: usize = 1024;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// How much of the log is held, and how watchers are treated.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// So many events are held. Also: how far a watcher may fall behind before it has to resync.
    pub ring: usize,
    /// A watcher to whom nothing else was sent for so long is sent a bookmark.
    pub bookmark: Duration,
    /// How soon events of other processes on the same database are seen.
    pub poll: Duration,
    /// How often it is asked whether a watcher's token is still good.
    pub recheck: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            ring: 16_384,
            bookmark: Duration::from_secs(5),
            poll: Duration::from_millis(200),
            recheck: Duration::from_secs(30),
        }
    }
}

/// The tail of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tail {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    bounds: Bounds,
    ring: Mutex<Option<Ring>>,
    /// The last revision in the ring; 0 while there is none.
    last: watch::Sender<i64>,
    readers: watch::Sender<usize>,
}

/// A place in front of the tail: while somebody has one, the log is followed.
#[derive(Debug)]
pub(super) struct Seat {
    tail: Tail,
    last: watch::Receiver<i64>,
}

/// What a reader finds after its revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These, and nothing else up to that revision.
    Events(Vec<Arc<LoggedEvent>>, i64),
    /// The ring begins later: what is between is in the database.
    Behind,
    /// The log is not yet followed.
    NotYet,
}

impl Tail {
    /// The tail of a store's log. Somebody has to [`Tail::run`] it.
    #[must_use]
    pub fn new(store: Store, bounds: Bounds) -> Self {
        let inner = Inner {
            store,
            bounds,
            ring: Mutex::new(None),
            last: watch::Sender::new(0),
            readers: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Follows the log whenever somebody watches, until stopped.
    ///
    /// # Errors
    /// Never: a database that does not answer is asked again.
    pub async fn run(self, stop: CancellationToken) -> std::result::Result<(), Infallible> {
        let mut readers = self.inner.readers.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // The sender is in `self`.
                _ = readers.wait_for(|n| *n > 0) => {}
            }
            self.follow(&stop).await;
            *self.ring() = None;
            self.inner.last.send_replace(0);
        }
    }

    /// How watchers are treated.
    pub(super) fn bounds(&self) -> Bounds {
        self.inner.bounds
    }

    /// Takes a seat.
    pub(super) fn seat(&self) -> Seat {
        self.inner.readers.send_modify(|n| *n += 1);
        Seat { tail: self.clone(), last: self.inner.last.subscribe() }
    }

    async fn follow(&self, stop: &CancellationToken) {
        let (store, mut failures) = (&self.inner.store, 0);
        let mut changed = store.events_changed();
        let mut readers = self.inner.readers.subscribe();
        while *readers.borrow_and_update() > 0 && !stop.is_cancelled() {
            // Before the reading, so that no commit falls between.
            changed.mark_unchanged();
            match self.advance().await {
                Ok(true) => continue,
                Ok(false) => failures = 0,
                Err(e) => {
                    failures += 1;
                    tracing::warn!(error = %e, failures, "the event log could not be read; watchers wait");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = BACKOFF.pause(failures), if failures > 0 => {}
                // The sender lives as long as the store.
                _ = changed.changed(), if failures == 0 => {}
                _ = readers.changed() => {}
                () = tokio::time::sleep(self.inner.bounds.poll), if failures == 0 && store.is_shared() => {}
            }
        }
    }

    /// Reads on; tells whether there is more.
    async fn advance(&self) -> Result<bool> {
        let store = &self.inner.store;
        let known = self.ring().as_ref().map(|ring| ring.last);
        let Some(known) = known else {
            let (_, newest) = store.event_bounds().await?;
            *self.ring() = Some(Ring::new(newest, self.inner.bounds.ring));
            self.inner.last.send_replace(newest);
            return Ok(true);
        };
        let batch = store.event_batch(known, EventScope::default(), BATCH).await?;
        let full = batch.events.len() >= BATCH;
        if batch.upto > known {
            if let Some(ring) = self.ring().as_mut() {
                ring.append(batch.events, batch.upto);
            }
            self.inner.last.send_replace(batch.upto);
        }
        Ok(full)
    }

    fn ring(&self) -> MutexGuard<'_, Option<Ring>> {
        self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// What comes after `revision`, at most `limit` events.
    pub(super) fn after(&mut self, revision: i64, limit: usize) -> Found {
        // Before the looking, so that `changed` tells of all that comes later.
        self.last.mark_unchanged();
        self.tail.ring().as_ref().map_or(Found::NotYet, |ring| ring.after(revision, limit))
    }

    /// Waits until the ring has changed since [`Seat::after`].
    pub(super) async fn changed(&mut self) {
        if self.last.changed().await.is_err() {
            // Cannot be: the sender is in the tail, and that is here.
            std::future::pending::<()>().await;
        }
    }

    /// The last revision that is known here; 0 if none is.
    pub(super) fn last(&self) -> i64 {
        *self.last.borrow()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tail.inner.readers.send_modify(|n| *n = n.saturating_sub(1));
    }
}

#[derive(Debug)]
struct Ring {
    /// Every event after this one is here.
    floor: i64,
    last: i64,
    most: usize,
    events: VecDeque<Arc<LoggedEvent>>,
}

impl Ring {
    const fn new(last: i64, most: usize) -> Self {
        Self { floor: last, last, most, events: VecDeque::new() }
    }

    fn append(&mut self, events: Vec<LoggedEvent>, upto: i64) {
        self.events.extend(events.into_iter().map(Arc::new));
        self.last = upto;
        while self.events.len() > self.most {
            if let Some(gone) = self.events.pop_front() {
                self.floor = gone.revision;
            }
        }
    }

    fn after(&self, revision: i64, limit: usize) -> Found {
        if revision < self.floor {
            return Found::Behind;
        }
        let begin = self.events.partition_point(|e| e.revision <= revision);
        let events: Vec<_> = self.events.range(begin..).take(limit).cloned().collect();
        let upto = if events.len() < limit { self.last } else { events.last().map_or(self.last, |e| e.revision) };
        Found::Events(events, upto.max(revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventKind, NewEvent};

    fn event(revision: i64) -> LoggedEvent {
        let body = NewEvent {
            kind: EventKind::Phase,
            machine: None,
            event: None,
            from: None,
            to: None,
            phase: None,
            actor: String::new(),
            reason: String::new(),
        };
        LoggedEvent { revision, at: chrono::DateTime::UNIX_EPOCH, machine_name: None, seen_by: None, body }
    }

    fn found(ring: &Ring, revision: i64, limit: usize) -> Option<(Vec<i64>, i64)> {
        match ring.after(revision, limit) {
            Found::Events(events, upto) => Some((events.iter().map(|e| e.revision).collect(), upto)),
            Found::Behind | Found::NotYet => None,
        }
    }

    #[test]
    fn a_ring_holds_the_newest_and_knows_what_it_has_dropped() {
        let mut ring = Ring::new(10, 3);
        assert_eq!(found(&ring, 10, 9), Some((vec![], 10)));
        assert_eq!(found(&ring, 9, 9), None, "what was before the ring is in the database");
        ring.append(vec![event(11), event(14)], 15);
        assert_eq!(found(&ring, 10, 9), Some((vec![11, 14], 15)));
        assert_eq!(found(&ring, 12, 9), Some((vec![14], 15)));
        assert_eq!(found(&ring, 10, 1), Some((vec![11], 11)), "a part says how far it goes");
        ring.append(vec![event(16), event(17)], 17);
        assert_eq!(found(&ring, 10, 9), None, "11 has been dropped");
        assert_eq!(found(&ring, 11, 9), Some((vec![14, 16, 17], 17)));
        assert_eq!(found(&ring, 99, 9), Some((vec![], 99)), "who is ahead is not sent back");
    }
}
