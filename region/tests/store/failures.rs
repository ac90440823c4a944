//! Databases that do not do what they should.

use std::time::Duration;

use diesel::{Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _};
use farrier_region::{domain::Error, store::Database};

use crate::world::{World, on_postgres, on_sqlite};

const OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid()";
const WAITING: &str = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[test]
fn a_connection_that_is_lost_is_replaced() {
    on_postgres(|world: World| async move {
        let Database::Postgres(url) = &world.database else { unreachable!() };
        let id = world.machine(1).await.machine.id;
        let mut admin = PgConnection::establish(url).unwrap();
        diesel::sql_query(OTHERS).execute(&mut admin).unwrap();
        world.store.machine_wake(id).await.unwrap();

        // Now one that is lost in the middle of a call.
        let mut holder = PgConnection::establish(url).unwrap();
        holder.batch_execute("BEGIN; SELECT 1 FROM machines FOR UPDATE").unwrap();
        let store = world.store.clone();
        let call = tokio::spawn(async move { store.machine_wake(id).await });
        let waits = async {
            while diesel::sql_query(WAITING).execute(&mut admin).unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap();
        diesel::sql_query(OTHERS).execute(&mut admin).unwrap();
        let lost = call.await.unwrap().unwrap_err();
        assert!(matches!(lost, Error::Unavailable(_)), "{lost:?}");
        world.store.machine_wake(id).await.unwrap();
    });
}

#[test]
fn a_database_that_another_program_locks_is_unavailable_to_writers_alone() {
    on_sqlite(|world: World| async move {
        let Database::Sqlite(path) = &world.database else { unreachable!() };
        let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        other.batch_execute("BEGIN IMMEDIATE").unwrap();
        let writers = async {
            let (a, b) = tokio::join!(world.store.secret_put("a", vec![1]), world.store.secret_put("b", vec![1]));
            for busy in [a, b] {
                assert!(matches!(busy, Err(Error::Unavailable(_))), "{busy:?}");
            }
        };
        let reader = async { assert_eq!(world.store.secret_get("a").await.unwrap(), None) };
        tokio::join!(writers, reader);
        other.batch_execute("COMMIT").unwrap();
        world.store.secret_put("a", vec![2]).await.unwrap();
        assert_eq!(world.store.secret_get("a").await.unwrap(), Some(vec![2]));
    });
}

/// SQLite compares times as text.
#[test]
fn times_are_compared_to_the_microsecond() {
    crate::world::on_both(|world: World| async move {
        let at = |text: &str| text.parse::<farrier_common::clock::Timestamp>().unwrap();
        let times = ["12:00:00Z", "12:00:00.000001Z", "12:00:00.5Z", "12:00:00.500001Z", "12:00:00.51Z", "12:00:01Z"];
        let times = times.map(|t| at(&format!("2026-03-01T{t}")));
        for (n, due) in (1..).zip(times) {
            let mut m = crate::world::machine(n, world.now());
            m.due_at = Some(due);
            world.insert(m).await.unwrap();
        }
        for now in times {
            let claimed = world.store.machine_claim_due("a", now, chrono::TimeDelta::seconds(60), 9).await.unwrap();
            assert_eq!(claimed.iter().map(|c| c.view.machine.due_at).collect::<Vec<_>>(), [Some(now)]);
        }
    });
}
