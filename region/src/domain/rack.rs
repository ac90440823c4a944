//! Rack services.

use farrier_common::{clock::Timestamp, id::RackId, name::Name};

/// A rack that has enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rack {
    /// Never changes; it is in the rack's certificate.
    pub id: RackId,
    /// Unique.
    pub name: Name,
    /// `host:port` at which the region dials it.
    pub address: String,
    /// What it runs.
    pub software_version: String,
    /// Last heartbeat.
    pub last_seen: Option<Timestamp>,
    /// Snapshot of intents that it said it holds.
    pub snapshot: Option<String>,
    /// How many intents it holds.
    pub intents: u64,
    /// Where it serves HTTP.
    pub http_port: u16,
    /// When its certificate ends.
    pub certificate_expires_at: Timestamp,
}

impl Rack {
    /// Seconds after the last heartbeat during which a rack counts as connected.
    pub const CONNECTED_SECONDS: i64 = 30;

    /// Has it been heard of lately?
    #[must_use]
    pub fn connected(&self, now: Timestamp) -> bool {
        self.last_seen.is_some_and(|seen| (now - seen).num_seconds() <= Self::CONNECTED_SECONDS)
    }
}
