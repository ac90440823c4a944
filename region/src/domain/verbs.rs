//! The verbs of people: each checks role and table, and says what the machine becomes. Pure.

use farrier_common::{clock::Timestamp, name::Name};

use super::{
    Error, Result,
    advance::{Change, Deadlines},
    bmc::Bmc,
    lifecycle::{self, Edge, Event, State},
    machine::{CommissionWishes, Deployment, InBand, Machine, Owner},
    permissions,
    user::{Role, User},
};

pub mod bmc;
mod lock;
mod repair;
mod update;

pub use lock::{lock, may_unlock, unlock, unlocked};
pub use repair::{mark_broken, mark_fixed, override_failed_test};
pub use update::{Field, Update, update};
mod layouts;

use layouts::Keep;
pub use layouts::{Declared, clone_to, configure, original};

/// Who wants it, when, and how long working states may last.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who.
    pub user: &'a User,
    /// The configured deadlines.
    pub deadlines: &'a Deadlines,
    /// When.
    pub now: Timestamp,
}

impl Asked<'_> {
    fn actor(&self) -> String {
        format!("user:{}", self.user.name)
    }

    pub(super) fn go(&self, change: Change, edge: &'static Edge, why: &str) -> Change {
        change.along(edge, &self.actor(), why, self.deadlines, self.now)
    }
}

/// May this person know of the machine?
#[must_use]
pub fn sees(user: &User, m: &Machine) -> bool {
    let granted = || user.pools.contains(&m.pool) || m.owner.is_some_and(|owner| user.holds(owner));
    user.role == Role::Admin || (m.state != State::New && granted())
}

/// The verbs that this person may use on the machine now: nothing but unlock if it is locked.
#[must_use]
pub fn allowed(user: &User, m: &Machine) -> Vec<&'static str> {
    match &m.details.lock {
        Some(lock) if may_unlock(user, m, lock) => vec!["unlock"],
        Some(_) => Vec::new(),
        None => events(user, m).into_iter().map(Event::as_str).collect(),
    }
}

fn events(user: &User, m: &Machine) -> Vec<Event> {
    m.state.edges().filter(|e| permissions::may(user, e, m.owner)).map(|e| e.on).collect()
}

/// The edge for a verb, if lock, table and role allow it.
///
/// # Errors
/// Locked, refused by the table (before roles, so that the state is told), or denied by role or ownership.
pub fn edge(user: &User, m: &Machine, event: Event) -> Result<&'static Edge> {
    unlocked(m, event.as_str())?;
    let edge = lifecycle::next(m.state, event).map_err(|r| Error::Refused {
        machine: m.name.to_string(),
        state: r.state,
        event: r.event,
        allowed: events(user, m),
    })?;
    if permissions::may(user, edge, m.owner) {
        return Ok(edge);
    }
    Err(Error::Denied(if user.role == Role::User && edge.by == lifecycle::By::Owner {
        let by = if m.owner.is_some() { "somebody else" } else { "nobody" };
        format!("machine {} is held by {by}; only its owner or an admin may {event} it", m.name)
    } else {
        format!(
            "{event} needs the role admin{}; {} is {}",
            if edge.by == lifecycle::By::Owner { " or user" } else { "" },
            user.name,
            user.role
        )
    }))
}

/// How a machine's BMC is reached from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// As before.
    Known,
    /// Like this.
    Given(Box<Bmc>),
    /// By an account that the machine's own agent makes.
    InBand(InBand),
    /// Not at all: people switch the machine.
    Manual,
}

