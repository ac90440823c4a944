//! Boots: passes of a machine through the ephemeral environment.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{
    clock::Timestamp,
    id::{BootId, MachineId},
};

use crate::domain::{Error, Result, advance::NewBoot, lifecycle::State};

use super::{
    Store, Tx,
    convert::{naive, parse, utc},
    error::{Outcome, StoreError},
    machines::wake,
    schema::boots,
};

/// A boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRow {
    /// Its id.
    pub id: BootId,
    /// Whose.
    pub machine: MachineId,
    /// What for.
    pub purpose: State,
    /// When the agent opened its session.
    pub hello_at: Option<Timestamp>,
    /// Digest of the session's secret.
    pub session_digest: Option<String>,
    /// When the installed system phoned home.
    pub phoned_home_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the machine came back with the spent token.
    pub restarted_at: Option<Timestamp>,
    /// When the agent was heard last, as it was written; [`Store::boot_heard_at`] may know better.
    pub heard_at: Option<Timestamp>,
    /// What the rack says of this boot, if it holds it.
    pub held: Option<String>,
}

/// What came of an agent's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The session is open.
    First,
    /// The same agent said it before.
    Again,
    /// Another agent has the session: the machine started anew.
    Taken,
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = boots)]
struct Row {
    id: String,
    machine: String,
    purpose: String,
    hello_at: Option<NaiveDateTime>,
    session_digest: Option<String>,
    phoned_home_at: Option<NaiveDateTime>,
    created_at: NaiveDateTime,
    restarted_at: Option<NaiveDateTime>,
    heard_at: Option<NaiveDateTime>,
    held: Option<String>,
}

impl TryFrom<Row> for BootRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Outcome<Self> {
        Ok(Self {
            id: parse("boots.id", &row.id)?,
            machine: parse("boots.machine", &row.machine)?,
            purpose: parse("boots.purpose", &row.purpose)?,
            hello_at: row.hello_at.map(utc),
            session_digest: row.session_digest,
            phoned_home_at: row.phoned_home_at.map(utc),
            created_at: utc(row.created_at),
            restarted_at: row.restarted_at.map(utc),
            heard_at: row.heard_at.map(utc),
            held: row.held,
        })
    }
}

impl Store {
    /// The boot of that id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn boot_get(&self, id: BootId) -> Result<Option<BootRow>> {
        self.read(move |tx| get(tx, id)).await
    }

    /// Opens the session of a boot, once, and wakes the machine. The first agent that comes later, with the same token,
    /// opens nothing: it is taken down that the machine started anew, which wakes it too.
    ///
    /// # Errors
    /// There is no such boot.
    pub async fn boot_hello(&self, id: BootId, session_digest: &str) -> Result<Hello> {
        let digest = session_digest.to_owned();
        self.write(move |tx| {
            let unopened = boots::table.find(id.to_string()).filter(boots::session_digest.is_null());
            let opened = diesel::update(unopened)
                .set((boots::session_digest.eq(&digest), boots::hello_at.eq(naive(tx.now))))
                .execute(tx.conn)?;
            let boot = get(tx, id)?.ok_or_else(|| Error::not_found("boot", id))?;
            if opened == 1 {
                wake(tx, boot.machine)?;
                return Ok(Hello::First);
            }
            if boot.session_digest == Some(digest) {
                return Ok(Hello::Again);
            }
            let unnoticed = boots::table.find(id.to_string()).filter(boots::restarted_at.is_null());
            let noticed = diesel::update(unnoticed).set(boots::restarted_at.eq(naive(tx.now))).execute(tx.conn)?;
            if noticed == 1 {
                wake(tx, boot.machine)?;
            }
            Ok(Hello::Taken)
        })
        .await
    }

    /// Takes down that the rack holds a boot, and wakes the machine; again does nothing.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn boot_held(&self, id: BootId, why: &str) -> Result<()> {
        let why = why.to_owned();
        self.write(move |tx| {
            let free = boots::table.find(id.to_string()).filter(boots::held.is_null());
            let held = diesel::update(free).set(boots::held.eq(why)).execute(tx.conn)?;
            match get(tx, id)? {
                Some(boot) if held == 1 => wake(tx, boot.machine),
                Some(_) | None => Ok(()),
            }
        })
        .await
    }

    /// Takes down that the installed system phoned home, and wakes the machine; again does nothing.
    ///
    /// # Errors
    /// There is no such boot.
    pub async fn boot_phoned_home(&self, id: BootId) -> Result<()> {
        self.write(move |tx| {
            let silent = boots::table.find(id.to_string()).filter(boots::phoned_home_at.is_null());
            let heard = diesel::update(silent).set(boots::phoned_home_at.eq(naive(tx.now))).execute(tx.conn)?;
            let boot = get(tx, id)?.ok_or_else(|| Error::not_found("boot", id))?;
            if heard == 1 { wake(tx, boot.machine) } else { Ok(()) }
        })
        .await
    }
}

pub(super) fn get(tx: &mut Tx<'_>, id: BootId) -> Outcome<Option<BootRow>> {
    let row = boots::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(TryInto::try_into).transpose()
}

pub(super) fn insert(tx: &mut Tx<'_>, machine: MachineId, boot: NewBoot) -> Outcome<()> {
    let row = Row {
        id: boot.id.to_string(),
        machine: machine.to_string(),
        purpose: boot.purpose.to_string(),
        hello_at: None,
        session_digest: None,
        phoned_home_at: None,
        created_at: naive(tx.now),
        restarted_at: None,
        heard_at: None,
        held: None,
    };
    diesel::insert_into(boots::table).values(row).execute(tx.conn)?;
    Ok(())
}
