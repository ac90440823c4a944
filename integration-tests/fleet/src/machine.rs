//! A whole machine: its chassis gives power, its brain decides, and firmware, agent and system do what takes time.
//!
//! All of it is one task. What goes on when the power is cut is dropped at once, wherever it is.

pub mod brain;
pub mod fault;
pub mod hardware;

use std::{collections::HashMap, pin::Pin, time::Duration};

use farrier_common::{clock::Clock, telemetry::Chain};
use tokio::sync::watch;

use self::{
    brain::{Action, BootOrder, Brain, Ended, Event, Whereabouts, Work},
    fault::{Fault, Faults, Stage},
    hardware::Hardware,
};
use crate::{
    accounts::SharedAccounts,
    agent::{
        Agent, Patience, START,
        program::{AgentKind, Program, Seat},
    },
    boot::{Boot, Booter, Firmware, Network, client::Station},
    chassis::{Cause, Chassis, Power},
    dice::Dice,
    disk::Disks,
    os::System,
};

/// What a machine is put together from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its power.
    pub chassis: Chassis,
    /// What it is made of.
    pub hardware: Hardware,
    /// The users of its BMC, as the system on the machine may change them; `None`: it offers no such way.
    pub bmc: Option<SharedAccounts>,
    /// What it remembers.
    pub disks: Disks,
    /// Where it boots from.
    pub network: Network,
    /// What it boots first.
    pub order: BootOrder,
    /// What goes wrong.
    pub faults: Faults,
    /// The time; what its own clock makes of it is a fault.
    pub clock: Clock,
    /// How long its agent bears trouble.
    pub patience: Patience,
}

/// A machine; it lives as long as [`Machine::run`] does.
#[derive(Debug)]
pub struct Machine {
    parts: Parts,
    agent: AgentKind,
    dice: Dice,
    brain: Brain,
    whereabouts: watch::Sender<Whereabouts>,
}

type Doing<'a> = Pin<Box<dyn Future<Output = Ended> + Send + 'a>>;

/// Memory training and option ROMs.
const SELF_TEST: Duration = Duration::from_secs(60);
/// Until the boot order is tried anew.
const WAIT: Duration = Duration::from_secs(30);
/// Before `/init` starts a machine anew whose agent failed.
const BEFORE_RESTART: Duration = Duration::from_secs(10);

impl Machine {
    /// A machine without power, whose randomness comes from `dice`.
    #[must_use]
    pub fn new(parts: Parts, dice: Dice) -> Self {
        let brain = Brain::new(parts.order);
        Self { parts, agent: AgentKind::Simulated, dice, brain, whereabouts: watch::Sender::new(Whereabouts::Off) }
    }

    /// With another agent than the simulated one.
    #[must_use]
    pub fn with_agent(self, agent: AgentKind) -> Self {
        Self { agent, ..self }
    }

    /// Tells where it is.
    #[must_use]
    pub fn whereabouts(&self) -> watch::Receiver<Whereabouts> {
        self.whereabouts.subscribe()
    }

    /// Lives until it is dropped, or until nobody can switch it any more.
    pub async fn run(self) {
        let Self { parts, agent, mut dice, mut brain, whereabouts } = self;
        let mut power = parts.chassis.watch();
        let (mut doing, mut edges): (Option<Doing<'_>>, u64) = (None, 0);
        loop {
            let event = {
                let now = power.borrow_and_update().clone();
                if now.edges == edges {
                    tokio::select! {
                        // The power first: nothing ends in a machine that has none.
                        biased;
                        changed = power.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            continue;
                        }
                        ended = proceed(doing.as_mut()) => Event::Ended(ended),
                    }
                } else {
                    edges = now.edges;
                    if now.on { Event::PowerOn { boot: now.boot } } else { Event::PowerOff }
                }
            };
            if matches!(event, Event::Ended(_)) {
                doing = None;
            }
            for action in brain.on(event, parts.disks.bootable().is_some()) {
                match action {
                    Action::Stop => doing = None,
                    Action::Start(work) => {
                        doing = Some(parts.start(work, &agent, Dice::new(dice.roll()), power.clone()))
                    }
                    Action::PowerOff => drop(parts.chassis.power_off(Cause::Os)),
                    Action::Reset => drop(parts.chassis.reset(Cause::Os)),
                    Action::Note(text) => tracing::debug!(serial = parts.hardware.serial, "{text}"),
                }
            }
            whereabouts.send_if_modified(|at| std::mem::replace(at, brain.whereabouts()) != brain.whereabouts());
        }
    }
}

