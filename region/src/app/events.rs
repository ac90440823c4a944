//! The event log: a page of it, or all of it as it grows.

mod tail;
mod watch;

use futures_util::{Stream, stream};

use super::{
    App,
    context::{Listed, Page},
};
use crate::{
    domain::{
        Error, Result,
        event::{EventKind, LoggedEvent},
        lifecycle::State,
        machine::Owner,
        user::{Role, User},
    },
    store::EventScope,
};
use farrier_common::{
    id::{MachineId, PoolId},
    secret::Secret,
};

pub use tail::{Bounds, Tail};
pub use watch::Update;

/// Who watches what, and from where.
#[derive(Debug)]
pub struct Watched {
    /// Who.
    pub user: User,
    /// Shown again now and then: a watch ends when it is no longer good.
    pub token: Secret<String>,
    /// The revision after which to begin; 0: with the oldest that there is; -1: with what comes now.
    pub after: i64,
    /// Id or name; empty: all.
    pub machine: String,
    /// Empty: all.
    pub kinds: Vec<EventKind>,
}

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

    /// Every event after a revision, then each new one as it is committed, with bookmarks between. Ends when the region
    /// stops, when the token is no longer good, and after [`Update::Resync`].
    ///
    /// # Errors
    /// There is no such machine; the revision cannot be.
    pub async fn event_watch(&self, watched: Watched) -> Result<impl Stream<Item = Result<Update>> + Send + use<>> {
        let Watched { user, token, after, machine, kinds } = watched;
        if after < -1 {
            return Err(Error::invalid("after_revision", "must be a revision, 0 for all, or -1 for new ones only"));
        }
        let scope = EventScope { machine: self.event_scope(&user, &machine).await?, kinds };
        let watch = watch::Watch::open(self.clone(), user, token, scope, after).await?;
        Ok(stream::try_unfold(watch, |mut watch| async move { Ok(watch.next().await?.map(|update| (update, watch))) }))
    }

    async fn event_scope(&self, user: &User, machine: &str) -> Result<Option<MachineId>> {
        if machine.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.machine_get(user, machine).await?.machine.id))
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
