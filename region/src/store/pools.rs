//! Pools, and who is granted them.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{id::PoolId, name::Name};

use crate::domain::{
    Error, Result,
    event::NewEvent,
    pool::{self, Grantee, Pool, PoolEdit},
};

use super::{
    Once, Request, Store, Tx, access,
    convert::{limit as rows, naive, parse, utc},
    dialect,
    error::{Outcome, unique},
    projects::user_named,
    schema::{machines, pool_grants, pools, projects, users},
};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = pools)]
struct Row {
    id: String,
    name: String,
    description: String,
    everyone: bool,
    version: i64,
    created_at: NaiveDateTime,
}

impl From<&Pool> for Row {
    fn from(p: &Pool) -> Self {
        Self {
            id: p.id.to_string(),
            name: p.name.to_string(),
            description: p.description.clone(),
            everyone: p.everyone,
            version: p.version,
            created_at: naive(p.created_at),
        }
    }
}

impl Store {
    /// Adds a pool that is granted to nobody, or to everyone.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn pool_insert<R>(
        &self,
        request: Option<&Request>,
        pool: Pool,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Pool>>
    where
        R: FnOnce(&Pool) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let inserted = diesel::insert_into(pools::table).values(Row::from(&pool)).execute(tx.conn);
            unique(inserted, "pool", &pool.name)?;
            tx.log(event);
            there(tx, pool.id)
        })
        .await
    }

    /// The pool of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn pool_find(&self, id_or_name: &str) -> Result<Option<Pool>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = get(tx, id)?
            {
                return Ok(Some(found));
            }
            let named = pools::table.filter(pools::name.eq(text));
            let row: Option<Row> = named.select(Row::as_select()).first(tx.conn).optional()?;
            row.map(|row| whole(tx, row)).transpose()
        })
        .await
    }

    /// A page of pools in order of id: all, or only those of `among`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn pool_list(
        &self,
        among: Option<BTreeSet<PoolId>>,
        after: Option<PoolId>,
        limit: usize,
    ) -> Result<Vec<Pool>> {
        self.read(move |tx| {
            let mut page = pools::table.order(pools::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(pools::id.gt(after.to_string()));
            }
            if let Some(among) = among {
                page = page.filter(pools::id.eq_any(among.iter().map(ToString::to_string).collect::<Vec<_>>()));
            }
            let found: Vec<Row> = page.select(Row::as_select()).load(tx.conn)?;
            found.into_iter().map(|row| whole(tx, row)).collect()
        })
        .await
    }

    /// Changes a pool or ends it; answers how it is then, or was last. `etag`: it must still be at this version.
    ///
    /// # Errors
    /// There is no such pool, user or project, it has changed, or it is to end and is the default one or has machines.
    pub async fn pool_change<R>(
        &self,
        request: Option<&Request>,
        id: PoolId,
        etag: Option<String>,
        edit: PoolEdit,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Pool>>
    where
        R: FnOnce(&Pool) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            dialect::lock_pool(tx, &id.to_string(), false)?;
            let before = there(tx, id)?;
            super::still(&format!("pool {}", before.name), before.version, etag.as_deref())?;
            match edit {
                PoolEdit::Set { description, everyone } => {
                    let text = description.unwrap_or_else(|| before.description.clone());
                    let set = (pools::description.eq(text), pools::everyone.eq(everyone.unwrap_or(before.everyone)));
                    diesel::update(pools::table.find(id.to_string())).set(set).execute(tx.conn)?;
                }
                PoolEdit::Grant(grantee) => {
                    let (kind, subject) = subject(tx, &grantee)?;
                    diesel::delete(pool_grants::table.find((id.to_string(), kind, &subject))).execute(tx.conn)?;
                    let grant = (
                        pool_grants::pool.eq(id.to_string()),
                        pool_grants::kind.eq(kind),
                        pool_grants::subject.eq(subject),
                    );
                    diesel::insert_into(pool_grants::table).values(grant).execute(tx.conn)?;
                }
                PoolEdit::Revoke(grantee) => {
                    let (kind, subject) = subject(tx, &grantee)?;
                    diesel::delete(pool_grants::table.find((id.to_string(), kind, subject))).execute(tx.conn)?;
                }
                PoolEdit::Delete => {
                    end(tx, &before)?;
                    tx.log(event);
                    return Ok(before);
                }
            }
            let row = pools::table.find(id.to_string());
            diesel::update(row).set(pools::version.eq(before.version + 1)).execute(tx.conn)?;
            tx.log(event);
            there(tx, id)
        })
        .await
    }
}

