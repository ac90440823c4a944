//! The engine's claims.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use farrier_common::id::BootId;
use farrier_region::{
    domain::{
        advance::{Change, Deadlines, NewBoot},
        lifecycle::{self, Event, Phase, State},
        machine::Machine,
    },
    store::{Claimed, Committed, Extra, Store},
};

use crate::world::{World, machine, on_both};

const LEASE: TimeDelta = TimeDelta::seconds(60);

async fn claim(world: &World, owner: &str) -> Vec<Claimed> {
    world.store.machine_claim_due(owner, world.now(), LEASE, 10).await.unwrap()
}

fn wait(m: &Machine, world: &World, seconds: i64) -> Change {
    let mut change = Change::of(m.clone());
    change.machine.due_at = Some(world.now() + TimeDelta::seconds(seconds));
    change.machine.reason = "waits".to_owned();
    change.machine.work.attempts += 1;
    change.machine.work.last_error = Some("busy".to_owned());
    change
}

#[test]
fn only_what_is_due_and_free_is_claimed() {
    on_both(|world: World| async move {
        world.machine(1).await;
        let mut tomorrow = machine(2, world.now());
        tomorrow.due_at = Some(world.now() + TimeDelta::days(1));
        world.insert(tomorrow).await.unwrap();
        let mut never = machine(3, world.now());
        never.due_at = None;
        world.insert(never).await.unwrap();
        assert_eq!(world.store.due_oldest(world.now()).await.unwrap(), Some(world.now()));
        let claimed = claim(&world, "a").await;
        assert_eq!(claimed.iter().map(|c| c.view.machine.name.as_str()).collect::<Vec<_>>(), ["m1"]);
        assert_eq!(claimed[0].epoch, 1);
        assert!(claim(&world, "b").await.is_empty(), "the lease is held");
        assert!(world.store.due_oldest(world.now()).await.unwrap().is_some(), "claimed is still due");
        world.store.machine_release_claim(claimed[0].claim()).await.unwrap();
        assert_eq!(claim(&world, "b").await[0].epoch, 2);
        world.later(61);
        assert_eq!(claim(&world, "c").await[0].epoch, 3, "the lease has run out");
    });
}

#[test]
fn who_waits_for_another_try_is_woken_with_its_rack() {
    on_both(|world: World| async move {
        let rack = world.rack("r").await.id;
        for (n, served, attempts) in [(1, true, 3), (2, true, 0), (3, false, 3)] {
            let mut m = machine(n, world.now());
            m.due_at = Some(world.now() + TimeDelta::minutes(1));
            m.rack = served.then_some(rack);
            m.work.attempts = attempts;
            world.insert(m).await.unwrap();
        }
        assert_eq!(world.store.machines_wake_retrying(rack).await.unwrap(), 1);
        let claimed = claim(&world, "a").await;
        assert_eq!(claimed.iter().map(|c| c.view.machine.name.as_str()).collect::<Vec<_>>(), ["m1"]);
        assert_eq!(world.store.machines_wake_retrying(rack).await.unwrap(), 0);
    });
}

#[test]
fn a_renewed_claim_lasts_and_a_lost_one_is_not_renewed() {
    on_both(|world: World| async move {
        world.machine(1).await;
        let first = claim(&world, "a").await.remove(0).claim();
        world.store.machine_renew_claim(first, world.now() + TimeDelta::seconds(120)).await.unwrap();
        let now = world.later(61);
        assert!(claim(&world, "b").await.is_empty(), "renewed");
        world.later(61);
        let second = claim(&world, "b").await.remove(0).claim();
        world.store.machine_renew_claim(first, now + TimeDelta::days(1)).await.unwrap();
        world.later(61);
        assert_eq!(claim(&world, "c").await[0].epoch, second.epoch + 1, "the loser did not prolong the holder's lease");
    });
}

#[test]
fn a_stale_claim_commits_nothing() {
    on_both(|world: World| async move {
        let id = world.machine(1).await.machine.id;
        let stale = claim(&world, "a").await.remove(0);
        let now = world.later(61);
        let holder = claim(&world, "b").await.remove(0);
        let edge = lifecycle::next(State::Commissioning, Event::Done).unwrap();
        let change = Change::of(stale.view.machine.clone()).along(edge, "engine", "", &Deadlines::new(), now);
        let commit =
            |c: &Claimed| world.store.machine_commit(c.claim(), change.clone(), vec![("s".to_owned(), vec![1])]);
        assert_eq!(commit(&stale).await.unwrap(), Committed::Lost);
        assert_eq!(world.reload(id).await, stale.view.machine);
        assert_eq!(world.store.secret_get("s").await.unwrap(), None);
        world.store.machine_release_claim(stale.claim()).await.unwrap();
        assert!(claim(&world, "c").await.is_empty(), "a stale claim does not end the holder's lease");
        assert_eq!(commit(&holder).await.unwrap(), Committed::Done);
        assert_eq!(world.reload(id).await.state, State::Ready);
        assert_eq!(commit(&holder).await.unwrap(), Committed::Lost, "once only");
        assert_eq!(world.store.event_revision().await.unwrap(), 2);
    });
}

