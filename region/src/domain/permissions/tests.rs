use std::collections::BTreeSet;

use farrier_common::id::ProjectId;

use super::*;
use crate::domain::testing::user;

#[test]
fn names_of_calls_are_unique_and_each_verb_of_people_has_one() {
    let names: BTreeSet<_> = CALLS.iter().map(|c| c.name).collect();
    assert_eq!(names.len(), CALLS.len());
    let verbs: BTreeSet<_> = EDGES.iter().filter(|e| matches!(e.by, By::Admin | By::Owner)).map(|e| e.on).collect();
    for verb in verbs {
        let calls: Vec<_> = CALLS.iter().filter(|c| c.need == Need::Verb(verb)).map(|c| c.name).collect();
        assert_eq!(calls.len(), 1, "{verb}: {calls:?}");
    }
}

#[test]
fn the_gate_asks_for_the_least_role_and_knows_its_calls() {
    let (viewer, ulf, root) = (user("vera", Role::Viewer), user("ulf", Role::User), user("root", Role::Admin));
    for (name, let_in) in [
        ("GetMachine", [true, true, true]),
        ("DeployMachine", [false, true, true]),
        ("CommissionMachine", [false, false, true]),
        ("CreateMachine", [false, false, true]),
    ] {
        assert_eq!([&viewer, &ulf, &root].map(|u| gate(u, name).is_ok()), let_in, "{name}");
    }
    assert_eq!(
        gate(&viewer, "DeployMachine").unwrap_err().to_string(),
        "DeployMachine needs the role user or admin; vera is viewer"
    );
    assert!(matches!(gate(&root, "Nonsense"), Err(Error::Internal(_))));
}

#[test]
fn what_is_the_owners_needs_an_owner_but_for_allocation() {
    let mut ulf = user("ulf", Role::User);
    let (mine, theirs) = (Owner::User(ulf.id), Owner::Project(ProjectId::generate()));
    for edge in EDGES.iter().filter(|e| e.by == By::Owner) {
        let allocates = edge.on == Event::Allocate;
        assert_eq!(may(&ulf, edge, None), allocates, "{}", edge.on);
        assert!(may(&ulf, edge, Some(mine)) && !may(&ulf, edge, Some(theirs)), "{}", edge.on);
    }
    let Owner::Project(project) = theirs else { unreachable!() };
    ulf.projects.insert(project);
    assert!(EDGES.iter().filter(|e| e.by == By::Owner).all(|edge| may(&ulf, edge, Some(theirs))));
}

#[test]
fn the_page_is_up_to_date() {
    expect_test::expect_file!["../../../../docs/permissions.md"].assert_eq(&render::page());
}
