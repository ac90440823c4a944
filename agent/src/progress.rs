//! How far a task is, and whether it is still wanted; shared by the task and the one who reports on it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use farrier_common::crash::Crash;
use farrier_proto::agent;
use tokio_util::sync::CancellationToken;

use crate::{crash::Point, error::TaskError};

/// A handle; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    step: Arc<Mutex<Step>>,
    stop: CancellationToken,
    crash: Crash<Point>,
    kind: &'static str,
}

#[derive(Debug, Default)]
struct Step {
    text: String,
    unit: &'static str,
    total: u64,
}

impl Progress {
    /// Of a task of this kind, which dies where it is told to.
    #[must_use]
    pub fn of(kind: &'static str, crash: Crash<Point>) -> Self {
        Self { crash, kind, ..Self::default() }
    }

    /// The task passes `point`.
    pub fn passes(&self, point: Point) {
        self.crash.at(point, self.kind);
    }

    /// Starts a step of `total` units; 0 if that is not known.
    pub fn begin(&self, text: impl Into<String>, unit: &'static str, total: u64) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        *step = Step { text: text.into(), unit, total };
        self.done.store(0, Ordering::Relaxed);
    }

    /// Says something else about the same step.
    pub fn say(&self, text: impl Into<String>) {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).text = text.into();
    }

    /// Counts `units` more.
    pub fn add(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    /// Takes back `units` that turned out not to be done.
    pub fn take_back(&self, units: u64) {
        self.done.fetch_sub(units, Ordering::Relaxed);
    }

    /// To be asked between two chunks of work.
    ///
    /// # Errors
    /// The task is no longer wanted.
    pub fn wanted(&self) -> Result<(), TaskError> {
        if self.stop.is_cancelled() { Err(TaskError::Stopped) } else { Ok(()) }
    }

    /// Tells the task that it is no longer wanted.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends when the task is no longer wanted.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// As the contract tells it.
    #[must_use]
    pub fn report(&self) -> agent::Progress {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        agent::Progress {
            done: self.done.load(Ordering::Relaxed),
            total: step.total,
            unit: step.unit.to_owned(),
            text: step.text.clone(),
        }
    }
}
