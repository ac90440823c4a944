//! Who may call what: THE permission table.
//!
//! **Invariant:** every call of `farrier.v1` has one row here; for the verbs of the life-cycle the row names the event, and
//! who may cause that is in `lifecycle::EDGES`. The API lets through what [`gate`] lets through, so that a mutation without a
//! row cannot be called; `docs/permissions.md` and the tests through gRPC derive from the same rows.

pub mod render;
mod table;

use super::{
    Error, Result,
    lifecycle::{By, EDGES, Edge, Event},
    machine::Owner,
    user::{Role, User},
};

pub use table::CALLS;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A good token.
    Token,
    /// At least this role.
    Role(Role),
    /// A machine that the caller sees.
    Seen,
    /// A machine that the caller, or a project of his, holds; or the role admin.
    Held,
    /// What the table of the life-cycle says of this event, for the state of the machine.
    Verb(Event),
    /// It is about the caller himself; or the role admin.
    Himself,
    /// Something that is granted to the caller, or that he belongs to; or the role admin.
    His,
}

/// What somebody gets who has not got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// `UNAUTHENTICATED`: anybody with a token may.
    Unauthenticated,
    /// `PERMISSION_DENIED`.
    Denied,
    /// `NOT_FOUND`: he does not learn that there is such a thing.
    NotFound,
    /// `NOT_FOUND` for what he does not see, `PERMISSION_DENIED` for what he only sees.
    NotFoundOrDenied,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of `farrier.v1`.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it needs.
    pub need: Need,
    /// It changes something: it is carried out once and audited.
    pub changes: bool,
}

impl Call {
    /// The least role with which it can ever succeed.
    #[must_use]
    pub fn least(&self) -> Role {
        match self.need {
            Need::Token | Need::Seen | Need::Himself | Need::His => Role::Viewer,
            Need::Role(role) => role,
            Need::Held => Role::User,
            Need::Verb(event) => least_for(event),
        }
    }

    /// What those get who may not.
    #[must_use]
    pub fn otherwise(&self) -> Otherwise {
        match self.need {
            Need::Token => Otherwise::Unauthenticated,
            Need::Role(_) | Need::Himself => Otherwise::Denied,
            Need::Seen | Need::His => Otherwise::NotFound,
            Need::Verb(_) if self.least() == Role::Admin => Otherwise::Denied,
            Need::Held | Need::Verb(_) => Otherwise::NotFoundOrDenied,
        }
    }
}

/// The least role that some edge, or birth, asks for.
fn least_for(event: Event) -> Role {
    let by = EDGES.iter().filter(|e| e.on == event).map(|e| e.by);
    if by.into_iter().any(|by| by == By::Owner) { Role::User } else { Role::Admin }
}

/// The row of a call; names of calls are unique among all services.
#[must_use]
pub fn call(name: &str) -> Option<&'static Call> {
    CALLS.iter().find(|c| c.name == name)
}

/// Refuses a caller whose role can never do this, whatever it is about: so he does not learn what there is.
///
/// # Errors
/// Denied. A call without a row is denied to all.
pub fn gate(user: &User, name: &str) -> Result<()> {
    let row = call(name).ok_or_else(|| Error::Internal(format!("the call {name} has no row of permissions")))?;
    let least = row.least();
    if user.role >= least {
        return Ok(());
    }
    let or_more = if least == Role::User { " or admin" } else { "" };
    Err(Error::Denied(format!("{name} needs the role {least}{or_more}; {} is {}", user.name, user.role)))
}

/// May the user go along this edge with a machine of this owner? Allocation makes an owner; all else that is the owner's needs
/// one.
#[must_use]
pub fn may(user: &User, edge: &Edge, owner: Option<Owner>) -> bool {
    match (edge.on, edge.by) {
        (Event::Allocate, By::Owner) => user.role >= Role::User && owner.is_none_or(|o| user.may(edge.by, Some(o))),
        (_, by) => user.may(by, owner),
    }
}

#[cfg(test)]
mod tests;
