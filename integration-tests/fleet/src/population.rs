//! A whole fleet in one process: machines and their BMCs, made from one seed.

mod faces;

use std::{
    collections::HashMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
    str::FromStr,
    sync::Arc,
    thread,
};

use farrier_common::{clock::Clock, hardware::Architecture, net::MacAddr};
use thiserror::Error;
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    accounts::{Accounts, SharedAccounts},
    agent::{Patience, program::AgentKind},
    boot::{Firmware, Network, Pace, Source, segment::Segment},
    cave::Cave,
    chassis::{Cause, Chassis},
    dice::Dice,
    disk::{Content, Disks},
    fault_plan::{ApplyError, FaultPlan, Target, apply::Made},
    http::{Depth, Seen},
    ipmi::{Faults as BmcFaults, Identity, Server, SharedFaults, host::Host, host::HostError},
    machine::{
        Machine, Parts,
        brain::{BootOrder, Whereabouts},
        fault::Faults,
        hardware::{Hardware, Make, Order},
    },
    personality::{Personality, PersonalityError},
    redfish::server::{SharedRedfish, Tls},
    truth::Truth,
};

/// The port of BMCs.
pub(crate) const IPMI: u16 = 623;
/// The port of BMCs' Redfish, where nobody says otherwise.
pub const HTTPS: u16 = 443;
/// Sizes of a machine's disks where nobody says otherwise.
pub const DISKS: [u64; 2] = [4 << 30, 8 << 30];
const NICS: u8 = 2;

/// What a fleet is made of. Vendors and firmwares take turns.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many machines.
    pub machines: u32,
    /// The same seed gives the same fleet.
    pub seed: u64,
    /// Names of personalities; not empty.
    pub vendors: Vec<String>,
    /// How machines boot from the network; not empty.
    pub firmwares: Vec<FirmwareWord>,
    /// Sizes of each machine's disks in bytes.
    pub disks: Vec<u64>,
    /// What goes wrong, from the making of the machines on.
    pub faults: FaultPlan,
    /// How much faster than real machines they are.
    pub pace: Pace,
    /// How thoroughly they check what they load.
    pub depth: Depth,
    /// Whose clock the machines have.
    pub clock: Clock,
}

/// Where a fleet is plugged in.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The relay in front of the machines.
    pub relay: SocketAddrV4,
    /// Where the rack listens for DHCP.
    pub dhcp_server: SocketAddrV4,
    /// 69, but in tests.
    pub tftp_port: u16,
    /// Address of the first machine's BMC; the others' follow.
    pub first_bmc: Ipv4Addr,
    /// Which address machines speak from.
    pub source: Source,
    /// How their BMCs are reached.
    pub bmcs: Bmcs,
    /// The port at which each BMC serves Redfish too, by a socket of its own; `None`: they speak IPMI only.
    pub redfish: Option<u16>,
}

/// How BMCs are plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bmcs {
    /// Each by a socket at its address; of other addresses nothing is taken.
    Apart,
    /// All by one socket: for thousands, where the port is nobody else's, as in a cave.
    Together,
}

/// How a machine boots from the network, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareWord(pub Firmware);

/// One machine of a fleet, as who made it sees it. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Member {
    /// Counted from 1.
    pub number: u32,
    /// Name of its personality.
    pub vendor: Arc<Personality>,
    /// How it boots from the network.
    pub firmware: Firmware,
    /// Its boot interface.
    pub mac: MacAddr,
    /// Its BMC.
    pub bmc: Ipv4Addr,
    /// Its power.
    pub chassis: Chassis,
    /// Who may log in to its BMC.
    pub accounts: SharedAccounts,
    /// What goes wrong with its BMC.
    pub bmc_faults: SharedFaults,
    /// The same BMC's Redfish face, if it has one, with its faults.
    pub redfish: Option<SharedRedfish>,
    /// The certificate of that face.
    pub tls: Option<Arc<Tls>>,
    /// What goes wrong with the machine.
    pub faults: Faults,
    /// What it remembers.
    pub disks: Disks,
    /// What really happened to it.
    pub truth: Arc<Truth>,
    /// Where it is.
    pub whereabouts: watch::Receiver<Whereabouts>,
}

