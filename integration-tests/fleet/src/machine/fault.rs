//! What goes wrong with a machine, as data that its parts ask at defined points.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A packet of or for the firmware is lost (in so many of a thousand cases).
    DropPacket {
        /// 1 to 1000.
        permille: u32,
    },
    /// A packet of or for the firmware comes twice.
    DuplicatePacket {
        /// 1 to 1000.
        permille: u32,
    },
    /// The firmware hangs after power-on.
    NeverBoot,
    /// The machine resets itself when so much of an image is written.
    DieInWrite {
        /// 0 to 1000 thousandths.
        permille: u32,
    },
    /// A disk refuses what it is asked to do.
    DiskFails {
        /// Serial number; empty: any.
        serial: String,
        /// When it is asked for what.
        on: DiskWork,
    },
    /// The machine's clock is wrong.
    ClockSkew {
        /// Ahead, or behind if negative.
        seconds: i64,
    },
    /// A script or test fails.
    TestFails {
        /// Its name; empty: any.
        test: String,
    },
    /// The rack's answer to a report of the agent is lost, so that it is told again.
    LoseReport,
    /// The agent cannot start its SSH server.
    SshFails,
    /// The machine resets itself when the kernel has started, before its agent says anything.
    DieInBoot,
    /// The firmware boots from this network card first, as after an update that turned the order round.
    BootNic {
        /// Counted from 0.
        nic: usize,
    },
    /// A stage takes longer.
    Delay {
        /// Which.
        stage: Stage,
        /// By how much.
        by: Duration,
    },
}

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskWork {
    /// Take an image.
    Write,
    /// Give it back.
    ReadBack,
    /// Forget.
    Erase,
}

/// A part of a machine's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Power-on self-test.
    SelfTest,
    /// Network boot.
    NetBoot,
    /// The start of the ephemeral environment, before its agent says anything.
    Kernel,
    /// Each task of the agent.
    Task,
    /// The installed system's start.
    System,
}

/// The faults of one machine, each with how often it happens yet. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<(Fault, u32)>>>);

impl Faults {
    /// Makes `fault` happen the next `count` times that its point is reached.
    pub fn arm(&self, fault: Fault, count: u32) {
        if count > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((fault, count));
        }
    }

    /// Takes all faults back.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What is still to happen.
    #[must_use]
    pub fn left(&self) -> Vec<(Fault, u32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first fault that `wanted` makes something of; it then has happened once more.
    pub fn take<T>(&self, mut wanted: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = faults.iter().enumerate().find_map(|(at, (fault, _))| Some((at, wanted(fault)?)))?;
        faults[at].1 -= 1;
        if faults[at].1 == 0 {
            faults.remove(at);
        }
        Some(found)
    }

    /// How much longer `stage` takes this time.
    #[must_use]
    pub fn delay(&self, stage: Stage) -> Duration {
        let delay = self.take(|fault| match fault {
            Fault::Delay { stage: late, by } => (*late == stage).then_some(*by),
            Fault::DropPacket { .. }
            | Fault::DuplicatePacket { .. }
            | Fault::NeverBoot
            | Fault::DieInWrite { .. }
            | Fault::DiskFails { .. }
            | Fault::LoseReport
            | Fault::TestFails { .. }
            | Fault::SshFails
            | Fault::DieInBoot
            | Fault::BootNic { .. }
            | Fault::ClockSkew { .. } => None,
        });
        delay.unwrap_or_default()
    }

    /// Does the disk `serial` refuse this work this time?
    #[must_use]
    pub fn disk_fails(&self, serial: &str, work: DiskWork) -> bool {
        let named = |name: &str| name.is_empty() || name == serial;
        self.take(|fault| {
            matches!(fault, Fault::DiskFails { serial, on } if *on == work && named(serial)).then_some(())
        })
        .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_as_often_as_it_is_armed_for() {
        let faults = Faults::default();
        faults.arm(Fault::DiskFails { serial: "S1".to_owned(), on: DiskWork::Write }, 2);
        faults.arm(Fault::Delay { stage: Stage::Task, by: Duration::from_secs(1) }, 1);
        faults.arm(Fault::NeverBoot, 0);
        assert!(!faults.disk_fails("S2", DiskWork::Write) && !faults.disk_fails("S1", DiskWork::Erase));
        assert!(faults.disk_fails("S1", DiskWork::Write) && faults.disk_fails("S1", DiskWork::Write));
        assert!(!faults.disk_fails("S1", DiskWork::Write));
        assert_eq!(faults.delay(Stage::SelfTest), Duration::ZERO);
        assert_eq!((faults.delay(Stage::Task).as_secs(), faults.delay(Stage::Task).as_secs()), (1, 0));
        assert!(faults.left().is_empty());
    }
}
