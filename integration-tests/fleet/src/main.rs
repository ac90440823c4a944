//! `farrier-fleet`: a fleet of simulated machines beside a region and a rack, and what it costs them.

#![expect(clippy::print_stdout, reason = "what this program is for")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use farrier_common::{clock::Clock, net::MacAddr, secret::Secret, tls};
use farrier_fleet::{
    boot::{Pace, Source},
    cave::Cave,
    drive::Access,
    emulated::Emulated,
    fault_plan::FaultPlan,
    http::Depth,
    meter::Process,
    population::{self, Bmcs, FirmwareWord, Plan, Wiring},
    scenario::{self, Script, play::Mode},
    sizing::{self, Order, Report},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use uuid::Uuid;

/// Brings up a fleet of simulated machines and takes all of them through their whole life: met, commissioned, deployed,
/// released. Then it tells what that took.
///
/// Without --region it starts a region and a rack of its own in network namespaces, for which it must be root.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// How many machines.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    machines: u32,
    /// The same seed gives the same fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Personalities of the machines, which take turns.
    #[arg(long, value_delimiter = ',', default_value = "dell,hpe,supermicro,lenovo,openbmc")]
    vendors: Vec<String>,
    /// How the machines boot, in turns: bios, bios-ipxe, uefi, uefi-http.
    #[arg(long, value_delimiter = ',', default_value = "bios-ipxe,uefi")]
    firmware: Vec<FirmwareWord>,
    /// What goes wrong: a file with a fault on each line, such as "m3 black-hole".
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Every BMC speaks Redfish too, over HTTPS at port 443 of its address, by a socket of its own.
    #[arg(long)]
    redfish: bool,
    /// How long machines take for what is not work, as a share of what real ones take.
    #[arg(long, default_value_t = 0.01)]
    pace: f64,
    /// Every machine loads and checks everything, instead of only the first one of many.
    #[arg(long)]
    thorough: bool,
    /// So many further machines have BMCs that never answer. They are commissioned too, and nobody waits for them.
    #[arg(long, default_value_t = 0)]
    dead_bmcs: u32,
    /// So many machines are worked on at a time; all by default.
    #[arg(long)]
    at_once: Option<u32>,
    /// A stage that takes longer has failed.
    #[arg(long, default_value_t = 120)]
    limit_minutes: u64,
    /// PostgreSQL instead of SQLite for the region that this program starts.
    #[arg(long, conflicts_with = "region")]
    postgres: bool,

    /// Use the region at this host:port, which has a rack, a subnet and images already.
    #[arg(long, requires_all = ["ca_file", "token_file", "image", "dhcp_server", "relay", "first_bmc"])]
    region: Option<String>,
    /// Its CA certificate.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// An administrator's token.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// What is deployed.
    #[arg(long)]
    image: Option<String>,
    /// Where the rack listens for DHCP.
    #[arg(long)]
    dhcp_server: Option<SocketAddrV4>,
    /// An address of this host on the subnet, at which this program is a DHCP relay.
    #[arg(long)]
    relay: Option<SocketAddrV4>,
    /// The first BMC's address; it and those that follow must be local here and reachable for the rack.
    #[arg(long)]
    first_bmc: Option<Ipv4Addr>,
    /// Meter this process of this host too: NAME=PID.
    #[arg(long, value_parser = process, requires = "region")]
    meter: Vec<Process>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays scenarios and shows each line as it happens. Needs root, like everything without --region.
    ///
    /// A scenario has one command a line and its outcome after an arrow. With UPDATE_EXPECT=1 in the environment what came
    /// is written into the file; otherwise it must be what is recorded.
    Play {
        /// Files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Is the BMC of one emulated machine, which farrier-labctl serves: IPMI at port 623 and Redfish at 443 of its address,
    /// and the system interface for QEMU's ipmi-bmc-extern. Accounts are as the vendor delivers them at every start.
    Bmc(BmcArguments),
}

#[derive(Debug, Args)]
struct BmcArguments {
    /// Whose: a personality.
    #[arg(long)]
    vendor: String,
    /// Its address.
    #[arg(long)]
    address: Ipv4Addr,
    /// TCP port of the system interface.
    #[arg(long)]
    system_port: u16,
    /// Control socket of the machine's owner.
    #[arg(long)]
    owner: PathBuf,
    /// The machine's SMBIOS UUID.
    #[arg(long)]
    uuid: Uuid,
    /// Its serial number.
    #[arg(long)]
    serial: String,
    /// MAC of its network card.
    #[arg(long)]
    mac: MacAddr,
    /// Its memory.
    #[arg(long)]
    memory_mib: u32,
    /// The same seed gives the same sessions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl BmcArguments {
    fn into_bmc(self) -> Emulated {
        let Self { vendor, address, system_port, owner, uuid, serial, mac, memory_mib, seed } = self;
        Emulated { vendor, address, system_port, owner, uuid, serial, mac, memory_mib, seed }
    }
}

fn process(text: &str) -> Result<Process, String> {
    let parsed = text.split_once('=').and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
    let (name, pid) = parsed.ok_or_else(|| format!("{text:?} must be NAME=PID"))?;
    Ok(Process { name, pid })
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tls::install_provider();
    farrier_common::telemetry::init();
    match arguments.command {
        Some(Command::Play { files }) => {
            let bless = std::env::var_os("UPDATE_EXPECT").is_some();
            return files.iter().try_for_each(|file| play(file, bless).with_context(|| file.display().to_string()));
        }
        Some(Command::Bmc(bmc)) => {
            return tokio::runtime::Runtime::new()?.block_on(bmc.into_bmc().serve()).map_err(Into::into);
        }
        None => {}
    }
    let files = raise_open_files().context("cannot raise the limit of open files")?;
    let machines = u64::from(arguments.machines) + u64::from(arguments.dead_bmcs);
    let needed = machines * if arguments.redfish { 2 } else { 1 } + 1000;
    let twice = if arguments.redfish { ", with --redfish twice" } else { "" };
    ensure!(
        files >= needed,
        "{machines} machines need as many open files{twice}, and some: {needed}; the limit here is {files} (ulimit -Hn)"
    );
    let redfish = arguments.redfish.then_some(population::HTTPS);
    let report = match &arguments.region {
        Some(address) => beside(&arguments, address, redfish)?,
        None => sizing::in_a_lab(&order(&arguments)?, &Wiring { redfish, ..Cave::wiring() }, arguments.postgres)?,
    };
    println!("{report}");
    Ok(())
}

/// Plays one scenario.
fn play(file: &Path, bless: bool) -> anyhow::Result<()> {
    let script = Script::parse(&fs::read_to_string(file).context("cannot read it")?)?;
    println!("# {}", script.header().lines().next().unwrap_or_default());
    let mode = if bless { Mode::Record } else { Mode::Judge };
    let outcomes = scenario::play::play(&script, mode, &mut |line| println!("{line}"))?;
    if bless {
        fs::write(file, script.with(&outcomes)).context("cannot write it")?;
    }
    Ok(())
}

/// As many files as this process may have at all: every BMC and every connection is one. Children inherit it.
fn raise_open_files() -> nix::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// Beside daemons that are there.
fn beside(arguments: &Arguments, address: &str, redfish: Option<u16>) -> anyhow::Result<Report> {
    let read = |path: &Option<PathBuf>| {
        let path = path.as_ref().context("clap requires it")?;
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let access = Access {
        address: address.to_owned(),
        ca_pem: read(&arguments.ca_file)?,
        token: Secret::new(read(&arguments.token_file)?.trim().to_owned()),
    };
    let (Some(relay), Some(dhcp_server), Some(first_bmc)) =
        (arguments.relay, arguments.dhcp_server, arguments.first_bmc)
    else {
        unreachable!("clap requires them with --region")
    };
    let (source, bmcs) = (Source::Any, Bmcs::Apart);
    let wiring = Wiring { relay, dhcp_server, tftp_port: 69, first_bmc, source, bmcs, redfish };
    let image = arguments.image.clone().context("clap requires it")?;
    sizing::beside(&order(arguments)?, &access, &wiring, None, image, arguments.meter.clone())
}

fn faults(arguments: &Arguments) -> anyhow::Result<FaultPlan> {
    let Some(path) = &arguments.faults else { return Ok(FaultPlan::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    FaultPlan::parse(&text).with_context(|| path.display().to_string())
}

fn order(arguments: &Arguments) -> anyhow::Result<Order> {
    let plan = Plan {
        machines: arguments.machines,
        seed: arguments.seed,
        vendors: arguments.vendors.clone(),
        firmwares: arguments.firmware.clone(),
        disks: population::DISKS.to_vec(),
        faults: faults(arguments)?,
        pace: Pace::new(arguments.pace),
        depth: if arguments.thorough { Depth::Full } else { Depth::Shared },
        clock: Clock::System,
    };
    let at_once = usize::try_from(arguments.at_once.unwrap_or(arguments.machines))?;
    let limit = Duration::from_mins(arguments.limit_minutes);
    Ok(Order { plan, dead: arguments.dead_bmcs, at_once, limit })
}
