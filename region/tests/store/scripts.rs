//! Scripts and what they did.

use chrono::TimeDelta;
use farrier_common::id::{BootId, MachineId, ScriptId, TaskId};
use farrier_region::{
    domain::{
        Error,
        advance::{Change, NewBoot},
        lifecycle::State,
        observation::{TaskKind, TaskResult, TaskStatus},
        script::{Outcome, RunStatus, Script, ScriptKind},
    },
    store::Extra,
};

use crate::world::{World, fresh, machine, on_both, request};

fn script(world: &World, name: &str) -> Script {
    Script {
        id: ScriptId::generate(),
        name: name.parse().unwrap(),
        kind: ScriptKind::Test,
        content: "#!/bin/sh\n".to_owned(),
        timeout_seconds: 86_400,
        description: "ä".to_owned(),
        created_at: world.now(),
    }
}

#[test]
fn a_script_is_found_by_id_and_name_until_it_is_deleted() {
    on_both(|world: World| async move {
        let (one, two) = (script(&world, "b"), script(&world, "a"));
        for script in [&one, &two] {
            let made = world.store.script_insert(None, script.clone(), |_| vec![]).await.unwrap();
            assert_eq!(fresh(made), *script);
        }
        let taken = world.store.script_insert(None, script(&world, "a"), |_| vec![]).await;
        assert!(matches!(taken, Err(Error::Exists { kind: "script", .. })), "{taken:?}");
        assert_eq!(world.store.script_find(&one.id.to_string()).await.unwrap(), Some(one.clone()));
        assert_eq!(world.store.script_find("a").await.unwrap(), Some(two.clone()));
        assert_eq!(world.store.script_list(None, 9).await.unwrap(), [two.clone(), one.clone()]);
        let rest = world.store.script_list(Some(two.name.clone()), 9).await.unwrap();
        assert_eq!(rest.iter().map(|s| s.id).collect::<Vec<_>>(), [one.id]);
        let known = world.store.scripts_known(vec!["b".to_owned(), "c".to_owned()]).await.unwrap();
        assert_eq!(known.iter().map(|k| (k.name.as_str(), k.size)).collect::<Vec<_>>(), [("b", 10)]);

        // Once, whatever becomes of the answer; and not at all if it is only to be seen whether it would do.
        let mut dry = request("d", "x");
        dry.validate_only = true;
        world.store.script_delete(Some(&dry), "b", |_| vec![]).await.unwrap();
        for _ in 0..2 {
            world.store.script_delete(Some(&request("r", "x")), "b", |s| s.name.to_string().into()).await.unwrap();
        }
        let gone = world.store.script_delete(None, "b", |_| vec![]).await;
        assert!(matches!(gone, Err(Error::NotFound { kind: "script", .. })), "{gone:?}");
    });
}

/// A machine with a boot.
async fn booted(world: &World) -> (MachineId, BootId) {
    let made = world.insert(machine(1, world.now())).await.unwrap().machine;
    let boot = NewBoot { id: BootId::generate(), purpose: State::Testing };
    let mut change = Change::of(made.clone());
    change.machine.details.boot = Some(boot.id);
    change.boot = Some(boot);
    world.store.machine_apply(None, change, 1, Extra::default(), |_| vec![]).await.unwrap();
    (made.id, boot.id)
}

async fn task(world: &World, machine: MachineId, boot: BootId) -> TaskId {
    let m = world.reload(machine).await;
    let version = m.version;
    let mut change = Change::of(m);
    change.task = Some(TaskKind::RunScripts);
    world.store.machine_apply(None, change, version, Extra::default(), |_| vec![]).await.unwrap();
    world.store.task_current(boot).await.unwrap().unwrap().id
}

fn result(world: &World, names: &[&str], status: RunStatus) -> TaskStatus {
    let outcomes = names.iter().map(|name| Outcome {
        script: name.parse().unwrap(),
        status,
        exit_code: 3,
        output: format!("{name} says\n"),
        started_at: world.now() - TimeDelta::seconds(5),
        finished_at: world.now(),
    });
    TaskStatus::Done(TaskResult::RunScripts { kind: ScriptKind::Test, outcomes: outcomes.collect() })
}

#[test]
fn runs_are_kept_with_the_tasks_end_and_the_oldest_forgotten() {
    on_both(|world: World| async move {
        let (machine, boot) = booted(&world).await;
        for n in 0..22 {
            let id = task(&world, machine, boot).await;
            world.later(10);
            let names = if n == 0 { &["once", "often"][..] } else { &["often"][..] };
            let status = if n == 21 { RunStatus::TimedOut } else { RunStatus::Passed };
            assert!(world.store.task_finish(id, result(&world, names, status)).await.unwrap());
            // The first end counts, and its runs are told of once.
            assert!(!world.store.task_finish(id, result(&world, names, RunStatus::Failed)).await.unwrap());
        }
        let latest = world.store.script_latest(machine).await.unwrap();
        let seen: Vec<_> = latest.iter().map(|r| (r.outcome.script.as_str(), r.outcome.status)).collect();
        assert_eq!(seen, [("often", RunStatus::TimedOut), ("once", RunStatus::Passed)]);
        assert!(latest.iter().all(|r| r.outcome.output.is_empty() && r.boot == boot));

        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = world.store.script_runs(machine, after, 8).await.unwrap();
            let Some((key, _)) = page.last() else { break };
            after = Some(key.to_string().parse().unwrap());
            all.extend(page);
        }
        assert_eq!(all.len(), 21, "twenty of one, and the only one of the other");
        assert!(all.windows(2).all(|w| w[0].1.outcome.finished_at >= w[1].1.outcome.finished_at));
        assert_eq!(all[0].1.outcome.output, "often says\n");
        let current = world.store.task_current(boot).await.unwrap().unwrap();
        let TaskStatus::Done(TaskResult::RunScripts { outcomes, .. }) = current.status else { panic!() };
        assert_eq!((outcomes[0].status, outcomes[0].output.as_str()), (RunStatus::TimedOut, ""));
    });
}
