//! Connections, and bounds on what each may cost.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, http::Uri};
use farrier_common::retry::Backoff;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::Ends;

/// At one time; further clients wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 2048;

/// For the head of a request, and for the pause before it.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// Hyper's buffer, and thereby the longest head.
const HEAD_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;

/// How long a client may take nothing of what it asked for.
const STALL: Duration = Duration::from_secs(60);

/// How long answers under way may take when we stop.
const GRACE: Duration = Duration::from_secs(5);

const AFTER_ERROR: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// Accepts and serves until `stop`; then waits for answers under way.
pub(super) async fn run(listener: TcpListener, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an HTTP connection died");
                }
                continue;
            }
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, ends, place)) => {
                failures = 0;
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    serve(stream, ends, router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "cannot accept HTTP connections");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = AFTER_ERROR.pause(failures) => {}
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

type Accepted = (TcpStream, Ends, tokio::sync::OwnedSemaphorePermit);

/// Cancel-safe: the permit is given back and no connection is lost.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    let ends = Ends { rack: stream.local_addr().unwrap_or(unknown()), client };
    Ok((stream, ends, place))
}

const fn unknown() -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0))
}

async fn serve(stream: TcpStream, ends: Ends, router: Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ends);
        if let Some(uri) = without_double_slashes(request.uri()) {
            *request.uri_mut() = uri;
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(Impatient::new(stream, STALL)), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(GRACE, connection).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(client = %ends.client, %error, "an HTTP connection ended early");
    }
}

/// Firmware joins paths with one slash too many; `None` if there is nothing to mend.
fn without_double_slashes(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = uri.query() {
        path = format!("{path}?{query}");
    }
    path.parse().ok()
}

/// A stream that fails when the other side takes nothing for too long.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    const fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    /// Passes on what a write came to; starts the clock when it has to wait.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn double_slashes_are_mended() {
        let mend = |uri: &str| without_double_slashes(&uri.parse().unwrap()).map(|u| u.to_string());
        assert_eq!(mend("/loaders/snponly.efi"), None);
        assert_eq!(mend("//loaders///snponly.efi?a=//"), Some("/loaders/snponly.efi?a=//".to_owned()));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Impatient::new(stream, Duration::from_millis(50));
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 1 << 20]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
