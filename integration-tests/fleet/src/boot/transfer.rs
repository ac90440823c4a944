//! Sockets and time for the machines of this module; here packets get lost or doubled if they are to.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use farrier_common::net::MacAddr;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{
    Network,
    lease::{self, Exchange, Lease},
    loaded::Loaded,
    tftp::{self, Transfer},
};
use crate::{
    dice::Dice,
    machine::fault::{Fault, Faults},
};

/// No packet is larger.
const RECEIVE: usize = 2048;

/// How often a packet goes by.
fn copies(faults: &Faults, dice: &mut Dice) -> usize {
    let copies = faults.take(|fault| match fault {
        Fault::DropPacket { permille } => dice.happens(*permille).then_some(0),
        Fault::DuplicatePacket { permille } => dice.happens(*permille).then_some(2),
        Fault::NeverBoot
        | Fault::DieInWrite { .. }
        | Fault::DiskFails { .. }
        | Fault::LoseReport
        | Fault::TestFails { .. }
        | Fault::SshFails
        | Fault::DieInBoot
        | Fault::BootNic { .. }
        | Fault::ClockSkew { .. }
        | Fault::Delay { .. } => None,
    });
    copies.unwrap_or(1)
}

/// Does a whole exchange.
pub(super) async fn lease(
    network: &Network,
    mac: MacAddr,
    mut exchange: Exchange<'_>,
    faults: &Faults,
    dice: &mut Dice,
) -> Result<Lease, String> {
    let mut port = network.segment.open(mac, exchange.xid());
    let mut actions = exchange.on(lease::Event::Start);
    let mut until = Instant::now();
    loop {
        for action in actions {
            match action {
                lease::Action::Send(bytes) => {
                    for _ in 0..copies(faults, dice) {
                        port.send(&bytes).await.map_err(|e| format!("cannot ask for an address: {e}"))?;
                    }
                }
                lease::Action::Wait(time) => until = Instant::now() + dice.jitter(network.pace.retry(time)),
                lease::Action::Gather(time) => until = Instant::now() + dice.jitter(network.pace.of(time)),
                lease::Action::Leased(lease) => return Ok(*lease),
                lease::Action::Failed(why) => return Err(why.to_owned()),
            }
        }
        actions = match timeout_at(until, port.receive()).await {
            Err(_) => exchange.on(lease::Event::Elapsed),
            Ok(None) => return Err("the network is gone".to_owned()),
            Ok(Some(bytes)) => {
                let copies = copies(faults, dice);
                (0..copies).flat_map(|_| exchange.on(lease::Event::Received(&bytes))).collect()
            }
        };
    }
}

/// Does a whole transfer.
pub(super) async fn load(
    from: Option<Ipv4Addr>,
    server: SocketAddrV4,
    mut transfer: Transfer,
    faults: &Faults,
    dice: &mut Dice,
) -> Result<Loaded, String> {
    let broken = |e: std::io::Error| format!("TFTP from {server}: {e}");
    let from = SocketAddr::from((from.unwrap_or(Ipv4Addr::UNSPECIFIED), 0));
    let socket = UdpSocket::bind(from).await.map_err(broken)?;
    // The server answers from a port of its own, which names the transfer from then on (RFC 1350 section 4).
    let (mut peer, mut known) = (SocketAddr::V4(server), false);
    let mut buffer = vec![0; RECEIVE];
    let mut actions = transfer.on(tftp::Event::Start);
    let mut until = Instant::now() + tftp::PATIENCE;
    loop {
        for action in actions {
            match action {
                tftp::Action::Send(bytes) => {
                    for _ in 0..copies(faults, dice) {
                        socket.send_to(&bytes, peer).await.map_err(broken)?;
                    }
                    until = Instant::now() + tftp::PATIENCE;
                }
                tftp::Action::Done(loaded) => return Ok(loaded),
                tftp::Action::Failed(why) => return Err(why),
            }
        }
        actions = match timeout_at(until, socket.recv_from(&mut buffer)).await {
            Err(_) => {
                until = Instant::now() + tftp::PATIENCE;
                transfer.on(tftp::Event::Elapsed)
            }
            // Such as a port that nobody listens on: firmware goes on trying.
            Ok(Err(error)) => {
                tracing::trace!(%error, "TFTP");
                Vec::new()
            }
            Ok(Ok((_, sender))) if sender.ip() != peer.ip() || (known && sender != peer) => Vec::new(),
            Ok(Ok((length, sender))) => {
                (peer, known) = (sender, true);
                let copies = copies(faults, dice);
                (0..copies).flat_map(|_| transfer.on(tftp::Event::Received(&buffer[..length]))).collect()
            }
        };
    }
}
