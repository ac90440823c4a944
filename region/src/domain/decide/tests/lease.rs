//! Allocations that end by themselves.

use super::*;

#[test]
fn a_lease_ends_in_a_release_and_only_while_nothing_was_deployed() {
    let mut m = machine(State::Allocated, None);
    m.details.lease_expires = Some(at(100));
    let seen = Observation { rack_connected: true, ..Observation::default() };
    let rules = Rules::default();
    // Until then the row says when to look again, so that a region which starts anew does.
    let left = TimeDelta::seconds(90);
    assert_eq!(
        decide(&m, &seen, &rules, at(10)),
        Decision::Wait { after: left, why: Why { code: m.code, text: m.reason.clone() } }
    );
    let over = decide(&m, &seen, &rules, at(100));
    assert!(matches!(&over, Decision::Move { event: Event::Expire, .. }), "{over:?}");
    // A rack that is away keeps no lease going, nor does it make the engine look later than its end.
    m.details.published = None;
    let away = Observation::default();
    assert!(
        matches!(decide(&m, &away, &rules, at(99)), Decision::Wait { after, .. } if after == TimeDelta::seconds(1))
    );
    assert!(matches!(decide(&m, &away, &rules, at(101)), Decision::Move { event: Event::Expire, .. }));
    for state in [State::Deployed, State::Ready, State::Broken] {
        m.state = state;
        m.details.published = Some(m.boot_target());
        assert_eq!(decide(&m, &seen, &rules, at(500)), Decision::Rest, "{state}");
    }
}

#[test]
fn deploying_ends_the_lease() {
    use crate::domain::{advance::Change, lifecycle};
    let mut m = machine(State::Allocated, None);
    m.details.lease_expires = Some(at(100));
    let after = |event| {
        let edge = lifecycle::next(State::Allocated, event).unwrap();
        Change::of(m.clone())
            .along(edge, "x", "y", &std::collections::BTreeMap::new(), at(5))
            .machine
            .details
            .lease_expires
    };
    assert_eq!((after(Event::Deploy), after(Event::Release), after(Event::Expire)), (None, None, None));
    assert_eq!(after(Event::Rescue), Some(at(100)), "rescue leads back to allocated");
}
