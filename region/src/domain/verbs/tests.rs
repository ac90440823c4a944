use super::*;
use crate::domain::testing::{at, machine, user};

fn ask<T>(user: &User, f: impl FnOnce(&Asked<'_>) -> Result<T>) -> Result<T> {
    f(&Asked { user, deadlines: &Deadlines::default(), now: at(10) })
}

fn debian() -> Deployment {
    Deployment { image: "debian".to_owned(), image_id: "i".to_owned(), disk_serial: None }
}

#[test]
fn a_machine_is_lent_to_one_owner_at_a_time() {
    let (ann, bob) = (user("ann", Role::User), user("bob", Role::User));
    let ready = machine(State::Ready, None);
    let change = ask(&ann, |a| allocate(a, &ready)).unwrap();
    assert_eq!(change.edge.map(|e| e.to), Some(State::Allocated));
    let mut held = change.machine;
    held.state = State::Allocated;
    assert_eq!(
        ask(&bob, |a| deploy(a, &held, debian())).unwrap_err().to_string(),
        "machine m1 is held by somebody else; only its owner or an admin may deploy it"
    );
    assert_eq!(
        ask(&bob, |a| allocate(a, &held)).unwrap_err().to_string(),
        "machine m1 is allocated; allocate is not allowed; allowed now: nothing but waiting"
    );
    let deploying = ask(&ann, |a| deploy(a, &held, debian())).unwrap().machine;
    assert!(deploying.details.dirty, "from the first byte on the disks count as an owner's");
    assert_eq!(deploying.deadline, Some(at(10 + 3600)));
}

#[test]
fn a_refusal_says_what_the_caller_may_do_now() {
    let ready = machine(State::Ready, None);
    let text = |who: &User| ask(who, |a| deploy(a, &ready, debian())).unwrap_err().to_string();
    assert_eq!(text(&user("ann", Role::User)), "machine m1 is ready; deploy is not allowed; allowed now: allocate");
    assert_eq!(
        text(&user("root", Role::Admin)),
        "machine m1 is ready; deploy is not allowed; allowed now: allocate, commission, test, rescue, mark-broken"
    );
}

#[test]
fn viewers_change_nothing_and_users_do_not_commission() {
    let ready = machine(State::Ready, None);
    for (who, verb) in [(user("eve", Role::Viewer), Event::Allocate), (user("ann", Role::User), Event::Commission)] {
        assert!(matches!(edge(&who, &ready, verb), Err(Error::Denied(_))), "{verb}");
    }
}

#[test]
fn erasing_is_skipped_only_where_the_policy_lets_it() {
    let root = user("root", Role::Admin);
    let deployed = machine(State::Deployed, None);
    let text = ask(&root, |a| release(a, &deployed, true, false, "")).unwrap_err().to_string();
    assert_eq!(text, "skip_erase: the region's policy requires erasing; leave it out");
    assert!(ask(&root, |a| release(a, &deployed, true, true, "")).unwrap().machine.details.skip_erase);
}

#[test]
fn release_after_a_failure_asks_for_commissioning() {
    let root = user("root", Role::Admin);
    let release =
        |s| ask(&root, |a| release(a, &machine(s, None), false, false, "")).unwrap().machine.details.recommission;
    assert!(release(State::FailedDeployment) && release(State::FailedReleasing));
    assert!(!release(State::Deployed) && !release(State::Allocated));
}

#[test]
fn new_machines_are_for_admins_eyes() {
    let new = machine(State::New, None);
    assert!(sees(&user("root", Role::Admin), &new));
    assert!(!sees(&user("ann", Role::User), &new));
}
