//! Counting wrong passwords, and what follows.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::rules::{Lockout, LockoutScope};

/// So many users and addresses are counted at a time; the oldest is forgotten first.
const MOST: usize = 64;

/// Whom a count is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    User(u8),
    Address(IpAddr),
}

#[derive(Debug)]
struct Tally {
    whom: Whom,
    wrong: u32,
    since: Instant,
    locked_until: Option<Instant>,
}

/// Counts of wrong passwords.
#[derive(Debug, Default)]
pub(super) struct Tallies(Vec<Tally>);

impl Tallies {
    /// Is this user locked out, or this address?
    pub(super) fn locked(&self, rules: &Lockout, slot: Option<u8>, from: IpAddr, now: Instant) -> bool {
        let whom = whom(rules, slot, from);
        self.0.iter().any(|t| Some(t.whom) == whom && t.locked_until.is_some_and(|until| now < until))
    }

    /// A wrong password; `true` if it locks somebody out.
    pub(super) fn wrong(&mut self, rules: &Lockout, slot: Option<u8>, from: IpAddr, now: Instant) -> bool {
        let Some(whom) = whom(rules, slot, from) else { return false };
        let window = Duration::from_secs(rules.window_secs);
        self.0.retain(|t| t.locked_until.map_or(now < t.since + window, |until| now < until));
        let index = self.0.iter().position(|t| t.whom == whom).unwrap_or_else(|| {
            if self.0.len() >= MOST {
                self.0.remove(0);
            }
            self.0.push(Tally { whom, wrong: 0, since: now, locked_until: None });
            self.0.len() - 1
        });
        let tally = &mut self.0[index];
        tally.wrong += 1;
        if tally.wrong < rules.attempts || tally.locked_until.is_some() {
            return false;
        }
        tally.locked_until = Some(now + Duration::from_secs(rules.penalty_secs));
        true
    }

    /// A right password: what was wrong before is forgiven.
    pub(super) fn right(&mut self, slot: u8, from: IpAddr) {
        self.0.retain(|t| t.whom != Whom::User(slot) && t.whom != Whom::Address(from));
    }

    /// What this user had wrong is forgiven; what its address had is not.
    pub(super) fn forgive(&mut self, slot: u8) {
        self.0.retain(|t| t.whom != Whom::User(slot));
    }
}

fn whom(rules: &Lockout, slot: Option<u8>, from: IpAddr) -> Option<Whom> {
    match rules.scope {
        LockoutScope::User => slot.map(Whom::User),
        LockoutScope::Address => Some(Whom::Address(from)),
    }
}
