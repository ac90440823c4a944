//! Downloads a disk image as the agent may, going on where a connection broke, and checks what it is.

use std::{
    io::{self, Write},
    net::Ipv4Addr,
    time::Duration,
};

use farrier_common::{hardware::Compression, retry::Backoff, secret::Secret};
use farrier_proto::{convert, v1};
use flate2::write::MultiGzDecoder;
use hyper::Method;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::task::{Broken, Done};
use crate::{
    boot::loaded::Loaded,
    http::{Asker, HttpError, Seen},
};

/// A download of one boot.
pub(super) struct Download<'a> {
    pub(super) from: Option<Ipv4Addr>,
    pub(super) url: String,
    pub(super) bearer: Secret<String>,
    pub(super) blob: &'a v1::Blob,
    pub(super) patience: Duration,
    pub(super) done: &'a Done,
    /// The machine dies when so many bytes arrived.
    pub(super) dies_at: Option<u64>,
}

const AGENT: &str = "farrier-agent";
const ANSWER: Duration = Duration::from_mins(1);
/// While the rack says that this boot may not have the image: one that just restarted has to ask first.
const DENIED: Duration = Duration::from_mins(1);
const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));

/// Digests what an image decodes to, and never takes more than was announced.
struct Content {
    digest: Sha256,
    size: u64,
    most: u64,
}

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        if self.size > self.most {
            return Err(io::Error::other(format!("it holds more than the {} bytes that were announced", self.most)));
        }
        self.digest.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Plain(Content),
    Gzip(Box<MultiGzDecoder<Content>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Content>>),
}

impl Decoder {
    fn new(compression: Compression, most: u64) -> io::Result<Self> {
        let content = Content { digest: Sha256::new(), size: 0, most };
        Ok(match compression {
            Compression::None => Self::Plain(content),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(content))),
            Compression::Zstd => Self::Zstd(Box::new(zstd::stream::write::Decoder::new(content)?)),
        })
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(content) => content.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// Digest and size of the content.
    fn finish(self) -> io::Result<(String, u64)> {
        let content = match self {
            Self::Plain(content) => content,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok((hex::encode(content.digest.finalize()), content.size))
    }
}

/// What arrived so far.
struct Arrived {
    at: u64,
    digest: Sha256,
    decoder: Option<Decoder>,
}

enum Trouble {
    Passing(String),
    Denied(String),
    Lasting(Broken),
}

