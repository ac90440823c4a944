//! Routes and resolvers.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    super::{Faults, quoted},
    Destination, NetworkLayout,
    addresses::{on_link, unicast},
    links::Link,
};

const MOST_ROUTES: usize = 256;
const MOST_RESOLVERS: usize = 8;
const MOST_DOMAINS: usize = 32;

/// Checks the routes.
pub(super) fn check(layout: &NetworkLayout, links: &[Link<'_>], faults: &mut Faults) {
    let mut seen: BTreeSet<(bool, Destination, u32)> = BTreeSet::new();
    // A gateway is a default route without metric.
    for gateway in links.iter().map(|l| l.addresses) {
        seen.extend(gateway.gateway4.map(|_| (true, Destination::Default, 0)));
        seen.extend(gateway.gateway6.map(|_| (false, Destination::Default, 0)));
    }
    for (place, route) in faults.bound("network.routes", &layout.routes, MOST_ROUTES).iter().enumerate() {
        let field = format!("network.routes[{place}]");
        if let Destination::Net(net) = route.to {
            let trunc = net.trunc();
            faults.unless(net == trunc, format!("{field}.to"), format!("has host bits; the network is {trunc}"));
            let same = net.addr().is_ipv4() == route.via.is_ipv4();
            faults.unless(same, format!("{field}.via"), "and to are not both IPv4 or both IPv6");
        }
        let why = "there is a route to the same network with the same metric";
        faults.unless(seen.insert((route.via.is_ipv4(), route.to, route.metric)), format!("{field}.to"), why);
        if let Err(why) = unicast(route.via) {
            faults.add(format!("{field}.via"), format!("{} {why}", route.via));
            continue;
        }
        via(route.via, &route.interface, &field, links, faults);
    }
}

/// The router must be next to the machine.
fn via(router: IpAddr, interface: &str, field: &str, links: &[Link<'_>], faults: &mut Faults) {
    let own = links.iter().any(|l| l.addresses.fixed.iter().any(|net| net.addr() == router));
    faults.unless(!own, format!("{field}.via"), format!("{router} is an address of the machine itself"));
    let local = matches!(router, IpAddr::V6(six) if six.is_unicast_link_local());
    if interface.is_empty() {
        faults.unless(!local, format!("{field}.interface"), "is required for a link-local router");
        let near = links.iter().any(|l| on_link(l, router));
        let why = format!("{router} is in no static network: name the interface if DHCP gives it one");
        faults.unless(near, format!("{field}.via"), why);
        return;
    }
    let field_of_link = format!("{field}.interface");
    let Some(link) = links.iter().find(|l| l.name == interface) else {
        faults.add(field_of_link, format!("{} is no link of this layout", quoted(interface)));
        return;
    };
    faults.unless(link.master.is_none(), field_of_link, "is a member of a bond or bridge: routes go through that");
    let leased = link.addresses.dhcp4 && router.is_ipv4();
    let why = format!("{router} is in no static network of {}", quoted(interface));
    faults.unless(leased || on_link(link, router), format!("{field}.via"), why);
}

/// Checks resolvers and search domains.
pub(super) fn resolvers(layout: &NetworkLayout, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (place, server) in faults.bound("network.dns_servers", &layout.dns_servers, MOST_RESOLVERS).iter().enumerate() {
        let field = format!("network.dns_servers[{place}]");
        if let Err(why) = unicast(*server) {
            faults.add(field.clone(), format!("{server} {why}"));
        }
        faults.unless(seen.insert(*server), field, format!("{server} is given twice"));
    }
    let mut seen = BTreeSet::new();
    let domains = faults.bound("network.search_domains", &layout.search_domains, MOST_DOMAINS);
    for (place, name) in domains.iter().enumerate() {
        let field = format!("network.search_domains[{place}]");
        let why = "must be a domain of at most 253 characters: labels of letters, digits and '-', joined by '.'";
        faults.unless(domain(name), field.clone(), format!("{} {why}", quoted(name)));
        faults.unless(seen.insert(name.to_ascii_lowercase()), field, format!("{} is given twice", quoted(name)));
    }
}

fn domain(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
