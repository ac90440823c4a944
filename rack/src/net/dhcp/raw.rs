//! Sends to clients that have no address yet.
//!
//! Such a client does not answer ARP, so the kernel cannot find it; a frame of our own making can. No unsafe code: the one
//! address that the packet socket needs, the interface's own, comes from getifaddrs.

use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsRawFd as _, OwnedFd},
};

use etherparse::PacketBuilder;
use farrier_common::net::MacAddr;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, bind, send, socket},
};

/// A packet socket on one interface; it receives nothing.
#[derive(Debug)]
pub(super) struct RawSender {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl RawSender {
    /// Opens the socket.
    ///
    /// # Errors
    /// The interface is not there or no Ethernet, or we may not use raw sockets.
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let link = link_address(interface)?;
        let mac = link.addr().ok_or_else(|| io::Error::other("the interface has no hardware address"))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind(socket.as_raw_fd(), &link)?;
        Ok(Self { socket, mac })
    }

    /// Sends one UDP datagram in an Ethernet frame to `mac`.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub(super) fn send(&self, mac: MacAddr, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let builder = PacketBuilder::ethernet2(self.mac, mac.0)
            .ipv4(from.ip().octets(), to.ip().octets(), 64)
            .udp(from.port(), to.port());
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload).map_err(io::Error::other)?;
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        Ok(())
    }
}

fn link_address(interface: &str) -> io::Result<LinkAddr> {
    let found = getifaddrs()?
        .filter(|i| i.interface_name == interface)
        .filter_map(|i| i.address)
        .find(|address| address.family() == Some(AddressFamily::Packet));
    found
        .as_ref()
        .and_then(|address| address.as_link_addr())
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}")))
}
