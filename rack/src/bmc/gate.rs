//! One operation at a time per BMC: many BMCs have four session slots and answer wrongly under parallel load.
//!
//! Who waits is called by importance ([`Class`]), and polls share a number of places, so that thousands of them leave room for
//! what somebody waits for. Polls leave a BMC alone that is silent. `schedule` and `breaker` decide; this is the shell that makes
//! tasks wait.

mod breaker;
mod schedule;

use std::{
    net::SocketAddrV4,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use farrier_common::{hardware::PowerState, retry::Backoff};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use self::{
    breaker::{Breaker, Silent},
    schedule::{Place, QUEUE, Schedule, Waits},
};
use super::{BmcError, Login};

/// How long an operation waits for its turn: with it, a slow power-off still fits into the minute that the region waits.
const WAIT: Duration = Duration::from_secs(12);

/// How long polls leave a silent BMC alone.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(5));

/// How many BMCs are polled at a time, unless `rack.toml` says otherwise.
pub const POLLS: usize = 256;

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
#[derive(Clone, Debug)]
pub struct Gate(Arc<State>);

#[derive(Debug)]
struct State {
    schedule: Mutex<Schedule<Ticket>>,
    breaker: Mutex<Breaker>,
}

/// The right to talk to one BMC. [`Turn::end`] it with what came of it; it ends when dropped, too.
#[must_use = "nobody else may talk to the BMC until it ends"]
#[derive(Debug)]
pub struct Turn {
    gate: Gate,
    bmc: SocketAddrV4,
}

/// What a BMC told of its power.
type Told = Result<PowerState, BmcError>;

/// How whoever wants to know the power comes to know it.
#[derive(Debug)]
pub enum Reading {
    /// By asking the BMC, and telling those who waited for the same.
    Own(Turn, Others),
    /// Somebody else asked the BMC after we had come.
    Shared(Told),
}

/// Those who wait for the answer that somebody else is getting.
#[derive(Debug)]
pub struct Others(Vec<oneshot::Sender<Told>>);

/// Calls who waits. It is dropped if somebody else gets the place.
#[derive(Debug)]
struct Ticket {
    call: oneshot::Sender<Called>,
    /// Whoever wants nothing but to read the power with this login may be told it by another.
    reads: Option<Login>,
}

/// What who waits is called for.
#[derive(Debug)]
enum Called {
    /// To do it.
    ToTurn(Turn),
    /// To be told; whoever has the turn now begins to read, and holds the other end.
    ToBeTold(oneshot::Receiver<Told>),
}

/// A place in a queue; it is left when dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    bmc: SocketAddrV4,
    place: Place,
}

// === impl Gate ===

impl Default for Gate {
    fn default() -> Self {
        Self::new(POLLS)
    }
}

impl Gate {
    /// A gate through which so many polls go at a time.
    #[must_use]
    pub fn new(polls: usize) -> Self {
        let schedule = Mutex::new(Schedule::new(polls));
        Self(Arc::new(State { schedule, breaker: Mutex::default() }))
    }

    /// Waits for the turn at `bmc`.
    ///
    /// # Errors
    /// `Busy` if too many wait already, the turn does not come in time, or something more important takes the place. `Unreachable`
    /// if it is for a poll and the BMC has been silent for long.
    pub async fn enter(&self, bmc: SocketAddrV4, class: Class) -> Result<Turn, BmcError> {
        match self.called(bmc, class, None).await? {
            Called::ToTurn(turn) => Ok(turn),
            Called::ToBeTold(_) => Err(BmcError::Busy(format!("an answer came instead of the turn for {bmc}"))),
        }
    }

    /// Waits for the turn to read the power with `login`, or for the answer of somebody who reads it meanwhile: whoever gets the
    /// turn tells all who wait for the same. An answer is never older than the question: who comes after the turn has begun
    /// waits for the next one.
    ///
    /// # Errors
    /// As for [`Gate::enter`].
    pub async fn read(&self, login: &Login, class: Class) -> Result<Reading, BmcError> {
        match self.called(login.address, class, Some(login)).await? {
            Called::ToTurn(turn) => {
                let others = self.others(login);
                Ok(Reading::Own(turn, others))
            }
            // It ends when whoever reads ends, as every operation does.
            Called::ToBeTold(told) => told.await.map(Reading::Shared).map_err(|_| {
                BmcError::Busy(format!("whoever asked {} for all did not come to an end; ask again", login.address))
            }),
        }
    }

