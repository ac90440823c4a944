//! HTTP/1.1 to one BMC, over TLS unless somebody chose otherwise: one connection, made when needed, one request at a time.
//!
//! Invariant: every exchange ends by its deadline, and nothing that arrives is kept beyond the bound on bodies.

use std::{io, net::SocketAddrV4, pin::Pin as StdPin, sync::Arc, time::Duration};

use bytes::Bytes;
use farrier_common::{tls::Fingerprint, webhook::HookUrl};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::trust::{Changed, Judge};

/// How long a BMC is waited for, and how much of it is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection, and again for TLS.
    pub connect: Duration,
    /// For one request and its answer.
    pub request: Duration,
    /// For a whole operation, with all its requests and waits.
    pub whole: Duration,
    /// Bytes of one body.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(8),
            request: Duration::from_secs(25),
            whole: Duration::from_secs(45),
            body: 2 << 20,
        }
    }
}

/// Bytes of a response's head.
const HEAD: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(in crate::bmc) enum WireError {
    /// Not reached.
    #[error("no connection to {address}: {source}")]
    Connect { address: SocketAddrV4, source: io::Error },
    /// It took too long.
    #[error("no answer to {what} within {waited:?}")]
    Silent { what: &'static str, waited: Duration },
    /// Another certificate than the one that is known.
    #[error(
        "its certificate has changed: known is SHA-256 {}, it shows {}; if that is right, set the machine's BMC again",
        .0.pinned, .0.seen
    )]
    Untrusted(Changed),
    /// No TLS came about.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// More than is read.
    #[error("a body of more than {0} bytes")]
    TooLarge(usize),
    /// A request that cannot be sent, made of what the BMC told.
    #[error("not a path: {0:?}")]
    BadPath(String),
}

/// What came back.
#[derive(Debug)]
pub(in crate::bmc) struct Answer {
    pub(in crate::bmc) status: StatusCode,
    pub(in crate::bmc) headers: HeaderMap,
    pub(in crate::bmc) body: Bytes,
}

/// The way to one BMC.
#[derive(Debug)]
pub(in crate::bmc) struct Wire {
    address: SocketAddrV4,
    /// What requests name as their host.
    host: String,
    tls: Option<Tls>,
    limits: Limits,
    open: Option<Open>,
}

#[derive(Debug)]
struct Tls {
    /// Whose certificate is to be shown.
    name: ServerName<'static>,
    judge: Arc<Judge>,
    config: Arc<ClientConfig>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<String>,
    /// Drives the connection; ends with it.
    _driver: JoinSet<()>,
}

// === impl Answer ===

impl Answer {
    pub(in crate::bmc) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

// === impl Wire ===

impl Wire {
    pub(in crate::bmc) fn new(address: SocketAddrV4, judge: Arc<Judge>, limits: Limits) -> Result<Self, WireError> {
        let tls = Tls::new(&address.ip().to_string(), judge)?;
        Ok(Self { address, host: address.to_string(), tls: Some(tls), limits, open: None })
    }

    /// To a server that a URL names. Without a judge it is spoken to in the clear.
    pub(in crate::bmc) fn to(
        address: SocketAddrV4,
        url: &HookUrl,
        judge: Option<Arc<Judge>>,
        limits: Limits,
    ) -> Result<Self, WireError> {
        let tls = judge.map(|judge| Tls::new(url.host(), judge)).transpose()?;
        Ok(Self { address, host: url.authority(), tls, limits, open: None })
    }

    /// The certificate of the BMC, once it was seen.
    pub(in crate::bmc) fn certificate(&self) -> Option<Fingerprint> {
        self.tls.as_ref().and_then(|tls| tls.judge.accepted())
    }

    /// One request and its answer, by `deadline`.
    pub(in crate::bmc) async fn exchange(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&str>,
        deadline: Instant,
    ) -> Result<Answer, WireError> {
        let begun = Instant::now();
        let until = deadline.min(begun + self.limits.request);
        match timeout_at(until, self.exchanged(method, path, headers, body)).await {
            Ok(outcome) => {
                if outcome.is_err() {
                    self.open = None;
                }
                outcome
            }
            Err(_) => {
                // Whatever still comes on this connection is the answer to something else.
                self.open = None;
                Err(WireError::Silent { what: "the request", waited: until.saturating_duration_since(begun) })
            }
        }
    }

    async fn exchanged(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&str>,
    ) -> Result<Answer, WireError> {
        let kept = match &mut self.open {
            Some(open) => open.sender.ready().await.is_ok(),
            None => false,
        };
        if !kept {
            self.open = Some(self.connect().await?);
        }
        let request = self.request(method, path, headers, body)?;
        let Some(open) = &mut self.open else { return Err(WireError::Broken("not open".to_owned())) };
        let broken = |e: hyper::Error| WireError::Broken(farrier_common::telemetry::Chain(&e).to_string());
        let response = match open.sender.send_request(request).await {
            Ok(response) => response,
            // A BMC may close a connection that rests at the moment when the next request is on its way. To ask again is
            // harmless, to command again may not be.
            Err(_) if kept && *method == Method::GET => {
                let mut open = self.connect().await?;
                let request = self.request(method, path, headers, body)?;
                let response = open.sender.send_request(request).await.map_err(broken)?;
                self.open = Some(open);
                response
            }
            Err(error) => return Err(broken(error)),
        };
        let (head, body) = response.into_parts();
        let body = read(body, self.limits.body).await?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<&str>,
    ) -> Result<Request<String>, WireError> {
        let bad = || WireError::BadPath(path.chars().take(200).collect());
        let mut request = Request::new(body.unwrap_or_default().to_owned());
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().map_err(|_| bad())?;
        *request.headers_mut() = headers.clone();
        let host = HeaderValue::from_str(&self.host).map_err(|_| bad())?;
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    async fn connect(&self) -> Result<Open, WireError> {
        let (address, limit) = (self.address, self.limits.connect);
        let silent = |what| move |_| WireError::Silent { what, waited: limit };
        let stream = timeout(limit, TcpStream::connect(address)).await.map_err(silent("the connection"))?;
        let stream = stream.map_err(|source| WireError::Connect { address, source })?;
        // Requests are small and wait for their answers.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with its delay");
        }
        let Some(tls) = &self.tls else { return shaken(stream).await };
        let connecting = TlsConnector::from(Arc::clone(&tls.config)).connect(tls.name.clone(), stream);
        let stream = timeout(limit, connecting).await.map_err(silent("the TLS handshake"))?;
        let stream = stream.map_err(|e| match tls.judge.refused() {
            Some(changed) => WireError::Untrusted(changed),
            None => WireError::Tls(e.to_string()),
        })?;
        shaken(stream).await
    }
}

impl Tls {
    fn new(name: &str, judge: Arc<Judge>) -> Result<Self, WireError> {
        let wrong = |e: String| WireError::Tls(e);
        let config = judge.config().map_err(|e| wrong(e.to_string()))?;
        let name = ServerName::try_from(name.to_owned()).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { name, judge, config })
    }
}

/// HTTP on what is connected.
async fn shaken(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Open, WireError> {
    let shaken = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|e| WireError::Broken(e.to_string()))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a connection to a BMC ended");
        }
    });
    Ok(Open { sender, _driver: driver })
}

async fn read(mut body: Incoming, most: usize) -> Result<Bytes, WireError> {
    let mut all = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| StdPin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|e| WireError::Broken(farrier_common::telemetry::Chain(&e).to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > most {
            return Err(WireError::TooLarge(most));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}
