//! The tests that the agent brings along. Each has a bounded share of the machine and of time.

mod cpu;
mod disk_read;
mod memory;
mod network;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use farrier_common::net::MacAddr;
use tokio::{sync::oneshot, time::sleep};

use super::{End, SKIPPED};
use crate::{error::TaskError, host::Host, job::Job, progress::Progress};

/// How long what may go on for ever goes on.
const SHARE: Duration = Duration::from_secs(5);
/// As with coreutils' timeout: the test had not ended when its time was over.
const LATE: i32 = 124;
/// There is no such test.
const UNKNOWN: i32 = 127;

/// What a test works with.
#[derive(Clone, Debug)]
struct Check {
    host: Arc<Host>,
    boot_mac: Option<MacAddr>,
    /// How long what may go on for ever goes on.
    share: Duration,
    /// When all must be over.
    until: Instant,
    progress: Progress,
}

impl Check {
    /// May work that began then go on, if it may take `shares` of the time?
    fn goes_on(&self, since: Instant, shares: u32) -> bool {
        let now = Instant::now();
        now < self.until && now.duration_since(since) < self.share * shares && self.progress.wanted().is_ok()
    }
}

/// What a test found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed(text) => Self::with(0, text + "\n"),
            Verdict::Failed(text) => Self::with(1, text + "\n"),
            Verdict::Skipped(text) => Self::with(SKIPPED, text + "\n"),
        }
    }
}

/// The test of that name.
fn test(name: &str) -> Option<fn(&Check) -> Verdict> {
    match name {
        "cpu" => Some(cpu::test),
        "memory" => Some(memory::test),
        "disk-read" => Some(disk_read::test),
        "network" => Some(network::test),
        _ => None,
    }
}

/// Runs one of them for at most `limit`.
///
/// # Errors
/// The task is no longer wanted.
pub(super) async fn run(job: &Job, name: &str, limit: Duration) -> Result<End, TaskError> {
    let Some(test) = test(name) else {
        let text = format!("there is no built-in test {name:?}; the ephemeral image may be older than the region\n");
        return Ok(End::with(UNKNOWN, text));
    };
    let check = Check {
        host: Arc::clone(&job.host),
        boot_mac: job.boot_mac,
        share: SHARE,
        until: Instant::now() + limit,
        progress: job.progress.clone(),
    };
    let (tell, told) = oneshot::channel();
    // A thread of its own, and nobody waits for its end: a disk that never answers must not keep the agent from ending.
    let thread = thread::Builder::new().name(format!("test-{name}")).spawn(move || {
        // Nobody listens any more if the time was over.
        let _ = tell.send(test(&check));
    });
    if let Err(e) = thread {
        return Ok(End::with(1, format!("cannot be started: {e}\n")));
    }
    tokio::select! {
        verdict = told => Ok(verdict.map_or_else(|_| End::with(1, "the test crashed\n".to_owned()), End::from)),
        () = sleep(limit) => Ok(End::timed_out(LATE, "it did not end in its time\n".to_owned())),
        () = job.progress.stopped() => Err(TaskError::Stopped),
    }
}

/// How many threads work best.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests;
