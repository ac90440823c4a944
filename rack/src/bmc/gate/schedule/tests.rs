use std::net::Ipv4Addr;

use super::*;

const ONE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 623);
const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 623);

/// A schedule with a queue of these at [`ONE`], which is talked to.
fn queue(waiting: &[(Class, &'static str)]) -> Schedule<&'static str> {
    let mut schedule = Schedule::default();
    assert!(schedule.start(ONE));
    for &(class, name) in waiting {
        assert!(matches!(schedule.wait(ONE, class, name), Waits::Here(_)), "{name}");
    }
    schedule
}

/// In what order they get their turn.
fn order(mut schedule: Schedule<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| schedule.done(ONE)).collect()
}

#[test]
fn one_at_a_time_and_others_are_free() {
    let mut schedule = queue(&[]);
    assert!(!schedule.start(ONE));
    assert!(schedule.start(OTHER));
    assert_eq!(schedule.done(ONE), None);
    assert!(schedule.start(ONE));
}

#[test]
fn the_more_important_goes_first_and_its_like_by_arrival() {
    let (power, lifecycle, inventory, polling) = (Class::Power, Class::Lifecycle, Class::Inventory, Class::Polling);
    let all = [(polling, "g"), (inventory, "e"), (power, "a"), (lifecycle, "c"), (power, "b"), (polling, "h")];
    let all: Vec<_> = all.into_iter().chain([(lifecycle, "d"), (inventory, "f")]).collect();
    assert_eq!(order(queue(&all)), ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn a_full_queue_refuses_polls_and_gives_their_places_to_others() {
    let mut schedule = queue(&[(Class::Polling, "old"), (Class::Polling, "new")]);
    for _ in 2..QUEUE {
        assert!(matches!(schedule.wait(ONE, Class::Inventory, "probe"), Waits::Here(_)));
    }
    assert_eq!(schedule.wait(ONE, Class::Polling, "poll"), Waits::Full);
    assert!(matches!(schedule.wait(ONE, Class::Power, "first"), Waits::InsteadOf(_, "new")));
    assert!(matches!(schedule.wait(ONE, Class::Inventory, "probe"), Waits::InsteadOf(_, "old")));
    assert_eq!(schedule.wait(ONE, Class::Power, "no poll is left"), Waits::Full);
    let order = order(schedule);
    assert_eq!((order.len(), order.first()), (QUEUE, Some(&"first")));
}

#[test]
fn who_gives_up_is_passed_over_and_nothing_is_kept() {
    let mut schedule = queue(&[(Class::Power, "a")]);
    let Waits::Here(place) = schedule.wait(ONE, Class::Power, "b") else { panic!("there is room") };
    schedule.give_up(ONE, place);
    assert_eq!(schedule.done(ONE), Some("a"));
    schedule.give_up(ONE, place);
    assert_eq!(schedule.done(ONE), None);
    assert!(schedule.doors.is_empty());
}

#[test]
fn who_waits_for_the_same_is_taken_out_in_order() {
    let mut schedule = queue(&[(Class::Polling, "read b"), (Class::Power, "off"), (Class::Lifecycle, "read a")]);
    assert_eq!(schedule.take(ONE, |name| name.starts_with("read")), ["read a", "read b"]);
    assert_eq!(schedule.take(ONE, |name| name.starts_with("read")), [""; 0]);
    assert_eq!(schedule.take(OTHER, |_| true), [""; 0]);
    assert_eq!(order(schedule), ["off"]);
}
