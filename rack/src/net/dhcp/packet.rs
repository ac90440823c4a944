//! What a DHCP client sent, with everything that matters to us and nothing else.
//!
//! dhcproto encodes our replies but does not decode requests: its decoder stops without a word at the first malformed
//! option, keeps one of several architectures, and panics in debug builds on a short option 94. This parser is total:
//! an option that cannot be is left out and the others stay.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dhcproto::v4::MAGIC;
use farrier_common::net::MacAddr;

/// Where options begin.
const OPTIONS: usize = 240;

/// What a client wants (option 53, of the kinds that clients send to servers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any address.
    Discover,
    /// This address.
    Request,
    /// Not this address: somebody uses it.
    Decline,
    /// To give its address back.
    Release,
    /// Options only.
    Inform,
}

/// A request of a client on an Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Option 53.
    pub(super) kind: Kind,
    /// Transaction id.
    pub(super) xid: u32,
    /// All flag bits; the highest asks for a broadcast reply.
    pub(super) flags: u16,
    /// The address that the client has and uses.
    pub(super) ciaddr: Ipv4Addr,
    /// The relay, if not unspecified.
    pub(super) giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub(super) mac: MacAddr,
    /// Option 50.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
    /// Option 61.
    pub(super) client_id: Option<Vec<u8>>,
    /// Option 60.
    pub(super) class: Vec<u8>,
    /// Option 93.
    pub(super) architectures: Vec<u16>,
    /// Option 97.
    pub(super) machine_uuid: Option<Vec<u8>>,
    /// Option 82.
    pub(super) relay_info: Option<Vec<u8>>,
    /// Option 82, sub-option 5: the subnet that the relay wants an address on.
    pub(super) link: Option<Ipv4Addr>,
    /// Does iPXE ask?
    pub(super) ipxe: bool,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Discover,
            3 => Self::Request,
            4 => Self::Decline,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

impl Request {
    /// Reads a packet; `None` if it is no request of an Ethernet client, or no DHCP at all.
    #[must_use]
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..OPTIONS)?;
        let [op, htype, hlen, _hops] = *header.first_chunk::<4>()?;
        if (op, htype, hlen) != (1, 1, 6) || header[236..] != MAGIC {
            return None;
        }
        let mut options = Options::default();
        options.scan(&packet[OPTIONS..]);
        // RFC 2131 section 4.1: the file and sname fields may hold options too.
        let overload = options.byte(52).unwrap_or(0);
        for (bit, field) in [(1, &header[108..236]), (2, &header[44..108])] {
            if overload & bit != 0 {
                options.scan(field);
            }
        }
        let relay_info = options.take(82);
        Some(Self {
            kind: Kind::from_byte(options.byte(53)?)?,
            xid: u32::from_be_bytes(*header[4..8].first_chunk()?),
            flags: u16::from_be_bytes(*header[10..12].first_chunk()?),
            ciaddr: Ipv4Addr::from(*header[12..16].first_chunk::<4>()?),
            giaddr: Ipv4Addr::from(*header[24..28].first_chunk::<4>()?),
            mac: MacAddr(*header[28..34].first_chunk()?),
            requested: options.address(50),
            server: options.address(54),
            architectures: options.words(93),
            ipxe: options.is_ipxe(),
            client_id: options.take(61),
            class: options.take(60).unwrap_or_default(),
            machine_uuid: options.take(97).filter(|id| id.len() == 17),
            link: relay_info.as_deref().and_then(link_selection),
            relay_info,
        })
    }

    /// Does the client want replies by broadcast?
    #[must_use]
    pub(super) fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }
}

