//! What the engine does next with one machine: a pure function of the machine, what was seen, and the time.
//!
//! **Invariant:** same input, same output; at most one effect or one move per call. Nothing here knows how an effect is
//! done. A machine can leave each working state only along an edge of the table.

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    hardware::{BootDevice, PowerState},
};

use super::{
    lifecycle::{Class, Event, Phase, State},
    machine::Machine,
    observation::{Effect, Observation, TaskKind, TaskResult, TaskStatus},
    reason::{Code, Why},
    rescue,
    script::verdict,
};

mod in_band;
mod manual;
mod trouble;

#[cfg(test)]
mod tests;

use self::{in_band::in_band, trouble::power_trouble};
pub use self::{
    manual::{Signs, power_by_hand},
    trouble::{failed_tries, on_trouble},
};

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing to do until somebody acts.
    Rest,
    /// Look again later.
    Wait {
        /// When.
        after: TimeDelta,
        /// What is waited for.
        why: Why,
    },
    /// Do one thing outside.
    Do {
        /// What.
        effect: Effect,
        /// The phase to enter once it is done; `None`: look again at once.
        then: Option<Phase>,
    },
    /// Begin a phase.
    Enter {
        /// Which.
        phase: Phase,
        /// Why.
        why: Why,
    },
    /// Leave the state.
    Move {
        /// Along which edge.
        event: Event,
        /// Why.
        why: Why,
    },
}

/// Bounds that operators may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a boot may take until the agent says hello.
    pub boot_timeout: TimeDelta,
    /// Fresh boots per state before it fails.
    pub boot_tries: u32,
    /// Tries to reach a BMC before commissioning fails.
    pub probe_tries: u32,
    /// How long the agent has to power off in order before the BMC does it.
    pub power_off_grace: TimeDelta,
    /// An agent that has a task and is not heard for so long is lost.
    pub agent_silence: TimeDelta,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            boot_timeout: TimeDelta::minutes(10),
            boot_tries: 3,
            probe_tries: 5,
            power_off_grace: TimeDelta::seconds(45),
            agent_silence: TimeDelta::seconds(90),
        }
    }
}

/// Reports wake the engine, so this is only how often it looks by itself; see [`look`].
const LOOK: TimeDelta = TimeDelta::seconds(15);
const SOON: TimeDelta = TimeDelta::seconds(3);
const SELDOM: TimeDelta = TimeDelta::seconds(120);
const RACK_AWAY: TimeDelta = TimeDelta::seconds(20);

/// Must the BMC be asked before [`decide`] is called?
#[must_use]
pub fn asks_power(m: &Machine) -> bool {
    match m.work.phase {
        None | Some(Phase::BmcInBand | Phase::ProbeBmc | Phase::BmcAccount) => false,
        Some(
            Phase::PowerOff
            | Phase::Boot
            | Phase::Inventory
            | Phase::WriteImage
            | Phase::Erase
            | Phase::Scripts
            | Phase::Tests
            | Phase::OpenSsh
            | Phase::Finish
            | Phase::StartOs
            | Phase::AwaitOs,
        ) => m.state.class() == Class::Working,
    }
}

/// Do the disks have to be wiped before the machine may become ready?
#[must_use]
pub fn owes_erase(m: &Machine) -> bool {
    m.details.dirty && !m.details.skip_erase
}

/// The next step.
#[must_use]
pub fn decide(m: &Machine, seen: &Observation, rules: &Rules, now: Timestamp) -> Decision {
    let working = m.state.class() == Class::Working;
    if working && m.deadline.is_some_and(|d| now >= d) {
        return leave(Event::Timeout, expired(m, seen));
    }
    if m.details.bmc.as_ref().is_some_and(|b| b.owes_rotation(now)) {
        return act(Effect::RotateBmcPassword, None);
    }
    if !working {
        return at_rest(m, seen, rules, now);
    }
    // A phase that the state does not have was written by another release: start over, every phase may be taken again.
    let Some(phase) = m.work.phase.filter(|p| m.state.phases().contains(p)) else { return begin(m) };
    if phase != Phase::Finish
        && asks_power(m)
        && let Some(trouble) = power_trouble(m, seen)
    {
        return trouble;
    }
    let off = matches!(seen.power, Some(Ok(PowerState::Off)));
    let decision = step(m, seen, phase, off, rules, now);
    if m.details.manual { manual::asked_of_people(m, seen, decision, now) } else { decision }
}

