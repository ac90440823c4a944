//! Turns the stream of a blob into the content of a disk, and keeps the digest of the stream.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use farrier_common::hardware::Compression;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// The blob as it arrives, chunk by chunk; for a thread that may block.
#[derive(Debug)]
pub struct Incoming {
    from: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    digest: Sha256,
    bytes: u64,
}

impl Incoming {
    /// Reads what is sent; the end of the channel is the end of the blob.
    #[must_use]
    pub fn new(from: mpsc::Receiver<Bytes>) -> Self {
        Self { from, chunk: Bytes::new(), digest: Sha256::new(), bytes: 0 }
    }

    /// Takes in the rest; then digest (hex) and length of the whole stream, whatever the decoder made of it.
    #[must_use]
    pub fn finish(mut self) -> (String, u64) {
        while self.receive() {}
        (hex::encode(self.digest.finalize()), self.bytes)
    }

    fn receive(&mut self) -> bool {
        let Some(chunk) = self.from.blocking_recv() else { return false };
        self.digest.update(&chunk);
        self.bytes += chunk.len() as u64;
        self.chunk = chunk;
        true
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() && self.receive() {}
        Ok(&self.chunk)
    }

    fn consume(&mut self, bytes: usize) {
        self.chunk = self.chunk.slice(bytes..);
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// The content of a blob.
pub enum Content {
    /// As is.
    Plain(Incoming),
    /// Decoded from one or more gzip members.
    Gzip(Box<MultiGzDecoder<Incoming>>),
    /// Decoded from one or more zstd frames.
    Zstd(Box<zstd::Decoder<'static, Incoming>>),
}

impl Content {
    /// Decodes `incoming`.
    ///
    /// # Errors
    /// No memory for the decoder.
    pub fn new(compression: Compression, incoming: Incoming) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(incoming),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(incoming))),
            Compression::Zstd => Self::Zstd(Box::new(zstd::Decoder::with_buffer(incoming)?)),
        })
    }

    /// What was decoded from.
    #[must_use]
    pub fn into_incoming(self) -> Incoming {
        match self {
            Self::Plain(incoming) => incoming,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(incoming) => incoming.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