#[derive(Default)]
struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Takes options until the end mark, or until one that is cut off. Parts of one option are joined (RFC 3396).
    fn scan(&mut self, mut bytes: &[u8]) {
        while let Some((&code, rest)) = bytes.split_first() {
            match code {
                0 => bytes = rest,
                255 => return,
                code => {
                    let Some((&length, rest)) = rest.split_first() else { return };
                    let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else { return };
                    self.0.entry(code).or_default().extend_from_slice(value);
                    bytes = rest;
                }
            }
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// An option that is echoed, if it fits one option of a reply.
    fn take(&mut self, code: u8) -> Option<Vec<u8>> {
        self.0.remove(&code).filter(|value| (1..=255).contains(&value.len()))
    }

    fn byte(&self, code: u8) -> Option<u8> {
        <[u8; 1]>::try_from(self.get(code)?).ok().map(|[b]| b)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.get(code)?).ok().map(Ipv4Addr::from).filter(|a| !a.is_unspecified())
    }

    fn words(&self, code: u8) -> Vec<u16> {
        let pairs = self.get(code).unwrap_or_default().as_chunks::<2>().0;
        pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
    }

    /// iPXE has an option of its own, and a user class (sent without the length that RFC 3004 wants).
    fn is_ipxe(&self) -> bool {
        self.0.contains_key(&175) || self.get(77).is_some_and(|class| class.windows(4).any(|w| w == b"iPXE"))
    }
}

/// RFC 3527.
fn link_selection(relay_info: &[u8]) -> Option<Ipv4Addr> {
    let mut sub = Options::default();
    sub.scan(relay_info);
    sub.address(5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::dhcp::clients::{self, Client};

    #[test]
    fn reads_what_ipxe_sends() {
        let request = Request::parse(&clients::discover(Client::IpxeRom)).unwrap();
        assert_eq!(request.kind, Kind::Discover);
        assert_eq!((request.ipxe, request.wants_broadcast()), (true, false));
        assert_eq!(request.architectures, [0]);
        assert_eq!(request.class, b"PXEClient:Arch:00000:UNDI:002001");
    }

    #[test]
    fn a_malformed_option_costs_only_itself() {
        let mut packet = clients::discover(Client::Udhcpc);
        packet.truncate(OPTIONS);
        packet.extend([53, 1, 1, 93, 4, 0, 7, 0, 9, 94, 2, 1, 3, 54, 2, 1, 2, 50, 0, 97, 1, 0, 60, 9]);
        packet.extend(b"PXEClient");
        packet.extend([255]);
        let request = Request::parse(&packet).unwrap();
        assert_eq!(request.architectures, [7, 9]);
        assert_eq!((request.server, request.requested, request.machine_uuid), (None, None, None));
        assert_eq!(request.class, b"PXEClient");
    }

    #[test]
    fn options_may_be_split_and_overloaded() {
        let mut packet = clients::discover(Client::Udhcpc);
        packet.truncate(OPTIONS);
        packet[108..119].copy_from_slice(b"\x3c\x03PXE\x3c\x03Cli\xff");
        packet.extend([53, 1, 3, 52, 1, 1, 255]);
        let request = Request::parse(&packet).unwrap();
        assert_eq!((request.kind, request.class.as_slice()), (Kind::Request, &b"PXECli"[..]));
    }

    #[test]
    fn other_packets_are_none() {
        let good = clients::discover(Client::Udhcpc);
        for (at, byte) in [(0, 2), (1, 6), (2, 8), (236, 0)] {
            let mut packet = good.clone();
            packet[at] = byte;
            assert_eq!(Request::parse(&packet), None, "byte {at}");
        }
        assert_eq!(Request::parse(&good[..OPTIONS]), None, "BOOTP has no message type");
    }

    proptest! {
        #[test]
        fn parsing_is_total(packet: Vec<u8>, tail: Vec<u8>, cut in 0..600_usize) {
            let _ = Request::parse(&packet);
            let mut packet = clients::discover(Client::UefiPxe);
            packet.truncate(cut.min(packet.len()));
            packet.extend(&tail);
            let _ = Request::parse(&packet);
        }
    }
}
