//! People and programs, and what they may do.

use std::collections::BTreeSet;

use farrier_common::{
    clock::Timestamp,
    id::{PoolId, ProjectId, TokenId, UserId},
    name::Name,
    words,
};

use super::{lifecycle::By, machine::Owner};

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
    /// How many machines he may hold himself; `None`: no limit.
    pub max_machines: Option<u32>,
    /// All his tokens are refused.
    pub disabled: bool,
    /// What he is a member of, when he was loaded.
    pub projects: BTreeSet<ProjectId>,
    /// The names of those projects, in order.
    pub project_names: Vec<Name>,
    /// The pools that are granted to him, to all, or to a project of his, when he was loaded. Admins need none.
    pub pools: BTreeSet<PoolId>,
    /// Grows with every change of him; the etag.
    pub version: i64,
    /// When he was made.
    pub created_at: Timestamp,
}

/// What is to be another with a user; `None`: as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// What he may do.
    pub role: Option<Role>,
    /// How many machines he may hold; the inner `None`: no limit.
    pub max_machines: Option<Option<u32>>,
    /// Whether his tokens are refused.
    pub disabled: Option<bool>,
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
    /// Somebody new: without limit, and without a project.
    #[must_use]
    pub fn new(name: Name, role: Role, now: Timestamp) -> Self {
        Self {
            id: UserId::generate(),
            name,
            role,
            max_machines: None,
            disabled: false,
            projects: BTreeSet::new(),
            project_names: Vec::new(),
            version: 1,
            pools: BTreeSet::from([super::pool::DEFAULT]),
            created_at: now,
        }
    }

    /// May he cause an event that is `by` somebody, on a machine with this owner?
    #[must_use]
    pub fn may(&self, by: By, owner: Option<Owner>) -> bool {
        match (by, self.role) {
            (By::Admin | By::Owner, Role::Admin) => true,
            (By::Owner, Role::User) => owner.is_some_and(|owner| self.holds(owner)),
            (By::Admin, Role::User) | (By::Admin | By::Owner, Role::Viewer) | (By::Engine | By::Rack, _) => false,
        }
    }

    /// Is what this owner holds his, by himself or by a project?
    #[must_use]
    pub fn holds(&self, owner: Owner) -> bool {
        match owner {
            Owner::User(user) => user == self.id,
            Owner::Project(project) => self.projects.contains(&project),
        }
    }
}
