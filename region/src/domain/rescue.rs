//! Machines whose ephemeral environment is left on for people: rescue, and those that stay up after commissioning. Pure.

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, hardware::PowerState};
use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    advance::Change,
    decide::Rules,
    lifecycle::{Event, State},
    machine::Machine,
    observation::Observation,
    verbs::{Asked, edge, said},
};

#[cfg(test)]
mod tests;

/// Who may log in to the ephemeral environment, and where it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ssh {
    /// Lines of `authorized_keys`.
    pub keys: Vec<String>,
    /// `host:port`; empty until it listens.
    pub address: String,
    /// Fingerprint of the host key; empty until it listens.
    pub host_key: String,
}

/// Is the ephemeral environment of the machine's boot to stay, though no work goes on?
#[must_use]
pub fn keeps_running(m: &Machine) -> bool {
    match m.state {
        State::Rescue => true,
        State::Ready | State::Allocated => m.details.stay_up,
        State::New
        | State::Commissioning
        | State::Testing
        | State::Deploying
        | State::Deployed
        | State::Releasing
        | State::EnteringRescue
        | State::ExitingRescue
        | State::Broken
        | State::FailedCommissioning
        | State::FailedTesting
        | State::FailedDeployment
        | State::FailedReleasing
        | State::FailedEnteringRescue
        | State::FailedExitingRescue => false,
    }
}

/// Is rescue where it is, or where it came from or goes to?
#[must_use]
pub const fn is_about_rescue(state: State) -> bool {
    matches!(
        state,
        State::EnteringRescue
            | State::Rescue
            | State::ExitingRescue
            | State::FailedEnteringRescue
            | State::FailedExitingRescue
    )
}

/// The event that leads back to where rescue was entered.
#[must_use]
pub const fn way_back(from: State) -> Option<Event> {
    match from {
        State::Ready => Some(Event::ReturnReady),
        State::Allocated => Some(Event::ReturnAllocated),
        State::Deployed => Some(Event::ReturnDeployed),
        State::Broken => Some(Event::ReturnBroken),
        State::FailedDeployment => Some(Event::ReturnFailedDeployment),
        State::FailedReleasing => Some(Event::ReturnFailedReleasing),
        State::New
        | State::Commissioning
        | State::Testing
        | State::Deploying
        | State::Releasing
        | State::EnteringRescue
        | State::Rescue
        | State::ExitingRescue
        | State::FailedCommissioning
        | State::FailedTesting
        | State::FailedEnteringRescue
        | State::FailedExitingRescue => None,
    }
}

/// Boot the rescue environment and let the holders of `keys` in.
///
/// # Errors
/// Refused, denied, no key, or the machine's power cannot be driven.
pub fn rescue(asked: &Asked<'_>, m: &Machine, keys: Vec<String>, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Rescue)?;
    if keys.is_empty() {
        let why = "nobody could log in: add a key of yours first (`farrier ssh-key add`), or give one here";
        return Err(Error::invalid("ssh_keys", why));
    }
    if m.details.bmc.is_none() && !m.details.manual {
        return Err(Error::Precondition(format!(
            "the BMC of machine {} is not known, so that it cannot be started into rescue",
            m.name
        )));
    }
    let mut after = m.clone();
    // Who comes from a failed way in or out still returns to where it all began.
    if !is_about_rescue(m.state) {
        after.details.rescue_from = Some(m.state);
    }
    after.details.ssh = Ssh { keys, ..Ssh::default() };
    Ok(asked.go(Change::of(after), edge, said(comment, "asked for rescue")))
}

/// Leave the rescue environment, to where the machine came from.
///
/// # Errors
/// Refused or denied.
pub fn exit(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::ExitRescue)?;
    Ok(asked.go(Change::of(m.clone()), edge, said(comment, "asked to leave rescue")))
}

/// What is to be said of an environment that is left on, and whether it still is there.
#[must_use]
pub fn tell(m: &Machine, seen: &Observation, rules: &Rules, now: Timestamp) -> String {
    let Ssh { address, host_key, .. } = &m.details.ssh;
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "22"));
    let port = if port == "22" { String::new() } else { format!(" -p {port}") };
    let runs = format!("the ephemeral environment runs: ssh{port} root@{host}, host key {host_key}");
    match lost(m, seen, rules, now) {
        None => runs,
        Some(why) if m.state == State::Rescue => {
            format!("the rescue environment is lost: {why}; leave rescue, and enter it again if need be")
        }
        Some(why) => format!("it was left on with SSH, and that has ended: {why}"),
    }
}

/// Why the environment is thought to be gone; `None`: it is there.
fn lost(m: &Machine, seen: &Observation, rules: &Rules, now: Timestamp) -> Option<String> {
    if let Some((PowerState::Off, at)) = m.power
        && at > m.since
    {
        return Some(format!("the machine was seen off at {}", at.format("%F %T UTC")));
    }
    let boot = seen.boot.as_ref()?;
    if boot.restarted {
        return Some("the machine started anew".to_owned());
    }
    silent(seen, rules.agent_silence, now)
        .map(|since| format!("its agent has not been heard since {}", since.format("%F %T UTC")))
}

/// Since when the agent of the boot has been silent, if for longer than `most`. A rack that is away proves nothing.
#[must_use]
pub fn silent(seen: &Observation, most: TimeDelta, now: Timestamp) -> Option<Timestamp> {
    let boot = seen.boot.as_ref().filter(|b| b.hello && seen.rack_connected)?;
    boot.heard_at.filter(|heard| now - *heard >= most)
}
