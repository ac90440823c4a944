//! One long-running process of the lab: started, killed, started again; its output in a file.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    error::{LabError, Result},
    process,
    wait::{self, Seen},
};

/// How long a process may take to stop when asked to, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A process and how to start it again. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    command: Command,
    child: Option<Child>,
}

impl Daemon {
    /// A daemon that is not started yet; `command` makes it.
    #[must_use]
    pub fn new(name: &str, log: PathBuf, command: Command) -> Self {
        Self { name: name.to_owned(), log, command, child: None }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it logs to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it. Its log grows: it is not cut.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it with `more` arguments, this time only.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with(&mut self, more: &[String]) -> Result<()> {
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args()).args(more);
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let what = format!("cannot start {}: {}", self.name, process::line(&command));
        let log = append(&self.log)?;
        let errors = log.try_clone().map_err(LabError::io(what.clone()))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().map_err(LabError::io(what))?);
        Ok(())
    }

    /// How it ended by itself; `None` while it runs.
    ///
    /// # Errors
    /// It is not started.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().ok_or_else(|| LabError::answer(&self.name, "is not started"))?;
        child.try_wait().map_err(LabError::io(format!("cannot look at {}", self.name)))
    }

    /// Its process id, if it runs.
    ///
    /// # Errors
    /// It does not run; the message tells how it ended.
    pub fn pid(&mut self) -> Result<u32> {
        let child = self.child.as_mut().ok_or_else(|| LabError::answer(&self.name, "is not started"))?;
        match child.try_wait().map_err(LabError::io(format!("cannot look at {}", self.name)))? {
            None => Ok(child.id()),
            Some(status) => {
                let how = format!("ended with {status}:\n{}", tail(&self.log, 20));
                Err(LabError::answer(&self.name, how))
            }
        }
    }

    /// Kills it as a crash would: no signal handler runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.pid()?;
        self.reap(Child::kill)
    }

    /// Asks it to stop, and waits until it has. Gives its exit code, `None` if a signal ended it.
    ///
    /// # Errors
    /// It does not run, or does not stop.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?).unwrap_or(i32::MAX));
        kill(pid, Signal::SIGTERM)
            .map_err(|e| LabError::answer(format!("cannot stop {}", self.name), e.to_string()))?;
        let child = self.child.as_mut().ok_or_else(|| LabError::answer(&self.name, "is not started"))?;
        let name = &self.name;
        let status = wait::until(&format!("end of {name}"), STOP_LIMIT, || {
            let status = child.try_wait().map_err(LabError::io(format!("cannot look at {name}")))?;
            Ok(status.map_or_else(|| Seen::NotYet("it runs".to_owned()), Seen::Now))
        })?;
        self.child = None;
        Ok(status.signal().map_or_else(|| status.code(), |_| None))
    }

    /// Waits until it listens on a TCP port of its network namespace.
    ///
    /// # Errors
    /// It ends, or does not listen within `limit`.
    pub fn listens(&mut self, port: u16, limit: Duration) -> Result<()> {
        let what = format!("{} on TCP port {port}", self.name);
        wait::until(&what, limit, || {
            let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", self.pid()?)).unwrap_or_default();
            let sockets6 = fs::read_to_string(format!("/proc/{}/net/tcp6", self.pid()?)).unwrap_or_default();
            let there = [sockets, sockets6].iter().any(|table| is_listening(table, port));
            Ok(if there { Seen::Now(()) } else { Seen::NotYet("nobody listens".to_owned()) })
        })
    }

    fn reap(&mut self, end: impl FnOnce(&mut Child) -> std::io::Result<()>) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            end(&mut child).map_err(LabError::io(format!("cannot end {}", self.name)))?;
            child.wait().map_err(LabError::io(format!("cannot wait for {}", self.name)))?;
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.reap(Child::kill);
    }
}

/// Opens a log for appending.
pub(crate) fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(LabError::io(format!("cannot open {}", path.display())))
}

/// The last lines of a log.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Does a `/proc/net/tcp` table hold a listening socket on `port`?
fn is_listening(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1).and_then(|address| address.rsplit_once(':')).map(|(_, port)| port);
        local.and_then(|p| u16::from_str_radix(p, 16).ok()) == Some(port) && words.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:1478 00000000:0000 0A 00000000:00000000 00\n   1: 0100007F:0050 0100007F:1478 01 00000000:00000000 00\n";
        assert!(is_listening(table, 0x1478));
        assert!(!is_listening(table, 0x50), "connected, not listening");
    }

    #[test]
    fn a_daemon_is_killed_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo up $1; [ -n \"$1\" ] || exec sleep 600", "sh"]);
        let mut daemon = Daemon::new("sleeper", dir.path().join("log"), command);
        assert!(daemon.pid().is_err());
        daemon.start().unwrap();
        let first = daemon.pid().unwrap();
        daemon.kill().unwrap();
        assert!(daemon.pid().is_err());
        daemon.start().unwrap();
        assert_ne!(daemon.pid().unwrap(), first);
        assert_eq!((daemon.ended().unwrap(), daemon.stop().unwrap()), (None, None));
        daemon.start_with(&["once".to_owned()]).unwrap();
        let over = || daemon.ended().unwrap().is_some_and(|status| status.success());
        wait::until_true("its end", Duration::from_secs(30), over).unwrap();
        assert!(fs::read_to_string(dir.path().join("log")).unwrap().ends_with("up once\n"));
    }
}
