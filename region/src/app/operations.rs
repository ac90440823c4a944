//! Bulk work as its owner sees it.

use farrier_common::id::OperationId;

use super::{
    App,
    context::{Ask, Listed, Page},
};
use crate::{
    domain::{
        Error, Result,
        user::{Role, User},
    },
    store::{Once, OperationView},
};

impl App {
    /// An operation, with its machines.
    ///
    /// # Errors
    /// There is none that the caller may know of.
    pub async fn operation_get(&self, user: &User, id: &str) -> Result<OperationView> {
        let missing = || Error::not_found("operation", id);
        let id: OperationId = id.parse().map_err(|_| missing())?;
        let found = self.store.operation_get(id).await?;
        found.filter(|v| user.role == Role::Admin || v.operation.user == user.id).ok_or_else(missing)
    }

    /// A page of the caller's operations, the newest first; an admin's has everybody's.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn operation_list(&self, user: &User, page: &Page) -> Result<Listed<OperationView>> {
        let of = (user.role != Role::Admin).then_some(user.id);
        let items = self.store.operation_list(of, page.after()?, page.size + 1).await?;
        Ok(page.cut(items, |v| v.operation.id.to_string()))
    }

    /// Begins no further machine of an operation.
    ///
    /// # Errors
    /// There is none that the caller may know of, or it is over.
    pub async fn operation_cancel(&self, ask: &Ask<OperationView>, id: &str) -> Result<Once<OperationView>> {
        let id = self.operation_get(&ask.user, id).await?.operation.id;
        self.store.operation_cancel(Some(&ask.request), id, ask.etag.clone(), ask.renderer()).await
    }
}
