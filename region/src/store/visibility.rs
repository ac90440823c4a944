//! Which machines a caller may see, as a condition on rows of machines: `domain::verbs::sees` in SQL.

use crate::domain::user::{Role, User};

/// Whose eyes look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// An admin's, or the region's own.
    #[default]
    All,
    /// Somebody's who sees the machines of some pools, and what he holds himself or by a project.
    Of {
        /// His id.
        user: String,
        /// The ids of his projects.
        projects: Vec<String>,
        /// The ids of the pools that are granted to him.
        pools: Vec<String>,
    },
}

impl Visibility {
    /// What this user sees.
    #[must_use]
    pub fn of(user: &User) -> Self {
        if user.role == Role::Admin {
            return Self::All;
        }
        Self::Of {
            user: user.id.to_string(),
            projects: user.projects.iter().map(ToString::to_string).collect(),
            pools: user.pools.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Adds the condition to a boxed query that reads rows of machines.
macro_rules! seen {
    ($query:expr, $visible:expr) => {
        match $visible {
            $crate::store::Visibility::All => $query,
            $crate::store::Visibility::Of { user, projects, pools } => {
                let held = machines::owner.eq(user).or(machines::owner_project.eq_any(projects));
                let new = $crate::domain::lifecycle::State::New.as_str();
                $query.filter(machines::state.ne(new)).filter(machines::pool.eq_any(pools).or(held))
            }
        }
    };
}
pub(super) use seen;