    /// Has those who wait to read the same wait for what is read now.
    fn others(&self, login: &Login) -> Others {
        let same = |ticket: &Ticket| ticket.reads.as_ref().is_some_and(|other| other.is_same(login));
        let waiting = self.schedule().take(login.address, same);
        let told = waiting.into_iter().filter_map(|Ticket { call, .. }| {
            let (tell, told) = oneshot::channel();
            call.send(Called::ToBeTold(told)).is_ok().then_some(tell)
        });
        Others(told.collect())
    }

    async fn called(&self, bmc: SocketAddrV4, class: Class, reads: Option<&Login>) -> Result<Called, BmcError> {
        if class != Class::Polling {
            return self.queued(bmc, class, reads).await;
        }
        self.breaker().poll(bmc, Instant::now()).map_err(|silent| left_alone(bmc, silent))?;
        let called = self.queued(bmc, class, reads).await;
        if called.is_err() {
            self.breaker().not_asked(bmc);
        }
        called
    }

    async fn queued(&self, bmc: SocketAddrV4, class: Class, reads: Option<&Login>) -> Result<Called, BmcError> {
        let busy = |text: String| BmcError::Busy(format!("{text} for {bmc}"));
        let (place, called, displaced) = {
            let mut schedule = self.schedule();
            if schedule.start(bmc, class) {
                return Ok(Called::ToTurn(Turn { gate: self.clone(), bmc }));
            }
            let (call, called) = oneshot::channel();
            match schedule.wait(bmc, class, Ticket { call, reads: reads.cloned() }) {
                Waits::Here(place) => (place, called, None),
                Waits::InsteadOf(place, displaced) => (place, called, Some(displaced)),
                Waits::Full => return Err(busy(format!("{QUEUE} operations are waiting already"))),
            }
        };
        drop(displaced);
        let _waiting = Waiting { gate: self, bmc, place };
        match timeout(WAIT, called).await {
            Ok(Ok(called)) => Ok(called),
            Ok(Err(_)) => Err(busy("something more important took the place in the queue".to_owned())),
            Err(_) => Err(busy(format!("the turn did not come within {WAIT:?}"))),
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<Ticket>> {
        self.0.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told instead of asking. It is the same kind of error as if the BMC had been asked.
fn left_alone(bmc: SocketAddrV4, silent: Silent) -> BmcError {
    let Silent { lasted, failures, again } = silent;
    let seconds = |time: Duration| time.as_secs_f64().ceil();
    BmcError::Unreachable(format!(
        "{bmc} was not asked: it has been silent {failures} times in a row, for {} s; polls ask it again in {} s",
        seconds(lasted),
        seconds(again)
    ))
}

// === impl Turn ===

impl Turn {
    /// Ends it, and remembers whether the BMC is there: whatever it answers, it is.
    ///
    /// # Errors
    /// That of `outcome`.
    pub fn end<T>(self, outcome: Result<T, BmcError>) -> Result<T, BmcError> {
        let (bmc, now) = (self.bmc, Instant::now());
        if let Err(BmcError::Unreachable(why)) = &outcome {
            let stops = self.gate.breaker().silent(bmc, now, |time| PAUSE.wait(time));
            if let Some(Silent { failures, .. }) = stops {
                tracing::info!(%bmc, failures, why, "a BMC is silent; polls leave it alone for a while");
            }
        } else if let Some(Silent { lasted, failures, .. }) = self.gate.breaker().heard(bmc, now) {
            tracing::info!(%bmc, failures, silent_secs = lasted.as_secs(), "a BMC answers again");
        }
        outcome
    }
}

impl Others {
    /// Tells them.
    pub fn tell(self, told: &Told) {
        for tell in self.0 {
            // Who has left meanwhile wants to know nothing.
            drop(tell.send(told.clone()));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.gate.schedule().done(self.bmc);
        for (bmc, Ticket { call, .. }) in next {
            // Who has stopped waiting at this moment drops the turn, which passes it on. So does the channel if nobody takes it out.
            drop(call.send(Called::ToTurn(Self { gate: self.gate.clone(), bmc })));
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
