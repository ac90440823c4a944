//! Declared storage and network on the wire. Words, addresses and networks become types here; errors name the exact field.

use std::fmt::Display;

use farrier_proto::v1;
use ipnet::IpNet;

use super::render;
use crate::{
    api::parse,
    app::machines::{Cloned, Copying},
    domain::{
        Error, Result,
        layout::{
            network::{Addresses, Bond, Bridge, NetworkLayout, PhysicalInterface, Route, Vlan},
            storage::{DiskLayout, FilesystemMount, LogicalVolume, Partition, RaidArray, StorageLayout, VolumeGroup},
        },
        verbs::{Declared, Keep},
    },
};

/// Longer lists are refused before they are read; the exact limits are the domain's.
const MOST_LIST: usize = 1000;

// === requests ===

pub(super) fn keep(q: Option<&v1::CommissionOptions>) -> Keep {
    q.map_or_else(Keep::default, |q| Keep { storage: q.keep_storage, network: q.keep_network })
}

pub(super) fn copying(q: v1::CloneMachineRequest) -> Copying {
    Copying { source: q.source, destinations: q.destinations, storage: q.storage, network: q.network }
}

/// What is named in the mask is set, or removed if it is not there.
pub(super) fn declared(q: v1::ConfigureMachineRequest) -> Result<Declared> {
    let wrong = |why: &str| Error::invalid("update_mask", format!("{why}; name what to set, of: storage, network"));
    let paths = q.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        return Err(wrong("is required"));
    }
    if let Some(other) = paths.iter().find(|p| !matches!(p.as_str(), "storage" | "network")) {
        return Err(wrong(&format!("{:?} is not a part that can be set", parse::clipped(other))));
    }
    let named = |part: &str| paths.iter().any(|p| p == part);
    let unnamed = |part: &str| Error::invalid(part, "is given, but update_mask does not name it");
    if q.storage.is_some() && !named("storage") {
        return Err(unnamed("storage"));
    }
    if q.network.is_some() && !named("network") {
        return Err(unnamed("network"));
    }
    let storage = if named("storage") { Some(q.storage.map(storage_from).transpose()?) } else { None };
    let network = if named("network") { Some(q.network.map(network_from).transpose()?) } else { None };
    Ok(Declared { storage, network })
}

/// Each of a list, with the path of its field.
fn each<A, B>(field: &str, list: Vec<A>, make: impl Fn(&str, A) -> Result<B>) -> Result<Vec<B>> {
    if list.len() > MOST_LIST {
        return Err(Error::invalid(field, format!("has {} entries, which is far too many", list.len())));
    }
    list.into_iter().enumerate().map(|(place, one)| make(&format!("{field}[{place}]"), one)).collect()
}

