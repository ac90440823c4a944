//! What a machine becomes when a decision or a verb is carried out. Pure; the store writes the result in one transaction.

use farrier_common::{
    clock::Timestamp,
    hardware::PowerState,
    id::{BootId, MachineId},
};

use super::{
    bmc::Bmc,
    decide::Decision,
    event::{EventKind, NewEvent},
    lifecycle::{self, Class, Edge, Event, Phase, State},
    machine::{Interface, Machine},
    observation::{Observation, TaskKind, TaskResult, TaskStatus},
    reason::Code,
    rescue,
};

/// One transaction's worth of change of one machine.
#[derive(Clone, Debug)]
pub struct Change {
    /// The row to write. Its `state` is still the old one: the store takes the new one from `edge`.
    pub machine: Machine,
    /// The move, if there is one.
    pub edge: Option<&'static Edge>,
    /// To append to the log.
    pub events: Vec<NewEvent>,
    /// A boot to record.
    pub boot: Option<NewBoot>,
    /// A task to make for the boot in progress.
    pub task: Option<TaskKind>,
    /// What a person tells of the power.
    pub told_power: Option<PowerState>,
}

/// A fresh pass through the ephemeral environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBoot {
    /// Its id.
    pub id: BootId,
    /// What for.
    pub purpose: State,
}

/// How long each working state may last, where it differs from the table.
pub type Deadlines = std::collections::BTreeMap<State, chrono::TimeDelta>;

impl Change {
    /// A change of nothing yet.
    #[must_use]
    pub const fn of(machine: Machine) -> Self {
        Self { machine, edge: None, events: Vec::new(), boot: None, task: None, told_power: None }
    }

    /// Goes along `edge`: sets what follows from the new state, and logs it.
    #[must_use]
    pub fn along(mut self, edge: &'static Edge, actor: &str, why: &str, deadlines: &Deadlines, now: Timestamp) -> Self {
        let m = &mut self.machine;
        m.since = now;
        m.deadline = deadline(edge.to, deadlines, now);
        m.work = super::machine::Work::default();
        why.clone_into(&mut m.reason);
        m.code = edge.on.into();
        m.details.boot_tries = 0;
        m.details.trouble_since = None;
        m.due_at = Some(now);
        if !keeps_lease(edge.to) {
            m.details.lease_expires = None;
        }
        // What somebody let pass ends here: whoever commissions the machine after failed tests has it wiped.
        if edge.from == State::Testing {
            m.details.skip_erase = false;
        }
        if edge.to == State::Ready {
            m.owner = None;
            m.details.skip_erase = false;
            m.details.recommission = false;
        }
        if !rescue::is_about_rescue(edge.to) {
            m.details.rescue_from = None;
        }
        if matches!(edge.on, Event::Test | Event::Deploy | Event::Release | Event::Rescue | Event::MarkBroken) {
            m.details.stay_up = false;
        }
        let becomes = Machine { state: edge.to, ..m.clone() };
        if becomes.state.class() != Class::Working && !rescue::keeps_running(&becomes) {
            m.details.ssh = rescue::Ssh::default();
        }
        // The deadline that its intent ended with is gone: the rack is told anew.
        if edge.to == State::Rescue {
            m.details.published = None;
        }
        if edge.on == Event::Recommission {
            m.owner = None;
            m.details.recommission = false;
            // Nobody waits to log in.
            m.details.commission.stay_up = false;
        }
        self.events.push(transition(m.id, Some(edge.from), edge.on, edge.to, actor, why));
        self.edge = Some(edge);
        self
    }
}

/// A lease lasts while the machine is held without a deployment, also on the way into rescue and back. Deploying ends it:
/// what runs is never wiped because a date has passed.
const fn keeps_lease(state: State) -> bool {
    matches!(
        state,
        State::Allocated
            | State::EnteringRescue
            | State::Rescue
            | State::ExitingRescue
            | State::FailedEnteringRescue
            | State::FailedExitingRescue
    )
}

/// When a state ends by itself.
#[must_use]
pub fn deadline(state: State, deadlines: &Deadlines, now: Timestamp) -> Option<Timestamp> {
    let table = state.deadline().and_then(|d| chrono::TimeDelta::from_std(d).ok())?;
    Some(now + deadlines.get(&state).copied().unwrap_or(table))
}

/// The log's entry for a move or a birth.
#[must_use]
pub fn transition(machine: MachineId, from: Option<State>, on: Event, to: State, actor: &str, why: &str) -> NewEvent {
    NewEvent {
        kind: EventKind::Transition,
        machine: Some(machine),
        event: Some(on),
        from,
        to: Some(to),
        phase: None,
        actor: actor.to_owned(),
        reason: why.to_owned(),
    }
}