#[test]
fn a_person_outruns_the_engine() {
    on_both(|world: World| async move {
        let before = world.machine(1).await.machine;
        let tick = claim(&world, "a").await.remove(0);
        let abort = lifecycle::next(State::Commissioning, Event::Abort).unwrap();
        let change = Change::of(before.clone()).along(abort, "user:bob", "enough", &Deadlines::new(), world.now());
        world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![]).await.unwrap();
        let committed = world.store.machine_commit(tick.claim(), wait(&before, &world, 15), vec![]).await.unwrap();
        assert_eq!(committed, Committed::Lost);
        let again = claim(&world, "a").await;
        assert_eq!(again[0].view.machine.state, State::FailedCommissioning, "at once: the lost claim is over");
    });
}

#[test]
fn a_mere_wait_keeps_the_version_and_nothing_else_does() {
    on_both(|world: World| async move {
        let id = world.machine(1).await.machine.id;
        let tick = claim(&world, "a").await.remove(0);
        let change = wait(&tick.view.machine, &world, 15);
        let expected = change.machine.clone();
        assert_eq!(world.store.machine_commit(tick.claim(), change, vec![]).await.unwrap(), Committed::Done);
        assert_eq!(world.reload(id).await, expected);
        assert!(claim(&world, "a").await.is_empty());
        world.later(15);
        let tick = claim(&world, "a").await.remove(0);
        let mut change = Change::of(tick.view.machine.clone());
        change.machine.work.phase = Some(Phase::PowerOff);
        change.machine.due_at = None;
        change.boot = Some(NewBoot { id: BootId::generate(), purpose: State::Commissioning });
        assert_eq!(world.store.machine_commit(tick.claim(), change, vec![]).await.unwrap(), Committed::Done);
        let after = world.reload(id).await;
        assert_eq!((after.version, after.due_at, after.updated_at), (2, None, world.now()));
    });
}

#[test]
fn a_wake_during_a_tick_is_not_lost() {
    on_both(|world: World| async move {
        let id = world.machine(1).await.machine.id;
        for commit_rests in [false, true] {
            let tick = claim(&world, "a").await.remove(0);
            let woken = world.later(1);
            world.store.machine_wake(id).await.unwrap();
            let mut change = wait(&tick.view.machine, &world, 600);
            if commit_rests {
                change.machine.due_at = None;
            }
            assert_eq!(world.store.machine_commit(tick.claim(), change, vec![]).await.unwrap(), Committed::Done);
            let due = world.reload(id).await.due_at.unwrap();
            assert!(due <= woken, "{due}");
        }
        let tick = claim(&world, "a").await.remove(0);
        let change = wait(&tick.view.machine, &world, 600);
        let expected = change.machine.due_at;
        world.store.machine_commit(tick.claim(), change, vec![]).await.unwrap();
        assert_eq!(world.reload(id).await.due_at, expected, "the wake before the claim is used up");
        world.store.machine_wake(id).await.unwrap();
        assert_eq!(world.reload(id).await.due_at, Some(world.now()));
    });
}

#[test]
fn a_wake_before_a_persons_change_is_not_lost() {
    on_both(|world: World| async move {
        let mut quiet = machine(1, world.now());
        quiet.due_at = None;
        let read = world.insert(quiet).await.unwrap().machine;
        world.store.machine_wake(read.id).await.unwrap();
        world.store.machine_apply(None, Change::of(read.clone()), 1, Extra::default(), |_| vec![]).await.unwrap();
        assert_eq!(world.reload(read.id).await.due_at, Some(world.now()));
    });
}

#[test]
fn work_is_told() {
    on_both(|world: World| async move {
        let told = async || {
            tokio::time::timeout(std::time::Duration::from_millis(1), world.store.work().notified()).await.is_ok()
        };
        assert!(!told().await);
        let id = world.machine(1).await.machine.id;
        assert!(told().await);
        world.store.machine_wake(id).await.unwrap();
        assert!(told().await);
        world.store.secret_put("x", vec![]).await.unwrap();
        assert!(!told().await);
    });
}

