//! Machines with a hardware problem: out of use, and back by way of commissioning, or by a person's word for it.

use super::{Asked, edge, said};
use crate::domain::{Error, Result, advance::Change, decide::owes_erase, lifecycle::Event, machine::Machine};

/// Take the machine out of use. Whoever held it loses it; what is on its disks is wiped when it is commissioned again.
///
/// # Errors
/// Refused or denied.
pub fn mark_broken(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::MarkBroken)?;
    let mut after = m.clone();
    after.owner = None;
    // A release that was to keep the disks' content did not come to its end, and there is nobody left to keep it for.
    after.details.skip_erase = false;
    after.details.recommission = false;
    let why = format!("marked as broken by {}: {}", asked.user.name, said(comment, "no reason given"));
    Ok(asked.go(Change::of(after), edge, &why))
}

/// The repair is done: learn the machine again, with the BMC account that is known. Without one commissioning says what is
/// missing, and `commission` takes it.
///
/// # Errors
/// Refused or denied.
pub fn mark_fixed(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::MarkFixed)?;
    let why = format!("marked as fixed by {}: {}", asked.user.name, said(comment, "no reason given"));
    Ok(asked.go(Change::of(m.clone()), edge, &why))
}

/// Use the machine although a hardware test failed.
///
/// # Errors
/// Refused, denied, nobody says why, or its disks are not wiped.
pub fn override_failed_test(asked: &Asked<'_>, m: &Machine, comment: &str) -> Result<Change> {
    let edge = edge(asked.user, m, Event::OverrideFailedTest)?;
    let comment = comment.trim();
    if comment.is_empty() {
        return Err(Error::invalid("comment", "required: say why the machine may be used although a test failed"));
    }
    if owes_erase(m) {
        let why = format!("the disks of machine {} may hold an owner's data; commission it, which wipes them", m.name);
        return Err(Error::Precondition(why));
    }
    let why = format!("{} overrode the failed test: {comment}", asked.user.name);
    Ok(asked.go(Change::of(m.clone()), edge, &why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        advance::Deadlines,
        lifecycle::{Class, State},
        machine::Owner,
        testing::{at, machine, user},
        user::{Role, User},
    };

    fn ask<T>(user: &User, f: impl FnOnce(&Asked<'_>) -> Result<T>) -> Result<T> {
        f(&Asked { user, deadlines: &Deadlines::default(), now: at(10) })
    }

    #[test]
    fn a_broken_machine_is_nobodys_and_owes_its_wipe() {
        let (root, ann) = (user("root", Role::Admin), user("ann", Role::User));
        let mut held = machine(State::FailedReleasing, None);
        held.owner = Some(Owner::User(ann.id));
        held.details.dirty = true;
        held.details.skip_erase = true;
        held.details.recommission = true;
        assert!(matches!(ask(&ann, |a| mark_broken(a, &held, "")), Err(Error::Denied(_))));
        let change = ask(&root, |a| mark_broken(a, &held, "the fan is dead")).unwrap();
        assert_eq!(change.edge.map(|e| e.to), Some(State::Broken));
        assert_eq!(change.machine.owner, None);
        assert_eq!(change.machine.reason, "marked as broken by root: the fan is dead");
        let broken = Machine { state: State::Broken, ..change.machine };
        assert!(owes_erase(&broken));
        let fixed = ask(&root, |a| mark_fixed(a, &broken, "")).unwrap();
        assert_eq!(fixed.edge.map(|e| e.to), Some(State::Commissioning));
        assert_eq!(fixed.machine.deadline, Some(at(10 + 1800)));
        assert!(owes_erase(&fixed.machine), "commissioning wipes it");
    }

    #[test]
    fn everything_at_rest_can_be_marked_broken_and_nothing_that_works() {
        let root = user("root", Role::Admin);
        for &state in State::ALL {
            let may = ask(&root, |a| mark_broken(a, &machine(state, None), "")).is_ok();
            assert_eq!(may, state.class() != Class::Working && state != State::Broken, "{state}");
        }
    }

    #[test]
    fn an_override_says_why_and_skips_no_wipe() {
        let root = user("root", Role::Admin);
        let mut failed = machine(State::FailedTesting, None);
        for empty in ["", "  "] {
            let told = ask(&root, |a| override_failed_test(a, &failed, empty)).unwrap_err().to_string();
            assert_eq!(told, "comment: required: say why the machine may be used although a test failed");
        }
        let change = ask(&root, |a| override_failed_test(a, &failed, " the sensor lies ")).unwrap();
        assert_eq!(change.edge.map(|e| e.to), Some(State::Ready));
        let event = &change.events[0];
        assert_eq!(
            (event.actor.as_str(), event.reason.as_str()),
            ("user:root", "root overrode the failed test: the sensor lies")
        );
        failed.details.dirty = true;
        let told = ask(&root, |a| override_failed_test(a, &failed, "x")).unwrap_err();
        assert!(matches!(told, Error::Precondition(_)), "{told}");
        let ann = user("ann", Role::User);
        assert!(matches!(ask(&ann, |a| override_failed_test(a, &failed, "x")), Err(Error::Denied(_))));
    }
}
