//! Where a lab's simulated machines live: a network namespace of their own on the lab's bridge.
//!
//! Every address that a machine may lease or a BMC may have is local in there, so a whole fleet needs no set-up per machine.
//! To the lab they are all behind one neighbour, because the kernel keeps but a thousand neighbours.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
    time::Duration,
};

use farrier_integration_tests::{error::Result, lab::Lab, process};
use nix::sched::{CloneFlags, setns};

use crate::{
    boot::Source,
    population::{Bmcs, Wiring},
};

/// Where the relay in front of the machines is.
pub const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 255, 250), 67);
/// Where the lab's rack listens for DHCP.
pub const RACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67);
/// The first address for BMCs; the others follow.
pub const FIRST_BMC: Ipv4Addr = Ipv4Addr::new(10, 79, 1, 0);

const SOON: Duration = Duration::from_secs(60);
const FILES: &str = "/run/netns";

/// A machines' network namespace; gone when dropped.
#[derive(Debug)]
pub struct Cave {
    name: String,
}

impl Cave {
    /// On the bridge of `lab`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn beside(lab: &Lab) -> Result<Self> {
        let cave = Self { name: format!("{}-fleet", lab.net().name()) };
        let (name, lab, relay) = (&cave.name, lab.net().name(), RELAY.ip());
        ip(&format!("netns add {name}"))?;
        for line in [
            format!("link add fleet0 type veth peer name eth0 netns {name}"),
            "link set fleet0 master br0".to_owned(),
            "link set fleet0 up".to_owned(),
            format!("route add {relay}/32 dev br0"),
            // More specific than the bridge's own subnet.
            format!("route add 10.77.0.0/17 via {relay} dev br0"),
            format!("route add 10.77.128.0/17 via {relay} dev br0"),
            format!("route add 10.79.0.0/16 via {relay} dev br0"),
        ] {
            ip(&format!("-n {lab} {line}"))?;
        }
        for line in [
            "link set lo up".to_owned(),
            "link set eth0 up".to_owned(),
            format!("addr add {relay}/16 dev eth0"),
            "route add local 10.77.0.0/16 dev lo".to_owned(),
            format!("route add table local {}/32 dev eth0 scope link src {relay}", RACK.ip()),
            "route add local 10.79.0.0/16 dev lo".to_owned(),
        ] {
            ip(&format!("-n {name} {line}"))?;
        }
        Ok(cave)
    }

    /// How a fleet is plugged in here.
    #[must_use]
    pub const fn wiring() -> Wiring {
        Wiring {
            relay: RELAY,
            dhcp_server: RACK,
            tftp_port: 69,
            first_bmc: FIRST_BMC,
            source: Source::Leased,
            bmcs: Bmcs::Together,
            redfish: None,
        }
    }

    /// Lets the calling thread live in here from now on, and the threads that it starts.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(&self) -> io::Result<()> {
        let namespace = File::open(format!("{FILES}/{}", self.name))?;
        Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
    }
}

impl Drop for Cave {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            tracing::warn!(namespace = self.name, %error, "a network namespace is left");
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments.split_whitespace());
    process::succeed(command, SOON).map(drop)
}
