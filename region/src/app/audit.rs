//! Who changed what.

use std::{fmt, str::FromStr};

use super::{
    App,
    context::{Listed, Page},
};
use crate::{
    domain::{Result, permissions, user::User},
    store::{AuditFilter, AuditRow},
};

/// Where a page begins: behind an entry, in a list that was begun at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    before: i64,
    revision: i64,
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (before, revision) = text.split_once(' ').ok_or(())?;
        Ok(Self { before: before.parse().map_err(drop)?, revision: revision.parse().map_err(drop)? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.before, self.revision)
    }
}

impl App {
    /// A page of the mutations that were carried out, the newest first, and the number of the newest of all when the first page
    /// was read.
    ///
    /// # Errors
    /// Not an admin; the page token is foreign.
    pub async fn audit_list(&self, user: &User, filter: AuditFilter, page: &Page) -> Result<(Listed<AuditRow>, i64)> {
        permissions::gate(user, "ListAuditEntries")?;
        let place: Option<Place> = page.after_key()?;
        let (items, newest) = self.store.audit_list(filter, place.map(|p| p.before), page.size + 1).await?;
        let revision = place.map_or(newest, |p| p.revision);
        Ok((page.cut(items, |row| Place { before: row.number, revision }.to_string()), revision))
    }
}
