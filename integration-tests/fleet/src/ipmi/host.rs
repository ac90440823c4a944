//! Sockets for servers: one UDP socket and one task for each BMC, which sleeps until a packet or a deadline comes; or one
//! socket for all of them.
//!
//! Linux needs no set-up for addresses of 127.0.0.0/8, so that a process can be thousands of BMCs at one port.

mod shared;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::shared::Crowd;
use super::{
    server::{Datagram, Server},
    system::Asked,
};

/// No packet of ours or for us is longer.
const LONGEST: usize = 600;
/// So many answers wait at a time; further ones are lost, as on a wire.
const MOST_WAITING: usize = 32;
/// So many receptions may fail in a row.
const MOST_FAILURES: u32 = 64;

/// A BMC that cannot be added.
#[derive(Debug, Error)]
pub enum HostError {
    /// There are as many as there may be.
    #[error("this host has {0} BMCs already, which is its limit")]
    Full(usize),
    /// No socket at this address.
    #[error("no socket at {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Many BMCs in one process. They stop when it is dropped.
#[derive(Debug)]
pub struct Host {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    bmcs: usize,
    most: usize,
}

impl Host {
    /// A host for `most` BMCs.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { tasks: JoinSet::new(), stop: CancellationToken::new(), bmcs: 0, most }
    }

    /// Starts a BMC; where it is reached, which tells the port if 0 was asked for.
    ///
    /// # Errors
    /// There are too many, or the address cannot be had.
    pub async fn add(&mut self, address: SocketAddr, server: Server) -> Result<SocketAddr, HostError> {
        self.add_with(address, server, mpsc::channel(1).1).await
    }

    /// The same, with a machine around the BMC that asks it too.
    ///
    /// # Errors
    /// As [`Host::add`].
    pub async fn add_with(
        &mut self,
        address: SocketAddr,
        server: Server,
        machine: mpsc::Receiver<Asked>,
    ) -> Result<SocketAddr, HostError> {
        if self.bmcs >= self.most {
            return Err(HostError::Full(self.most));
        }
        let bind = |source| HostError::Bind { address, source };
        let socket = UdpSocket::bind(address).await.map_err(bind)?;
        self.admit(1)?;
        let bound = socket.local_addr().map_err(bind)?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            if let Err(error) = serve(socket, server, machine, stop).await {
                tracing::error!(%bound, %error, "a simulated BMC lost its socket");
            }
        });
        Ok(bound)
    }

    /// Starts BMCs that share one socket, at `port` of their addresses, which must be local: a process may not have as many
    /// sockets as a large fleet has BMCs. Nobody else may have that port at any address.
    ///
    /// # Errors
    /// There are too many, or the port cannot be had.
    pub fn add_crowd(&mut self, port: u16, servers: Vec<(Ipv4Addr, Server)>) -> Result<(), HostError> {
        let bind = |source| HostError::Bind { address: (Ipv4Addr::UNSPECIFIED, port).into(), source };
        self.admit(servers.len())?;
        let crowd = Crowd::new(port, servers.into_iter().collect()).map_err(bind)?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            if let Err(error) = crowd.serve(stop).await {
                tracing::error!(port, %error, "the simulated BMCs lost their socket");
            }
        });
        Ok(())
    }

    fn admit(&mut self, more: usize) -> Result<(), HostError> {
        let full = self.bmcs + more > self.most;
        if full {
            return Err(HostError::Full(self.most));
        }
        self.bmcs += more;
        Ok(())
    }

    /// BMCs that were started.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bmcs
    }

    /// Was none started?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bmcs == 0
    }

    /// Stops all; those that take longer than `grace` are cut off.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        let _ = timeout(grace, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

/// Serves a BMC at a bound socket, and its machine, until `stop`.
///
/// # Errors
/// The socket fails again and again.
async fn serve(
    socket: UdpSocket,
    mut server: Server,
    mut machine: mpsc::Receiver<Asked>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut waiting: Vec<(Instant, Datagram)> = Vec::new();
    let mut buffer = [0; LONGEST];
    let mut failures = 0;
    loop {
        let deadline = waiting.iter().map(|(at, _)| *at).chain(server.next_deadline().map(Instant::from_std)).min();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                server.on_time(Instant::now().into_std());
            }
            Some(asked) = machine.recv() => {
                let told = server.on_system(&asked.message, Instant::now().into_std());
                // Whoever asked may have been switched off.
                let _ = asked.answer.send(told);
            }
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, peer)) => {
                    failures = 0;
                    let now = Instant::now();
                    let answers = server.on_datagram(peer, &buffer[..length], now.into_std());
                    let room = MOST_WAITING - waiting.len();
                    waiting.extend(answers.into_iter().take(room).map(|d| (now + d.after, d)));
                }
                Err(_) if failures < MOST_FAILURES => failures += 1,
                Err(error) => return Err(error),
            },
        }
        send_due(&socket, &mut waiting).await;
    }
}

/// Sends what is due. What cannot be sent is lost, as on a wire.
async fn send_due(socket: &UdpSocket, waiting: &mut Vec<(Instant, Datagram)>) {
    let now = Instant::now();
    for (_, datagram) in waiting.extract_if(.., |(at, _)| *at <= now) {
        let _ = socket.send_to(&datagram.bytes, datagram.to).await;
    }
}
