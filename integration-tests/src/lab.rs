//! One lab: namespace, daemons and machines of one test or of the demo.

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    thread,
};

use crate::{
    binaries::binary,
    bmc::Bmc,
    cli::Cli,
    daemon::{Daemon, tail},
    daemons::{Rack, Region, RegionOptions},
    error::{LabError, Result},
    machine::{self, Machine, MachineSpec, chassis::ChassisSpec, control},
    net::{Net, NetGuard},
    postgres::{Fsync, Postgres},
    process,
    reports::Reports,
    wait,
};

/// How much of each log is shown when a test fails.
const TAIL: usize = 40;

/// A namespace with machines. What it started ends when it is dropped; its files stay if a test fails.
#[derive(Debug)]
pub struct Lab {
    machines: Vec<Machine>,
    net: Net,
    dir: PathBuf,
    // Last: fields are dropped in order, and the namespace goes when nobody lives in it any more.
    _guard: NetGuard,
}

impl Lab {
    /// An empty lab.
    ///
    /// # Errors
    /// This host cannot hold one; the message says what it lacks.
    pub fn new() -> Result<Self> {
        let (net, guard) = Net::create()?;
        let dir = env::temp_dir().join(format!("farrier-lab-{}", net.name().trim_start_matches("frr-")));
        // A folder of that name is of a process that is gone.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(LabError::io(format!("cannot make {}", dir.display())))?;
        Ok(Self { machines: Vec::new(), net, dir, _guard: guard })
    }

    /// Its network.
    #[must_use]
    pub const fn net(&self) -> &Net {
        &self.net
    }

    /// Its folder: logs, disks, databases.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its machines, in the order in which they were added.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// Plugs a machine in: powered off, with a BMC that answers. Gives its index in [`Lab::machines`].
    ///
    /// # Errors
    /// Its owner or its BMC does not start.
    pub fn add_machine(&mut self, spec: MachineSpec) -> Result<usize> {
        let number = self.machines.len() + 1;
        let dir = self.dir.join(&spec.name);
        fs::create_dir_all(&dir).map_err(LabError::io(format!("cannot make {}", dir.display())))?;
        machine::make_disks(&spec, &dir)?;
        let tap = format!("tap{number}");
        self.net.add_tap(&tap)?;
        // Beside the subnet that the rack serves, so that no machine is ever given a BMC's address.
        let host = u8::try_from(number + 10).map_err(|e| LabError::answer("too many machines", e.to_string()))?;
        let address = Ipv4Addr::new(10, 78, 0, host).to_string();
        self.net.add_address(&address)?;
        let labctl = binary("farrier-labctl")?;
        let socket = control::socket(&dir);
        let (bmc, program) = Bmc::prepare(&self.net, &dir.join("bmc"), &spec, &address, (&labctl, &socket))?;
        let file = dir.join("spec.json");
        let chassis = ChassisSpec { machine: spec.clone(), dir: dir.clone(), tap, bmc: program, bmc_address: address };
        let text = serde_json::to_string_pretty(&chassis).map_err(|e| LabError::answer("spec.json", e.to_string()))?;
        fs::write(&file, text).map_err(LabError::io("cannot write spec.json"))?;
        let mut command = self.net.command(&labctl);
        command.arg("serve").arg(&file);
        let mut owner = Daemon::new(&format!("owner of {}", spec.name), dir.join("chassis.log"), command);
        owner.start()?;
        let machine = Machine::new(spec, dir, bmc, owner);
        wait::until_true("the machine's owner", std::time::Duration::from_secs(60), || machine.is_on().is_ok())?;
        machine.bmc().is_up()?;
        self.machines.push(machine);
        Ok(number - 1)
    }

    /// Starts a report server.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_reports(&self) -> Result<Reports> {
        Reports::start(&self.net, &binary("farrier-labctl")?, &self.dir)
    }

    /// Starts PostgreSQL.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_postgres(&self) -> Result<Postgres> {
        Postgres::start(&self.dir.join("postgres"), Fsync::Off)
    }

    /// Starts a region.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_region(&self, options: &RegionOptions) -> Result<Region> {
        Region::start(&self.net, &self.dir.join("region"), options)
    }

    /// The `farrier` command of a person with this token, logged in.
    ///
    /// # Errors
    /// The login fails.
    pub fn login(&self, region: &Region, person: &str, token_file: &Path) -> Result<Cli> {
        let cli = self.person(person)?;
        let (ca, token) = (region.ca(), token_file.to_path_buf());
        cli.run(&["login", "--server", &Region::address(), "--ca-file", &text(&ca), "--token-file", &text(&token)])?;
        Ok(cli)
    }

    /// The `farrier` command of a person who is not logged in yet.
    ///
    /// # Errors
    /// There is no such binary.
    pub fn person(&self, person: &str) -> Result<Cli> {
        Ok(Cli::new(&self.net, binary("farrier")?, self.dir.join(format!("{person}.toml"))))
    }

    /// Starts a rack with a join token.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_rack(&self, join_token: &str) -> Result<Rack> {
        Rack::start(&self.net, &self.dir.join("rack"), join_token)
    }

    /// Writes a file into the lab's folder, readable by its owner only.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let mut install = std::process::Command::new("install");
        install.args(["-m", "600", "/dev/null"]).arg(&path);
        process::succeed(install, std::time::Duration::from_secs(30))?;
        fs::write(&path, content).map_err(LabError::io(format!("cannot write {}", path.display())))?;
        Ok(path)
    }
}

/// A path as a command-line word.
#[must_use]
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        } else if env::var_os("LAB_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Lab {
    /// Shows where everything is, and the end of each log. For failures.
    #[expect(clippy::print_stderr, reason = "a failed test must tell what the daemons and machines said")]
    pub fn show_logs(&self) {
        eprintln!("the lab's files are kept in {}", self.dir.display());
        let mut logs = Vec::new();
        find_logs(&self.dir, 0, &mut logs);
        for log in logs {
            eprintln!("--- {}\n{}", log.display(), printable(&tail(&log, TAIL)));
        }
    }
}

fn find_logs(dir: &Path, depth: u32, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && depth < 2 {
            find_logs(&path, depth + 1, into);
        } else if path.extension().is_some_and(|e| e == "log") {
            into.push(path);
        }
    }
}

/// Without the control sequences of firmware consoles.
fn printable(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
}
