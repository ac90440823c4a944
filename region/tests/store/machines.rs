//! Machines: reading, inserting and changing them.

use chrono::TimeDelta;
use farrier_common::{
    hardware::PowerState,
    id::{BootId, MachineId},
};
use farrier_region::{
    domain::{
        Error,
        advance::{Change, Deadlines, NewBoot},
        event::EventKind,
        lifecycle::{self, Event, State},
        machine::{Interface, Owner},
        observation::{TaskKind, TaskStatus},
    },
    store::{Extra, MachineFilter, Once},
};

use crate::world::{World, fresh, mac, machine, on_both};

#[test]
fn come_back_as_they_were_put_in() {
    on_both(|world: World| async move {
        let (owner, rack) = (world.user("bob").await, world.rack("r1").await);
        let mut put = machine(1, world.now());
        put.owner = Some(Owner::User(owner.id));
        put.rack = Some(rack.id);
        put.power = Some((PowerState::On, world.now()));
        put.work.attempts = 3;
        put.work.last_error = Some("no answer".to_owned());
        put.work.phase = Some(lifecycle::Phase::Boot);
        put.work.phase_since = Some(world.now());
        put.details.labels.insert("row".to_owned(), "7".to_owned());
        put.interfaces.push(Interface { mac: mac(101), address: None });
        let view = world.insert(put.clone()).await.unwrap();
        assert_eq!(view.machine, put);
        assert_eq!(view.owner, Some(owner.name));
        assert_eq!(view.rack, Some(rack.name));
        assert_eq!(world.store.machine_get(put.id).await.unwrap().as_ref(), Some(&view));
        assert_eq!(world.store.machine_find("m1").await.unwrap().as_ref(), Some(&view));
        assert_eq!(world.store.machine_find(&put.id.to_string()).await.unwrap(), Some(view));
        assert_eq!(world.store.machine_find("m2").await.unwrap(), None);
        assert_eq!(world.store.machine_get(MachineId::generate()).await.unwrap(), None);
        assert_eq!(world.store.machine_by_mac(mac(101)).await.unwrap(), Some(put.id));
        assert_eq!(world.store.machine_by_mac(mac(9)).await.unwrap(), None);
        assert_eq!(world.store.machines_of_rack(rack.id).await.unwrap(), [put]);
        let all = ["10.0.0.1", "10.1.0.1", "10.1.0.2"].map(|a| a.parse::<std::net::Ipv4Addr>().unwrap());
        let taken: Vec<_> = world.store.addresses_taken(&all).await.unwrap().into_iter().collect();
        assert_eq!(taken, all[..2], "its own, its BMC's");
    });
}

#[test]
fn names_macs_and_addresses_are_unique() {
    on_both(|world: World| async move {
        world.machine(1).await;
        let refusal = async |change: &dyn Fn(&mut farrier_region::domain::machine::Machine)| {
            let mut other = machine(2, world.now());
            change(&mut other);
            let refused = world.insert(other).await.unwrap_err();
            assert!(matches!(refused, Error::Exists { .. }), "{refused:?}");
            refused.to_string()
        };
        assert_eq!(refusal(&|m| m.name = "m1".parse().unwrap()).await, "machine \"m1\" exists already");
        assert_eq!(
            refusal(&|m| m.interfaces[0].mac = mac(1)).await,
            "MAC address \"52:54:00:00:00:01 (of machine m1)\" exists already"
        );
        assert_eq!(
            refusal(&|m| m.interfaces[0].address = Some([10, 0, 0, 1].into())).await,
            "address \"10.0.0.1 (of machine m1)\" exists already"
        );
        assert_eq!(
            refusal(&|m| m.interfaces.push(m.interfaces[0].clone())).await,
            "MAC address \"52:54:00:00:00:02 (given twice)\" exists already"
        );
        // Nothing of the refused is left.
        assert_eq!(world.store.machine_by_mac(mac(2)).await.unwrap(), None);
        assert_eq!(world.store.event_list(0, None, None, 100).await.unwrap().len(), 1);
        world.machine(2).await;
    });
}

