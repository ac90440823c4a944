//! The programs that look at a disk's file: nobody here reads partition tables or file-systems.

use std::{ffi::OsStr, process::Output, process::Stdio, time::Duration};

use tokio::process::Command;

use super::ProgramError;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program to its end.
pub(super) async fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<Output, ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(LIMIT, command.output()).await;
    let why = || format!("did not end within {} s", LIMIT.as_secs());
    ended
        .map_err(|_| ProgramError::Tool { what: line(program, arguments), why: why() })?
        .map_err(ProgramError::io(format!("running {program}")))
}

/// Runs a program that has to succeed; what it wrote.
pub(super) async fn succeed<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, ProgramError> {
    let ended = run(program, arguments).await?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let why = format!("{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim());
    Err(ProgramError::Tool { what: line(program, arguments), why })
}

fn line<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    arguments.iter().fold(program.to_owned(), |line, word| format!("{line} {}", word.as_ref().to_string_lossy()))
}
