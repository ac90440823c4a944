use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const ONE: SocketAddrV4 = bmc(1);
const OTHER: SocketAddrV4 = bmc(2);
const POLLS: usize = 2;

const fn bmc(number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, number), 623)
}

/// A schedule with a queue of these at [`ONE`], which is talked to.
fn queue(waiting: &[(Class, &'static str)]) -> Schedule<&'static str> {
    let mut schedule = Schedule::new(POLLS);
    assert!(schedule.start(ONE, Class::Power));
    for &(class, name) in waiting {
        assert!(matches!(schedule.wait(ONE, class, name), Waits::Here(_)), "{name}");
    }
    schedule
}

/// In what order they get their turn at [`ONE`].
fn order(mut schedule: Schedule<&'static str>) -> Vec<&'static str> {
    let next = || schedule.done(ONE).first().map(|(_, name)| *name);
    std::iter::from_fn(next).collect()
}

#[test]
fn one_at_a_time_and_others_are_free() {
    let mut schedule = queue(&[]);
    assert!(!schedule.start(ONE, Class::Power));
    assert!(schedule.start(OTHER, Class::Polling));
    assert_eq!(schedule.done(ONE), []);
    assert!(schedule.start(ONE, Class::Polling));
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
    assert_eq!(schedule.done(ONE), [(ONE, "a")]);
    schedule.give_up(ONE, place);
    assert_eq!(schedule.done(ONE), []);
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

/// All places are taken by polls of other BMCs, and polls wait at [`ONE`] and [`OTHER`].
fn crowded() -> Schedule<&'static str> {
    let mut schedule = Schedule::new(POLLS);
    assert!(schedule.start(bmc(8), Class::Polling) && schedule.start(bmc(9), Class::Polling));
    for (at, name) in [(ONE, "one"), (OTHER, "other")] {
        assert!(!schedule.start(at, Class::Polling));
        assert!(matches!(schedule.wait(at, Class::Polling, name), Waits::Here(_)));
    }
    schedule
}

#[test]
fn a_poll_that_waits_for_a_place_holds_up_nobody_at_its_bmc() {
    for class in [Class::Power, Class::Lifecycle, Class::Inventory] {
        let mut schedule = crowded();
        assert!(schedule.start(ONE, class), "everybody else needs no place");
        assert_eq!(schedule.done(bmc(8)), [(OTHER, "other")], "the first one's BMC is being talked to");
        assert_eq!(schedule.done(bmc(9)), []);
        assert_eq!(schedule.done(ONE), [(ONE, "one")]);
    }
}

#[test]
fn a_poll_that_waits_for_its_turn_takes_no_place_from_others() {
    let mut schedule = Schedule::new(POLLS);
    assert!(schedule.start(ONE, Class::Power));
    for name in ["a", "b", "c"] {
        assert!(!schedule.start(ONE, Class::Polling));
        assert!(matches!(schedule.wait(ONE, Class::Polling, name), Waits::Here(_)));
    }
    assert!(schedule.start(OTHER, Class::Polling) && schedule.start(bmc(3), Class::Polling));
    assert_eq!(schedule.done(ONE), [], "no place is free");
    assert_eq!(schedule.done(OTHER), [(ONE, "a")]);
}

#[test]
fn places_are_given_to_who_has_waited_longest() {
    let mut schedule = crowded();
    assert!(matches!(schedule.wait(ONE, Class::Polling, "later"), Waits::Here(_)));
    assert_eq!(schedule.done(bmc(8)), [(ONE, "one")]);
    assert_eq!(schedule.done(ONE), [(OTHER, "other")], "not the next one at the same BMC");
    assert_eq!(schedule.done(OTHER), [(ONE, "later")]);
}

#[test]
fn who_gives_up_a_place_among_polls_leaves_nothing_behind() {
    let mut schedule = crowded();
    let Waits::Here(later) = schedule.wait(OTHER, Class::Polling, "later") else { panic!("there is room") };
    let places: Vec<_> = schedule.ready.iter().map(|(arrival, at)| (*at, *arrival)).collect();
    for (at, arrival) in places {
        schedule.give_up(at, Place { class: Class::Polling, arrival });
    }
    assert!(!schedule.doors.contains_key(&ONE));
    assert_eq!(schedule.ready.iter().collect::<Vec<_>>(), [&(later.arrival, OTHER)]);
    assert_eq!(schedule.done(bmc(8)), [(OTHER, "later")]);
}

/// Asks at one of a few BMCs, ends one of the turns, or leaves one of the queues.
#[derive(Clone, Debug)]
enum Step {
    Ask(u8, Class),
    Done(usize),
    GiveUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let class = prop_oneof![Just(Class::Power), Just(Class::Lifecycle), Just(Class::Inventory), Just(Class::Polling)];
    prop_oneof![
        3 => (0_u8..4, class).prop_map(|(number, class)| Step::Ask(number, class)),
        2 => any::<usize>().prop_map(Step::Done),
        1 => any::<usize>().prop_map(Step::GiveUp),
    ]
}

/// A schedule, and what is known of it from outside.
struct World {
    schedule: Schedule<Class>,
    turns: Vec<(SocketAddrV4, Class)>,
    waiting: Vec<(SocketAddrV4, Place)>,
}

impl World {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Ask(number, class) if self.schedule.start(bmc(number), class) => {
                self.turns.push((bmc(number), class))
            }
            Step::Ask(number, class) => match self.schedule.wait(bmc(number), class, class) {
                Waits::Here(place) | Waits::InsteadOf(place, _) => self.waiting.push((bmc(number), place)),
                Waits::Full => {}
            },
            Step::Done(which) if !self.turns.is_empty() => {
                let (at, _) = self.turns.swap_remove(which % self.turns.len());
                self.turns.extend(self.schedule.done(at));
            }
            Step::GiveUp(which) if !self.waiting.is_empty() => {
                let (at, place) = self.waiting.swap_remove(which % self.waiting.len());
                self.schedule.give_up(at, place);
            }
            Step::Done(_) | Step::GiveUp(_) => {}
        }
    }

    fn is_sound(&self) {
        let mut talked_to: Vec<_> = self.turns.iter().map(|(at, _)| *at).collect();
        talked_to.sort();
        assert!(talked_to.is_sorted_by(|a, b| a < b), "two talk to one BMC");
        let polls = self.turns.iter().filter(|(_, class)| *class == Class::Polling).count();
        assert!(polls == self.schedule.polls && polls <= POLLS);
        for (at, door) in &self.schedule.doors {
            let waits = door.first().map(|first| first.class);
            match (door.turn, waits) {
                (Some(_), _) => assert!(talked_to.contains(at)),
                (None, Some(Class::Polling)) => assert_eq!(polls, POLLS, "a poll waits and a place is free"),
                (None, Some(_)) => panic!("a command waits and its BMC is free"),
                (None, None) => panic!("a BMC at which nothing goes on is kept"),
            }
        }
    }
}

proptest! {
    #[test]
    fn nobody_waits_for_what_is_free(steps in proptest::collection::vec(step(), 0..200)) {
        let mut world = World { schedule: Schedule::new(POLLS), turns: Vec::new(), waiting: Vec::new() };
        for step in &steps {
            world.take(step);
            world.is_sound();
        }
        while !world.turns.is_empty() {
            world.take(&Step::Done(0));
            world.is_sound();
        }
        prop_assert!(world.schedule.doors.is_empty() && world.schedule.ready.is_empty(), "all had their turn");
    }
}
