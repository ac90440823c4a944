//! Drives operations: gives verbs at their pace, and sees what comes of each.
//!
//! **Invariants:** whoever drives an operation holds its lease. A machine is marked as begun before its verb is given, and
//! the verb's request id follows from the operation and the place of the machine, so that a process which dies anywhere
//! leaves nothing that is done twice or forgotten: who drives next gives the verb again and is told the first answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{id::OperationId, secret::sha256_hex};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::is_at_work;
use crate::{
    app::{App, context::Ask},
    domain::{
        Error, Result,
        lifecycle::State,
        operation::{Counts, Item, ItemStatus, Next, Operation, Verb, next, rotated, verdict},
    },
    store::{Hold, MachineView, Once, Request},
};

/// Operations driven at once by one process.
const PARALLEL: usize = 32;
/// How long an operation waits when the process that drives it dies and does not come back.
const LEASE: TimeDelta = TimeDelta::seconds(15);
/// How often is looked when nobody says that there is news.
const LOOK: Duration = Duration::from_secs(1);
/// News of other machines may come in any number: they are looked at so often at most.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a verb may take.
const GIVE: Duration = Duration::from_secs(150);
/// How often a verb is tried that something else than the machine keeps from being done.
const TRIES: u32 = 10;

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoesOn,
    /// It is over, or somebody else drives it.
    Over,
}

/// What became of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Noted,
    /// Something did not answer.
    Again,
}

