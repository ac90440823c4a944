//! Sealed secrets by purpose. The store never sees one open: see [`crate::vault`].

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, sql_types};

use crate::domain::Result;

use super::{
    Store, Tx,
    convert::{limit as rows, naive},
    error::Outcome,
    schema::secrets,
};

/// A secret that is sealed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Which.
    pub purpose: String,
    /// As it was read.
    pub before: Vec<u8>,
    /// As it is to be.
    pub after: Vec<u8>,
}

impl Store {
    /// The sealed value.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn secret_get(&self, purpose: &str) -> Result<Option<Vec<u8>>> {
        let purpose = purpose.to_owned();
        self.read(move |tx| Ok(secrets::table.find(purpose).select(secrets::sealed).first(tx.conn).optional()?)).await
    }

    /// Keeps a sealed value, instead of what is there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn secret_put(&self, purpose: &str, sealed: Vec<u8>) -> Result<()> {
        let purpose = purpose.to_owned();
        self.write(move |tx| put(tx, &purpose, &sealed)).await
    }

    /// Purposes and sealed values in order of purpose, those after `last`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn secrets_after(&self, last: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let last = last.to_owned();
        self.read(move |tx| {
            let after = secrets::table.filter(secrets::purpose.gt(last)).order(secrets::purpose.asc());
            Ok(after.limit(rows(limit)).select((secrets::purpose, secrets::sealed)).load(tx.conn)?)
        })
        .await
    }

    /// Replaces the values that are still as they were read, in one transaction; tells how many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn secrets_replace(&self, replaced: Vec<Replaced>) -> Result<usize> {
        if replaced.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| {
            let mut count = 0;
            for Replaced { purpose, before, after } in &replaced {
                let same = secrets::table.find(purpose).filter(secrets::sealed.eq(before));
                let now = secrets::updated_at.eq(naive(tx.now));
                count += diesel::update(same).set((secrets::sealed.eq(after), now)).execute(tx.conn)?;
            }
            Ok(count)
        })
        .await
    }

    /// Deletes a value, if it is there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn secret_delete(&self, purpose: &str) -> Result<()> {
        let purpose = purpose.to_owned();
        self.write(move |tx| delete(tx, &purpose)).await
    }
}

pub(super) fn put(tx: &mut Tx<'_>, purpose: &str, sealed: &[u8]) -> Outcome<()> {
    insert(tx, purpose, sealed, "DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at")
}

/// Puts a value unless there is one.
pub(super) fn keep(tx: &mut Tx<'_>, purpose: &str, sealed: &[u8]) -> Outcome<()> {
    insert(tx, purpose, sealed, "DO NOTHING")
}

fn insert(tx: &mut Tx<'_>, purpose: &str, sealed: &[u8], otherwise: &str) -> Outcome<()> {
    let values = "INSERT INTO secrets (purpose, sealed, updated_at) VALUES ($1, $2, $3) ON CONFLICT (purpose)";
    diesel::sql_query(format!("{values} {otherwise}"))
        .bind::<sql_types::Text, _>(purpose)
        .bind::<sql_types::Binary, _>(sealed)
        .bind::<sql_types::Timestamp, _>(naive(tx.now))
        .execute(tx.conn)?;
    Ok(())
}

pub(super) fn delete(tx: &mut Tx<'_>, purpose: &str) -> Outcome<()> {
    diesel::delete(secrets::table.filter(secrets::purpose.eq(purpose))).execute(tx.conn)?;
    Ok(())
}
