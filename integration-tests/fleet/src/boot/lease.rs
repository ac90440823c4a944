//! Getting an address, as a state machine: the client's messages and waits, without sockets.

use std::{net::Ipv4Addr, time::Duration};

use super::{
    client::{Client, Station},
    packet::{Answer, Kind, option},
};

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Ours for now.
    pub address: Ipv4Addr,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Where to load from.
    pub next_server: Option<Ipv4Addr>,
    /// What to load.
    pub boot_file: Option<String>,
    /// For how long.
    pub lasts: Duration,
    /// When to ask again.
    pub renew: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Begin.
    Start,
    /// A packet for this transaction arrived.
    Received(&'a [u8]),
    /// The time of the last [`Action::Wait`] is over.
    Elapsed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this.
    Send(Vec<u8>),
    /// Wait so long for an answer before the next attempt; replaces any earlier wait.
    Wait(Duration),
    /// Wait so long for better offers; replaces any earlier wait.
    Gather(Duration),
    /// An address was given.
    Leased(Box<Lease>),
    /// There is none to be had.
    Failed(&'static str),
}

#[derive(Debug)]
enum Phase {
    Discovering,
    Gathering(Box<Answer>),
    Requesting(Box<Answer>),
    Renewing,
    Ended,
}

/// One exchange of one client.
#[derive(Debug)]
pub struct Exchange<'a> {
    client: Client,
    station: Station<'a>,
    xid: u32,
    phase: Phase,
    tries: usize,
    refusals: u32,
    waited: Duration,
    own: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// A client that is refused begins anew, but not for ever.
const MOST_REFUSALS: u32 = 4;

impl<'a> Exchange<'a> {
    /// Of a client that has no address.
    #[must_use]
    pub const fn new(client: Client, station: Station<'a>, xid: u32) -> Self {
        let (phase, waited) = (Phase::Discovering, Duration::ZERO);
        Self { client, station, xid, phase, tries: 0, refusals: 0, waited, own: None }
    }

    /// Of a client that wants to keep its address.
    #[must_use]
    pub fn renew(client: Client, station: Station<'a>, xid: u32, lease: &Lease) -> Self {
        let mut exchange = Self::new(client, station, xid);
        exchange.phase = Phase::Renewing;
        exchange.own = Some((lease.address, lease.server));
        exchange
    }

    /// The packet that gives an address back.
    #[must_use]
    pub fn release(client: Client, station: &Station<'_>, xid: u32, lease: &Lease) -> Vec<u8> {
        let mut query = client.query(Kind::Release, xid, station);
        query.own(lease.address);
        query.option(option::SERVER, &lease.server.octets());
        query.bytes()
    }

    /// Names the exchange on the wire.
    #[must_use]
    pub const fn xid(&self) -> u32 {
        self.xid
    }

    /// Takes in what happened; what to do now.
    pub fn on(&mut self, event: Event<'_>) -> Vec<Action> {
        match event {
            Event::Start => self.try_again(),
            Event::Received(bytes) => match Answer::parse(bytes, self.xid, self.station.mac) {
                Some(answer) => self.answered(answer),
                None => Vec::new(),
            },
            Event::Elapsed => match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Gathering(offer) => self.request(offer),
                phase @ (Phase::Discovering | Phase::Requesting(_) | Phase::Renewing) => {
                    self.phase = phase;
                    self.try_again()
                }
                Phase::Ended => Vec::new(),
            },
        }
    }

    fn answered(&mut self, answer: Answer) -> Vec<Action> {
        match (&self.phase, answer.kind) {
            (Phase::Discovering, Kind::Offer) if self.takes(&answer) => {
                let gather = Duration::from_millis(self.client.rhythm().gather.into());
                if gather.is_zero() {
                    return self.request(Box::new(answer));
                }
                self.waited += gather;
                self.phase = Phase::Gathering(Box::new(answer));
                vec![Action::Gather(gather)]
            }
            (Phase::Requesting(offer), Kind::Ack) if offer.server == answer.server => self.leased(answer),
            (Phase::Renewing, Kind::Ack) => self.leased(answer),
            (Phase::Requesting(_) | Phase::Renewing, Kind::Nak) => {
                self.refusals += 1;
                if self.refusals >= MOST_REFUSALS {
                    return self.fail("the DHCP server refuses every address that was asked for");
                }
                (self.phase, self.tries, self.own) = (Phase::Discovering, 0, None);
                self.try_again()
            }
            (
                Phase::Discovering | Phase::Gathering(_) | Phase::Requesting(_) | Phase::Renewing | Phase::Ended,
                Kind::Discover | Kind::Offer | Kind::Request | Kind::Ack | Kind::Nak | Kind::Release,
            ) => Vec::new(),
        }
    }

    fn takes(&self, offer: &Answer) -> bool {
        let file = !self.client.boots() || offer.boot_file.is_some();
        let class = !self.client.is_http() || offer.class.starts_with(b"HTTPClient");
        file && class && !offer.address.is_unspecified()
    }

    fn request(&mut self, offer: Box<Answer>) -> Vec<Action> {
        (self.phase, self.tries) = (Phase::Requesting(offer), 0);
        self.try_again()
    }

    fn leased(&mut self, answer: Answer) -> Vec<Action> {
        self.phase = Phase::Ended;
        let lasts = Duration::from_secs(answer.lease.unwrap_or(3600).into());
        vec![Action::Leased(Box::new(Lease {
            address: answer.address,
            server: answer.server,
            next_server: answer.next_server,
            boot_file: answer.boot_file,
            lasts,
            renew: answer.renewal.map_or(lasts / 2, |seconds| Duration::from_secs(seconds.into())),
        }))]
    }

    fn fail(&mut self, why: &'static str) -> Vec<Action> {
        self.phase = Phase::Ended;
        vec![Action::Failed(why)]
    }

    fn try_again(&mut self) -> Vec<Action> {
        let Some(wait) = self.client.rhythm().tries.get(self.tries).copied() else {
            let why = match &self.phase {
                Phase::Discovering => "no DHCP offer that can be booted from",
                Phase::Requesting(_) | Phase::Renewing | Phase::Gathering(_) | Phase::Ended => {
                    "the DHCP server does not acknowledge"
                }
            };
            return self.fail(why);
        };
        self.tries += 1;
        let bytes = self.message();
        let wait = Duration::from_millis(wait.into());
        self.waited += wait;
        vec![Action::Send(bytes), Action::Wait(wait)]
    }

    fn message(&self) -> Vec<u8> {
        let kind = if matches!(self.phase, Phase::Discovering) { Kind::Discover } else { Kind::Request };
        let mut query = self.client.query(kind, self.xid, &self.station);
        query.seconds(u16::try_from(self.waited.as_secs()).unwrap_or(u16::MAX));
        match (&self.phase, self.own) {
            (Phase::Requesting(offer), _) => {
                query.option(option::REQUESTED_ADDRESS, &offer.address.octets());
                query.option(option::SERVER, &offer.server.octets());
            }
            // Rebinding: the address is in the header, and whoever gave it may answer (RFC 2131 section 4.3.2).
            (Phase::Renewing, Some((address, _))) => query.own(address),
            (Phase::Discovering | Phase::Gathering(_) | Phase::Renewing | Phase::Ended, _) => {}
        }
        query.bytes()
    }
}

#[cfg(test)]
mod tests;