/// Carries out a decision. [`Decision::Do`] is taken as done: call it with what the effect brought.
///
/// # Errors
/// The table does not know the move: a fault of `decide`, which the engine reports.
pub fn advance(
    before: &Machine,
    seen: &Observation,
    decision: &Decision,
    deadlines: &Deadlines,
    now: Timestamp,
) -> Result<Change, lifecycle::Refused> {
    let mut change = Change::of(before.clone());
    match decision {
        Decision::Rest => change.machine.due_at = None,
        Decision::Wait { after, why } => {
            change.machine.due_at = Some(now + *after);
            change.machine.reason.clone_from(&why.text);
            change.machine.code = why.code;
        }
        Decision::Do { then, .. } => {
            change.machine.due_at = Some(now);
            change.machine.work.attempts = 0;
            change.machine.work.last_error = None;
            if let Some(phase) = then {
                begin(&mut change, *phase, "", now);
            }
        }
        Decision::Enter { phase, why } => {
            harvest(&mut change, seen);
            begin(&mut change, *phase, &why.text, now);
            change.machine.code = why.code;
        }
        Decision::Move { event, why } => {
            harvest(&mut change, seen);
            let edge = lifecycle::next(before.state, *event)?;
            change = change.along(edge, "engine", &why.text, deadlines, now);
            // A move that says nothing exact of itself has the code of its event.
            if why.code != Code::Progress {
                change.machine.code = why.code;
            }
            // The agent is there and has nothing to do: what it is to do next goes into the same transaction.
            if *event == Event::BeginTests {
                // The rack's intent ends with the deadline of commissioning; testing has one of its own.
                change.machine.details.published = None;
                begin(&mut change, Phase::Tests, "", now);
            }
        }
    }
    Ok(change)
}

/// Begins a phase: a fresh boot where it needs one, a task where the agent has one.
fn begin(change: &mut Change, phase: Phase, why: &str, now: Timestamp) {
    let m = &mut change.machine;
    let state = change.edge.map_or(m.state, |edge| edge.to);
    m.work = super::machine::Work { phase: Some(phase), phase_since: Some(now), attempts: 0, last_error: None };
    m.due_at = Some(now);
    if !why.is_empty() {
        why.clone_into(&mut m.reason);
    }
    if matches!(phase, Phase::PowerOff | Phase::BmcInBand) {
        let boot = NewBoot { id: BootId::generate(), purpose: state };
        m.details.boot = Some(boot.id);
        // In band a person switches the machine on, as often as he likes.
        m.details.boot_tries += u32::from(phase == Phase::PowerOff);
        change.boot = Some(boot);
    }
    change.task = task_of(phase).filter(|_| m.details.boot.is_some());
    change.events.push(NewEvent {
        kind: EventKind::Phase,
        machine: Some(m.id),
        event: None,
        from: Some(state),
        to: Some(state),
        phase: Some(phase),
        actor: "engine".to_owned(),
        reason: why.to_owned(),
    });
}

const fn task_of(phase: Phase) -> Option<TaskKind> {
    match phase {
        Phase::Inventory => Some(TaskKind::Inventory),
        Phase::WriteImage => Some(TaskKind::WriteImage),
        Phase::Erase => Some(TaskKind::Erase),
        Phase::Scripts | Phase::Tests => Some(TaskKind::RunScripts),
        Phase::Finish => Some(TaskKind::PowerOff),
        Phase::OpenSsh => Some(TaskKind::OpenSsh),
        Phase::BmcInBand => Some(TaskKind::BmcAccount),
        Phase::ProbeBmc | Phase::BmcAccount | Phase::PowerOff | Phase::Boot | Phase::StartOs | Phase::AwaitOs => None,
    }
}

/// Takes over what the task of the phase that ends has brought.
fn harvest(change: &mut Change, seen: &Observation) {
    let done = seen.boot.as_ref().and_then(|b| b.task.as_ref()).map(|t| (t.kind, &t.status));
    let Some((kind, TaskStatus::Done(result))) = done else { return };
    let m = &mut change.machine;
    if m.work.phase.and_then(task_of) != Some(kind) {
        return;
    }
    match result {
        TaskResult::Inventory { hardware, interfaces } => {
            m.details.hardware = Some((**hardware).clone());
            merge(&mut m.interfaces, interfaces);
        }
        TaskResult::Erase(disks) => {
            m.details.dirty = false;
            m.details.last_erase.clone_from(disks);
            change.events.push(NewEvent {
                kind: EventKind::Erase,
                machine: Some(m.id),
                event: None,
                from: Some(m.state),
                to: Some(m.state),
                phase: m.work.phase,
                actor: "agent".to_owned(),
                reason: erased(disks),
            });
        }
        // Each run is kept by the store, together with the task's end.
        TaskResult::WriteImage { .. } | TaskResult::PowerOff | TaskResult::RunScripts { .. } => {}
        TaskResult::BmcAccount { username, address } => {
            m.details.in_band = None;
            m.details.bmc = Some(Bmc::ours(*address, username.clone()));
        }
        TaskResult::OpenSsh { address, host_key } => {
            m.details.ssh.address.clone_from(address);
            m.details.ssh.host_key.clone_from(host_key);
        }
    }
}

fn erased(disks: &[super::machine::DiskErasure]) -> String {
    let each = disks.iter().map(|d| {
        format!(
            "{} ({}): {}, {} of {} bytes read back blank",
            d.disk_name, d.disk_serial, d.method, d.sampled_bytes, d.size_bytes
        )
    });
    if disks.is_empty() { "the machine has no disks".to_owned() } else { each.collect::<Vec<_>>().join("; ") }
}

/// Adds the interfaces that were not known; those that are keep their addresses.
fn merge(known: &mut Vec<Interface>, found: &[Interface]) {
    for interface in found {
        if !known.iter().any(|k| k.mac == interface.mac) {
            known.push(interface.clone());
        }
    }
}
