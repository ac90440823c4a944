//! When agents were heard last: noted in memory with each call, written now and then for all at once.
//!
//! An agent that is silent may only seem so: while this process did not run, or the agent's rack was away, nobody could
//! hear it. Silence is counted from when both were there again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::{
    clock::Timestamp,
    id::{BootId, RackId},
};
use tokio::sync::Notify;

use crate::domain::Result;

use super::{BootRow, Store, convert::naive, schema::boots};

/// Boots that one statement writes.
const AT_ONCE: usize = 500;

/// What was heard since it was last written.
pub(super) struct Heard {
    /// Since when this process listens.
    since: Timestamp,
    noted: Mutex<Noted>,
    news: Notify,
}

#[derive(Default)]
struct Noted {
    boots: HashMap<BootId, Timestamp>,
    /// When racks that had been away came back.
    back: HashMap<RackId, Timestamp>,
}

impl Heard {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, noted: Mutex::default(), news: Notify::new() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The agent of a boot was heard just now.
    pub fn boot_heard(&self, boot: BootId) {
        let heard = &self.inner.heard;
        heard.noted().boots.insert(boot, self.inner.clock.now());
        heard.news.notify_one();
    }

    /// A rack that had been away is back.
    pub fn rack_is_back(&self, rack: RackId) {
        self.inner.heard.noted().back.insert(rack, self.inner.clock.now());
    }

    /// When the agent of a boot was heard last, as far as is known here.
    #[must_use]
    pub fn boot_heard_at(&self, boot: &BootRow) -> Option<Timestamp> {
        let noted = self.inner.heard.noted().boots.get(&boot.id).copied();
        noted.max(boot.heard_at).max(boot.hello_at)
    }

    /// From when on the silence of a boot's agent counts: when it was heard last, but never before it could be heard.
    #[must_use]
    pub fn boot_silent_since(&self, boot: &BootRow, rack: Option<RackId>) -> Option<Timestamp> {
        let heard = self.boot_heard_at(boot)?;
        let back = rack.and_then(|rack| self.inner.heard.noted().back.get(&rack).copied());
        Some(heard.max(self.inner.heard.since).max(back.unwrap_or(heard)))
    }

    /// What could not be written is news still.
    pub fn heard_again(&self) {
        self.inner.heard.news.notify_one();
    }

    /// Waits until something was heard that is not written.
    pub async fn heard_news(&self) {
        self.inner.heard.news.notified().await;
    }

    /// Writes who was heard, in one transaction; tells how many. All are said to have been heard when the last of them was.
    ///
    /// # Errors
    /// The database does not answer; it is kept for the next time.
    pub async fn heard_write(&self) -> Result<usize> {
        let news = self.inner.heard.noted().boots.clone();
        let Some(last) = news.values().max().copied() else { return Ok(0) };
        let ids: Vec<String> = news.keys().map(ToString::to_string).collect();
        self.write(move |tx| {
            for some in ids.chunks(AT_ONCE) {
                let these = boots::table.filter(boots::id.eq_any(some));
                diesel::update(these).set(boots::heard_at.eq(naive(last))).execute(tx.conn)?;
            }
            Ok(())
        })
        .await?;
        // What was heard since stays for the next time.
        self.inner.heard.noted().boots.retain(|boot, at| news.get(boot) != Some(at));
        Ok(news.len())
    }
}
