//! The layout of packets: RMCP header, IPMI 2.0 session wrapper, IPMB message. Parsing is total.

use farrier_common::secret::random_bytes;

use super::suite::Keys;

/// Payload type of an IPMI message.
pub(super) const IPMI: u8 = 0x00;

const RMCP: [u8; 4] = [6, 0, 0xff, 7];
const RMCP_PLUS: u8 = 6;
const ENCRYPTED_AND_SIGNED: u8 = 0xc0;
const BMC: u8 = 0x20;
const REMOTE_CONSOLE: u8 = 0x81;

/// Wraps a payload of the handshake: neither encrypted nor signed.
pub(super) fn plain(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = header(kind, 0, 0);
    push_length(&mut packet, payload.len());
    packet.extend(payload);
    packet
}

/// What was in a packet.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) kind: u8,
    pub(super) session: u32,
    pub(super) sequence: u32,
    pub(super) payload: Vec<u8>,
}

/// Unwraps a payload of the handshake.
pub(super) fn open_plain(datagram: &[u8]) -> Option<Opened> {
    let wrapped = unwrap(datagram)?;
    (wrapped.kind & ENCRYPTED_AND_SIGNED == 0).then(|| Opened {
        kind: wrapped.kind,
        session: wrapped.session,
        sequence: wrapped.sequence,
        payload: wrapped.body.to_vec(),
    })
}

/// Wraps and unwraps the packets of an open session.
#[derive(Debug)]
pub(super) struct Sealer(pub(super) Keys);

impl Sealer {
    pub(super) fn seal(&self, kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = header(kind | ENCRYPTED_AND_SIGNED, session, sequence);
        let iv = random_bytes::<16>();
        let mut body = payload.to_vec();
        let padding = (1_u8..).take((16 - (payload.len() + 1) % 16) % 16);
        let count = padding.clone().count();
        body.extend(padding);
        body.push(u8::try_from(count).unwrap_or(u8::MAX));
        self.0.encrypt(&iv, &mut body);
        push_length(&mut packet, iv.len() + body.len());
        packet.extend(iv);
        packet.extend(body);
        // What is signed (from the authentication type to the next header) must be a multiple of four long.
        let padding = (4 - (packet.len() - RMCP.len() + 2) % 4) % 4;
        packet.extend(std::iter::repeat_n(0xff, padding));
        packet.push(u8::try_from(padding).unwrap_or(u8::MAX));
        packet.push(7);
        let check = self.0.sign(packet.get(RMCP.len()..).unwrap_or_default());
        packet.extend(check);
        packet
    }

    /// `None` for whatever is not signed and encrypted with the session's keys.
    pub(super) fn open(&self, datagram: &[u8]) -> Option<Opened> {
        let wrapped = unwrap(datagram)?;
        if wrapped.kind & ENCRYPTED_AND_SIGNED != ENCRYPTED_AND_SIGNED {
            return None;
        }
        let (packet, check) = datagram.split_at_checked(datagram.len().checked_sub(self.0.suite.check_length())?)?;
        // The body must lie within what is signed.
        packet.len().checked_sub(HEADER + wrapped.body.len())?;
        if !self.0.verifies(packet.get(RMCP.len()..)?, check) {
            return None;
        }
        let (iv, cipher) = wrapped.body.split_first_chunk::<16>()?;
        let mut payload = self.0.decrypt(iv, cipher)?;
        // The pad bytes themselves are not compared: some BMCs get them wrong, and the signature covers them anyway.
        let padding = usize::from(payload.pop()?);
        payload.truncate(payload.len().checked_sub(padding)?);
        Some(Opened {
            kind: wrapped.kind & !ENCRYPTED_AND_SIGNED,
            session: wrapped.session,
            sequence: wrapped.sequence,
            payload,
        })
    }
}

/// RMCP header, authentication type, payload type, session id, sequence number, length.
const HEADER: usize = 16;

struct Wrapped<'a> {
    kind: u8,
    session: u32,
    sequence: u32,
    body: &'a [u8],
}

fn unwrap(datagram: &[u8]) -> Option<Wrapped<'_>> {
    let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
    let [version, _, _, class, format, kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1] = *header;
    if version != 6 || class & 0x1f != 7 || format != RMCP_PLUS {
        return None;
    }
    let body = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    let (session, sequence) = (u32::from_le_bytes([s0, s1, s2, s3]), u32::from_le_bytes([n0, n1, n2, n3]));
    Some(Wrapped { kind, session, sequence, body })
}

fn header(kind: u8, session: u32, sequence: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(128);
    packet.extend(RMCP);
    packet.extend([RMCP_PLUS, kind]);
    packet.extend(session.to_le_bytes());
    packet.extend(sequence.to_le_bytes());
    packet
}

