//! The schema.

use std::collections::BTreeSet;

use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_types::Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use farrier_region::{
    domain::{Error, lifecycle::State},
    store::{Database, Store},
};

use crate::{
    postgres,
    world::{World, on_both},
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Tables, columns and whether they may be null; types have other names in each.
const SQLITE_COLUMNS: &str = "SELECT m.name || '.' || p.name || iif(p.\"notnull\", '', '?') AS line FROM sqlite_master m \
    JOIN pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\'";
const POSTGRES_COLUMNS: &str = "SELECT table_name || '.' || column_name || CASE is_nullable WHEN 'YES' THEN '?' ELSE '' END AS line \
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%'";

#[test]
fn go_up_down_and_up_to_the_same_schema_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let mut sqlite = SqliteConnection::establish(dir.path().join("a.db").to_str().unwrap()).unwrap();
    let mut pg = PgConnection::establish(&postgres::database()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        sqlite.run_pending_migrations(SQLITE).unwrap();
        pg.run_pending_migrations(POSTGRES).unwrap();
        let of_sqlite: Vec<Line> = diesel::sql_query(SQLITE_COLUMNS).load(&mut sqlite).unwrap();
        let of_pg: Vec<Line> = diesel::sql_query(POSTGRES_COLUMNS).load(&mut pg).unwrap();
        let [of_sqlite, of_pg] = [of_sqlite, of_pg].map(|all| all.into_iter().map(|l| l.line).collect::<BTreeSet<_>>());
        assert_eq!(of_sqlite, of_pg);
        assert!(of_pg.contains("machines.state") && of_pg.contains("machines.owner?"), "{of_pg:?}");
        seen.push(of_pg);
        sqlite.revert_all_migrations(SQLITE).unwrap();
        pg.revert_all_migrations(POSTGRES).unwrap();
        assert!(diesel::sql_query(SQLITE_COLUMNS).load::<Line>(&mut sqlite).unwrap().is_empty());
        assert!(diesel::sql_query(POSTGRES_COLUMNS).load::<Line>(&mut pg).unwrap().is_empty());
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn the_words_of_the_state_constraint_are_those_of_the_life_cycle() {
    let expected: Vec<&str> = State::ALL.iter().map(|s| s.as_str()).collect();
    for file in ["migrations/sqlite/0001_first/up.sql", "migrations/postgres/0001_first/up.sql"] {
        let sql = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let list = sql.split_once("CHECK (state IN (").unwrap().1.split_once("))").unwrap().0;
        let words: Vec<&str> = list.split(',').map(|w| w.trim().trim_matches('\'')).collect();
        assert_eq!(words, expected, "{file}");
    }
}

#[test]
fn an_opened_database_opens_again_but_not_one_of_a_newer_release() {
    on_both(|world: World| async move {
        world.again().await;
        let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')";
        match &world.database {
            Database::Sqlite(path) => {
                let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                diesel::sql_query(newer).execute(&mut conn).unwrap();
            }
            Database::Postgres(url) => {
                let mut conn = PgConnection::establish(url).unwrap();
                diesel::sql_query(newer).execute(&mut conn).unwrap();
            }
        }
        let refused = Store::open(&world.database, world.clock.clone()).await.unwrap_err();
        assert!(matches!(&refused, Error::Precondition(text) if text.contains("newer release")), "{refused}");
    });
}

#[test]
fn a_database_that_is_not_there_is_unavailable() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for absent in [
        Database::Postgres("postgres:///none?host=/nonexistent".to_owned()),
        Database::Sqlite("/nonexistent/farrier.db".into()),
    ] {
        let refused = runtime.block_on(Store::open(&absent, farrier_common::clock::Clock::System)).unwrap_err();
        assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    }
}

#[test]
fn regions_that_start_at_once_migrate_once() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for database in [Database::Sqlite(dir.path().join("farrier.db")), Database::Postgres(postgres::database())] {
        runtime.block_on(async {
            let open = || Store::open(&database, farrier_common::clock::Clock::System);
            let (a, b, c) = tokio::join!(open(), open(), open());
            for opened in [a, b, c] {
                assert_eq!(opened.unwrap().event_revision().await.unwrap(), 0);
            }
        });
    }
}
