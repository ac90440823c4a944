//! Users' public keys for SSH.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::id::{SshKeyId, UserId};

use crate::domain::{
    Error, Result,
    event::NewEvent,
    ssh_key::{MOST_KEYS, PublicKey, SshKey},
};

use super::{
    Once, Request, Store, Tx,
    convert::{limit as rows, naive, parse, utc},
    error::{Outcome, StoreError, unique},
    schema::{ssh_keys, users},
};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = ssh_keys)]
struct Row {
    id: String,
    user_id: String,
    public_key: String,
    fingerprint: String,
    created_at: NaiveDateTime,
}

impl TryFrom<Row> for SshKey {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        Ok(Self {
            id: parse("ssh_keys.id", &row.id)?,
            user: parse("ssh_keys.user_id", &row.user_id)?,
            key: PublicKey { line: row.public_key, fingerprint: row.fingerprint },
            created_at: utc(row.created_at),
        })
    }
}

impl Store {
    /// Adds a key.
    ///
    /// # Errors
    /// The user has it already, or as many as one may have.
    pub async fn ssh_key_insert<R>(
        &self,
        request: Option<&Request>,
        key: SshKey,
        event: NewEvent,
        render: R,
    ) -> Result<Once<SshKey>>
    where
        R: FnOnce(&SshKey) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            // Holds the user, so that two keys at a time are counted one after the other.
            let user = users::table.find(key.user.to_string());
            if diesel::update(user).set(users::id.eq(users::id)).execute(tx.conn)? != 1 {
                return Err(Error::not_found("user", key.user).into());
            }
            let of = ssh_keys::table.filter(ssh_keys::user_id.eq(key.user.to_string()));
            let there: i64 = of.count().get_result(tx.conn)?;
            if usize::try_from(there).is_ok_and(|there| there >= MOST_KEYS) {
                return Err(Error::Exhausted(format!("a user has at most {MOST_KEYS} keys; delete one first")).into());
            }
            let row = Row {
                id: key.id.to_string(),
                user_id: key.user.to_string(),
                public_key: key.key.line.clone(),
                fingerprint: key.key.fingerprint.clone(),
                created_at: naive(key.created_at),
            };
            let inserted = diesel::insert_into(ssh_keys::table).values(row).execute(tx.conn);
            unique(inserted, "SSH key", &key.key.fingerprint)?;
            tx.log(event);
            Ok(key)
        })
        .await
    }

    /// The key of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn ssh_key_get(&self, id: SshKeyId) -> Result<Option<SshKey>> {
        self.read(move |tx| get(tx, id)).await
    }

    /// A page of a user's keys in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn ssh_key_list(&self, user: UserId, after: Option<SshKeyId>, limit: usize) -> Result<Vec<SshKey>> {
        self.read(move |tx| {
            let of = ssh_keys::table.filter(ssh_keys::user_id.eq(user.to_string()));
            let mut page = of.order(ssh_keys::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(ssh_keys::id.gt(after.to_string()));
            }
            page.select(Row::as_select()).load(tx.conn)?.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    /// Deletes a key; answers what it was.
    ///
    /// # Errors
    /// There is no such key.
    pub async fn ssh_key_delete<R>(
        &self,
        request: Option<&Request>,
        id: SshKeyId,
        event: NewEvent,
        render: R,
    ) -> Result<Once<SshKey>>
    where
        R: FnOnce(&SshKey) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let key = get(tx, id)?.ok_or_else(|| Error::not_found("SSH key", id))?;
            diesel::delete(ssh_keys::table.find(id.to_string())).execute(tx.conn)?;
            tx.log(event);
            Ok(key)
        })
        .await
    }
}

fn get(tx: &mut Tx<'_>, id: SshKeyId) -> Outcome<Option<SshKey>> {
    let row = ssh_keys::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(TryInto::try_into).transpose()
}
