//! Links: interfaces, bonds, bridges and VLANs, and how they are put together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Facts, Faults, quoted},
    Addresses, NetworkLayout,
};

const MOST_INTERFACES: usize = 64;
const MOST_BONDS: usize = 32;
const MOST_BRIDGES: usize = 32;
const MOST_VLANS: usize = 256;
const MOST_MEMBERS: usize = 32;
/// The kernel keeps 16 bytes, of which the last is 0.
const MOST_NAME: usize = 15;
const MTU: std::ops::RangeInclusive<u32> = 576..=9216;
const USUAL_MTU: u32 = 1500;
const MOST_MONITOR: u32 = 60_000;
/// Names that mean something to the kernel or its settings.
const RESERVED: [&str; 5] = ["lo", "all", "default", ".", ".."];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Interface,
    Bond,
    Bridge,
    Vlan,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Interface => "an interface",
            Self::Bond => "a bond",
            Self::Bridge => "a bridge",
            Self::Vlan => "a VLAN",
        }
    }
}

/// One link.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) name: &'a str,
    pub(super) field: String,
    pub(super) kind: Kind,
    pub(super) mtu: u32,
    pub(super) addresses: &'a Addresses,
    /// The bond or bridge that it is a member of.
    pub(super) master: Option<(Kind, &'a str)>,
    /// What it is made of.
    parts: &'a [String],
}

/// Checks names and how links are put together; answers them, each name once.
pub(super) fn check<'a>(layout: &'a NetworkLayout, facts: &Facts<'_>, faults: &mut Faults) -> Vec<Link<'a>> {
    let mut links = all(layout, faults);
    faults.unless(!links.is_empty(), "network.interfaces", "at least one is required");
    names(&mut links, facts, faults);
    enslave(layout, &mut links, faults);
    vlans(layout, &links, faults);
    circles(layout, &links, faults);
    for link in &links {
        mtu(link, &links, faults);
    }
    let bonds = layout.bonds.iter().enumerate();
    for (place, _) in bonds.filter(|(_, b)| b.mii_monitor_ms > MOST_MONITOR) {
        faults.add(format!("network.bonds[{place}].mii_monitor_ms"), "must be at most 60000; 0 means 100");
    }
    links
}

fn all<'a>(layout: &'a NetworkLayout, faults: &mut Faults) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    let mut add =
        |list: &str, place: usize, name: &'a str, kind, mtu, addresses: &'a Addresses, parts: &'a [String]| {
            let field = format!("network.{list}[{place}]");
            links.push(Link { name, field, kind, mtu, addresses, master: None, parts });
        };
    let interfaces = faults.bound("network.interfaces", &layout.interfaces, MOST_INTERFACES);
    for (place, i) in interfaces.iter().enumerate() {
        add("interfaces", place, &i.name, Kind::Interface, i.mtu, &i.addresses, &[]);
    }
    for (place, b) in faults.bound("network.bonds", &layout.bonds, MOST_BONDS).iter().enumerate() {
        add("bonds", place, &b.name, Kind::Bond, b.mtu, &b.addresses, &b.members);
    }
    for (place, b) in faults.bound("network.bridges", &layout.bridges, MOST_BRIDGES).iter().enumerate() {
        add("bridges", place, &b.name, Kind::Bridge, b.mtu, &b.addresses, &b.members);
    }
    for (place, v) in faults.bound("network.vlans", &layout.vlans, MOST_VLANS).iter().enumerate() {
        add("vlans", place, &v.name, Kind::Vlan, v.mtu, &v.addresses, std::slice::from_ref(&v.link));
    }
    links
}

/// Names are the kernel's, and each is there once.
fn names(links: &mut Vec<Link<'_>>, facts: &Facts<'_>, faults: &mut Faults) {
    let nics: Option<BTreeSet<&str>> = facts.hardware.map(|h| h.nics.iter().map(|n| n.name.as_str()).collect());
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    links.retain(|link| {
        let field = format!("{}.name", link.field);
        let word = |b: u8| matches!(b, b'!'..=b'~') && !b"/:%\"'\\".contains(&b);
        let good = (1..=MOST_NAME).contains(&link.name.len()) && link.name.bytes().all(word);
        if !good || RESERVED.contains(&link.name) {
            let why = "cannot be the name of a link: 1 to 15 printable characters without spaces, '/', ':', '%', '\\' and quotes";
            faults.add(field, format!("{} {why}", quoted(link.name)));
            return false;
        }
        if let Some(other) = seen.get(link.name) {
            faults.add(field, format!("{} is the name of {other} already", quoted(link.name)));
            return false;
        }
        if let Some(nics) = &nics {
            let physical = nics.contains(link.name);
            if link.kind == Kind::Interface && !physical {
                let known = nics.iter().copied().collect::<Vec<_>>().join(", ");
                faults.add(field, format!("the machine has no interface {}; it has: {known}", quoted(link.name)));
            } else if link.kind != Kind::Interface && physical {
                faults.add(field, format!("{} is the name of a physical interface", quoted(link.name)));
            }
        }
        seen.insert(link.name, link.field.clone());
        true
    });
}

