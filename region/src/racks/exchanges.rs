//! What was heard of each BMC lately, for people who ask why. In memory: a restart forgets it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use farrier_common::{clock::Timestamp, id::MachineId};

use crate::domain::{bmc::Exchange, observation::Trouble};

/// Beyond this the machine that was heard least lately is forgotten.
const MOST: usize = 100_000;
/// Exchanges that are kept of each machine.
const EACH: usize = 16;

/// The last exchanges of each machine, the newest last.
#[derive(Debug, Default)]
pub(super) struct Exchanges(Mutex<HashMap<MachineId, VecDeque<Exchange>>>);

impl Exchanges {
    /// Notes an exchange.
    pub(super) fn note<T>(&self, machine: MachineId, at: Timestamp, asked: &str, outcome: &Result<T, Trouble>) {
        let text = match outcome {
            Ok(_) => format!("{asked}: answered"),
            Err(trouble) => format!("{asked}: {}", trouble.text),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&machine) {
            let oldest = all.iter().min_by_key(|(_, e)| e.back().map(|e| e.at)).map(|(id, _)| *id);
            oldest.map(|id| all.remove(&id));
        }
        let heard = all.entry(machine).or_default();
        match heard.back_mut().filter(|last| last.text == text) {
            Some(last) => (last.at, last.times) = (at, last.times.saturating_add(1)),
            None => {
                if heard.len() == EACH {
                    heard.pop_front();
                }
                heard.push_back(Exchange { at, text, times: 1 });
            }
        }
    }

    /// The last exchange with the BMC of this machine that this process knows of.
    pub(super) fn last(&self, machine: MachineId) -> Option<Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&machine).and_then(|e| e.back().cloned())
    }

    /// All that are kept of it, the newest first.
    pub(super) fn all(&self, machine: MachineId) -> Vec<Exchange> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&machine).map(|e| e.iter().rev().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{observation::TroubleKind, testing::at};

    #[test]
    fn the_last_ones_are_kept() {
        let (all, machine) = (Exchanges::default(), MachineId::generate());
        all.note(machine, at(1), "power?", &Ok(()));
        all.note(machine, at(2), "power?", &Ok(()));
        let silent = Trouble { kind: TroubleKind::Transient, text: "no answer within 5 s".to_owned() };
        all.note::<()>(machine, at(3), "power?", &Err(silent));
        let text = "power?: no answer within 5 s".to_owned();
        let last = Exchange { at: at(3), text, times: 1 };
        assert_eq!(all.last(machine).as_ref(), Some(&last));
        let before = Exchange { at: at(2), text: "power?: answered".to_owned(), times: 2 };
        assert_eq!(all.all(machine), [last, before]);
        assert_eq!(all.last(MachineId::generate()), None);
        for n in 0..100 {
            all.note(machine, at(n), &format!("question {n}"), &Ok(()));
        }
        assert_eq!(all.all(machine).len(), EACH);
    }
}
