//! The event log: a page of it, or all of it as it grows.

use std::{collections::VecDeque, time::Duration};

use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::{
    App,
    context::{Listed, Page},
};
use crate::domain::{
    Error, Result,
    event::{EventKind, LoggedEvent},
    lifecycle::State,
    machine::Owner,
    user::{Role, User},
};
use farrier_common::id::{MachineId, PoolId};

/// Read at once; nothing is held between batches, so a slow reader delays no writer.
const BATCH: usize = 256;
/// How soon the events of other processes on the same database are seen.
const POLL: Duration = Duration::from_secs(1);

impl App {
    /// A page of the log, oldest first.
    ///
    /// # Errors
    /// There is no such machine; the page token is foreign.
    pub async fn event_list(
        &self,
        user: &User,
        machine: &str,
        kind: Option<EventKind>,
        page: &Page,
    ) -> Result<Listed<LoggedEvent>> {
        let machine = self.event_scope(user, machine).await?;
        let items = self.store.event_list(page.after_revision()?, machine, kind, page.size + 1).await?;
        let mut cut = page.cut(items, |e| e.revision.to_string());
        cut.items.retain(|e| may_see(user, e));
        Ok(cut)
    }

    /// Every event after a revision (-1: after now), then each new one as it is committed. Ends when the region stops.
    ///
    /// # Errors
    /// There is no such machine; the revision cannot be.
    pub async fn event_watch(
        &self,
        user: User,
        after: i64,
        machine: &str,
    ) -> Result<impl Stream<Item = Result<LoggedEvent>> + Send + use<>> {
        let machine = self.event_scope(&user, machine).await?;
        // Subscribed before anything is read, so that no commit falls between.
        let changed = self.store.events_changed();
        let after = match after {
            -1 => self.store.event_revision().await?,
            0.. => after,
            _ => {
                return Err(Error::invalid("after_revision", "must be a revision, 0 for all, or -1 for new ones only"));
            }
        };
        let watch = Watch { app: self.clone(), user, machine, after, ready: VecDeque::new(), changed };
        Ok(stream::try_unfold(watch, |mut watch| async move { Ok(watch.next().await?.map(|event| (event, watch))) }))
    }

    async fn event_scope(&self, user: &User, machine: &str) -> Result<Option<MachineId>> {
        if machine.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.machine_get(user, machine).await?.machine.id))
    }
}

/// One reader of the growing log.
struct Watch {
    app: App,
    user: User,
    machine: Option<MachineId>,
    after: i64,
    ready: VecDeque<LoggedEvent>,
    changed: watch::Receiver<u64>,
}

impl Watch {
    async fn next(&mut self) -> Result<Option<LoggedEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.app.stop.is_cancelled() {
                return Err(Error::Unavailable(
                    "the region is stopping; watch again from the last revision".to_owned(),
                ));
            }
            self.changed.mark_unchanged();
            let batch = self.app.store.event_list(self.after, self.machine, None, BATCH).await?;
            match batch.last() {
                Some(last) => self.after = last.revision,
                None => self.rest().await,
            }
            self.ready.extend(batch.into_iter().filter(|e| may_see(&self.user, e)));
        }
    }

    async fn rest(&mut self) {
        tokio::select! {
            () = self.app.stop.cancelled() => {}
            changed = self.changed.changed() => {
                // The sender lives as long as the store; without it polling would do.
                if changed.is_err() {
                    tokio::time::sleep(POLL).await;
                }
            }
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Who may see the machine may see what happened to it. Machines that are only met, those that are gone, and who was given
/// what, are for admins.
fn may_see(user: &User, event: &LoggedEvent) -> bool {
    if user.role == Role::Admin {
        return true;
    }
    let of_his = |(pool, owner): (PoolId, Option<Owner>)| {
        user.pools.contains(&pool) || owner.is_some_and(|owner| user.holds(owner))
    };
    match event.body.machine {
        Some(_) => event.body.to != Some(State::New) && event.seen_by.is_some_and(of_his),
        None => event.body.kind != EventKind::User,
    }
}
