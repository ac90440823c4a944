//! Runs scripts one after the other, as root: those that the region hands over, and the tests that the agent brings along.
//!
//! Each is run whatever became of the ones before it, and has its own time. `docs/scripts.md` is for those who write them.

mod built_in;
mod process;

use std::time::Duration;

use farrier_proto::agent::{RunScriptsResult, RunScriptsTask, ScriptOutcome, ScriptStatus, ScriptToRun};

use crate::{console::say, error::TaskError, job::Job};

/// More than the region hands over.
const MOST_SCRIPTS: usize = 256;
const MOST_SECONDS: u32 = 86_400;
/// So much of the output is told: its end.
const MOST_OUTPUT: usize = 64 << 10;
/// What a script ends with if the machine lacks what it is for, as with automake.
const SKIPPED: i32 = 77;

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    status: ScriptStatus,
    exit_code: i32,
    output: String,
}

impl End {
    /// Ended by itself, with that code.
    fn with(exit_code: i32, output: String) -> Self {
        let status = match exit_code {
            0 => ScriptStatus::Passed,
            SKIPPED => ScriptStatus::Skipped,
            _ => ScriptStatus::Failed,
        };
        Self { status, exit_code, output }
    }

    /// Was ended because its time was over.
    const fn timed_out(exit_code: i32, output: String) -> Self {
        Self { status: ScriptStatus::TimedOut, exit_code, output }
    }
}

/// Does the whole task.
///
/// # Errors
/// It cannot be understood, or is no longer wanted. What scripts do is no error of the task.
pub async fn run(job: &Job, task: RunScriptsTask) -> Result<RunScriptsResult, TaskError> {
    check(&task.scripts)?;
    let count = task.scripts.len();
    job.progress.begin("starting", "scripts", count as u64);
    let mut outcomes = Vec::with_capacity(count);
    for (n, script) in task.scripts.into_iter().enumerate() {
        job.progress.wanted()?;
        job.progress.say(format!("running {}", script.name));
        say(format_args!("running {} ({} of {count})", script.name, n + 1));
        let started = job.clock.now();
        let limit = Duration::from_secs(script.timeout_seconds.into());
        let end = if script.content.is_empty() {
            built_in::run(job, &script.name, limit).await?
        } else {
            process::run(&script, limit, &job.progress).await?
        };
        say(format_args!("{}: {} (exit code {})", script.name, word(end.status), end.exit_code));
        job.progress.add(1);
        outcomes.push(ScriptOutcome {
            name: script.name,
            status: end.status.into(),
            exit_code: end.exit_code,
            output: end.output,
            started_unix_ms: started.timestamp_millis(),
            finished_unix_ms: job.clock.now().timestamp_millis(),
        });
    }
    Ok(RunScriptsResult { outcomes })
}

fn check(scripts: &[ScriptToRun]) -> Result<(), TaskError> {
    if scripts.len() > MOST_SCRIPTS {
        return Err(TaskError::failed(format!("scripts: must be at most {MOST_SCRIPTS}, not {}", scripts.len())));
    }
    let fits = |s: &&ScriptToRun| !(1..=MOST_SECONDS).contains(&s.timeout_seconds);
    match scripts.iter().find(fits) {
        Some(s) => Err(TaskError::failed(format!("timeout_seconds of {}: must be 1 to {MOST_SECONDS}", s.name))),
        None => Ok(()),
    }
}

const fn word(status: ScriptStatus) -> &'static str {
    match status {
        ScriptStatus::Passed => "passed",
        ScriptStatus::Failed => "failed",
        ScriptStatus::TimedOut => "timed out",
        ScriptStatus::Skipped => "skipped",
        ScriptStatus::Unspecified => "unknown",
    }
}

/// The end of what was written, as text: at most [`MOST_OUTPUT`] bytes of it.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * MOST_OUTPUT {
            self.0.drain(..self.0.len() - MOST_OUTPUT);
        }
    }

    fn text(&self) -> String {
        let from = self.0.len().saturating_sub(MOST_OUTPUT);
        // What is no text becomes longer, and is cut again.
        let text = String::from_utf8_lossy(self.0.get(from..).unwrap_or_default());
        let mut from = text.len().saturating_sub(MOST_OUTPUT);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.get(from..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests;
