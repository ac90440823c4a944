//! Taking machines: who is first, who is held up, and what is undone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use farrier_common::id::MachineId;
use farrier_region::{
    domain::{
        Error, Result,
        advance::{Change, Deadlines},
        allocation::{Candidate, Constraints, Plan, Want, plan},
        lifecycle::{self, Event, State},
        machine::{Hardware, Machine, Owner},
        user::User,
        verbs::{self, Asked, Hold},
    },
    store::{Allocating, Extra, MachineView, Once},
};

use crate::world::{World, fresh, on_both, request};

/// Somebody who wants so many of any kind, or of at least so many cores.
struct Wish {
    user: User,
    wants: Vec<Want>,
    now: farrier_common::clock::Timestamp,
    chosen: AtomicUsize,
    /// Refuses to hold this machine though it was chosen.
    shuns: Option<MachineId>,
}

impl Allocating for Wish {
    type Answer = Vec<MachineView>;

    fn choose(&self, ready: &[Arc<Candidate>]) -> Plan {
        self.chosen.fetch_add(1, Ordering::Relaxed);
        plan(ready, &self.user, &self.wants)
    }

    fn takes_fewer(&self) -> bool {
        false
    }

    fn judge(&self, plan: &Plan, named: &[MachineView]) -> Result<Vec<String>> {
        assert!(named.is_empty());
        match plan.short.iter().flatten().next() {
            Some(short) => Err(Error::Exhausted(format!("{short:?}"))),
            None => Ok(vec![String::new(); plan.groups.len()]),
        }
    }

    fn hold(&self, plan: &Plan, group: usize, m: &Machine) -> Option<Change> {
        Candidate::from(m).fits(&plan.constraints[group]).ok()?;
        let hold = Hold { owner: Owner::User(self.user.id), name: self.user.name.to_string(), lease_expires: None };
        let asked = Asked { user: &self.user, deadlines: &Deadlines::new(), now: self.now };
        verbs::hold(&asked, m, &hold).ok().filter(|_| self.shuns != Some(m.id))
    }

    fn answer(&self, _: &Plan, _: &[String], taken: Vec<Vec<MachineView>>) -> Result<Vec<MachineView>> {
        Ok(taken.concat())
    }

    fn render(&self, answer: &Vec<MachineView>) -> Vec<u8> {
        answer.iter().map(|v| v.machine.name.to_string()).collect::<Vec<_>>().join(",").into_bytes()
    }
}

fn wish(w: &World, user: &User, count: usize, min_cpu_cores: u32) -> Wish {
    let constraints = Constraints { min_cpu_cores, ..Constraints::default() };
    let wants = vec![Want { machine: String::new(), constraints, count }];
    Wish { user: user.clone(), wants, now: w.now(), chosen: AtomicUsize::new(0), shuns: None }
}

/// Machines m1 … with one core more each.
async fn ready(w: &World, machines: u8) -> Vec<MachineId> {
    let mut ids = Vec::new();
    for n in 1..=machines {
        let mut m = w.machine(n).await.machine;
        m.details.hardware = Some(Hardware { cpu_cores: n.into(), ..Hardware::default() });
        let (id, version) = (m.id, m.version);
        let edge = lifecycle::next(State::Commissioning, Event::Done).unwrap();
        let change = Change::of(m).along(edge, "engine", "done", &Deadlines::new(), w.now());
        w.store.machine_apply(None, change, version, Extra::default(), |_| vec![]).await.unwrap();
        ids.push(id);
    }
    ids
}

fn names(views: &[MachineView]) -> Vec<&str> {
    views.iter().map(|v| v.machine.name.as_str()).collect()
}

