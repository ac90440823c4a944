//! BMCs on sockets, and consoles as processes.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Output},
    sync::Arc,
};

use farrier_common::net::MacAddr;
use farrier_fleet::{
    accounts::{Accounts, SharedAccounts},
    chassis::Chassis,
    dice::Dice,
    ipmi::{
        Faults, Identity, Server, SharedFaults,
        host::{Host, HostError},
    },
    personality::Personality,
};
use tokio::runtime::Runtime;

/// No console takes longer.
const LIMIT_SECS: &str = "60";

/// One simulated BMC and what it shares with the world.
pub(crate) struct Bmc {
    pub(crate) address: SocketAddr,
    pub(crate) chassis: Chassis,
    pub(crate) accounts: SharedAccounts,
    pub(crate) faults: SharedFaults,
    pub(crate) personality: Arc<Personality>,
}

/// BMCs that answer as long as this lives.
pub(crate) struct Rig {
    runtime: Runtime,
    host: Host,
}

/// What a console said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) text: String,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, host: Host::new(300) }
    }

    /// A BMC as its vendor delivers it, at a port of its own.
    pub(crate) fn one(vendor: &str) -> (Self, Bmc) {
        let mut rig = Self::new();
        let bmc = rig.add(vendor, ([127, 0, 0, 1], 0).into()).unwrap();
        (rig, bmc)
    }

    pub(crate) fn add(&mut self, vendor: &str, address: SocketAddr) -> Result<Bmc, HostError> {
        self.add_of(Personality::shipped(vendor).unwrap(), address)
    }

    /// A BMC that is as the personality says.
    pub(crate) fn add_of(&mut self, personality: Arc<Personality>, address: SocketAddr) -> Result<Bmc, HostError> {
        let chassis = Chassis::new(Arc::default());
        let accounts = Accounts::shared(Arc::clone(&personality), Arc::clone(chassis.truth()));
        let faults = Faults::shared();
        let number = u8::try_from(self.host.len() % 250).unwrap();
        let identity = Identity {
            address: Ipv4Addr::new(10, 0, 0, number),
            mac: MacAddr([2, 0, 0, 0, 0, number]),
            guid: [number; 16],
            serial: format!("SN{number:04}"),
        };
        let server = Server::new(
            identity,
            Arc::clone(&personality),
            chassis.clone(),
            Arc::clone(&accounts),
            Arc::clone(&faults),
            Dice::new(u64::from(number)),
        );
        let address = self.runtime.block_on(self.host.add(address, server))?;
        Ok(Bmc { address, chassis, accounts, faults, personality })
    }
}

impl Bmc {
    /// ipmitool as the administrator that the BMC is delivered with.
    pub(crate) fn ipmitool(&self, suite: u8, arguments: &str) -> Said {
        let factory = &self.personality.accounts.factory;
        ipmitool(self.address, &factory.name, &factory.password, suite, arguments)
    }

    /// The same; it must succeed.
    pub(crate) fn does(&self, suite: u8, arguments: &str) -> String {
        let said = self.ipmitool(suite, arguments);
        assert!(said.success, "{} -C {suite} {arguments}: {}", self.personality.name, said.text);
        said.text
    }

    /// A tool of freeipmi as the administrator.
    pub(crate) fn freeipmi(&self, tool: &str, suite: u8, arguments: &[&str]) -> Said {
        let factory = &self.personality.accounts.factory;
        freeipmi(self.address, &factory.name, &factory.password, tool, suite, arguments)
    }
}

pub(crate) fn ipmitool(to: SocketAddr, user: &str, password: &str, suite: u8, arguments: &str) -> Said {
    let (host, port, suite) = (to.ip().to_string(), to.port().to_string(), suite.to_string());
    let login = ["-I", "lanplus", "-H", &host, "-p", &port, "-U", user, "-P", password, "-C", &suite, "-N", "2"];
    run("ipmitool", &[&login[..], &arguments.split_whitespace().collect::<Vec<_>>()].concat())
}

pub(crate) fn freeipmi(to: SocketAddr, user: &str, password: &str, tool: &str, suite: u8, arguments: &[&str]) -> Said {
    let (host, suite) = (to.to_string(), suite.to_string());
    let login = ["-h", &host, "-u", user, "-p", password, "-D", "LAN_2_0", "-I", &suite];
    run(tool, &[&login[..], arguments].concat())
}

pub(crate) fn run(tool: &str, arguments: &[&str]) -> Said {
    let output: io::Result<Output> = Command::new("timeout").arg(LIMIT_SECS).arg(tool).args(arguments).output();
    let output = output.expect("coreutils are everywhere");
    let text = [output.stdout, output.stderr].concat();
    Said { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}