fn push_length(packet: &mut Vec<u8>, length: usize) {
    packet.extend(u16::try_from(length).expect("our own messages are far below 64 KiB").to_le_bytes());
}

/// Wraps an IPMI message for a request outside of any session, in the IPMI 1.5 format.
pub(super) fn sessionless(message: &[u8]) -> Vec<u8> {
    let mut packet = RMCP.to_vec();
    packet.extend([0; 9]);
    packet.push(u8::try_from(message.len()).expect("our own messages are short"));
    packet.extend(message);
    packet
}

/// Unwraps an IPMI message in the IPMI 1.5 format without authentication.
pub(super) fn open_sessionless(datagram: &[u8]) -> Option<&[u8]> {
    let (header, rest) = datagram.split_first_chunk::<14>()?;
    let [version, _, _, class, format, .., length] = *header;
    if version != 6 || class & 0x1f != 7 || format != 0 {
        return None;
    }
    rest.get(..usize::from(length))
}

/// A request to the BMC, with its two checksums.
pub(super) fn ipmb_request(netfn: u8, cmd: u8, request: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![BMC, netfn << 2];
    message.push(checksum(&message));
    let rest = [&[REMOTE_CONSOLE, request << 2, cmd], data].concat();
    message.extend(&rest);
    message.push(checksum(&rest));
    message
}

/// Completion code and data of the answer to that very request; `None` for any other message.
pub(super) fn ipmb_answer(message: &[u8], netfn: u8, cmd: u8, request: u8) -> Option<&[u8]> {
    let (head, rest) = message.split_first_chunk::<6>()?;
    let [to, answer_netfn, head_check, _, answer_request, answer_cmd] = *head;
    let ours = answer_netfn >> 2 == netfn | 1 && answer_request >> 2 == request && answer_cmd == cmd;
    if !ours || checksum(&[to, answer_netfn]) != head_check {
        return None;
    }
    // The second checksum is not compared: the signature (or, before the session, nothing) protects more than it does.
    rest.get(..rest.len().checked_sub(1)?)
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Suite, *};

    fn sealer(suite: Suite) -> Sealer {
        Sealer(Keys::derive(suite, b"password", &[1; 16], &[2; 16], b"\x14\x05admin"))
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(payload in proptest::collection::vec(any::<u8>(), 0..200), session: u32, sequence: u32) {
            for suite in Suite::ALL {
                let packet = sealer(suite).seal(IPMI, session, sequence, &payload);
                let opened = sealer(suite).open(&packet).unwrap();
                prop_assert_eq!((opened.session, opened.sequence, &opened.payload), (session, sequence, &payload));
            }
        }

        #[test]
        fn one_flipped_bit_closes_it(payload in proptest::collection::vec(any::<u8>(), 0..60), at: proptest::sample::Index, bit in 0_u8..8) {
            for suite in Suite::ALL {
                let mut packet = sealer(suite).seal(IPMI, 7, 9, &payload);
                let at = 4 + at.index(packet.len() - 4);
                packet[at] ^= 1_u8 << bit;
                prop_assert!(sealer(suite).open(&packet).is_none());
            }
        }

        #[test]
        fn hostile_datagrams_never_panic(mut datagram: Vec<u8>, wrap: bool, signed: bool, body: Vec<u8>) {
            if wrap {
                datagram = [&RMCP[..], &[6, 0xc0], &[0; 8], &datagram].concat();
            }
            if signed {
                // A BMC may sign nonsense: the body within is arbitrary.
                let keys = sealer(Suite::Three);
                datagram = header(0xc0, 1, 1);
                push_length(&mut datagram, body.len());
                datagram.extend(&body);
                datagram.extend(keys.0.sign(&datagram[4..]));
            }
            let _ = sealer(Suite::Three).open(&datagram);
            let _ = sealer(Suite::Seventeen).open(&datagram);
            let _ = open_plain(&datagram);
            let _ = open_sessionless(&datagram);
            let _ = ipmb_answer(&datagram, 6, 1, 3);
        }
    }

    #[test]
    fn only_the_answer_to_the_request_is_taken() {
        let mut answer = vec![0x81, 7 << 2];
        answer.push(checksum(&answer));
        answer.extend([0x20, 5 << 2, 1, 0, 0xaa, 0xff]);
        assert_eq!(ipmb_answer(&answer, 6, 1, 5), Some(&[0, 0xaa][..]));
        assert_eq!(ipmb_answer(&answer, 6, 1, 4), None, "another request");
        assert_eq!(ipmb_answer(&answer, 6, 2, 5), None, "another command");
        assert_eq!(ipmb_answer(&answer, 0, 1, 5), None, "another function");
    }
}
