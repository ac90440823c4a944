//! One socket for many BMCs: what comes for any local address, answered from that address (`ip(7)`, `IP_PKTINFO`).
//!
//! A process may not have as many sockets as a large fleet has BMCs.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd as _,
};

use nix::{
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
        sockopt::Ipv4PacketInfo,
    },
};
use tokio::{
    io::Interest,
    net::UdpSocket,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{LONGEST, MOST_FAILURES, MOST_WAITING};
use crate::ipmi::server::{Datagram, Server};

/// Requests that the kernel keeps for all BMCs together, in bytes.
const BUFFER: usize = 8 << 20;

/// Many BMCs behind one socket.
#[derive(Debug)]
pub(super) struct Crowd {
    socket: UdpSocket,
    bmcs: HashMap<Ipv4Addr, Bmc>,
    alarms: BinaryHeap<Reverse<(Instant, Ipv4Addr)>>,
}

#[derive(Debug)]
struct Bmc {
    server: Server,
    waiting: Vec<(Instant, Datagram)>,
    alarm: Option<Instant>,
}

impl Crowd {
    /// The BMCs of `servers`, at `port` of their addresses.
    pub(super) fn new(port: u16, servers: HashMap<Ipv4Addr, Server>) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM.nonblocking(), None)?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.bind(&any.into())?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let bmcs = servers
            .into_iter()
            .map(|(address, server)| (address, Bmc { server, waiting: Vec::new(), alarm: None }))
            .collect();
        Ok(Self { socket, bmcs, alarms: BinaryHeap::new() })
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// The socket fails again and again.
    pub(super) async fn serve(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut buffer = [0; LONGEST];
        let mut failures = 0;
        loop {
            let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => self.ring().await,
                received = receive(&self.socket, &mut buffer) => match received {
                    Ok((length, peer, local)) => {
                        failures = 0;
                        self.take(peer, local, &buffer[..length]).await;
                    }
                    Err(_) if failures < MOST_FAILURES => failures += 1,
                    Err(error) => return Err(error),
                },
            }
        }
    }

    async fn take(&mut self, peer: SocketAddrV4, local: Ipv4Addr, datagram: &[u8]) {
        let Some(bmc) = self.bmcs.get_mut(&local) else { return };
        let now = Instant::now();
        let answers = bmc.server.on_datagram(peer.into(), datagram, now.into_std());
        let room = MOST_WAITING - bmc.waiting.len();
        bmc.waiting.extend(answers.into_iter().take(room).map(|answer| (now + answer.after, answer)));
        self.proceed(local, now).await;
    }

    /// Looks after everybody whose alarm has gone off.
    async fn ring(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, address))) = self.alarms.peek().copied() {
            if at > now {
                break;
            }
            self.alarms.pop();
            if let Some(bmc) = self.bmcs.get_mut(&address).filter(|bmc| bmc.alarm == Some(at)) {
                bmc.alarm = None;
                bmc.server.on_time(now.into_std());
            }
            self.proceed(address, now).await;
        }
    }

    /// Sends what is due, and sets the alarm for what comes next.
    async fn proceed(&mut self, address: Ipv4Addr, now: Instant) {
        let Some(bmc) = self.bmcs.get_mut(&address) else { return };
        for (_, answer) in bmc.waiting.extract_if(.., |(at, _)| *at <= now) {
            // What cannot be sent is lost, as on a wire.
            let _ = send(&self.socket, address, &answer).await;
        }
        let next = bmc.waiting.iter().map(|(at, _)| *at).chain(bmc.server.next_deadline().map(Instant::from_std)).min();
        if let Some(at) = next.filter(|at| bmc.alarm.is_none_or(|alarm| *at < alarm)) {
            bmc.alarm = Some(at);
            self.alarms.push(Reverse((at, address)));
        }
    }
}

/// A datagram: its length, who sent it, and to which address.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddrV4, Ipv4Addr)> {
    let read = || {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = nix::cmsg_space!(libc::in_pktinfo);
        let message =
            recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let local = message.cmsgs()?.find_map(|control| {
            // The type is the kernel's, not ours, and the other kinds were not asked for.
            if let ControlMessageOwned::Ipv4PacketInfo(info) = control { Some(info.ipi_addr.s_addr) } else { None }
        });
        let unknown = || io::Error::other("the kernel does not tell from where or to whom a datagram is");
        let local = Ipv4Addr::from(u32::from_be(local.ok_or_else(unknown)?));
        Ok((message.bytes, message.address.ok_or_else(unknown)?.into(), local))
    };
    socket.async_io(Interest::READABLE, read).await
}

async fn send(socket: &UdpSocket, from: Ipv4Addr, datagram: &Datagram) -> io::Result<()> {
    let SocketAddr::V4(to) = datagram.to else { return Err(io::ErrorKind::Unsupported.into()) };
    let source = libc::in_addr { s_addr: u32::from(from).to_be() };
    let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
    let (bytes, control) = ([IoSlice::new(&datagram.bytes)], [ControlMessage::Ipv4PacketInfo(&info)]);
    let write = || {
        sendmsg(socket.as_raw_fd(), &bytes, &control, MsgFlags::MSG_DONTWAIT, Some(&SockaddrIn::from(to)))?;
        Ok(())
    };
    socket.async_io(Interest::WRITABLE, write).await
}
