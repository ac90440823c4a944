//! The order of the event log.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _, connection::SimpleConnection as _};
use farrier_region::{
    domain::{
        event::EventKind,
        user::{Role, User},
    },
    store::{Database, EventScope, PRUNED_AT_ONCE, Store},
};
use tokio::time::timeout;

use crate::world::{World, event, on_both, on_postgres};

const WRITERS: usize = 6;
const EACH: usize = 25;

/// A reader that goes on from the last revision it has seen misses nothing and sees nothing twice, however commits of
/// several processes interleave.
#[test]
fn a_reader_sees_each_event_once_and_in_order_while_others_write() {
    on_both(|world: World| async move {
        let other = world.again().await;
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..WRITERS {
            let store = if n % 2 == 0 { world.store.clone() } else { other.store.clone() };
            writers.spawn(write(store, n, EACH));
        }
        let reader = world.again().await.store;
        let (mut seen, mut last) = (Vec::new(), 0);
        while seen.len() < WRITERS * EACH {
            let done = writers.is_empty();
            for logged in reader.event_list(last, None, None, 7).await.unwrap() {
                assert!(logged.revision > last);
                last = logged.revision;
                seen.push(logged.body.reason);
            }
            assert!(!done || seen.len() == WRITERS * EACH || reader.event_revision().await.unwrap() > last, "{seen:?}");
            while let Some(ended) = writers.try_join_next() {
                ended.unwrap();
            }
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), WRITERS * EACH, "none twice");
        for n in 0..WRITERS {
            let of_one: Vec<_> = seen.iter().filter(|r| r.starts_with(&format!("{n}-"))).cloned().collect();
            assert_eq!(of_one, (0..EACH).map(|i| format!("{n}-{i}")).collect::<Vec<_>>());
        }
        assert_eq!(reader.event_revision().await.unwrap(), last);
    });
}

async fn write(store: Store, n: usize, each: usize) {
    for i in 0..each {
        let name = format!("{n}-{i}");
        let mut logged = event(EventKind::User);
        logged.reason.clone_from(&name);
        let user = User::new(name.parse().unwrap(), Role::Viewer, crate::world::start());
        store.user_insert(None, user, logged, |_| vec![]).await.unwrap();
    }
}

#[test]
fn local_commits_with_events_are_told_and_others_are_not() {
    on_both(|world: World| async move {
        let mut told = world.store.events_changed();
        assert!(!told.has_changed().unwrap());
        world.user("bob").await;
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
        world.store.secret_put("x", vec![1]).await.unwrap();
        assert!(!told.has_changed().unwrap());
    });
}

#[test]
fn the_log_is_read_by_machine_and_kind() {
    on_both(|world: World| async move {
        let machine = world.machine(1).await.machine;
        world.machine(2).await;
        world.user("bob").await;
        let read = async |after, machine, kind, limit| {
            let log = world.store.event_list(after, machine, kind, limit).await.unwrap();
            log.into_iter().map(|e| (e.revision, e.machine_name.map(|n| n.to_string()))).collect::<Vec<_>>()
        };
        let (m1, m2) = ((1, Some("m1".to_owned())), (2, Some("m2".to_owned())));
        assert_eq!(read(0, None, None, 9).await, [m1.clone(), m2.clone(), (3, None)]);
        assert_eq!(read(1, None, None, 1).await, [m2]);
        assert_eq!(read(0, Some(machine.id), None, 9).await, [m1]);
        assert_eq!(read(0, None, Some(EventKind::User), 9).await, [(3, None)]);
        assert_eq!(read(0, Some(machine.id), Some(EventKind::User), 9).await, []);
    });
}

