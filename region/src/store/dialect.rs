//! What the two databases do differently. Nothing else in the store asks which one it is.

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult,
    RunQueryDsl as _,
    connection::{AnsiTransactionManager, SimpleConnection as _, TransactionManager},
    dsl::auto_type,
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

/// Due, and nobody works on it.
#[auto_type(no_type_alias)]
pub(super) fn due(now: NaiveDateTime) -> _ {
    machines::table
        .filter(machines::due_at.le(now))
        .filter(machines::lease_until.is_null().or(machines::lease_until.le(now)))
}
