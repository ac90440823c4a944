//! Requests that are repeated.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::TimeDelta;
use farrier_region::{
    domain::Error,
    store::{MachineView, Once, Request},
};

use crate::world::{World, machine, new, on_both, request};

fn answer(view: &MachineView) -> Vec<u8> {
    view.machine.name.as_str().as_bytes().to_vec()
}

#[test]
fn the_same_request_has_the_first_answer_another_is_refused() {
    on_both(|world: World| async move {
        let first = request("r1", "body");
        assert_eq!(world.store.request_seen(&first).await.unwrap(), None);
        let insert =
            async |r: &Request, n| world.store.machine_insert(Some(r), new(machine(n, world.now())), answer).await;
        assert!(matches!(insert(&first, 1).await, Ok(Once::Fresh(_))));
        assert_eq!(insert(&first, 2).await.unwrap(), Once::Replay(b"m1".to_vec()));
        assert_eq!(world.store.request_seen(&first).await.unwrap(), Some(b"m1".to_vec()));
        assert_eq!(world.store.machine_find("m2").await.unwrap(), None);
        assert_eq!(world.store.event_revision().await.unwrap(), 1);

        let mut other_method = first.clone();
        other_method.method = "Other";
        for other in [request("r1", "other body"), other_method] {
            for refused in [insert(&other, 2).await.map(drop), world.store.request_seen(&other).await.map(drop)] {
                assert_eq!(refused.unwrap_err().to_string(), "request_id: was used for another request");
            }
        }
        let mut other_caller = request("r1", "other body");
        other_caller.principal = "user:else".to_owned();
        assert!(matches!(insert(&other_caller, 2).await, Ok(Once::Fresh(_))));
    });
}

#[test]
fn a_request_that_failed_may_be_tried_again() {
    on_both(|world: World| async move {
        world.machine(1).await;
        let r = request("r1", "body");
        let insert = |n| world.store.machine_insert(Some(&r), new(machine(n, world.now())), answer);
        assert!(matches!(insert(1).await, Err(Error::Exists { .. })));
        assert_eq!(world.store.request_seen(&r).await.unwrap(), None);
        assert!(matches!(insert(2).await, Ok(Once::Fresh(_))));
    });
}

/// What a crash between the change and the answer would be: it takes the change along.
#[test]
fn a_call_that_dies_before_its_answer_leaves_nothing() {
    on_both(|world: World| async move {
        let r = request("r1", "body");
        let dies = |_: &MachineView| -> Vec<u8> { panic!("the power fails") };
        let died = world.store.machine_insert(Some(&r), new(machine(1, world.now())), dies).await;
        assert!(matches!(died, Err(Error::Internal(_))));
        assert_eq!(world.store.machine_find("m1").await.unwrap(), None);
        assert_eq!(world.store.event_revision().await.unwrap(), 0);
        let again = world.store.machine_insert(Some(&r), new(machine(1, world.now())), answer).await;
        assert!(matches!(again, Ok(Once::Fresh(_))));
    });
}

#[test]
fn of_the_same_request_at_once_one_is_carried_out() {
    on_both(|world: World| async move {
        let other = world.again().await;
        for n in 1..=8 {
            let r = request(&format!("r{n}"), "body");
            let rendered = std::sync::Arc::new(AtomicU32::new(0));
            let calls = [&world.store, &other.store, &world.store, &other.store].map(|store| {
                let (rendered, r) = (rendered.clone(), r.clone());
                async move {
                    let render = move |view: &MachineView| {
                        rendered.fetch_add(1, Ordering::Relaxed);
                        answer(view)
                    };
                    store.machine_insert(Some(&r), new(machine(n, crate::world::start())), render).await.unwrap()
                }
            });
            let [a, b, c, d] = calls;
            let (a, b, c, d) = tokio::join!(a, b, c, d);
            let fresh = [&a, &b, &c, &d].into_iter().filter(|once| matches!(once, Once::Fresh(_))).count();
            assert_eq!((fresh, rendered.load(Ordering::Relaxed)), (1, 1));
        }
        assert_eq!(world.store.event_revision().await.unwrap(), 8);
    });
}

#[test]
fn old_requests_are_forgotten() {
    on_both(|world: World| async move {
        let (old, young) = (request("r1", "body"), request("r2", "body"));
        world.store.machine_insert(Some(&old), new(machine(1, world.now())), answer).await.unwrap();
        let now = world.later(100);
        world.store.machine_insert(Some(&young), new(machine(2, now)), answer).await.unwrap();
        assert_eq!(world.store.requests_prune(now - TimeDelta::seconds(50)).await.unwrap(), 1);
        assert_eq!(world.store.request_seen(&old).await.unwrap(), None);
        assert!(world.store.request_seen(&young).await.unwrap().is_some());
    });
}
