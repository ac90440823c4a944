//! The loop breaker: a network boot that is served again and again and leads nowhere is held.
//!
//! A pass begins when a machine asks for an address and then for its boot script; a script that asks for itself again,
//! because a download failed, is the same pass. The passes of one boot (or of one unknown interface) are counted until an
//! agent says hello. Nothing is kept over a restart: then it is counted anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, id::BootId, net::MacAddr};

/// Passes of one boot that may lead nowhere, unless configured otherwise.
pub const LIMIT: u32 = 5;
/// An unknown machine has no intent that could change, so it may try again after a while.
const UNKNOWN_REST: TimeDelta = TimeDelta::minutes(10);
/// Interfaces that are remembered; an attacker may make up any number.
const MOST: usize = 16_384;

/// What is to become of a machine that asks for its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may boot.
    Serve,
    /// It is held.
    Hold {
        /// After so many passes.
        passes: u32,
        /// It has just come to that.
        news: bool,
    },
}

/// Counts passes. Clones share them.
#[derive(Clone, Debug)]
pub struct Breaker {
    seen: Arc<Mutex<HashMap<MacAddr, Seen>>>,
    limit: u32,
}

#[derive(Debug)]
struct Seen {
    boot: Option<BootId>,
    passes: u32,
    /// It has asked for an address since the last pass.
    began: bool,
    held: Option<Timestamp>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Breaker {
    /// One that lets so many passes lead nowhere.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { seen: Arc::default(), limit }
    }

    /// An interface asks for an address.
    pub fn begins(&self, mac: MacAddr) {
        if let Some(seen) = self.seen().get_mut(&mac) {
            seen.began = true;
        }
    }

    /// An interface asks for the script of a pass through the ephemeral environment. `boot`: which; none of a machine that
    /// no intent names.
    pub fn asks(&self, mac: MacAddr, boot: Option<BootId>, now: Timestamp) -> Verdict {
        let mut all = self.seen();
        if all.len() >= MOST && !all.contains_key(&mac) {
            all.clear();
        }
        let seen = all.entry(mac).or_insert(Seen { boot, passes: 0, began: true, held: None });
        let rested = boot.is_none() && seen.held.is_some_and(|since| now - since >= UNKNOWN_REST);
        if seen.boot != boot || rested {
            *seen = Seen { boot, passes: 0, began: true, held: None };
        }
        if seen.held.is_some() {
            return Verdict::Hold { passes: self.limit, news: false };
        }
        if std::mem::take(&mut seen.began) {
            seen.passes += 1;
        }
        if seen.passes <= self.limit {
            return Verdict::Serve;
        }
        seen.held = Some(now);
        Verdict::Hold { passes: self.limit, news: true }
    }

    /// The agent of a machine with these interfaces was let in.
    pub fn leads_on(&self, macs: impl IntoIterator<Item = MacAddr>) {
        let mut all = self.seen();
        for mac in macs {
            all.remove(&mac);
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<MacAddr, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::state::samples::{mac, now};

    fn pass(breaker: &Breaker, boot: Option<BootId>, at: Timestamp) -> Verdict {
        breaker.begins(mac(1));
        breaker.asks(mac(1), boot, at)
    }

    #[test]
    fn a_boot_that_leads_nowhere_is_held_until_there_is_another() {
        let (breaker, boot) = (Breaker::default(), Some(BootId::generate()));
        for _ in 0..LIMIT {
            assert_eq!(pass(&breaker, boot, now()), Verdict::Serve);
            // A script that asks for itself again begins no pass.
            assert_eq!(breaker.asks(mac(1), boot, now()), Verdict::Serve);
        }
        assert_eq!(pass(&breaker, boot, now()), Verdict::Hold { passes: LIMIT, news: true });
        let later = now() + TimeDelta::days(1);
        assert_eq!(pass(&breaker, boot, later), Verdict::Hold { passes: LIMIT, news: false });
        assert_eq!(pass(&breaker, Some(BootId::generate()), later), Verdict::Serve);
    }

    #[test]
    fn an_agent_that_is_let_in_ends_the_count() {
        let (breaker, boot) = (Breaker::new(1), Some(BootId::generate()));
        for _ in 0..3 {
            assert_eq!(pass(&breaker, boot, now()), Verdict::Serve);
            breaker.leads_on([mac(1)]);
        }
    }

    #[test]
    fn an_unknown_machine_may_try_again_after_a_while() {
        let breaker = Breaker::new(1);
        assert_eq!(pass(&breaker, None, now()), Verdict::Serve);
        assert_eq!(pass(&breaker, None, now()), Verdict::Hold { passes: 1, news: true });
        let later = now() + UNKNOWN_REST;
        assert_eq!(pass(&breaker, None, later - TimeDelta::seconds(1)), Verdict::Hold { passes: 1, news: false });
        assert_eq!(pass(&breaker, None, later), Verdict::Serve);
        assert_eq!(pass(&breaker, Some(BootId::generate()), later), Verdict::Serve);
    }
}
