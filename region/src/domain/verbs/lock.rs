//! Locks: whoever locks a machine keeps everybody from it, himself included, until somebody unlocks it.
//!
//! A lock stops verbs, not work: the engine goes on with what was asked for before. Admins lock and unlock every machine.
//! The owner locks and unlocks his own, but what an admin has locked only an admin unlocks, or the lock would keep nobody.
//!
//! **Invariant:** [`super::edge`] and `App::change` call [`unlocked`], so a verb that goes through either cannot forget it.

use super::Asked;
use crate::domain::{
    Error, Result,
    advance::Change,
    event::{EventKind, NewEvent},
    machine::{Lock, Machine},
    user::{Role, User},
};

/// Refuses `verb` on a machine that is locked.
///
/// # Errors
/// It is; by whom, since when and why.
pub fn unlocked(m: &Machine, verb: &str) -> Result<()> {
    let Some(lock) = &m.details.lock else { return Ok(()) };
    Err(Error::Locked {
        machine: m.name.to_string(),
        state: m.state,
        verb: verb.to_owned(),
        lock: Box::new(lock.clone()),
    })
}

/// May this person take that lock off?
#[must_use]
pub fn may_unlock(user: &User, m: &Machine, lock: &Lock) -> bool {
    user.role == Role::Admin || (!lock.admin && is_his(user, m))
}

/// Keep everybody from the machine.
///
/// # Errors
/// It is locked already, or denied.
pub fn lock(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    unlocked(m, "lock")?;
    if asked.user.role != Role::Admin && !is_his(asked.user, m) {
        return Err(Error::Denied(format!("locking machine {} is for its owner and for admins", m.name)));
    }
    let mut after = m.clone();
    after.details.lock = Some(Lock {
        by: asked.user.name.to_string(),
        admin: asked.user.role == Role::Admin,
        since: asked.now,
        comment: comment.trim().to_owned(),
    });
    let mut change = Change::of(after);
    change.events.push(noted(asked, m, said("locked", comment)));
    Ok(change)
}

/// Let people at the machine again.
///
/// # Errors
/// It is not locked, or denied.
pub fn unlock(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    let Some(lock) = &m.details.lock else {
        return Err(Error::Precondition(format!("machine {} is not locked", m.name)));
    };
    if !may_unlock(asked.user, m, lock) {
        let who = if lock.admin { "an admin locked it: unlocking it" } else { "unlocking it" };
        let whose = if lock.admin { "admins" } else { "its owner and for admins" };
        return Err(Error::Denied(format!("machine {} is locked by {}; {who} is for {whose}", m.name, lock.by)));
    }
    let mut after = m.clone();
    after.details.lock = None;
    let mut change = Change::of(after);
    change.events.push(noted(asked, m, said("unlocked", comment)));
    Ok(change)
}

/// What the log says of something that moves no machine.
pub(super) fn noted(asked: &Asked<'_>, m: &Machine, reason: String) -> NewEvent {
    NewEvent {
        kind: EventKind::Machine,
        machine: Some(m.id),
        event: None,
        from: Some(m.state),
        to: Some(m.state),
        phase: m.work.phase,
        actor: asked.actor(),
        reason,
    }
}

/// Does he hold the machine, and may he change what he holds?
pub(super) fn is_his(user: &User, m: &Machine) -> bool {
    user.role == Role::User && m.owner.is_some_and(|owner| user.holds(owner))
}

fn said(what: &str, comment: &str) -> String {
    match comment.trim() {
        "" => what.to_owned(),
        why => format!("{what}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        advance::Deadlines,
        lifecycle::{Event, State},
        machine::Owner,
        testing::{at, machine, user},
        verbs::{allowed, edge},
    };

    fn ask<T>(user: &User, f: impl FnOnce(&Asked<'_>) -> Result<T>) -> Result<T> {
        f(&Asked { user, deadlines: &Deadlines::default(), now: at(10) })
    }

    #[test]
    fn a_locked_machine_allows_nothing_but_unlock() {
        let root = user("root", Role::Admin);
        for &state in State::ALL {
            let locked = ask(&root, |a| lock(a, &machine(state, None), " audit ")).unwrap().machine;
            assert_eq!(allowed(&root, &locked), ["unlock"]);
            for &event in Event::ALL {
                assert!(matches!(edge(&root, &locked, event), Err(Error::Locked { .. })), "{state} {event}");
            }
            assert!(matches!(ask(&root, |a| lock(a, &locked, "")), Err(Error::Locked { .. })));
            let free = ask(&root, |a| unlock(a, &locked, "")).unwrap().machine;
            assert_eq!(free.details.lock, None);
        }
    }

    #[test]
    fn the_refusal_says_who_since_when_and_why() {
        let root = user("root", Role::Admin);
        let locked = ask(&root, |a| lock(a, &machine(State::Ready, None), "wait for the disk")).unwrap().machine;
        assert_eq!(
            edge(&root, &locked, Event::Allocate).unwrap_err().to_string(),
            "machine m1 is locked by root since 2027-01-15 08:00:10 UTC: wait for the disk; allocate is not allowed; \
             allowed now: unlock, by an admin"
        );
    }

    #[test]
    fn an_owner_locks_his_own_and_an_admins_lock_is_for_admins() {
        let (root, ann, bob, eve) =
            (user("root", Role::Admin), user("ann", Role::User), user("bob", Role::User), user("eve", Role::Viewer));
        let mut m = machine(State::Deployed, None);
        assert!(ask(&ann, |a| lock(a, &m, "")).is_err(), "nobody's machine is not a user's to lock");
        m.owner = Some(Owner::User(ann.id));
        for stranger in [&bob, &eve] {
            assert!(matches!(ask(stranger, |a| lock(a, &m, "")), Err(Error::Denied(_))));
        }
        let hers = ask(&ann, |a| lock(a, &m, "")).unwrap().machine;
        assert!(ask(&bob, |a| unlock(a, &hers, "")).is_err());
        assert!(allowed(&bob, &hers).is_empty());
        assert_eq!(allowed(&ann, &hers), ["unlock"]);
        assert!(ask(&ann, |a| unlock(a, &hers, "")).is_ok() && ask(&root, |a| unlock(a, &hers, "")).is_ok());
        let admins = ask(&root, |a| lock(a, &m, "")).unwrap().machine;
        assert_eq!(
            ask(&ann, |a| unlock(a, &admins, "")).unwrap_err().to_string(),
            "machine m1 is locked by root; an admin locked it: unlocking it is for admins"
        );
        assert!(allowed(&ann, &admins).is_empty());
        m.owner = Some(Owner::User(eve.id));
        assert!(ask(&eve, |a| lock(a, &m, "")).is_err(), "viewers change nothing");
    }

    #[test]
    fn what_is_not_locked_is_not_unlocked() {
        let root = user("root", Role::Admin);
        let told = ask(&root, |a| unlock(a, &machine(State::Ready, None), "")).unwrap_err().to_string();
        assert_eq!(told, "machine m1 is not locked");
    }
}
