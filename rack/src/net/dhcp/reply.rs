//! What a request is answered: a function of the request, the intents, the leases and the time.

use std::net::Ipv4Addr;

use chrono::TimeDelta;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode, UnknownOption};
use farrier_common::{clock::Timestamp, net::MacAddr};

use super::{
    leases::table::{Asker, Table},
    loader::{self, Stage},
    packet::{Kind, Request},
};
use crate::boot::{intent::Subnet, state::BootState};

/// The shortest lease given: below it clients do little but renew.
const SHORTEST_LEASE: u32 = 60;

/// iPXE's option 175, sub-option 176 (no-pxedhcp): do not wait two seconds for a proxy.
const IPXE_OPTIONS: [u8; 3] = [176, 1, 1];

/// What answers are made from, besides leases.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// Our address on the interface that the request came by.
    pub(super) server: Ipv4Addr,
    /// Where scripts and loaders are served.
    pub(super) http_port: u16,
    /// Subnets and reservations.
    pub(super) boot: &'a BootState,
}

/// What follows from a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// The answer; none: silence.
    pub(super) reply: Option<Reply>,
    /// What happened, for people, if it is part of a boot.
    pub(super) note: Option<String>,
    /// Somebody has to do something, or a machine waits for good.
    pub(super) alarm: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// What to send.
    pub(super) message: Message,
    /// Where to.
    pub(super) to: Destination,
    /// Must the leases be on the disk before it is sent?
    pub(super) durable: bool,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// To the relay that passed the request on, on the servers' port.
    Relay(Ipv4Addr),
    /// To a client that has its address.
    Client(Ipv4Addr),
    /// To everybody on the interface.
    Broadcast,
    /// To a client that has no address yet and listens to its hardware address only.
    Hardware(MacAddr, Ipv4Addr),
}

/// Answers a request; the table of leases is changed accordingly.
#[must_use]
pub(super) fn reply(request: &Request, view: &View<'_>, leases: &mut Table, now: Timestamp) -> Outcome {
    let subnets = view.boot.subnets();
    let Some(subnet) = subnet_of(request, view, &subnets) else { return Outcome::default() };
    let asker = Asker { mac: request.mac, subnet, server: view.server, boot: view.boot };
    // A client that names another server talks to that one.
    if request.server.is_some_and(|server| server != view.server) {
        leases.withdraw(request.mac, now);
        return Outcome::default();
    }
    match request.kind {
        Kind::Discover => discover(request, view, &asker, leases, now),
        Kind::Request => ask(request, view, &asker, leases, now),
        Kind::Decline => {
            let declined = request.requested.filter(|address| leases.decline(request.mac, *address, now));
            let note = declined.map(|address| format!("DECLINE {address}: in use by somebody whom we do not know"));
            Outcome { note, ..Outcome::default() }
        }
        Kind::Release => {
            let released = leases.release(request.mac, request.ciaddr, now);
            Outcome { note: released.then(|| format!("RELEASE {}", request.ciaddr)), ..Outcome::default() }
        }
        Kind::Inform if request.ciaddr.is_unspecified() => Outcome::default(),
        Kind::Inform => {
            let mut message = answer(request, view, MessageType::Ack, subnet);
            message.set_ciaddr(request.ciaddr);
            Outcome::send(message, Destination::Client(request.ciaddr), false, None)
        }
    }
}

/// The subnet that the client is on: where its relay says, where its address says, or where the request came in.
fn subnet_of<'a>(request: &Request, view: &View<'_>, subnets: &'a [Subnet]) -> Option<&'a Subnet> {
    let with = |address: Ipv4Addr| subnets.iter().find(|s| s.cidr.contains(&address));
    if request.giaddr.is_unspecified() {
        with(request.ciaddr).or_else(|| with(view.server))
    } else {
        with(request.link.unwrap_or(request.giaddr))
    }
}

fn discover(request: &Request, view: &View<'_>, asker: &Asker<'_>, leases: &mut Table, now: Timestamp) -> Outcome {
    let client = loader::describe(request);
    let Some(address) = leases.offer(asker, request.requested, now) else {
        let note = format!("DISCOVER: no address is free on {} ({client})", asker.subnet.cidr);
        return Outcome { reply: None, note: Some(note), alarm: true };
    };
    let message = lease(request, view, MessageType::Offer, asker.subnet, address);
    let to = destination(request, address);
    Outcome::send(message, to, false, Some(format!("DISCOVER, offered {address} ({client})")))
}

