//! What goes wrong in the store, and what it means for a caller.

use std::fmt::Display;

use diesel::result::{DatabaseErrorKind, Error as DieselError, QueryResult};
use thiserror::Error;

use crate::domain;

/// Result of work inside a transaction.
pub(super) type Outcome<T> = Result<T, StoreError>;

/// Why a transaction was rolled back.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// It has a meaning for the caller.
    #[error(transparent)]
    Refused(#[from] domain::Error),
    /// The database said no, or nothing.
    #[error("database: {0}")]
    Database(#[from] DieselError),
    /// A row holds what no release has written.
    #[error("the database holds {value:?} in {column}: {why}")]
    Corrupt {
        /// Table and column.
        column: &'static str,
        /// What is there.
        value: String,
        /// Why it cannot be.
        why: String,
    },
}

impl From<StoreError> for domain::Error {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Refused(refused) => refused,
            StoreError::Database(ref inner) if passing(inner) => Self::Unavailable(e.to_string()),
            StoreError::Database(_) | StoreError::Corrupt { .. } => Self::Internal(e.to_string()),
        }
    }
}

/// May it go well another time? PostgreSQL's time-outs and deadlocks, and SQLite's lock, have no kind of their own.
fn passing(e: &DieselError) -> bool {
    const PASSING: [&str; 6] = [
        "database is locked",
        "timeout",
        "deadlock",
        "terminating connection",
        "the database system is",
        "closed the connection",
    ];
    if let DieselError::DatabaseError(kind, info) = e {
        matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::SerializationFailure)
            || PASSING.iter().any(|p| info.message().contains(p))
    } else {
        matches!(e, DieselError::BrokenTransactionManager)
    }
}

/// No connection of the pool became free or could be made in time.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn no_connection(e: r2d2::Error) -> StoreError {
    domain::Error::Unavailable(format!("cannot connect to the database: {e}")).into()
}

/// A unique name or address that is taken means [`domain::Error::Exists`].
pub(super) fn unique<T>(result: QueryResult<T>, kind: &'static str, name: &dyn Display) -> Outcome<T> {
    result.map_err(|e| {
        if matches!(e, DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) {
            domain::Error::Exists { kind, name: name.to_string() }.into()
        } else {
            e.into()
        }
    })
}

/// A fault of the caller's code.
pub(super) fn misuse(what: impl Into<String>) -> StoreError {
    domain::Error::Internal(what.into()).into()
}
