//! The HTTP client of firmware, agents and installed systems: one request a connection, every wait bounded, nothing kept.

use std::{
    collections::HashMap,
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, Uri,
    body::{Body as _, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::OnceCell,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::boot::loaded::{HEAD, Loaded};

/// What cannot be had by HTTP.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{url}: {why}")]
pub struct HttpError {
    /// From where.
    pub url: String,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// Why.
    pub why: String,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The machine's address; none: the kernel chooses one.
    pub from: Option<Ipv4Addr>,
    /// How it calls itself.
    pub agent: &'static str,
    /// For a connection, for an answer, and for each part of it.
    pub patience: Duration,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Reply {
    url: String,
    patience: Duration,
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Asker {
    /// Asks once.
    ///
    /// # Errors
    /// The address is not `http://ADDRESS[:PORT]/…`, or nobody answers there.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        fields: &[(&'static str, String)],
        body: String,
    ) -> Result<Reply, HttpError> {
        let failed = |why: String| HttpError { url: shown(url), status: None, why };
        let uri: Uri = url.parse().map_err(|_| failed("is no URL".to_owned()))?;
        let host = uri.host().and_then(|h| h.parse::<Ipv4Addr>().ok());
        let (Some("http"), Some(host)) = (uri.scheme_str(), host) else {
            return Err(failed("is not http://ADDRESS[:PORT]/…".to_owned()));
        };
        let stream = self.connect(SocketAddr::from((host, uri.port_u16().unwrap_or(80)))).await.map_err(failed)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(e.to_string()))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let authority = uri.authority().map_or("", |a| a.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, self.agent);
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(|e| failed(e.to_string()))?;
        let answer = timeout(self.patience, sender.send_request(request)).await;
        let response = answer.map_err(|_| failed("no answer".to_owned()))?.map_err(|e| failed(e.to_string()))?;
        Ok(Reply { url: shown(url), patience: self.patience, response, _connection: connection })
    }

    async fn connect(&self, to: SocketAddr) -> Result<TcpStream, String> {
        let socket = TcpSocket::new_v4().map_err(|e| e.to_string())?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::from((from, 0))).map_err(|e| format!("cannot use address {from}: {e}"))?;
        }
        let stream = timeout(self.patience, socket.connect(to)).await.map_err(|_| format!("{to} does not answer"))?;
        let stream = stream.map_err(|e| format!("{to}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(stream)
    }

    /// Loads a whole file and checks it: its length, and its digest if the address ends in one. Keeps the first `keep`
    /// octets.
    ///
    /// # Errors
    /// It cannot be had or is not what it should be.
    pub async fn load(&self, url: &str, keep: usize) -> Result<Loaded, HttpError> {
        let mut reply = self.ask(Method::GET, url, &[], String::new()).await?;
        reply.expect(200)?;
        let announced = reply.length();
        let (mut digest, mut size, mut head) = (Sha256::new(), 0, Vec::new());
        while let Some(chunk) = reply.chunk().await? {
            size += chunk.len() as u64;
            digest.update(&chunk);
            head.extend_from_slice(&chunk[..keep.saturating_sub(head.len()).min(chunk.len())]);
        }
        if announced != Some(size) {
            return Err(reply.error(match announced {
                Some(length) => format!("announced {length} bytes and sent {size}"),
                None => "has no Content-Length".to_owned(),
            }));
        }
        let sha256 = hex::encode(digest.finalize());
        match named_digest(url) {
            Some(named) if named != sha256 => Err(reply.error(format!("has the digest {sha256}"))),
            _ => Ok(Loaded { size, sha256, head }),
        }
    }

    /// Asks for the length alone, as UEFI does before it loads.
    ///
    /// # Errors
    /// It cannot be had, or its length is not told.
    pub async fn length(&self, url: &str) -> Result<u64, HttpError> {
        let reply = self.ask(Method::HEAD, url, &[], String::new()).await?;
        reply.expect(200)?;
        reply.length().ok_or_else(|| reply.error("has no Content-Length".to_owned()))
    }
}

impl Reply {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A field's value, if it is text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// `Content-Length`.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    /// Takes this status only.
    ///
    /// # Errors
    /// It is another one.
    pub fn expect(&self, status: u16) -> Result<(), HttpError> {
        if self.status() == status { Ok(()) } else { Err(self.error(format!("answers {}", self.response.status()))) }
    }

    /// The next part of the body.
    ///
    /// # Errors
    /// The connection broke or went silent.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let body = self.response.body_mut();
            let frame = timeout(self.patience, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
            match frame {
                Err(_) => return Err(self.error("went silent".to_owned())),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(self.error(format!("broke off: {error}"))),
                Ok(Some(Ok(frame))) => {
                    // Trailers are of no use to anybody here.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn error(&self, why: String) -> HttpError {
        HttpError { url: self.url.clone(), status: Some(self.status()), why }
    }
}

/// Without what follows `/phone-home/`: a token is not for logs.
fn shown(url: &str) -> String {
    match url.split_once("/phone-home/") {
        Some((base, _)) => format!("{base}/phone-home/…"),
        None => url.chars().take(200).collect(),
    }
}

/// The digest that content-addressed files are named by.
fn named_digest(url: &str) -> Option<&str> {
    let name = url.rsplit('/').next()?;
    (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())).then_some(name)
}

/// How thoroughly downloads are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every machine loads everything and checks everything, decompressing images.
    Full,
    /// The first machine loads a file and checks the digest of what is stored; the others only see that they may have it.
    Shared,
}

/// Which files this process has seen to be what their name says; clones share it.
#[derive(Clone, Debug)]
pub struct Seen {
    depth: Depth,
    most: usize,
    files: Arc<Mutex<Files>>,
}

#[derive(Debug, Default)]
struct Files {
    known: HashMap<String, (u64, Arc<OnceCell<Loaded>>)>,
    clock: u64,
}

impl Seen {
    /// Remembers at most `most` files (64 if 0).
    #[must_use]
    pub fn new(depth: Depth, most: usize) -> Self {
        Self { depth, most: if most == 0 { 64 } else { most }, files: Arc::default() }
    }

    /// How thoroughly downloads are checked.
    #[must_use]
    pub const fn depth(&self) -> Depth {
        self.depth
    }

    /// Loads the file `key` by `whole`, or, if it has been seen to be good, only does `touch`.
    ///
    /// # Errors
    /// Those of `whole` and `touch`.
    pub async fn load<E>(
        &self,
        key: &str,
        whole: impl Future<Output = Result<Loaded, E>>,
        touch: impl Future<Output = Result<(), E>>,
    ) -> Result<Loaded, E> {
        if self.depth == Depth::Full {
            return whole.await;
        }
        let cell = self.cell(key);
        let mut loaded_now = false;
        let loaded = cell.get_or_try_init(async || {
            loaded_now = true;
            whole.await
        });
        let loaded = loaded.await?.clone();
        if !loaded_now {
            touch.await?;
        }
        Ok(loaded)
    }

    fn cell(&self, key: &str) -> Arc<OnceCell<Loaded>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.clock += 1;
        let now = files.clock;
        if !files.known.contains_key(key) && files.known.len() >= self.most {
            let oldest = files.known.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.map(|key| files.known.remove(&key));
        }
        let entry = files.known.entry(key.to_owned()).or_default();
        entry.0 = now;
        Arc::clone(&entry.1)
    }
}

/// Loads a file that anybody may have, whole or, if it was seen before, one octet of it.
///
/// # Errors
/// It cannot be had or is not what it should be.
pub async fn load_public(asker: &Asker, seen: &Seen, url: &str) -> Result<Loaded, HttpError> {
    // Only what is named by its digest stays the same.
    if named_digest(url).is_none() {
        return asker.load(url, HEAD).await;
    }
    let touch = async {
        let first = [("range", "bytes=0-0".to_owned())];
        let reply = asker.ask(Method::GET, url, &first, String::new()).await?;
        if reply.status() == 206 { Ok(()) } else { reply.expect(200) }
    };
    seen.load(url, asker.load(url, HEAD), touch).await
}

/// An address as `TcpSocket` and tonic want it.
#[must_use]
pub fn bound(from: Option<Ipv4Addr>) -> Option<IpAddr> {
    from.map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const ASKER: Asker = Asker { from: None, agent: "test", patience: Duration::from_millis(500) };

    /// A server that says this once, whatever it is asked.
    async fn saying(text: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            if text.is_empty() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn lengths_and_digests_are_checked() {
        let good = saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        let loaded = ASKER.load(&format!("http://{good}/x"), 3).await.unwrap();
        assert_eq!((loaded.size, loaded.head.as_slice()), (5, &b"hel"[..]));
        for (text, why) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "broke off"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "no Content-Length"),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "answers 503"),
            ("", "no answer"),
        ] {
            let error = ASKER.load(&format!("http://{}/x", saying(text).await), 3).await.unwrap_err();
            assert!(error.why.contains(why), "{error}");
        }
        let other = saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        let error = ASKER.load(&format!("http://{other}/blobs/{}", "a".repeat(64)), 3).await.unwrap_err();
        assert!(error.why.starts_with("has the digest"), "{error}");
        let error = ASKER.load("https://example.org/", 3).await.unwrap_err();
        assert!(error.why.starts_with("is not http://"), "{error}");
    }

    #[tokio::test]
    async fn a_shared_file_is_loaded_once_and_few_are_remembered() {
        let seen = Seen::new(Depth::Shared, 2);
        let count = std::cell::Cell::new((0, 0));
        for key in ["a", "a", "b", "a", "c", "a", "b"] {
            let whole = async {
                count.update(|(w, t)| (w + 1, t));
                Ok::<_, ()>(Loaded::default())
            };
            let touch = async {
                count.update(|(w, t)| (w, t + 1));
                Ok(())
            };
            seen.load(key, whole, touch).await.unwrap();
        }
        assert_eq!(count.get(), (4, 3));
    }

    #[test]
    fn tokens_are_not_shown() {
        assert_eq!(shown("http://r/phone-home/id/s3cret"), "http://r/phone-home/…");
    }
}
