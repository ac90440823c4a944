//! Bulk work: who drives it, its pace, its end.

use chrono::TimeDelta;
use farrier_common::id::OperationId;
use farrier_region::{
    domain::{
        Error,
        advance::{Change, Deadlines},
        lifecycle::{self, Event, State},
        operation::{Counts, Item, ItemStatus, Operation, Options, Status, Verb},
        user::User,
    },
    store::{Extra, Hold, MachineView, OperationView},
};

use crate::world::{World, fresh, on_both, request};

fn operation(world: &World, user: &User) -> Operation {
    Operation {
        id: OperationId::generate(),
        verb: Verb::Release,
        status: Status::Running,
        user: user.id,
        options: Options { skip_erase: true, canary: 2 },
        comment: "moving out".to_owned(),
        max_parallel: 2,
        stop_after_failures: 1,
        created_at: world.now(),
        finished_at: None,
    }
}

fn item(position: u32, view: &MachineView) -> Item {
    Item {
        position,
        machine: view.machine.id,
        name: view.machine.name.clone(),
        expected: Some(State::Deployed),
        status: ItemStatus::Waiting,
        text: String::new(),
        revision: 0,
        asked: false,
    }
}

async fn insert(world: &World, user: &User, machines: &[&MachineView]) -> OperationView {
    let items = machines.iter().zip(0..).map(|(view, n)| item(n, view)).collect();
    fresh(world.store.operation_insert(None, operation(world, user), items, |_| Vec::new()).await.unwrap())
}

fn hold(world: &World, id: OperationId, owner: &str) -> Hold {
    Hold { operation: id, owner: owner.to_owned(), until: world.now() + TimeDelta::seconds(15) }
}

/// Moves a machine as the engine would.
async fn moved(world: &World, view: &MachineView, event: Event, why: &str) {
    let m = world.reload(view.machine.id).await;
    let (version, edge) = (m.version, lifecycle::next(m.state, event).unwrap());
    let change = Change::of(m).along(edge, "engine", why, &Deadlines::new(), world.now());
    world.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
}

#[test]
fn an_operation_is_kept_as_it_was_asked_for() {
    on_both(|world: World| async move {
        let (ulf, m1, m2) = (world.user("ulf").await, world.machine(1).await, world.machine(2).await);
        let asked = request("r1", "body");
        let answer = |view: &OperationView| view.operation.id.to_string().into_bytes();
        let (operation, items) = (operation(&world, &ulf), vec![item(0, &m1), item(1, &m2)]);
        let made = world.store.operation_insert(Some(&asked), operation.clone(), items.clone(), answer).await.unwrap();
        let made = fresh(made);
        assert_eq!((&made.operation, &made.items, made.user.as_str()), (&operation, &items, "ulf"));
        assert_eq!(made.counts, Counts { waiting: 2, ..Counts::default() });
        assert_eq!(world.store.operation_get(operation.id).await.unwrap(), Some(made.clone()));
        assert_eq!(world.store.operation_get(OperationId::generate()).await.unwrap(), None);
        let kept = world.store.request_seen(&asked).await.unwrap();
        assert_eq!(kept, Some(operation.id.to_string().into_bytes()));

        let uma = world.user("uma").await;
        let second = insert(&world, &uma, &[&m1]).await;
        let ids = |list: Vec<OperationView>| list.iter().map(|v| v.operation.id).collect::<Vec<_>>();
        let all = world.store.operation_list(None, None, 10).await.unwrap();
        assert!(all.iter().all(|v| v.items.is_empty()));
        assert_eq!((all[0].counts.waiting, all[1].counts), (1, made.counts));
        assert_eq!(ids(all), [second.operation.id, operation.id]);
        assert_eq!(ids(world.store.operation_list(None, None, 1).await.unwrap()), [second.operation.id]);
        let older = world.store.operation_list(None, Some(second.operation.id), 10).await.unwrap();
        assert_eq!(ids(older), [operation.id]);
        assert_eq!(ids(world.store.operation_list(Some(ulf.id), None, 10).await.unwrap()), [operation.id]);
    });
}

