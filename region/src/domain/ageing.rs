//! Passwords of BMC accounts that are changed because they are old. Pure.

use chrono::TimeDelta;
use farrier_common::clock::Timestamp;

use super::{lifecycle::Class, machine::Machine};

/// Passwords that are being changed at once.
const AT_ONCE: usize = 10;
/// With so many failures that nobody has seen to, no further one is changed.
const MOST_FAILURES: usize = 3;
/// For so long a failure counts; then its machine has its turn again.
const PAUSE: TimeDelta = TimeDelta::days(1);

/// What a look at all machines has shown.
#[derive(Debug)]
pub struct Look {
    every: TimeDelta,
    now: Timestamp,
    due: Vec<(Timestamp, Machine)>,
    under_way: usize,
    failed: usize,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Turn {
    /// Change these passwords, the oldest first.
    Begin(Vec<Machine>),
    /// So many changes failed: a person is to look first.
    Halt(usize),
}

impl Look {
    /// At passwords that are to be no older than `every`.
    #[must_use]
    pub const fn new(every: TimeDelta, now: Timestamp) -> Self {
        Self { every, now, due: Vec::new(), under_way: 0, failed: 0 }
    }

    /// Takes in a machine.
    pub fn at(&mut self, m: Machine) {
        let Some(bmc) = m.details.bmc.as_ref().filter(|bmc| bmc.managed) else { return };
        if bmc.rotation.is_some() {
            self.under_way += 1;
            return;
        }
        if bmc.rotation_failed_at.is_some_and(|at| self.now < at + PAUSE) {
            self.failed += 1;
            return;
        }
        // An account is no older than its machine.
        let since = bmc.rotated_at.unwrap_or(m.created_at);
        let waits = m.details.lock.is_some() || m.rack.is_none() || m.state.class() == Class::Working;
        if !waits && self.now >= since + self.every {
            self.due.push((since, m));
            // Of a fleet whose passwords are all old, only the next ones need to be kept in mind.
            if self.due.len() > 2 * AT_ONCE {
                self.keep_oldest();
            }
        }
    }

    fn keep_oldest(&mut self) {
        self.due.sort_by_key(|(since, m)| (*since, m.id));
        self.due.truncate(AT_ONCE);
    }

    /// What is to be done.
    #[must_use]
    pub fn turn(mut self) -> Turn {
        if self.failed >= MOST_FAILURES {
            return Turn::Halt(self.failed);
        }
        self.keep_oldest();
        self.due.truncate(AT_ONCE.saturating_sub(self.under_way));
        Turn::Begin(self.due.into_iter().map(|(_, m)| m).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        bmc::{Bmc, Rotation},
        lifecycle::State,
        testing::{at, machine},
    };

    const DAY: i64 = 86_400;

    fn managed(edit: impl Fn(&mut Bmc)) -> Machine {
        let mut m = machine(State::Ready, None);
        let bmc = m.details.bmc.as_mut().unwrap();
        bmc.managed = true;
        edit(bmc);
        m
    }

    fn begun(machines: Vec<Machine>, day: i64) -> Vec<Machine> {
        let mut look = Look::new(TimeDelta::days(30), at(day * DAY));
        machines.into_iter().for_each(|m| look.at(m));
        match look.turn() {
            Turn::Begin(begun) => begun,
            Turn::Halt(failed) => panic!("{failed} failed"),
        }
    }

    #[test]
    fn old_passwords_of_our_own_are_changed_the_oldest_first() {
        let never = managed(|_| ());
        let changed = managed(|bmc| bmc.rotated_at = Some(at(5 * DAY)));
        let unreached = Machine { rack: None, ..managed(|_| ()) };
        let given = managed(|bmc| bmc.managed = false);
        let busy = Machine { state: State::Deploying, ..managed(|_| ()) };
        let all = || vec![changed.clone(), unreached.clone(), given.clone(), busy.clone(), never.clone()];
        assert_eq!(begun(all(), 29), []);
        assert_eq!(begun(all(), 30), std::slice::from_ref(&never));
        assert_eq!(begun(all(), 35), [never.clone(), changed.clone()]);
    }

    #[test]
    fn few_are_changed_at_once() {
        let rotation = Rotation { since: at(0), by: "schedule".to_owned(), tries: 0, trouble: None, due: at(0) };
        let mut all: Vec<_> = (0..7).map(|_| managed(|bmc| bmc.rotation = Some(rotation.clone()))).collect();
        all.extend((0..50).map(|n| managed(|bmc| bmc.rotated_at = Some(at(50 - n)))));
        let begun: Vec<_> =
            begun(all, 40).iter().map(|m| m.details.bmc.as_ref().unwrap().rotated_at.unwrap()).collect();
        assert_eq!(begun, [at(1), at(2), at(3)]);
    }

    #[test]
    fn failures_halt_it_for_a_day() {
        let failed = || managed(|bmc| bmc.rotation_failed_at = Some(at(40 * DAY)));
        let halted = || vec![failed(), failed(), failed(), managed(|_| ())];
        let mut look = Look::new(TimeDelta::days(30), at(40 * DAY + 60));
        halted().into_iter().for_each(|m| look.at(m));
        assert_eq!(look.turn(), Turn::Halt(3));
        assert_eq!(begun(halted(), 41).len(), 4);
        assert_eq!(begun(halted().split_off(2), 40).len(), 1, "two may fail");
    }
}
