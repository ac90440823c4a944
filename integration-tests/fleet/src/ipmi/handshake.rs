//! Open Session and RAKP messages 1 to 4 (IPMI 2.0 sections 13.17 to 13.24).

use std::{net::SocketAddr, sync::PoisonError, time::Instant};

use super::{
    crypto::{self, Suite},
    faults::{Effects, Step},
    server::Server,
    session::{Challenge, Phase},
};
use crate::{
    accounts::{LockoutScope, Privilege, User},
    personality::PrivilegeLookup,
};

/// RAKP status codes (IPMI 2.0 table 13-15).
mod status {
    pub(super) const NO_RESOURCES: u8 = 0x01;
    pub(super) const BAD_SESSION: u8 = 0x02;
    pub(super) const BAD_AUTHENTICATION: u8 = 0x04;
    pub(super) const BAD_ROLE: u8 = 0x09;
    pub(super) const ROLE_NOT_ALLOWED: u8 = 0x0a;
    pub(super) const BAD_NAME_LENGTH: u8 = 0x0c;
    pub(super) const NAME_NOT_ALLOWED: u8 = 0x0d;
    pub(super) const BAD_CHECK: u8 = 0x0f;
    pub(super) const NO_SUITE: u8 = 0x11;
    pub(super) const BAD_PARAMETER: u8 = 0x12;
}

/// A message of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Rakp1,
    Rakp3,
}

impl Kind {
    pub(super) const fn from_payload(kind: u8) -> Option<Self> {
        match kind {
            0x10 => Some(Self::Open),
            0x12 => Some(Self::Rakp1),
            0x14 => Some(Self::Rakp3),
            _ => None,
        }
    }

    /// Payload type of the answer.
    pub(super) const fn answer(self) -> u8 {
        match self {
            Self::Open => 0x11,
            Self::Rakp1 => 0x13,
            Self::Rakp3 => 0x15,
        }
    }

    pub(super) fn step(self, payload: &[u8]) -> Step {
        match self {
            Self::Open => Step::OpenSession { authentication: proposed(payload) },
            Self::Rakp1 => Step::Rakp1,
            Self::Rakp3 => Step::Rakp3,
        }
    }
}

/// The authentication algorithm of an Open Session request, if it names one.
fn proposed(payload: &[u8]) -> Option<u8> {
    match payload.get(8..16)? {
        [0, _, _, 8, algorithm, ..] => Some(algorithm & 0x3f),
        _ => None,
    }
}

/// RAKP message 1, read.
struct Rakp1<'a> {
    console_random: &'a [u8],
    /// Role byte, length of the name, name: what is hashed of it.
    role_and_name: Vec<u8>,
    role: u8,
    name_only: bool,
    name: &'a str,
}

impl Server {
    /// Answers a message of the handshake; `None` is silence.
    pub(super) fn handshake(
        &mut self,
        kind: Kind,
        payload: &[u8],
        peer: SocketAddr,
        effects: Effects,
        now: Instant,
    ) -> Option<Vec<u8>> {
        if self.ignores(peer, now) {
            return None;
        }
        if let Some(answer) = self.sessions.repeated(peer, payload) {
            return Some(answer.to_vec());
        }
        // Tag and numbers are answered even to what is refused; what is too short for them gets silence.
        let tag = *payload.first()?;
        let number = <[u8; 4]>::try_from(payload.get(4..8)?).ok()?;
        let console = match kind {
            Kind::Open => number,
            Kind::Rakp1 | Kind::Rakp3 => self.console_of(u32::from_le_bytes(number)),
        };
        let outcome = match (kind, effects.refuse) {
            (_, Some(code)) => Err(code),
            (Kind::Open, None) => self.open(payload, peer, effects.full, now),
            (Kind::Rakp1, None) => self.rakp1(payload, peer, now),
            (Kind::Rakp3, None) => self.rakp3(payload, peer, now),
        };
        match outcome {
            Ok((id, answer)) => {
                let session = self.sessions.get(id)?;
                session.heard(now);
                session.last = (payload.to_vec(), answer.clone());
                Some(answer)
            }
            Err(code) => Some([&[tag, code, 0, 0][..], &console].concat()),
        }
    }