/// The database would let a later revision be seen before an earlier one, whose writer has not committed yet; a reader
/// that went on from the later one would never see the other. The lock of the log's writers keeps them from that.
#[test]
fn no_revision_is_seen_before_an_earlier_one() {
    const INSERT: &str = "INSERT INTO events (at, kind, actor, reason) VALUES (now(), 'user', 'test', 'held open')";
    on_postgres(|world: World| async move {
        let Database::Postgres(url) = &world.database else { panic!("on PostgreSQL") };
        let mut held = PgConnection::establish(url).unwrap();
        let mut looker = PgConnection::establish(url).unwrap();
        let seen = async || {
            let log = world.store.event_list(0, None, None, 99).await.unwrap();
            log.into_iter().map(|e| e.revision).collect::<Vec<_>>()
        };
        // Without the lock: a writer that is between insert and commit does not keep the next one.
        held.batch_execute(&format!("BEGIN; {INSERT}")).unwrap();
        looker.batch_execute(INSERT).unwrap();
        assert_eq!(seen().await, [2], "this is the gap that has to be closed");
        held.batch_execute("COMMIT").unwrap();
        assert_eq!(seen().await, [1, 2], "too late for whoever has seen 2");

        // With it: the next writer waits for the commit, and nothing is seen meanwhile.
        held.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock(7301); {INSERT}")).unwrap();
        let store = world.store.clone();
        let next = tokio::spawn(async move { write(store, 7, 1).await });
        let waits = async {
            while waiting(&mut looker) == 0 {
                tokio::task::yield_now().await
            }
        };
        timeout(Duration::from_secs(8), waits).await.expect("the store's writer waits for the one that is held open");
        assert!(!next.is_finished());
        assert_eq!(seen().await, [1, 2]);
        let batch = world.store.event_batch(2, EventScope::default(), 99).await.unwrap();
        assert_eq!((batch.events.len(), batch.upto), (0, 2), "nobody is told that the log was read further");
        held.batch_execute("COMMIT").unwrap();
        next.await.unwrap();
        assert_eq!(seen().await, [1, 2, 3, 4]);
    });
}

/// Sessions that wait for an advisory lock.
fn waiting(conn: &mut PgConnection) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let query = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    diesel::sql_query(query).get_result::<Count>(conn).unwrap().n
}

#[test]
fn a_batch_says_how_far_the_log_is_read_with_it() {
    on_both(|world: World| async move {
        let m1 = world.machine(1).await.machine.id;
        world.machine(2).await;
        world.user("bob").await;
        world.machine(3).await;
        let read = async |after, scope: EventScope, limit| {
            let batch = world.store.event_batch(after, scope, limit).await.unwrap();
            assert_eq!(batch.bounds, (1, 4));
            (batch.events.iter().map(|e| e.revision).collect::<Vec<_>>(), batch.upto)
        };
        let all = EventScope::default;
        let of_m1 = || EventScope { machine: Some(m1), kinds: vec![] };
        let users = || EventScope { machine: None, kinds: vec![EventKind::User, EventKind::Rack] };
        assert_eq!(read(0, all(), 2).await, (vec![1, 2], 2), "there may be more");
        assert_eq!(read(2, all(), 9).await, (vec![3, 4], 4));
        assert_eq!(read(0, of_m1(), 9).await, (vec![1], 4), "nothing else of it up to the end");
        assert_eq!(read(0, users(), 1).await, (vec![3], 3));
        assert_eq!(read(3, users(), 1).await, (vec![], 4));
        assert_eq!(read(9, all(), 9).await, (vec![], 9), "never back");
        assert!(world.store.event_list(0, None, None, 1).await.unwrap()[0].seen_by.is_some());
    });
}

#[test]
fn old_events_are_forgotten_but_not_the_newest() {
    on_both(|world: World| async move {
        assert_eq!(world.store.event_prune(world.now()).await.unwrap(), 0);
        assert_eq!(world.store.event_bounds().await.unwrap(), (0, 0));
        world.machine(1).await;
        world.user("bob").await;
        let later = world.later(60);
        world.machine(2).await;
        assert_eq!(world.store.event_prune(later - TimeDelta::seconds(60)).await.unwrap(), 0, "not old yet");
        assert_eq!(world.store.event_prune(later).await.unwrap(), 2);
        assert_eq!(world.store.event_bounds().await.unwrap(), (3, 3));
        assert_eq!(world.store.event_prune(later + TimeDelta::days(1)).await.unwrap(), 0);
        assert_eq!(world.store.event_revision().await.unwrap(), 3);
        const { assert!(PRUNED_AT_ONCE > 2) };
    });
}
