//! DHCPv4: addresses for everybody on the served subnets, loaders for those who boot from the network.
//!
//! `packet` parses, `reply` decides, `leases` remembers, `wire` sends and receives; this file joins them. `solicit` is a
//! courtesy to iPXE.
//! One socket for each interface, bound to it. Requests are taken in batches, so that one flush of the leases to the disk
//! serves all clients that ask at one time.

#[cfg(test)]
pub(crate) mod clients;
mod leases;
mod loader;
mod packet;
mod raw;
mod reply;
mod solicit;
mod wire;

use std::{io, net::Ipv4Addr, time::Duration};

use farrier_common::{clock::Clock, retry::Backoff};
use futures_util::future::{OptionFuture, join_all};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use self::leases::Leases;
use self::{
    packet::Request,
    reply::{Outcome, Reply, View},
    solicit::{Advertiser, Recent},
    wire::Wire,
};
use crate::{
    boot::{
        state::BootState,
        steps::{Step, StepKind, Steps},
    },
    crash::{Crash, Point, Work},
};

/// Requests that are answered together.
const BATCH: usize = 64;

/// After errors of a socket, such as an interface that is down.
const AFTER_ERROR: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where machines are.
    pub interfaces: Vec<Interface>,
    /// Where we and relays listen: 67, but in tests.
    pub server_port: u16,
    /// Where clients listen: 68, but in tests.
    pub client_port: u16,
    /// Where scripts and loaders are served by HTTP.
    pub http_port: u16,
}

/// A network interface with machines behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as "eth1".
    pub name: String,
    /// Our address on it.
    pub address: Ipv4Addr,
}

/// Why DHCP cannot be served.
#[derive(Debug, Error)]
pub enum DhcpError {
    /// An interface cannot be listened on.
    #[error("cannot listen for DHCP on {interface}, port {port}")]
    Bind {
        /// Which.
        interface: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

struct Server {
    wire: Wire,
    advertiser: Option<Advertiser>,
    recent: Recent,
    address: Ipv4Addr,
    http_port: u16,
    boot: BootState,
    leases: Leases,
    steps: Steps,
    clock: Clock,
    crash: Crash,
}

/// Serves DHCP until `stop`.
///
/// # Errors
/// An interface cannot be listened on.
pub async fn serve(
    config: Config,
    boot: BootState,
    leases: Leases,
    steps: Steps,
    clock: Clock,
    crash: Crash,
    stop: CancellationToken,
) -> Result<(), DhcpError> {
    let mut servers = Vec::new();
    for interface in &config.interfaces {
        let wire = Wire::open(interface, config.server_port, config.client_port).map_err(|source| DhcpError::Bind {
            interface: interface.name.clone(),
            port: config.server_port,
            source,
        })?;
        tracing::info!(interface = interface.name, address = %interface.address, "DHCP is served");
        let advertiser = Advertiser::open(&interface.name)
            .inspect_err(|error| tracing::info!(%error, "iPXE will wait for an IPv6 router: it cannot be answered"))
            .ok();
        let recent = Recent::default();
        let (boot, leases, steps) = (boot.clone(), leases.clone(), steps.clone());
        let (address, http_port) = (interface.address, config.http_port);
        let (clock, crash) = (clock.clone(), crash.clone());
        servers.push(Server { wire, advertiser, recent, address, http_port, boot, leases, steps, clock, crash });
    }
    join_all(servers.iter().map(|server| server.run(&stop))).await;
    Ok(())
}

// === impl Server ===

impl Server {
    async fn run(&self, stop: &CancellationToken) {
        let advertising = self.advertiser.as_ref().map(|a| a.run(&self.recent, &self.clock, stop));
        tokio::join!(self.answer_all(stop), OptionFuture::from(advertising));
    }

    async fn answer_all(&self, stop: &CancellationToken) {
        let mut failures = 0;
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.wire.receive(BATCH) => received,
            };
            match received {
                Ok(packets) => {
                    failures = 0;
                    self.answer(&packets).await;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(interface = self.wire.name(), %error, "cannot receive DHCP requests");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = AFTER_ERROR.pause(failures) => {}
                    }
                }
            }
        }
    }

    async fn answer(&self, packets: &[Vec<u8>]) {
        let requests: Vec<Request> = packets.iter().filter_map(|p| Request::parse(p)).collect();
        let replies: Vec<Reply> = requests.iter().filter_map(|request| self.decide(request)).collect();
        // Also without a reply that needs it: a release or a decline is worth keeping.
        let stored = requests.is_empty() || self.flush().await;
        if stored && replies.iter().any(|reply| reply.durable) {
            self.crash.at(Point::LeaseStored, Work::Dhcp);
        }
        for reply in replies {
            if stored || !reply.durable {
                self.wire.send(&reply).await;
            }
        }
    }

    fn decide(&self, request: &Request) -> Option<Reply> {
        let now = self.clock.now();
        if request.ipxe {
            self.recent.asked(request.mac, now);
        }
        let view = View { server: self.address, http_port: self.http_port, boot: &self.boot };
        let Outcome { reply, note, alarm } = reply::reply(request, &view, &mut self.leases.table(), now);
        self.boot.breaker().begins(request.mac);
        if let Some(note) = note {
            if alarm {
                tracing::warn!(mac = %request.mac, note, "a machine gets no address");
            }
            let intent = self.boot.by_mac(request.mac);
            self.steps.record(Step::new(now, request.mac, intent.as_deref(), StepKind::Dhcp, &note));
        }
        reply
    }

    async fn flush(&self) -> bool {
        let leases = self.leases.clone();
        let stored =
            tokio::task::spawn_blocking(move || leases.flush()).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        if let Err(error) = &stored {
            tracing::error!(%error, "leases cannot be stored; clients are not answered");
        }
        stored.is_ok()
    }
}
