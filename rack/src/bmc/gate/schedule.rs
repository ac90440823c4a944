//! Who talks to which BMC next: a plain state, and what follows from it. Knows nothing of tasks, sockets and time.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddrV4,
};

use super::Class;

/// How many operations may wait for one BMC.
pub(super) const QUEUE: usize = 16;

/// Who has the turn at each BMC, and who waits for it with a ticket `T`. A BMC at which nothing goes on takes no room.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    doors: HashMap<SocketAddrV4, Door<T>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Door<T> {
    /// Somebody talks to the BMC.
    taken: bool,
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

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { doors: HashMap::new(), arrivals: 0 }
    }
}

impl<T> Schedule<T> {
    /// Takes the turn at `bmc` if it is free.
    pub(super) fn start(&mut self, bmc: SocketAddrV4) -> bool {
        let door = self.doors.entry(bmc).or_insert_with(|| Door { taken: false, waiting: BTreeMap::new() });
        !std::mem::replace(&mut door.taken, true)
    }

    /// Waits for the turn at `bmc`, which is not free.
    pub(super) fn wait(&mut self, bmc: SocketAddrV4, class: Class, ticket: T) -> Waits<T> {
        let Some(door) = self.doors.get_mut(&bmc) else { return Waits::Full };
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
        door.waiting.insert(place, ticket);
        displaced.map_or(Waits::Here(place), |ticket| Waits::InsteadOf(place, ticket))
    }

    /// Waits no longer. Nothing happens if the place was called or displaced before.
    pub(super) fn give_up(&mut self, bmc: SocketAddrV4, place: Place) {
        if let Some(door) = self.doors.get_mut(&bmc) {
            door.waiting.remove(&place);
        }
    }

    /// Takes those out of the queue of `bmc` who wait for what whoever has the turn is about to learn.
    pub(super) fn take(&mut self, bmc: SocketAddrV4, same: impl Fn(&T) -> bool) -> Vec<T> {
        let Some(door) = self.doors.get_mut(&bmc) else { return Vec::new() };
        door.waiting.extract_if(.., |_, ticket| same(ticket)).map(|(_, ticket)| ticket).collect()
    }

    /// The turn at `bmc` is over; answers who has it now.
    pub(super) fn done(&mut self, bmc: SocketAddrV4) -> Option<T> {
        let door = self.doors.get_mut(&bmc)?;
        let next = door.waiting.pop_first();
        if next.is_none() {
            self.doors.remove(&bmc);
        }
        next.map(|(_, ticket)| ticket)
    }
}

#[cfg(test)]
mod tests;
