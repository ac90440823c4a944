//! The rack's store of images: files named by their SHA-256, fetched from the region when first needed.
//!
//! A file under its final name was complete, verified and on the disk; before it is used it is verified again, unless it is
//! untouched since this process did so. One that is not what it was is fetched anew. One download per digest runs at a time,
//! whoever asks; it goes on when the asker leaves, and a broken one is resumed where it stopped.

use std::{
    collections::HashMap,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use farrier_common::retry::Backoff;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::{
    fs,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};
use tokio_util::task::TaskTracker;

use crate::{
    boot::intent::BlobRef,
    gateway::{Gateway, GatewayError},
};

/// Why a blob is not there.
#[derive(Clone, Debug, Error)]
pub enum BlobError {
    /// The digest is no SHA-256.
    #[error("{0:?} is not a SHA-256 digest: 64 of 0-9 and a-f")]
    BadDigest(String),
    /// The region did not hand it over.
    #[error("cannot fetch blob {sha256}")]
    Fetch {
        /// Which blob.
        sha256: String,
        /// What the region said last.
        source: GatewayError,
    },
    /// What arrived is not what was asked for.
    #[error("blob {sha256} is not what was asked for: {detail}")]
    Corrupt {
        /// Which blob.
        sha256: String,
        /// In what it differs.
        detail: String,
    },
    /// The rack's own disk.
    #[error("cannot keep blob {sha256}")]
    Io {
        /// Which blob.
        sha256: String,
        /// Why.
        source: Arc<io::Error>,
    },
}

type Outcome = Option<Result<(), BlobError>>;

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    source: Gateway,
    /// Files that this process verified, by digest, as they were then.
    verified: Mutex<HashMap<String, Stamp>>,
    /// Downloads under way, by digest.
    flights: Mutex<HashMap<String, watch::Receiver<Outcome>>>,
    tasks: TaskTracker,
}

/// Failures in a row, without a byte of progress, after which a download is given up.
const STALLS: u32 = 5;
const BETWEEN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

impl Blobs {
    /// Opens the store in `dir`, which is created if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: PathBuf, source: Gateway) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self(Arc::new(Inner {
            dir,
            source,
            verified: Mutex::default(),
            flights: Mutex::default(),
            tasks: TaskTracker::new(),
        })))
    }

    /// The file that holds `blob`, fetched first if need be.
    ///
    /// # Errors
    /// It cannot be fetched, differs from what was asked for, or cannot be stored.
    pub async fn ensure(&self, blob: &BlobRef) -> Result<PathBuf, BlobError> {
        let path = self.path(&blob.sha256)?;
        if self.0.is_untouched(&path, blob).await? {
            return Ok(path);
        }
        let mut flight = self.join_flight(blob);
        let landed = flight.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match landed {
            Ok(Some(Ok(()))) => Ok(path),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) | Err(_) => Err(io_error(&blob.sha256, io::Error::other("the download was given up"))),
        }
    }

    fn path(&self, sha256: &str) -> Result<PathBuf, BlobError> {
        let good = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good { Ok(self.0.dir.join(sha256)) } else { Err(BlobError::BadDigest(sha256.chars().take(80).collect())) }
    }

    fn join_flight(&self, blob: &BlobRef) -> watch::Receiver<Outcome> {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&blob.sha256) {
            return flight.clone();
        }
        let (landed, flight) = watch::channel(None);
        flights.insert(blob.sha256.clone(), flight.clone());
        let (inner, blob) = (Arc::clone(&self.0), blob.clone());
        self.0.tasks.spawn(async move {
            let flying = Flight { inner: &inner, sha256: &blob.sha256 };
            let outcome = inner.fetch(&blob).await;
            if let Err(error) = &outcome {
                tracing::warn!(sha256 = blob.sha256, error = %farrier_common::telemetry::Chain(error), "blob not fetched");
            }
            // Out of the table first, so that whoever hears of a failure and asks again starts a new download.
            drop(flying);
            landed.send_replace(Some(outcome));
        });
        flight
    }
}

/// Takes a download out of the table, also when it panics.
struct Flight<'a> {
    inner: &'a Inner,
    sha256: &'a str,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(self.sha256);
    }
}

