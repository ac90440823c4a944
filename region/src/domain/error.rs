//! What can go wrong for a caller. Each kind exists because a caller acts differently.

use thiserror::Error;

use super::{
    lifecycle::{Event, State},
    machine::Lock,
};

/// Result of everything that a caller asked for.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call did not succeed; nothing was changed.
#[derive(Debug, Error)]
pub enum Error {
    /// A field of the request cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// Path of the field, such as `spec.cidr`.
        field: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// There is no such thing, or the caller may not know of it.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Id or name that was asked for.
        name: String,
    },
    /// Something of that name or address exists.
    #[error("{kind} {name:?} exists already")]
    Exists {
        /// What kind of thing.
        kind: &'static str,
        /// The name that is taken.
        name: String,
    },
    /// The resource has changed since the caller read it.
    #[error("{name} has changed: its etag is {etag} now")]
    Conflict {
        /// Which resource.
        name: String,
        /// Its etag now.
        etag: String,
    },
    /// The machine is not in the state that the caller expects.
    #[error("machine {machine} is {state}, not {expected} as expected")]
    Elsewhere {
        /// Name of the machine.
        machine: String,
        /// Where it is.
        state: State,
        /// Where the caller thinks it is.
        expected: State,
    },
    /// The life-cycle does not allow it now.
    #[error("machine {machine} is {state}; {event} is not allowed; allowed now: {}", list(.allowed))]
    Refused {
        /// Name of the machine.
        machine: String,
        /// Where it is.
        state: State,
        /// What was wanted.
        event: Event,
        /// What the caller may do now.
        allowed: Vec<Event>,
    },
    /// Somebody has locked the machine.
    #[error(
        "machine {machine} is locked {lock}; {verb} is not allowed; allowed now: unlock, by {}",
        if .lock.admin { "an admin" } else { "its owner or an admin" }
    )]
    Locked {
        /// Name of the machine.
        machine: String,
        /// Where it is.
        state: State,
        /// What was wanted.
        verb: String,
        /// By whom, since when and why.
        lock: Box<Lock>,
    },
    /// Not possible in this situation, although the state would allow it.
    #[error("{0}")]
    Precondition(String),
    /// None left.
    #[error("{0}")]
    Exhausted(String),
    /// Whoever is to hold it holds as many as he may.
    #[error("{whose} holds {used} machines, and may hold {limit} (max_machines); release one or ask an admin for more")]
    Quota {
        /// Whose: `user NAME` or `project NAME`.
        whose: String,
        /// How many he holds.
        used: u64,
        /// How many he may hold.
        limit: u64,
    },
    /// This caller calls too often.
    #[error("{user} calls too often: {per_second} calls in a second are allowed; try again in {} ms", wait.as_millis())]
    TooOften {
        /// His name.
        user: String,
        /// How many calls in a second he may make for long.
        per_second: u32,
        /// When the next call is let through.
        wait: std::time::Duration,
    },
    /// Who are you?
    #[error("{0}")]
    Unauthenticated(String),
    /// You may not.
    #[error("{0}")]
    Denied(String),
    /// Not built yet.
    #[error("{0} is not available in this release")]
    Unimplemented(&'static str),
    /// Something that is needed does not answer; trying again later may help.
    #[error("{0}")]
    Unavailable(String),
    /// Our fault. The text goes to the log, not to the caller.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A field that cannot be.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over temporaries")]
    pub fn invalid(field: impl Into<String>, reason: impl ToString) -> Self {
        Self::Invalid { field: field.into(), reason: reason.to_string() }
    }

    /// Nothing of that name.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over temporaries")]
    pub fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Self::NotFound { kind, name: name.to_string() }
    }
}

fn list(events: &[Event]) -> String {
    if events.is_empty() {
        return "nothing but waiting".to_owned();
    }
    events.iter().map(|e| e.as_str()).collect::<Vec<_>>().join(", ")
}