#[test]
fn are_listed_in_pages_by_state() {
    on_both(|world: World| async move {
        let mut ids = Vec::new();
        for n in 1..=5 {
            ids.push(world.machine(n).await.machine.id);
        }
        let done = lifecycle::next(State::Commissioning, Event::Done).unwrap();
        let third = world.reload(ids[2]).await;
        let change = Change::of(third).along(done, "test", "why not", &Deadlines::new(), world.now());
        world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![]).await.unwrap();
        let list = async |states: &[State], after, limit| {
            let filter = MachineFilter { states: states.to_vec(), ..MachineFilter::default() };
            let (page, revision) = world.store.machine_list(filter, after, limit).await.unwrap();
            assert_eq!(revision, 6);
            page.into_iter().map(|v| v.machine.id).collect::<Vec<_>>()
        };
        assert_eq!(list(&[], None, 2).await, ids[..2]);
        assert_eq!(list(&[], Some(ids[1]), 9).await, ids[2..]);
        assert_eq!(list(&[State::Ready, State::New], None, 9).await, [ids[2]]);
    });
}

#[test]
fn a_change_goes_through_once_per_version_and_whole() {
    on_both(|world: World| async move {
        let before = world.machine(1).await.machine;
        let now = world.later(5);
        let boot = NewBoot { id: BootId::generate(), purpose: State::Ready };
        let edge = lifecycle::next(State::Commissioning, Event::Done).unwrap();
        let mut change = Change::of(before.clone()).along(edge, "engine", "all is well", &Deadlines::new(), now);
        change.boot = Some(boot);
        change.task = Some(TaskKind::Erase);
        change.machine.interfaces = vec![Interface { mac: mac(7), address: None }, before.interfaces[0].clone()];
        let keep = ["a", "c"].map(|purpose| (purpose.to_owned(), vec![3])).to_vec();
        let extra = Extra { secrets: vec![("a".to_owned(), vec![1])], keep, forget: vec!["b".to_owned()] };
        world.store.secret_put("b", vec![2]).await.unwrap();

        let apply = || world.store.machine_apply(None, change.clone(), 1, extra.clone(), |_| vec![]);
        let after = fresh(apply().await.unwrap()).machine;
        assert_eq!((after.state, after.version, after.updated_at), (State::Ready, 2, now));
        assert_eq!(after.interfaces, change.machine.interfaces);
        assert_eq!(after, world.reload(before.id).await);
        assert_eq!(world.store.secret_get("a").await.unwrap(), Some(vec![1]));
        assert_eq!(world.store.secret_get("c").await.unwrap(), Some(vec![3]), "nothing was there to keep");
        assert_eq!(world.store.secret_get("b").await.unwrap(), None);
        assert_eq!(world.store.boot_get(boot.id).await.unwrap().unwrap().machine, before.id);
        let task = world.store.task_current(boot.id).await.unwrap().unwrap();
        assert_eq!((task.kind, task.status), (TaskKind::Erase, TaskStatus::Pending));
        let log = world.store.event_list(1, None, None, 9).await.unwrap();
        assert_eq!((log.len(), log[0].body.to, log[0].at), (1, Some(State::Ready), now));
        assert_eq!(log[0].machine_name, Some(before.name));

        let refused = apply().await.unwrap_err();
        assert_eq!(refused.to_string(), "machine m1 has changed: its etag is 2 now");
        assert_eq!(world.reload(before.id).await, after);
        assert_eq!(world.store.event_revision().await.unwrap(), 2);
    });
}

#[test]
fn of_two_changes_at_once_one_is_refused() {
    on_both(|world: World| async move {
        for n in 1..=10 {
            let before = world.machine(n).await.machine;
            let apply = || {
                let change = Change::of(before.clone());
                world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![])
            };
            let (a, b) = tokio::join!(apply(), apply());
            let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
            assert!(matches!(won, Ok(Once::Fresh(_))));
            assert!(matches!(lost, Err(Error::Conflict { .. })));
            assert_eq!(world.reload(before.id).await.version, 2);
        }
    });
}