/// What the phase asks for.
fn step(m: &Machine, seen: &Observation, phase: Phase, off: bool, rules: &Rules, now: Timestamp) -> Decision {
    match phase {
        Phase::BmcInBand => in_band(m, seen, rules, now),
        Phase::ProbeBmc => act(Effect::ProbeBmc, Some(Phase::BmcAccount)),
        Phase::BmcAccount => account(m),
        Phase::PowerOff if off => enter(Phase::Boot, "the machine is off"),
        Phase::PowerOff => act(Effect::PowerOff, None),
        Phase::Boot => boot(m, seen, off, rules, now),
        Phase::Inventory => task(m, seen, off, TaskKind::Inventory, rules, now),
        Phase::WriteImage => task(m, seen, off, TaskKind::WriteImage, rules, now),
        Phase::Erase => task(m, seen, off, TaskKind::Erase, rules, now),
        Phase::Scripts | Phase::Tests if m.details.published.is_none() && m.rack.is_some() && seen.rack_connected => {
            act(Effect::PublishIntent, None)
        }
        Phase::Scripts | Phase::Tests => task(m, seen, off, TaskKind::RunScripts, rules, now),
        Phase::OpenSsh => task(m, seen, off, TaskKind::OpenSsh, rules, now),
        Phase::Finish => finish(m, seen, off, rules, now),
        Phase::StartOs => unpublished(m, seen).unwrap_or_else(|| start_os(m, off)),
        Phase::AwaitOs => await_os(m, seen, off, now),
    }
}

/// What is known when the deadline of a state has passed: where, since when, what went wrong last, who was heard last.
fn expired(m: &Machine, seen: &Observation) -> String {
    let phase = m.work.phase.map_or("before its first step", Phase::as_str);
    let time = |at: Timestamp| at.format("%F %T UTC").to_string();
    let since = m.work.phase_since.map_or_else(String::new, |at| format!(", where it had been since {}", time(at)));
    let error = m.work.last_error.as_ref().map_or_else(String::new, |e| format!("; last trouble: {e}"));
    let heard = seen.boot.as_ref().and_then(|b| b.heard_at.filter(|_| b.hello));
    let heard = heard.map_or_else(String::new, |at| format!("; its agent was heard last at {}", time(at)));
    format!("the deadline passed in {phase}{since}: {}{error}{heard}", m.reason)
}

fn at_rest(m: &Machine, seen: &Observation, rules: &Rules, now: Timestamp) -> Decision {
    let lease = m.details.lease_expires.filter(|_| m.state == State::Allocated);
    if let Some(end) = lease.filter(|end| now >= *end) {
        let at = end.format("%F %T UTC");
        let text = format!("its lease ended at {at}, and it was not deployed by then");
        return leave(Event::Expire, Why::new(Code::LeaseEnded, text));
    }
    let step = unpublished(m, seen).or_else(|| {
        rescue::keeps_running(m).then(|| {
            let why = Why::new(m.code, rescue::tell(m, seen, rules, now));
            wait(SELDOM.min(rules.agent_silence), why)
        })
    });
    let rotation = m.details.bmc.as_ref().and_then(|b| b.rotation.as_ref()).map(|r| r.due);
    let next = lease.into_iter().chain(rotation).min();
    match (step, next.map(|at| at - now)) {
        (Some(Decision::Wait { after, why }), Some(left)) => wait(after.min(left), why),
        (Some(step), _) => step,
        // The engine looks again when the lease ends or the BMC's password is to be tried anew; what the row tells stays.
        (None, Some(left)) => wait(left, Why::new(m.code, m.reason.clone())),
        (None, None) => Decision::Rest,
    }
}

