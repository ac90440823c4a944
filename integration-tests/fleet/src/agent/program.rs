//! The real agent in a simulated machine: the program that goes into the ephemeral image, run beside a folder that stands
//! for the machine's `/sys`, `/proc` and `/dev`. Its disks are files, so what it did is told by the files alone.
//!
//! Needs root (a mount, and a loop device for each partition of an image while the agent runs), `debugfs`, `sfdisk` and
//! dropbear.
//! The program is in the network namespace of the thread that starts it and speaks from the address that its kernel chooses.

mod files;
mod layout;
mod plan;
mod tools;
mod tree;

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farrier_common::id::BootId;
use thiserror::Error;
use tokio::process::Command;

use self::{
    files::{Found, Loop},
    plan::Log,
};
pub use self::{
    layout::{Layout, Partition},
    plan::CrashPlan,
};
use super::{cmdline::Options, lease};
use crate::{
    boot::Network,
    dice::Dice,
    disk::{Content, Disk, Disks, Installed},
    machine::{fault::Faults, hardware::Hardware},
};

/// Who acts in a machine's ephemeral environment.
#[derive(Clone, Debug, Default)]
pub enum AgentKind {
    /// The simulated agent: cheap, and made from the contract alone.
    #[default]
    Simulated,
    /// The real one.
    Program(Program),
}

/// How the real agent is run in one machine.
#[derive(Clone, Debug)]
pub struct ProgramSpec {
    /// The program `farrier-agent`.
    pub binary: PathBuf,
    /// What the machine is; kept from boot to boot. Of this machine alone.
    pub dir: PathBuf,
    /// The partitions that the made-up kernel finds once an image is on a disk.
    pub layout: Layout,
    /// Where the agent is to die.
    pub plan: CrashPlan,
}

/// The real agent of one machine. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Program(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: ProgramSpec,
    log: Log,
    known: Mutex<Known>,
}

/// What is known of the disks since they were looked at.
#[derive(Debug, Default)]
struct Known {
    /// The boot that ran last.
    boot: Option<BootId>,
    /// An agent ran since.
    stale: bool,
    /// Of each disk: which installation it was.
    systems: Vec<Option<String>>,
}

/// The machine that the agent is to be run in cannot be made up, or not be looked at.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// A file or a program.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that this needs says no.
    #[error("{what}: {why}")]
    Tool {
        /// The program and its arguments.
        what: String,
        /// What it said.
        why: String,
    },
}

impl ProgramError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

/// What the agent is put into.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    pub(crate) hardware: &'a Hardware,
    pub(crate) disks: &'a Disks,
    pub(crate) network: &'a Network,
    pub(crate) faults: &'a Faults,
}

impl Program {
    /// The agent of one machine.
    #[must_use]
    pub fn new(spec: ProgramSpec) -> Self {
        let log = Log::new(spec.dir.join("agent.log"), spec.plan.clone());
        Self(Arc::new(Inner { spec, log, known: Mutex::default() }))
    }

    /// How it is run.
    #[must_use]
    pub fn spec(&self) -> &ProgramSpec {
        &self.0.spec
    }

