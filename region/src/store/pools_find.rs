//! Which pool is meant.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::{id::PoolId, name::Name};

use crate::domain::Result;

use super::{Store, convert::parse, schema::pools};

impl Store {
    /// Id and name of the pool of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn pool_find(&self, id_or_name: &str) -> Result<Option<(PoolId, Name)>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            let columns = (pools::id, pools::name);
            // A name may look like an id: the id goes first, as with machines.
            let by_id = pools::table.find(&text).select(columns).first(tx.conn).optional()?;
            let found: Option<(String, String)> = match by_id {
                Some(found) => Some(found),
                None => pools::table.filter(pools::name.eq(&text)).select(columns).first(tx.conn).optional()?,
            };
            found.map(|(id, name)| Ok((parse("pools.id", &id)?, parse("pools.name", &name)?))).transpose()
        })
        .await
    }
}
