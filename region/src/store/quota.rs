//! How many machines somebody may hold, counted in the transaction that gives him one more.
//!
//! **Invariant:** every write that gives a machine an owner comes through here, and on PostgreSQL the owner's row is locked
//! while it is counted: two who take the last machine of a quota do not both get one.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::id::PoolId;

use crate::domain::{Error, machine::Owner};

use super::{
    Tx,
    convert::unsigned,
    dialect,
    error::Outcome,
    schema::{machines, pools, projects, users},
};

type Limit = Option<(String, Option<i32>)>;

/// May `owner` hold a machine more, which `before` has held?
pub(super) fn check(tx: &mut Tx<'_>, before: Option<Owner>, owner: Option<Owner>) -> Outcome<()> {
    let Some(owner) = owner.filter(|_| before != owner) else { return Ok(()) };
    let (whose, limit) = match owner {
        Owner::User(id) => {
            let row = users::table.find(id.to_string()).select((users::name, users::max_machines));
            let found: Limit = row.clone().first(tx.conn).optional()?;
            let Some((name, Some(_))) = found else { return Ok(()) };
            dialect::lock_user(tx, &id.to_string())?;
            // The limit may have been changed by the one who was waited for.
            let found: Limit = row.first(tx.conn).optional()?;
            (format!("user {name}"), found.and_then(|(_, limit)| limit))
        }
        Owner::Project(id) => {
            let row = projects::table.find(id.to_string()).select((projects::name, projects::max_machines));
            let found: Limit = row.clone().first(tx.conn).optional()?;
            let Some((name, Some(_))) = found else { return Ok(()) };
            dialect::lock_project(tx, &id.to_string(), false)?;
            let found: Limit = row.first(tx.conn).optional()?;
            (format!("project {name}"), found.and_then(|(_, limit)| limit))
        }
    };
    let Some(limit) = limit else { return Ok(()) };
    let used: i64 = match owner {
        Owner::User(id) => machines::table.filter(machines::owner.eq(id.to_string())).count().get_result(tx.conn)?,
        Owner::Project(id) => {
            machines::table.filter(machines::owner_project.eq(id.to_string())).count().get_result(tx.conn)?
        }
    };
    if used < i64::from(limit) {
        return Ok(());
    }
    let (used, limit) = (unsigned("machines", used)?, unsigned("max_machines", limit.into())?);
    Err(Error::Quota { whose, used, limit }.into())
}

/// Is the pool there that the machine comes into? It stays until the transaction ends.
pub(super) fn pool_there(tx: &mut Tx<'_>, before: Option<&str>, pool: PoolId) -> Outcome<()> {
    let id = pool.to_string();
    if before == Some(id.as_str()) {
        return Ok(());
    }
    dialect::lock_pool(tx, &id, true)?;
    let found: Option<String> = pools::table.find(&id).select(pools::id).first(tx.conn).optional()?;
    found.map(drop).ok_or_else(|| Error::not_found("pool", id).into())
}
