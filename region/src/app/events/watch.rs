//! One watcher of the event log.
//!
//! **Invariants:** `after` only grows, and every event up to it that is wanted has been handed on. Nothing is open or held
//! while the watcher's client does not take what it was sent: whether it fell too far behind is seen when it asks again.

use std::{collections::VecDeque, sync::Arc};

use farrier_common::{clock::Timestamp, secret::Secret};
use tokio::time::Instant;

use crate::{
    app::App,
    domain::{Error, Result, event::LoggedEvent, user::User},
    store::{EventBatch, EventScope},
};

use super::{
    may_see,
    tail::{Found, Seat},
};

/// Read at once; nothing is held between batches, so a slow reader delays no writer.
const BATCH: usize = 256;

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The next event.
    Event(Arc<LoggedEvent>),
    /// All wanted events up to here have been told.
    Bookmark {
        /// Up to where.
        revision: i64,
        /// When this was said.
        at: Timestamp,
    },
    /// It cannot go on without a gap; the last update.
    Resync {
        /// Why.
        reason: String,
        /// The oldest event that the log still has; 0 if it has none.
        oldest: i64,
    },
}

pub(super) struct Watch {
    app: App,
    user: User,
    token: Secret<String>,
    scope: EventScope,
    after: i64,
    seat: Seat,
    ready: VecDeque<Update>,
    /// So many revisions it may lie behind.
    allowance: i64,
    /// The backlog has been sent.
    live: bool,
    ended: bool,
    sent: Instant,
    checked: Instant,
}

impl Watch {
    pub(super) async fn open(
        app: App,
        user: User,
        token: Secret<String>,
        scope: EventScope,
        after: i64,
    ) -> Result<Self> {
        // Seated before anything is read, so that no commit falls between.
        let seat = app.tail.seat();
        let (oldest, newest) = app.store.event_bounds().await?;
        let mut ready = VecDeque::new();
        let ended = if after > newest {
            let reason =
                format!("the log ends at revision {newest}, before {after}: it is not the log that was watched");
            ready.push_back(Update::Resync { reason, oldest });
            true
        } else {
            ready.extend(gap(after, oldest));
            !ready.is_empty()
        };
        let after = if after == -1 { newest } else { after };
        let allowance = newest - after + ring(&app);
        let (sent, checked) = (Instant::now(), Instant::now());
        Ok(Self { app, user, token, scope, after, seat, ready, allowance, live: false, ended, sent, checked })
    }

    /// The next update; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Update>> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                self.sent = Instant::now();
                return Ok(Some(update));
            }
            if self.ended {
                return Ok(None);
            }
            if self.app.stop.is_cancelled() {
                return Err(Error::Unavailable(
                    "the region is stopping; watch again from the last revision".to_owned(),
                ));
            }
            if self.checked.elapsed() >= self.app.tail.bounds().recheck {
                self.user = self.app.authenticate(&self.token).await?;
                self.checked = Instant::now();
            }
            self.look().await?;
        }
    }

    /// Looks for what comes next, waits if there is nothing.
    async fn look(&mut self) -> Result<()> {
        let found = self.seat.after(self.after, BATCH);
        let behind = self.seat.last() - self.after;
        if behind > self.allowance {
            return self.too_slow(behind).await;
        }
        match found {
            Found::Behind => self.read().await?,
            Found::Events(events, upto) if upto > self.after => {
                self.take(events);
                self.after = upto;
            }
            Found::Events(..) if !self.live => {
                (self.live, self.allowance) = (true, ring(&self.app));
                self.bookmark();
            }
            Found::Events(..) | Found::NotYet => self.rest().await,
        }
        // Events that it does not want may go on for long.
        if self.ready.is_empty() && self.sent.elapsed() >= self.app.tail.bounds().bookmark {
            self.bookmark();
        }
        Ok(())
    }

    /// Reads a part of what is no longer in the ring.
    async fn read(&mut self) -> Result<()> {
        let batch = self.app.store.event_batch(self.after, self.scope.clone(), BATCH).await?;
        let EventBatch { events, upto, bounds: (oldest, _) } = batch;
        if let Some(resync) = gap(self.after, oldest) {
            self.ready.push_back(resync);
            self.ended = true;
            return Ok(());
        }
        self.take(events.into_iter().map(Arc::new));
        self.after = upto;
        Ok(())
    }

    fn take(&mut self, events: impl IntoIterator<Item = Arc<LoggedEvent>>) {
        let wanted = events.into_iter().filter(|e| self.scope.holds(&e.body) && may_see(&self.user, e));
        self.ready.extend(wanted.map(Update::Event));
    }

    fn bookmark(&mut self) {
        self.ready.push_back(Update::Bookmark { revision: self.after, at: self.app.clock.now() });
    }

    async fn too_slow(&mut self, behind: i64) -> Result<()> {
        let (oldest, _) = self.app.store.event_bounds().await?;
        let reason = format!(
            "it is {behind} revisions behind and was not read fast enough; at most {} are allowed",
            self.allowance
        );
        tracing::info!(user = %self.user.name, behind, "a watcher is too slow and has to resync");
        self.ready.push_back(Update::Resync { reason, oldest });
        self.ended = true;
        Ok(())
    }

    async fn rest(&mut self) {
        let bounds = self.app.tail.bounds();
        tokio::select! {
            () = self.app.stop.cancelled() => {}
            () = self.seat.changed() => {}
            () = tokio::time::sleep_until(self.sent + bounds.bookmark) => {}
            () = tokio::time::sleep_until(self.checked + bounds.recheck) => {}
        }
    }
}

/// Events after `after` may have been forgotten. Who asks for all gets what there is.
fn gap(after: i64, oldest: i64) -> Option<Update> {
    (after > 0 && after + 1 < oldest).then(|| {
        let reason = format!("the log begins at revision {oldest}: what came after {after} has been forgotten");
        Update::Resync { reason, oldest }
    })
}

fn ring(app: &App) -> i64 {
    i64::try_from(app.tail.bounds().ring).unwrap_or(i64::MAX)
}