/// Kind and id of who is meant. A project is locked, so that it does not end in between.
fn subject(tx: &mut Tx<'_>, grantee: &Grantee) -> Outcome<(&'static str, String)> {
    match grantee {
        Grantee::User(name) => Ok((access::OF_USER, user_named(tx, name)?)),
        Grantee::Project(name) => {
            let named = projects::table.filter(projects::name.eq(name)).select(projects::id);
            let found: Option<String> = named.first(tx.conn).optional()?;
            let id = found.ok_or_else(|| Error::not_found("project", name))?;
            dialect::lock_project(tx, &id, false)?;
            let still: Option<String> = named.first(tx.conn).optional()?;
            still.map(|id| (access::OF_PROJECT, id)).ok_or_else(|| Error::not_found("project", name).into())
        }
    }
}

fn end(tx: &mut Tx<'_>, before: &Pool) -> Outcome<()> {
    if before.id == pool::DEFAULT {
        let why = format!("pool {} is where machines are that nobody has put anywhere; it stays", before.name);
        return Err(Error::Precondition(why).into());
    }
    let id = before.id.to_string();
    let there: i64 = machines::table.filter(machines::pool.eq(&id)).count().get_result(tx.conn)?;
    if there > 0 {
        let why = format!("{there} machines are in pool {}; put them into another first", before.name);
        return Err(Error::Precondition(why).into());
    }
    diesel::delete(pool_grants::table.filter(pool_grants::pool.eq(&id))).execute(tx.conn)?;
    diesel::delete(pools::table.find(&id)).execute(tx.conn)?;
    Ok(())
}

fn there(tx: &mut Tx<'_>, id: PoolId) -> Outcome<Pool> {
    get(tx, id)?.ok_or_else(|| Error::not_found("pool", id).into())
}

fn get(tx: &mut Tx<'_>, id: PoolId) -> Outcome<Option<Pool>> {
    let row: Option<Row> = pools::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(|row| whole(tx, row)).transpose()
}

fn whole(tx: &mut Tx<'_>, row: Row) -> Outcome<Pool> {
    let grants: Vec<(String, String)> = pool_grants::table
        .filter(pool_grants::pool.eq(&row.id))
        .select((pool_grants::kind, pool_grants::subject))
        .load(tx.conn)?;
    let of = |kind: &str| -> Vec<String> {
        grants.iter().filter(|(k, _)| k == kind).map(|(_, subject)| subject.clone()).collect()
    };
    let people = users::table.filter(users::id.eq_any(of(access::OF_USER))).order(users::name.asc());
    let people: Vec<String> = people.select(users::name).load(tx.conn)?;
    let groups = projects::table.filter(projects::id.eq_any(of(access::OF_PROJECT))).order(projects::name.asc());
    let groups: Vec<String> = groups.select(projects::name).load(tx.conn)?;
    let names = |column, all: &[String]| all.iter().map(|n| parse(column, n)).collect::<Outcome<Vec<Name>>>();
    Ok(Pool {
        id: parse("pools.id", &row.id)?,
        name: parse("pools.name", &row.name)?,
        description: row.description,
        everyone: row.everyone,
        users: names("users.name", &people)?,
        projects: names("projects.name", &groups)?,
        version: row.version,
        created_at: utc(row.created_at),
    })
}