fn storage_from(q: v1::StorageLayout) -> Result<StorageLayout> {
    Ok(StorageLayout {
        disks: each("storage.disks", q.disks, |field, d| {
            Ok(DiskLayout {
                disk: d.disk,
                table: parse::optional(&format!("{field}.table"), &d.table)?,
                boot: d.boot,
                partitions: each(&format!("{field}.partitions"), d.partitions, |field, p| {
                    let kind = parse::text(&format!("{field}.kind"), &p.kind)?;
                    Ok(Partition { name: p.name, size_bytes: p.size_bytes, kind })
                })?,
            })
        })?,
        raids: each("storage.raids", q.raids, |_, r| {
            Ok(RaidArray { name: r.name, level: r.level, members: r.members, spares: r.spares })
        })?,
        volume_groups: each("storage.volume_groups", q.volume_groups, |field, g| {
            let volume = |_: &str, v: v1::LogicalVolume| Ok(LogicalVolume { name: v.name, size_bytes: v.size_bytes });
            let volumes = each(&format!("{field}.volumes"), g.volumes, volume)?;
            Ok(VolumeGroup { name: g.name, members: g.members, volumes })
        })?,
        filesystems: each("storage.filesystems", q.filesystems, |field, f| {
            Ok(FilesystemMount {
                device: f.device,
                kind: parse::text(&format!("{field}.type"), &f.r#type)?,
                mount_point: f.mount_point,
                options: f.options,
                label: f.label,
            })
        })?,
    })
}

fn network_from(q: v1::NetworkLayout) -> Result<NetworkLayout> {
    Ok(NetworkLayout {
        interfaces: each("network.interfaces", q.interfaces, |field, i| {
            Ok(PhysicalInterface { name: i.name, addresses: addresses_from(field, i.addresses)?, mtu: i.mtu })
        })?,
        bonds: each("network.bonds", q.bonds, |field, b| {
            Ok(Bond {
                name: b.name,
                mode: parse::text(&format!("{field}.mode"), &b.mode)?,
                members: b.members,
                addresses: addresses_from(field, b.addresses)?,
                mtu: b.mtu,
                mii_monitor_ms: b.mii_monitor_ms,
            })
        })?,
        bridges: each("network.bridges", q.bridges, |field, b| {
            let addresses = addresses_from(field, b.addresses)?;
            Ok(Bridge { name: b.name, members: b.members, addresses, mtu: b.mtu, stp: b.stp })
        })?,
        vlans: each("network.vlans", q.vlans, |field, v| {
            let addresses = addresses_from(field, v.addresses)?;
            Ok(Vlan { name: v.name, link: v.link, id: v.id, addresses, mtu: v.mtu })
        })?,
        routes: each("network.routes", q.routes, |field, r| {
            let to = parse::text(&format!("{field}.to"), &r.to)?;
            let via = address(&format!("{field}.via"), &r.via, "an IPv4 or IPv6 address")?;
            Ok(Route { to, via, metric: r.metric, interface: r.interface })
        })?,
        dns_servers: each("network.dns_servers", q.dns_servers, |field, text| {
            address(field, &text, "an IPv4 or IPv6 address")
        })?,
        search_domains: q.search_domains,
    })
}

fn addresses_from(field: &str, q: Option<v1::InterfaceAddresses>) -> Result<Addresses> {
    let q = q.unwrap_or_default();
    let field = format!("{field}.addresses");
    let optional = |text: String| Some(text).filter(|t| !t.is_empty());
    let four = optional(q.gateway4).map(|t| address(&format!("{field}.gateway4"), &t, "an IPv4 address"));
    let six = optional(q.gateway6).map(|t| address(&format!("{field}.gateway6"), &t, "an IPv6 address"));
    Ok(Addresses {
        dhcp4: q.dhcp4,
        fixed: each(&format!("{field}.static"), q.r#static, |field, text| {
            // Without a length ipnet says only "invalid IP address syntax".
            address::<IpNet>(field, &text, "an address with prefix length, such as 10.0.0.5/24 or fd00::5/64")
        })?,
        gateway4: four.transpose()?,
        gateway6: six.transpose()?,
    })
}

fn address<T: std::str::FromStr>(field: &str, text: &str, what: &str) -> Result<T> {
    text.parse().map_err(|_| Error::invalid(field, format!("{:?} is not {what}", parse::clipped(text))))
}

// === answers ===

pub(super) fn cloned(results: &Vec<Cloned>) -> v1::CloneMachineResponse {
    let one = |c: &Cloned| v1::CloneResult {
        destination: c.destination.clone(),
        machine: c.machine.as_ref().map(render::brief),
        refusals: c.refusals.clone(),
        matches: c.matches.iter().map(a_match).collect(),
    };
    v1::CloneMachineResponse { results: results.iter().map(one).collect() }
}

fn a_match(m: &crate::domain::layout::clone::Match) -> v1::CloneMatch {
    v1::CloneMatch { source: m.source.clone(), destination: m.destination.clone(), rule: m.rule.to_string() }
}

