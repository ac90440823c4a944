//! Users and their bearer tokens.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    SelectableHelper as _, dsl,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{
    clock::Timestamp,
    id::{TokenId, UserId},
};

use crate::domain::{
    Error, Result,
    event::NewEvent,
    user::{Role, Token, User, UserEdit},
};

use super::{
    Once, Request, Store, Tx, access,
    convert::{limit as rows, naive, parse, unsigned, utc},
    dialect,
    error::{Outcome, StoreError, unique},
    schema::{tokens, users},
};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: String,
    name: String,
    role: String,
    created_at: NaiveDateTime,
    max_machines: Option<i32>,
    disabled: bool,
    version: i64,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Outcome<Self> {
        Ok(Self {
            id: parse("users.id", &row.id)?,
            name: parse("users.name", &row.name)?,
            role: parse("users.role", &row.role)?,
            created_at: utc(row.created_at),
            max_machines: row.max_machines.map(|n| unsigned("users.max_machines", n.into())).transpose()?,
            disabled: row.disabled,
            version: row.version,
            projects: BTreeSet::new(),
            project_names: Vec::new(),
            pools: BTreeSet::new(),
        })
    }
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name.to_string(),
            role: user.role.to_string(),
            created_at: naive(user.created_at),
            max_machines: user.max_machines.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
            disabled: user.disabled,
            version: user.version,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = tokens)]
struct TokenRow {
    id: String,
    user_id: String,
    comment: String,
    created_at: NaiveDateTime,
    expires_at: Option<NaiveDateTime>,
    revoked: bool,
}

impl TryFrom<TokenRow> for Token {
    type Error = StoreError;

    fn try_from(row: TokenRow) -> Outcome<Self> {
        Ok(Self {
            id: parse("tokens.id", &row.id)?,
            user: parse("tokens.user_id", &row.user_id)?,
            comment: row.comment,
            created_at: utc(row.created_at),
            expires_at: row.expires_at.map(utc),
            revoked: row.revoked,
        })
    }
}

impl Store {
    /// Adds a user.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn user_insert<R>(
        &self,
        request: Option<&Request>,
        user: User,
        event: NewEvent,
        render: R,
    ) -> Result<Once<User>>
    where
        R: FnOnce(&User) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            insert_user(tx, &user)?;
            tx.log(event);
            Ok(user)
        })
        .await
    }

    /// Adds the first user and his token, in one transaction; tells whether it did. Does nothing if there are users.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn user_insert_first(&self, user: User, token: Token, digest: &str, event: NewEvent) -> Result<bool> {
        let digest = digest.to_owned();
        self.write(move |tx| {
            let there: i64 = users::table.count().get_result(tx.conn)?;
            if there > 0 {
                return Ok(false);
            }
            insert_user(tx, &user)?;
            insert_token(tx, &token, &digest)?;
            tx.log(event);
            Ok(true)
        })
        .await
    }

    /// The user of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn user_get(&self, id: UserId) -> Result<Option<User>> {
        self.read(move |tx| get(tx, id)).await
    }

    /// The user of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn user_find(&self, id_or_name: &str) -> Result<Option<User>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = get(tx, id)?
            {
                return Ok(Some(found));
            }
            let named = users::table.filter(users::name.eq(text));
            let row = named.select(UserRow::as_select()).first(tx.conn).optional()?;
            whole(tx, row)
        })
        .await
    }

    /// A page of users in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn user_list(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>> {
        self.read(move |tx| {
            let mut page = users::table.order(users::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(users::id.gt(after.to_string()));
            }
            let rows = page.select(UserRow::as_select()).load(tx.conn)?.into_iter();
            let mut users = rows.map(TryInto::try_into).collect::<Outcome<Vec<User>>>()?;
            access::projects_of(tx, &mut users)?;
            Ok(users)
        })
        .await
    }

    /// Changes a user. `etag`: he must still be at this version.
    ///
    /// # Errors
    /// There is no such user, he has changed, or no enabled admin would be left.
    pub async fn user_update<R>(
        &self,
        request: Option<&Request>,
        id: UserId,
        etag: Option<String>,
        edit: UserEdit,
        event: NewEvent,
        render: R,
    ) -> Result<Once<User>>
    where
        R: FnOnce(&User) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            dialect::lock_users(tx)?;
            let user = get(tx, id)?.ok_or_else(|| Error::not_found("user", id))?;
            super::still(&format!("user {}", user.name), user.version, etag.as_deref())?;
            let row = users::table.find(id.to_string());
            let most = edit.max_machines.unwrap_or(user.max_machines);
            let set = (
                users::role.eq(edit.role.unwrap_or(user.role).as_str()),
                users::max_machines.eq(most.map(|n| i32::try_from(n).unwrap_or(i32::MAX))),
                users::disabled.eq(edit.disabled.unwrap_or(user.disabled)),
                users::version.eq(user.version + 1),
            );
            diesel::update(row).set(set).execute(tx.conn)?;
            still_governed(tx)?;
            tx.log(event);
            Ok(get(tx, id)?.ok_or_else(|| Error::not_found("user", id))?)
        })
        .await
    }

    /// Whose token has this digest, unless it is revoked or has expired?
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn user_by_token_digest(&self, digest: &str, now: Timestamp) -> Result<Option<User>> {
        let digest = digest.to_owned();
        self.read(move |tx| {
            let row = users::table
                .inner_join(tokens::table)
                .filter(tokens::digest.eq(digest))
                .filter(dsl::not(tokens::revoked))
                .filter(tokens::expires_at.is_null().or(tokens::expires_at.gt(naive(now))))
                .select(UserRow::as_select())
                .first(tx.conn)
                .optional()?;
            whole(tx, row)
        })
        .await
    }

    /// Adds a token.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn token_insert<R>(
        &self,
        request: Option<&Request>,
        token: Token,
        digest: &str,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Token>>
    where
        R: FnOnce(&Token) -> Vec<u8> + Send + 'static,
    {
        let digest = digest.to_owned();
        self.once(request, render, move |tx| {
            get(tx, token.user)?.ok_or_else(|| Error::not_found("user", token.user))?;
            insert_token(tx, &token, &digest)?;
            tx.log(event);
            Ok(token)
        })
        .await
    }

    /// The token of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn token_get(&self, id: TokenId) -> Result<Option<Token>> {
        self.read(move |tx| get_token(tx, id)).await
    }

    /// A page of a user's tokens in order of id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn token_list(&self, user: UserId, after: Option<TokenId>, limit: usize) -> Result<Vec<Token>> {
        self.read(move |tx| {
            let of = tokens::table.filter(tokens::user_id.eq(user.to_string()));
            let mut page = of.order(tokens::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(tokens::id.gt(after.to_string()));
            }
            page.select(TokenRow::as_select()).load(tx.conn)?.into_iter().map(TryInto::try_into).collect()
        })
        .await
    }

    /// Takes a token back. One that is revoked already stays so, and nothing is logged.
    ///
    /// # Errors
    /// There is no such token.
    pub async fn token_revoke<R>(
        &self,
        request: Option<&Request>,
        id: TokenId,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Token>>
    where
        R: FnOnce(&Token) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let good = tokens::table.find(id.to_string()).filter(dsl::not(tokens::revoked));
            if diesel::update(good).set(tokens::revoked.eq(true)).execute(tx.conn)? == 1 {
                tx.log(event);
            }
            Ok(get_token(tx, id)?.ok_or_else(|| Error::not_found("token", id))?)
        })
        .await
    }
}

