//! A PostgreSQL cluster for one lab: on a Unix socket, which is reached from every network namespace.
//!
//! PostgreSQL refuses to run as root, so it runs as the user `postgres` of Debian's package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    daemon::Daemon,
    error::{LabError, Result},
    process, wait,
};

const LIMIT: Duration = Duration::from_secs(300);

/// Does the server wait until what it acknowledged is on the disk?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// As in production: for what is measured, and for what is to survive.
    On,
    /// Quicker: for tests, whose host does not fail.
    Off,
}

/// A running cluster with an empty database `farrier`.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    programs: PathBuf,
    /// The process.
    pub server: Daemon,
}

impl Postgres {
    /// Makes and starts a cluster in `dir`, which must not exist.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start.
    pub fn start(dir: &Path, fsync: Fsync) -> Result<Self> {
        let programs = programs()?;
        let failed = || LabError::io(format!("cannot make {}", dir.display()));
        fs::create_dir_all(dir).map_err(failed())?;
        let user = nix::unistd::User::from_name("postgres").ok().flatten();
        let user = user.ok_or_else(|| LabError::answer("user postgres", "does not exist; is postgresql installed?"))?;
        std::os::unix::fs::chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed())?;
        let data = dir.join("data");
        let mut initdb = as_postgres(&programs.join("initdb"));
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data).current_dir(dir);
        process::succeed(initdb, LIMIT)?;
        let mut command = as_postgres(&programs.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(dir).args(["-c", "listen_addresses="]);
        if fsync == Fsync::Off {
            command.args(["-c", "fsync=off"]);
        }
        let server = Daemon::new("postgres", dir.join("postgres.log"), command);
        let mut postgres = Self { dir: dir.to_owned(), programs, server };
        postgres.restart()?;
        let mut create = as_postgres(&postgres.programs.join("createdb"));
        create.arg("-h").arg(dir).arg("farrier");
        process::succeed(create, LIMIT)?;
        Ok(postgres)
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`]; returns when it serves.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.server.start()?;
        let ready = || {
            let mut probe = as_postgres(&self.programs.join("pg_isready"));
            probe.arg("-h").arg(&self.dir);
            process::succeed(probe, LIMIT).is_ok()
        };
        wait::until_true("PostgreSQL", LIMIT, ready)
    }

    /// Where the region finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///farrier?host={}&user=postgres", self.dir.display())
    }
}

/// The newest installed version's programs.
fn programs() -> Result<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").map_err(LabError::io("PostgreSQL is not installed"))?;
    let version = |path: &PathBuf| path.file_name().and_then(|n| n.to_string_lossy().parse::<u32>().ok());
    let newest = entries.flatten().map(|e| e.path()).filter(|p| p.join("bin/initdb").exists()).max_by_key(version);
    newest.map(|p| p.join("bin")).ok_or_else(|| LabError::answer("PostgreSQL", "is not installed"))
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "KILL", "--"]).arg(program);
    command
}