#[test]
fn one_process_drives_an_operation_until_its_lease_ends() {
    on_both(|world: World| async move {
        let (ulf, m1) = (world.user("ulf").await, world.machine(1).await);
        let id = insert(&world, &ulf, &[&m1]).await.operation.id;
        let other = world.again().await;
        let (a, b) = (hold(&world, id, "a"), hold(&world, id, "b"));
        let (first, second) = tokio::join!(world.store.operation_hold(&a), other.store.operation_hold(&b));
        let held = [first.unwrap().is_some(), second.unwrap().is_some()];
        assert_eq!(held.iter().filter(|h| **h).count(), 1, "one has it: {held:?}");
        let (has, has_not) = if held[0] { (a, b) } else { (b, a) };
        assert_eq!(world.store.operations_to_drive(&has.owner, world.now(), 9).await.unwrap(), [id]);
        assert!(world.store.operations_to_drive(&has_not.owner, world.now(), 9).await.unwrap().is_empty());
        assert!(world.store.operation_begin(&has_not, 1).await.unwrap().is_empty());
        world.store.operation_stop(&has_not, "no right").await.unwrap();
        world.store.operation_finish(&has_not).await.unwrap();
        let now = world.store.operation_get(id).await.unwrap().unwrap();
        assert_eq!((now.operation.status, now.operation.finished_at, now.counts.waiting), (Status::Running, None, 1));

        world.later(16);
        let taken = hold(&world, id, &has_not.owner);
        assert!(world.store.operation_hold(&taken).await.unwrap().is_some(), "the lease is over");
        assert!(world.store.operation_hold(&hold(&world, id, &has.owner)).await.unwrap().is_none());
    });
}

#[test]
fn machines_are_begun_in_order_and_end_where_their_work_ends() {
    on_both(|world: World| async move {
        let ulf = world.user("ulf").await;
        let all = [world.machine(1).await, world.machine(2).await, world.machine(3).await];
        for view in &all {
            moved(&world, view, Event::Done, "commissioned").await;
        }
        let id = insert(&world, &ulf, &[&all[0], &all[1], &all[2]]).await.operation.id;
        let mine = hold(&world, id, "a");
        let begun = world.store.operation_begin(&mine, 2).await.unwrap();
        assert_eq!(
            begun.iter().map(|i| (i.position, i.status)).collect::<Vec<_>>(),
            [(0, ItemStatus::Running), (1, ItemStatus::Running)]
        );
        assert!(begun[0].revision > 0 && !begun[0].asked);
        world.store.operation_asked(id, 0).await.unwrap();
        let (_, counts, running) = world.store.operation_hold(&mine).await.unwrap().unwrap();
        assert_eq!((counts.waiting, counts.running), (1, 2));
        assert_eq!(running.iter().map(|i| i.asked).collect::<Vec<_>>(), [true, false]);

        // What was before the verb counts for nothing; what follows it does, and the first rest after the work.
        let ended = async || world.store.operation_outcomes(running.clone()).await.unwrap();
        assert_eq!(ended().await, []);
        moved(&world, &all[0], Event::Commission, "asked to").await;
        assert_eq!(ended().await, []);
        moved(&world, &all[0], Event::Fail, "the agent is silent").await;
        let failed = (0, Some(State::FailedCommissioning), "the agent is silent".to_owned());
        assert_eq!(ended().await, std::slice::from_ref(&failed));
        moved(&world, &all[0], Event::Commission, "again").await;
        assert_eq!(ended().await, [failed], "somebody else's work afterwards changes nothing");

        let out = vec![(0, ItemStatus::Failed, "why".to_owned()), (2, ItemStatus::Succeeded, String::new())];
        world.store.operation_ended(id, out).await.unwrap();
        let now = world.store.operation_get(id).await.unwrap().unwrap();
        let told: Vec<_> = now.items.iter().map(|i| (i.status, i.text.as_str())).collect();
        let want = [(ItemStatus::Failed, "why"), (ItemStatus::Running, ""), (ItemStatus::Waiting, "")];
        assert_eq!(told, want, "only what runs ends");
        world.store.operation_stop(&mine, "enough").await.unwrap();
        world.store.operation_ended(id, vec![(1, ItemStatus::Succeeded, String::new())]).await.unwrap();
        world.store.operation_finish(&mine).await.unwrap();
        let over = world.store.operation_get(id).await.unwrap().unwrap();
        assert_eq!((over.operation.status, over.operation.finished_at), (Status::Stopped, Some(world.now())));
        assert_eq!(over.counts, Counts { succeeded: 1, failed: 1, skipped: 1, ..Counts::default() });
        assert!(world.store.operations_to_drive("a", world.now(), 9).await.unwrap().is_empty());
    });
}

