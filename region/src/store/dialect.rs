//! What the two databases do differently. Nothing else in the store asks which one it is.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult,
    RunQueryDsl as _,
    connection::{AnsiTransactionManager, SimpleConnection as _, TransactionManager},
    dsl::auto_type,
    sql_types,
};

use super::{
    Mode, Tx,
    connection::AnyConnection,
    schema::{machines, pools, projects, users},
};

type Manager = <AnyConnection as diesel::Connection>::TransactionManager;

/// The lock that everybody holds who writes to the event log; any number that nobody else uses in this database.
const EVENT_LOG: &str = "SELECT pg_advisory_xact_lock(7301)";

/// Opens a transaction. SQLite: a writer takes the write lock at once, because a reader that turns writer half-way fails
/// when somebody else has written meanwhile. PostgreSQL: a reader sees one snapshot; a writer locks the rows it decides on.
pub(super) fn begin(conn: &mut AnyConnection, mode: Mode) -> QueryResult<()> {
    match (conn, mode) {
        (AnyConnection::Sqlite(c), Mode::Read) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN DEFERRED"),
        (AnyConnection::Sqlite(c), Mode::Write) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        (AnyConnection::Pg(c), Mode::Read) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        }
        (AnyConnection::Pg(c), Mode::Write) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN ISOLATION LEVEL READ COMMITTED")
        }
    }
}

pub(super) fn commit(conn: &mut AnyConnection) -> QueryResult<()> {
    Manager::commit_transaction(conn)
}

pub(super) fn rollback(conn: &mut AnyConnection) -> QueryResult<()> {
    Manager::rollback_transaction(conn)
}

