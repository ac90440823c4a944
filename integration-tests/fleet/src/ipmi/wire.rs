//! The forms of packets: RMCP, ASF presence, session headers of IPMI 1.5 and 2.0, and the messages inside them.
//!
//! Reading is total: whatever arrives is a packet or nothing.

/// RMCP version 1.0, reserved, sequence number "no acknowledge".
const RMCP: [u8; 3] = [0x06, 0x00, 0xff];
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
const ASF_IANA: [u8; 4] = [0x00, 0x00, 0x11, 0xbe];
const ASF_PING: u8 = 0x80;
const ASF_PONG: u8 = 0x40;
const AUTH_NONE: u8 = 0x00;
const AUTH_PLUS: u8 = 0x06;
const PLUS_HEADER: usize = 12;
/// The BMC's address.
const BMC: u8 = 0x20;

/// A packet that is well-formed as far as it can be told without keys.
#[derive(Debug)]
pub(super) enum Packet<'a> {
    /// ASF presence ping.
    Ping { tag: u8 },
    /// A message in a header of IPMI 1.5, outside of a session.
    Plain(&'a [u8]),
    /// Anything in a header of IPMI 2.0.
    Plus(Plus<'a>),
}

/// A packet with a header of IPMI 2.0.
#[derive(Debug)]
pub(super) struct Plus<'a> {
    /// Payload type without its flags.
    pub(super) kind: u8,
    pub(super) encrypted: bool,
    pub(super) authenticated: bool,
    pub(super) session: u32,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
    /// From the authentication type to the end: what integrity is about, and the code that proves it.
    pub(super) signed: &'a [u8],
}

/// A request to the BMC.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    pub(super) netfn: u8,
    pub(super) command: u8,
    pub(super) data: &'a [u8],
    lun: u8,
    console: u8,
    sequence_lun: u8,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<4>()?;
        match header {
            [0x06, _, _, CLASS_ASF] => parse_ping(body),
            [0x06, _, _, CLASS_IPMI] => match *body.first()? {
                AUTH_NONE => parse_plain(body),
                AUTH_PLUS => parse_plus(body).map(Self::Plus),
                _ => None,
            },
            _ => None,
        }
    }
}

fn parse_ping(body: &[u8]) -> Option<Packet<'_>> {
    let (iana, rest) = body.split_first_chunk::<4>()?;
    let [ASF_PING, tag, _, _, ..] = rest else { return None };
    (*iana == ASF_IANA).then_some(Packet::Ping { tag: *tag })
}

fn parse_plain(body: &[u8]) -> Option<Packet<'_>> {
    let (header, rest) = body.split_first_chunk::<10>()?;
    let [_, _, _, _, _, session @ .., length] = header;
    // A session of IPMI 1.5 without authentication is not offered.
    (*session == [0; 4]).then_some(())?;
    rest.get(..usize::from(*length)).map(Packet::Plain)
}

fn parse_plus(body: &[u8]) -> Option<Plus<'_>> {
    let (header, rest) = body.split_first_chunk::<PLUS_HEADER>()?;
    let [_, kind, s0, s1, s2, s3, q0, q1, q2, q3, l0, l1] = *header;
    let payload = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    Some(Plus {
        kind: kind & 0x3f,
        encrypted: kind & 0x80 != 0,
        authenticated: kind & 0x40 != 0,
        session: u32::from_le_bytes([s0, s1, s2, s3]),
        sequence: u32::from_le_bytes([q0, q1, q2, q3]),
        payload,
        signed: body,
    })
}

impl Plus<'_> {
    /// Divides what is signed from the code of `length` bytes that ends the packet; `None` if the trailer is malformed.
    pub(super) fn code(&self, length: usize) -> Option<(&[u8], &[u8])> {
        let (signed, code) = self.signed.split_at_checked(self.signed.len().checked_sub(length)?)?;
        let trailer = signed.get(PLUS_HEADER + self.payload.len()..)?;
        let (pad, [pad_length, 0x07]) = trailer.split_last_chunk::<2>()? else { return None };
        (pad.len() == usize::from(*pad_length) && pad.len() < 4).then_some((signed, code))
    }
}

