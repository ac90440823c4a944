//! Scripts, by name, and what their runs brought.

mod results;

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::name::Name;

use crate::domain::{
    Error, Result,
    script::{Known, Script},
};

use super::{
    Once, Request, Store, Tx,
    convert::{limit as rows, naive, parse, utc},
    error::{Outcome, StoreError, unique},
    schema::scripts,
};

pub use results::RunKey;
pub(super) use results::ran;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = scripts)]
struct Row {
    id: String,
    name: String,
    kind: String,
    content: String,
    timeout_seconds: i32,
    description: String,
    created_at: NaiveDateTime,
}

impl TryFrom<Row> for Script {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        let corrupt = |_| StoreError::Corrupt {
            column: "scripts.timeout_seconds",
            value: row.timeout_seconds.to_string(),
            why: "out of range".to_owned(),
        };
        Ok(Self {
            id: parse("scripts.id", &row.id)?,
            name: parse("scripts.name", &row.name)?,
            kind: parse("scripts.kind", &row.kind)?,
            timeout_seconds: u32::try_from(row.timeout_seconds).map_err(corrupt)?,
            content: row.content,
            description: row.description,
            created_at: utc(row.created_at),
        })
    }
}

impl From<&Script> for Row {
    fn from(script: &Script) -> Self {
        Self {
            id: script.id.to_string(),
            name: script.name.to_string(),
            kind: script.kind.to_string(),
            content: script.content.clone(),
            timeout_seconds: i32::try_from(script.timeout_seconds).unwrap_or(i32::MAX),
            description: script.description.clone(),
            created_at: naive(script.created_at),
        }
    }
}

impl Store {
    /// Adds a script.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn script_insert<R>(&self, request: Option<&Request>, script: Script, render: R) -> Result<Once<Script>>
    where
        R: FnOnce(&Script) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let added = diesel::insert_into(scripts::table).values(Row::from(&script)).execute(tx.conn);
            unique(added, "script", &script.name)?;
            Ok(script)
        })
        .await
    }

    /// Takes a script away; answers what it was.
    ///
    /// # Errors
    /// There is none of that id or name.
    pub async fn script_delete<R>(&self, request: Option<&Request>, which: &str, render: R) -> Result<Once<Script>>
    where
        R: FnOnce(&Script) -> Vec<u8> + Send + 'static,
    {
        let which = which.to_owned();
        self.once(request, render, move |tx| {
            let script = find(tx, &which)?.ok_or_else(|| Error::not_found("script", &which))?;
            if diesel::delete(scripts::table.find(script.id.to_string())).execute(tx.conn)? == 0 {
                // Somebody else has just done so.
                return Err(Error::not_found("script", &which).into());
            }
            Ok(script)
        })
        .await
    }

    /// The script of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn script_find(&self, id_or_name: &str) -> Result<Option<Script>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| find(tx, &text)).await
    }

    /// What is there of these names, without content.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn scripts_known(&self, names: Vec<String>) -> Result<Vec<Known>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.scripts_named(names).await?;
        Ok(found.into_iter().map(|s| Known { name: s.name, kind: s.kind, size: s.content.len() }).collect())
    }

    /// The scripts of these names, in any order.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn scripts_named(&self, names: Vec<String>) -> Result<Vec<Script>> {
        self.read(move |tx| {
            let found = scripts::table.filter(scripts::name.eq_any(names)).select(Row::as_select()).load(tx.conn)?;
            found.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    /// A page of scripts in order of name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn script_list(&self, after: Option<Name>, limit: usize) -> Result<Vec<Script>> {
        self.read(move |tx| {
            let mut page = scripts::table.order(scripts::name.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(scripts::name.gt(after.to_string()));
            }
            let found: Vec<Row> = page.select(Row::as_select()).load(tx.conn)?;
            found.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }
}

fn find(tx: &mut Tx<'_>, id_or_name: &str) -> Outcome<Option<Script>> {
    if id_or_name.parse::<farrier_common::id::ScriptId>().is_ok() {
        let found: Option<Row> = scripts::table.find(id_or_name).select(Row::as_select()).first(tx.conn).optional()?;
        if let Some(row) = found {
            return row.try_into().map(Some);
        }
    }
    let named = scripts::table.filter(scripts::name.eq(id_or_name)).select(Row::as_select());
    let found: Option<Row> = named.first(tx.conn).optional()?;
    found.map(TryInto::try_into).transpose()
}
