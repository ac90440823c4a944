//! Whose BMC has refused our login. BMCs count wrong passwords and lock accounts: a poll, for which nobody waits, must not be what
//! uses the tries up.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::TimeDelta;
use farrier_common::{clock::Timestamp, id::MachineId};

use crate::domain::{bmc::Bmc, machine::Machine};

/// The first pause: longer than the windows within which BMCs count (5 to 10 minutes). It doubles with each refusal.
const FIRST: TimeDelta = TimeDelta::minutes(15);
const LONGEST: TimeDelta = TimeDelta::hours(4);

/// Pauses by machine. Kept by this process: one that starts anew tries once.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<MachineId, Refusal>>);

#[derive(Debug)]
struct Refusal {
    /// The BMC as it was known. With another address or account, or after a successful probe, it is worth a new try.
    bmc: Option<Bmc>,
    pause: TimeDelta,
    until: Timestamp,
}

impl Refusals {
    /// Is the machine's BMC left alone now?
    pub(super) fn bar(&self, m: &Machine, now: Timestamp) -> bool {
        let mut all = self.all();
        if all.get(&m.id).is_some_and(|refusal| refusal.bmc != m.details.bmc) {
            all.remove(&m.id);
        }
        all.get(&m.id).is_some_and(|refusal| now < refusal.until)
    }

    /// Its BMC has refused us; tells how long it is left alone.
    pub(super) fn note(&self, m: &Machine, now: Timestamp) -> TimeDelta {
        let mut all = self.all();
        let pause = all.get(&m.id).map_or(FIRST, |before| (before.pause * 2).min(LONGEST));
        all.insert(m.id, Refusal { bmc: m.details.bmc.clone(), pause, until: now + pause });
        pause
    }

    /// Its BMC has let us in.
    pub(super) fn forget(&self, id: MachineId) {
        self.all().remove(&id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<MachineId, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
