//! Faults of the IPMI face as data: what they meet, what they do, how often.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::crypto::Suite;

/// So many faults are kept at a time.
const MOST: usize = 64;

/// Faults as the server and whoever injects them share them.
pub type SharedFaults = Arc<Mutex<Faults>>;

/// What a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Everything.
    Any,
    /// ASF presence pings.
    Ping,
    /// Commands outside of a session: authentication capabilities, cipher suites, GUID.
    Discovery,
    /// Open Session requests.
    OpenSession,
    /// Open Session requests that propose this cipher suite (3 or 17).
    OpenSuite(u8),
    /// RAKP message 1.
    Rakp1,
    /// RAKP message 3.
    Rakp3,
    /// Every command inside a session.
    Commands,
    /// One command inside a session.
    Command {
        /// Its network function.
        netfn: u8,
        /// Its number.
        command: u8,
    },
    /// Get Chassis Status.
    PowerReads,
    /// Chassis Control.
    PowerWrites,
    /// Set User Access, Set User Name, and Set User Password other than its test.
    AccountWrites,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refuses: with this completion code, or with this RAKP status during the handshake.
    Refuse(u8),
    /// Answers so much later.
    Delay(Duration),
    /// Does nothing and says nothing.
    Drop,
    /// Does as it is told, but the answer is lost.
    DropAnswer,
    /// Answers twice.
    Duplicate,
    /// Answers with bytes that mean nothing.
    Nonsense,
    /// Tells the opposite of the power's state.
    LieAboutPower,
    /// Says that all sessions are taken.
    SessionTableFull,
    /// Acknowledges without doing anything.
    AckWithoutApplying,
}

/// One fault: leaves the first `skip` matches alone, then acts `count` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it meets.
    pub on: Selector,
    /// What it does.
    pub action: Action,
    /// Matches that pass first.
    pub skip: u32,
    /// Matches that it acts on; `None` is all.
    pub count: Option<u32>,
}

/// What a packet is, as far as faults tell packets apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Ping,
    Discovery,
    /// With the authentication algorithm that is proposed (IPMI 2.0 table 13-17).
    OpenSession {
        authentication: Option<u8>,
    },
    Rakp1,
    Rakp3,
    Command {
        netfn: u8,
        command: u8,
        tests_password: bool,
    },
}

/// What the faults that a packet meets do together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effects {
    pub(super) refuse: Option<u8>,
    pub(super) delay: Duration,
    pub(super) drop: bool,
    pub(super) mute: bool,
    pub(super) duplicate: bool,
    pub(super) nonsense: bool,
    pub(super) lie: bool,
    pub(super) full: bool,
    pub(super) idle: bool,
}

/// The faults of one BMC.
#[derive(Debug, Default)]
pub struct Faults {
    /// Each with the number by which it is taken back.
    all: Vec<(u64, Fault)>,
    next: u64,
}

impl Fault {
    /// Acts on everything that it meets, from now on.
    #[must_use]
    pub const fn always(on: Selector, action: Action) -> Self {
        Self { on, action, skip: 0, count: None }
    }

    /// Acts once, on the `n`th that it meets, counted from 1.
    #[must_use]
    pub const fn nth(on: Selector, action: Action, n: u32) -> Self {
        Self { on, action, skip: n.saturating_sub(1), count: Some(1) }
    }

    /// A BMC that never answers anything.
    #[must_use]
    pub const fn black_hole() -> Self {
        Self::always(Selector::Any, Action::Drop)
    }
}

impl Faults {
    /// No faults, to be shared.
    #[must_use]
    pub fn shared() -> SharedFaults {
        SharedFaults::default()
    }

    /// Adds a fault; `None` if there are too many. The number is for [`Faults::remove`].
    pub fn add(&mut self, fault: Fault) -> Option<u64> {
        if self.all.len() >= MOST {
            return None;
        }
        self.next += 1;
        self.all.push((self.next, fault));
        Some(self.next)
    }

    /// Takes back one fault, if it is still there.
    pub fn remove(&mut self, number: u64) {
        self.all.retain(|(n, _)| *n != number);
    }

    /// What is still to happen.
    #[must_use]
    pub fn left(&self) -> Vec<Fault> {
        self.all.iter().map(|(_, fault)| fault.clone()).collect()
    }

