//! Who may declare storage and network of a machine, when, and what comes of it. Pure.

use super::Asked;
use crate::domain::{
    Error, Result,
    advance::Change,
    event::{EventKind, NewEvent},
    layout::{
        self, Facts,
        clone::{Copied, Original, copy},
        network::NetworkLayout,
        storage::StorageLayout,
    },
    lifecycle::{Class, State},
    machine::{Details, Machine},
    user::Role,
};

/// What is to be declared. `None`: as before; `Some(None)`: nothing any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// Disks.
    pub storage: Option<Option<StorageLayout>>,
    /// Interfaces.
    pub network: Option<Option<NetworkLayout>>,
}

/// What of the declared layouts a commissioning keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Disks.
    pub storage: bool,
    /// Interfaces.
    pub network: bool,
}

impl Keep {
    /// Drops what is not kept.
    pub fn apply(self, details: &mut Details) {
        if !self.storage {
            details.storage = None;
        }
        if !self.network {
            details.network = None;
        }
    }
}

/// Declares storage and network of a machine.
///
/// # Errors
/// Denied; the engine works on it, or it is in use; or a layout has faults: the error tells all.
pub fn configure(asked: &Asked<'_>, m: &Machine, declared: &Declared) -> Result<Change> {
    let user = asked.user;
    let holds = user.role == Role::User && m.owner.is_some_and(|owner| user.holds(owner));
    if user.role != Role::Admin && !holds {
        let why = format!("to configure machine {} one must be an admin or hold it; {} does not", m.name, user.name);
        return Err(Error::Denied(why));
    }
    idle(m, declared.storage.is_some()).map_err(|why| Error::Precondition(format!("machine {} {why}", m.name)))?;
    let facts = Facts::from(m);
    let mut faults = Vec::new();
    if let Some(Some(storage)) = &declared.storage {
        faults.extend(storage.check(&facts));
    }
    if let Some(Some(network)) = &declared.network {
        faults.extend(network.check(&facts));
    }
    layout::sound(&faults)?;
    let (mut after, mut parts) = (m.clone(), Vec::new());
    if let Some(storage) = &declared.storage {
        parts.push(if storage.is_some() { "storage was declared" } else { "declared storage was removed" });
        after.details.storage.clone_from(storage);
    }
    if let Some(network) = &declared.network {
        parts.push(if network.is_some() { "network was declared" } else { "declared network was removed" });
        after.details.network.clone_from(network);
    }
    Ok(noted(asked, after, &parts.join("; ")))
}

/// What can be copied of a machine, if it has what is asked for.
///
/// # Errors
/// A part is not declared, or the hardware is not known.
pub fn original(source: &Machine, storage: bool, network: bool) -> Result<Original<'_>> {
    if !storage && !network {
        return Err(Error::invalid("storage", "say what to copy: storage, network or both"));
    }
    let missing =
        |what| Error::Precondition(format!("machine {} has no {what}, so there is nothing to copy", source.name));
    let details = &source.details;
    let hardware = details.hardware.as_ref().ok_or_else(|| missing("inventory"))?;
    let storage =
        if storage { Some(details.storage.as_ref().ok_or_else(|| missing("declared storage"))?) } else { None };
    let network =
        if network { Some(details.network.as_ref().ok_or_else(|| missing("declared network"))?) } else { None };
    Ok(Original { hardware, storage, network })
}

/// What a destination gets, and the change that gives it; `None` beside refusals.
#[must_use]
pub fn clone_to(
    asked: &Asked<'_>,
    source: &Machine,
    original: &Original<'_>,
    to: &Machine,
) -> (Copied, Option<Change>) {
    let mut copied = copy(original, to);
    if let Err(why) = may_become(to) {
        copied.refusals.insert(0, why);
    }
    if source.architecture != to.architecture {
        let why = format!("it is {}, and the source is {}", to.architecture, source.architecture);
        copied.refusals.push(why);
    }
    if !copied.refusals.is_empty() {
        return (copied, None);
    }
    let (mut after, mut parts) = (to.clone(), Vec::new());
    if let Some(storage) = &copied.storage {
        after.details.storage = Some(storage.clone());
        parts.push("storage");
    }
    if let Some(network) = &copied.network {
        after.details.network = Some(network.clone());
        parts.push("network");
    }
    let change = noted(asked, after, &format!("declared {} copied from {}", parts.join(" and "), source.name));
    (copied, Some(change))
}

/// May layouts be copied to a machine in this state?
fn may_become(m: &Machine) -> std::result::Result<(), String> {
    match m.state {
        State::New => Err("it is new: commission it first".to_owned()),
        State::Deployed => Err("it is deployed: release it first".to_owned()),
        State::Ready
        | State::Allocated
        | State::Broken
        | State::Rescue
        | State::Commissioning
        | State::Testing
        | State::Deploying
        | State::Releasing
        | State::EnteringRescue
        | State::ExitingRescue
        | State::FailedCommissioning
        | State::FailedTesting
        | State::FailedDeployment
        | State::FailedReleasing
        | State::FailedEnteringRescue
        | State::FailedExitingRescue => idle(m, true).map_err(|why| format!("it {why}")),
    }
}

/// Nobody may change what the engine reads, nor say of disks in use what they are to be.
fn idle(m: &Machine, storage: bool) -> std::result::Result<(), String> {
    if m.state.class() == Class::Working {
        return Err(format!("is {}: its layouts cannot be changed while the engine works on it", m.state));
    }
    if storage && matches!(m.state, State::Deployed | State::Rescue) {
        return Err(format!("is {}: its disks are in use; its storage can be declared after release", m.state));
    }
    Ok(())
}

fn noted(asked: &Asked<'_>, after: Machine, what: &str) -> Change {
    let event = NewEvent {
        kind: EventKind::Machine,
        machine: Some(after.id),
        event: None,
        from: Some(after.state),
        to: Some(after.state),
        phase: None,
        actor: asked.actor(),
        reason: what.to_owned(),
    };
    let mut change = Change::of(after);
    change.events.push(event);
    change
}

#[cfg(test)]
mod tests;