    /// A BMC that blocks addresses after wrong passwords says nothing to them.
    fn ignores(&self, peer: SocketAddr, now: Instant) -> bool {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let by_address = accounts.rules().lockout.as_ref().is_some_and(|l| l.scope == LockoutScope::Address);
        by_address && accounts.is_locked(None, peer.ip(), now)
    }

    fn console_of(&mut self, id: u32) -> [u8; 4] {
        self.sessions.get(id).map_or([0; 4], |session| session.console.to_le_bytes())
    }

    fn open(&mut self, payload: &[u8], peer: SocketAddr, full: bool, now: Instant) -> Result<(u32, Vec<u8>), u8> {
        let (header, algorithms) = payload.split_first_chunk::<8>().ok_or(status::BAD_PARAMETER)?;
        let &[tag, privilege, _, _, c0, c1, c2, c3] = header;
        let console = u32::from_le_bytes([c0, c1, c2, c3]);
        let limit = match privilege & 0x0f {
            0 => Privilege::Administrator as u8,
            asked @ 1..=4 => asked,
            _ => return Err(status::BAD_ROLE),
        };
        let suite = self.suite(algorithms)?;
        if console == 0 {
            return Err(status::BAD_SESSION);
        }
        if full {
            return Err(status::NO_RESOURCES);
        }
        let opened = self.sessions.open(peer, suite, &mut self.dice, now);
        let session = opened.ok_or(status::NO_RESOURCES)?;
        session.console = console;
        session.phase = Phase::Opened { limit };
        let mut answer = vec![tag, 0, limit, 0];
        answer.extend(console.to_le_bytes());
        answer.extend(session.id.to_le_bytes());
        for (kind, algorithm) in (0..).zip(suite.algorithms()) {
            answer.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        Ok((session.id, answer))
    }

    /// The first suite offered that has the three algorithms; a record without length leaves its algorithm to us.
    fn suite(&self, algorithms: &[u8]) -> Result<Suite, u8> {
        let mut wanted = [None; 3];
        for (kind, slot) in (0_u8..).zip(&mut wanted) {
            let from = usize::from(kind) * 8;
            let record = algorithms.get(from..from + 8).ok_or(status::BAD_PARAMETER)?;
            match record {
                [k, _, _, 0, ..] if *k == kind => {}
                [k, _, _, 8, algorithm, ..] if *k == kind => *slot = Some(algorithm & 0x3f),
                _ => return Err(status::BAD_PARAMETER),
            }
        }
        let offered: Vec<_> =
            self.personality.ipmi.cipher_suites.iter().filter_map(|n| Suite::from_number(*n)).collect();
        let fits = |has: [u8; 3]| wanted.iter().zip(has).all(|(want, has)| want.is_none_or(|w| w == has));
        let authentication = |suite: &Suite| wanted[0].is_none_or(|w| w == suite.algorithms()[0]);
        if let Some(suite) = offered.iter().find(|suite| fits(suite.algorithms())) {
            return Ok(*suite);
        }
        Err(if offered.iter().any(authentication) { status::NO_SUITE } else { status::BAD_AUTHENTICATION })
    }

    fn rakp1(&mut self, payload: &[u8], peer: SocketAddr, now: Instant) -> Result<(u32, Vec<u8>), u8> {
        let (id, asked) = Rakp1::parse(payload)?;
        let session = self.sessions.get(id).ok_or(status::BAD_SESSION)?;
        let (suite, console) = (session.suite, session.console.to_le_bytes());
        let limit = match session.phase {
            Phase::Opened { limit } => limit,
            Phase::Challenged(_) | Phase::Live(_) => return Err(status::BAD_SESSION),
        };
        if asked.role > limit {
            return Err(status::ROLE_NOT_ALLOWED);
        }
        let found = self.authorise(&asked, peer, now);
        let Ok((slot, role, key)) = found else {
            self.sessions.remove(id);
            return Err(found.err().unwrap_or(status::NAME_NOT_ALLOWED));
        };
        let random = self.dice.bytes::<16>();
        let guid = self.identity.guid;
        let own = id.to_le_bytes();
        let about = &asked.role_and_name;
        let shown = suite.hmac(&key, &[&console, &own, asked.console_random, &random, &guid, about]);
        let session_key = suite.hmac(&key, &[asked.console_random, &random, about]);
        let challenge = Challenge {
            slot,
            role,
            proof: suite.hmac(&key, &[&random, &console, about]),
            check: suite.code(&session_key, &[asked.console_random, &own, &guid]),
            session_key,
        };
        let tag = payload.first().copied().unwrap_or_default();
        let answer = [&[tag, 0, 0, 0][..], &console, &random, &guid, &shown].concat();
        let session = self.sessions.get(id).ok_or(status::BAD_SESSION)?;
        session.phase = Phase::Challenged(challenge);
        Ok((id, answer))
    }

    /// Slot, role and key of the user that is asked for.
    fn authorise(&mut self, asked: &Rakp1<'_>, peer: SocketAddr, now: Instant) -> Result<(u8, Privilege, Vec<u8>), u8> {
        let channel = self.channel.limit();
        let lookup = self.personality.ipmi.privilege_lookup;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |user: &&User| {
            let limit = user.access.privilege as u8;
            asked.name_only
                || asked.role == 0
                || match lookup {
                    PrivilegeLookup::Exact => limit == asked.role,
                    PrivilegeLookup::AtLeast => limit >= asked.role,
                }
        };
        let found = accounts.named(asked.name).filter(|user| user.may_log_in()).find(wanted);
        let found = found.and_then(|user| Some((user.slot, user.access.privilege, user.key()?.expose().clone())));
        let Some((slot, limit, key)) = found else {
            accounts.login_refused(None, peer.ip(), now);
            return Err(status::NAME_NOT_ALLOWED);
        };
        if accounts.is_locked(Some(slot), peer.ip(), now) {
            return Err(status::NAME_NOT_ALLOWED);
        }
        let limit = limit.min(channel).min(Privilege::Administrator);
        let role = if asked.role == 0 { Some(limit) } else { Privilege::from_number(asked.role) };
        role.filter(|role| limit.reaches(*role)).map(|role| (slot, role, key)).ok_or(status::ROLE_NOT_ALLOWED)
    }

    fn rakp3(&mut self, payload: &[u8], peer: SocketAddr, now: Instant) -> Result<(u32, Vec<u8>), u8> {
        let (header, proof) = payload.split_first_chunk::<8>().ok_or(status::BAD_PARAMETER)?;
        let &[tag, told, _, _, s0, s1, s2, s3] = header;
        let id = u32::from_le_bytes([s0, s1, s2, s3]);
        let session = self.sessions.get(id).ok_or(status::BAD_SESSION)?;
        let phase = std::mem::replace(&mut session.phase, Phase::Opened { limit: 0 });
        let challenge = match phase {
            Phase::Challenged(challenge) => challenge,
            other @ (Phase::Opened { .. } | Phase::Live(_)) => {
                session.phase = other;
                return Err(status::BAD_SESSION);
            }
        };
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // A console that cannot make sense of our proof has another password and tells us so.
        if told != 0 || !crypto::same(&challenge.proof, proof) {
            accounts.login_refused(Some(challenge.slot), peer.ip(), now);
            self.sessions.remove(id);
            return Err(status::BAD_CHECK);
        }
        accounts.login_done(challenge.slot, peer.ip());
        let console = session.console.to_le_bytes();
        session.establish(&challenge);
        Ok((id, [&[tag, 0, 0, 0][..], &console, &challenge.check].concat()))
    }
}

impl<'a> Rakp1<'a> {
    fn parse(payload: &'a [u8]) -> Result<(u32, Self), u8> {
        let (header, name) = payload.split_first_chunk::<28>().ok_or(status::BAD_PARAMETER)?;
        let [_, _, _, _, s0, s1, s2, s3, ..] = *header;
        let (console_random, role) = (&payload[8..24], header[24]);
        let length = usize::from(header[27]);
        if length > 16 {
            return Err(status::BAD_NAME_LENGTH);
        }
        let name = name.get(..length).ok_or(status::BAD_NAME_LENGTH)?;
        let role_and_name = [&[role, header[27]][..], name].concat();
        let name = std::str::from_utf8(name).map_err(|_| status::NAME_NOT_ALLOWED)?;
        let asked = Self { console_random, role_and_name, role: role & 0x0f, name_only: role & 0x10 != 0, name };
        Ok((u32::from_le_bytes([s0, s1, s2, s3]), asked))
    }
}
