//! Projects: several people who hold machines together.

use farrier_common::{clock::Timestamp, id::ProjectId, name::Name};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Never changes.
    pub id: ProjectId,
    /// Unique.
    pub name: Name,
    /// What it is for.
    pub description: String,
    /// How many machines it may hold; `None`: no limit.
    pub max_machines: Option<u32>,
    /// Names of its members, in order.
    pub members: Vec<Name>,
    /// Grows with every change of it; the etag.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is to be another with a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectEdit {
    /// Its fields; `None`: as it is.
    Set {
        /// What it is for.
        description: Option<String>,
        /// How many machines it may hold; the inner `None`: no limit.
        max_machines: Option<Option<u32>>,
    },
    /// The user of that name is a member.
    Join(String),
    /// The user of that name is none.
    Leave(String),
    /// It ends.
    Delete,
}
