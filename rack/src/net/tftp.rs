//! Read-only TFTP for boot loaders (RFC 1350, with the options of RFC 2348, 2349 and 7440).
//!
//! Packets are coded by the `tftpd` crate; the transfer is our own.
//! Its `Worker` costs a thread for each client that only an end of the transfer stops, takes a path that it opens itself,
//! and options whose type cannot be named; and the steps of its transfers cannot be observed.
//! Only [`Loaders`] are served, from memory: there is no path that a client could leave.

mod transfer;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use farrier_common::{clock::Clock, retry::Backoff};
use futures_util::future::try_join_all;
use tftpd::{ErrorCode, Packet};
use thiserror::Error;
use tokio::{net::UdpSocket, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use self::transfer::{Options, Transfer};
use super::{dhcp::Leases, loaders::Loaders};
use crate::boot::{
    state::BootState,
    steps::{Step, StepKind, Steps},
};

/// Transfers at one time; further requests are dropped, and clients repeat them.
const MOST_TRANSFERS: usize = 512;

/// Transfers at one time for one address: firmware begins anew without ending what it began.
const MOST_OF_CLIENT: usize = 8;

/// Larger than any request on an Ethernet.
const RECEIVE: usize = 2048;

const AFTER_ERROR: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our addresses; a client is answered from the one that it asked.
    pub addresses: Vec<Ipv4Addr>,
    /// 69, but in tests; 0: any.
    pub port: u16,
    /// Where the loaders are; Debian's package `ipxe` puts them in `/usr/lib/ipxe`.
    pub loaders_dir: PathBuf,
}

/// Why TFTP cannot be served.
#[derive(Debug, Error)]
pub enum TftpError {
    /// An address cannot be listened on.
    #[error("cannot listen for TFTP on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to serve.
    #[error("cannot load boot loaders")]
    Loaders(#[source] io::Error),
}

/// A server that listens already.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<UdpSocket>,
    loaders: Loaders,
}

struct Context {
    loaders: Loaders,
    boot: BootState,
    leases: Leases,
    steps: Steps,
    clock: Clock,
}

/// Serves TFTP until `stop`.
///
/// # Errors
/// An address cannot be listened on, or there are no loaders.
pub async fn serve(
    config: Config,
    boot: BootState,
    leases: Leases,
    steps: Steps,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), TftpError> {
    Server::bind(&config).await?.run(boot, leases, steps, clock, stop).await
}

// === impl Server ===

impl Server {
    /// Loads the loaders and listens.
    ///
    /// # Errors
    /// An address cannot be listened on, or there are no loaders.
    pub async fn bind(config: &Config) -> Result<Self, TftpError> {
        let loaders = Loaders::load(&config.loaders_dir).map_err(TftpError::Loaders)?;
        let mut sockets = Vec::new();
        for address in &config.addresses {
            let address = SocketAddr::from((*address, config.port));
            let socket = UdpSocket::bind(address).await.map_err(|source| TftpError::Bind { address, source })?;
            tracing::info!(%address, "TFTP is served");
            sockets.push(socket);
        }
        Ok(Self { sockets, loaders })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|s| s.local_addr().ok()).collect()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// None; the type is what task groups take.
    pub async fn run(
        self,
        boot: BootState,
        leases: Leases,
        steps: Steps,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<(), TftpError> {
        let context = std::sync::Arc::new(Context { loaders: self.loaders, boot, leases, steps, clock });
        try_join_all(self.sockets.iter().map(|socket| listen(socket, &context, &stop))).await.map(|_| ())
    }
}

/// The transfers of one listener.
#[derive(Default)]
struct Transfers {
    running: JoinSet<SocketAddr>,
    /// How many for each address and, with the port, which: a repeated request is not a new one.
    clients: HashMap<IpAddr, Vec<u16>>,
}

async fn listen(
    socket: &UdpSocket,
    context: &std::sync::Arc<Context>,
    stop: &CancellationToken,
) -> Result<(), TftpError> {
    let mut transfers = Transfers::default();
    let mut failures = 0;
    let mut packet = vec![0; RECEIVE];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(ended) = transfers.running.join_next() => {
                transfers.ended(ended);
                continue;
            }
            received = socket.recv_from(&mut packet) => received,
        };
        match received {
            Ok((length, client)) => {
                failures = 0;
                if let Err(refusal) = transfers.begin(context, socket, &packet[..length], client) {
                    // If it is lost, the client asks again.
                    let _ = socket.send_to(&refusal, client).await;
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "cannot receive TFTP requests");
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = AFTER_ERROR.pause(failures) => {}
                }
            }
        }
    }
}

