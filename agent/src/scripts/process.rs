//! One script as a process: in a group of its own, with both streams in one, and nothing of it left when it is over.

use std::{
    env, fs,
    io::{self, ErrorKind, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, OpenOptionsExt as _},
            process::ExitStatusExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use farrier_common::secret::random_bytes;
use farrier_proto::agent::ScriptToRun;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{End, Tail};
use crate::{error::TaskError, progress::Progress};

/// Between the request to end and the end by force.
const GRACE: Duration = Duration::from_secs(3);
/// For what is dead to be gone, and for the last that it wrote.
const GONE: Duration = Duration::from_secs(2);
/// Another thread that starts a program at this moment may hold the script open for writing.
const BUSY_TRIES: usize = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// As shells have it, when a program cannot be started.
const CANNOT_RUN: i32 = 126;
const PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin";

/// Runs one script for at most `limit`.
///
/// # Errors
/// The task is no longer wanted.
pub(super) async fn run(script: &ScriptToRun, limit: Duration, progress: &Progress) -> Result<End, TaskError> {
    let started = match start(script).await {
        Ok(started) => started,
        Err(e) => return Ok(End::with(CANNOT_RUN, format!("cannot be run: {e}\n"))),
    };
    let (mut running, _folder) = started;
    match running.until(limit, progress).await {
        Why::Ended => {
            let code = running.end().await;
            Ok(End::with(code, running.tail.text()))
        }
        Why::Late => {
            let code = running.end().await;
            Ok(End::timed_out(code, running.tail.text()))
        }
        Why::Unwanted => {
            running.end().await;
            Err(TaskError::Stopped)
        }
    }
}

/// Why nobody waits for a script any more.
enum Why {
    Ended,
    Late,
    Unwanted,
}

/// A folder that goes away with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("farrier-{}", hex::encode(random_bytes::<8>())));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The environment lives in memory and ends with this boot: what cannot be removed does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running {
    child: Child,
    group: Option<Pid>,
    reader: pipe::Receiver,
    open: bool,
    tail: Tail,
    status: Option<ExitStatus>,
}

async fn start(script: &ScriptToRun) -> io::Result<(Running, Folder)> {
    let folder = Folder::new()?;
    let path = folder.0.join("script");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
    file.write_all(&script.content)?;
    drop(file);
    let (reader, writer) = io::pipe()?;
    let mut child = None;
    for _ in 0..BUSY_TRIES {
        match command(&path, &folder.0, script, writer.try_clone()?, writer.try_clone()?).spawn() {
            Ok(started) => {
                child = Some(started);
                break;
            }
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => sleep(BUSY_PAUSE).await,
            Err(e) => return Err(e),
        }
    }
    let child = child.ok_or(ErrorKind::ExecutableFileBusy)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    Ok((Running { child, group, reader, open: true, tail: Tail::default(), status: None }, folder))
}

fn command(path: &Path, folder: &Path, script: &ScriptToRun, out: io::PipeWriter, err: io::PipeWriter) -> Command {
    let mut command = Command::new(path);
    command
        .current_dir(folder)
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("FARRIER_SCRIPT", &script.name)])
        .envs([("HOME", folder), ("TMPDIR", folder)])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(true);
    command
}

impl Running {
    /// Reads what it writes until it has ended, or is to be ended.
    async fn until(&mut self, limit: Duration, progress: &Progress) -> Why {
        let late = sleep(limit);
        tokio::pin!(late);
        let mut chunk = [0; 8192];
        loop {
            tokio::select! {
                ended = self.child.wait() => {
                    self.status = ended.ok();
                    return Why::Ended;
                }
                read = self.reader.read(&mut chunk), if self.open => self.take(read, &chunk),
                () = &mut late => return Why::Late,
                () = progress.stopped() => return Why::Unwanted,
            }
        }
    }

    fn take(&mut self, read: io::Result<usize>, chunk: &[u8]) {
        let count = read.unwrap_or(0);
        self.open = count > 0;
        self.tail.push(chunk.get(..count).unwrap_or_default());
    }

    /// Ends what is left of it, and reads the last that it wrote; its exit code.
    async fn end(&mut self) -> i32 {
        if self.status.is_none() {
            self.signal(Signal::SIGTERM);
            self.gone(GRACE).await;
        }
        // What it started and left behind, too.
        self.signal(Signal::SIGKILL);
        if self.status.is_none() {
            self.gone(GONE).await;
        }
        // Somebody who has left the group may hold the pipe: he is not waited for.
        let rest = async {
            let mut chunk = [0; 8192];
            while self.open {
                let read = self.reader.read(&mut chunk).await;
                self.take(read, &chunk);
            }
        };
        // Late or not: what has come by now is what there is.
        let _ = timeout(GONE, rest).await;
        code(self.status)
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Nobody is in it any more: that is what was wanted.
            let _ = killpg(group, signal);
        }
    }

    /// Waits a while for it to be gone, and reads meanwhile.
    async fn gone(&mut self, within: Duration) {
        let late = sleep(within);
        tokio::pin!(late);
        let mut chunk = [0; 8192];
        loop {
            tokio::select! {
                ended = self.child.wait() => {
                    self.status = ended.ok();
                    return;
                }
                read = self.reader.read(&mut chunk), if self.open => self.take(read, &chunk),
                () = &mut late => return,
            }
        }
    }
}

/// 128 + N when it was ended by signal N. What cannot even be killed counts as killed.
fn code(status: Option<ExitStatus>) -> i32 {
    let signal = |s: ExitStatus| s.signal().map(|n| 128 + n);
    status.and_then(|s| s.code().or_else(|| signal(s))).unwrap_or(128 + 9)
}
