//! The table of sessions: bounded, emptied by time, each with its window of sequence numbers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    crypto::{self, Suite},
    wire::{self, Plus},
};
use crate::{accounts::Privilege, dice::Dice};

/// A handshake that does not go on is forgotten after this.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Sequence numbers may run ahead of, or behind, the highest one by this (IPMI 2.0 section 6.12.13).
const WINDOW: u32 = 16;

/// One session, established or on its way there.
#[derive(Debug)]
pub(super) struct Session {
    /// Our number for it, which the console puts into its packets.
    pub(super) id: u32,
    /// The console's number for it.
    pub(super) console: u32,
    pub(super) suite: Suite,
    pub(super) peer: SocketAddr,
    /// Its place in the table, from 1.
    pub(super) handle: u8,
    pub(super) phase: Phase,
    /// The last message of the handshake and our answer, which a console that did not get it asks for again.
    pub(super) last: (Vec<u8>, Vec<u8>),
    heard: Instant,
}

/// How far a session is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Open Session is answered.
    Opened {
        /// What the console may ask for later.
        limit: u8,
    },
    /// RAKP message 1 is answered.
    Challenged(Challenge),
    /// Established.
    Live(Box<Live>),
}

/// What the console must prove, and what is made of it.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) slot: u8,
    pub(super) role: Privilege,
    /// What RAKP message 3 must carry.
    pub(super) proof: Vec<u8>,
    pub(super) session_key: Vec<u8>,
    /// What RAKP message 4 carries.
    pub(super) check: Vec<u8>,
}

/// An established session.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) slot: u8,
    /// What it may rise to.
    pub(super) role: Privilege,
    /// What it is at now.
    pub(super) level: Privilege,
    integrity: Vec<u8>,
    confidentiality: [u8; 16],
    sent: u32,
    window: Window,
}

/// The sessions of one BMC.
#[derive(Debug)]
pub(super) struct Sessions {
    all: Vec<Session>,
    most: usize,
    idle: Duration,
}

/// Which sequence numbers were seen: the highest, and a bit for each of those just behind it.
#[derive(Debug, Default)]
pub(super) struct Window {
    highest: u32,
    seen: u32,
}

impl Sessions {
    pub(super) const fn new(most: usize, idle: Duration) -> Self {
        Self { all: Vec::new(), most, idle }
    }

    /// Makes room and a session, not yet in the table; `None` if all places are taken by established sessions.
    pub(super) fn open(
        &mut self,
        peer: SocketAddr,
        suite: Suite,
        dice: &mut Dice,
        now: Instant,
    ) -> Option<&mut Session> {
        if self.all.len() >= self.most {
            let unfinished = |s: &Session| !matches!(s.phase, Phase::Live(_));
            let oldest = self.all.iter().enumerate().filter(|(_, s)| unfinished(s)).min_by_key(|(_, s)| s.heard)?.0;
            self.all.remove(oldest);
        }
        let handle = (1..=u8::MAX).find(|handle| self.all.iter().all(|s| s.handle != *handle))?;
        // A number that is 0 or in use is as likely as a repeated key; sixteen rolls are a bound, not a hope.
        let id = (0..16).map(|_| dice.roll32()).find(|id| *id != 0 && self.all.iter().all(|s| s.id != *id))?;
        let (phase, last) = (Phase::Opened { limit: 0 }, Default::default());
        self.all.push(Session { id, console: 0, suite, peer, handle, phase, last, heard: now });
        self.all.last_mut()
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Session> {
        self.all.iter_mut().find(|session| session.id == id)
    }

    /// The established session with this number.
    pub(super) fn live(&mut self, id: u32) -> Option<&mut Live> {
        self.get(id)?.live()
    }

    /// Every established session, in order of handles.
    pub(super) fn established(&self) -> Vec<(&Session, &Live)> {
        let mut found: Vec<_> = self
            .all
            .iter()
            .filter_map(|session| match &session.phase {
                Phase::Live(live) => Some((session, &**live)),
                Phase::Opened { .. } | Phase::Challenged(_) => None,
            })
            .collect();
        found.sort_by_key(|(session, _)| session.handle);
        found
    }

    /// The answer that this message of a handshake got when it came before.
    pub(super) fn repeated(&self, peer: SocketAddr, payload: &[u8]) -> Option<&[u8]> {
        let session = self.all.iter().find(|s| s.peer == peer && !s.last.1.is_empty() && s.last.0 == payload)?;
        Some(&session.last.1)
    }

    pub(super) fn remove(&mut self, id: u32) -> bool {
        let before = self.all.len();
        self.all.retain(|session| session.id != id);
        self.all.len() < before
    }

    /// Ends all but one.
    pub(super) fn clear_but(&mut self, kept: Option<u32>) {
        self.all.retain(|session| Some(session.id) == kept);
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Ends what was silent for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let idle = self.idle;
        self.all.retain(|session| now < session.ends(idle));
    }

    /// When something is to end.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.all.iter().map(|session| session.ends(self.idle)).min()
    }
}

