//! HTTPS in front of a [`Redfish`]: one listener for each BMC, as each has an address of its own.

mod tls;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use farrier_common::clock::Clock;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{copy, sink},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use self::tls::{Tls, TlsError};
use super::{Caller, Now, Redfish, Verdict, answer, problem::Problem};

/// Connections to one BMC at a time; a real one has not many either.
const CONNECTIONS: usize = 16;

/// Longest body of a request.
const BODY_MAX: usize = 128 * 1024;

/// For the TLS handshake, and for a request's body.
const PATIENCE: Duration = Duration::from_secs(10);

/// For the head of the next request on a connection.
const IDLE: Duration = Duration::from_secs(60);

/// How long silence lasts before even the black hole closes the connection.
const SILENCE: Duration = Duration::from_secs(600);

/// A service that its server, its faults and its machine's brain share.
pub type SharedRedfish = Arc<Mutex<Redfish>>;

/// What a server needs.
#[derive(Clone, Debug)]
pub struct Server {
    /// The service.
    pub face: SharedRedfish,
    /// Its certificate.
    pub tls: Arc<Tls>,
    /// The BMC's clock.
    pub clock: Clock,
}

/// A connection that ended otherwise than by its peer's wish.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed by a fault")
    }
}

impl std::error::Error for Closed {}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    /// Serves until `stop`; open connections end with it.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                // Without a free slot the connection is dropped: the peer sees it closed.
                Ok((stream, from)) => {
                    if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                        let server = self.clone();
                        connections.spawn(async move {
                            server.connection(stream, from.ip()).await;
                            drop(slot);
                        });
                    }
                }
                Err(error) => {
                    // Out of descriptors, mostly; trying again at once would only burn time.
                    tracing::debug!(%error, "cannot accept");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, mut stream: TcpStream, from: IpAddr) {
        if self.face.lock().unwrap_or_else(PoisonError::into_inner).is_deaf() {
            // Who gives up leaves a free slot, so that a BMC which is healed can be reached.
            let _ = timeout(SILENCE, copy(&mut stream, &mut sink())).await;
            return;
        }
        let _ = stream.set_nodelay(true);
        let config = match self.tls.config() {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%error, "no certificate");
                return;
            }
        };
        let Ok(Ok(stream)) = timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await else { return };
        let service = service_fn(|request| self.exchange(request, from));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::trace!(%error, "connection ended");
        }
    }

    async fn exchange(&self, request: Request<Incoming>, from: IpAddr) -> Result<Response<Body>, Closed> {
        let (head, body) = request.into_parts();
        let body = match timeout(PATIENCE, to_bytes(Body::new(body), BODY_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Ok(answer::problem(&Problem::too_large()).map(Body::from)),
            Err(_) => return Err(Closed),
        };
        let request = Request::from_parts(head, body);
        match self.handle(&request, from) {
            Verdict::Answer(response, delay) => {
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                Ok(response.map(Body::from))
            }
            Verdict::Silence => {
                sleep(SILENCE).await;
                Err(Closed)
            }
            Verdict::Hangup => Err(Closed),
        }
    }

    fn handle(&self, request: &Request<Bytes>, from: IpAddr) -> Verdict {
        let now = Now { wall: self.clock.now(), steady: Instant::now() };
        self.face.lock().unwrap_or_else(PoisonError::into_inner).handle(request, Caller { from, now })
    }
}