impl App {
    /// Drives operations until stopped; then lets the verbs under way end.
    ///
    /// # Errors
    /// Never for a fault of an operation or the database, which is logged and tried again; only if a driver panics.
    pub async fn drive_operations(self, owner: String, stop: CancellationToken) -> std::result::Result<(), String> {
        let (mut drivers, mut driven) = (JoinSet::new(), BTreeSet::new());
        while !stop.is_cancelled() {
            let free = match self.store.operations_to_drive(&owner, self.clock.now(), PARALLEL).await {
                Ok(free) => free,
                Err(e) => {
                    tracing::error!(error = %e, "operations could not be listed");
                    Vec::new()
                }
            };
            for id in free {
                if driven.len() < PARALLEL && driven.insert(id) {
                    let driver = Driver::new(self.clone(), id, owner.clone());
                    let stop = stop.clone();
                    drivers.spawn(async move {
                        driver.run(stop).await;
                        id
                    });
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.store.operations_asked().notified() => {}
                Some(ended) = drivers.join_next() => {
                    driven.remove(&ended.map_err(|e| format!("the driver of an operation died: {e}"))?);
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while let Some(ended) = drivers.join_next().await {
            ended.map_err(|e| format!("the driver of an operation died: {e}"))?;
        }
        Ok(())
    }
}

/// Drives one operation.
struct Driver {
    app: App,
    id: OperationId,
    owner: String,
    /// Verbs under way, by place.
    giving: BTreeSet<u32>,
    /// Verbs to give again: how often they were tried.
    tries: BTreeMap<u32, u32>,
    verbs: JoinSet<(u32, Given)>,
}

impl Driver {
    fn new(app: App, id: OperationId, owner: String) -> Self {
        Self { app, id, owner, giving: BTreeSet::new(), tries: BTreeMap::new(), verbs: JoinSet::new() }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut news = self.app.store.events_changed();
        while !stop.is_cancelled() {
            match self.step().await {
                Ok(Step::Over) => break,
                Ok(Step::GoesOn) => {}
                Err(e) => tracing::warn!(operation.id = %self.id, error = %e, "an operation could not be driven on"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Some(given) = self.verbs.join_next() => self.given(given),
                () = told(&mut news) => tokio::time::sleep(PAUSE).await,
                () = tokio::time::sleep(LOOK) => {}
            }
            while let Some(given) = self.verbs.try_join_next() {
                self.given(given);
            }
        }
        // Each has a time limit of its own.
        while self.verbs.join_next().await.is_some() {}
    }

    fn given(&mut self, given: std::result::Result<(u32, Given), tokio::task::JoinError>) {
        match given {
            Ok((position, outcome)) => {
                self.giving.remove(&position);
                match outcome {
                    Given::Noted => drop(self.tries.remove(&position)),
                    Given::Again => *self.tries.entry(position).or_default() += 1,
                }
            }
            // Which one is not known any more: all are given anew, and told the first answer if they were done.
            Err(e) => {
                tracing::error!(operation.id = %self.id, error = %e, "a verb died");
                self.giving.clear();
            }
        }
    }

    fn hold(&self) -> Hold {
        Hold { operation: self.id, owner: self.owner.clone(), until: self.app.clock.now() + LEASE }
    }

    async fn step(&mut self) -> Result<Step> {
        let store = self.app.store.clone();
        let hold = self.hold();
        let Some((operation, mut counts, running)) = store.operation_hold(&hold).await? else {
            return Ok(Step::Over);
        };
        let operation = Arc::new(operation);
        let (asked, unasked): (Vec<Item>, Vec<Item>) = running.into_iter().partition(|item| item.asked);
        self.harvest(&operation, asked, &mut counts).await?;
        for item in unasked {
            self.give(&operation, item);
        }
        match next(&operation, counts) {
            Next::Begin(more) => {
                for item in store.operation_begin(&hold, more).await? {
                    self.give(&operation, item);
                }
                Ok(Step::GoesOn)
            }
            Next::Stop => {
                let why = format!("{} machines failed before its turn", counts.failed);
                store.operation_stop(&hold, &why).await?;
                Ok(Step::GoesOn)
            }
            Next::Wait => Ok(Step::GoesOn),
            Next::Finish => {
                store.operation_finish(&hold).await?;
                tracing::info!(operation.id = %self.id, verb = %operation.verb, ?counts, "an operation is over");
                Ok(Step::Over)
            }
        }
    }

    /// Notes which machines have come to rest.
    async fn harvest(&self, operation: &Operation, asked: Vec<Item>, counts: &mut Counts) -> Result<()> {
        if asked.is_empty() {
            return Ok(());
        }
        let store = &self.app.store;
        let ended: Vec<_> = if operation.verb == Verb::RotateBmcPassword {
            let ended = store.operation_rotations(asked).await?.into_iter();
            let judge =
                |(position, at, reason): (u32, _, String)| (position, rotated(operation.created_at, at, &reason));
            ended.map(judge).map(|(position, (status, text))| (position, status, text)).collect()
        } else {
            let ended = store.operation_outcomes(asked).await?.into_iter();
            ended
                .map(|(position, state, reason)| {
                    let gone = (ItemStatus::Failed, reason.clone());
                    let (status, text) = state.map_or(gone, |state| verdict(state, &reason));
                    (position, status, text)
                })
                .collect()
        };
        for (_, status, _) in &ended {
            counts.running = counts.running.saturating_sub(1);
            counts.failed += u32::from(*status == ItemStatus::Failed);
            counts.succeeded += u32::from(*status == ItemStatus::Succeeded);
        }
        if ended.is_empty() { Ok(()) } else { self.app.store.operation_ended(self.id, ended).await }
    }

    fn give(&mut self, operation: &Arc<Operation>, item: Item) {
        if !self.giving.insert(item.position) {
            return;
        }
        let tries = self.tries.get(&item.position).copied().unwrap_or_default();
        let (app, operation) = (self.app.clone(), Arc::clone(operation));
        self.verbs.spawn(async move {
            if tries > 0 {
                tokio::time::sleep(LOOK).await;
            }
            let given = give(&app, &operation, &item, tries).await;
            (item.position, given)
        });
    }
}

/// Returns when the log grew.
async fn told(news: &mut tokio::sync::watch::Receiver<u64>) {
    if news.changed().await.is_err() {
        // The store is gone with its process.
        std::future::pending().await
    }
}

/// Gives the verb of one machine, and notes what came of it.
async fn give(app: &App, operation: &Operation, item: &Item, tries: u32) -> Given {
    let late = || Err(Error::Unavailable(format!("it was not done within {} s", GIVE.as_secs())));
    let noted = match timeout(GIVE, done(app, operation, item)).await.unwrap_or_else(|_| late()) {
        Ok(state) if is_at_work(operation.verb, state) => app.store.operation_asked(operation.id, item.position).await,
        Ok(_) => ended(app, operation, item, (ItemStatus::Succeeded, String::new())).await,
        Err(e @ (Error::Unavailable(_) | Error::Internal(_))) if tries + 1 < TRIES => {
            tracing::warn!(operation.id = %operation.id, machine.id = %item.machine, error = %e, "a verb is tried again");
            return Given::Again;
        }
        Err(Error::Internal(why)) => {
            tracing::error!(operation.id = %operation.id, machine.id = %item.machine, why, "a verb failed by our fault");
            ended(app, operation, item, (ItemStatus::Failed, "internal error; see the region's log".to_owned())).await
        }
        Err(e) => ended(app, operation, item, (ItemStatus::Failed, e.to_string())).await,
    };
    match noted {
        Ok(()) => Given::Noted,
        Err(e) => {
            tracing::warn!(operation.id = %operation.id, machine.id = %item.machine, error = %e, "an outcome was not noted");
            Given::Again
        }
    }
}

async fn ended(app: &App, operation: &Operation, item: &Item, (status, text): (ItemStatus, String)) -> Result<()> {
    app.store.operation_ended(operation.id, vec![(item.position, status, text)]).await
}

/// Does it, with the rights that the user has now; tells where the machine went.
async fn done(app: &App, operation: &Operation, item: &Item) -> Result<State> {
    let gone = || Error::Denied("the user who asked for it is gone".to_owned());
    let user = app.store.user_get(operation.user).await?.ok_or_else(gone)?;
    if user.disabled {
        return Err(Error::Denied(format!("user {} is disabled", user.name)));
    }
    let request = Request {
        principal: user.id.to_string(),
        request_id: format!("bulk:{}:{}", operation.id, item.position),
        method: "BulkMachines",
        body_sha256: sha256_hex(format!("{} {} {:?}", operation.verb, item.machine, operation.options).as_bytes()),
        user: user.name.to_string(),
        target: item.name.to_string(),
        subject: |_| String::new(),
        comment: operation.comment.clone(),
        peer: format!("operation {}", operation.id),
        validate_only: false,
    };
    let kept = match app.store.request_seen(&request).await? {
        Some(kept) => kept,
        None => {
            // What is kept is for us alone: where the machine went.
            let render = Arc::new(|view: &MachineView| view.machine.state.as_str().as_bytes().to_vec());
            let ask = Ask { user, request, etag: None, expected: item.expected, render };
            match app.bulk_one(&ask, operation, item.machine).await? {
                Once::Fresh(view) => return Ok(view.machine.state),
                Once::Replay(kept) => kept,
            }
        }
    };
    let text = String::from_utf8_lossy(&kept);
    text.parse().map_err(|e| Error::Internal(format!("the kept answer of a verb cannot be read: {e}")))
}
