//! Has a plan's lines happen to a fleet.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;

use super::{Action, FaultPlan, Line, Target};
use crate::{
    ipmi::faults as bmc,
    machine::fault::Fault,
    population::{FirmwareWord, Member, Population},
    redfish::{Fault as RedfishFault, FaultRule, Redfish, server::SharedRedfish},
};

/// A fault that this fleet cannot have.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    /// No machine is meant.
    #[error("no machine of this fleet is {0}")]
    Nobody(String),
    /// A machine is named that is not there.
    #[error("there is no m{0} in this fleet")]
    NoMachine(u32),
    /// A disk is named that is not there.
    #[error("m{machine} has no disk {disk}")]
    NoDisk {
        /// Whose.
        machine: u32,
        /// Which.
        disk: usize,
    },
    /// The BMC has all the faults that it can have.
    #[error("m{0} has as many BMC faults as it can have")]
    TooMany(u32),
    /// The BMC has no such face.
    #[error(
        "m{0}'s BMC speaks IPMI only: nothing can go wrong with its Redfish unless the fleet is made with it (--redfish)"
    )]
    NoRedfish(u32),
    /// It is about how machines are made, and they are.
    #[error("this is how machines are made: it must be said before they are")]
    Late,
}

/// How machines are made differently: one to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// Whose UUID a machine has.
    pub(crate) uuid: HashMap<u32, u32>,
    /// In whose chassis a machine's BMC is.
    pub(crate) chassis: HashMap<u32, u32>,
}

impl FaultPlan {
    /// Has everything happen that is not how machines are made.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&self, population: &Population) -> Result<(), ApplyError> {
        self.0.iter().filter(|line| !line.action.is_made()).try_for_each(|line| line.apply(population))
    }

    /// What the makers of machines need to know, for a fleet of these.
    pub(crate) fn made<'a>(&self, fleet: impl Iterator<Item = Target<'a>>) -> Result<Made, ApplyError> {
        let (fleet, mut made): (Vec<_>, _) = (fleet.collect(), Made::default());
        let there = |n: u32| if fleet.iter().any(|t| t.number == n) { Ok(n) } else { Err(ApplyError::NoMachine(n)) };
        for line in &self.0 {
            let chosen = fleet.iter().filter(|target| line.who.chooses(**target)).map(|target| target.number);
            match line.action {
                Action::SameUuid { of } => made.uuid.extend(chosen.map(|n| (n, of))),
                Action::SwapBmc { with } => {
                    for n in chosen {
                        // The two that sit in these chassis now change places.
                        let (a, b) = (*made.chassis.get(&n).unwrap_or(&n), *made.chassis.get(&with).unwrap_or(&with));
                        made.chassis.extend([(n, b), (with, a)]);
                    }
                }
                Action::Bmc { .. } | Action::Redfish { .. } | Action::Machine(_) | Action::Disk { .. } => continue,
            }
            let (Action::SameUuid { of: other } | Action::SwapBmc { with: other }) = line.action else { continue };
            there(other)?;
        }
        Ok(made)
    }
}

impl Line {
    /// Has it happen from now on.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&self, population: &Population) -> Result<(), ApplyError> {
        let mut nobody = true;
        for member in population.members().iter().filter(|m| self.who.chooses(m.target(population.seed()))) {
            nobody = false;
            self.meet(member, population)?;
        }
        if nobody { Err(ApplyError::Nobody(self.who.to_string())) } else { Ok(()) }
    }

    fn meet(&self, member: &Member, population: &Population) -> Result<(), ApplyError> {
        let count = self.count.unwrap_or(u32::MAX);
        match &self.action {
            Action::SameUuid { .. } | Action::SwapBmc { .. } => return Err(ApplyError::Late),
            Action::Machine(fault) => member.faults.arm(fault.clone(), count),
            Action::Disk { disk, on } => {
                let disks = member.disks.list();
                let no = |disk| ApplyError::NoDisk { machine: member.number, disk };
                let serial = match *disk {
                    None => String::new(),
                    Some(n) => disks.get(n - 1).ok_or_else(|| no(n))?.serial.clone(),
                };
                member.faults.arm(Fault::DiskFails { serial, on: *on }, count);
            }
            Action::Redfish { rule, lasts } => {
                self.meet_redfish(member, rule.clone(), *lasts, population)?;
            }
            Action::Bmc { on, does, skip, lasts, redfish } => {
                let fault = bmc::Fault { on: *on, action: *does, skip: *skip, count: self.count };
                let number = member.bmc_faults.lock().unwrap_or_else(PoisonError::into_inner).add(fault);
                let number = number.ok_or(ApplyError::TooMany(member.number))?;
                if let Some(lasts) = *lasts {
                    let faults = member.bmc_faults.clone();
                    population.runtime().spawn(async move {
                        tokio::time::sleep(lasts).await;
                        faults.lock().unwrap_or_else(PoisonError::into_inner).remove(number);
                    });
                }
                if let (Some(face), Some(fault)) = (&member.redfish, redfish) {
                    if matches!(fault, RedfishFault::Unavailable { .. }) {
                        lock(face).end_sessions();
                    }
                    self.meet_redfish(member, FaultRule::always(fault.clone()), *lasts, population)?;
                }
            }
        }
        Ok(())
    }

    fn meet_redfish(
        &self,
        member: &Member,
        rule: FaultRule,
        lasts: Option<Duration>,
        population: &Population,
    ) -> Result<(), ApplyError> {
        let face = member.redfish.as_ref().ok_or(ApplyError::NoRedfish(member.number))?;
        let number = lock(face).faults.add(FaultRule { count: self.count, ..rule });
        let number = number.ok_or(ApplyError::TooMany(member.number))?;
        if let Some(lasts) = lasts {
            let face = face.clone();
            population.runtime().spawn(async move {
                tokio::time::sleep(lasts).await;
                lock(&face).faults.remove(number);
            });
        }
        Ok(())
    }
}

fn lock(face: &SharedRedfish) -> MutexGuard<'_, Redfish> {
    face.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    /// Has its BMC never answer anything again, by any face, until it is healed.
    pub fn black_hole(&self) {
        self.bmc_faults.lock().unwrap_or_else(PoisonError::into_inner).add(bmc::Fault::black_hole());
        if let Some(face) = &self.redfish {
            lock(face).faults.add(FaultRule::always(RedfishFault::BlackHole));
        }
    }

    /// Takes all faults back, but for those of its making.
    pub fn heal(&self) {
        self.faults.clear();
        self.bmc_faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(face) = &self.redfish {
            lock(face).faults.clear();
        }
    }

    /// What it is to a selector.
    #[must_use]
    pub fn target(&self, seed: u64) -> Target<'_> {
        Target { number: self.number, vendor: &self.vendor.name, firmware: FirmwareWord(self.firmware).as_str(), seed }
    }
}