/// Four workers, two of them in another process' pool, share 24 machines, each five ticks long.
#[test]
fn workers_exclude_each_other() {
    on_both(|world: World| async move {
        for n in 1..=24 {
            world.machine(n).await;
        }
        let other = world.again().await;
        let mut workers = tokio::task::JoinSet::new();
        for (n, store) in [&world.store, &world.store, &other.store, &other.store].into_iter().enumerate() {
            workers.spawn(work(store.clone(), format!("w{n}"), world.now()));
        }
        let mut ticks: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        while let Some(done) = workers.join_next().await {
            for (name, epoch) in done.unwrap() {
                ticks.entry(name).or_default().push(epoch);
            }
        }
        assert_eq!(ticks.len(), 24);
        for (name, mut epochs) in ticks {
            epochs.sort_unstable();
            assert_eq!(epochs, [1, 2, 3, 4, 5], "{name}");
        }
    });
}

async fn work(store: Store, owner: String, now: farrier_common::clock::Timestamp) -> Vec<(String, i64)> {
    let mut done = Vec::new();
    // All are due until their fifth tick; claimed ones are due too, so an empty claim only means: look again.
    while store.due_oldest(now).await.unwrap().is_some() {
        for claimed in store.machine_claim_due(&owner, now, LEASE, 3).await.unwrap() {
            let mut change = Change::of(claimed.view.machine.clone());
            change.machine.details.boot_tries += 1;
            if claimed.epoch == 5 {
                change.machine.due_at = None;
            }
            done.push((claimed.view.machine.name.to_string(), claimed.epoch));
            let committed = store.machine_commit(claimed.claim(), change, vec![]).await.unwrap();
            assert_eq!(committed, Committed::Done);
        }
    }
    done
}

#[test]
fn who_comes_back_ends_his_own_claims_and_no_others() {
    on_both(|world: World| async move {
        let (first, second) = (world.machine(1).await.machine.id, world.machine(2).await.machine.id);
        let theirs = world.store.machine_claim_due("other", world.now(), LEASE, 1).await.unwrap().remove(0);
        let ours = world.store.machine_claim_due("dead", world.now(), LEASE, 1).await.unwrap().remove(0);
        assert_eq!([theirs.view.machine.id, ours.view.machine.id], [first, second]);
        let reborn = world.again().await;
        reborn.later(1);
        assert_eq!(reborn.store.machine_end_claims("nobody").await.unwrap(), 0);
        assert!(claim(&reborn, "dead").await.is_empty(), "both are held");
        assert_eq!(reborn.store.machine_end_claims("dead").await.unwrap(), 1);
        assert_eq!(reborn.store.machine_end_claims("dead").await.unwrap(), 0, "once");
        let done = |c: &Claimed| world.store.machine_commit(c.claim(), wait(&c.view.machine, &world, 15), vec![]);
        assert_eq!(done(&ours).await.unwrap(), Committed::Lost, "should the dead one live, it commits nothing");
        let again = claim(&reborn, "dead").await.remove(0);
        assert_eq!((again.view.machine.id, again.epoch), (second, ours.epoch + 2));
        assert_eq!(again.view.machine, ours.view.machine);
        assert_eq!(done(&theirs).await.unwrap(), Committed::Done, "others' claims go on");
    });
}

#[test]
fn a_machine_of_an_ended_claim_is_due_now_though_its_clock_was_ahead() {
    on_both(|world: World| async move {
        let mut ahead = machine(1, world.now());
        ahead.due_at = Some(world.now() + TimeDelta::seconds(5));
        let id = world.insert(ahead).await.unwrap().machine.id;
        let later = world.now() + TimeDelta::seconds(5);
        assert_eq!(world.store.machine_claim_due("dead", later, LEASE, 1).await.unwrap().len(), 1);
        assert_eq!(world.store.machine_end_claims("dead").await.unwrap(), 1);
        assert_eq!(world.reload(id).await.due_at, Some(world.now()));
    });
}

#[test]
fn between_writing_and_committing_nothing_is_seen() {
    on_both(|world: World| async move {
        let id = world.machine(1).await.machine.id;
        let tick = claim(&world, "a").await.remove(0);
        let mut change = Change::of(tick.view.machine.clone());
        change.machine.reason = "written".to_owned();
        change.machine.work.phase = Some(Phase::PowerOff);
        let other = world.again().await.store;
        let runtime = tokio::runtime::Handle::current();
        let (tell, told) = std::sync::mpsc::channel();
        let written = move || tell.send(runtime.block_on(other.machine_get(id)).unwrap().unwrap().machine).unwrap();
        let committed = world.store.machine_commit_after(tick.claim(), change, vec![], written).await.unwrap();
        assert_eq!(committed, Committed::Done);
        assert_eq!(told.recv().unwrap(), tick.view.machine, "the transaction was open");
        assert_eq!(world.reload(id).await.reason, "written");
    });
}