/// A fleet that cannot be made.
#[derive(Debug, Error)]
pub enum PopulationError {
    /// There is no such vendor.
    #[error(transparent)]
    Personality(#[from] PersonalityError),
    /// An address for a BMC cannot be had.
    #[error(transparent)]
    Bmc(#[from] HostError),
    /// What this process may not do.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Its fault plan does not fit it.
    #[error("its faults: {0}")]
    Faults(#[from] ApplyError),
    /// The address range is too small, or nothing was chosen where something must be.
    #[error("{0}")]
    Plan(String),
}

/// A fleet that lives, on threads of its own, until it is dropped.
#[derive(Debug)]
pub struct Population {
    members: Vec<Member>,
    seed: u64,
    runtime: Option<Runtime>,
    stop: CancellationToken,
}

impl Population {
    /// Makes machines, all switched off: in `cave`, or where this process is.
    ///
    /// # Errors
    /// See [`PopulationError`].
    pub fn raise(plan: &Plan, wiring: &Wiring, cave: Option<&Cave>) -> Result<Self, PopulationError> {
        Self::raise_with(plan, wiring, cave, &|_| AgentKind::Simulated)
    }

    /// The same, with these agents in them.
    ///
    /// # Errors
    /// See [`PopulationError`].
    pub fn raise_with(
        plan: &Plan,
        wiring: &Wiring,
        cave: Option<&Cave>,
        agents: &(dyn Fn(u32) -> AgentKind + Sync),
    ) -> Result<Self, PopulationError> {
        let stop = CancellationToken::new();
        let here = || -> Result<_, PopulationError> {
            let runtime = runtime()?;
            let members = runtime.block_on(make(plan, wiring, agents, &stop))?;
            Ok((runtime, members))
        };
        // Sockets belong to where the thread is that makes them, threads to where their maker is.
        let (runtime, members) = match cave {
            None => here()?,
            Some(cave) => thread::scope(|scope| {
                let inside = scope.spawn(|| cave.enter().map_err(no_threads).and_then(|()| here()));
                let died = || no_threads(io::Error::other("the thread that entered the namespace died"));
                inside.join().unwrap_or_else(|_| Err(died()))
            })?,
        };
        let population = Self { members, seed: plan.seed, runtime: Some(runtime), stop };
        plan.faults.apply(&population)?;
        Ok(population)
    }

    /// What it was made from.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// All of them, in order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The threads on which they live, for others who want to be where they are.
    ///
    /// # Panics
    /// Never: it is there until this is dropped.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken by drop alone")
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Member {
    /// Somebody presses its power button.
    pub fn switch_on(&self) {
        self.chassis.power_on(Cause::Button);
    }

    /// Does a disk of it hold an image?
    #[must_use]
    pub fn holds_image(&self) -> bool {
        self.disks.list().iter().any(|disk| matches!(disk.content, Content::Image(_)))
    }
}

impl FromStr for FirmwareWord {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let firmware = match word {
            "bios" => Firmware::BiosPxe,
            "bios-ipxe" => Firmware::BiosIpxe,
            "uefi" => Firmware::UefiPxe(Architecture::Amd64),
            "uefi-http" => Firmware::UefiHttp(Architecture::Amd64),
            other => return Err(format!("{other:?} must be bios, bios-ipxe, uefi or uefi-http")),
        };
        Ok(Self(firmware))
    }
}

impl FirmwareWord {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            Firmware::BiosPxe => "bios",
            Firmware::BiosIpxe => "bios-ipxe",
            Firmware::UefiPxe(_) => "uefi",
            Firmware::UefiHttp(_) => "uefi-http",
        }
    }
}

impl fmt::Display for FirmwareWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn runtime() -> Result<Runtime, PopulationError> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(no_threads)
}