// === impl Transfers ===

impl Transfers {
    /// Begins what a client asks for, or tells what to answer instead.
    fn begin(
        &mut self,
        context: &std::sync::Arc<Context>,
        socket: &UdpSocket,
        packet: &[u8],
        client: SocketAddr,
    ) -> Result<(), Vec<u8>> {
        let (filename, mode, options) = match Packet::deserialize(packet) {
            Ok(Packet::Rrq { filename, mode, options }) => (filename, mode, options),
            Ok(Packet::Wrq { .. }) => return Err(refusal(ErrorCode::AccessViolation, "this server is read-only")),
            // Anything else belongs to no transfer; to answer errors could begin a ping-pong.
            Ok(Packet::Data { .. } | Packet::Ack(_) | Packet::Error { .. } | Packet::Oack(_)) | Err(_) => return Ok(()),
        };
        if !mode.eq_ignore_ascii_case("octet") {
            return Err(refusal(ErrorCode::IllegalOperation, "only mode octet is served"));
        }
        let Some((name, file)) = context.loaders.get(&filename) else {
            tracing::debug!(%client, filename, "no such loader");
            return Err(refusal(ErrorCode::FileNotFound, "no such loader"));
        };
        let ports = self.clients.entry(client.ip()).or_default();
        if ports.contains(&client.port()) || ports.len() >= MOST_OF_CLIENT || self.running.len() >= MOST_TRANSFERS {
            tracing::debug!(%client, name, "TFTP request dropped: repeated, or too many at one time");
            return Ok(());
        }
        ports.push(client.port());
        let local = socket.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.ip());
        let options = Options::negotiate(&options, file.len());
        let context = context.clone();
        self.running.spawn(async move {
            let begun = Instant::now();
            let size = file.len();
            match Transfer::begin(local, client, file, options).await {
                Ok(()) => context.done(client, name, size, begun.elapsed()),
                Err(error) => tracing::debug!(%client, name, %error, "TFTP transfer ended early"),
            }
            client
        });
        Ok(())
    }

    fn ended(&mut self, ended: Result<SocketAddr, tokio::task::JoinError>) {
        match ended {
            Ok(client) => {
                if let Some(ports) = self.clients.get_mut(&client.ip()) {
                    ports.retain(|port| *port != client.port());
                    if ports.is_empty() {
                        self.clients.remove(&client.ip());
                    }
                }
            }
            Err(error) => tracing::error!(%error, "a TFTP transfer died"),
        }
    }
}

impl Context {
    fn done(&self, client: SocketAddr, name: &str, size: usize, took: Duration) {
        let text = format!("{name}, {} KiB in {:.1} s by TFTP", size.div_ceil(1024), took.as_secs_f64());
        let IpAddr::V4(address) = client.ip() else { return };
        let Some(mac) = self.leases.mac_of(address) else {
            tracing::info!(%client, text, "TFTP transfer to a client without a lease");
            return;
        };
        let intent = self.boot.by_mac(mac);
        self.steps.record(Step::new(self.clock.now(), mac, intent.as_deref(), StepKind::Tftp, &text));
    }
}

fn refusal(code: ErrorCode, text: &str) -> Vec<u8> {
    Packet::Error { code, msg: text.to_owned() }.serialize().unwrap_or_default()
}