fn begin(m: &Machine) -> Decision {
    if m.state == State::Releasing && !m.details.dirty && m.details.recommission {
        return leave(Event::Recommission, "wiped before it failed; it must be commissioned before use");
    }
    if m.state == State::Releasing && !m.details.dirty {
        return leave(Event::Done, "nothing was deployed since the last wipe");
    }
    if m.state == State::Releasing && !owes_erase(m) {
        return enter(Phase::Finish, "released without erasing, as asked");
    }
    let wanted = |phase: &&Phase| match **phase {
        Phase::BmcInBand => m.details.in_band.is_some(),
        Phase::ProbeBmc | Phase::BmcAccount => !m.details.manual,
        Phase::PowerOff
        | Phase::Boot
        | Phase::Inventory
        | Phase::WriteImage
        | Phase::Erase
        | Phase::Scripts
        | Phase::Tests
        | Phase::OpenSsh
        | Phase::Finish
        | Phase::StartOs
        | Phase::AwaitOs => true,
    };
    match m.state.phases().iter().find(wanted) {
        Some(&first) => enter(first, m.state.summary()),
        None => leave(Event::Fail, format!("the work of {} is not available in this release", m.state)),
    }
}

fn account(m: &Machine) -> Decision {
    match &m.details.bmc {
        Some(bmc) if bmc.use_as_is => enter(Phase::PowerOff, "the given BMC account is used as it is"),
        Some(bmc) if bmc.managed => enter(Phase::PowerOff, "the BMC account is ours already"),
        Some(_) => act(Effect::EnsureBmcAccount, Some(Phase::PowerOff)),
        None => {
            let text = "no BMC is known: commission the machine with its BMC's address and account";
            leave(Event::Fail, Why::new(Code::BmcUnknown, text))
        }
    }
}

fn boot(m: &Machine, seen: &Observation, off: bool, rules: &Rules, now: Timestamp) -> Decision {
    if let Some(publish) = unpublished(m, seen) {
        return publish;
    }
    if restarted(seen) {
        return again(m, rules, &Why::new(Code::Restarted, "the machine started anew as soon as its agent was there"));
    }
    if seen.boot.as_ref().is_some_and(|b| b.hello) {
        return enter(first_task(m), "the agent is there");
    }
    if let Some(why) = seen.boot.as_ref().and_then(|b| b.held.as_ref()) {
        return again(m, rules, &Why::new(Code::BootLoop, why.clone()));
    }
    let booting = if m.details.manual { manual::booting(m, off, now) } else { m.phase_age(now) };
    if booting >= rules.boot_timeout {
        let minutes = rules.boot_timeout.num_minutes();
        return again(m, rules, &Why::new(Code::NoAgent, format!("no agent within {minutes} minutes of power on")));
    }
    if off {
        return act(Effect::StartFrom(BootDevice::Network), None);
    }
    let left = rules.boot_timeout - booting;
    let why = Why::new(Code::Booting, "booting the ephemeral image: waiting for its agent");
    wait(look(m, now, LOOK).min(left), why)
}

const fn first_task(m: &Machine) -> Phase {
    match m.state {
        State::Deploying => Phase::WriteImage,
        State::Releasing => Phase::Erase,
        State::Testing => Phase::Tests,
        State::EnteringRescue => Phase::OpenSsh,
        State::New
        | State::Commissioning
        | State::Ready
        | State::Allocated
        | State::Deployed
        | State::Rescue
        | State::ExitingRescue
        | State::Broken
        | State::FailedCommissioning
        | State::FailedTesting
        | State::FailedDeployment
        | State::FailedReleasing
        | State::FailedEnteringRescue
        | State::FailedExitingRescue => Phase::Inventory,
    }
}