fn get(tx: &mut Tx<'_>, id: UserId) -> Outcome<Option<User>> {
    let row = users::table.find(id.to_string()).select(UserRow::as_select()).first(tx.conn).optional()?;
    whole(tx, row)
}

/// With his projects and pools.
fn whole(tx: &mut Tx<'_>, row: Option<UserRow>) -> Outcome<Option<User>> {
    let Some(row) = row else { return Ok(None) };
    access::all_of(tx, row.try_into()?).map(Some)
}

/// Is there an admin left who may call? All writers of users wait for each other, so that two do not demote one another.
fn still_governed(tx: &mut Tx<'_>) -> Outcome<()> {
    let admins = users::table.filter(users::role.eq(Role::Admin.as_str())).filter(users::disabled.eq(false));
    let left: i64 = admins.count().get_result(tx.conn)?;
    if left > 0 {
        return Ok(());
    }
    let why = "he is the last admin who is enabled; make another user admin first";
    Err(Error::Precondition(why.to_owned()).into())
}

fn get_token(tx: &mut Tx<'_>, id: TokenId) -> Outcome<Option<Token>> {
    let row = tokens::table.find(id.to_string()).select(TokenRow::as_select()).first(tx.conn).optional()?;
    row.map(TryInto::try_into).transpose()
}

fn insert_user(tx: &mut Tx<'_>, user: &User) -> Outcome<()> {
    let inserted = diesel::insert_into(users::table).values(UserRow::from(user)).execute(tx.conn);
    unique(inserted, "user", &user.name).map(drop)
}

fn insert_token(tx: &mut Tx<'_>, token: &Token, digest: &str) -> Outcome<()> {
    let row = (
        tokens::id.eq(token.id.to_string()),
        tokens::user_id.eq(token.user.to_string()),
        tokens::digest.eq(digest),
        tokens::comment.eq(&token.comment),
        tokens::created_at.eq(naive(token.created_at)),
        tokens::expires_at.eq(token.expires_at.map(naive)),
        tokens::revoked.eq(token.revoked),
    );
    unique(diesel::insert_into(tokens::table).values(row).execute(tx.conn), "token", &token.id).map(drop)
}
