use std::collections::BTreeSet;

use super::*;

fn reachable(start: impl IntoIterator<Item = State>) -> BTreeSet<State> {
    let mut seen: BTreeSet<State> = start.into_iter().collect();
    let mut todo: Vec<State> = seen.iter().copied().collect();
    while let Some(s) = todo.pop() {
        todo.extend(s.edges().map(|e| e.to).filter(|t| seen.insert(*t)));
    }
    seen
}

#[test]
fn every_pair_has_at_most_one_edge() {
    let pairs: BTreeSet<_> = EDGES.iter().map(|e| (e.from, e.on)).collect();
    assert_eq!(pairs.len(), EDGES.len());
}

#[test]
fn every_state_is_reachable_and_can_become_ready_again() {
    assert_eq!(reachable(BIRTHS.iter().map(|b| b.to)), State::ALL.iter().copied().collect());
    for &s in State::ALL {
        assert!(reachable([s]).contains(&S::Ready), "{s} is a trap");
    }
}

#[test]
fn a_state_has_a_deadline_exactly_when_the_engine_works_in_it() {
    for &s in State::ALL {
        // The end of a lease is no work: it is a date that somebody set.
        let engine = s.edges().any(|e| e.by == Engine && e.on != E::Expire);
        assert_eq!(s.class() == Class::Working, engine, "{s}");
        assert_eq!(s.deadline().is_some(), engine, "{s}");
        assert_eq!(next(s, E::Timeout).is_ok(), engine, "{s}");
        assert_eq!(next(s, E::Abort).is_ok(), engine, "{s} can be aborted exactly when it works");
        assert!(s.phases().is_empty() || engine, "{s}");
    }
}

#[test]
fn failure_edges_lead_to_the_same_failed_state() {
    for &s in State::ALL {
        let targets: BTreeSet<_> =
            [E::Fail, E::Timeout, E::Abort].iter().filter_map(|e| next(s, *e).ok()).map(|e| e.to).collect();
        assert!(targets.len() <= 1, "{s}: {targets:?}");
        assert!(targets.iter().all(|t| t.class() == Class::Failed), "{s}: {targets:?}");
    }
}

#[test]
fn everything_not_in_the_table_is_refused() {
    for &s in State::ALL {
        for &e in Event::ALL {
            let listed = EDGES.iter().any(|x| x.from == s && x.on == e);
            assert_eq!(next(s, e).is_ok(), listed);
        }
    }
}

#[test]
fn failed_and_broken_machines_become_ready_only_through_commissioning_or_the_audited_override() {
    // The return from rescue leads to where the machine came from, so it is not a way around; `decide` is tested for that.
    let direct = |s: State| s.edges().find(|e| e.to == S::Ready && e.on != E::OverrideFailedTest);
    for &s in State::ALL.iter().filter(|s| s.class() == Class::Failed || **s == S::Broken) {
        assert_eq!(direct(s), None, "{s}");
    }
}

#[test]
fn only_allocated_machines_can_be_deployed() {
    let from: Vec<_> = EDGES.iter().filter(|e| e.on == E::Deploy).map(|e| e.from).collect();
    assert_eq!(from, [S::Allocated]);
}

#[test]
fn the_document_shows_this_table() {
    expect_test::expect_file!["../../../../docs/lifecycle.md"].assert_eq(&render::page());
}