async fn proceed(doing: Option<&mut Doing<'_>>) -> Ended {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}

impl Parts {
    fn start<'a>(&'a self, work: Work, agent: &'a AgentKind, dice: Dice, power: watch::Receiver<Power>) -> Doing<'a> {
        match work {
            Work::SelfTest => Box::pin(self.self_test(agent, dice)),
            Work::NetBoot { uri, http } => Box::pin(self.net_boot(uri, http, dice)),
            Work::Agent { cmdline } => match agent {
                AgentKind::Simulated => Box::pin(self.agent(cmdline, dice)),
                AgentKind::Program(program) => Box::pin(self.program(program, cmdline, dice)),
            },
            Work::System => Box::pin(self.system(dice, power)),
            Work::Wait => Box::pin(async move {
                let mut dice = dice;
                tokio::time::sleep(dice.jitter(self.network.pace.retry(WAIT))).await;
                Ended::Waited
            }),
        }
    }

    async fn self_test(&self, agent: &AgentKind, mut dice: Dice) -> Ended {
        let hangs = self.faults.take(|fault| matches!(fault, Fault::NeverBoot).then_some(()));
        if hangs.is_some() {
            return Ended::Hung("the self-test does not come to an end".to_owned());
        }
        tokio::time::sleep(dice.jitter(self.network.pace.of(SELF_TEST)) + self.faults.delay(Stage::SelfTest)).await;
        if let AgentKind::Program(program) = agent
            && let Err(error) = Box::pin(program.look_again(&self.disks)).await
        {
            return Ended::Hung(format!("the disks cannot be looked at: {}", Chain(&error)));
        }
        Ended::Tested
    }

    async fn net_boot(&self, uri: Option<String>, http: bool, dice: Dice) -> Ended {
        tokio::time::sleep(self.faults.delay(Stage::NetBoot)).await;
        let nic = self.faults.take(|fault| if let Fault::BootNic { nic } = fault { Some(*nic) } else { None });
        let Some(mac) = self.hardware.macs.get(nic.unwrap_or(0)).copied() else {
            return Ended::Booted(Boot::Failed("the machine has no interface".to_owned()));
        };
        let station = Station { mac, uuid: self.hardware.uuid, host_name: None };
        let make = &self.hardware.make;
        let settings = [
            ("manufacturer", make.vendor.to_string()),
            ("product", make.product.to_string()),
            ("serial", self.hardware.serial.clone()),
        ];
        let settings: HashMap<_, _> = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let mut booter = Booter { network: &self.network, station, settings, dice, faults: &self.faults };
        let firmware = match self.hardware.firmware {
            Firmware::UefiPxe(architecture) if http => Firmware::UefiHttp(architecture),
            firmware @ (Firmware::BiosIpxe | Firmware::BiosPxe | Firmware::UefiPxe(_) | Firmware::UefiHttp(_)) => {
                firmware
            }
        };
        let disk = self.disks.bootable().is_some();
        Ended::Booted(booter.boot(firmware, uri.as_deref(), disk).await)
    }

    async fn agent(&self, cmdline: String, mut dice: Dice) -> Ended {
        let restart = dice.jitter(self.network.pace.of(BEFORE_RESTART));
        let mut agent = Agent {
            hardware: &self.hardware,
            bmc: self.bmc.as_ref(),
            disks: &self.disks,
            network: &self.network,
            clock: &self.clock,
            faults: &self.faults,
            dice,
            patience: self.patience,
        };
        match agent.run(&cmdline).await {
            Ok(()) => Ended::PowerOff,
            Err(error) => {
                tokio::time::sleep(restart).await;
                Ended::Restart(format!("agent: {error}"))
            }
        }
    }

    async fn program(&self, program: &Program, cmdline: String, mut dice: Dice) -> Ended {
        let restart = dice.jitter(self.network.pace.of(BEFORE_RESTART));
        tokio::time::sleep(dice.jitter(self.network.pace.of(START)) + self.faults.delay(Stage::Kernel)).await;
        let (hardware, disks, network, faults) = (&self.hardware, &self.disks, &self.network, &self.faults);
        let seat = Seat { hardware, disks, network, faults };
        match program.run(&cmdline, &seat, dice).await {
            Ok(()) => Ended::PowerOff,
            Err(why) => {
                tokio::time::sleep(restart).await;
                Ended::Restart(why)
            }
        }
    }

    async fn system(&self, dice: Dice, power: watch::Receiver<Power>) -> Ended {
        let Some((n, installed)) = self.disks.bootable() else {
            return Ended::Restart("the system is gone".to_owned());
        };
        let (hardware, disks, network, faults) = (&self.hardware, &self.disks, &self.network, &self.faults);
        System { hardware, disks, network, faults, dice, power }.run(n, &installed).await;
        Ended::PowerOff
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use farrier_proto::agent::NoCloudSeed;

    use super::*;
    use crate::{
        boot::{Pace, Source, segment::Segment},
        disk::Installed,
        http::{Depth, Seen},
        machine::hardware::{Make, Order},
        truth::Truth,
    };

    fn parts() -> Parts {
        let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
        let firmware = Firmware::BiosPxe;
        let (make, disks) = (Make::of("hpe"), vec![1 << 40]);
        let order = Order { make, index: 1, firmware, nics: 1, disks, bmc_address: String::new() };
        let (hardware, disks) = Hardware::build(&order, &mut Dice::new(1));
        let truth = Arc::new(Truth::default());
        Parts {
            chassis: Chassis::new(Arc::clone(&truth)),
            hardware,
            bmc: None,
            disks: Disks::new(disks, truth),
            network: Network {
                segment: Segment::relay(any, any).unwrap(),
                source: Source::Any,
                tftp_port: 69,
                pace: Pace::REAL,
                seen: Seen::new(Depth::Shared, 0),
            },
            order: BootOrder::NetworkFirst,
            faults: Faults::default(),
            clock: Clock::System,
            patience: Patience::default(),
        }
    }

    #[tokio::test]
    async fn a_machine_costs_little_memory_whatever_it_does() {
        let parts = parts();
        parts.disks.install(
            0,
            Installed {
                content_sha256: String::new(),
                seed: NoCloudSeed::default(),
                boot_id: farrier_common::id::BootId::generate(),
            },
        );
        let all = [
            (Work::SelfTest, 1 << 10),
            (Work::NetBoot { uri: None, http: false }, 24 << 10),
            (Work::Agent { cmdline: String::new() }, 24 << 10),
            (Work::System, 16 << 10),
            (Work::Wait, 1 << 10),
        ];
        for (work, most) in all {
            let text = format!("{work:?}");
            let size = size_of_val(&*parts.start(work, &AgentKind::Simulated, Dice::new(1), parts.chassis.watch()));
            assert!(size <= most, "{text} takes {size} bytes, at most {most} are meant to be");
        }
        let machine = Machine::new(parts.clone(), Dice::new(1));
        assert!(size_of_val(&machine.run()) <= 4 << 10);
    }

    #[test]
    fn one_seed_builds_one_machine() {
        let (make, disks) = (Make::of("dell"), vec![1 << 40, 2 << 40]);
        let firmware = Firmware::BiosPxe;
        let order = Order { make, index: 9, firmware, nics: 2, disks, bmc_address: String::new() };
        let build = |seed, index| Hardware::build(&Order { index, ..order.clone() }, &mut Dice::new(seed));
        assert_eq!(build(1, 9), build(1, 9));
        let ((one, its), (other, others)) = (build(1, 9), build(2, 10));
        assert!(one.uuid != other.uuid && one.serial != other.serial && its[0].serial != others[0].serial);
        assert!(one.macs.iter().all(|mac| !other.macs.contains(mac)));
        assert_eq!((one.uuid[6] >> 4, one.macs[0].0[0] & 1), (4, 0));
    }
}