impl Inner {
    /// Is the file there as this process verified it? Quick: for every request.
    async fn is_untouched(&self, path: &Path, blob: &BlobRef) -> Result<bool, BlobError> {
        let Some(stamp) = stamp(path).await.map_err(|e| io_error(&blob.sha256, e))? else { return Ok(false) };
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.sha256).copied();
        if known == Some(stamp) { fits(&stamp, blob).map(|()| true) } else { Ok(false) }
    }

    /// Is the file there and true? Reads all of it; what is not true goes.
    async fn holds(&self, path: &Path, blob: &BlobRef) -> Result<bool, BlobError> {
        let failed = |e| io_error(&blob.sha256, e);
        if self.is_untouched(path, blob).await? {
            return Ok(true);
        }
        let Some(before) = stamp(path).await.map_err(failed)? else { return Ok(false) };
        let mut file = fs::File::open(path).await.map_err(failed)?;
        let (_, digest) = read(&mut file).await.map_err(failed)?;
        let found = hex::encode(digest.finalize());
        if found != blob.sha256 {
            tracing::warn!(sha256 = blob.sha256, found, "a stored blob is not what it was; fetching it anew");
            fs::remove_file(path).await.map_err(failed)?;
            return Ok(false);
        }
        fits(&before, blob)?;
        self.note(&blob.sha256, before);
        Ok(true)
    }

    fn note(&self, sha256: &str, stamp: Stamp) {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256.to_owned(), stamp);
    }

    async fn fetch(&self, blob: &BlobRef) -> Result<(), BlobError> {
        let path = self.dir.join(&blob.sha256);
        // Someone else's download may have landed between our look and our entry in the table.
        if self.holds(&path, blob).await? {
            return Ok(());
        }
        let part = self.dir.join(format!("{}.part", blob.sha256));
        let mut stalls = 0;
        loop {
            let mut partial = Partial::open(&part, blob).await.map_err(|e| io_error(&blob.sha256, e))?;
            let before = partial.length;
            let outcome = self.fill(&mut partial, blob).await;
            if outcome.is_ok() {
                match partial.land(&path).await {
                    Err(BlobError::Corrupt { .. }) if before > 0 => {
                        tracing::warn!(sha256 = blob.sha256, "resumed blob does not verify; fetching it anew");
                        continue;
                    }
                    landed => {
                        landed?;
                        if let Some(stamp) = stamp(&path).await.map_err(|e| io_error(&blob.sha256, e))? {
                            self.note(&blob.sha256, stamp);
                        }
                        return Ok(());
                    }
                }
            }
            partial.file.sync_data().await.map_err(|e| io_error(&blob.sha256, e))?;
            let source = match outcome {
                Err(BlobError::Fetch { source: GatewayError::Unavailable(text), .. }) => {
                    GatewayError::Unavailable(text)
                }
                other => return other,
            };
            stalls = if partial.length > before { 1 } else { stalls + 1 };
            if stalls >= STALLS {
                return Err(BlobError::Fetch { sha256: blob.sha256.clone(), source });
            }
            tracing::info!(sha256 = blob.sha256, at = partial.length, error = %source, "download broke off; resuming");
            BETWEEN.pause(stalls).await;
        }
    }

    async fn fill(&self, partial: &mut Partial<'_>, blob: &BlobRef) -> Result<(), BlobError> {
        let fetch = |source| BlobError::Fetch { sha256: blob.sha256.clone(), source };
        let corrupt = |detail| BlobError::Corrupt { sha256: blob.sha256.clone(), detail };
        if partial.length == blob.size && blob.size > 0 {
            return Ok(());
        }
        let mut download = self.source.download(&blob.sha256, partial.length).await.map_err(fetch)?;
        while let Some(chunk) = download.chunk().await.map_err(fetch)? {
            let size = download.size().unwrap_or_default();
            if size != blob.size {
                return Err(corrupt(format!("{} bytes were announced, the region holds {size}", blob.size)));
            }
            if partial.length + chunk.len() as u64 > blob.size {
                return Err(corrupt(format!("the region sends more than {} bytes", blob.size)));
            }
            partial.append(&chunk).await.map_err(|e| io_error(&blob.sha256, e))?;
        }
        if partial.length < blob.size {
            let text = format!("the download ended at {} of {} bytes", partial.length, blob.size);
            return Err(fetch(GatewayError::Unavailable(text)));
        }
        Ok(())
    }
}

/// A download's file: its length and the digest of what it holds.
struct Partial<'a> {
    blob: &'a BlobRef,
    path: &'a Path,
    file: fs::File,
    length: u64,
    digest: Sha256,
}

impl<'a> Partial<'a> {
    async fn open(path: &'a Path, blob: &'a BlobRef) -> io::Result<Self> {
        let mut file = fs::OpenOptions::new().read(true).append(true).create(true).open(path).await?;
        if file.metadata().await?.len() > blob.size {
            file.set_len(0).await?;
        }
        let (length, digest) = read(&mut file).await?;
        Ok(Self { blob, path, file, length, digest })
    }

    async fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk).await?;
        self.digest.update(chunk);
        self.length += chunk.len() as u64;
        Ok(())
    }

    /// Verifies and gives the file its name; removes it if it does not verify.
    async fn land(mut self, target: &Path) -> Result<(), BlobError> {
        let sha256 = &self.blob.sha256;
        let found = hex::encode(self.digest.finalize());
        if found != *sha256 {
            fs::remove_file(self.path).await.map_err(|e| io_error(sha256, e))?;
            return Err(BlobError::Corrupt { sha256: sha256.clone(), detail: format!("its digest is {found}") });
        }
        let landing = async {
            self.file.flush().await?;
            self.file.sync_all().await?;
            fs::rename(self.path, target).await?;
            let folder = target.parent().unwrap_or(Path::new("."));
            fs::File::open(folder).await?.sync_all().await
        };
        landing.await.map_err(|e| io_error(sha256, e))?;
        tracing::info!(sha256, bytes = self.length, "blob stored");
        Ok(())
    }
}

/// What changes with every change of a file's content, whoever makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    inode: u64,
    /// Of content and name: seconds and nanoseconds.
    changed: (i64, i64),
}

async fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(path).await {
        Ok(found) => {
            Ok(Some(Stamp { length: found.len(), inode: found.ino(), changed: (found.ctime(), found.ctime_nsec()) }))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A true file of another size than was announced: the announcement is wrong.
fn fits(stamp: &Stamp, blob: &BlobRef) -> Result<(), BlobError> {
    if stamp.length == blob.size {
        return Ok(());
    }
    Err(BlobError::Corrupt {
        sha256: blob.sha256.clone(),
        detail: format!("{} bytes were announced, the content of that digest has {}", blob.size, stamp.length),
    })
}

/// Length and digest of all that is left of a file.
async fn read(file: &mut fs::File) -> io::Result<(u64, Sha256)> {
    let (mut length, mut digest) = (0, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok((length, digest)) };
        digest.update(bytes);
        length += bytes.len() as u64;
    }
}

fn io_error(sha256: &str, error: io::Error) -> BlobError {
    BlobError::Io { sha256: sha256.to_owned(), source: Arc::new(error) }
}
