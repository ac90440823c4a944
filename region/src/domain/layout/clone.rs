//! Copies the layouts of one machine to another whose hardware fits.
//!
//! **Rules.** NICs: the one of the same name; else, in order of the inventory, the first that is left with the same speed.
//! Disks: the one of the same name if it is of the same type and not smaller; else, of those that are left, the smallest
//! of the same type that is not smaller. Static addresses are of one machine: a copy asks by DHCP instead.

use std::collections::BTreeMap;

use farrier_common::words;

use super::{
    Facts, Fault,
    network::{Addresses, Destination, NetworkLayout},
    storage::{StorageLayout, find_disk},
};
use crate::domain::machine::{Disk, Hardware, Machine, Nic};

#[cfg(test)]
mod tests;

words! {
    /// By what rule a part of the source became one of the destination.
    Rule {
        /// It has the same name.
        Name = "name",
        /// It is the next in the inventory with the same speed.
        PositionAndSpeed = "position-and-speed",
        /// It is of the same type, and the next in size.
        SizeAndType = "size-and-type",
        /// Static addresses are not copied: DHCP is asked instead.
        StaticToDhcp = "static-to-dhcp",
        /// It was left out, because it goes with what was not copied.
        Dropped = "dropped",
    }
}

/// What became of a part of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Of the source.
    pub source: String,
    /// Of the destination; empty: nothing.
    pub destination: String,
    /// Why.
    pub rule: Rule,
}

/// What the destination gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copied {
    /// If storage was asked for.
    pub storage: Option<StorageLayout>,
    /// If the network was asked for.
    pub network: Option<NetworkLayout>,
    /// What became of what.
    pub matches: Vec<Match>,
    /// Every reason why it cannot be; empty: it can.
    pub refusals: Vec<String>,
}

/// What to copy: the parts that are there.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Of the source.
    pub hardware: &'a Hardware,
    /// To be copied.
    pub storage: Option<&'a StorageLayout>,
    /// To be copied.
    pub network: Option<&'a NetworkLayout>,
}

/// What `to` would get of it.
#[must_use]
pub fn copy(original: &Original<'_>, to: &Machine) -> Copied {
    let mut copied = Copied::default();
    let Some(hardware) = &to.details.hardware else {
        copied.refusals.push("its hardware is not known: commission it first".to_owned());
        return copied;
    };
    let facts = Facts::from(to);
    if let Some(storage) = original.storage
        && let Some(renamed) = disks(storage, original.hardware, hardware, &mut copied)
    {
        copied.refusals.extend(renamed.check(&facts).iter().map(Fault::to_string));
        copied.storage = Some(renamed);
    }
    if let Some(network) = original.network
        && let Some(renamed) = nics(network, original.hardware, hardware, &mut copied)
    {
        copied.refusals.extend(renamed.check(&facts).iter().map(Fault::to_string));
        copied.network = Some(renamed);
    }
    copied
}

// === disks ===

/// nvme, hdd or ssd: what is not to be mistaken for each other.
fn kind(disk: &Disk) -> &'static str {
    match (disk.bus.as_str(), disk.rotational) {
        ("nvme", _) => "nvme",
        (_, true) => "hdd",
        (_, false) => "ssd",
    }
}

/// The layout with the destination's disks; `None` if one has no counterpart.
fn disks(layout: &StorageLayout, from: &Hardware, to: &Hardware, copied: &mut Copied) -> Option<StorageLayout> {
    let mut wanted: Vec<(&str, &Disk)> = Vec::new();
    for declared in &layout.disks {
        match find_disk(from, &declared.disk).first() {
            Some(disk) => wanted.push((&declared.disk, disk)),
            None => copied.refusals.push(format!("the source has no disk {:?} any more", declared.disk)),
        }
    }
    let mut free: Vec<&Disk> = to.disks.iter().collect();
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let fits = |have: &Disk, want: &Disk| kind(have) == kind(want) && have.size_bytes >= want.size_bytes;
    let mut left = Vec::new();
    for (text, want) in wanted {
        match free.iter().position(|have| have.name == want.name && fits(have, want)) {
            Some(at) => took(text, want, free.remove(at), Rule::Name, to, &mut names, copied),
            None => left.push((text, want)),
        }
    }
    // The largest first: what it leaves over may still do for the others.
    left.sort_by_key(|(_, want)| std::cmp::Reverse(want.size_bytes));
    for (text, want) in left {
        let closest =
            free.iter().enumerate().filter(|(_, have)| fits(have, want)).min_by_key(|(_, have)| have.size_bytes);
        match closest.map(|(at, _)| at) {
            Some(at) => took(text, want, free.remove(at), Rule::SizeAndType, to, &mut names, copied),
            None => copied.refusals.push(no_disk(want, to)),
        }
    }
    if names.len() < layout.disks.len() {
        return None;
    }
    let mut renamed = layout.clone();
    let rename = |text: &mut String| {
        if let Some(name) = names.get(text.as_str()) {
            text.clone_from(name);
        }
    };
    renamed.disks.iter_mut().for_each(|d| rename(&mut d.disk));
    renamed.raids.iter_mut().flat_map(|r| r.members.iter_mut().chain(&mut r.spares)).for_each(rename);
    renamed.volume_groups.iter_mut().flat_map(|g| &mut g.members).for_each(rename);
    renamed.filesystems.iter_mut().for_each(|f| rename(&mut f.device));
    Some(renamed)
}

