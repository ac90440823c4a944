//! What agents and racks report.

use chrono::TimeDelta;
use farrier_common::id::{BootId, Id, MachineId, TaskId};
use farrier_region::{
    domain::{
        Error,
        advance::{Change, NewBoot},
        lifecycle::State,
        machine::{DiskErasure, Hardware, Interface},
        observation::{TaskKind, TaskResult, TaskStatus},
    },
    store::{Extra, Hello, StepRow},
};

use crate::world::{World, mac, machine, on_both};

/// A machine that is not due, with a boot that has a task.
async fn booted(world: &World, kind: TaskKind) -> (MachineId, BootId, TaskId) {
    let mut quiet = machine(1, world.now());
    quiet.due_at = None;
    let quiet = world.insert(quiet).await.unwrap().machine;
    let boot = NewBoot { id: BootId::generate(), purpose: State::Commissioning };
    let mut change = Change::of(quiet.clone());
    change.machine.details.boot = Some(boot.id);
    change.boot = Some(boot);
    change.task = Some(kind);
    world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![]).await.unwrap();
    let task = world.store.task_current(boot.id).await.unwrap().unwrap();
    assert_eq!((task.boot, task.machine, task.kind), (boot.id, quiet.id, kind));
    (quiet.id, boot.id, task.id)
}

#[test]
fn one_agent_says_hello_to_a_boot() {
    on_both(|world: World| async move {
        let (id, boot, _) = booted(&world, TaskKind::Inventory).await;
        let now = world.later(3);
        assert_eq!(world.store.boot_hello(boot, "digest a").await.unwrap(), Hello::First);
        assert_eq!(world.reload(id).await.due_at, Some(now));
        let anew = world.later(3);
        assert_eq!(world.store.boot_hello(boot, "digest a").await.unwrap(), Hello::Again);
        assert_eq!(world.store.boot_get(boot).await.unwrap().unwrap().restarted_at, None);
        assert_eq!(world.store.boot_hello(boot, "digest b").await.unwrap(), Hello::Taken);
        world.later(3);
        assert_eq!(world.store.boot_hello(boot, "digest c").await.unwrap(), Hello::Taken);
        let row = world.store.boot_get(boot).await.unwrap().unwrap();
        assert_eq!(row.restarted_at, Some(anew), "the machine started anew, and that is when it was first seen");
        assert_eq!((row.hello_at, row.session_digest.as_deref()), (Some(now), Some("digest a")));
        assert_eq!((row.machine, row.purpose, row.phoned_home_at), (id, State::Commissioning, None));
        let none = world.store.boot_hello(BootId::generate(), "digest").await;
        assert!(matches!(none, Err(Error::NotFound { kind: "boot", .. })));
        assert_eq!(world.store.boot_get(BootId::generate()).await.unwrap(), None);
    });
}

#[test]
fn hellos_at_once_open_one_session() {
    on_both(|world: World| async move {
        let (_, boot, _) = booted(&world, TaskKind::Inventory).await;
        let (a, b) = tokio::join!(world.store.boot_hello(boot, "a"), world.store.boot_hello(boot, "b"));
        let mut both = [a.unwrap(), b.unwrap()];
        both.sort_by_key(|hello| *hello == Hello::Taken);
        assert_eq!(both, [Hello::First, Hello::Taken]);
    });
}

#[test]
fn phoning_home_is_taken_down_once() {
    on_both(|world: World| async move {
        let (id, boot, _) = booted(&world, TaskKind::Inventory).await;
        let first = world.later(3);
        world.store.boot_phoned_home(boot).await.unwrap();
        world.later(3);
        world.store.boot_phoned_home(boot).await.unwrap();
        assert_eq!(world.store.boot_get(boot).await.unwrap().unwrap().phoned_home_at, Some(first));
        assert_eq!(world.reload(id).await.due_at, Some(first));
        assert!(matches!(world.store.boot_phoned_home(BootId::generate()).await, Err(Error::NotFound { .. })));
    });
}

#[test]
fn every_kind_of_result_comes_back_as_it_was() {
    on_both(|world: World| async move {
        let (_, _, id) = booted(&world, TaskKind::Inventory).await;
        let erased = DiskErasure {
            disk_serial: "s1".to_owned(),
            disk_name: "sda".to_owned(),
            size_bytes: u64::MAX,
            method: "discard".to_owned(),
            sampled_bytes: 9,
            finished_at: world.now(),
        };
        let hardware = Hardware { vendor: "Ö".to_owned(), memory_bytes: u64::MAX, ..Hardware::default() };
        let interfaces = vec![
            Interface { mac: mac(1), address: None },
            Interface { mac: mac(2), address: Some([10, 0, 0, 9].into()) },
        ];
        let results = [
            TaskResult::Inventory { hardware: Box::new(hardware), interfaces },
            TaskResult::WriteImage { text: "sda".to_owned() },
            TaskResult::Erase(vec![erased]),
            TaskResult::PowerOff,
        ];
        let mut task = id;
        for (n, result) in (0..).zip(results) {
            let ended = TaskStatus::Done(result);
            assert!(world.store.task_finish(task, ended.clone()).await.unwrap());
            assert_eq!(world.store.task_get(task).await.unwrap().unwrap().status, ended);
            task = next(&world, n).await;
        }
    });
}

