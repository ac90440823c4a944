//! The wire that machines ask for addresses on: an Ethernet, or a relay's socket when nobody is root.
//!
//! One socket serves all machines of a segment; answers find their machine by transaction and hardware address.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use farrier_common::net::MacAddr;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, socket},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::mpsc::{Receiver, Sender, channel},
};
use tokio_util::task::AbortOnDropHandle;

use super::packet;

/// Answers that wait for their machine; more are dropped, as a slow network card drops them.
const WAITING: usize = 8;
/// Larger than any frame.
const RECEIVE: usize = 2048;
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// Handle on one segment; clones are the same.
#[derive(Clone, Debug)]
pub struct Segment(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    out: Arc<Out>,
    ports: Ports,
    _reader: AbortOnDropHandle<()>,
}

#[derive(Debug)]
enum Out {
    Ethernet(UdpSocket),
    Relay { socket: UdpSocket, relay: Ipv4Addr, server: SocketAddrV4 },
}

type Key = (u32, MacAddr);

#[derive(Clone, Debug, Default)]
struct Ports(Arc<Mutex<HashMap<Key, Sender<Vec<u8>>>>>);

/// One exchange's place on the segment.
#[derive(Debug)]
pub struct Port {
    key: Key,
    segment: Segment,
    answers: Receiver<Vec<u8>>,
}

impl Segment {
    /// The Ethernet behind `interface`; needs `CAP_NET_RAW`. Frames carry the machines' own hardware addresses.
    ///
    /// Everything but DHCP goes through the kernel, which has to take the leased addresses for its own: in the machines'
    /// namespace `ip route add local 10.77.0.128/26 dev lo` does that for a whole range without any set-up per machine.
    ///
    /// # Errors
    /// The interface is not there or no Ethernet, or we may not use raw sockets.
    pub fn ethernet(interface: &str) -> io::Result<Self> {
        let link = link_address(interface)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthIp)?;
        bind(socket.as_raw_fd(), &link)?;
        // What this type sends and receives with asks for no address, so it serves any kind of datagram socket.
        let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))?;
        Ok(Self::new(Out::Ethernet(socket)))
    }

    /// Through a relay at `relay`, of which `server` is told; it is answered there (RFC 2131 section 4.1), so the ports of
    /// both are usually the same.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn relay(relay: SocketAddrV4, server: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        // A server on this machine may have the port for all addresses.
        socket.set_reuse_address(true)?;
        socket.bind(&relay.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self::new(Out::Relay { socket, relay: *relay.ip(), server }))
    }

    fn new(out: Out) -> Self {
        let (out, ports) = (Arc::new(out), Ports::default());
        let reader = tokio::spawn(read(Arc::clone(&out), ports.clone()));
        Self(Arc::new(Inner { out, ports, _reader: AbortOnDropHandle::new(reader) }))
    }

    /// A place for the exchange `xid` of the interface `mac`.
    #[must_use]
    pub fn open(&self, mac: MacAddr, xid: u32) -> Port {
        let (to, answers) = channel(WAITING);
        self.0.ports.lock().insert((xid, mac), to);
        Port { key: (xid, mac), segment: self.clone(), answers }
    }
}

impl Port {
    /// Sends a client's packet; a broadcast unless a relay takes it.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match &*self.segment.0.out {
            Out::Relay { socket, relay, server } => {
                let mut bytes = bytes.to_vec();
                packet::relay(&mut bytes, *relay);
                socket.send_to(&bytes, SocketAddr::V4(*server)).await.map(|_| ())
            }
            Out::Ethernet(socket) => {
                let frame = frame(self.key.1, bytes)?;
                socket.send(&frame).await.map(|_| ())
            }
        }
    }

    /// The next answer to this exchange.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        self.answers.recv().await
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.segment.0.ports.lock().remove(&self.key);
    }
}

impl Ports {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Sender<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, packet: &[u8]) {
        let Some(to) = packet::addressee(packet).and_then(|key| self.lock().get(&key).cloned()) else { return };
        // A full queue loses the packet, which the client asks for again.
        let _ = to.try_send(packet.to_vec());
    }
}

async fn read(from: Arc<Out>, ports: Ports) {
    let mut buffer = vec![0; RECEIVE];
    loop {
        let (Out::Relay { socket, .. } | Out::Ethernet(socket)) = &*from;
        let received = socket.recv(&mut buffer).await;
        match (received, &*from) {
            (Ok(length), Out::Relay { .. }) => ports.deliver(&buffer[..length]),
            (Ok(length), Out::Ethernet(_)) => {
                if let Some(packet) = answer_in(&buffer[..length]) {
                    ports.deliver(packet);
                }
            }
            // Such as an interface that is down, or an earlier packet that nobody took: machines only see silence.
            (Err(error), _) => {
                tracing::debug!(%error, "nothing can be received on the segment");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// A broadcast of a client without an address.
fn frame(mac: MacAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(mac.0, [0xff; 6])
        .ipv4(Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets(), 64)
        .udp(CLIENT_PORT, SERVER_PORT);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).map_err(io::Error::other)?;
    Ok(frame)
}

/// What a DHCP server says to a client, if the frame is that.
fn answer_in(frame: &[u8]) -> Option<&[u8]> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    match (packet.net?, packet.transport?) {
        (NetSlice::Ipv4(_), TransportSlice::Udp(udp)) if udp.destination_port() == CLIENT_PORT => Some(udp.payload()),
        _ => None,
    }
}

fn link_address(interface: &str) -> io::Result<LinkAddr> {
    let found = getifaddrs()?
        .filter(|i| i.interface_name == interface)
        .filter_map(|i| i.address)
        .find(|address| address.family() == Some(AddressFamily::Packet));
    let link = found.as_ref().and_then(|address| address.as_link_addr()).copied();
    link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_its_frame() {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [3; 6]).ipv4([10, 77, 0, 1], [10, 77, 0, 9], 64).udp(67, 68);
        builder.write(&mut bytes, b"offer").unwrap();
        assert_eq!(answer_in(&bytes), Some(&b"offer"[..]));
        let own = frame(MacAddr([2; 6]), b"discover").unwrap();
        assert_eq!((answer_in(&own), answer_in(&own[..20]), answer_in(b"")), (None, None, None));
    }

    #[tokio::test]
    async fn a_relay_passes_on_and_finds_the_asking_machine() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(at) = server.local_addr().unwrap() else { panic!() };
        let segment = Segment::relay("127.0.0.1:0".parse().unwrap(), at).unwrap();
        let mac = MacAddr([2; 6]);
        let mut port = segment.open(mac, 7);
        let mut other = segment.open(mac, 8);
        let query = packet::Query::new(packet::Kind::Discover, 7, mac).bytes();
        port.send(&query).await.unwrap();
        let mut buffer = [0; 600];
        let (length, relay) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[24..28], &[127, 0, 0, 1]);
        buffer[0] = 2;
        server.send_to(&buffer[..length], relay).await.unwrap();
        assert_eq!(port.receive().await.unwrap().len(), length);
        assert!(other.answers.try_recv().is_err());
        drop((port, other));
        assert!(segment.0.ports.lock().is_empty());
    }
}