fn task(m: &Machine, seen: &Observation, off: bool, kind: TaskKind, rules: &Rules, now: Timestamp) -> Decision {
    let status = seen.boot.as_ref().and_then(|b| b.task.as_ref()).filter(|t| t.kind == kind).map(|t| &t.status);
    match status {
        Some(TaskStatus::Done(result)) => after_task(m, result),
        Some(TaskStatus::Failed(reason)) => {
            leave(Event::Fail, Why::new(Code::TaskFailed, format!("the agent could not do {kind}: {reason}")))
        }
        Some(TaskStatus::Pending | TaskStatus::Running(_)) | None if off => {
            again(m, rules, &Why::new(Code::Restarted, format!("the machine went off during {kind}")))
        }
        Some(TaskStatus::Pending | TaskStatus::Running(_)) | None if restarted(seen) => {
            again(m, rules, &Why::new(Code::Restarted, format!("the machine started anew during {kind}")))
        }
        Some(TaskStatus::Pending | TaskStatus::Running(_)) | None if is_silent(seen, rules, now) => {
            let since = seen.boot.as_ref().and_then(|b| b.heard_at).unwrap_or(now).format("%F %T UTC");
            let text = format!("the agent was to do {kind} and has not been heard since {since}");
            again(m, rules, &Why::new(Code::AgentSilent, text))
        }
        Some(TaskStatus::Running(progress)) => {
            wait(look(m, now, LOOK).min(rules.agent_silence), format!("the agent does {kind}: {progress}"))
        }
        Some(TaskStatus::Pending) | None => {
            wait(look(m, now, LOOK).min(rules.agent_silence), format!("the agent is about to do {kind}"))
        }
    }
}

fn is_silent(seen: &Observation, rules: &Rules, now: Timestamp) -> bool {
    rescue::silent(seen, rules.agent_silence, now).is_some()
}

/// Did the machine come back with a spent token? Nobody goes on with its tasks then.
fn restarted(seen: &Observation) -> bool {
    seen.boot.as_ref().is_some_and(|b| b.restarted)
}

fn after_task(m: &Machine, result: &TaskResult) -> Decision {
    match result {
        TaskResult::Inventory { .. } if owes_erase(m) => {
            enter(Phase::Erase, Why::new(Code::WipeOwed, "its disks may hold an owner's data"))
        }
        TaskResult::Inventory { .. } => with_scripts(m, "the inventory is taken"),
        TaskResult::WriteImage { text } => enter(Phase::Finish, text.clone()),
        TaskResult::Erase(disks) => with_scripts(m, &format!("{} disks are wiped, and it is proven", disks.len())),
        TaskResult::OpenSsh { address, host_key } => {
            leave(Event::Done, format!("people can log in as root at {address}, host key {host_key}"))
        }
        TaskResult::PowerOff => enter(Phase::Finish, "the agent is done"),
        TaskResult::BmcAccount { username, address } => enter(
            Phase::ProbeBmc,
            format!("the agent made the account {username:?} on the BMC at {address}, from inside"),
        ),
        TaskResult::RunScripts { kind, outcomes } => match verdict(*kind, outcomes) {
            Ok(_) if m.state == State::Commissioning && owes_erase(m) => {
                enter(Phase::Erase, "its disks may hold an owner's data")
            }
            Ok(passed) => with_tests(m, &passed),
            Err(failed) => leave(Event::Fail, Why::new(Code::TestFailed, failed)),
        },
    }
}

/// What follows when the machine is known and its disks are nobody's.
fn with_scripts(m: &Machine, why: &str) -> Decision {
    if m.state == State::Commissioning && !m.details.commission.scripts.is_empty() {
        return enter(Phase::Scripts, format!("{why}; scripts come next"));
    }
    with_tests(m, why)
}

/// Tests run in the environment that is booted already: the agent stays.
fn with_tests(m: &Machine, why: &str) -> Decision {
    if m.state == State::Commissioning && !m.details.commission.tests.is_empty() {
        return leave(Event::BeginTests, format!("{why}; tests come next"));
    }
    // When commissioning ends the machine is switched off, or left on for people.
    let end = if m.state == State::Commissioning && m.details.stay_up { Phase::OpenSsh } else { Phase::Finish };
    enter(end, why)
}

/// A fresh boot, or the end if there were enough.
fn again(m: &Machine, rules: &Rules, why: &Why) -> Decision {
    let tries = m.details.boot_tries;
    if tries >= rules.boot_tries {
        return leave(Event::Fail, Why::new(why.code, format!("{why}; gave up after {tries} boots")));
    }
    let text = format!("{why}; trying again (boot {} of {})", tries + 1, rules.boot_tries);
    enter(Phase::PowerOff, Why::new(why.code, text))
}

