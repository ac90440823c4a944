//! What people say about a machine.

use std::collections::{BTreeMap, BTreeSet};

use farrier_common::{id::PoolId, name::Name};

use super::super::{App, context::Ask};
use crate::{
    domain::{
        Error, Result, pool,
        verbs::{self as rules, Update},
    },
    store::{Extra, MachineView, Once},
};

/// What is to be set, as it was asked for; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Its name.
    pub name: Option<Name>,
    /// Id or name of its pool; empty: the default one.
    pub pool: Option<String>,
    /// Its zone.
    pub zone: Option<Name>,
    /// All its tags.
    pub tags: Option<BTreeSet<Name>>,
    /// All its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its notes.
    pub notes: Option<String>,
}

impl App {
    /// Sets what people say about a machine.
    ///
    /// # Errors
    /// Denied, locked, there is no such pool, or the name is taken.
    pub async fn machine_update(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        wishes: Wishes,
    ) -> Result<Once<MachineView>> {
        let pool = match &wishes.pool {
            Some(pool) => Some(self.pool_of(pool).await?),
            None => None,
        };
        let Wishes { name, zone, tags, labels, notes, pool: _ } = wishes;
        let to = Update { name, pool, zone, tags, labels, notes };
        self.change(ask, which, "update", |asked, m| Ok((rules::update(asked, m, &to)?, Extra::default()))).await
    }

    /// The pool that is meant; an empty text means the default one.
    pub(super) async fn pool_of(&self, given: &str) -> Result<(PoolId, Name)> {
        let wanted = if given.is_empty() { pool::DEFAULT.to_string() } else { given.to_owned() };
        let found = self.store.pool_find(&wanted).await?.ok_or_else(|| Error::not_found("pool", wanted))?;
        Ok((found.id, found.name))
    }
}
