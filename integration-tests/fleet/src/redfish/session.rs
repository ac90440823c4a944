//! The table of sessions.

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    secret::{Secret, sha256_hex},
};

use super::quirks::SessionRules;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) slot: u8,
    pub(super) created: Timestamp,
    used: Timestamp,
    token: Secret<String>,
}

/// All sessions of a BMC.
#[derive(Debug)]
pub(super) struct Sessions {
    table: Vec<Session>,
    /// Seconds without a request after which a session ends.
    pub(super) timeout_s: u32,
    limit: usize,
    seed: u64,
    made: u64,
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(rules: &SessionRules, seed: u64) -> Self {
        Self { table: Vec::new(), timeout_s: rules.timeout_s, limit: rules.limit, seed, made: 0 }
    }

    /// Ends what was not used for too long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let timeout = TimeDelta::seconds(i64::from(self.timeout_s));
        self.table.retain(|s| now - s.used < timeout);
    }

    /// Makes a session; `None` when the table is full. Tokens follow from the seed: the same seed gives the same run.
    pub(super) fn open(&mut self, slot: u8, user: &str, now: Timestamp) -> Option<(&Session, String)> {
        if self.table.len() >= self.limit {
            return None;
        }
        self.made += 1;
        let mut token = sha256_hex(format!("session {} {}", self.seed, self.made).as_bytes());
        token.truncate(32);
        let secret = Secret::new(token.clone());
        let id = self.made.to_string();
        let session = Session { id, user: user.to_owned(), slot, created: now, used: now, token: secret };
        self.table.push(session);
        self.table.last().map(|s| (s, token))
    }

    /// The session of a token, which counts as used.
    pub(super) fn touch(&mut self, token: &str, now: Timestamp) -> Option<&Session> {
        let session = self.table.iter_mut().find(|s| s.token.expose() == token)?;
        session.used = now;
        Some(session)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Session> {
        self.table.iter().find(|s| s.id == id)
    }

    pub(super) fn close(&mut self, id: &str) {
        self.table.retain(|s| s.id != id);
    }

    /// Ends the sessions of an account, all but one.
    pub(super) fn close_all_of(&mut self, slot: u8, but: Option<&str>) {
        self.table.retain(|s| s.slot != slot || Some(s.id.as_str()) == but);
    }

    /// Ends all, as a reset of the BMC does.
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.table.iter()
    }
}