/// Members of bonds and bridges: a link has one master, and then no address of its own.
fn enslave<'a>(layout: &'a NetworkLayout, links: &mut [Link<'a>], faults: &mut Faults) {
    let bonds = layout.bonds.iter().take(MOST_BONDS).enumerate();
    for (place, bond) in bonds {
        let field = format!("network.bonds[{place}].members");
        faults.unless(!bond.members.is_empty(), field.clone(), "at least one is required");
        members((Kind::Bond, &bond.name), &bond.members, &field, links, faults);
    }
    for (place, bridge) in layout.bridges.iter().take(MOST_BRIDGES).enumerate() {
        let field = format!("network.bridges[{place}].members");
        members((Kind::Bridge, &bridge.name), &bridge.members, &field, links, faults);
    }
}

fn members<'a>(
    (kind, master): (Kind, &'a str),
    names: &[String],
    field: &str,
    links: &mut [Link<'a>],
    faults: &mut Faults,
) {
    for (place, name) in faults.bound(field, names, MOST_MEMBERS).iter().enumerate() {
        let field = format!("{field}[{place}]");
        let Some(link) = links.iter_mut().find(|l| l.name == name.as_str()) else {
            faults.add(field, format!("{} is no link of this layout", quoted(name)));
            continue;
        };
        let fits = match kind {
            Kind::Bond => link.kind == Kind::Interface,
            Kind::Bridge | Kind::Interface | Kind::Vlan => link.kind != Kind::Bridge,
        };
        if !fits {
            let why = match kind {
                Kind::Bond => "members of a bond are interfaces",
                Kind::Bridge | Kind::Interface | Kind::Vlan => "members of a bridge are interfaces, bonds and VLANs",
            };
            faults.add(field, format!("{} is {}: {why}", quoted(name), link.kind.name()));
            continue;
        }
        if let Some((kind, other)) = link.master {
            faults.add(field, format!("{} is a member of {} {} already", quoted(name), kind.name(), quoted(other)));
            continue;
        }
        link.master = Some((kind, master));
        let free = *link.addresses == Addresses::default();
        let why = format!("a member of {} has no addresses of its own: give them to {}", kind.name(), quoted(master));
        faults.unless(free, format!("{}.addresses", link.field), why);
    }
}

fn vlans(layout: &NetworkLayout, links: &[Link<'_>], faults: &mut Faults) {
    let mut seen: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for (place, vlan) in layout.vlans.iter().take(MOST_VLANS).enumerate() {
        let field = format!("network.vlans[{place}]");
        faults.unless((1..=4094).contains(&vlan.id), format!("{field}.id"), "must be 1 to 4094");
        match links.iter().find(|l| l.name == vlan.link) {
            None => faults.add(format!("{field}.link"), format!("{} is no link of this layout", quoted(&vlan.link))),
            Some(link) if link.kind == Kind::Vlan => {
                faults.add(
                    format!("{field}.link"),
                    "is a VLAN itself: VLANs are carried by interfaces, bonds and bridges",
                );
            }
            Some(Link { master: Some((Kind::Bond, bond)), .. }) => {
                let why = format!("is a member of bond {}: put the VLAN on the bond", quoted(bond));
                faults.add(format!("{field}.link"), why);
            }
            Some(_) => {}
        }
        if let Some(first) = seen.insert((&vlan.link, vlan.id), place) {
            let why = format!("{} is that of network.vlans[{first}] on the same link", vlan.id);
            faults.add(format!("{field}.id"), why);
        }
    }
}

/// Nothing is made of itself: a bridge may have a VLAN, and a VLAN may be on a bridge.
fn circles(layout: &NetworkLayout, links: &[Link<'_>], faults: &mut Faults) {
    let parts: BTreeMap<&str, &[String]> = links.iter().map(|l| (l.name, l.parts)).collect();
    for (place, bridge) in layout.bridges.iter().take(MOST_BRIDGES).enumerate() {
        let mut below: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = bridge.members.iter().take(MOST_MEMBERS).map(String::as_str).collect();
        while let Some(name) = next.pop() {
            if below.insert(name) {
                let more = parts.get(name).copied().unwrap_or_default();
                next.extend(more.iter().take(MOST_MEMBERS).map(String::as_str));
            }
        }
        let why = "leads in a circle: the bridge would be a part of itself";
        faults.unless(!below.contains(bridge.name.as_str()), format!("network.bridges[{place}].members"), why);
    }
}

/// Bounds, and that what a link is made of bears its packets.
fn mtu(link: &Link<'_>, links: &[Link<'_>], faults: &mut Faults) {
    if link.mtu == 0 {
        return;
    }
    let field = format!("{}.mtu", link.field);
    if !MTU.contains(&link.mtu) {
        faults.add(field, "must be 576 to 9216, or 0 for the kernel's own");
        return;
    }
    let six = link.addresses.fixed.iter().any(|a| matches!(a, ipnet::IpNet::V6(_)));
    faults.unless(!six || link.mtu >= 1280, field.clone(), "IPv6 needs at least 1280");
    for part in links.iter().filter(|l| link.parts.iter().any(|p| p == l.name)) {
        let has = if part.mtu == 0 { USUAL_MTU } else { part.mtu };
        let fits = match link.kind {
            // A bond sets its members' MTU itself.
            Kind::Bond => part.mtu == 0 || part.mtu == link.mtu,
            Kind::Interface | Kind::Bridge | Kind::Vlan => has >= link.mtu,
        };
        faults.unless(
            fits,
            field.clone(),
            format!("does not go with the MTU of {}, which is {has}", quoted(part.name)),
        );
    }
}