pub(super) fn storage(layout: &StorageLayout) -> v1::StorageLayout {
    v1::StorageLayout {
        disks: layout.disks.iter().map(disk).collect(),
        raids: layout
            .raids
            .iter()
            .map(|r| v1::RaidArray {
                name: r.name.clone(),
                level: r.level,
                members: r.members.clone(),
                spares: r.spares.clone(),
            })
            .collect(),
        volume_groups: layout.volume_groups.iter().map(group).collect(),
        filesystems: layout
            .filesystems
            .iter()
            .map(|f| v1::FilesystemMount {
                device: f.device.clone(),
                r#type: f.kind.to_string(),
                mount_point: f.mount_point.clone(),
                options: f.options.clone(),
                label: f.label.clone(),
            })
            .collect(),
    }
}

fn disk(d: &DiskLayout) -> v1::DiskLayout {
    let partition =
        |p: &Partition| v1::Partition { name: p.name.clone(), size_bytes: p.size_bytes, kind: p.kind.to_string() };
    v1::DiskLayout {
        disk: d.disk.clone(),
        table: d.table.map(|t| t.to_string()).unwrap_or_default(),
        boot: d.boot,
        partitions: d.partitions.iter().map(partition).collect(),
    }
}

fn group(g: &VolumeGroup) -> v1::VolumeGroup {
    let volume = |v: &LogicalVolume| v1::LogicalVolume { name: v.name.clone(), size_bytes: v.size_bytes };
    v1::VolumeGroup {
        name: g.name.clone(),
        members: g.members.clone(),
        volumes: g.volumes.iter().map(volume).collect(),
    }
}

pub(super) fn network(layout: &NetworkLayout) -> v1::NetworkLayout {
    v1::NetworkLayout {
        interfaces: layout.interfaces.iter().map(interface).collect(),
        bonds: layout.bonds.iter().map(bond).collect(),
        bridges: layout.bridges.iter().map(bridge).collect(),
        vlans: layout.vlans.iter().map(vlan).collect(),
        routes: layout.routes.iter().map(route).collect(),
        dns_servers: texts(&layout.dns_servers),
        search_domains: layout.search_domains.clone(),
    }
}

fn texts<T: Display>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Unset if there is nothing in it.
fn addresses(a: &Addresses) -> Option<v1::InterfaceAddresses> {
    (*a != Addresses::default()).then(|| v1::InterfaceAddresses {
        dhcp4: a.dhcp4,
        r#static: texts(&a.fixed),
        gateway4: a.gateway4.map(|g| g.to_string()).unwrap_or_default(),
        gateway6: a.gateway6.map(|g| g.to_string()).unwrap_or_default(),
    })
}

fn interface(i: &PhysicalInterface) -> v1::PhysicalInterface {
    v1::PhysicalInterface { name: i.name.clone(), addresses: addresses(&i.addresses), mtu: i.mtu }
}

fn bond(b: &Bond) -> v1::Bond {
    v1::Bond {
        name: b.name.clone(),
        mode: b.mode.to_string(),
        members: b.members.clone(),
        addresses: addresses(&b.addresses),
        mtu: b.mtu,
        mii_monitor_ms: b.mii_monitor_ms,
    }
}

fn bridge(b: &Bridge) -> v1::Bridge {
    v1::Bridge {
        name: b.name.clone(),
        members: b.members.clone(),
        addresses: addresses(&b.addresses),
        mtu: b.mtu,
        stp: b.stp,
    }
}

fn vlan(v: &Vlan) -> v1::Vlan {
    v1::Vlan { name: v.name.clone(), link: v.link.clone(), id: v.id, addresses: addresses(&v.addresses), mtu: v.mtu }
}

fn route(r: &Route) -> v1::Route {
    v1::Route { to: r.to.to_string(), via: r.via.to_string(), metric: r.metric, interface: r.interface.clone() }
}

#[cfg(test)]
mod tests;