/// A REQUEST; RFC 2131 section 4.3.2 tells its four uses apart by which fields are set.
fn ask(request: &Request, view: &View<'_>, asker: &Asker<'_>, leases: &mut Table, now: Timestamp) -> Outcome {
    let renewing = !request.ciaddr.is_unspecified();
    let wanted = if renewing { Some(request.ciaddr) } else { request.requested };
    let Some(address) = wanted else { return Outcome::default() };
    // A client that boots with a remembered address is to learn of its reservation; one that runs is left alone.
    let rebooting = !renewing && request.server.is_none();
    let better = asker.reservation().filter(|a| rebooting && *a != address && leases.may_have(asker, *a, now));
    let granted = better.is_none()
        && (leases.may_have(asker, address, now) || (!rebooting && leases.may_keep(asker, address, now)));
    let client = loader::describe(request);
    if !granted {
        leases.withdraw(request.mac, now);
        return refuse(request, view, format!("NAK {address} ({client})"));
    }
    let seconds = i64::from(lease_seconds(asker.subnet));
    leases.bind(request.mac, address, now, now + TimeDelta::seconds(seconds));
    let mut message = lease(request, view, MessageType::Ack, asker.subnet, address);
    message.set_ciaddr(request.ciaddr);
    // A renewal is no part of a boot.
    let note = (!renewing).then(|| format!("ACK {address} ({client})"));
    Outcome::send(message, destination(request, address), true, note)
}

fn refuse(request: &Request, view: &View<'_>, note: String) -> Outcome {
    let mut message = header(request, view, MessageType::Nak);
    message.clear_fname();
    let to = if request.giaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        // The relay is to broadcast it: the client may be on another network than it believes.
        message.set_flags(Flags::new(request.flags).set_broadcast());
        Destination::Relay(request.giaddr)
    };
    Outcome::send(message, to, false, Some(note))
}

fn destination(request: &Request, address: Ipv4Addr) -> Destination {
    if !request.giaddr.is_unspecified() {
        Destination::Relay(request.giaddr)
    } else if !request.ciaddr.is_unspecified() {
        Destination::Client(request.ciaddr)
    } else if request.wants_broadcast() {
        Destination::Broadcast
    } else {
        Destination::Hardware(request.mac, address)
    }
}

fn lease_seconds(subnet: &Subnet) -> u32 {
    // The highest value means "for ever" on the wire.
    u32::try_from(subnet.lease.as_secs()).unwrap_or(u32::MAX).clamp(SHORTEST_LEASE, i32::MAX as u32)
}

/// An answer that gives an address.
fn lease(request: &Request, view: &View<'_>, kind: MessageType, subnet: &Subnet, address: Ipv4Addr) -> Message {
    let mut message = answer(request, view, kind, subnet);
    message.set_yiaddr(address);
    let seconds = lease_seconds(subnet);
    let options = message.opts_mut();
    options.insert(DhcpOption::AddressLeaseTime(seconds));
    options.insert(DhcpOption::Renewal(seconds / 2));
    options.insert(DhcpOption::Rebinding(seconds / 8 * 7));
    message
}

/// An answer with everything but an address.
fn answer(request: &Request, view: &View<'_>, kind: MessageType, subnet: &Subnet) -> Message {
    let mut message = header(request, view, kind);
    let options = message.opts_mut();
    options.insert(DhcpOption::SubnetMask(subnet.cidr.netmask()));
    options.insert(DhcpOption::BroadcastAddr(subnet.cidr.broadcast()));
    if let Some(gateway) = subnet.gateway {
        options.insert(DhcpOption::Router(vec![gateway]));
    }
    if !subnet.dns.is_empty() {
        options.insert(DhcpOption::DomainNameServer(subnet.dns.clone()));
    }
    add_loader(&mut message, request, view);
    message
}

fn add_loader(message: &mut Message, request: &Request, view: &View<'_>) {
    let Some(loader) = loader::loader(request, view.server, view.http_port) else { return };
    message.set_siaddr(view.server);
    message.set_fname_str(&loader.file);
    let options = message.opts_mut();
    options.insert(DhcpOption::BootfileName(loader.file.into_bytes()));
    if loader.http {
        // UEFI takes no answer for its HTTP boot that does not say so.
        options.insert(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
    } else {
        options.insert(DhcpOption::TFTPServerName(view.server.to_string().into_bytes()));
    }
    if Stage::of(request) == Stage::Ipxe {
        options.insert(raw(175, IPXE_OPTIONS.to_vec()));
    }
}

/// What every answer has, and what every answer echoes.
fn header(request: &Request, view: &View<'_>, kind: MessageType) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(request.xid, none, none, none, request.giaddr, &request.mac.0);
    message.set_opcode(Opcode::BootReply).set_flags(Flags::new(request.flags));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(view.server));
    for (code, value) in [(61, &request.client_id), (97, &request.machine_uuid), (82, &request.relay_info)] {
        if let Some(value) = value {
            options.insert(raw(code, value.clone()));
        }
    }
    message
}

fn raw(code: u8, value: Vec<u8>) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value))
}

impl Outcome {
    fn send(message: Message, to: Destination, durable: bool, note: Option<String>) -> Self {
        Self { reply: Some(Reply { message, to, durable }), note, alarm: false }
    }
}

#[cfg(test)]
mod tests;
