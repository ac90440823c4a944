//! One operation at a time per BMC: many BMCs have four session slots and answer wrongly under parallel load.

use std::{
    collections::HashMap,
    net::SocketAddrV4,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::BmcError;

/// How long an operation waits for its turn: with it, a slow power-off still fits into the minute that the region waits.
const WAIT: Duration = Duration::from_secs(12);
/// How many operations may wait for one BMC.
const QUEUE: usize = 16;

/// Hands out turns. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<HashMap<SocketAddrV4, Weak<Door>>>>);

#[derive(Debug)]
struct Door {
    turn: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// The right to talk to one BMC; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _door: Arc<Door>,
}

impl Gate {
    /// Waits for the turn at `address`.
    ///
    /// # Errors
    /// `Busy` if too many wait already or the turn does not come in time.
    pub async fn enter(&self, address: SocketAddrV4) -> Result<Turn, BmcError> {
        let door = self.door(address);
        let busy = |text: String| BmcError::Busy(format!("{text} for {address}"));
        let place = Arc::clone(&door.queue)
            .try_acquire_owned()
            .map_err(|_| busy(format!("{QUEUE} operations are waiting already")))?;
        let turn = timeout(WAIT, Arc::clone(&door.turn).acquire_owned())
            .await
            .map_err(|_| busy(format!("an earlier operation has been running for {WAIT:?}")))?
            .map_err(|_| busy("the gate is closed".into()))?;
        drop(place);
        Ok(Turn { _turn: turn, _door: door })
    }

    fn door(&self, address: SocketAddrV4) -> Arc<Door> {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = doors.get(&address).and_then(Weak::upgrade) {
            return door;
        }
        doors.retain(|_, door| door.strong_count() > 0);
        let door = Arc::new(Door { turn: Arc::new(Semaphore::new(1)), queue: Arc::new(Semaphore::new(QUEUE)) });
        doors.insert(address, Arc::downgrade(&door));
        door
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 1), 623);

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_others_are_free() {
        let gate = Gate::default();
        let first = gate.enter(ONE).await.unwrap();
        gate.enter(SocketAddrV4::new(*ONE.ip(), 624)).await.unwrap();
        assert!(matches!(gate.enter(ONE).await, Err(BmcError::Busy(_))), "waits, then gives up");
        drop(first);
        gate.enter(ONE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let gate = Gate::default();
        let _first = gate.enter(ONE).await.unwrap();
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                tokio::spawn({
                    let gate = gate.clone();
                    async move { gate.enter(ONE).await.is_ok() }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let before = tokio::time::Instant::now();
        assert!(matches!(gate.enter(ONE).await, Err(BmcError::Busy(_))));
        assert_eq!(before.elapsed(), Duration::ZERO, "refused at once");
        drop(waiting);
    }
}