/// A disk has its counterpart, which is named the way the source's layout names its own.
fn took<'a>(
    text: &'a str,
    want: &Disk,
    have: &Disk,
    rule: Rule,
    to: &Hardware,
    names: &mut BTreeMap<&'a str, String>,
    copied: &mut Copied,
) {
    let by_serial = text != want.name && !have.serial.is_empty() && find_disk(to, &have.serial).len() == 1;
    let name = if by_serial { &have.serial } else { &have.name };
    names.insert(text, name.clone());
    copied.matches.push(Match { source: want.name.clone(), destination: have.name.clone(), rule });
}

fn no_disk(want: &Disk, to: &Hardware) -> String {
    let have: Vec<_> = to.disks.iter().map(|d| format!("{} ({}, {} bytes)", d.name, kind(d), d.size_bytes)).collect();
    let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
    format!(
        "no disk for {}: it takes one of type {} with at least {} bytes that nothing else took; there are: {have}",
        want.name,
        kind(want),
        want.size_bytes
    )
}

// === network ===

/// The layout with the destination's NICs and without addresses; `None` if one has no counterpart.
fn nics(layout: &NetworkLayout, from: &Hardware, to: &Hardware, copied: &mut Copied) -> Option<NetworkLayout> {
    let declared = |name: &str| layout.interfaces.iter().any(|i| i.name == name);
    for gone in layout.interfaces.iter().filter(|i| !from.nics.iter().any(|n| n.name == i.name)) {
        copied.refusals.push(format!("the source has no NIC {:?} any more", gone.name));
    }
    let wanted: Vec<&Nic> = from.nics.iter().filter(|n| declared(&n.name)).collect();
    let mut free: Vec<&Nic> = to.nics.iter().collect();
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut left = Vec::new();
    for want in wanted {
        match free.iter().position(|have| have.name == want.name) {
            Some(at) => {
                free.remove(at);
                matched(want, &want.name, Rule::Name, &mut names, copied);
            }
            None => left.push(want),
        }
    }
    for want in left {
        match free.iter().position(|have| have.speed_mbps == want.speed_mbps) {
            Some(at) => {
                let have = free.remove(at);
                matched(want, &have.name, Rule::PositionAndSpeed, &mut names, copied);
            }
            None => copied.refusals.push(no_nic(want, to)),
        }
    }
    if names.len() < layout.interfaces.len() {
        return None;
    }
    let mut renamed = layout.clone();
    without_addresses(&mut renamed, &names, copied);
    let rename = |text: &mut String| {
        if let Some(name) = names.get(text.as_str()) {
            text.clone_from(name);
        }
    };
    renamed.interfaces.iter_mut().for_each(|i| rename(&mut i.name));
    renamed.bonds.iter_mut().flat_map(|b| &mut b.members).for_each(rename);
    renamed.bridges.iter_mut().flat_map(|b| &mut b.members).for_each(rename);
    renamed.vlans.iter_mut().for_each(|v| rename(&mut v.link));
    renamed.routes.iter_mut().for_each(|r| rename(&mut r.interface));
    Some(renamed)
}

fn matched<'a>(want: &'a Nic, have: &str, rule: Rule, names: &mut BTreeMap<&'a str, String>, copied: &mut Copied) {
    names.insert(&want.name, have.to_owned());
    copied.matches.push(Match { source: want.name.clone(), destination: have.to_owned(), rule });
}

fn no_nic(want: &Nic, to: &Hardware) -> String {
    let have: Vec<_> = to.nics.iter().map(|n| format!("{} ({} Mb/s)", n.name, n.speed_mbps)).collect();
    let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
    let speed = want.speed_mbps;
    format!(
        "no NIC for {}: it takes one of that name, or one of {speed} Mb/s that nothing else took; there are: {have}",
        want.name
    )
}

/// Addresses are of one machine. Each link that had one asks by DHCP; routes stay if their router was in a network of such
/// a link, and say which; the default route is DHCP's matter.
fn without_addresses(layout: &mut NetworkLayout, names: &BTreeMap<&str, String>, copied: &mut Copied) {
    let mut before: Vec<(String, Addresses)> = Vec::new();
    for (name, addresses) in layout.addresses_mut() {
        if !addresses.fixed.is_empty() {
            let fixed = addresses.fixed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let four = addresses.fixed.iter().any(|net| net.addr().is_ipv4());
            let asks = addresses.dhcp4 || four;
            let destination =
                if asks { format!("{} dhcp4", names.get(name).map_or(name, String::as_str)) } else { String::new() };
            let rule = if asks { Rule::StaticToDhcp } else { Rule::Dropped };
            copied.matches.push(Match { source: format!("{name} {fixed}"), destination, rule });
            before.push((name.to_owned(), addresses.clone()));
            *addresses = Addresses {
                dhcp4: asks,
                gateway6: addresses.gateway6.filter(|g| g.is_unicast_link_local()),
                ..Addresses::default()
            };
        }
    }
    layout.routes.retain_mut(|route| {
        let near = |(name, was): &&(String, Addresses)| {
            (route.interface.is_empty() || route.interface == *name)
                && was.fixed.iter().any(|net| net.contains(&route.via))
        };
        let Some((name, _)) = before.iter().find(near) else { return true };
        if route.via.is_ipv4() && route.to != Destination::Default {
            route.interface.clone_from(name);
            return true;
        }
        let source = format!("route {} via {}", route.to, route.via);
        copied.matches.push(Match { source, destination: String::new(), rule: Rule::Dropped });
        false
    });
}
