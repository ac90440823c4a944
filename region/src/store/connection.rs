//! Connections to either database, pooled.
#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "the derive makes undocumented public items")]

use std::{fs, io, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use diesel::{
    Connection as _, ConnectionError, ConnectionResult, QueryResult, RunQueryDsl as _,
    connection::{AnsiTransactionManager, SimpleConnection as _, TransactionManager as _},
    pg::PgConnection,
    sqlite::SqliteConnection,
};

use crate::domain::{Error, Result};

use super::{Database, PATIENCE};

pub(super) use any::{AnyConnection, MultiBackend};

/// Connections per process.
pub(super) const POOL_SIZE: usize = 8;

/// Alone in its module, because the derive imports all of its surroundings.
mod any {
    use diesel::{pg::PgConnection, sqlite::SqliteConnection};

    #[derive(diesel::MultiConnection)]
    pub enum AnyConnection {
        Pg(PgConnection),
        Sqlite(SqliteConnection),
    }
}

/// Makes and checks connections.
#[derive(Clone, Debug)]
pub(super) struct Connector(Database);

pub(super) type Pool = r2d2::Pool<Connector>;

pub(super) fn pool(database: &Database) -> Result<Pool> {
    r2d2::Pool::builder()
        .max_size(u32::try_from(POOL_SIZE).expect("a small constant"))
        .min_idle(Some(1))
        .connection_timeout(PATIENCE)
        .build(Connector(database.clone()))
        .map_err(|e| Error::Unavailable(format!("cannot connect to the database: {e}")))
}

/// A connection that no time-outs are set on yet.
pub(super) fn postgres(url: &str) -> ConnectionResult<PgConnection> {
    PgConnection::establish(&with_deadlines(url))
}

pub(super) fn sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    private_file(path).map_err(|e| ConnectionError::BadConnection(format!("{}: {e}", path.display())))?;
    let path = path.to_str().ok_or_else(|| ConnectionError::BadConnection("the path is not UTF-8".to_owned()))?;
    let mut conn = SqliteConnection::establish(path)?;
    let set_up = ConnectionError::CouldntSetupConfiguration;
    conn.batch_execute("PRAGMA busy_timeout = 5000").map_err(set_up)?;
    turn_to_wal(&mut conn).map_err(set_up)?;
    conn.batch_execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON").map_err(set_up)?;
    Ok(conn)
}

/// The first connection to a new file changes its mode. Who comes at that moment is refused at once: SQLite does not ask
/// its busy handler where waiting could deadlock.
fn turn_to_wal(conn: &mut SqliteConnection) -> QueryResult<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    let tries = PATIENCE.as_millis() / PAUSE.as_millis();
    for _ in 1..tries {
        match conn.batch_execute("PRAGMA journal_mode = WAL") {
            Err(e) if e.to_string().contains("locked") => std::thread::park_timeout(PAUSE),
            turned => return turned,
        }
    }
    conn.batch_execute("PRAGMA journal_mode = WAL")
}

/// The database holds digests of tokens and sealed passwords: its file is ours alone.
fn private_file(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// libpq waits for ever unless told otherwise. What the operator has set stays.
fn with_deadlines(url: &str) -> String {
    let mut url = url.to_owned();
    for (key, value) in
        [("connect_timeout", "5"), ("tcp_user_timeout", "20000"), ("application_name", "farrier-region")]
    {
        if !url.contains(key) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(key);
            url.push('=');
            url.push_str(value);
        }
    }
    url
}

impl r2d2::ManageConnection for Connector {
    type Connection = AnyConnection;
    type Error = ConnectionError;

    fn connect(&self) -> ConnectionResult<AnyConnection> {
        match &self.0 {
            Database::Sqlite(path) => sqlite(path).map(AnyConnection::Sqlite),
            Database::Postgres(url) => {
                let mut conn = postgres(url)?;
                conn.batch_execute(
                    "SET statement_timeout = '15s'; SET lock_timeout = '10s'; \
                     SET idle_in_transaction_session_timeout = '30s'; SET TIME ZONE 'UTC';",
                )
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
                Ok(AnyConnection::Pg(conn))
            }
        }
    }

    fn is_valid(&self, conn: &mut AnyConnection) -> ConnectionResult<()> {
        match conn {
            AnyConnection::Pg(c) => {
                diesel::sql_query("SELECT 1").execute(c).map(drop).map_err(ConnectionError::CouldntSetupConfiguration)
            }
            // A file does not go away.
            AnyConnection::Sqlite(_) => Ok(()),
        }
    }

    fn has_broken(&self, conn: &mut AnyConnection) -> bool {
        std::thread::panicking()
            || match conn {
                AnyConnection::Pg(c) => AnsiTransactionManager::is_broken_transaction_manager(c),
                AnyConnection::Sqlite(c) => AnsiTransactionManager::is_broken_transaction_manager(c),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::with_deadlines;

    #[test]
    fn what_the_operator_set_stays() {
        assert_eq!(
            with_deadlines("postgres://h/d"),
            "postgres://h/d?connect_timeout=5&tcp_user_timeout=20000&application_name=farrier-region"
        );
        assert_eq!(
            with_deadlines("postgres://h/d?connect_timeout=1&tcp_user_timeout=2"),
            "postgres://h/d?connect_timeout=1&tcp_user_timeout=2&application_name=farrier-region"
        );
    }
}