impl Download<'_> {
    /// Downloads and checks everything, or, if another machine has seen the same image to be good and that is enough, only
    /// asks whether this one may have it. The digest of the content.
    pub(super) async fn run(&self, seen: &Seen) -> Result<String, Broken> {
        let full = seen.depth() == crate::http::Depth::Full;
        let whole = async {
            let (stored, _) = self.insist(full).await?;
            Ok(Loaded { size: self.blob.size_bytes, sha256: stored, head: Vec::new() })
        };
        if full {
            return self.insist(true).await.map(|(_, content)| content);
        }
        let touch = async {
            if self.dies_at.is_some() {
                return Err(Broken::Machine);
            }
            self.permitted().await
        };
        seen.load(&self.url, whole, touch).await?;
        Ok(self.blob.content_sha256.clone())
    }

    /// Asks for the first byte: as much as is needed to see that this boot may have the image.
    async fn permitted(&self) -> Result<(), Broken> {
        let (since, mut failures) = (Instant::now(), 0);
        loop {
            let trouble = match self.open(Some("bytes=0-0".to_owned())).await {
                Ok(reply) if matches!(reply.status(), 200 | 206) => return Ok(()),
                Ok(reply) => refusal(reply.status()),
                Err(error) => Trouble::Passing(error.to_string()),
            };
            self.pause(trouble, since, &mut failures, 0).await?;
        }
    }

    /// Digests of the file and, if it is to be decoded, of its content.
    async fn insist(&self, decode: bool) -> Result<(String, String), Broken> {
        let compression = convert::compression_from_wire(self.blob.compression)
            .ok_or_else(|| Broken::Task("blob.compression: must be none, gzip or zstd".to_owned()))?;
        let bad = |e: io::Error| Broken::Task(format!("the image cannot be decoded: {e}"));
        let decoder =
            if decode { Some(Decoder::new(compression, self.blob.content_size_bytes).map_err(bad)?) } else { None };
        let mut arrived = Arrived { at: 0, digest: Sha256::new(), decoder };
        let (mut since, mut failures) = (Instant::now(), 0);
        loop {
            let before = arrived.at;
            let Err(trouble) = self.attempt(&mut arrived).await else { break };
            if arrived.at > before {
                (since, failures) = (Instant::now(), 0);
            }
            self.pause(trouble, since, &mut failures, arrived.at).await?;
        }
        let stored = hex::encode(arrived.digest.finalize());
        if stored != self.blob.sha256 {
            return Err(Broken::Task(format!("the image has the digest {stored}, expected {}", self.blob.sha256)));
        }
        let Some(decoder) = arrived.decoder else { return Ok((stored, self.blob.content_sha256.clone())) };
        let (content, size) = decoder.finish().map_err(bad)?;
        let expected = (&self.blob.content_sha256, self.blob.content_size_bytes);
        if (&content, size) == expected {
            Ok((stored, content))
        } else {
            Err(Broken::Task(format!("the image holds {size} bytes of digest {content}, expected {expected:?}")))
        }
    }

    async fn pause(&self, trouble: Trouble, since: Instant, failures: &mut u32, at: u64) -> Result<(), Broken> {
        let (why, patience) = match trouble {
            Trouble::Lasting(broken) => return Err(broken),
            Trouble::Denied(why) => (why, DENIED.min(self.patience)),
            Trouble::Passing(why) => (why, self.patience),
        };
        if since.elapsed() >= patience {
            let size = self.blob.size_bytes;
            return Err(Broken::Task(format!("fetching the image stopped at byte {at} of {size}: {why}")));
        }
        *failures += 1;
        tokio::time::sleep(PAUSES.base(*failures)).await;
        Ok(())
    }

    async fn open(&self, range: Option<String>) -> Result<crate::http::Reply, HttpError> {
        let asker = Asker { from: self.from, agent: AGENT, patience: ANSWER.min(self.patience) };
        let mut fields = vec![("authorization", format!("Bearer {}", self.bearer.expose()))];
        fields.extend(range.map(|range| ("range", range)));
        asker.ask(Method::GET, &self.url, &fields, String::new()).await
    }

    /// One request, from what has arrived on.
    async fn attempt(&self, arrived: &mut Arrived) -> Result<(), Trouble> {
        let passing = |e: HttpError| Trouble::Passing(e.to_string());
        let range = (arrived.at > 0).then(|| format!("bytes={}-", arrived.at));
        let mut reply = self.open(range).await.map_err(passing)?;
        let begins = || {
            let range = reply.field("content-range")?.strip_prefix("bytes ")?;
            range.split_once('-')?.0.parse::<u64>().ok()
        };
        let mut skip = match reply.status() {
            200 => arrived.at,
            206 if begins() == Some(arrived.at) => 0,
            status => return Err(refusal(status)),
        };
        while let Some(chunk) = reply.chunk().await.map_err(passing)? {
            let cut = chunk.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            skip -= cut as u64;
            self.take(arrived, &chunk[cut..]).map_err(Trouble::Lasting)?;
        }
        if arrived.at < self.blob.size_bytes {
            return Err(Trouble::Passing("the connection ended early".to_owned()));
        }
        Ok(())
    }

    fn take(&self, arrived: &mut Arrived, bytes: &[u8]) -> Result<(), Broken> {
        arrived.at += bytes.len() as u64;
        self.done.set(arrived.at);
        if arrived.at > self.blob.size_bytes {
            return Err(Broken::Task(format!(
                "the rack sent more than the {} bytes of the image",
                self.blob.size_bytes
            )));
        }
        arrived.digest.update(bytes);
        if let Some(decoder) = &mut arrived.decoder {
            decoder.take(bytes).map_err(|e| Broken::Task(format!("the image cannot be decoded: {e}")))?;
        }
        if self.dies_at.is_some_and(|at| arrived.at >= at) {
            return Err(Broken::Machine);
        }
        Ok(())
    }
}

fn refusal(status: u16) -> Trouble {
    let why = format!("the rack answers {status}");
    if matches!(status, 401 | 403) { Trouble::Denied(why) } else { Trouble::Passing(why) }
}