    /// Takes back all faults.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    fn meet(&mut self, step: Step) -> Effects {
        let mut effects = Effects::default();
        for (_, fault) in self.all.iter_mut().filter(|(_, fault)| fault.on.meets(step)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(left) = &mut fault.count {
                *left = left.saturating_sub(1);
            }
            effects.add(fault.action);
        }
        self.all.retain(|(_, fault)| fault.count != Some(0));
        effects
    }
}

/// What the shared faults do to a packet.
pub(super) fn meet(faults: &SharedFaults, step: Step) -> Effects {
    faults.lock().unwrap_or_else(PoisonError::into_inner).meet(step)
}

impl Effects {
    const fn add(&mut self, action: Action) {
        match action {
            Action::Refuse(code) => self.refuse = Some(code),
            Action::Delay(by) => self.delay = self.delay.saturating_add(by),
            Action::Drop => self.drop = true,
            Action::DropAnswer => self.mute = true,
            Action::Duplicate => self.duplicate = true,
            Action::Nonsense => self.nonsense = true,
            Action::LieAboutPower => self.lie = true,
            Action::SessionTableFull => self.full = true,
            Action::AckWithoutApplying => self.idle = true,
        }
    }
}

impl Selector {
    fn meets(self, step: Step) -> bool {
        match self {
            Self::Any => true,
            Self::Ping => step == Step::Ping,
            Self::Discovery => step == Step::Discovery,
            Self::OpenSession => matches!(step, Step::OpenSession { .. }),
            Self::OpenSuite(suite) => {
                let algorithm = Suite::from_number(suite).map(|suite| suite.algorithms()[0]);
                algorithm.is_some() && step == Step::OpenSession { authentication: algorithm }
            }
            Self::Rakp1 => step == Step::Rakp1,
            Self::Rakp3 => step == Step::Rakp3,
            Self::Commands => matches!(step, Step::Command { .. }),
            Self::Command { netfn, command } => is(step, |n, c, _| (n, c) == (netfn, command)),
            Self::PowerReads => is(step, |n, c, _| (n, c) == (0x00, 0x01)),
            Self::PowerWrites => is(step, |n, c, _| (n, c) == (0x00, 0x02)),
            Self::AccountWrites => is(step, |n, c, test| n == 0x06 && matches!(c, 0x43 | 0x45 | 0x47) && !test),
        }
    }
}

fn is(step: Step, wanted: impl Fn(u8, u8, bool) -> bool) -> bool {
    matches!(step, Step::Command { netfn, command, tests_password } if wanted(netfn, command, tests_password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_match_is_hit_once() {
        let mut faults = Faults::default();
        assert!(faults.add(Fault::nth(Selector::Rakp1, Action::Drop, 2)).is_some());
        let hits: Vec<_> =
            [Step::Rakp1, Step::Rakp3, Step::Rakp1, Step::Rakp1].map(|step| faults.meet(step).drop).into();
        assert_eq!(hits, [false, false, true, false]);
        assert!(faults.left().is_empty());
    }

    #[test]
    fn account_writes_are_not_tests_of_passwords() {
        let step = |command, tests_password| Step::Command { netfn: 6, command, tests_password };
        let met = |step| Selector::AccountWrites.meets(step);
        assert!(met(step(0x43, false)) && met(step(0x47, false)) && met(step(0x45, false)));
        assert!(!met(step(0x47, true)) && !met(step(0x44, false)) && !met(Step::Ping));
    }

    #[test]
    fn a_suite_is_told_by_what_is_proposed() {
        let meets = |suite, authentication| Selector::OpenSuite(suite).meets(Step::OpenSession { authentication });
        assert!(meets(17, Some(3)) && meets(3, Some(1)) && !meets(17, Some(1)) && !meets(17, None) && !meets(9, None));
        assert!(Selector::OpenSession.meets(Step::OpenSession { authentication: None }));
    }

    #[test]
    fn a_fault_is_taken_back_by_its_number() {
        let mut faults = Faults::default();
        let (first, second) = (faults.add(Fault::black_hole()), faults.add(Fault::black_hole()));
        assert!(first != second);
        faults.remove(first.unwrap());
        assert!(faults.left().len() == 1 && faults.meet(Step::Ping).drop);
        faults.remove(second.unwrap());
        assert!(!faults.meet(Step::Ping).drop);
    }

    #[test]
    fn faults_are_bounded() {
        let mut faults = Faults::default();
        assert_eq!((0..100).filter(|_| faults.add(Fault::black_hole()).is_some()).count(), MOST);
        faults.clear();
        assert!(!faults.meet(Step::Ping).drop);
    }
}