impl<'a> Message<'a> {
    /// Reads a request; `None` if a checksum is wrong or it is not for the BMC.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[to, netfn_lun, check, console, sequence_lun, command], rest) = bytes.split_first_chunk::<6>()?;
        let (last, data) = rest.split_last()?;
        let sums = [checksum(&[to, netfn_lun]) == check, checksum(&bytes[3..bytes.len() - 1]) == *last];
        (to == BMC && sums == [true; 2]).then_some(Self {
            netfn: netfn_lun >> 2,
            lun: netfn_lun & 0x03,
            console,
            sequence_lun,
            command,
            data,
        })
    }

    /// The response with a completion code and, if that is 0, data.
    pub(super) fn response(&self, code: u8, data: &[u8]) -> Vec<u8> {
        let netfn_lun = (self.netfn | 1) << 2 | self.sequence_lun & 0x03;
        let mut bytes = vec![self.console, netfn_lun, checksum(&[self.console, netfn_lun]), BMC];
        bytes.extend([self.sequence_lun & 0xfc | self.lun, self.command, code]);
        bytes.extend_from_slice(data);
        bytes.push(checksum(&bytes[3..]));
        bytes
    }

    /// Is it a request at all, and not a response?
    pub(super) const fn is_request(&self) -> bool {
        self.netfn & 1 == 0
    }
}

/// ASF presence pong: IPMI is supported.
pub(super) fn pong(tag: u8) -> Vec<u8> {
    let mut bytes = [&RMCP[..], &[CLASS_ASF], &ASF_IANA, &[ASF_PONG, tag, 0, 16], &ASF_IANA].concat();
    bytes.extend([0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A message in a header of IPMI 1.5, outside of a session.
pub(super) fn plain(message: &[u8]) -> Vec<u8> {
    let mut bytes = [&RMCP[..], &[CLASS_IPMI, AUTH_NONE], &[0; 8]].concat();
    bytes.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(message);
    bytes
}

/// A payload in a header of IPMI 2.0, with its flags in `kind`; integrity is the caller's.
pub(super) fn plus(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&RMCP[..], &[CLASS_IPMI, AUTH_PLUS, kind]].concat();
    bytes.extend(session.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Adds the trailer without its code; what is to be signed begins at [`SIGNED_FROM`].
pub(super) fn trailer(packet: &mut Vec<u8>) {
    let signed = packet.len() - SIGNED_FROM + 2;
    let pad = signed.next_multiple_of(4) - signed;
    packet.extend(std::iter::repeat_n(0xff, pad));
    packet.extend([u8::try_from(pad).unwrap_or_default(), 0x07]);
}

/// Integrity covers a packet from here.
pub(super) const SIGNED_FROM: usize = 4;

pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>, class in 6_u8..8, plus: bool, length in 0_usize..24) {
            let mut framed = vec![6, 0, 0xff, class, if plus { 6 } else { 0 }];
            framed.extend(&bytes);
            for packet in [&bytes, &framed] {
                if let Some(Packet::Plus(plus)) = Packet::parse(packet) {
                    let _ = plus.code(length);
                }
            }
            let _ = Message::parse(&bytes);
        }
    }

    #[test]
    fn a_request_is_read_and_answered() {
        // Get Channel Authentication Capabilities as ipmitool sends it.
        let bytes = [0x20, 0x18, 0xc8, 0x81, 0x04, 0x38, 0x8e, 0x04, 0xb1];
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.netfn, message.command, message.data), (6, 0x38, &[0x8e, 0x04][..]));
        assert_eq!(message.response(0xc1, &[]), [0x81, 0x1c, 0x63, 0x20, 0x04, 0x38, 0xc1, 0xe3]);
    }
}
