//! Spares iPXE its wait for an IPv6 router.
//!
//! iPXE configures IPv4 and IPv6 together and, where no router answers, gives IPv6 up only after 16 seconds, in each boot.
//! So its router solicitations are answered with an advertisement that says nothing: no prefix, and no router (lifetime 0).
//! Only a client that asked DHCP as iPXE a moment ago is answered, and by unicast: nobody else on the network notices.
//! It is a courtesy: where it cannot be done, machines boot all the same.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use farrier_common::{
    clock::{Clock, Timestamp},
    net::MacAddr,
    retry::Backoff,
};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// iPXE solicits for 16 seconds after it asked DHCP.
const MOMENT: TimeDelta = TimeDelta::seconds(60);

/// Clients remembered; more of them boot at one time elsewhere.
const MOST: usize = 4096;

const AFTER_ERROR: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOURCE_LINK_ADDRESS: u8 = 1;

/// Who asked DHCP as iPXE, and when.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<MacAddr, Timestamp>>);

/// Answers the solicitations on one interface.
#[derive(Debug)]
pub(super) struct Advertiser {
    /// A raw ICMPv6 socket, which is sent to and received from as a UDP socket is.
    socket: UdpSocket,
}

// === impl Recent ===

impl Recent {
    pub(super) fn asked(&self, mac: MacAddr, now: Timestamp) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST {
            clients.retain(|_, at| now - *at < MOMENT);
        }
        if clients.len() < MOST {
            clients.insert(mac, now);
        }
    }

    fn knows(&self, mac: MacAddr, now: Timestamp) -> bool {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(&mac).is_some_and(|at| now - *at < MOMENT)
    }
}

// === impl Advertiser ===

impl Advertiser {
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.join_multicast_v6(&ALL_ROUTERS, if_nametoindex(interface)?)?;
        // RFC 4861 section 6.1.2: what came through a router is no advertisement.
        socket.set_unicast_hops_v6(255)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())? })
    }

    pub(super) async fn run(&self, recent: &Recent, clock: &Clock, stop: &CancellationToken) {
        let mut failures = 0;
        let mut packet = [0; 1500];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.socket.recv_from(&mut packet) => received,
            };
            match received {
                Ok((length, from)) => {
                    failures = 0;
                    if soliciting(&packet[..length], from.ip()).is_some_and(|mac| recent.knows(mac, clock.now())) {
                        let sent = self.socket.send_to(&advertisement(), from).await;
                        tracing::debug!(%from, ?sent, "told iPXE that there is no IPv6 router");
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%error, "cannot receive router solicitations");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = AFTER_ERROR.pause(failures) => {}
                    }
                }
            }
        }
    }
}

/// The hardware address of the client that sent this, if it is a router solicitation from a link-local address.
fn soliciting(packet: &[u8], from: IpAddr) -> Option<MacAddr> {
    let (head, mut options) = packet.split_at_checked(8)?;
    let local = matches!(from, IpAddr::V6(from) if from.is_unicast_link_local());
    if head[..2] != [ROUTER_SOLICITATION, 0] || !local {
        return None;
    }
    while let [kind, length, ..] = *options {
        // In units of eight bytes.
        let (option, rest) =
            options.split_at_checked(usize::from(length) * 8).filter(|(option, _)| !option.is_empty())?;
        if (kind, length) == (SOURCE_LINK_ADDRESS, 1) {
            return Some(MacAddr(*option[2..].first_chunk()?));
        }
        options = rest;
    }
    None
}

/// The kernel fills in the checksum.
const fn advertisement() -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = ROUTER_ADVERTISEMENT;
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boot::state::samples;

    const FROM: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe77, 1));

    #[test]
    fn a_solicitation_names_its_sender() {
        let mut packet = vec![133, 0, 1, 2, 0, 0, 0, 0, 1, 1];
        packet.extend(samples::mac(1).0);
        assert_eq!(soliciting(&packet, FROM), Some(samples::mac(1)));
        assert_eq!(soliciting(&packet, Ipv6Addr::UNSPECIFIED.into()), None);
        assert_eq!(soliciting(&packet[..8], FROM), None);
        packet.splice(8..8, [14, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(soliciting(&packet, FROM), Some(samples::mac(1)), "after another option");
        packet[9] = 0;
        assert_eq!(soliciting(&packet, FROM), None, "an option of no length");
        packet[0] = 134;
        assert_eq!(soliciting(&packet, FROM), None);
    }

    #[test]
    fn clients_are_forgotten_after_a_moment() {
        let (recent, now) = (Recent::default(), samples::now());
        recent.asked(samples::mac(1), now);
        assert!(recent.knows(samples::mac(1), now) && !recent.knows(samples::mac(2), now));
        assert!(!recent.knows(samples::mac(1), now + MOMENT));
        for n in 2..u16::try_from(MOST).unwrap() + 2 {
            recent.asked(samples::mac(n), now);
        }
        assert!(!recent.knows(samples::mac(u16::try_from(MOST).unwrap() + 1), now), "full");
        recent.asked(samples::mac(9_999), now + MOMENT);
        assert!(recent.knows(samples::mac(9_999), now + MOMENT));
    }

    proptest! {
        #[test]
        fn parsing_is_total(mut packet: Vec<u8>) {
            if let Some(first) = packet.first_mut() {
                *first = 133;
            }
            let _ = soliciting(&packet, FROM);
        }
    }
}