const fn no_threads(source: io::Error) -> PopulationError {
    PopulationError::Io { what: "cannot start the machines' threads", source }
}

async fn make(
    plan: &Plan,
    wiring: &Wiring,
    agents: &(dyn Fn(u32) -> AgentKind + Sync),
    stop: &CancellationToken,
) -> Result<Vec<Member>, PopulationError> {
    if plan.vendors.is_empty() || plan.firmwares.is_empty() {
        return Err(PopulationError::Plan("a fleet needs at least one vendor and one firmware".to_owned()));
    }
    let segment = Segment::relay(wiring.relay, wiring.dhcp_server);
    let segment = segment.map_err(|source| PopulationError::Io { what: "cannot be a DHCP relay", source })?;
    let network = Network {
        segment,
        source: wiring.source,
        tftp_port: wiring.tftp_port,
        pace: plan.pace,
        seen: Seen::new(plan.depth, 0),
    };
    let personalities =
        plan.vendors.iter().map(|name| Personality::shipped(name)).collect::<Result<Vec<_>, PersonalityError>>()?;
    let mut host = Host::new(usize::try_from(plan.machines).unwrap_or(usize::MAX));
    let casts: Vec<Cast> = (1..=plan.machines).map(|number| Cast::of(number, plan, &personalities)).collect();
    let made = plan.faults.made(casts.iter().map(|cast| cast.target(plan.seed)))?;
    let mut chassis = HashMap::new();
    chassis.extend(casts.iter().map(|cast| (cast.number, Chassis::new(Arc::default()))));
    let (crowd, built) = (Vec::new(), HashMap::new());
    let mut maker = Maker { host: &mut host, plan, wiring, agents, network, made, chassis, built, crowd };
    let mut members = Vec::new();
    for cast in casts {
        members.push(maker.member(cast).await?);
    }
    if let Some(port) = wiring.redfish {
        maker.add_redfish(&mut members, port, stop).await?;
    }
    let crowd = maker.crowd;
    if !crowd.is_empty() {
        host.add_crowd(IPMI, crowd)?;
    }
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        drop(host);
    });
    Ok(members)
}

/// Which machine is to be made.
struct Cast {
    number: u32,
    vendor: Arc<Personality>,
    firmware: Firmware,
}

/// What all machines are made with.
struct Maker<'a> {
    host: &'a mut Host,
    plan: &'a Plan,
    wiring: &'a Wiring,
    agents: &'a (dyn Fn(u32) -> AgentKind + Sync),
    network: Network,
    made: Made,
    chassis: HashMap<u32, Chassis>,
    /// What machines are made of, for BMCs that tell it.
    built: HashMap<u32, Hardware>,
    crowd: Vec<(Ipv4Addr, Server)>,
}

impl Cast {
    /// Every vendor with every firmware.
    fn of(number: u32, plan: &Plan, vendors: &[Arc<Personality>]) -> Self {
        let turn = usize::try_from(number - 1).unwrap_or(0);
        let vendor = Arc::clone(&vendors[turn % vendors.len()]);
        let firmware = plan.firmwares[turn / vendors.len() % plan.firmwares.len()].0;
        Self { number, vendor, firmware }
    }

    fn target(&self, seed: u64) -> Target<'_> {
        let firmware = FirmwareWord(self.firmware).as_str();
        Target { number: self.number, vendor: &self.vendor.name, firmware, seed }
    }
}

