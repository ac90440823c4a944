//! Finding a project or a pool by what people call it.

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
};
use farrier_common::id::{PoolId, ProjectId};

use crate::domain::Result;

use super::{
    Store,
    convert::parse,
    schema::{pools, projects},
};

impl Store {
    /// Id and name of the project that has this id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn project_find_id(&self, id_or_name: &str) -> Result<Option<(ProjectId, String)>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            let named = projects::table.filter(projects::id.eq(&text).or(projects::name.eq(&text)));
            let found: Option<(String, String)> =
                named.select((projects::id, projects::name)).first(tx.conn).optional()?;
            found.map(|(id, name)| Ok((parse("projects.id", &id)?, name))).transpose()
        })
        .await
    }

    /// Id and name of the pool that has this id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn pool_find_id(&self, id_or_name: &str) -> Result<Option<(PoolId, String)>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            let named = pools::table.filter(pools::id.eq(&text).or(pools::name.eq(&text)));
            let found: Option<(String, String)> = named.select((pools::id, pools::name)).first(tx.conn).optional()?;
            found.map(|(id, name)| Ok((parse("pools.id", &id)?, name))).transpose()
        })
        .await
    }
}
