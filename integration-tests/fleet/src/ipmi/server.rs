//! One BMC's IPMI server, without sockets: datagrams and the time in, datagrams out.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use farrier_common::net::MacAddr;

use super::{
    boot_options::BootOptions,
    commands::{self, Call, ChannelAccess, Panel, code},
    faults::{self, Effects, SharedFaults, Step},
    handshake::Kind,
    lan::Lan,
    session::Sessions,
    system::Told,
    wire::{self, Message, Packet, Plus},
};
use crate::{
    accounts::{Privilege, SharedAccounts},
    chassis::Chassis,
    dice::Dice,
    personality::Personality,
    truth::Fact,
};

/// Payload type of an IPMI message.
const MESSAGE: u8 = 0x00;

/// What is this BMC's alone.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its address, as the LAN parameters tell it.
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The system's GUID, as it is on the wire.
    pub guid: [u8; 16],
    /// The machine's serial number.
    pub serial: String,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
    /// How much later than now.
    pub after: Duration,
}

/// The IPMI face of one BMC.
#[derive(Debug)]
pub struct Server {
    pub(super) identity: Identity,
    pub(super) personality: Arc<Personality>,
    pub(super) chassis: Chassis,
    pub(super) accounts: SharedAccounts,
    pub(super) dice: Dice,
    pub(super) sessions: Sessions,
    pub(super) channel: ChannelAccess,
    pub(super) lan: Lan,
    pub(super) boot: BootOptions,
    pub(super) panel: Panel,
    /// A session that ends as soon as the answer is wrapped.
    pub(super) closing: Option<u32>,
    faults: SharedFaults,
}

/// What a packet asks for, after everything that could be wrong with it.
enum Request {
    Ping(u8),
    /// Outside of a session, in a header of IPMI 1.5 or 2.0.
    Discovery {
        message: Vec<u8>,
        plus: bool,
    },
    Handshake {
        kind: Kind,
        payload: Vec<u8>,
    },
    /// Inside a session.
    Session {
        id: u32,
        message: Vec<u8>,
        encrypted: bool,
    },
}

impl Server {
    /// A BMC as the vendor delivers it. What it shares with its Redfish face and with the machine comes from outside; `dice`
    /// decide its session numbers and nonces.
    #[must_use]
    pub fn new(
        identity: Identity,
        personality: Arc<Personality>,
        chassis: Chassis,
        accounts: SharedAccounts,
        faults: SharedFaults,
        dice: Dice,
    ) -> Self {
        let traits = &personality.ipmi;
        let sessions = Sessions::new(traits.sessions, Duration::from_secs(traits.session_idle_secs));
        Self {
            identity,
            personality,
            chassis,
            accounts,
            dice,
            sessions,
            channel: ChannelAccess::default(),
            lan: Lan::default(),
            boot: BootOptions::default(),
            panel: Panel::default(),
            closing: None,
            faults,
        }
    }

    /// Takes a datagram from `peer`. Total: what is no proper packet gets no answer.
    pub fn on_datagram(&mut self, peer: SocketAddr, bytes: &[u8], now: Instant) -> Vec<Datagram> {
        self.on_time(now);
        let answer = self.answer(peer, bytes, now);
        answer.map(|(bytes, effects)| self.shape(peer, bytes, effects)).unwrap_or_default()
    }

    /// Takes a message from the machine itself, which needs no session: network function with LUN, command, data.
    pub(super) fn on_system(&mut self, message: &[u8], now: Instant) -> Told {
        self.on_time(now);
        let (netfn_lun, command, data) = match message {
            [netfn_lun, command, data @ ..] => (*netfn_lun, *command, data),
            [netfn_lun] => (*netfn_lun, 0, &[][..]),
            [] => (0, 0, &[][..]),
        };
        let call = Call {
            netfn: netfn_lun >> 2,
            command,
            data,
            session: None,
            level: Privilege::Administrator,
            effects: Effects::default(),
            now,
        };
        let (code, data) = match commands::from_machine(self, &call) {
            Ok(data) => (code::OK, data),
            Err(code) => (code, Vec::new()),
        };
        let mut answer = vec![netfn_lun | 1 << 2, command, code];
        answer.extend(data);
        Told { message: answer, interrupts: self.panel.interrupts() }
    }

    /// Lets time pass: sessions and boot flags end.
    pub fn on_time(&mut self, now: Instant) {
        self.sessions.expire(now);
        self.boot.expire(&self.chassis, now);
        self.sessions_ended();
    }

