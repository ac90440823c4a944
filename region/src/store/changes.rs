//! Who waits for a change of one machine: each is told of its own machine's commits and of nobody else's, so that a
//! thousand agents that wait cost a commit nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farrier_common::id::MachineId;
use tokio::sync::watch;

/// The waiters of one process.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<HashMap<MachineId, watch::Sender<()>>>);

/// Waits for commits of this process that change one machine.
#[derive(Debug)]
pub struct MachineChanges {
    machine: MachineId,
    all: Arc<Changes>,
    heard: watch::Receiver<()>,
}

impl Changes {
    /// A wait that misses nothing from now on.
    pub(super) fn of(self: &Arc<Self>, machine: MachineId) -> MachineChanges {
        let heard = self.lock().entry(machine).or_default().subscribe();
        MachineChanges { machine, all: Arc::clone(self), heard }
    }

    /// Tells whoever waits for one of these.
    pub(super) fn tell(&self, machines: &[MachineId]) {
        let waiters = self.lock();
        for waiter in machines.iter().filter_map(|machine| waiters.get(machine)) {
            waiter.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MachineId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MachineChanges {
    /// Returns after a commit since the last call, or since this was made.
    pub async fn changed(&mut self) {
        if self.heard.changed().await.is_err() {
            // Nobody takes a sender away that has a receiver.
            std::future::pending().await
        }
    }
}

impl Drop for MachineChanges {
    fn drop(&mut self) {
        let mut waiters = self.all.lock();
        if waiters.get(&self.machine).is_some_and(|waiter| waiter.receiver_count() <= 1) {
            waiters.remove(&self.machine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_hears_of_its_own_machine_and_nothing_is_left() {
        let (all, one, other) = (Arc::new(Changes::default()), MachineId::generate(), MachineId::generate());
        let (mut first, second, mut third) = (all.of(one), all.of(one), all.of(other));
        all.tell(&[one]);
        first.changed().await;
        assert!(!first.heard.has_changed().unwrap() && second.heard.has_changed().unwrap());
        assert!(!third.heard.has_changed().unwrap());
        drop((first, second));
        assert_eq!(all.lock().len(), 1);
        all.tell(&[one, other]);
        third.changed().await;
        drop(third);
        assert!(all.lock().is_empty());
    }
}