fn finish(m: &Machine, seen: &Observation, off: bool, rules: &Rules, now: Timestamp) -> Decision {
    if let Some(step) = unpublished(m, seen).or_else(|| power_trouble(m, seen)) {
        return step;
    }
    if !off {
        let agent = seen.boot.as_ref().is_some_and(|b| b.hello && !b.restarted);
        // People have to tell that it is off in any case: they are asked at once.
        return if agent && !m.details.manual && m.phase_age(now) < rules.power_off_grace {
            wait(look(m, now, SOON), "the agent powers the machine off")
        } else {
            act(Effect::PowerOff, None)
        };
    }
    if m.state == State::Deploying {
        return enter(Phase::StartOs, "the machine is off; its system comes next");
    }
    if owes_erase(m) && m.state == State::Testing {
        return leave(Event::Fail, "its disks may hold an owner's data: commission it, which wipes them");
    }
    if m.state == State::ExitingRescue {
        return if m.details.rescue_from == Some(State::Deployed) {
            enter(Phase::StartOs, "the rescue environment has ended; the installed system comes next")
        } else {
            back(m, "the rescue environment has ended; the machine is off")
        };
    }
    if owes_erase(m) {
        let text = "its disks may hold an owner's data and must be wiped first";
        return enter(Phase::PowerOff, Why::new(Code::WipeOwed, text));
    }
    if m.state != State::Releasing {
        return leave(Event::Done, format!("{} is done", m.state));
    }
    if m.details.recommission {
        return leave(Event::Recommission, "wiped after a failure; it must be commissioned before use");
    }
    let proven = !m.details.dirty && !m.details.last_erase.is_empty();
    leave(Event::Done, if proven { "released; every disk was wiped, and it is proven" } else { "released" })
}

/// From rescue to where the machine came from.
fn back(m: &Machine, why: &str) -> Decision {
    match m.details.rescue_from.and_then(rescue::way_back) {
        Some(event) => leave(event, why),
        None => leave(Event::Fail, "it is not known from where rescue was entered"),
    }
}

fn start_os(m: &Machine, off: bool) -> Decision {
    if off {
        act(Effect::StartFrom(BootDevice::Disk), None)
    } else if m.state == State::ExitingRescue {
        back(m, "back from rescue; the installed system was started from its disk")
    } else {
        enter(Phase::AwaitOs, "the machine boots from its disk")
    }
}

fn await_os(m: &Machine, seen: &Observation, off: bool, now: Timestamp) -> Decision {
    if seen.boot.as_ref().is_some_and(|b| b.phoned_home) {
        return leave(Event::Done, "the installed system phoned home");
    }
    if off {
        return enter(Phase::StartOs, "the machine went off before its system phoned home");
    }
    wait(look(m, now, LOOK), Why::new(Code::Booting, "waiting for the installed system to phone home"))
}

/// Publishing comes first when the rack does not yet hold what the row implies.
fn unpublished(m: &Machine, seen: &Observation) -> Option<Decision> {
    m.rack?;
    if m.details.published == Some(m.boot_target()) {
        return None;
    }
    if seen.rack_connected {
        return Some(act(Effect::PublishIntent, None));
    }
    Some(wait(RACK_AWAY, Why::new(Code::RackAway, "the rack is not connected; its boot intent waits")))
}

/// How long to wait before the engine looks by itself: `first`, and longer the longer nothing has come, because ten thousand
/// machines that wait must not keep it from those that get on.
fn look(m: &Machine, now: Timestamp, first: TimeDelta) -> TimeDelta {
    (m.phase_age(now) / 2).clamp(first, SELDOM)
}

fn act(effect: Effect, then: Option<Phase>) -> Decision {
    Decision::Do { effect, then }
}

fn enter(phase: Phase, why: impl Into<Why>) -> Decision {
    Decision::Enter { phase, why: why.into() }
}

fn leave(event: Event, why: impl Into<Why>) -> Decision {
    Decision::Move { event, why: why.into() }
}

fn wait(after: TimeDelta, why: impl Into<Why>) -> Decision {
    Decision::Wait { after, why: why.into() }
}
