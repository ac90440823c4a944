//! Which BMCs polls leave alone because nothing answers there: a plain state, and what follows from it. Time and chance are given.
//!
//! Without it a dead BMC would take its place among the polls for as long as a silence lasts, every time; so it does a few times,
//! and then once in minutes. Only polls are stopped: what somebody waits for is a trial as good as any.

use std::{collections::HashMap, net::SocketAddrV4, time::Duration};

use tokio::time::Instant;

/// After so many silences in a row polls stop.
pub(super) const FAILURES: u32 = 3;
/// A trial that has not told anything for so long has died: none lasts longer, with its time in the queue.
const TRIAL: Duration = Duration::from_mins(1);
/// A BMC that nobody asks for is forgotten after this.
const FORGET: Duration = Duration::from_hours(1);
/// How often it is looked whom to forget.
const SWEEP: Duration = Duration::from_mins(1);

/// The BMCs that did not answer when they were asked last.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    silent: HashMap<SocketAddrV4, Silence>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Silence {
    since: Instant,
    failures: u32,
    /// Polls are let through from then on, one at a time.
    again: Instant,
    /// Since when a poll finds out whether the BMC is back.
    trial: Option<Instant>,
    wanted: Instant,
}

/// What is known of a BMC that polls leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silent {
    /// Since its first silence.
    pub(super) lasted: Duration,
    /// In a row.
    pub(super) failures: u32,
    /// Until a poll is let through; zero while one is under way.
    pub(super) again: Duration,
}

// === impl Breaker ===

impl Breaker {
    /// May a poll ask `bmc`?
    pub(super) fn poll(&mut self, bmc: SocketAddrV4, now: Instant) -> Result<(), Silent> {
        let Some(silence) = self.silent.get_mut(&bmc) else { return Ok(()) };
        silence.wanted = now;
        if silence.failures < FAILURES {
            return Ok(());
        }
        let under_way = silence.trial.is_some_and(|since| now.duration_since(since) < TRIAL);
        if now < silence.again || under_way {
            return Err(silence.told(now));
        }
        silence.trial = Some(now);
        Ok(())
    }

    /// A poll that was let through did not come to ask.
    pub(super) fn not_asked(&mut self, bmc: SocketAddrV4) {
        if let Some(silence) = self.silent.get_mut(&bmc) {
            silence.trial = None;
        }
    }

    /// `bmc` has answered. Tells of the silence if it had stopped polls.
    pub(super) fn heard(&mut self, bmc: SocketAddrV4, now: Instant) -> Option<Silent> {
        let silence = self.silent.remove(&bmc)?;
        (silence.failures >= FAILURES).then(|| silence.told(now))
    }

    /// `bmc` has not answered. `pause` says how long it is left alone, the how manieth time. Tells of the silence if it is what
    /// stops polls.
    pub(super) fn silent(
        &mut self,
        bmc: SocketAddrV4,
        now: Instant,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Silent> {
        self.sweep(now);
        let new = || Silence { since: now, failures: 0, again: now, trial: None, wanted: now };
        let silence = self.silent.entry(bmc).or_insert_with(new);
        silence.failures = silence.failures.saturating_add(1);
        (silence.trial, silence.wanted) = (None, now);
        if silence.failures >= FAILURES {
            silence.again = now + pause(silence.failures - FAILURES + 1);
        }
        (silence.failures == FAILURES).then(|| silence.told(now))
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|at| now.duration_since(at) >= SWEEP) {
            self.swept = Some(now);
            self.silent.retain(|_, silence| now.duration_since(silence.wanted) < FORGET);
        }
    }
}

// === impl Silence ===

impl Silence {
    fn told(&self, now: Instant) -> Silent {
        Silent {
            lasted: now.duration_since(self.since),
            failures: self.failures,
            again: self.again.saturating_duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 623);
    const OTHER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 623);
    const SECOND: Duration = Duration::from_secs(1);

    /// Ten seconds the first time, twenty the second …
    fn pause(time: u32) -> Duration {
        SECOND * 10 * time
    }

    /// A breaker that [`ONE`]'s silence has opened now.
    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert_eq!((breaker.silent(ONE, now, pause), breaker.poll(ONE, now)), (None, Ok(())));
        }
        let told = Silent { lasted: Duration::ZERO, failures: FAILURES, again: SECOND * 10 };
        assert_eq!(breaker.silent(ONE, now, pause), Some(told), "told once");
        breaker
    }

    #[test]
    fn after_some_silences_polls_stop_until_one_is_let_through() {
        let start = Instant::now();
        let mut breaker = open(start);
        let told = breaker.poll(ONE, start + SECOND * 4).unwrap_err();
        assert_eq!(told, Silent { lasted: SECOND * 4, failures: 3, again: SECOND * 6 });
        assert_eq!(breaker.poll(OTHER, start), Ok(()), "others are asked");
        assert_eq!(breaker.poll(ONE, start + SECOND * 10), Ok(()), "the trial");
        assert_eq!(breaker.poll(ONE, start + SECOND * 10).unwrap_err().again, Duration::ZERO, "there is one already");
        assert_eq!(breaker.silent(ONE, start + SECOND * 18, pause), None);
        let told = breaker.poll(ONE, start + SECOND * 18).unwrap_err();
        assert_eq!(told, Silent { lasted: SECOND * 18, failures: 4, again: SECOND * 20 }, "for longer");
    }

    #[test]
    fn an_answer_ends_it() {
        let start = Instant::now();
        let mut breaker = open(start);
        let told = Silent { lasted: SECOND, failures: 3, again: SECOND * 9 };
        assert_eq!(breaker.heard(ONE, start + SECOND), Some(told));
        assert_eq!(breaker.poll(ONE, start + SECOND), Ok(()));
        assert_eq!(breaker.silent(ONE, start, pause), None, "counted from the start again");
        assert_eq!(breaker.heard(ONE, start), None, "had stopped nothing");
    }

    #[test]
    fn a_trial_that_was_none_or_died_makes_room_for_another() {
        let start = Instant::now();
        let mut breaker = open(start);
        let later = start + SECOND * 10;
        assert_eq!(breaker.poll(ONE, later), Ok(()));
        breaker.not_asked(ONE);
        assert_eq!(breaker.poll(ONE, later), Ok(()));
        assert!(breaker.poll(ONE, later + TRIAL - SECOND).is_err());
        assert_eq!(breaker.poll(ONE, later + TRIAL), Ok(()));
    }

    #[test]
    fn a_bmc_that_nobody_asks_for_is_forgotten() {
        let start = Instant::now();
        let mut breaker = open(start);
        breaker.silent(OTHER, start, pause);
        assert!(breaker.poll(ONE, start + SECOND).is_err(), "asked for a little later");
        breaker.silent(ONE, start + FORGET, pause);
        assert_eq!(breaker.silent.keys().collect::<Vec<_>>(), [&ONE]);
    }
}