/// Makes another task for the boot of the one machine.
async fn next(world: &World, n: i64) -> TaskId {
    let m = world.store.machine_find("m1").await.unwrap().unwrap().machine;
    let (boot, version) = (m.details.boot.unwrap(), m.version);
    assert_eq!(version, n + 2);
    let mut change = Change::of(m);
    change.task = Some(TaskKind::PowerOff);
    world.store.machine_apply(None, change, version, Extra::default(), |_| vec![]).await.unwrap();
    world.store.task_current(boot).await.unwrap().unwrap().id
}

#[test]
fn the_first_end_of_a_task_counts() {
    on_both(|world: World| async move {
        let (id, _, task) = booted(&world, TaskKind::WriteImage).await;
        let status = async || world.store.task_get(task).await.unwrap().unwrap().status;
        assert_eq!(status().await, TaskStatus::Pending);
        world.store.task_started(task).await.unwrap();
        assert_eq!(status().await, TaskStatus::Running(String::new()));
        world.store.task_progress(task, "half").await.unwrap();
        world.store.task_started(task).await.unwrap();
        assert_eq!(status().await, TaskStatus::Running("half".to_owned()));
        assert_eq!(world.reload(id).await.due_at, None, "progress wakes nobody");

        let now = world.later(9);
        let failed = TaskStatus::Failed("no disk".to_owned());
        assert!(world.store.task_finish(task, failed.clone()).await.unwrap());
        assert_eq!(world.reload(id).await.due_at, Some(now));
        world.later(9);
        assert!(!world.store.task_finish(task, TaskStatus::Done(TaskResult::PowerOff)).await.unwrap());
        world.store.task_progress(task, "all").await.unwrap();
        world.store.task_started(task).await.unwrap();
        assert_eq!(status().await, failed);
        assert_eq!(world.reload(id).await.due_at, Some(now), "nobody is woken twice");
        assert!(!world.store.task_finish(TaskId::generate(), failed).await.unwrap());
        assert!(world.store.task_finish(task, TaskStatus::Pending).await.is_err());
        assert_eq!(world.store.task_get(TaskId::generate()).await.unwrap(), None);
    });
}

#[test]
fn steps_are_kept_once_and_find_their_machine() {
    on_both(|world: World| async move {
        let (id, boot, _) = booted(&world, TaskKind::Inventory).await;
        let at = |seconds| world.now() + TimeDelta::seconds(seconds);
        let step = |n: i64, machine, mac| StepRow {
            id: Id::<farrier_common::id::Boot>::generate().uuid(),
            at: at(n),
            mac,
            machine,
            boot: Some(boot),
            kind: "dhcp".to_owned(),
            text: format!("step {n}"),
        };
        let unknown = step(9, None, mac(99));
        let steps = vec![
            step(3, Some(id), mac(1)),
            step(1, None, mac(1)),
            step(2, Some(MachineId::generate()), mac(1)),
            unknown,
        ];
        world.store.steps_put(steps.clone()).await.unwrap();
        let mut repeated = steps.clone();
        repeated[0].text = "changed".to_owned();
        world.store.steps_put(repeated).await.unwrap();
        let of = async |limit| {
            let found = world.store.steps_of(id, limit).await.unwrap();
            found.into_iter().map(|s| (s.text, s.machine)).collect::<Vec<_>>()
        };
        let told = |n| (format!("step {n}"), Some(id));
        assert_eq!(of(9).await, [told(1), told(2), told(3)]);
        assert_eq!(of(2).await, [told(2), told(3)]);
        assert_eq!(world.store.steps_prune(at(2)).await.unwrap(), 1);
        assert_eq!(of(9).await, [told(2), told(3)]);
    });
}

#[test]
fn the_timeline_merges_events_steps_and_tasks() {
    on_both(|world: World| async move {
        let (id, boot, task) = booted(&world, TaskKind::WriteImage).await;
        let at = world.later(1);
        let step = StepRow {
            id: boot.uuid(),
            at,
            mac: mac(1),
            machine: None,
            boot: Some(boot),
            kind: "http".to_owned(),
            text: "kernel".to_owned(),
        };
        world.store.steps_put(vec![step]).await.unwrap();
        world.later(1);
        world.store.task_started(task).await.unwrap();
        world.later(1);
        world.store.machine_set_power(id, farrier_common::hardware::PowerState::On, world.now()).await.unwrap();
        world.later(1);
        let done = TaskStatus::Done(TaskResult::WriteImage { text: "on sda".to_owned() });
        world.store.task_finish(task, done).await.unwrap();
        let timeline = async |limit| {
            let found = world.store.machine_timeline(id, limit).await.unwrap();
            found.into_iter().map(|t| format!("{} {} {}", t.kind, t.text, t.boot.is_some())).collect::<Vec<_>>()
        };
        let expected = [
            "transition commissioning: a test wants it false",
            "http kernel true",
            "task write-image begins true",
            "power power is on false",
            "task write-image is done: on sda true",
        ];
        assert_eq!(timeline(99).await, expected);
        assert_eq!(timeline(2).await, expected[3..]);
    });
}