/// Keeps other writers from a machine's row until the transaction ends.
pub(super) fn lock_machine(tx: &mut Tx<'_>, id: &str) -> QueryResult<()> {
    match tx.conn {
        AnyConnection::Pg(c) => {
            machines::table.find(id).select(machines::id).for_update().first::<String>(c).optional().map(drop)
        }
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Keeps other writers from the rows of those of these machines that nobody else keeps now, without waiting for any: whoever
/// waits for a row while he keeps others is waited for in turn. Tells which.
pub(super) fn lock_idle_machines(tx: &mut Tx<'_>, ids: Vec<String>) -> QueryResult<Vec<String>> {
    match tx.conn {
        AnyConnection::Pg(c) => {
            let these = machines::table.filter(machines::id.eq_any(ids)).select(machines::id);
            these.for_update().skip_locked().load(c)
        }
        AnyConnection::Sqlite(_) => Ok(ids),
    }
}

/// Keeps other writers from the log until the transaction ends. PostgreSQL gives out revisions when rows are inserted,
/// not when they are committed: without this lock revision 8 could become visible before 7, and a reader that has
/// seen 8 would never ask for 7.
pub(super) fn lock_event_log(tx: &mut Tx<'_>) -> QueryResult<()> {
    match tx.conn {
        AnyConnection::Pg(c) => c.batch_execute(EVENT_LOG),
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Keeps other writers from the subnets, which are checked against each other, until the transaction ends.
pub(super) fn lock_subnets(tx: &mut Tx<'_>) -> QueryResult<()> {
    match tx.conn {
        AnyConnection::Pg(c) => c.batch_execute("LOCK TABLE subnets IN SHARE ROW EXCLUSIVE MODE"),
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Keeps other writers from the users until the transaction ends: whether an admin is left is a question about all of them.
pub(super) fn lock_users(tx: &mut Tx<'_>) -> QueryResult<()> {
    match tx.conn {
        AnyConnection::Pg(c) => c.batch_execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"),
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Keeps others who count what this user holds waiting until the transaction ends. Rows that name him may still be written.
pub(super) fn lock_user(tx: &mut Tx<'_>, id: &str) -> QueryResult<()> {
    match tx.conn {
        AnyConnection::Pg(c) => {
            users::table.find(id).select(users::id).for_no_key_update().first::<String>(c).optional().map(drop)
        }
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// The same for a project. `ending`: nobody may begin to name it either.
pub(super) fn lock_project(tx: &mut Tx<'_>, id: &str, ending: bool) -> QueryResult<()> {
    let row = projects::table.find(id).select(projects::id);
    match tx.conn {
        AnyConnection::Pg(c) if ending => row.for_update().first::<String>(c).optional().map(drop),
        AnyConnection::Pg(c) => row.for_no_key_update().first::<String>(c).optional().map(drop),
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Keeps a pool from changing until the transaction ends. `shared`: others may hold it so too.
pub(super) fn lock_pool(tx: &mut Tx<'_>, id: &str, shared: bool) -> QueryResult<()> {
    let row = pools::table.find(id).select(pools::id);
    match tx.conn {
        AnyConnection::Pg(c) if shared => row.for_share().first::<String>(c).optional().map(drop),
        AnyConnection::Pg(c) => row.for_update().first::<String>(c).optional().map(drop),
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// The machines to claim, the longest due first, locked. Those that another claimer holds just now are passed over.
pub(super) fn claimable(tx: &mut Tx<'_>, now: NaiveDateTime, limit: i64) -> QueryResult<Vec<String>> {
    let query = due(now).order((machines::due_at.asc(), machines::id.asc())).limit(limit).select(machines::id);
    match tx.conn {
        AnyConnection::Pg(c) => query.for_update().skip_locked().load(c),
        AnyConnection::Sqlite(c) => query.load(c),
    }
}

/// The first `limit` machines of `ids` that are in the state, in the order given, locked. Those that another transaction
/// holds just now are passed over, so that a thousand who want the same machine do not wait for each other.
pub(super) fn first_in_state(tx: &mut Tx<'_>, ids: &[String], state: &str, limit: usize) -> QueryResult<Vec<String>> {
    match tx.conn {
        // The rows are locked one after the other, as the limit asks for them.
        AnyConnection::Pg(c) => diesel::sql_query(
            "SELECT machines.id AS id FROM unnest($1) WITH ORDINALITY AS wanted (id, place) \
             JOIN machines ON machines.id = wanted.id WHERE machines.state = $2 \
             ORDER BY wanted.place LIMIT $3 FOR UPDATE OF machines SKIP LOCKED",
        )
        .bind::<sql_types::Array<sql_types::Text>, _>(ids)
        .bind::<sql_types::Text, _>(state)
        .bind::<sql_types::BigInt, _>(super::convert::limit(limit))
        .load::<Found>(c)
        .map(|found| found.into_iter().map(|f| f.id).collect()),
        AnyConnection::Sqlite(c) => {
            let theirs = machines::table.filter(machines::id.eq_any(ids)).filter(machines::state.eq(state));
            let found: BTreeSet<String> = theirs.select(machines::id).load(c)?.into_iter().collect();
            Ok(ids.iter().filter(|id| found.contains(*id)).take(limit).cloned().collect())
        }
    }
}

#[derive(diesel::QueryableByName)]
struct Found {
    #[diesel(sql_type = sql_types::Text)]
    id: String,
}

/// Keeps other writers from the rows of these machines until the transaction ends; waits for those that are at them now. All
/// who do this lock in the same order, so that none waits for another in a circle.
pub(super) fn lock_machines(tx: &mut Tx<'_>, ids: &[String]) -> QueryResult<()> {
    match tx.conn {
        AnyConnection::Pg(c) => {
            let theirs = machines::table.filter(machines::id.eq_any(ids)).order(machines::id.asc());
            theirs.select(machines::id).for_update().load::<String>(c).map(drop)
        }
        AnyConnection::Sqlite(_) => Ok(()),
    }
}

/// Due, and nobody works on it.
#[auto_type(no_type_alias)]
pub(super) fn due(now: NaiveDateTime) -> _ {
    machines::table
        .filter(machines::due_at.le(now))
        .filter(machines::lease_until.is_null().or(machines::lease_until.le(now)))
}