#[test]
fn the_cheapest_are_taken_once_and_kept_with_their_request() {
    on_both(|w| async move {
        let ulf = w.user("ulf").await;
        ready(&w, 4).await;
        let ask = request("a", "body");
        let made = fresh(w.store.machines_hold(Some(&ask), Arc::new(wish(&w, &ulf, 2, 2)), false).await.unwrap());
        assert_eq!(names(&made), ["m2", "m3"]);
        assert_eq!((made[0].machine.owner, made[0].machine.state), (Some(Owner::User(ulf.id)), State::Allocated));
        let again = w.store.machines_hold(Some(&ask), Arc::new(wish(&w, &ulf, 2, 0)), false).await.unwrap();
        assert_eq!(again, Once::Replay(b"m2,m3".to_vec()));
        // A dry run tells which it would be, and undoes it.
        let mut dry = request("b", "body");
        dry.validate_only = true;
        for _ in 0..2 {
            let told = fresh(w.store.machines_hold(Some(&dry), Arc::new(wish(&w, &ulf, 2, 0)), true).await.unwrap());
            assert_eq!(names(&told), ["m1", "m4"]);
        }
        let much = w.store.machines_hold(None, Arc::new(wish(&w, &ulf, 3, 0)), false).await.unwrap_err();
        assert!(matches!(much, Error::Exhausted(_)), "{much}");
        assert_eq!(
            names(&fresh(w.store.machines_hold(None, Arc::new(wish(&w, &ulf, 2, 0)), true).await.unwrap())),
            ["m1", "m4"]
        );
    });
}

#[test]
fn what_changes_between_choosing_and_taking_is_looked_at_again() {
    on_both(|w| async move {
        let ulf = w.user("ulf").await;
        let ids = ready(&w, 2).await;
        let mut one = wish(&w, &ulf, 1, 0);
        one.shuns = Some(ids[0]);
        assert_eq!(names(&fresh(w.store.machines_hold(None, Arc::new(one), false).await.unwrap())), ["m2"]);
        // The only one left is not to be taken after all: chosen three times, and nothing is done.
        let mut none = wish(&w, &ulf, 1, 0);
        none.shuns = Some(ids[0]);
        let none = Arc::new(none);
        let refused = w.store.machines_hold(None, Arc::clone(&none), false).await.unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
        assert_eq!(none.chosen.load(Ordering::Relaxed), 3);
        assert_eq!(w.reload(ids[0]).await.state, State::Ready);
        // A candidate that was kept is read anew once its machine has changed.
        let mut m = w.reload(ids[0]).await;
        m.details.hardware = Some(Hardware { cpu_cores: 64, ..Hardware::default() });
        let version = m.version;
        w.store.machine_apply(None, Change::of(m), version, Extra::default(), |_| vec![]).await.unwrap();
        assert_eq!(
            names(&fresh(w.store.machines_hold(None, Arc::new(wish(&w, &ulf, 1, 64)), false).await.unwrap())),
            ["m1"]
        );
    });
}

#[test]
fn two_processes_give_nobody_the_same_machine() {
    on_both(|w| async move {
        let ulf = w.user("ulf").await;
        ready(&w, 12).await;
        let other = w.again().await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let store = if n % 2 == 0 { w.store.clone() } else { other.store.clone() };
            let wish = Arc::new(wish(&w, &ulf, 1 + n % 2, 0));
            tasks.spawn(async move {
                for attempt in 0..8 {
                    match store.machines_hold(None, Arc::clone(&wish), attempt >= 2).await {
                        Ok(Once::Fresh(held)) => return held,
                        Err(Error::Conflict { .. }) => {}
                        Err(Error::Exhausted(_)) => return vec![],
                        other => panic!("{other:?}"),
                    }
                }
                vec![]
            });
        }
        let mut held: Vec<String> =
            tasks.join_all().await.concat().iter().map(|v| v.machine.name.to_string()).collect();
        held.sort();
        let all = held.len();
        held.dedup();
        assert_eq!(held.len(), all, "none is held twice");
        // Who wanted two may have found one left; nobody wants one after the last.
        assert!((11..=12).contains(&all), "{held:?}");
    });
}
