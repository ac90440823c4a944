//! What was last heard of each BMC, for people who ask why. In memory: after a restart the next exchange is the last one.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use farrier_common::{clock::Timestamp, id::MachineId};

use crate::domain::observation::Trouble;

/// Beyond this the oldest are forgotten.
const MOST: usize = 100_000;

/// The last exchange with a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When it ended.
    pub at: Timestamp,
    /// What was asked and what came of it.
    pub text: String,
}

/// The last exchange of each machine.
#[derive(Debug, Default)]
pub(super) struct Exchanges(Mutex<HashMap<MachineId, Exchange>>);

impl Exchanges {
    /// Notes an exchange.
    pub(super) fn note<T>(&self, machine: MachineId, at: Timestamp, asked: &str, outcome: &Result<T, Trouble>) {
        let text = match outcome {
            Ok(_) => format!("{asked}: answered"),
            Err(trouble) => format!("{asked}: {}", trouble.text),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&machine) {
            let oldest = all.iter().min_by_key(|(_, e)| e.at).map(|(id, _)| *id);
            oldest.map(|id| all.remove(&id));
        }
        all.insert(machine, Exchange { at, text });
    }

    /// The last exchange with the BMC of this machine that this process knows of.
    pub(super) fn last(&self, machine: MachineId) -> Option<Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&machine).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{observation::TroubleKind, testing::at};

    #[test]
    fn the_last_one_is_kept() {
        let (all, machine) = (Exchanges::default(), MachineId::generate());
        all.note(machine, at(1), "power?", &Ok(()));
        let silent = Trouble { kind: TroubleKind::Transient, text: "no answer within 5 s".to_owned() };
        all.note::<()>(machine, at(2), "power?", &Err(silent));
        let text = "power?: no answer within 5 s".to_owned();
        assert_eq!(all.last(machine), Some(Exchange { at: at(2), text }));
        assert_eq!(all.last(MachineId::generate()), None);
    }
}