impl Maker<'_> {
    async fn member(&mut self, cast: Cast) -> Result<Member, PopulationError> {
        let Cast { number, vendor, firmware } = cast;
        let address = |number| {
            u32::from(self.wiring.first_bmc).checked_add(number - 1).map(Ipv4Addr::from).ok_or_else(|| {
                PopulationError::Plan(format!("there are not that many addresses after {}", self.wiring.first_bmc))
            })
        };
        let bmc = address(number)?;
        // Whose BMC is in this chassis: the other one's, if they are swapped.
        let inside = self.made.chassis.iter().find(|(_, chassis)| **chassis == number).map_or(number, |(n, _)| *n);
        let mut dice = self.dice(number);
        let order = Order {
            make: Make::of(&vendor.name),
            index: number,
            firmware,
            nics: NICS,
            disks: self.plan.disks.clone(),
            bmc_address: address(inside)?.to_string(),
        };
        let (mut hardware, disks) = Hardware::build(&order, &mut dice);
        if let Some(other) = self.made.uuid.get(&number) {
            hardware.uuid = Hardware::build(&order, &mut self.dice(*other)).0.uuid;
        }
        if self.wiring.redfish.is_some() {
            self.built.insert(number, hardware.clone());
        }
        let chassis = self.chassis_of(number)?;
        let truth = Arc::clone(chassis.truth());
        let bmc_faults = BmcFaults::shared();
        let accounts = self.controller(number, &vendor, &hardware.serial, &bmc_faults, &mut dice).await?;
        let (disks, faults) = (Disks::new(disks, Arc::clone(&truth)), Faults::default());
        let mac = hardware.macs[0];
        let parts = Parts {
            chassis: chassis.clone(),
            hardware,
            bmc: Some(Arc::clone(&accounts)),
            disks: disks.clone(),
            network: self.network.clone(),
            order: BootOrder::NetworkFirst,
            faults: faults.clone(),
            clock: self.plan.clock.clone(),
            patience: Patience::default(),
        };
        let machine = Machine::new(parts, dice.fork("machine")).with_agent((self.agents)(number));
        let whereabouts = machine.whereabouts();
        tokio::spawn(machine.run());
        Ok(Member {
            number,
            vendor,
            firmware,
            mac,
            bmc,
            chassis,
            accounts,
            bmc_faults,
            redfish: None,
            tls: None,
            faults,
            disks,
            truth,
            whereabouts,
        })
    }

    /// The BMC at the address of machine `number`, wherever it is built in.
    async fn controller(
        &mut self,
        number: u32,
        vendor: &Arc<Personality>,
        serial: &str,
        faults: &SharedFaults,
        dice: &mut Dice,
    ) -> Result<SharedAccounts, PopulationError> {
        let chassis = self.chassis_of(self.chassis_around(number))?;
        let accounts = Accounts::shared(Arc::clone(vendor), Arc::clone(chassis.truth()));
        let address = Ipv4Addr::from(u32::from(self.wiring.first_bmc).saturating_add(number - 1));
        let identity = Identity { address, mac: bmc_mac(number), guid: dice.bytes(), serial: serial.to_owned() };
        let (shared, faults) = (Arc::clone(&accounts), Arc::clone(faults));
        let server = Server::new(identity, Arc::clone(vendor), chassis, shared, faults, dice.fork("bmc"));
        match self.wiring.bmcs {
            Bmcs::Apart => drop(self.host.add(SocketAddrV4::new(address, IPMI).into(), server).await?),
            Bmcs::Together => self.crowd.push((address, server)),
        }
        Ok(accounts)
    }

    /// In whose chassis the BMC at the address of machine `number` is built in.
    fn chassis_around(&self, number: u32) -> u32 {
        *self.made.chassis.get(&number).unwrap_or(&number)
    }

    fn chassis_of(&self, number: u32) -> Result<Chassis, PopulationError> {
        Ok(self.chassis.get(&number).cloned().ok_or(ApplyError::NoMachine(number))?)
    }

    fn dice(&self, number: u32) -> Dice {
        Dice::new(self.plan.seed).fork(&number.to_string())
    }
}

/// Of the BMC at the address of machine `number`.
const fn bmc_mac(number: u32) -> MacAddr {
    let [_, a, b, c] = number.to_be_bytes();
    MacAddr([2, 0, 1, a, b, c])
}
