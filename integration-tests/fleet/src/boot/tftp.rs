//! Loading by TFTP (RFC 1350, options of RFC 2347 to 2349 and 7440), as a state machine without sockets.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::loaded::Loaded;

/// What a client asks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Options of the request, in their order.
    pub options: &'static [(&'static str, u32)],
    /// Only the size is wanted: the transfer is aborted when the server has told it.
    pub probe: bool,
}

impl Manner {
    /// EDK2's first request: it asks for the size and aborts.
    pub const EDK2_PROBE: Self = Self { options: &[("tsize", 0), ("blksize", 1468), ("windowsize", 4)], probe: true };
    /// EDK2's second request.
    pub const EDK2: Self = Self { options: &[("blksize", 1468), ("windowsize", 4)], probe: false };
    /// The first request of a BIOS PXE ROM.
    pub const ROM_PROBE: Self = Self { options: &[("tsize", 0)], probe: true };
    /// The second request of a BIOS PXE ROM.
    pub const ROM: Self = Self { options: &[("blksize", 1456)], probe: false };
    /// iPXE's own.
    pub const IPXE: Self = Self { options: &[("blksize", 1432), ("tsize", 0)], probe: false };
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Begin.
    Start,
    /// The server sent this.
    Received(&'a [u8]),
    /// Nothing came for [`PATIENCE`].
    Elapsed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this, and wait for an answer for [`PATIENCE`].
    Send(Vec<u8>),
    /// The file is there; or, of a probe, its size is known.
    Done(Loaded),
    /// It cannot be had.
    Failed(String),
}

/// Between two attempts.
pub const PATIENCE: Duration = Duration::from_secs(1);
const MOST_ATTEMPTS: u32 = 6;
/// No loader is larger.
const LARGEST: u64 = 64 << 20;

const RRQ: u8 = 1;
const DATA: u8 = 3;
const ACK: u8 = 4;
const ERROR: u8 = 5;
const OACK: u8 = 6;

/// One transfer.
#[derive(Debug)]
pub struct Transfer {
    file: String,
    manner: Manner,
    block: usize,
    window: u16,
    announced: Option<u64>,
    /// The last block that was taken in order.
    last: u16,
    unacknowledged: u16,
    last_sent: Vec<u8>,
    attempts: u32,
    size: u64,
    digest: Sha256,
    head: Vec<u8>,
    keep: usize,
    ended: bool,
}

impl Transfer {
    /// Of one file, of which the first `keep` octets are kept.
    #[must_use]
    pub fn new(file: &str, manner: Manner, keep: usize) -> Self {
        Self {
            file: file.to_owned(),
            manner,
            block: 512,
            window: 1,
            announced: None,
            last: 0,
            unacknowledged: 0,
            last_sent: Vec::new(),
            attempts: 0,
            size: 0,
            digest: Sha256::new(),
            head: Vec::new(),
            keep,
            ended: false,
        }
    }

