//! Who talks to which BMC next: a plain state, and what follows from it. Knows nothing of tasks, sockets and time.
//!
//! A poll needs two things: its BMC's turn, and one of the places that all polls share. It is given both or neither. If it took
//! the turn first and then waited for a place, polls of other BMCs would hold up a command to this one; if it took the place
//! first and then waited for the turn, one slow BMC would take places away from all others. While it waits for a place, whoever
//! is more important passes it and talks to the BMC.
//!
//! Invariant: if a place is free, no poll waits at a BMC that nobody talks to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddrV4,
};

use super::Class;

/// How many operations may wait for one BMC.
pub(super) const QUEUE: usize = 16;

/// Who has the turn at each BMC, and who waits for it with a ticket `T`. A BMC at which nothing goes on takes no room.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    doors: HashMap<SocketAddrV4, Door<T>>,
    /// BMCs that nobody talks to and that polls wait for, by the arrival of the first poll: all that these lack is a place.
    ready: BTreeSet<(u64, SocketAddrV4)>,
    /// Polls that have a turn.
    polls: usize,
    most_polls: usize,
    arrivals: u64,
}

#[derive(Debug)]
struct Door<T> {
    /// Of whoever talks to the BMC.
    turn: Option<Class>,
    waiting: BTreeMap<Place, T>,
}

/// A place in the queue of one BMC. The first in order is the next: by class, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    class: Class,
    arrival: u64,
}

/// What came of it when somebody wanted to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waits<T> {
    /// There was room.
    Here(Place),
    /// There was none; the newest poll had to go.
    InsteadOf(Place, T),
    /// There is none.
    Full,
}

// === impl Schedule ===

impl<T> Schedule<T> {
    /// Of BMCs of which so many at most are polled at a time.
    pub(super) fn new(most_polls: usize) -> Self {
        Self { doors: HashMap::new(), ready: BTreeSet::new(), polls: 0, most_polls, arrivals: 0 }
    }

    /// Takes the turn at `bmc` if it is free, and a place if it is for a poll. Everybody else passes polls that wait for one.
    pub(super) fn start(&mut self, bmc: SocketAddrV4, class: Class) -> bool {
        if class == Class::Polling && self.polls >= self.most_polls {
            return false;
        }
        let door = self.doors.entry(bmc).or_default();
        if door.turn.is_some() {
            return false;
        }
        if let Some(first) = door.begin(class) {
            self.ready.remove(&(first.arrival, bmc));
        }
        self.polls += usize::from(class == Class::Polling);
        true
    }

    /// Waits for the turn at `bmc`, after [`Schedule::start`] has not given it.
    pub(super) fn wait(&mut self, bmc: SocketAddrV4, class: Class, ticket: T) -> Waits<T> {
        let door = self.doors.entry(bmc).or_default();
        let displaced = if door.waiting.len() < QUEUE {
            None
        } else {
            // Nobody waits for a poll; it comes again by itself.
            match door.waiting.last_entry() {
                Some(last) if last.key().class == Class::Polling && class != Class::Polling => Some(last.remove()),
                Some(_) | None => return Waits::Full,
            }
        };
        self.arrivals += 1;
        let place = Place { class, arrival: self.arrivals };
        if door.turn.is_none() && door.waiting.is_empty() {
            self.ready.insert((place.arrival, bmc));
        }
        door.waiting.insert(place, ticket);
        displaced.map_or(Waits::Here(place), |ticket| Waits::InsteadOf(place, ticket))
    }

    /// Waits no longer. Nothing happens if the place was called or displaced before.
    pub(super) fn give_up(&mut self, bmc: SocketAddrV4, place: Place) {
        let Some(door) = self.doors.get_mut(&bmc) else { return };
        if door.waiting.remove(&place).is_none() || door.turn.is_some() {
            return;
        }
        self.ready.remove(&(place.arrival, bmc));
        match door.first() {
            Some(first) => drop(self.ready.insert((first.arrival, bmc))),
            None => drop(self.doors.remove(&bmc)),
        }
    }

    /// Takes those out of the queue of `bmc` who wait for what whoever has the turn is about to learn.
    pub(super) fn take(&mut self, bmc: SocketAddrV4, same: impl Fn(&T) -> bool) -> Vec<T> {
        let Some(door) = self.doors.get_mut(&bmc).filter(|door| door.turn.is_some()) else { return Vec::new() };
        door.waiting.extract_if(.., |_, ticket| same(ticket)).map(|(_, ticket)| ticket).collect()
    }

    /// The turn at `bmc` is over; answers who has one now, and where.
    pub(super) fn done(&mut self, bmc: SocketAddrV4) -> Vec<(SocketAddrV4, T)> {
        let Some(door) = self.doors.get_mut(&bmc) else { return Vec::new() };
        if door.turn.take() == Some(Class::Polling) {
            self.polls = self.polls.saturating_sub(1);
        }
        let mut called = Vec::new();
        match door.first() {
            None => drop(self.doors.remove(&bmc)),
            // Others may have waited longer for a place.
            Some(first) if first.class == Class::Polling => drop(self.ready.insert((first.arrival, bmc))),
            Some(_) => called.extend(self.call(bmc)),
        }
        while self.polls < self.most_polls {
            let Some((_, bmc)) = self.ready.pop_first() else { break };
            called.extend(self.call(bmc));
        }
        called
    }

    /// Gives the turn at `bmc` to the next.
    fn call(&mut self, bmc: SocketAddrV4) -> Option<(SocketAddrV4, T)> {
        let door = self.doors.get_mut(&bmc)?;
        let (place, ticket) = door.waiting.pop_first()?;
        door.begin(place.class);
        self.polls += usize::from(place.class == Class::Polling);
        Some((bmc, ticket))
    }
}

// === impl Door ===

impl<T> Default for Door<T> {
    fn default() -> Self {
        Self { turn: None, waiting: BTreeMap::new() }
    }
}

impl<T> Door<T> {
    /// Who is next.
    fn first(&self) -> Option<Place> {
        self.waiting.first_key_value().map(|(place, _)| *place)
    }

    /// Somebody talks to the BMC; answers who goes on waiting.
    fn begin(&mut self, class: Class) -> Option<Place> {
        self.turn = Some(class);
        self.first()
    }
}

#[cfg(test)]
mod tests;
