use crate::domain::{
    advance::{Deadlines, advance},
    decide::{Decision, decide},
    lifecycle::{self, Phase},
    machine::BootTarget,
    observation::{BootSeen, TaskKind, TaskResult, TaskSeen, TaskStatus},
    testing::{at, machine, user},
    user::Role,
};
use farrier_common::id::TaskId;

use super::*;

const KEY: &str = "ssh-ed25519 AAAA x";

fn seen(power: PowerState, boot: BootSeen) -> Observation {
    Observation { power: Some(Ok(power)), boot: Some(boot), rack_connected: true }
}

fn asked(deadlines: &Deadlines, m: &Machine, verb: impl Fn(&Asked<'_>, &Machine) -> Result<Change>) -> Result<Machine> {
    let user = user("root", Role::Admin);
    let change = verb(&Asked { user: &user, deadlines, now: at(10) }, m)?;
    Ok(Machine { state: change.edge.unwrap().to, ..change.machine })
}

fn into_rescue(m: &Machine) -> Result<Machine> {
    asked(&Deadlines::new(), m, |asked, m| rescue(asked, m, vec![KEY.to_owned()], ""))
}

/// The machine after all that follows by itself, and the phases it went through.
fn follow(mut m: Machine, mut power: PowerState) -> (Machine, Vec<Phase>) {
    let mut phases = Vec::new();
    for _ in 0..100 {
        let task = m.work.phase.filter(|p| *p == Phase::OpenSsh).map(|_| TaskSeen {
            id: TaskId::generate(),
            kind: TaskKind::OpenSsh,
            status: TaskStatus::Done(TaskResult::OpenSsh {
                address: "10.0.0.9:22".to_owned(),
                host_key: "SHA256:x".to_owned(),
            }),
        });
        let hello = power == PowerState::On && matches!(m.work.phase, Some(Phase::Boot | Phase::OpenSsh));
        let seen = seen(power, BootSeen { hello, task, ..BootSeen::default() });
        let decision = decide(&m, &seen, &Rules::default(), at(20));
        match &decision {
            Decision::Rest | Decision::Wait { .. } => return (m, phases),
            Decision::Do { effect, .. } => match effect {
                crate::domain::observation::Effect::PowerOff => power = PowerState::Off,
                crate::domain::observation::Effect::StartFrom(_) => power = PowerState::On,
                crate::domain::observation::Effect::PublishIntent => m.details.published = Some(m.boot_target()),
                crate::domain::observation::Effect::ProbeBmc
                | crate::domain::observation::Effect::EnsureBmcAccount
                | crate::domain::observation::Effect::RotateBmcPassword => panic!("{effect:?}"),
            },
            Decision::Enter { .. } | Decision::Move { .. } => {}
        }
        let change = advance(&m, &seen, &decision, &Deadlines::new(), at(20)).unwrap();
        let state = change.edge.map_or(m.state, |edge| edge.to);
        m = Machine { state, ..change.machine };
        if matches!(decision, Decision::Enter { .. }) {
            phases.extend(m.work.phase);
        }
    }
    panic!("{m:?} never rests");
}

#[test]
fn rescue_leads_back_to_where_it_was_entered() {
    let origins = lifecycle::EDGES.iter().filter(|e| e.on == Event::Rescue && !is_about_rescue(e.from));
    for edge in origins {
        let (m, phases) = follow(into_rescue(&machine(edge.from, None)).unwrap(), PowerState::On);
        assert_eq!((m.state, m.details.rescue_from), (State::Rescue, Some(edge.from)));
        assert_eq!(phases, [Phase::PowerOff, Phase::Boot, Phase::OpenSsh]);
        assert_eq!(m.boot_target(), BootTarget::Ephemeral(m.details.boot.unwrap()));
        assert_eq!((m.details.published, m.details.ssh.address.as_str()), (Some(m.boot_target()), "10.0.0.9:22"));
        let leaves = asked(&Deadlines::new(), &m, |asked, m| exit(asked, m, "")).unwrap();
        assert_eq!(leaves.boot_target(), BootTarget::LocalDisk);
        let (back, phases) = follow(leaves, PowerState::On);
        assert_eq!((back.state, back.details.rescue_from), (edge.from, None));
        assert_eq!(back.details.ssh, Ssh::default());
        let os: &[Phase] = if edge.from == State::Deployed { &[Phase::StartOs] } else { &[] };
        assert_eq!(phases, [&[Phase::Finish], os].concat());
        assert_eq!(back.boot_target(), BootTarget::LocalDisk);
    }
}

#[test]
fn a_second_rescue_remembers_the_first_origin() {
    for failed in [State::FailedEnteringRescue, State::FailedExitingRescue] {
        let mut m = machine(failed, None);
        m.details.rescue_from = Some(State::Allocated);
        assert_eq!(into_rescue(&m).unwrap().details.rescue_from, Some(State::Allocated));
    }
}

#[test]
fn rescue_needs_a_key_and_a_bmc() {
    let m = machine(State::Ready, None);
    let told = asked(&Deadlines::new(), &m, |asked, m| rescue(asked, m, vec![], "")).unwrap_err().to_string();
    assert!(told.starts_with("ssh_keys: nobody could log in"), "{told}");
    let mut live = machine(State::Deployed, None);
    live.details.bmc = None;
    assert!(into_rescue(&live).unwrap_err().to_string().contains("BMC"));
}

#[test]
fn an_environment_that_is_gone_is_told_of() {
    let mut m = machine(State::Rescue, None);
    m.details.ssh = Ssh { keys: vec![], address: "10.0.0.9:22".to_owned(), host_key: "SHA256:x".to_owned() };
    let tell = |m: &Machine, boot: &BootSeen, now| tell(m, &seen(PowerState::On, boot.clone()), &Rules::default(), now);
    let boot = BootSeen { hello: true, heard_at: Some(at(100)), ..BootSeen::default() };
    let runs = "the ephemeral environment runs: ssh root@10.0.0.9, host key SHA256:x";
    assert_eq!(tell(&m, &boot, at(189)), runs);
    assert!(tell(&m, &boot, at(190)).contains("has not been heard since 2027-01-15 08:01:40 UTC; leave rescue"));
    assert!(tell(&m, &BootSeen { restarted: true, ..boot.clone() }, at(101)).contains("started anew"));
    m.power = Some((PowerState::Off, at(5)));
    assert!(tell(&m, &boot, at(101)).contains("seen off"));
    // Before it came to be so it was off for good reason.
    m.power = Some((PowerState::Off, at(-5)));
    assert_eq!(tell(&m, &boot, at(101)), runs);
}

#[test]
fn an_agent_is_lost_when_it_is_silent_for_too_long() {
    let m = machine(State::Deploying, Some(Phase::WriteImage));
    let running = TaskStatus::Running("1 %".to_owned());
    let task = Some(TaskSeen { id: TaskId::generate(), kind: TaskKind::WriteImage, status: running });
    let boot = BootSeen { hello: true, heard_at: Some(at(100)), task, ..BootSeen::default() };
    let decision = |rack_connected, now| {
        decide(&m, &Observation { rack_connected, ..seen(PowerState::On, boot.clone()) }, &Rules::default(), now)
    };
    assert!(matches!(decision(true, at(189)), Decision::Wait { .. }));
    let Decision::Enter { phase: Phase::PowerOff, why } = decision(true, at(190)) else { panic!("not booted anew") };
    assert!(why.text.contains("has not been heard since 2027-01-15 08:01:40 UTC; trying again (boot 2 of 3)"), "{why}");
    // Who cannot be heard is not silent.
    assert!(matches!(decision(false, at(190)), Decision::Wait { .. }));
}

#[test]
fn a_boot_that_its_rack_holds_is_begun_anew() {
    let m = machine(State::Commissioning, Some(Phase::Boot));
    let boot = BootSeen { held: Some("led nowhere".to_owned()), ..BootSeen::default() };
    let decision = decide(&m, &seen(PowerState::On, boot), &Rules::default(), at(1));
    assert!(matches!(decision, Decision::Enter { phase: Phase::PowerOff, why } if why.text.starts_with("led nowhere")));
}

#[test]
fn commissioning_may_leave_the_machine_on() {
    let mut m = machine(State::Commissioning, Some(Phase::OpenSsh));
    m.details.stay_up = true;
    let (m, _) = follow(m, PowerState::On);
    assert_eq!((m.state, keeps_running(&m), m.boot_target()), (State::Ready, true, BootTarget::LocalDisk));
    assert_eq!(m.details.ssh.address, "10.0.0.9:22");
    m.details.stay_up.then_some(()).unwrap();
    let rescued = into_rescue(&m).unwrap();
    assert!(!rescued.details.stay_up);
}
