//! Who changed what.

use super::{
    App,
    context::{Listed, Page},
};
use crate::{
    domain::{Result, permissions, user::User},
    store::{AuditFilter, AuditRow},
};

impl App {
    /// A page of the mutations that were carried out, the newest first.
    ///
    /// # Errors
    /// Not an admin; the page token is foreign.
    pub async fn audit_list(&self, user: &User, filter: AuditFilter, page: &Page) -> Result<Listed<AuditRow>> {
        permissions::gate(user, "ListAuditEntries")?;
        let before = match page.after_revision()? {
            0 => None,
            before => Some(before),
        };
        let items = self.store.audit_list(filter, before, page.size + 1).await?;
        Ok(page.cut(items, |row| row.number.to_string()))
    }
}
