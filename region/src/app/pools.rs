//! Pools.

use farrier_common::id::PoolId;

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{
        Error, Result,
        event::EventKind,
        pool::{Grantee, Pool, PoolEdit},
        user::{Role, User},
    },
    store::Once,
};

impl App {
    /// A pool, by id or name.
    ///
    /// # Errors
    /// There is none that is granted to the caller, or at all.
    pub async fn pool_get(&self, user: &User, which: &str) -> Result<Pool> {
        let found = self.store.pool_find(which).await?;
        let seen = found.filter(|p| user.role == Role::Admin || user.pools.contains(&p.id));
        seen.ok_or_else(|| Error::not_found("pool", which))
    }

    /// A page of the pools: an admin's are all, others' those that are granted to them.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn pool_list(&self, user: &User, page: &Page) -> Result<Listed<Pool>> {
        let among = (user.role != Role::Admin).then(|| user.pools.clone());
        let items = self.store.pool_list(among, page.after()?, page.size + 1).await?;
        Ok(page.cut(items, |p| p.id.to_string()))
    }

    /// Makes a pool. Its id, version and time are given here.
    ///
    /// # Errors
    /// Not an admin; the name is taken.
    pub async fn pool_create(&self, ask: &Ask<Pool>, wanted: Pool) -> Result<Once<Pool>> {
        needs(&ask.user, Role::Admin, "make pools")?;
        let pool = Pool { id: PoolId::generate(), version: 1, created_at: self.clock.now(), ..wanted };
        let event = noted(EventKind::User, ask.actor(), format!("pool {} was made", pool.name));
        self.store.pool_insert(Some(&ask.request), pool, event, ask.renderer()).await
    }

    /// Changes a pool, or ends it.
    ///
    /// # Errors
    /// Not an admin; there is no such pool, user or project; it has changed; it is to end and is needed.
    pub async fn pool_change(&self, ask: &Ask<Pool>, which: &str, edit: PoolEdit) -> Result<Once<Pool>> {
        needs(&ask.user, Role::Admin, "change pools")?;
        let pool = self.pool_get(&ask.user, which).await?;
        let to = |grantee: &Grantee| match grantee {
            Grantee::User(name) => format!("user {name}"),
            Grantee::Project(name) => format!("project {name}"),
        };
        let what = match &edit {
            PoolEdit::Set { .. } => "was changed".to_owned(),
            PoolEdit::Grant(grantee) => format!("was granted to {}", to(grantee)),
            PoolEdit::Revoke(grantee) => format!("is granted to {} no more", to(grantee)),
            PoolEdit::Delete => "was deleted".to_owned(),
        };
        let event = noted(EventKind::User, ask.actor(), format!("pool {} {what}", pool.name));
        self.store.pool_change(Some(&ask.request), pool.id, ask.etag.clone(), edit, event, ask.renderer()).await
    }
}