impl Session {
    fn ends(&self, idle: Duration) -> Instant {
        self.heard + if matches!(self.phase, Phase::Live(_)) { idle } else { HANDSHAKE }
    }

    /// Something arrived for it.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    fn live(&mut self) -> Option<&mut Live> {
        match &mut self.phase {
            Phase::Live(live) => Some(live),
            Phase::Opened { .. } | Phase::Challenged(_) => None,
        }
    }

    /// The console has proved itself.
    pub(super) fn establish(&mut self, challenge: &Challenge) {
        let key = |n| crypto::additional_key(self.suite, &challenge.session_key, n);
        let mut confidentiality = [0; 16];
        confidentiality.copy_from_slice(&key(2)[..16]);
        self.phase = Phase::Live(Box::new(Live {
            slot: challenge.slot,
            role: challenge.role,
            level: challenge.role.min(Privilege::User),
            integrity: key(1),
            confidentiality,
            sent: 0,
            window: Window::default(),
        }));
    }

    /// Takes a packet: its code must be right and its number new. What is inside, in clear.
    pub(super) fn receive(&mut self, packet: &Plus<'_>, now: Instant) -> Option<Vec<u8>> {
        let suite = self.suite;
        let live = self.live()?;
        let (signed, code) = packet.code(suite.code_length()).filter(|_| packet.authenticated)?;
        crypto::same(&suite.code(&live.integrity, &[signed]), code).then_some(())?;
        live.window.accept(packet.sequence).then_some(())?;
        let clear = if packet.encrypted {
            crypto::decrypt(&live.confidentiality, packet.payload)?
        } else {
            packet.payload.to_vec()
        };
        self.heard = now;
        Some(clear)
    }

    /// Wraps a message for the console, encrypted if the request was.
    pub(super) fn send(&mut self, encrypted: bool, message: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
        let (suite, console) = (self.suite, self.console);
        let live = self.live()?;
        live.sent = live.sent.checked_add(1).unwrap_or(1);
        let payload =
            if encrypted { crypto::encrypt(&live.confidentiality, dice.bytes(), message) } else { message.to_vec() };
        let kind = 0x40 | if encrypted { 0x80 } else { 0 };
        let mut packet = wire::plus(kind, console, live.sent, &payload);
        wire::trailer(&mut packet);
        let code = suite.code(&live.integrity, &[&packet[wire::SIGNED_FROM..]]);
        packet.extend(code);
        Some(packet)
    }
}

impl Window {
    /// Is the number new and near the highest one? Then it is seen.
    fn accept(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.highest);
        let behind = self.highest.wrapping_sub(number);
        if number == 0 {
            return false;
        }
        if (1..=WINDOW).contains(&ahead) {
            self.seen = self.seen << ahead | 1;
            self.highest = number;
            return true;
        }
        let bit = 1_u32.checked_shl(behind).unwrap_or_default();
        let fresh = behind <= WINDOW && self.highest != 0 && self.seen & bit == 0;
        if fresh {
            self.seen |= bit;
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_takes_each_near_number_once() {
        let mut window = Window::default();
        let check = |window: &mut Window, number, expected| assert_eq!(window.accept(number), expected, "{number}");
        for (number, expected) in
            [(0, false), (1, true), (1, false), (3, true), (2, true), (2, false), (19, true), (3, false), (4, true)]
        {
            check(&mut window, number, expected);
        }
        for (number, expected) in [(36, false), (35, true), (18, false), (20, true), (20, false)] {
            check(&mut window, number, expected);
        }
        let mut end = Window { highest: u32::MAX - 1, seen: 1 };
        for (number, expected) in [(u32::MAX, true), (0, false), (1, true), (u32::MAX, false)] {
            check(&mut end, number, expected);
        }
    }

    #[test]
    fn the_table_prefers_established_sessions_and_forgets_silent_ones() {
        let mut dice = Dice::new(1);
        let start = Instant::now();
        let peer = ([127, 0, 0, 1], 1).into();
        let mut sessions = Sessions::new(2, Duration::from_secs(60));
        let live = |session: &mut Session| {
            session.establish(&Challenge {
                slot: 2,
                role: Privilege::Administrator,
                proof: vec![],
                session_key: vec![1; 20],
                check: vec![],
            });
        };
        let mut open = |sessions: &mut Sessions, at| sessions.open(peer, Suite::Three, &mut dice, at).map(|s| s.id);
        let first = open(&mut sessions, start).unwrap();
        live(sessions.get(first).unwrap());
        let second = open(&mut sessions, start).unwrap();
        let third = open(&mut sessions, start + Duration::from_secs(1)).unwrap();
        assert!(sessions.get(second).is_none(), "an unfinished one makes room");
        live(sessions.get(third).unwrap());
        assert_eq!(open(&mut sessions, start), None, "established ones do not");
        assert_eq!(sessions.next_end(), Some(start + Duration::from_secs(60)));
        sessions.expire(start + Duration::from_secs(60));
        assert_eq!(sessions.established().len(), 1);
    }
}
