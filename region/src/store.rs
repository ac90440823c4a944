//! What is durable: machines, boots, tasks, the event log, users, racks, subnets, images and sealed secrets.
//!
//! One path of code for SQLite and PostgreSQL, through diesel's `MultiConnection`; what differs is in `dialect`.
//! **Invariants:** every public call is one transaction, so a caller that goes away has done nothing or everything. Only
//! `machines::moved` (and `machines::born`) write the column `state`, and they take what `lifecycle` gives out. A
//! machine is written only by who knows its version, and by the engine only under the epoch of its claim. No
//! transaction is open while anything but the database is talked to.

use std::{path::PathBuf, sync::Arc, time::Duration};

use farrier_common::{
    clock::{Clock, Timestamp},
    id::MachineId,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use crate::domain::{Error, Result, event::NewEvent};

use changes::Changes;
use connection::{AnyConnection, Pool};
use error::Outcome;

mod access;
mod audit;
mod boots;
mod changes;
mod connection;
mod convert;
mod dialect;
mod error;
mod events;
mod heard;
mod images;
mod live;
mod machines;
mod migrations;
mod operations;
mod pools;
mod projects;
mod quota;
mod racks;
mod requests;
mod schema;
mod scripts;
mod secrets;
mod ssh_keys;
mod steps;
mod subnets;
mod tasks;
mod users;
mod visibility;

pub use audit::{AuditFilter, AuditRow};
pub use boots::{BootRow, Hello};
pub use changes::MachineChanges;
pub use events::{EventBatch, EventScope, PRUNED_AT_ONCE};
pub use machines::{
    Allocating, Claim, Claimed, Committed, Extra, Gone, MOST_SCANNED, MachineFilter, MachinePage, MachineQuery,
    MachineView, NewMachine, Place, Planned,
};
pub use operations::{Hold, OperationView};
pub use racks::{Enrollment, Heartbeat, JoinToken};
pub use requests::{Once, Request};
pub use scripts::RunKey;
pub use secrets::Replaced;
pub use steps::{StepRow, TimelineRow};
pub use tasks::TaskRow;
pub use visibility::Visibility;

/// How long a call waits for its turn at the database before it is [`Error::Unavailable`].
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, made if absent.
    Sqlite(PathBuf),
    /// A libpq URL: `postgres://user@host/name`.
    Postgres(String),
}

/// The database of a region. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    shared: bool,
}

struct Inner {
    pool: Pool,
    clock: Clock,
    /// As many as the pool has connections: callers wait here, in order, not in a blocking thread.
    slots: Arc<Semaphore>,
    /// SQLite has one writer; waiting for it in order is fairer than its busy handler.
    writer: Option<Arc<Semaphore>>,
    work: Notify,
    operations: Notify,
    events: watch::Sender<u64>,
    changes: Arc<Changes>,
    candidates: Arc<machines::Candidates>,
    heard: heard::Heard,
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// See one snapshot.
    Read,
    /// Change things.
    Write,
}

/// A transaction that is open, and what is to be told once it is committed.
struct Tx<'c> {
    conn: &'c mut AnyConnection,
    now: Timestamp,
    events: Vec<NewEvent>,
    changed: Vec<MachineId>,
    woke: bool,
    /// All that was done is to be undone in the end: the caller only wanted to know what would be.
    undo: bool,
}

/// Refuses if the resource is no longer at the version that the caller saw.
fn still(name: &str, version: i64, etag: Option<&str>) -> Outcome<()> {
    let now = version.to_string();
    match etag {
        Some(seen) if seen != now => Err(Error::Conflict { name: name.to_owned(), etag: now }.into()),
        Some(_) | None => Ok(()),
    }
}

/// What a commit tells this process.
struct Told {
    logged: bool,
    changed: Vec<MachineId>,
    woke: bool,
}

