//! What a compressed blob holds: unpacked once, hashed, remembered.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use farrier_common::hardware::Compression;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::domain::{Error, Result};

/// The most that a blob may unpack to: a larger disk image is a mistake or an attack.
const MOST_BYTES: u64 = 1 << 40;
/// zstd: the largest window, as a power of two. `--long=27` is what its command line allows by default.
const MOST_WINDOW: u32 = 27;
const CHUNK: usize = 1 << 20;

/// Digest and size of unpacked content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

type Known = BTreeMap<(String, Compression), Content>;

/// Unpacks one blob at a time. A caller that goes away and comes again finds the work done.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    known: Arc<Mutex<Known>>,
    turn: Arc<Semaphore>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { known: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Contents {
    pub(super) async fn of(&self, path: PathBuf, sha256: &str, compression: Compression) -> Result<Content> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|e| Error::Internal(format!("waiting to unpack a blob: {e}")))?;
        let key = (sha256.to_owned(), compression);
        if let Some(content) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(content.clone());
        }
        let known = Arc::clone(&self.known);
        // The turn goes along, and so does the remembering: both must survive a caller that hangs up.
        let unpacked = spawn_blocking(move || {
            let content = digest(&path, compression);
            if let Ok(content) = &content {
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, content.clone());
            }
            drop(turn);
            content
        });
        let content = unpacked.await.map_err(|died| Error::Internal(format!("unpacking a blob died: {died}")))?;
        content.map_err(|e| {
            Error::invalid("blobs.compression", format!("blob {sha256} cannot be unpacked as {compression}: {e}"))
        })
    }
}

fn digest(path: &Path, compression: Compression) -> io::Result<Content> {
    let file = BufReader::with_capacity(CHUNK, File::open(path)?);
    match compression {
        Compression::None => hash(file),
        Compression::Gzip => hash(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(MOST_WINDOW)?;
            hash(decoder)
        }
    }
}

fn hash(mut from: impl Read) -> io::Result<Content> {
    let mut buffer = vec![0; CHUNK];
    let (mut hash, mut size) = (Sha256::new(), 0_u64);
    loop {
        let read = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|b| !b.is_empty()) else { break };
        size += bytes.len() as u64;
        if size > MOST_BYTES {
            return Err(io::Error::other(format!("it unpacks to more than {MOST_BYTES} bytes")));
        }
        hash.update(bytes);
    }
    if size == 0 {
        return Err(io::Error::other("it is empty"));
    }
    Ok(Content { sha256: hex::encode(hash.finalize()), size })
}
