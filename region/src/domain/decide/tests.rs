use expect_test::{Expect, expect};
use farrier_common::id::TaskId;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    advance::{Deadlines, advance},
    machine::{BootTarget, InBand, Machine},
    observation::{BootSeen, TaskSeen, Trouble, TroubleKind},
    script::{Outcome, RunStatus, ScriptKind},
    testing::{at, machine},
};

mod in_band;
mod lease;
mod life;
mod manual;

fn seen(power: PowerState) -> Observation {
    Observation { power: Some(Ok(power)), boot: Some(BootSeen::default()), rack_connected: true }
}

fn with_task(kind: TaskKind, status: TaskStatus) -> Observation {
    let task = Some(TaskSeen { id: TaskId::generate(), kind, status });
    Observation { boot: Some(BootSeen { hello: true, task, ..BootSeen::default() }), ..seen(PowerState::On) }
}

fn show(d: &Decision) -> String {
    match d {
        Decision::Rest => "rest".to_owned(),
        Decision::Wait { after, why } => format!("wait {} s: {why}", after.num_seconds()),
        Decision::Do { effect, then } => {
            format!("do: {}{}", effect.describe(), then.map_or_else(String::new, |p| format!(", then {p}")))
        }
        Decision::Enter { phase, why } => format!("enter {phase}: {why}"),
        Decision::Move { event, why } => format!("move {event}: {why}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at the calls")]
fn check(m: &Machine, seen: &Observation, now: i64, expected: Expect) {
    expected.assert_eq(&show(&decide(m, seen, &Rules::default(), at(now))));
}

#[test]
fn commissioning_takes_its_phases_in_order() {
    use Phase as P;
    let m = |p| machine(State::Commissioning, p);
    check(
        &m(None),
        &Observation::default(),
        1,
        expect!["enter probe-bmc: its BMC is taken in charge and its hardware is learnt"],
    );
    check(&m(Some(P::ProbeBmc)), &Observation::default(), 1, expect!["do: log in to the BMC, then bmc-account"]);
    check(&m(Some(P::BmcAccount)), &Observation::default(), 1, expect!["do: make the BMC account, then power-off"]);
    check(&m(Some(P::PowerOff)), &seen(PowerState::On), 1, expect!["do: power off"]);
    check(&m(Some(P::PowerOff)), &seen(PowerState::Off), 1, expect!["enter boot: the machine is off"]);
    check(&m(Some(P::Boot)), &seen(PowerState::Off), 1, expect!["do: power on from the network"]);
    check(
        &m(Some(P::Boot)),
        &seen(PowerState::On),
        1,
        expect!["wait 15 s: booting the ephemeral image: waiting for its agent"],
    );
    let hello = Observation { boot: Some(BootSeen { hello: true, ..BootSeen::default() }), ..seen(PowerState::On) };
    check(&m(Some(P::Boot)), &hello, 1, expect!["enter inventory: the agent is there"]);
    check(
        &m(Some(P::Inventory)),
        &with_task(TaskKind::Inventory, TaskStatus::Pending),
        1,
        expect!["wait 15 s: the agent is about to do inventory"],
    );
    check(&m(Some(P::Finish)), &seen(PowerState::Off), 1, expect!["move done: commissioning is done"]);
}

#[test]
fn a_given_account_is_used_as_it_is_when_told_so() {
    let mut m = machine(State::Commissioning, Some(Phase::BmcAccount));
    if let Some(bmc) = &mut m.details.bmc {
        bmc.use_as_is = true;
    }
    check(&m, &Observation::default(), 1, expect!["enter power-off: the given BMC account is used as it is"]);
}

#[test]
fn an_intent_is_published_before_anything_boots() {
    for phase in [Phase::Boot, Phase::StartOs] {
        let mut m = machine(State::Deploying, Some(phase));
        m.details.published = Some(BootTarget::LocalDisk);
        assert_eq!(show(&decide(&m, &seen(PowerState::Off), &Rules::default(), at(1))), "do: publish the boot intent");
    }
    let mut m = machine(State::Ready, None);
    m.details.published = None;
    check(
        &m,
        &Observation { rack_connected: true, ..Observation::default() },
        1,
        expect!["do: publish the boot intent"],
    );
    check(&m, &Observation::default(), 1, expect!["wait 20 s: the rack is not connected; its boot intent waits"]);
    m.details.published = Some(BootTarget::LocalDisk);
    check(&m, &Observation::default(), 1, expect!["rest"]);
}

#[test]
fn a_boot_without_an_agent_is_tried_again_and_then_given_up() {
    let mut m = machine(State::Releasing, Some(Phase::Boot));
    check(
        &m,
        &seen(PowerState::On),
        600,
        expect!["enter power-off: no agent within 10 minutes of power on; trying again (boot 2 of 3)"],
    );
    m.details.boot_tries = 3;
    check(
        &m,
        &seen(PowerState::On),
        600,
        expect!["move fail: no agent within 10 minutes of power on; gave up after 3 boots"],
    );
}

#[test]
fn a_machine_that_goes_off_in_mid_task_is_booted_again() {
    let m = machine(State::Deploying, Some(Phase::WriteImage));
    let off = Observation {
        power: Some(Ok(PowerState::Off)),
        ..with_task(TaskKind::WriteImage, TaskStatus::Running("40 %".to_owned()))
    };
    check(&m, &off, 1, expect!["enter power-off: the machine went off during write-image; trying again (boot 2 of 3)"]);
}

#[test]
fn a_machine_that_starts_anew_in_mid_boot_gets_a_fresh_one_at_once() {
    let anew = |mut seen: Observation| {
        if let Some(boot) = &mut seen.boot {
            boot.restarted = true;
        }
        seen
    };
    let hello = Observation { boot: Some(BootSeen { hello: true, ..BootSeen::default() }), ..seen(PowerState::On) };
    check(
        &machine(State::Releasing, Some(Phase::Boot)),
        &anew(hello),
        1,
        expect!["enter power-off: the machine started anew as soon as its agent was there; trying again (boot 2 of 3)"],
    );
    let mut m = machine(State::Deploying, Some(Phase::WriteImage));
    let running = anew(with_task(TaskKind::WriteImage, TaskStatus::Running("40 %".to_owned())));
    check(
        &m,
        &running,
        1,
        expect!["enter power-off: the machine started anew during write-image; trying again (boot 2 of 3)"],
    );
    m.details.boot_tries = 3;
    check(&m, &running, 1, expect!["move fail: the machine started anew during write-image; gave up after 3 boots"]);
    // What was reported counts, and a power-off is not waited for where nobody does it.
    let written = TaskStatus::Done(TaskResult::WriteImage { text: "written".to_owned() });
    check(&m, &anew(with_task(TaskKind::WriteImage, written)), 1, expect!["enter finish: written"]);
    let m = machine(State::Deploying, Some(Phase::Finish));
    let off = with_task(TaskKind::PowerOff, TaskStatus::Pending);
    check(&m, &off, 1, expect!["wait 3 s: the agent powers the machine off"]);
    check(&m, &anew(off), 1, expect!["do: power off"]);
}

#[test]
fn who_has_waited_long_is_looked_at_seldom() {
    let m = machine(State::Releasing, Some(Phase::Erase));
    let running = with_task(TaskKind::Erase, TaskStatus::Running("1 %".to_owned()));
    check(&m, &running, 1, expect!["wait 15 s: the agent does erase: 1 %"]);
    check(&m, &running, 100, expect!["wait 50 s: the agent does erase: 1 %"]);
    check(&m, &running, 3000, expect!["wait 90 s: the agent does erase: 1 %"]);
    let m = machine(State::Releasing, Some(Phase::Boot));
    // The end of the patience for a boot is not slept through.
    check(&m, &seen(PowerState::On), 590, expect!["wait 10 s: booting the ephemeral image: waiting for its agent"]);
}

#[test]
fn deployed_means_phoned_home() {
    let m = machine(State::Deploying, Some(Phase::AwaitOs));
    check(&m, &seen(PowerState::On), 1, expect!["wait 15 s: waiting for the installed system to phone home"]);
    check(&m, &seen(PowerState::Off), 1, expect!["enter start-os: the machine went off before its system phoned home"]);
    let home =
        Observation { boot: Some(BootSeen { phoned_home: true, ..BootSeen::default() }), ..seen(PowerState::On) };
    check(&m, &home, 1, expect!["move done: the installed system phoned home"]);
}

#[test]
fn releasing_wipes_what_was_used_and_nothing_else() {
    let mut m = machine(State::Releasing, None);
    check(&m, &Observation::default(), 1, expect!["move done: nothing was deployed since the last wipe"]);
    m.details.dirty = true;
    check(&m, &Observation::default(), 1, expect!["enter power-off: its disks are wiped and it is given back"]);
    m.details.skip_erase = true;
    check(&m, &Observation::default(), 1, expect!["enter finish: released without erasing, as asked"]);
}

#[test]
fn a_dirty_machine_that_is_commissioned_is_wiped_too() {
    let mut m = machine(State::Commissioning, Some(Phase::Inventory));
    m.details.dirty = true;
    let done = TaskResult::Inventory { hardware: Box::default(), interfaces: vec![] };
    check(
        &m,
        &with_task(TaskKind::Inventory, TaskStatus::Done(done)),
        1,
        expect!["enter erase: its disks may hold an owner's data"],
    );
}

#[test]
fn release_after_a_failure_leads_through_commissioning() {
    let mut m = machine(State::Releasing, Some(Phase::Finish));
    m.details.recommission = true;
    check(
        &m,
        &seen(PowerState::Off),
        1,
        expect!["move recommission: wiped after a failure; it must be commissioned before use"],
    );
}

#[test]
fn the_deadline_ends_every_working_state() {
    for &s in State::ALL.iter().filter(|s| s.class() == Class::Working) {
        let m = machine(s, s.phases().first().copied());
        let d = decide(&m, &seen(PowerState::On), &Rules::default(), at(3600));
        assert!(matches!(d, Decision::Move { event: Event::Timeout, .. }), "{s}: {d:?}");
    }
}

#[test]
fn refused_credentials_end_commissioning_at_once_and_silence_after_some_tries() {
    let mut m = machine(State::Commissioning, Some(Phase::ProbeBmc));
    let trouble = |kind| Trouble { kind, text: "no".to_owned() };
    let mut next = |attempts, kind| {
        m.work.attempts = attempts;
        show(&on_trouble(&m, &Effect::ProbeBmc, &trouble(kind), &Rules::default()))
    };
    assert_eq!(next(0, TroubleKind::Permanent), "move fail: could not log in to the BMC: no");
    assert_eq!(next(0, TroubleKind::Transient), "wait 2 s: could not log in to the BMC, trying again: no");
    assert_eq!(next(4, TroubleKind::Transient), "move fail: could not log in to the BMC: no");
    let away = "wait 60 s: could not log in to the BMC, trying again: no";
    assert_eq!(next(9, TroubleKind::RackAway), away, "who asks is away, and that is not the BMC's fault");
}

/// A world that does what it is told: every effect works, every task succeeds, every system phones home.
struct Obedient {
    power: PowerState,
    boot: BootSeen,
}

impl Obedient {
    fn react(&mut self, m: &mut Machine, decision: &Decision, task: Option<TaskKind>) {
        // Somebody does as he is told.
        if let Decision::Wait { why: Why { code: Code::SwitchOn, .. }, .. } = decision {
            self.power = PowerState::On;
            self.boot.hello = true;
            if let Some(task) = &mut self.boot.task {
                let made = TaskResult::BmcAccount { username: "maas".to_owned(), address: [10, 0, 0, 8].into() };
                task.status = TaskStatus::Done(made);
            }
        }
        if let Decision::Do { effect, .. } = decision {
            match effect {
                Effect::ProbeBmc | Effect::EnsureBmcAccount | Effect::RotateBmcPassword => {}
                Effect::PowerOff => self.power = PowerState::Off,
                Effect::StartFrom(_) => {
                    self.power = PowerState::On;
                    self.boot.hello = matches!(m.boot_target(), BootTarget::Ephemeral(_));
                    self.boot.phoned_home = matches!(m.boot_target(), BootTarget::InstalledOs(_));
                }
                Effect::PublishIntent => m.details.published = Some(m.boot_target()),
            }
        }
        if task == Some(TaskKind::BmcAccount) {
            let status = TaskStatus::Pending;
            self.boot.task = Some(TaskSeen { id: TaskId::generate(), kind: TaskKind::BmcAccount, status });
        } else if let Some(kind) = task {
            let result = match kind {
                TaskKind::BmcAccount => unreachable!("see above"),
                TaskKind::Inventory => TaskResult::Inventory { hardware: Box::default(), interfaces: vec![] },
                TaskKind::WriteImage => TaskResult::WriteImage { text: "written".to_owned() },
                TaskKind::Erase => TaskResult::Erase(vec![]),
                TaskKind::PowerOff => TaskResult::PowerOff,
                TaskKind::RunScripts => TaskResult::RunScripts { kind: ScriptKind::Test, outcomes: vec![] },
                TaskKind::OpenSsh => TaskResult::OpenSsh { address: "10.0.0.9:22".to_owned(), host_key: String::new() },
            };
            self.boot.task = Some(TaskSeen { id: TaskId::generate(), kind, status: TaskStatus::Done(result) });
        }
    }
}

/// Runs one machine until it leaves `state`; the event by which it leaves.
fn run(mut m: Machine) -> (Event, Machine) {
    let mut world = Obedient { power: PowerState::Off, boot: BootSeen::default() };
    for step in (0..3600).step_by(30) {
        let seen = Observation { power: Some(Ok(world.power)), boot: Some(world.boot.clone()), rack_connected: true };
        let decision = decide(&m, &seen, &Rules::default(), at(step));
        let change = advance(&m, &seen, &decision, &Deadlines::default(), at(step)).unwrap();
        if let Some(edge) = change.edge {
            return (edge.on, change.machine);
        }
        if change.boot.is_some() {
            world.boot = BootSeen::default();
        }
        m = change.machine;
        world.react(&mut m, &decision, change.task);
    }
    panic!("{} in {:?} does not end: {}", m.state, m.work.phase, m.reason);
}

#[test]
fn in_an_obedient_world_every_work_ends_well_from_every_phase() {
    for state in [State::Commissioning, State::Deploying, State::Releasing] {
        for phase in state.phases().iter().copied().map(Some).chain([None]) {
            for dirty in [false, true] {
                let mut m = machine(state, phase);
                m.details.dirty = dirty;
                m.details.published = None;
                let (event, after) = run(m);
                assert_eq!(event, Event::Done, "{state} {phase:?}");
                let wiped = !after.details.dirty || state == State::Deploying;
                assert!(wiped, "{state} {phase:?} ended dirty");
            }
        }
    }
}

#[test]
fn testing_ends_well_and_lets_nobody_round_the_wipe() {
    for phase in State::Testing.phases().iter().copied().map(Some).chain([None]) {
        assert_eq!(run(machine(State::Testing, phase)).0, Event::Done, "{phase:?}");
        let mut m = machine(State::Testing, phase);
        m.details.dirty = true;
        assert_eq!(run(m.clone()).0, Event::Fail, "{phase:?}");
        m.details.skip_erase = true;
        let (event, after) = run(m);
        assert_eq!((event, after.details.dirty, after.details.skip_erase), (Event::Done, true, false), "{phase:?}");
    }
}

#[test]
fn scripts_and_tests_follow_the_inventory_if_they_are_chosen() {
    let found = || {
        let result = TaskResult::Inventory { hardware: Box::default(), interfaces: vec![] };
        with_task(TaskKind::Inventory, TaskStatus::Done(result))
    };
    let mut m = machine(State::Commissioning, Some(Phase::Inventory));
    m.details.commission.tests = vec!["cpu".parse().unwrap()];
    check(&m, &found(), 1, expect!["move begin-tests: the inventory is taken; tests come next"]);
    m.details.commission.scripts = vec!["raid".parse().unwrap()];
    check(&m, &found(), 1, expect!["enter scripts: the inventory is taken; scripts come next"]);
    m.details.dirty = true;
    check(&m, &found(), 1, expect!["enter erase: its disks may hold an owner's data"]);
    m.work.phase = Some(Phase::Erase);
    check(
        &m,
        &with_task(TaskKind::Erase, TaskStatus::Done(TaskResult::Erase(vec![]))),
        1,
        expect!["enter scripts: 0 disks are wiped, and it is proven; scripts come next"],
    );
    m.details.dirty = false;
    m.work.phase = Some(Phase::Scripts);
    check(
        &m,
        &ran(&[("raid", RunStatus::Passed, 0)]),
        1,
        expect![[r#"
        move begin-tests: 1 of 1 tests passed; tests come next"#]],
    );
    check(
        &m,
        &ran(&[("raid", RunStatus::Failed, 3)]),
        1,
        expect!["move fail: 1 of 1 tests failed: raid (exit code 3)"],
    );
}

fn ran(outcomes: &[(&str, RunStatus, i32)]) -> Observation {
    let outcomes = outcomes.iter().map(|(name, status, exit_code)| Outcome {
        script: name.parse().unwrap(),
        status: *status,
        exit_code: *exit_code,
        output: String::new(),
        started_at: at(0),
        finished_at: at(1),
    });
    let result = TaskResult::RunScripts { kind: ScriptKind::Test, outcomes: outcomes.collect() };
    with_task(TaskKind::RunScripts, TaskStatus::Done(result))
}

#[test]
fn testing_takes_its_phases_in_order_and_tells_what_failed() {
    let m = |p| machine(State::Testing, p);
    check(&m(None), &Observation::default(), 1, expect!["enter power-off: hardware tests run"]);
    let hello = Observation { boot: Some(BootSeen { hello: true, ..BootSeen::default() }), ..seen(PowerState::On) };
    check(&m(Some(Phase::Boot)), &hello, 1, expect!["enter tests: the agent is there"]);
    let tests = m(Some(Phase::Tests));
    check(
        &tests,
        &with_task(TaskKind::RunScripts, TaskStatus::Running("25 % (1 of 4 scripts), memory".to_owned())),
        1,
        expect!["wait 15 s: the agent does run-scripts: 25 % (1 of 4 scripts), memory"],
    );
    check(
        &tests,
        &ran(&[("cpu", RunStatus::Passed, 0), ("disk-read", RunStatus::Skipped, 77)]),
        1,
        expect!["enter finish: 1 of 2 tests passed, 1 skipped"],
    );
    check(
        &tests,
        &ran(&[("cpu", RunStatus::Passed, 0), ("memory", RunStatus::Failed, 1), ("x", RunStatus::TimedOut, 143)]),
        1,
        expect!["move fail: 2 of 3 tests failed: memory (exit code 1), x (timed-out)"],
    );
    check(&m(Some(Phase::Finish)), &seen(PowerState::Off), 1, expect!["move done: testing is done"]);
}

#[test]
fn the_agent_stays_when_tests_follow_a_commissioning() {
    let mut m = machine(State::Commissioning, Some(Phase::Inventory));
    m.details.commission.tests = vec!["cpu".parse().unwrap()];
    let boot = m.details.boot;
    let result = TaskResult::Inventory { hardware: Box::default(), interfaces: vec![] };
    let seen = with_task(TaskKind::Inventory, TaskStatus::Done(result));
    let decision = decide(&m, &seen, &Rules::default(), at(1));
    let change = advance(&m, &seen, &decision, &Deadlines::default(), at(1)).unwrap();
    let after = change.machine;
    assert_eq!(change.edge.map(|e| (e.on, e.to)), Some((Event::BeginTests, State::Testing)));
    assert_eq!(
        (after.work.phase, change.task, after.details.boot),
        (Some(Phase::Tests), Some(TaskKind::RunScripts), boot)
    );
    assert!(change.boot.is_none() && after.details.hardware.is_some());
    let running = with_task(TaskKind::RunScripts, TaskStatus::Pending);
    let testing = Machine { state: State::Testing, ..after.clone() };
    check(&testing, &running, 2, expect!["do: publish the boot intent"]);
    let away = Observation { rack_connected: false, ..running };
    check(&testing, &away, 2, expect!["wait 15 s: the agent is about to do run-scripts"]);
    assert_eq!(after.deadline, Some(at(1 + 24 * 3600)));
    let told: Vec<_> = change.events.iter().map(|e| (e.from, e.to, e.phase)).collect();
    let (commissioning, testing) = (Some(State::Commissioning), Some(State::Testing));
    assert_eq!(told, [(commissioning, testing, None), (testing, testing, Some(Phase::Tests))]);
}

proptest! {
    /// Whatever a machine went through, `decide` names a step that the table knows, and says why.
    #[test]
    fn every_decision_is_lawful(
        state in proptest::sample::select(State::ALL),
        phase in proptest::option::of(proptest::sample::select(Phase::ALL)),
        flags: [bool; 9],
        tries in 0_u32..5,
        now in 0_i64..7200,
    ) {
        let [dirty, skip, again, hello, home, restarted, on, published, connected] = flags;
        let mut m = machine(state, phase);
        m.details.dirty = dirty;
        m.details.skip_erase = skip;
        m.details.recommission = again;
        m.details.boot_tries = tries;
        if !published {
            m.details.published = None;
        }
        let power = if on { PowerState::On } else { PowerState::Off };
        let boot = BootSeen { hello, phoned_home: home, restarted, ..BootSeen::default() };
        let seen = Observation { power: Some(Ok(power)), boot: Some(boot), rack_connected: connected };
        let decision = decide(&m, &seen, &Rules::default(), at(now));
        prop_assert_eq!(&decision, &decide(&m, &seen, &Rules::default(), at(now)));
        let change = advance(&m, &seen, &decision, &Deadlines::default(), at(now));
        let change = change.map_err(|r| TestCaseError::fail(format!("{r:?}")))?;
        if change.edge.is_some_and(|e| e.to == State::Ready) {
            prop_assert!(!owes_erase(&m), "ready without the wipe that is owed");
        }
        if state.class() == Class::Working {
            prop_assert!(change.machine.due_at.is_some(), "a working machine is never left alone");
            prop_assert!(!change.machine.reason.is_empty());
        }
    }
}
