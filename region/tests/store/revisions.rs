//! The order of the event log.

use std::collections::BTreeSet;

use farrier_region::{
    domain::{
        event::EventKind,
        user::{Role, User},
    },
    store::Store,
};

use crate::world::{World, event, on_both};

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
            writers.spawn(write(store, n));
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

async fn write(store: Store, n: usize) {
    for i in 0..EACH {
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