    /// Takes in what happened; what to do now.
    pub fn on(&mut self, event: Event<'_>) -> Vec<Action> {
        if self.ended {
            return Vec::new();
        }
        match event {
            Event::Start => self.send(self.request()),
            Event::Elapsed if self.attempts >= MOST_ATTEMPTS => {
                self.fail(format!("the TFTP server does not answer for {}", self.file))
            }
            Event::Elapsed => {
                self.attempts += 1;
                if self.last > 0 {
                    // What came since the last acknowledgement need not come again.
                    let [high, low] = self.last.to_be_bytes();
                    (self.unacknowledged, self.last_sent) = (0, vec![0, ACK, high, low]);
                }
                vec![Action::Send(self.last_sent.clone())]
            }
            Event::Received([0, OACK, options @ ..]) => self.options(options),
            Event::Received([0, DATA, high, low, data @ ..]) => self.data(u16::from_be_bytes([*high, *low]), data),
            Event::Received([0, ERROR, _, code, text @ ..]) => {
                let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
                self.fail(format!("TFTP error {code} for {}: {text}", self.file))
            }
            Event::Received(_) => Vec::new(),
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut bytes = vec![0, RRQ];
        for text in [self.file.as_str(), "octet"] {
            bytes.extend(text.bytes().filter(|b| *b != 0));
            bytes.push(0);
        }
        for (name, value) in self.manner.options {
            bytes.extend(format!("{name}\0{value}\0").bytes());
        }
        bytes
    }

    fn options(&mut self, bytes: &[u8]) -> Vec<Action> {
        // A second copy: our acknowledgement got lost.
        if self.size > 0 || self.last > 0 {
            return Vec::new();
        }
        let texts: Vec<_> = bytes.split(|b| *b == 0).map(|t| String::from_utf8_lossy(t).to_lowercase()).collect();
        for pair in texts.chunks_exact(2) {
            let asked = self.manner.options.iter().find(|(name, _)| *name == pair[0]);
            let (Some((name, asked)), Ok(value)) = (asked, pair[1].parse::<u64>()) else {
                return self.abort(8, format!("the TFTP server answers option {:?} that was not asked for", pair[0]));
            };
            let within = |least: u64| (least..=u64::from(*asked)).contains(&value);
            match *name {
                "blksize" if within(8) => self.block = usize::try_from(value).unwrap_or(512),
                "windowsize" if within(1) => self.window = u16::try_from(value).unwrap_or(1),
                "tsize" if value <= LARGEST => self.announced = Some(value),
                _ => return self.abort(8, format!("the TFTP server answers {name} with {value}")),
            }
        }
        if self.manner.probe {
            return self.probed();
        }
        self.send(vec![0, ACK, 0, 0])
    }

    /// Says "no more" to the server, which is how firmware ends a probe.
    fn probed(&mut self) -> Vec<Action> {
        self.ended = true;
        let loaded = Loaded { size: self.announced.unwrap_or(0), sha256: String::new(), head: Vec::new() };
        vec![Action::Send(error(0, "User aborted the transfer")), Action::Done(loaded)]
    }

    fn data(&mut self, number: u16, data: &[u8]) -> Vec<Action> {
        if self.manner.probe {
            return self.probed();
        }
        if number != self.last.wrapping_add(1) {
            // Something is missing or came twice: the server is told once how far we are.
            self.unacknowledged = 0;
            let behind = self.last.wrapping_sub(number) < u16::MAX / 2;
            return if behind && self.window > 1 { Vec::new() } else { self.acknowledge() };
        }
        self.last = number;
        self.unacknowledged += 1;
        self.size += data.len() as u64;
        self.digest.update(data);
        let room = self.keep.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data[..room]);
        if data.len() > self.block || self.size > LARGEST {
            return self
                .abort(4, format!("the TFTP server sends more than {LARGEST} bytes, or blocks that are too long"));
        }
        if data.len() < self.block {
            return self.finish();
        }
        if self.unacknowledged >= self.window { self.acknowledge() } else { Vec::new() }
    }

    fn finish(&mut self) -> Vec<Action> {
        self.ended = true;
        let [high, low] = self.last.to_be_bytes();
        let mut actions = vec![Action::Send(vec![0, ACK, high, low])];
        let announced = self.announced.unwrap_or(self.size);
        actions.push(if announced == self.size {
            let sha256 = hex::encode(std::mem::take(&mut self.digest).finalize());
            Action::Done(Loaded { size: self.size, sha256, head: std::mem::take(&mut self.head) })
        } else {
            Action::Failed(format!("{}: the TFTP server announced {announced} bytes and sent {}", self.file, self.size))
        });
        actions
    }

    fn acknowledge(&mut self) -> Vec<Action> {
        self.unacknowledged = 0;
        let [high, low] = self.last.to_be_bytes();
        self.send(vec![0, ACK, high, low])
    }

    fn send(&mut self, bytes: Vec<u8>) -> Vec<Action> {
        self.attempts = 1;
        self.last_sent.clone_from(&bytes);
        vec![Action::Send(bytes)]
    }

    fn abort(&mut self, code: u8, why: String) -> Vec<Action> {
        self.ended = true;
        vec![Action::Send(error(code, "aborted")), Action::Failed(why)]
    }

    fn fail(&mut self, why: String) -> Vec<Action> {
        self.ended = true;
        vec![Action::Failed(why)]
    }
}

fn error(code: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![0, ERROR, 0, code];
    bytes.extend(text.bytes());
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use farrier_common::secret::sha256_hex;
    use proptest::prelude::*;

    use super::*;

    fn block(number: u16, data: &[u8]) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        [&[0, DATA, high, low], data].concat()
    }

    const OPTIONS: &[u8] = b"\0\x06blksize\x001468\0windowsize\x004\0";

