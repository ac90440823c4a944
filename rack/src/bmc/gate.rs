//! One operation at a time per BMC: many BMCs have four session slots and answer wrongly under parallel load.
//!
//! Who waits is called by importance ([`Class`]). `schedule` decides; this is the shell that makes tasks wait.

mod schedule;

use std::{
    net::SocketAddrV4,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use self::schedule::{Place, QUEUE, Schedule, Waits};
use super::BmcError;

/// How long an operation waits for its turn: with it, a slow power-off still fits into the minute that the region waits.
const WAIT: Duration = Duration::from_secs(12);

/// How important an operation is; the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Changes the power, or what is booted next.
    Power,
    /// A step of a machine's life waits for it.
    Lifecycle,
    /// A look that somebody waits for.
    Inventory,
    /// A look on schedule: nobody waits for it, and it comes again.
    Polling,
}

/// Hands out turns. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Schedule<Ticket>>>);

/// The right to talk to one BMC; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    gate: Gate,
    bmc: SocketAddrV4,
}

/// Calls who waits. It is dropped if somebody else gets the place.
#[derive(Debug)]
struct Ticket(oneshot::Sender<Turn>);

/// A place in a queue; it is left when dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    bmc: SocketAddrV4,
    place: Place,
}

// === impl Gate ===

impl Gate {
    /// Waits for the turn at `bmc`.
    ///
    /// # Errors
    /// `Busy` if too many wait already, the turn does not come in time, or something more important takes the place.
    pub async fn enter(&self, bmc: SocketAddrV4, class: Class) -> Result<Turn, BmcError> {
        let busy = |text: String| BmcError::Busy(format!("{text} for {bmc}"));
        let (place, called, displaced) = {
            let mut schedule = self.schedule();
            if schedule.start(bmc) {
                return Ok(Turn { gate: self.clone(), bmc });
            }
            let (call, called) = oneshot::channel();
            match schedule.wait(bmc, class, Ticket(call)) {
                Waits::Here(place) => (place, called, None),
                Waits::InsteadOf(place, displaced) => (place, called, Some(displaced)),
                Waits::Full => return Err(busy(format!("{QUEUE} operations are waiting already"))),
            }
        };
        drop(displaced);
        let _waiting = Waiting { gate: self, bmc, place };
        match timeout(WAIT, called).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(busy("something more important took the place in the queue".to_owned())),
            Err(_) => Err(busy(format!("the turn did not come within {WAIT:?}"))),
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.gate.schedule().done(self.bmc);
        if let Some(Ticket(call)) = next {
            // Who has stopped waiting at this moment drops the turn, which passes it on. So does the channel if nobody takes it out.
            drop(call.send(Self { gate: self.gate.clone(), bmc: self.bmc }));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.schedule().give_up(self.bmc, self.place);
    }
}

#[cfg(test)]
mod tests;
