//! Runs commands to their end, with a deadline.

use std::{
    io::Read,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use crate::{
    error::{LabError, Result},
    wait::{self, Seen},
};

/// What a command that ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` to its end; kills it if that does not come within `limit`.
///
/// # Errors
/// It cannot be started, or does not end in time.
pub fn run(mut command: Command, limit: Duration) -> Result<Ended> {
    let line = line(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::io(format!("cannot start {line}")))?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let waited = wait::until(&format!("end of {line}"), limit, || {
        let status = child.try_wait().map_err(LabError::io(format!("cannot wait for {line}")))?;
        Ok(status.map_or_else(|| Seen::NotYet("it runs".to_owned()), Seen::Now))
    });
    if waited.is_err() {
        // The readers are left alone: something that the command started may hold the pipes open.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = waited?;
    let text = |reader: Option<thread::JoinHandle<String>>| reader.and_then(|r| r.join().ok()).unwrap_or_default();
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Runs `command` and gives its standard output.
///
/// # Errors
/// As [`run`], or it ends with a status other than 0.
pub fn succeed(command: Command, limit: Duration) -> Result<String> {
    let line = line(&command);
    let ended = run(command, limit)?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    let output = format!("{}{}", ended.stdout, ended.stderr);
    Err(LabError::Command { command: line, status: ended.status.to_string(), output })
}

/// A command line for messages: program and arguments.
#[must_use]
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Reads a pipe to its end in a thread of its own, so that the command never blocks on it.
fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended() {
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        assert!(matches!(run(sleep, Duration::from_millis(50)), Err(LabError::Timeout { .. })));
    }

    #[test]
    fn a_failure_tells_what_was_written() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "echo out; echo err >&2; exit 3"]);
        let error = succeed(sh, Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("out\nerr") && error.contains('3'), "{error}");
    }
}
