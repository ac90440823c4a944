//! Declared interfaces, bonds, bridges, VLANs, addresses, routes and resolvers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use farrier_common::words;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Facts, Fault, Faults, optional_word, word};

mod addresses;
mod links;
mod routes;
#[cfg(test)]
pub(crate) mod tests;

words! {
    /// How a bond uses its members: the seven modes of Linux.
    BondMode {
        /// Each in turn.
        BalanceRr = "balance-rr",
        /// One, the others stand by.
        ActiveBackup = "active-backup",
        /// By a hash of the addresses.
        BalanceXor = "balance-xor",
        /// All at once.
        Broadcast = "broadcast",
        /// LACP, which the switch must speak too.
        Lacp = "802.3ad",
        /// By load, outgoing.
        BalanceTlb = "balance-tlb",
        /// By load, both ways.
        BalanceAlb = "balance-alb",
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLayout {
    /// Every physical interface that is used.
    pub interfaces: Vec<PhysicalInterface>,
    /// Bonds.
    pub bonds: Vec<Bond>,
    /// Bridges.
    pub bridges: Vec<Bridge>,
    /// VLANs.
    pub vlans: Vec<Vlan>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Resolvers.
    pub dns_servers: Vec<IpAddr>,
    /// Domains that are tried for short names.
    pub search_domains: Vec<String>,
}

/// A physical interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhysicalInterface {
    /// Kernel name.
    pub name: String,
    /// Its own.
    pub addresses: Addresses,
    /// 0: the kernel's own.
    pub mtu: u32,
}

/// The addresses of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// Ask for one.
    pub dhcp4: bool,
    /// With prefix length.
    #[serde(rename = "static")]
    pub fixed: Vec<IpNet>,
    /// Default router.
    #[serde(with = "optional_word")]
    pub gateway4: Option<Ipv4Addr>,
    /// Default router.
    #[serde(with = "optional_word")]
    pub gateway6: Option<Ipv6Addr>,
}

/// A bond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// Unique in the layout, as all names of links.
    pub name: String,
    /// How.
    #[serde(with = "word")]
    pub mode: BondMode,
    /// Physical interfaces.
    pub members: Vec<String>,
    /// Its own.
    #[serde(default)]
    pub addresses: Addresses,
    /// 0: the kernel's own.
    #[serde(default)]
    pub mtu: u32,
    /// How often the members' links are looked at; 0: every 100 ms.
    #[serde(default)]
    pub mii_monitor_ms: u32,
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bridge {
    /// Unique.
    pub name: String,
    /// Interfaces, bonds and VLANs.
    pub members: Vec<String>,
    /// Its own.
    pub addresses: Addresses,
    /// 0: the kernel's own.
    pub mtu: u32,
    /// Spanning tree.
    pub stp: bool,
}

/// A VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vlan {
    /// Unique.
    pub name: String,
    /// Interface, bond or bridge that carries it.
    pub link: String,
    /// 1 to 4094.
    pub id: u32,
    /// Its own.
    pub addresses: Addresses,
    /// 0: the kernel's own.
    pub mtu: u32,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    #[serde(with = "word")]
    pub to: Destination,
    /// Router.
    pub via: IpAddr,
    /// The lowest wins.
    #[serde(default)]
    pub metric: u32,
    /// Through which link; empty: the one whose network has the router.
    #[serde(default)]
    pub interface: String,
}

/// Where a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Everything.
    Default,
    /// A network.
    Net(IpNet),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Net(net) => net.fmt(f),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let bad = |_| "must be \"default\" or a network with prefix length, such as 10.2.0.0/16".to_owned();
        text.parse().map(Self::Net).map_err(bad)
    }
}

impl NetworkLayout {
    /// Every fault that can be found.
    #[must_use]
    pub fn check(&self, facts: &Facts<'_>) -> Vec<Fault> {
        let mut faults = Faults::default();
        let links = links::check(self, facts, &mut faults);
        addresses::check(&links, &mut faults);
        routes::check(self, &links, &mut faults);
        routes::resolvers(self, &mut faults);
        faults.into_vec()
    }

    /// The addresses of every link, with its name.
    pub(super) fn addresses_mut(&mut self) -> impl Iterator<Item = (&str, &mut Addresses)> {
        let of_interfaces = self.interfaces.iter_mut().map(|i| (i.name.as_str(), &mut i.addresses));
        let of_bonds = self.bonds.iter_mut().map(|b| (b.name.as_str(), &mut b.addresses));
        let of_bridges = self.bridges.iter_mut().map(|b| (b.name.as_str(), &mut b.addresses));
        let of_vlans = self.vlans.iter_mut().map(|v| (v.name.as_str(), &mut v.addresses));
        of_interfaces.chain(of_bonds).chain(of_bridges).chain(of_vlans)
    }
}