#[test]
fn the_state_follows_edges_only() {
    on_both(|world: World| async move {
        let before = world.machine(1).await.machine;
        let wrong = lifecycle::next(State::Ready, Event::Allocate).unwrap();
        let change = Change::of(before.clone()).along(wrong, "test", "", &Deadlines::new(), world.now());
        let refused = world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![]).await.unwrap_err();
        assert!(matches!(refused, Error::Internal(_)), "{refused}");
        let mut change = Change::of(before.clone());
        change.machine.state = State::Deployed;
        let view = world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![]).await.unwrap();
        assert_eq!(fresh(view).machine.state, State::Commissioning);
    });
}

#[test]
fn news_of_power_is_logged_once_and_wakes_who_works() {
    on_both(|world: World| async move {
        let mut quiet = machine(1, world.now());
        quiet.due_at = None;
        let id = world.insert(quiet).await.unwrap().machine.id;
        let at = world.later(10);
        assert!(world.store.machine_set_power(id, PowerState::On, at).await.unwrap());
        let woken = world.reload(id).await;
        assert_eq!((woken.power, woken.due_at, woken.version), (Some((PowerState::On, at)), Some(at), 1));
        let later = world.later(10);
        assert!(!world.store.machine_set_power(id, PowerState::On, later).await.unwrap());
        assert_eq!(world.reload(id).await.power, Some((PowerState::On, later)));
        assert!(!world.store.machine_set_power(id, PowerState::Off, at).await.unwrap(), "older than what is known");
        let log = world.store.event_list(0, Some(id), Some(EventKind::Power), 9).await.unwrap();
        assert_eq!(log.iter().map(|e| e.body.reason.as_str()).collect::<Vec<_>>(), ["power is on"]);
        let none = world.store.machine_set_power(MachineId::generate(), PowerState::On, at).await;
        assert!(matches!(none, Err(Error::NotFound { .. })));
    });
}

#[test]
fn those_with_a_bmc_are_handed_out_for_polling_once_per_period() {
    on_both(|world: World| async move {
        let rack = world.rack("r1").await;
        for n in 1..=4 {
            let mut m = machine(n, world.now());
            m.rack = (n != 3).then_some(rack.id);
            if n == 4 {
                m.details.bmc = None;
            }
            world.insert(m).await.unwrap();
        }
        let poll = async |limit| {
            let now = world.now();
            let found = world.store.machines_to_poll(now - TimeDelta::seconds(30), limit).await.unwrap();
            found.into_iter().map(|m| m.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(poll(1).await, ["m1"]);
        assert_eq!(poll(9).await, ["m2"]);
        assert_eq!(poll(9).await, Vec::<String>::new());
        let now = world.later(31);
        let m2 = world.store.machine_find("m2").await.unwrap().unwrap().machine.id;
        world.store.machine_set_power(m2, PowerState::Off, now).await.unwrap();
        assert_eq!(poll(9).await, ["m1"], "of m2 enough is known");
    });
}

#[test]
fn what_many_bmcs_say_is_taken_down_at_once_and_news_is_logged() {
    on_both(|world: World| async move {
        let mut ids = Vec::new();
        for n in 1..=3 {
            ids.push(world.insert(machine(n, world.now())).await.unwrap().machine.id);
        }
        let gone = MachineId::generate();
        let tell = async |powers: [PowerState; 3], at| {
            let seen = ids.iter().copied().zip(powers).chain([(gone, On)]).collect();
            world.store.machines_set_power(seen, at).await.unwrap();
        };
        let known = async || {
            let mut known = Vec::new();
            for id in &ids {
                known.push(world.reload(*id).await.power.unwrap());
            }
            known
        };
        use PowerState::{Off, On};
        let first = world.later(10);
        tell([On, Off, On], first).await;
        assert_eq!(known().await, [(On, first), (Off, first), (On, first)]);
        let second = world.later(10);
        tell([On, On, On], second).await;
        assert_eq!(known().await, [(On, second); 3]);
        tell([Off, Off, Off], first).await;
        assert_eq!(known().await, [(On, second); 3], "older than what is known");
        let log = world.store.event_list(0, None, Some(EventKind::Power), 9).await.unwrap();
        let log: Vec<_> = log.iter().map(|e| (e.body.machine.unwrap(), e.body.reason.as_str())).collect();
        let news = [(1, "power is off"), (0, "power is on"), (2, "power is on"), (1, "power is on")];
        assert_eq!(log, news.map(|(n, text)| (ids[n], text)));
    });
}
