//! What people want of the account on a machine's BMC.

use farrier_common::{
    clock::Timestamp,
    hardware::{BmcProtocol, PowerState},
};

use super::{Asked, unlocked};
use crate::domain::{
    Error, Result,
    advance::Change,
    bmc::Rotation,
    event::{EventKind, NewEvent},
    lifecycle::Class,
    machine::Machine,
    user::Role,
};

/// Refuses if nobody could ask the machine's BMC.
///
/// # Errors
/// Its BMC is not known, or no rack serves it.
pub fn reachable(m: &Machine) -> Result<()> {
    if m.details.manual {
        return Err(Error::Precondition(format!(
            "people switch machine {0}, and no BMC is asked: switch it, and tell it with `farrier machine tell-power {0} on|off` \
             (TellPower)",
            m.name
        )));
    }
    if m.details.bmc.is_none() {
        return Err(Error::Precondition(format!(
            "the BMC of machine {} is not known; commission the machine first",
            m.name
        )));
    }
    if m.rack.is_none() {
        return Err(Error::Precondition(format!("no rack serves machine {} yet", m.name)));
    }
    Ok(())
}

/// Refuses what the machine's BMC cannot do because power is all that it can.
///
/// # Errors
/// It can do nothing but power. `instead` says what helps; it may be empty.
pub fn more_than_power(m: &Machine, what: &str, instead: &str) -> Result<()> {
    let protocol = m.details.bmc.as_ref().and_then(|bmc| bmc.protocol);
    match protocol.filter(|p| BmcProtocol::only_power(*p)) {
        Some(protocol) => Err(Error::Precondition(format!(
            "machine {} is driven by {protocol}, which can do power alone, and not {what}{instead}",
            m.name
        ))),
        None => Ok(()),
    }
}

/// Somebody tells the power of a machine that people switch.
///
/// # Errors
/// Its BMC tells that.
pub fn tell_power(asked: &Asked<'_>, m: &Machine, power: PowerState, comment: &str) -> Result<Change> {
    if !m.details.manual {
        return Err(Error::Precondition(format!(
            "machine {} is not switched by people: its BMC tells the power; commission it with manual to change that",
            m.name
        )));
    }
    let mut change = Change::of(m.clone());
    change.told_power = Some(power);
    if m.state.class() == Class::Working {
        change.machine.due_at = Some(asked.now);
    }
    let event = noted(m, asked.actor(), &format!("told that power is {power}"), comment);
    change.events.push(NewEvent { kind: EventKind::Power, ..event });
    Ok(change)
}

/// Have the password of our account on the BMC changed; the engine does it.
///
/// # Errors
/// It is locked, not for an admin, not reachable; the account is not ours; its password is being changed already.
pub fn rotate(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    unlocked(m, "change the BMC password of")?;
    if asked.user.role != Role::Admin {
        return Err(Error::Denied(format!("changing the BMC password of machine {} is for admins", m.name)));
    }
    begin(m, asked.actor(), asked.now, comment)
}

/// The same, whoever wants it.
///
/// # Errors
/// Not reachable; the account is not ours; its password is being changed already.
pub fn begin(m: &Machine, by: String, now: Timestamp, comment: &str) -> Result<Change> {
    reachable(m)?;
    more_than_power(m, "a change of the password", "")?;
    let refused = |why: String| Err(Error::Precondition(format!("machine {}: {why}", m.name)));
    let mut after = m.clone();
    let Some(bmc) = &mut after.details.bmc else { return refused("no BMC is known".to_owned()) };
    if !bmc.managed {
        return refused(format!(
            "the BMC account {:?} was given and not made by Farrier, which changes only its own",
            bmc.username
        ));
    }
    if let Some(rotation) = &bmc.rotation {
        let since = rotation.since.format("%F %T UTC");
        return refused(format!("its BMC password is being changed since {since}, for {}", rotation.by));
    }
    bmc.rotation = Some(Rotation { since: now, by: by.clone(), tries: 0, trouble: None, due: now });
    after.due_at = Some(now);
    let mut change = Change::of(after);
    change.events.push(noted(m, by, "asked for a new password of the BMC account", comment));
    Ok(change)
}

/// What is logged of a machine's BMC: what somebody wants of it, or what came of that.
#[must_use]
pub fn noted(m: &Machine, actor: String, what: &str, comment: &str) -> NewEvent {
    let why = if comment.is_empty() { String::new() } else { format!(" ({comment})") };
    NewEvent {
        kind: EventKind::Bmc,
        machine: Some(m.id),
        event: None,
        from: Some(m.state),
        to: Some(m.state),
        phase: m.work.phase,
        actor,
        reason: format!("{what}{why}"),
    }
}