    /// What it said so far, in all boots.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn said(&self) -> io::Result<String> {
        self.0.log.text()
    }

    /// The file that is this disk.
    #[must_use]
    pub fn file(&self, disk: &Disk) -> PathBuf {
        self.0.spec.dir.join("dev").join(&disk.name)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Boots the ephemeral environment with this command line. When it returns without an error, the machine is to be
    /// powered off. Dropped, it takes the agent along, as a power cut does.
    pub(crate) async fn run(&self, cmdline: &str, seat: &Seat<'_>, dice: Dice) -> Result<(), String> {
        let text = |e: ProgramError| format!("{}", farrier_common::telemetry::Chain(&e));
        lease(seat.hardware, seat.network, seat.faults, dice.fork("udhcpc")).await?;
        self.boot(cmdline, seat)
            .await
            .map_err(text)
            .and_then(|status| if status.success() { Ok(()) } else { Err(format!("the agent ended with {status}")) })
    }

    async fn boot(&self, cmdline: &str, seat: &Seat<'_>) -> Result<ExitStatus, ProgramError> {
        let disks = seat.disks.list();
        self.look_again(seat.disks).await?;
        tree::build(&self.0.spec, seat.hardware, &disks, cmdline).await?;
        {
            let mut known = self.known();
            known.boot = Options::parse(cmdline).ok().and_then(|options| options.pass).map(|(boot, _)| boot);
            known.stale = true;
        }
        let loops = self.partitions(&disks).await?;
        let mut child = self.spawn()?;
        let ended = child.wait().await.map_err(ProgramError::io("waiting for the agent"))?;
        drop(loops);
        self.look_again(seat.disks).await?;
        Ok(ended)
    }

    /// Puts a node for each partition there, as the kernel does once it has read an image's table.
    async fn partitions(&self, disks: &[Disk]) -> Result<Vec<Loop>, ProgramError> {
        let mut all = Vec::new();
        for disk in disks {
            let file = self.file(disk);
            files::free(&file).await?;
            for partition in self.0.spec.layout.partitions() {
                let node = self.0.spec.dir.join("dev").join(tree::partition_name(&disk.name, partition.number));
                all.push(Loop::attach(&file, partition, &node).await?);
            }
        }
        Ok(all)
    }

    fn spawn(&self) -> Result<tokio::process::Child, ProgramError> {
        let Inner { spec, log, .. } = &*self.0;
        let file = OpenOptions::new().create(true).append(true).open(log.path());
        let file = file.map_err(ProgramError::io(format!("opening {}", log.path().display())))?;
        let other = file.try_clone().map_err(ProgramError::io("opening the agent's log"))?;
        // What it mounts and starts is its own, and goes with it; and it goes with us.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--"])
            .arg(&spec.binary)
            .arg("--root")
            .arg(&spec.dir)
            .current_dir(&spec.dir)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(other)
            .kill_on_drop(true);
        if let Some(cell) = spec.plan.next() {
            command.arg("--crash-at").arg(cell);
        }
        command.spawn().map_err(ProgramError::io("starting the agent in a mount namespace of its own"))
    }

    /// Looks at the disks if an agent ran since the last look: what is on them now, and what happened to them.
    pub(crate) async fn look_again(&self, disks: &Disks) -> Result<(), ProgramError> {
        if self.known().stale { self.look(disks).await } else { Ok(()) }
    }

    /// Looks at the disks: what is on them now, and what happened to them. A machine does so itself when its agent ended
    /// and when it is switched on; ask only while no agent runs.
    ///
    /// # Errors
    /// The files cannot be read, or `sfdisk` or `debugfs` is not there.
    pub async fn look(&self, disks: &Disks) -> Result<(), ProgramError> {
        self.0.log.read();
        for (n, disk) in disks.list().iter().enumerate() {
            let file = self.file(disk);
            if file.exists() {
                files::free(&file).await?;
                self.judge(disks, n, disk, files::examine(&file, &disk.content).await?);
                restore(&file, &disks.list()[n])?;
            }
        }
        self.known().stale = false;
        Ok(())
    }

    fn judge(&self, disks: &Disks, n: usize, disk: &Disk, found: Found) {
        let mut known = self.known();
        let boot_id = known.boot.unwrap_or_else(|| BootId::from_uuid(uuid::Uuid::nil()));
        let count = known.systems.len().max(n + 1);
        known.systems.resize(count, None);
        let before = known.systems[n].take();
        match (found, &disk.content) {
            (Found::Unchanged, _) | (Found::Zeros, Content::Blank) | (Found::Other, Content::Torn) => {}
            (Found::Zeros, Content::Image(_) | Content::Torn | Content::Marked(_)) => disks.wipe(n),
            (Found::Other, Content::Blank | Content::Image(_) | Content::Marked(_)) => disks.tear(n),
            (Found::System { seed, mark }, content) => {
                let same = before.as_ref() == Some(&mark) && matches!(content, Content::Image(_));
                known.systems[n] = Some(mark);
                if !same {
                    disks.install(n, Installed { content_sha256: String::new(), seed, boot_id });
                }
            }
        }
    }
}

/// A file of zeros needs no room.
fn restore(file: &Path, disk: &Disk) -> Result<(), ProgramError> {
    if disk.content != Content::Blank {
        return Ok(());
    }
    let shrunk = OpenOptions::new().write(true).open(file).and_then(|file| {
        file.set_len(0)?;
        file.set_len(disk.size_bytes)
    });
    shrunk.map_err(ProgramError::io(format!("giving back the room of {}", file.display())))
}
