//! The sockets of one interface.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use dhcproto::{Encodable as _, v4::MIN_PACKET_SIZE};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{
    Interface,
    raw::RawSender,
    reply::{Destination, Reply},
};

/// Larger than any request on an Ethernet.
const RECEIVE: usize = 2048;

/// Receives from and sends to the clients on one interface.
#[derive(Debug)]
pub(super) struct Wire {
    interface: Interface,
    socket: UdpSocket,
    raw: Option<RawSender>,
    server_port: u16,
    client_port: u16,
}

impl Wire {
    pub(super) fn open(interface: &Interface, server_port: u16, client_port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        // Not our own address: requests are broadcast.
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, server_port).into())?;
        let raw = RawSender::open(&interface.name)
            .inspect_err(|error| {
                let interface = &interface.name;
                tracing::warn!(interface, %error, "no raw socket: clients without an address are answered by broadcast");
            })
            .ok();
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { interface: interface.clone(), socket, raw, server_port, client_port })
    }

    pub(super) fn name(&self) -> &str {
        &self.interface.name
    }

    /// Waits for a packet and takes up to `most` that are there.
    pub(super) async fn receive(&self, most: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut packet = vec![0; RECEIVE];
        let length = self.socket.recv(&mut packet).await?;
        let mut packets = vec![packet[..length].to_vec()];
        while packets.len() < most {
            match self.socket.try_recv(&mut packet) {
                Ok(length) => packets.push(packet[..length].to_vec()),
                Err(_) => break,
            }
        }
        Ok(packets)
    }

    /// Sends a reply; the client asks again if it is lost.
    pub(super) async fn send(&self, reply: &Reply) {
        let mut bytes = match reply.message.to_vec() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "a DHCP reply cannot be encoded");
                return;
            }
        };
        // Some clients and relays drop what is shorter than BOOTP's packets were.
        bytes.resize(bytes.len().max(MIN_PACKET_SIZE), 0);
        if let Err(error) = self.send_to(&bytes, reply.to).await {
            tracing::warn!(interface = self.interface.name, to = ?reply.to, %error, "cannot send a DHCP reply");
        }
    }

    async fn send_to(&self, bytes: &[u8], to: Destination) -> io::Result<()> {
        let client = |address| SocketAddrV4::new(address, self.client_port);
        let target = match to {
            Destination::Relay(relay) => SocketAddrV4::new(relay, self.server_port),
            Destination::Client(address) => client(address),
            Destination::Broadcast => client(Ipv4Addr::BROADCAST),
            Destination::Hardware(mac, address) => {
                let source = SocketAddrV4::new(self.interface.address, self.server_port);
                match self.raw.as_ref().map(|raw| raw.send(mac, source, client(address), bytes)) {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(error)) => tracing::debug!(%error, "raw send failed, sending a broadcast"),
                    None => {}
                }
                client(Ipv4Addr::BROADCAST)
            }
        };
        self.socket.send_to(bytes, target).await.map(|_| ())
    }
}