#[test]
fn cancelling_begins_no_more_and_has_an_etag() {
    on_both(|world: World| async move {
        let (ulf, m1, m2) = (world.user("ulf").await, world.machine(1).await, world.machine(2).await);
        let made = insert(&world, &ulf, &[&m1, &m2]).await;
        let (id, mine) = (made.operation.id, hold(&world, made.operation.id, "a"));
        world.store.operation_begin(&mine, 1).await.unwrap();
        let cancel = async |etag: Option<String>| world.store.operation_cancel(None, id, etag, |_| Vec::new()).await;
        assert!(matches!(cancel(Some(made.etag())).await, Err(Error::Conflict { .. })));
        let now = world.store.operation_get(id).await.unwrap().unwrap();
        assert_eq!(now.operation.status, Status::Running, "a refusal changes nothing");
        let cancelled = fresh(cancel(Some(now.etag())).await.unwrap());
        assert_eq!((cancelled.operation.status, cancelled.counts.skipped), (Status::Cancelled, 1));
        assert_eq!(fresh(cancel(None).await.unwrap()), cancelled, "doing it again changes nothing");
        assert!(world.store.operation_begin(&mine, 1).await.unwrap().is_empty());
        world.store.operation_ended(id, vec![(0, ItemStatus::Succeeded, String::new())]).await.unwrap();
        world.store.operation_finish(&mine).await.unwrap();
        let over = world.store.operation_get(id).await.unwrap().unwrap();
        assert_eq!((over.operation.status, over.operation.finished_at.is_some()), (Status::Cancelled, true));

        let done = insert(&world, &ulf, &[]).await.operation.id;
        world.store.operation_finish(&hold(&world, done, "a")).await.unwrap();
        let refused = world.store.operation_cancel(None, done, None, |_| Vec::new()).await;
        assert!(matches!(refused, Err(Error::Precondition(why)) if why.contains("is done already")));
        let missing = world.store.operation_cancel(None, OperationId::generate(), None, |_| Vec::new()).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    });
}

#[test]
fn operations_that_ended_long_ago_are_forgotten_in_parts() {
    on_both(|world: World| async move {
        let (ulf, m1, m2) = (world.user("ulf").await, world.machine(1).await, world.machine(2).await);
        let mut over = Vec::new();
        for _ in 0..12 {
            let made = insert(&world, &ulf, &[&m1, &m2]).await;
            world.store.operation_cancel(None, made.operation.id, None, |_| Vec::new()).await.unwrap();
            world.store.operation_finish(&hold(&world, made.operation.id, "a")).await.unwrap();
            over.push(made.operation.id);
        }
        let ended = world.now();
        let waiting = insert(&world, &ulf, &[&m1]).await.operation.id;
        let cancelled = insert(&world, &ulf, &[&m1]).await.operation.id;
        world.store.operation_begin(&hold(&world, cancelled, "a"), 1).await.unwrap();
        world.store.operation_cancel(None, cancelled, None, |_| Vec::new()).await.unwrap();
        world.later(60);
        let late = insert(&world, &ulf, &[&m2]).await.operation.id;
        world.store.operation_cancel(None, late, None, |_| Vec::new()).await.unwrap();
        world.store.operation_finish(&hold(&world, late, "a")).await.unwrap();

        let prune = async |before| world.store.operations_prune(before).await.unwrap();
        assert_eq!(prune(ended).await, 0, "what ended then is not older than then");
        let after = ended + TimeDelta::seconds(1);
        assert_eq!(
            [prune(after).await, prune(after).await, prune(after).await],
            [10, 2, 0],
            "the rest is not over or not old"
        );
        for id in over {
            assert_eq!(world.store.operation_get(id).await.unwrap(), None);
        }
        let left = world.store.operation_list(None, None, 99).await.unwrap();
        let left: Vec<_> =
            left.iter().map(|v| (v.operation.id, v.counts.skipped + v.counts.waiting + v.counts.running)).collect();
        assert_eq!(left, [(late, 1), (cancelled, 1), (waiting, 1)], "with their machines");
    });
}
