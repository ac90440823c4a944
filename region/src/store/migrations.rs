//! Brings the schema up to date when the store is opened.

use diesel::{
    RunQueryDsl as _,
    backend::Backend,
    migration::{Migration, MigrationSource},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::domain::{Error, Result};

use super::{Database, connection, error::StoreError};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

pub(super) fn run(database: &Database) -> Result<()> {
    let unreachable = |e: diesel::ConnectionError| Error::Unavailable(format!("cannot open the database: {e}"));
    match database {
        Database::Sqlite(path) => {
            let mut conn = connection::sqlite(path).map_err(unreachable)?;
            // Regions that start at once take turns at all of it: asking what is missing, and making it.
            Ok(conn.immediate_transaction(|conn| up(conn, SQLITE).map_err(StoreError::from))?)
        }
        Database::Postgres(url) => {
            let mut conn = connection::postgres(url).map_err(unreachable)?;
            // The same; the lock ends with the connection.
            diesel::sql_query("SELECT pg_advisory_lock(7300)")
                .execute(&mut conn)
                .map_err(|e| Error::Unavailable(format!("cannot lock the database for migration: {e}")))?;
            up(&mut conn, POSTGRES)
        }
    }
}

fn up<DB: Backend>(conn: &mut impl MigrationHarness<DB>, source: EmbeddedMigrations) -> Result<()> {
    let failed =
        |e: Box<dyn std::error::Error + Send + Sync>| Error::Internal(format!("cannot migrate the database: {e}"));
    let known = MigrationSource::<DB>::migrations(&source).map_err(failed)?;
    let known: Vec<String> = known.iter().map(|m| m.name().version().to_string()).collect();
    let applied = conn.applied_migrations().map_err(failed)?;
    if let Some(newer) = applied.iter().map(ToString::to_string).find(|v| !known.contains(v)) {
        return Err(Error::Precondition(format!(
            "the database has been written by a newer release (it has migration {newer}): upgrade this binary"
        )));
    }
    let done = conn.run_pending_migrations(source).map_err(failed)?;
    if !done.is_empty() {
        tracing::info!(migrations = done.len(), "the database is up to date");
    }
    Ok(())
}
