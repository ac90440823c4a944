//! DHCPv4 packets (RFC 2131, 2132) as bytes: written as firmware writes them, read as firmware reads them.

use std::net::Ipv4Addr;

use farrier_common::net::MacAddr;

/// Where options begin.
const FIXED: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// What BOOTP's packets had at least; relays and old clients drop what is shorter.
const SHORTEST: usize = 300;

/// Numbers of the options that matter here.
pub mod option {
    #![allow(missing_docs, reason = "the names are those of the standard")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const HOST_NAME: u8 = 12;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const LARGEST: u8 = 57;
    pub const RENEWAL: u8 = 58;
    pub const CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const ARCHITECTURE: u8 = 93;
    pub const INTERFACE: u8 = 94;
    pub const MACHINE_ID: u8 = 97;
    pub const IPXE: u8 = 175;
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who gives addresses?
    Discover,
    /// I give this one.
    Offer,
    /// I take this one.
    Request,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
    /// I need it no more.
    Release,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Discover, Self::Offer, Self::Request, Self::Ack, Self::Nak, Self::Release]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// A message of a client.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its first octets up to the options.
    fixed: [u8; FIXED],
    options: Vec<u8>,
}

impl Query {
    /// A message of the interface `mac`.
    #[must_use]
    pub fn new(kind: Kind, xid: u32, mac: MacAddr) -> Self {
        let mut fixed = [0; FIXED];
        fixed[..3].copy_from_slice(&[1, 1, 6]);
        fixed[4..8].copy_from_slice(&xid.to_be_bytes());
        fixed[28..34].copy_from_slice(&mac.0);
        let mut query = Self { fixed, options: MAGIC.to_vec() };
        query.option(option::MESSAGE_TYPE, &[kind.number()]);
        query
    }

    /// How long the client has been trying.
    pub fn seconds(&mut self, seconds: u16) {
        self.fixed[8..10].copy_from_slice(&seconds.to_be_bytes());
    }

    /// Answers are to be broadcast.
    pub const fn broadcast(&mut self) {
        self.fixed[10] = 0x80;
    }

    /// The address that the client has and can be reached at.
    pub fn own(&mut self, address: Ipv4Addr) {
        self.fixed[12..16].copy_from_slice(&address.octets());
    }

    /// Adds an option; one longer than 255 octets is cut.
    pub fn option(&mut self, code: u8, value: &[u8]) {
        let value = &value[..value.len().min(255)];
        self.options.push(code);
        self.options.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.options.extend_from_slice(value);
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SHORTEST.max(FIXED + self.options.len() + 1));
        bytes.extend_from_slice(&self.fixed);
        bytes.extend_from_slice(&self.options);
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

/// Passes a client's bytes on as a relay does: counts itself and says where it is.
pub fn relay(bytes: &mut [u8], relay: Ipv4Addr) {
    if bytes.len() >= FIXED {
        bytes[3] = bytes[3].saturating_add(1);
        bytes[24..28].copy_from_slice(&relay.octets());
    }
}

/// Which client an answer is for: its transaction and its interface.
#[must_use]
pub fn addressee(bytes: &[u8]) -> Option<(u32, MacAddr)> {
    let reply = bytes.first() == Some(&2) && bytes.len() >= FIXED;
    let xid = u32::from_be_bytes(*bytes.get(4..8)?.first_chunk()?);
    reply.then_some((xid, MacAddr(*bytes.get(28..34)?.first_chunk()?)))
}

/// An answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it is for.
    pub kind: Kind,
    /// The address given.
    pub address: Ipv4Addr,
    /// Who gives it.
    pub server: Ipv4Addr,
    /// Where to load from: the header's field, or option 66 if it is an address.
    pub next_server: Option<Ipv4Addr>,
    /// What to load: option 67, or the header's field.
    pub boot_file: Option<String>,
    /// Netmask.
    pub mask: Option<Ipv4Addr>,
    /// First router.
    pub router: Option<Ipv4Addr>,
    /// Seconds.
    pub lease: Option<u32>,
    /// Seconds until it is to be renewed.
    pub renewal: Option<u32>,
    /// The server's class.
    pub class: Vec<u8>,
}