    #[test]
    fn edk2_asks_for_the_size_aborts_and_loads() {
        let mut probe = Transfer::new("snponly.efi", Manner::EDK2_PROBE, 9);
        let first = [b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0".to_vec()];
        assert_eq!(probe.on(Event::Start), first.map(Action::Send));
        let actions = probe.on(Event::Received(b"\0\x06tsize\x002000\0blksize\x001468\0windowsize\x004\0"));
        assert!(matches!(actions.as_slice(), [Action::Send(e), Action::Done(l)] if e[1] == ERROR && l.size == 2000));

        let mut transfer = Transfer::new("snponly.efi", Manner::EDK2, 9);
        transfer.on(Event::Start);
        assert_eq!(transfer.on(Event::Received(OPTIONS)), [Action::Send(vec![0, ACK, 0, 0])]);
        assert!(transfer.on(Event::Received(&block(1, &[7; 1468]))).is_empty(), "the window is not full");
        let actions = transfer.on(Event::Received(&block(2, &[8; 532])));
        let [Action::Send(ack), Action::Done(loaded)] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!((ack.as_slice(), loaded.size), (&[0, ACK, 0, 2][..], 2000));
        assert_eq!(loaded.sha256, sha256_hex(&[[7; 1468].as_slice(), &[8; 532]].concat()));
    }

    #[test]
    fn a_lost_block_is_asked_for_again() {
        let mut transfer = Transfer::new("f", Manner::EDK2, 9);
        transfer.on(Event::Start);
        transfer.on(Event::Received(OPTIONS));
        transfer.on(Event::Received(&block(1, &[7; 1468])));
        assert_eq!(transfer.on(Event::Received(&block(3, &[7; 1468]))), [Action::Send(vec![0, ACK, 0, 1])]);
        assert!(transfer.on(Event::Received(&block(1, &[7; 1468]))).is_empty());
        assert_eq!(transfer.on(Event::Elapsed), [Action::Send(vec![0, ACK, 0, 1])]);
    }

    #[test]
    fn errors_silence_and_odd_options_end_it() {
        let ends = |events: &[Event<'_>]| {
            let mut transfer = Transfer::new("f", Manner::EDK2, 9);
            let actions: Vec<_> = events.iter().flat_map(|e| transfer.on(*e)).collect();
            assert!(matches!(actions.last(), Some(Action::Failed(_))), "{actions:?}");
        };
        ends(&[Event::Start, Event::Received(b"\0\x05\0\x01File not found\0")]);
        ends(&[&[Event::Start][..], &[Event::Elapsed; MOST_ATTEMPTS as usize]].concat());
        ends(&[Event::Start, Event::Received(b"\0\x06blksize\x009999\0")]);
        ends(&[Event::Start, Event::Received(b"\0\x06tsize\x001\0")]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(packets: Vec<Vec<u8>>) {
            let mut transfer = Transfer::new("f", Manner::IPXE, 9);
            transfer.on(Event::Start);
            for packet in packets {
                transfer.on(Event::Received(&packet));
            }
        }

        #[test]
        fn what_is_sent_arrives(data in proptest::collection::vec(any::<u8>(), 0..9000), lose in 0_usize..12) {
            let mut transfer = Transfer::new("f", Manner::EDK2, 9);
            transfer.on(Event::Start);
            transfer.on(Event::Received(OPTIONS));
            let mut blocks: Vec<_> = data.chunks(1468).collect();
            if data.len() % 1468 == 0 {
                blocks.push(&[]);
            }
            let (mut at, mut steps, mut done) = (0, 0, None);
            while done.is_none() {
                prop_assert!(steps < 100);
                let mut answers = Vec::new();
                for (i, data) in blocks.iter().enumerate().skip(at).take(4) {
                    steps += 1;
                    if steps == lose { continue; }
                    answers.extend(transfer.on(Event::Received(&block(u16::try_from(i + 1).unwrap(), data))));
                }
                if answers.is_empty() {
                    answers = transfer.on(Event::Elapsed);
                    steps += 1;
                }
                for answer in answers {
                    match answer {
                        Action::Send(bytes) => at = usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
                        Action::Done(loaded) => done = Some(loaded),
                        Action::Failed(why) => prop_assert!(false, "{}", why),
                    }
                }
            }
            prop_assert_eq!(done.unwrap().sha256, sha256_hex(&data));
        }
    }
}