/// Learn the machine. `bmc`: how its BMC is reached; `wishes`: what to do besides.
///
/// # Errors
/// Refused, denied, or neither a BMC is known nor do people switch the machine.
pub fn commission(asked: &Asked<'_>, m: &Machine, bmc: Reached, wishes: CommissionWishes) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Commission)?;
    let mut after = m.clone();
    Keep { storage: wishes.keep_storage, network: wishes.keep_network }.apply(&mut after.details);
    after.details.commission = wishes;
    after.details.in_band = None;
    after.details.manual = bmc == Reached::Manual || (bmc == Reached::Known && m.details.manual);
    match bmc {
        Reached::Known if m.details.bmc.is_some() || m.details.manual => {}
        Reached::Known => {
            let why = "required: the machine's BMC is not known yet; or set in_band, to have its account made from inside, or \
                       manual, if people switch it";
            return Err(Error::invalid("bmc", why));
        }
        Reached::Given(bmc) => after.details.bmc = Some(*bmc),
        Reached::InBand(in_band) => after.details.in_band = Some(in_band),
        Reached::Manual => after.details.bmc = None,
    }
    Ok(asked.go(Change::of(after), edge, "asked to commission"))
}

/// Run hardware tests: these.
///
/// # Errors
/// Refused or denied.
pub fn test(asked: &Asked<'_>, m: &Machine, tests: Vec<Name>, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Test)?;
    let mut after = m.clone();
    after.details.commission.tests = tests;
    // Disks that were let into the pool as they are stay so.
    after.details.skip_erase = m.details.dirty;
    Ok(asked.go(Change::of(after), edge, said(comment, "asked to test")))
}

/// For whom a machine is held, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who holds it.
    pub owner: Owner,
    /// His name, for the log.
    pub name: String,
    /// When it ends by itself unless the machine is deployed by then.
    pub lease_expires: Option<Timestamp>,
}

/// Hold the machine for the caller.
///
/// # Errors
/// Refused or denied.
pub fn allocate(asked: &Asked<'_>, m: &Machine) -> Result<Change> {
    let (owner, name) = (Owner::User(asked.user.id), asked.user.name.to_string());
    hold(asked, m, &Hold { owner, name, lease_expires: None })
}

/// Hold the machine for somebody. That the caller may do so in his name has been checked.
///
/// # Errors
/// Refused or denied.
pub fn hold(asked: &Asked<'_>, m: &Machine, hold: &Hold) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Allocate)?;
    let mut after = m.clone();
    after.owner = Some(hold.owner);
    after.details.lease_expires = hold.lease_expires;
    let until = hold.lease_expires.map_or_else(String::new, |end| format!(" until {}", end.format("%F %T UTC")));
    Ok(asked.go(Change::of(after), edge, &format!("allocated to {}{until}", hold.name)))
}

/// Install an operating system.
///
/// # Errors
/// Refused or denied.
pub fn deploy(asked: &Asked<'_>, m: &Machine, deployment: Deployment) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Deploy)?;
    let mut after = m.clone();
    let why = format!("asked to deploy {}", deployment.image);
    after.details.deployment = Some(deployment);
    // From here on the disks count as an owner's, whatever becomes of the installation.
    after.details.dirty = true;
    Ok(asked.go(Change::of(after), edge, &why))
}

/// Give the machine back. `may_skip`: the policy lets disks keep their content.
///
/// # Errors
/// Refused, denied, or erasing is required.
pub fn release(asked: &Asked<'_>, m: &Machine, skip_erase: bool, may_skip: bool, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Release)?;
    if skip_erase && !may_skip {
        return Err(Error::invalid("skip_erase", "the region's policy requires erasing; leave it out"));
    }
    let mut after = m.clone();
    after.details.skip_erase = skip_erase;
    after.details.recommission = m.state.class() == lifecycle::Class::Failed;
    Ok(asked.go(Change::of(after), edge, said(comment, "asked to release")))
}

/// Stop the work in progress.
///
/// # Errors
/// Refused or denied.
pub fn abort(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::Abort)?;
    let why = format!("aborted by {}: {}", asked.user.name, said(comment, "no reason given"));
    Ok(asked.go(Change::of(m.clone()), edge, &why))
}

/// The comment, or what is said without one.
pub(super) fn said<'a>(comment: &'a str, otherwise: &'a str) -> &'a str {
    if comment.trim().is_empty() { otherwise } else { comment.trim() }
}

#[cfg(test)]
mod tests;