impl Answer {
    /// Reads an answer to transaction `xid` of `mac`; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8], xid: u32, mac: MacAddr) -> Option<Self> {
        if addressee(bytes)? != (xid, mac) || bytes.get(FIXED..FIXED + 4)? != MAGIC {
            return None;
        }
        let options = Options::parse(&bytes[FIXED + 4..]);
        let overload = options.get(option::OVERLOAD).and_then(|v| v.first()).copied().unwrap_or(0);
        let address = |at: usize| bytes.get(at..at + 4).and_then(ipv4);
        let named = options.get(option::TFTP_SERVER).and_then(text).and_then(|t| t.parse().ok());
        // Where options spill into the file field it holds no name (RFC 2132 section 9.3).
        let field = if overload & 1 == 0 { bytes.get(108..236).and_then(text) } else { None };
        let number = |code| options.get(code).and_then(|v| v.first_chunk()).map(|v| u32::from_be_bytes(*v));
        Some(Self {
            kind: Kind::of(*options.get(option::MESSAGE_TYPE)?.first()?)?,
            address: address(16)?,
            server: options.get(option::SERVER).and_then(ipv4)?,
            next_server: address(20).filter(|a| !a.is_unspecified()).or(named),
            boot_file: options.get(option::BOOT_FILE).and_then(text).or(field),
            mask: options.get(option::SUBNET_MASK).and_then(ipv4),
            router: options.get(option::ROUTER).and_then(ipv4),
            lease: number(option::LEASE_TIME),
            renewal: number(option::RENEWAL),
            class: options.get(option::CLASS).unwrap_or_default().to_vec(),
        })
    }
}

/// Options by number; parts of one option are joined (RFC 3396).
#[derive(Debug, Default)]
pub struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// Reads as far as the bytes make sense.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut all = Self::default();
        while let [code, rest @ ..] = bytes {
            if *code == 0 {
                bytes = rest;
                continue;
            }
            let Some((length, rest)) = rest.split_first() else { break };
            let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
            if *code == 255 {
                break;
            }
            match all.0.iter_mut().find(|(known, _)| known == code) {
                Some((_, known)) => known.extend_from_slice(value),
                None => all.0.push((*code, value.to_vec())),
            }
            bytes = rest;
        }
        all
    }

    /// The value of an option.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b))
}

/// Printable text up to the first zero; empty text is none.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);

    fn offer(tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 77, 0, 100]);
        bytes[28..34].copy_from_slice(&MAC.0);
        bytes[108..112].copy_from_slice(b"file");
        bytes.extend(MAGIC);
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn an_answer_is_read() {
        let bytes =
            offer(&[53, 1, 2, 54, 4, 10, 77, 0, 1, 67, 2, b'a', b'b', 0, 67, 1, b'c', 51, 4, 0, 0, 14, 16, 255]);
        let answer = Answer::parse(&bytes, 7, MAC).unwrap();
        assert_eq!((answer.kind, answer.boot_file.as_deref(), answer.lease), (Kind::Offer, Some("abc"), Some(3600)));
        assert_eq!(answer.address, Ipv4Addr::new(10, 77, 0, 100));
        assert!(Answer::parse(&bytes, 8, MAC).is_none());
        let field = Answer::parse(&offer(&[53, 1, 5, 54, 4, 10, 77, 0, 1]), 7, MAC).unwrap();
        assert_eq!(field.boot_file.as_deref(), Some("file"));
    }

    #[test]
    fn a_relay_marks_what_it_passes_on() {
        let mut bytes = Query::new(Kind::Discover, 7, MAC).bytes();
        relay(&mut bytes, Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!((bytes[3], &bytes[24..28], bytes.len()), (1, &[127, 0, 0, 2][..], SHORTEST));
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(tail: Vec<u8>) {
            let _ = Answer::parse(&tail, 7, MAC);
            let _ = Answer::parse(&offer(&tail), 7, MAC);
        }
    }
}
