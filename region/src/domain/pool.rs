//! Pools: every machine is in one, and who is granted it may see and hold its machines.

use farrier_common::{clock::Timestamp, id::PoolId, name::Name};
use uuid::Uuid;

/// The pool of machines that nobody has put anywhere. The first migration of pools makes it.
pub const DEFAULT: PoolId = PoolId::from_uuid(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// The zone of machines that nobody has put anywhere.
#[must_use]
pub fn default_zone() -> Name {
    "default".parse().expect("a valid name")
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Never changes.
    pub id: PoolId,
    /// Unique.
    pub name: Name,
    /// What it is for.
    pub description: String,
    /// It is granted to all users.
    pub everyone: bool,
    /// Names of the users that it is granted to, in order.
    pub users: Vec<Name>,
    /// Names of the projects that it is granted to, in order.
    pub projects: Vec<Name>,
    /// Grows with every change of it; the etag.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who a pool is granted to, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// One user.
    User(String),
    /// All members of a project.
    Project(String),
}

/// What is to be another with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolEdit {
    /// Its fields; `None`: as it is.
    Set {
        /// What it is for.
        description: Option<String>,
        /// Whether it is granted to all.
        everyone: Option<bool>,
    },
    /// It is granted to them.
    Grant(Grantee),
    /// It is not.
    Revoke(Grantee),
    /// It ends.
    Delete,
}
