//! Static addresses and gateways.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{super::Faults, links::Link};

const MOST_ADDRESSES: usize = 32;

/// Checks the addresses of all links.
pub(super) fn check(links: &[Link<'_>], faults: &mut Faults) {
    let mut seen: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut gateways: BTreeMap<bool, String> = BTreeMap::new();
    for link in links {
        let field = format!("{}.addresses", link.field);
        let list = format!("{field}.static");
        for (place, net) in faults.bound(&list, &link.addresses.fixed, MOST_ADDRESSES).iter().enumerate() {
            let field = format!("{list}[{place}]");
            if let Err(why) = host(net) {
                faults.add(field.clone(), format!("{net} {why}"));
            }
            if let Some(first) = seen.get(&net.addr()) {
                faults.add(field, format!("{} is at {first} already", net.addr()));
            } else {
                seen.insert(net.addr(), field);
            }
        }
        let four = link.addresses.gateway4.map(|g| ("gateway4", IpAddr::V4(g)));
        let six = link.addresses.gateway6.map(|g| ("gateway6", IpAddr::V6(g)));
        for (name, gateway) in four.into_iter().chain(six) {
            let field = format!("{field}.{name}");
            reachable(link, gateway, &field, faults);
            if let Some(first) = gateways.get(&gateway.is_ipv4()) {
                faults
                    .add(field, format!("there is a {name} at {first} already: use a route with a metric for another"));
            } else {
                gateways.insert(gateway.is_ipv4(), field);
            }
        }
    }
}

/// Is a router in a network of the link, and not the link itself?
fn reachable(link: &Link<'_>, gateway: IpAddr, field: &str, faults: &mut Faults) {
    if let Err(why) = unicast(gateway) {
        faults.add(field, format!("{gateway} {why}"));
        return;
    }
    let fixed = &link.addresses.fixed;
    faults.unless(on_link(link, gateway), field, format!("{gateway} is in no static network of {}", link.name));
    let own = fixed.iter().any(|net| net.addr() == gateway);
    faults.unless(!own, field, format!("{gateway} is the address of {} itself", link.name));
}

/// Is the address next to this link? A link-local one always is.
pub(super) fn on_link(link: &Link<'_>, address: IpAddr) -> bool {
    let local = matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    local || link.addresses.fixed.iter().any(|net| net.contains(&address))
}

/// Can a host have this address?
fn host(net: &IpNet) -> Result<(), String> {
    unicast(net.addr())?;
    match net {
        IpNet::V4(four) if four.prefix_len() == 0 => {
            Err("has no network: the prefix length must be 1 to 32".to_owned())
        }
        IpNet::V4(four) if four.prefix_len() < 31 && four.addr() == four.network() => {
            Err("is the network itself, not an address in it".to_owned())
        }
        IpNet::V4(four) if four.prefix_len() < 31 && four.addr() == four.broadcast() => {
            Err("is the broadcast address of its network".to_owned())
        }
        IpNet::V6(six) if six.prefix_len() == 0 => Err("has no network: the prefix length must be 1 to 128".to_owned()),
        IpNet::V4(_) | IpNet::V6(_) => Ok(()),
    }
}

/// Is it the address of one host that others can reach?
pub(super) fn unicast(address: IpAddr) -> Result<(), String> {
    let zero = matches!(address, IpAddr::V4(four) if four.octets().first() == Some(&0));
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    let mapped = matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || zero || broadcast || mapped {
        return Err("is not the address of one host".to_owned());
    }
    Ok(())
}