impl Tx<'_> {
    /// Logs an event. Written just before the commit: see `events::append`.
    fn log(&mut self, event: NewEvent) {
        self.events.push(event);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("pool", &self.inner.pool.state()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// It cannot be reached or opened, or a newer release has written it.
    pub async fn open(database: &Database, clock: Clock) -> Result<Self> {
        let database = database.clone();
        let writer = matches!(database, Database::Sqlite(_)).then(|| Arc::new(Semaphore::new(1)));
        let opened = tokio::task::spawn_blocking(move || {
            migrations::run(&database)?;
            connection::pool(&database)
        });
        let pool = opened.await.map_err(|e| Error::Internal(format!("opening the database died: {e}")))??;
        let slots = Arc::new(Semaphore::new(connection::POOL_SIZE));
        let events = watch::Sender::new(0);
        let shared = writer.is_none();
        let (changes, heard) = (Arc::default(), heard::Heard::new(clock.now()));
        let inner = Inner {
            pool,
            clock,
            slots,
            writer,
            work: Notify::new(),
            operations: Notify::new(),
            events,
            changes,
            candidates: Arc::default(),
            heard,
        };
        Ok(Self { inner: Arc::new(inner), shared })
    }

    /// Is notified after each commit of this process that made a machine due. For one waiter.
    #[must_use]
    pub fn work(&self) -> &Notify {
        &self.inner.work
    }

    /// Changes after each commit of this process that wrote events. Other processes' events are found by polling.
    #[must_use]
    pub fn events_changed(&self) -> watch::Receiver<u64> {
        self.inner.events.subscribe()
    }

    /// Waits for changes of a machine that this process commits.
    #[must_use]
    pub fn machine_changes(&self, machine: MachineId) -> MachineChanges {
        self.inner.changes.of(machine)
    }

    /// May other processes write to the database, unseen by this one?
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Runs `work` in one snapshot.
    async fn read<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        self.run(Mode::Read, work).await
    }

    /// Runs `work` in one transaction.
    async fn write<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        self.run(Mode::Write, work).await
    }

    async fn run<T, W>(&self, mode: Mode, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Tx<'_>) -> Outcome<T> + Send + 'static,
    {
        let turn = self.turn(mode).await?;
        let inner = Arc::clone(&self.inner);
        // The turn goes along: it ends with the work, also when the caller has gone away.
        let ran = tokio::task::spawn_blocking(move || {
            let result = inner.transact(mode, work);
            drop(turn);
            result
        });
        match ran.await {
            Ok(result) => Ok(result?),
            Err(died) => Err(Error::Internal(format!("a database call died: {died}"))),
        }
    }

    async fn turn(&self, mode: Mode) -> Result<Vec<OwnedSemaphorePermit>> {
        let writer = self.inner.writer.as_ref().filter(|_| mode == Mode::Write);
        // The writer's turn first: who waits for it must not keep a connection from readers.
        let wanted = writer.into_iter().chain([&self.inner.slots]);
        let all = async {
            let mut turn = Vec::with_capacity(2);
            for semaphore in wanted {
                turn.push(Arc::clone(semaphore).acquire_owned().await.ok()?);
            }
            Some(turn)
        };
        let busy = || Error::Unavailable(format!("the database is busy: no turn within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, all).await.ok().flatten().ok_or_else(busy)
    }
}

impl Inner {
    /// One transaction on a connection of the pool; blocks.
    fn transact<T>(&self, mode: Mode, work: impl FnOnce(&mut Tx<'_>) -> Outcome<T>) -> Outcome<T> {
        let mut conn = self.pool.get().map_err(error::no_connection)?;
        dialect::begin(&mut conn, mode)?;
        let mut tx = Tx {
            conn: &mut conn,
            now: self.clock.now(),
            events: Vec::new(),
            changed: Vec::new(),
            woke: false,
            undo: false,
        };
        let result = work(&mut tx).and_then(|made| {
            if tx.undo {
                return Ok((made, None));
            }
            let logged = events::append(&mut tx, &self.clock)?;
            Ok((made, Some(Told { logged, changed: tx.changed, woke: tx.woke })))
        });
        match result {
            Ok((made, Some(told))) => {
                dialect::commit(&mut conn)?;
                self.tell(&told);
                Ok(made)
            }
            Ok((made, None)) => {
                dialect::rollback(&mut conn)?;
                Ok(made)
            }
            Err(e) => {
                // A connection that cannot roll back is not given out again: see `connection`.
                if let Err(e) = dialect::rollback(&mut conn) {
                    tracing::warn!(error = %e, "a transaction could not be rolled back");
                }
                Err(e)
            }
        }
    }

    fn tell(&self, told: &Told) {
        if told.logged {
            self.events.send_modify(|n| *n = n.wrapping_add(1));
        }
        self.changes.tell(&told.changed);
        if told.woke {
            self.work.notify_one();
        }
    }
}