    /// When [`Server::on_time`] has something to do, if nothing arrives before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.sessions.next_end(), self.boot.next_end()].into_iter().flatten().min()
    }

    /// Established sessions.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.established().len()
    }

    fn answer(&mut self, peer: SocketAddr, bytes: &[u8], now: Instant) -> Option<(Vec<u8>, Effects)> {
        let request = self.admit(bytes, now)?;
        let effects = faults::meet(&self.faults, request.step()?);
        if effects.drop {
            self.chassis.truth().count(Fact::Unanswered);
            return None;
        }
        let packet = match request {
            Request::Ping(tag) => Some(wire::pong(tag)),
            Request::Discovery { message, plus } => self.discover(&message, plus, effects, now),
            Request::Handshake { kind, payload } => {
                let answer = self.channel.is_open().then(|| self.handshake(kind, &payload, peer, effects, now))??;
                Some(wire::plus(kind.answer(), 0, 0, &answer))
            }
            Request::Session { id, message, encrypted } => self.command(id, &message, encrypted, effects, now),
        };
        packet.filter(|_| !effects.mute).map(|packet| (packet, effects))
    }

    /// Checks whatever can be wrong with a packet.
    fn admit(&mut self, bytes: &[u8], now: Instant) -> Option<Request> {
        let packet = match Packet::parse(bytes)? {
            Packet::Ping { tag } => return Some(Request::Ping(tag)),
            Packet::Plain(message) => return Some(Request::Discovery { message: message.to_vec(), plus: false }),
            Packet::Plus(packet) => packet,
        };
        let Plus { kind, session: id, encrypted, authenticated, payload, .. } = packet;
        if let Some(kind) = Kind::from_payload(kind) {
            let bare = id == 0 && !encrypted && !authenticated;
            return bare.then(|| Request::Handshake { kind, payload: payload.to_vec() });
        }
        if kind != MESSAGE {
            return None;
        }
        if id == 0 {
            let bare = !encrypted && !authenticated;
            return bare.then(|| Request::Discovery { message: payload.to_vec(), plus: true });
        }
        let message = self.sessions.get(id)?.receive(&packet, now)?;
        Some(Request::Session { id, message, encrypted })
    }

    /// A command outside of a session; all but a few get silence.
    fn discover(&mut self, message: &[u8], plus: bool, effects: Effects, now: Instant) -> Option<Vec<u8>> {
        let message = Message::parse(message)?;
        let call = Call::new(&message, None, Privilege::Callback, effects, now);
        let outcome = match effects.refuse {
            Some(code) => Err(code),
            None => commands::outside(self, &call)?,
        };
        let answer = respond(&message, outcome);
        Some(if plus { wire::plus(MESSAGE, 0, 0, &answer) } else { wire::plain(&answer) })
    }

    /// A command inside a session.
    fn command(&mut self, id: u32, message: &[u8], encrypted: bool, effects: Effects, now: Instant) -> Option<Vec<u8>> {
        let message = Message::parse(message).filter(Message::is_request)?;
        let level = self.sessions.live(id)?.level;
        let call = Call::new(&message, Some(id), level, effects, now);
        let outcome = match effects.refuse {
            Some(code) => Err(code),
            None => commands::inside(self, &call),
        };
        let answer = respond(&message, outcome);
        let packet = self.sessions.get(id).and_then(|session| session.send(encrypted, &answer, &mut self.dice));
        if let Some(ending) = self.closing.take() {
            self.sessions.remove(ending);
            self.sessions_ended();
        }
        packet
    }

    fn sessions_ended(&mut self) {
        let alive: Vec<_> = self.sessions.established().iter().map(|(session, _)| session.id).collect();
        self.boot.session_ended(|id| alive.contains(&id));
    }

    /// What faults do to an answer.
    fn shape(&mut self, to: SocketAddr, bytes: Vec<u8>, effects: Effects) -> Vec<Datagram> {
        let bytes = if effects.nonsense { self.nonsense() } else { bytes };
        let datagram = Datagram { to, bytes, after: effects.delay };
        if effects.duplicate { vec![datagram.clone(), datagram] } else { vec![datagram] }
    }

    /// The beginning of a packet, and then anything.
    fn nonsense(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.dice.below(48)).unwrap_or_default();
        let noise = self.dice.bytes::<48>();
        [&[0x06, 0x00, 0xff, 0x07][..], &noise[..length]].concat()
    }

    /// Locks the accounts for one command.
    pub(super) fn users(&self) -> std::sync::MutexGuard<'_, crate::accounts::Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn respond(message: &Message<'_>, outcome: commands::Answer) -> Vec<u8> {
    match outcome {
        Ok(data) => message.response(code::OK, &data),
        Err(code) => message.response(code, &[]),
    }
}

impl Request {
    /// What it is for faults; `None` if what is inside is no message.
    fn step(&self) -> Option<Step> {
        match self {
            Self::Ping(_) => Some(Step::Ping),
            Self::Discovery { .. } => Some(Step::Discovery),
            Self::Handshake { kind, payload } => Some(kind.step(payload)),
            Self::Session { message, .. } => {
                let message = Message::parse(message)?;
                let (netfn, command) = (message.netfn, message.command);
                // Set User Password, operation 3.
                let tests_password = message.data.get(1).is_some_and(|operation| operation & 3 == 3);
                Some(Step::Command { netfn, command, tests_password: command == 0x47 && tests_password })
            }
        }
    }
}

#[cfg(test)]
mod tests;
