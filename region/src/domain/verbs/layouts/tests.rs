//! Who may declare, and when.

use super::*;
use crate::domain::{
    advance::Deadlines,
    layout::{network, storage, testing},
    machine::Owner,
    testing::{at, machine, user},
    user::User,
};

fn try_it(user: &User, m: &Machine, storage: bool) -> String {
    let deadlines = Deadlines::new();
    let asked = Asked { user, deadlines: &deadlines, now: at(0) };
    let declared = if storage {
        Declared { storage: Some(Some(storage::tests::example())), network: None }
    } else {
        Declared { storage: None, network: Some(Some(network::tests::example())) }
    };
    match configure(&asked, m, &declared) {
        Ok(change) => {
            assert!(change.edge.is_none() && change.events.len() == 1);
            assert_eq!(change.machine.details.storage.is_some(), storage);
            change.events[0].reason.clone()
        }
        Err(e) => format!("{e}"),
    }
}

#[test]
fn the_owner_and_admins_declare_while_nobody_works_on_it() {
    let (admin, ulf, uma) = (user("admin", Role::Admin), user("ulf", Role::User), user("uma", Role::User));
    let viewer = user("vera", Role::Viewer);
    for state in State::ALL.iter().copied() {
        let mut m = machine(state, None);
        m.owner = Some(Owner::User(ulf.id));
        for storage in [true, false] {
            let working = state.class() == Class::Working;
            let in_use = storage && matches!(state, State::Deployed | State::Rescue);
            let may = !(working || in_use);
            for user in [&admin, &ulf] {
                let told = try_it(user, &m, storage);
                assert_eq!(told.ends_with("was declared"), may, "{state} {told}");
            }
            for user in [&uma, &viewer] {
                assert!(try_it(user, &m, storage).contains("must be an admin or hold it"));
            }
        }
        m.owner = None;
        assert!(try_it(&ulf, &m, false).contains("must be an admin or hold it"));
    }
}

#[test]
fn destinations_are_at_rest_and_not_in_use() {
    let (admin, deadlines) = (user("admin", Role::Admin), Deadlines::new());
    let asked = Asked { user: &admin, deadlines: &deadlines, now: at(0) };
    let mut source = machine(State::Deployed, None);
    assert!(original(&source, false, true).unwrap_err().to_string().contains("has no inventory"));
    source.details.hardware = Some(testing::hardware());
    assert!(original(&source, false, true).unwrap_err().to_string().contains("has no declared network"));
    source.details.network = Some(network::tests::example());
    assert!(original(&source, false, false).unwrap_err().to_string().starts_with("storage: "));
    let from = original(&source, false, true).unwrap();
    for state in State::ALL.iter().copied() {
        let mut to = machine(state, None);
        to.details.hardware = Some(testing::hardware());
        let (copied, change) = clone_to(&asked, &source, &from, &to);
        let may = matches!(state, State::Ready | State::Allocated | State::Broken) || state.class() == Class::Failed;
        assert_eq!((copied.refusals.is_empty(), change.is_some()), (may, may), "{state} {:?}", copied.refusals);
    }
}

#[test]
fn commissioning_keeps_what_it_is_told_to() {
    let mut details = Details { network: Some(network::tests::example()), ..Details::default() };
    details.storage = Some(storage::tests::example());
    Keep { storage: true, network: false }.apply(&mut details);
    assert!(details.storage.is_some() && details.network.is_none());
    Keep::default().apply(&mut details);
    assert!(details.storage.is_none());
}
