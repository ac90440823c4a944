//! Subnets and the addresses in them.

use std::net::Ipv4Addr;

use farrier_common::{
    id::{RackId, SubnetId},
    name::Name,
    net::Ipv4Range,
};
use ipnet::Ipv4Net;

use super::{Error, Result};

/// A subnet on which a rack answers DHCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Never changes.
    pub id: SubnetId,
    /// Unique.
    pub name: Name,
    /// The network.
    pub cidr: Ipv4Net,
    /// Who serves it.
    pub rack: RackId,
    /// Default router for the machines.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers for the machines.
    pub dns: Vec<Ipv4Addr>,
    /// For machines without a reservation.
    pub dynamic: Ipv4Range,
    /// How long a lease lasts.
    pub lease_seconds: u32,
}

impl Subnet {
    /// Are the parts consistent with each other and with the subnets that exist?
    ///
    /// # Errors
    /// Names the first field that is not, and what is allowed.
    pub fn check(&self, others: &[Self]) -> Result<()> {
        let host = |a: Ipv4Addr| self.cidr.contains(&a) && a != self.cidr.network() && a != self.cidr.broadcast();
        if self.cidr.addr() != self.cidr.network() {
            return Err(Error::invalid("spec.cidr", format!("has host bits; the network is {}", self.cidr.trunc())));
        }
        if !(8..=30).contains(&self.cidr.prefix_len()) {
            return Err(Error::invalid("spec.cidr", "the prefix length must be 8 to 30"));
        }
        if let Some(other) = others.iter().find(|o| o.cidr.contains(&self.cidr) || self.cidr.contains(&o.cidr)) {
            return Err(Error::invalid("spec.cidr", format!("overlaps subnet {} ({})", other.name, other.cidr)));
        }
        for (field, address) in [("spec.dynamic_start", self.dynamic.start()), ("spec.dynamic_end", self.dynamic.end())]
        {
            if !host(address) {
                return Err(Error::invalid(field, format!("{address} is not a host address of {}", self.cidr)));
            }
        }
        if let Some(gateway) = self.gateway {
            if !host(gateway) {
                return Err(Error::invalid(
                    "spec.gateway",
                    format!("{gateway} is not a host address of {}", self.cidr),
                ));
            }
            if self.dynamic.contains(gateway) {
                return Err(Error::invalid("spec.gateway", "lies in the dynamic range"));
            }
        }
        if !(60..=604_800).contains(&self.lease_seconds) {
            return Err(Error::invalid("spec.lease_seconds", "must be 60 to 604800"));
        }
        Ok(())
    }

    /// The host addresses that machines may reserve: neither dynamic nor the gateway or a resolver. Those above `last` come
    /// first, then the others.
    pub fn reservable(&self, last: Option<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> {
        let (first, end) = (self.cidr.network().to_bits() + 1, self.cidr.broadcast().to_bits());
        let begin = last.map_or(first, |a| a.to_bits() + 1).clamp(first, end);
        let special = |a: &Ipv4Addr| self.gateway == Some(*a) || self.dns.contains(a) || self.dynamic.contains(*a);
        (begin..end).chain(first..begin).map(Ipv4Addr::from_bits).filter(move |a| !special(a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(cidr: &str, from: &str, to: &str) -> Subnet {
        Subnet {
            id: SubnetId::generate(),
            name: "a".parse().unwrap(),
            cidr: cidr.parse().unwrap(),
            rack: RackId::generate(),
            gateway: None,
            dns: vec![],
            dynamic: Ipv4Range::new(from.parse().unwrap(), to.parse().unwrap()).unwrap(),
            lease_seconds: 600,
        }
    }

    #[test]
    fn a_subnet_must_hold_its_own_addresses() {
        let good = subnet("10.77.0.0/24", "10.77.0.100", "10.77.0.199");
        assert!(good.check(&[]).is_ok());
        let text = |s: Subnet, others: &[Subnet]| s.check(others).unwrap_err().to_string();
        assert_eq!(
            text(subnet("10.77.0.1/24", "10.77.0.100", "10.77.0.199"), &[]),
            "spec.cidr: has host bits; the network is 10.77.0.0/24"
        );
        assert_eq!(
            text(subnet("10.77.0.0/24", "10.77.0.100", "10.77.1.1"), &[]),
            "spec.dynamic_end: 10.77.1.1 is not a host address of 10.77.0.0/24"
        );
        let overlap = text(subnet("10.77.0.0/16", "10.77.3.1", "10.77.3.9"), &[good]);
        assert_eq!(overlap, "spec.cidr: overlaps subnet a (10.77.0.0/24)");
    }

    #[test]
    fn machines_may_reserve_what_nobody_else_uses() {
        let mut s = subnet("10.0.0.0/29", "10.0.0.4", "10.0.0.5");
        s.gateway = Some([10, 0, 0, 1].into());
        let hosts = |s: &Subnet, last: Option<u8>| {
            s.reservable(last.map(|h| [10, 0, 0, h].into())).map(|a| a.octets()[3]).collect::<Vec<_>>()
        };
        assert_eq!(hosts(&s, None), [2, 3, 6]);
        assert_eq!(hosts(&s, Some(2)), [3, 6, 2]);
        assert_eq!(hosts(&s, Some(6)), [2, 3, 6]);
        assert_eq!(hosts(&s, Some(200)), [2, 3, 6], "of a subnet that had other addresses");
        s.dns = vec![[10, 0, 0, 2].into()];
        assert_eq!(hosts(&s, None), [3, 6]);
    }
}
