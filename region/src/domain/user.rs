//! People and programs, and what they may do.

use farrier_common::{
    clock::Timestamp,
    id::{TokenId, UserId},
    name::Name,
    words,
};

use super::lifecycle::By;

words! {
    /// What somebody may do. Each role may do what the ones before it may.
    Role {
        /// Reads.
        Viewer = "viewer",
        /// Allocates machines and works with his own.
        User = "user",
        /// Everything.
        Admin = "admin",
    }
}

/// Somebody who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique.
    pub name: Name,
    /// What he may do.
    pub role: Role,
    /// When he was made.
    pub created_at: Timestamp,
}

/// A bearer token; the secret itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Never changes.
    pub id: TokenId,
    /// Whose.
    pub user: UserId,
    /// What it is for.
    pub comment: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// It was taken back.
    pub revoked: bool,
}

impl User {
    /// May he cause an event that is `by` somebody, on a machine with this owner?
    #[must_use]
    pub fn may(&self, by: By, owner: Option<UserId>) -> bool {
        match (by, self.role) {
            (By::Admin | By::Owner, Role::Admin) => true,
            (By::Owner, Role::User) => owner.is_none() || owner == Some(self.id),
            (By::Admin, Role::User) | (By::Admin | By::Owner, Role::Viewer) | (By::Engine | By::Rack, _) => false,
        }
    }
}
