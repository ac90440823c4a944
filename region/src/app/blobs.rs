//! The files of images, named by their SHA-256 under `data_dir/blobs`.
//!
//! **Invariant:** a file has its final name only after its bytes were hashed and synced, so what is there is right.

mod content;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use farrier_common::{
    hardware::Compression,
    id::{Id, Kind},
};
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use crate::{
    domain::{Error, Result},
    files,
};

pub use content::Content;

/// The largest blob that is taken.
pub const MOST_BYTES: u64 = 1 << 40;
/// How much is read at once for a download.
const READ: usize = 256 << 10;

/// The blob store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: Arc<Path>,
    contents: content::Contents,
}

/// What becomes of an upload that was announced.
#[derive(Debug)]
pub enum Begun {
    /// The blob is there already.
    There,
    /// Send it.
    Upload(Box<Upload>),
}

/// A blob on its way in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    sha256: String,
    size: u64,
    target: PathBuf,
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    file: File,
    path: Discarded,
    hash: Sha256,
    have: u64,
}

/// A temporary file, removed when dropped.
#[derive(Debug)]
struct Discarded(PathBuf);

impl Drop for Discarded {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), error = %e, "an unfinished upload could not be removed");
        }
    }
}

enum UploadName {}

impl Kind for UploadName {
    const NAME: &'static str = "upload";
}

impl Blobs {
    /// Opens the store under `data_dir`; removes what uploads of an earlier process have left.
    ///
    /// # Errors
    /// The folders cannot be made or read.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let folder = data_dir.join("blobs");
        let unfinished = folder.join("tmp");
        fs::create_dir_all(&unfinished)?;
        for entry in fs::read_dir(&unfinished)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(Self { folder: folder.into(), contents: content::Contents::default() })
    }

    /// The size of a blob, if it is there.
    ///
    /// # Errors
    /// The digest is malformed, or the file cannot be looked at.
    pub fn size(&self, sha256: &str) -> Result<Option<u64>> {
        match fs::metadata(self.path(sha256)?) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("look at a blob", &e)),
        }
    }

    /// Announces an upload.
    ///
    /// # Errors
    /// Digest or size cannot be, or there is no room.
    pub async fn begin(&self, sha256: &str, size: u64) -> Result<Begun> {
        let target = self.path(sha256)?;
        if !(1..=MOST_BYTES).contains(&size) {
            return Err(Error::invalid("header.size_bytes", format!("must be 1 to {MOST_BYTES}")));
        }
        if let Some(have) = self.size(sha256)? {
            if have != size {
                return Err(Error::invalid(
                    "header.size_bytes",
                    format!("the blob {sha256} is there and has {have} bytes"),
                ));
            }
            return Ok(Begun::There);
        }
        let path = self.folder.join("tmp").join(Id::<UploadName>::generate().to_string());
        let opened = blocking(move || {
            let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            Ok(Part { file, path: Discarded(path), hash: Sha256::new(), have: 0 })
        });
        let part = opened.await.map_err(|e| failed("begin an upload", &e))?;
        Ok(Begun::Upload(Box::new(Upload { sha256: sha256.to_owned(), size, target, part: Some(part) })))
    }

    /// Digest and size of a blob's content after decompression.
    ///
    /// # Errors
    /// It is not there, cannot be unpacked, or unpacks to more than is allowed.
    pub async fn content(&self, sha256: &str, compression: Compression) -> Result<Content> {
        self.contents.of(self.path(sha256)?, sha256, compression).await
    }

    /// A blob's size, and its bytes from `offset` on.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub async fn read(
        &self,
        sha256: &str,
        offset: u64,
    ) -> Result<(u64, impl Stream<Item = Result<Vec<u8>>> + Send + use<>)> {
        let path = self.path(sha256)?;
        let missing = Error::not_found("blob", sha256);
        let opened = blocking(move || {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(offset))?;
            Ok((file, size))
        });
        let (file, size) = match opened.await {
            Ok(opened) => opened,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing),
            Err(e) => return Err(failed("open a blob", &e)),
        };
        if offset > size {
            return Err(Error::invalid("offset", format!("the blob has {size} bytes")));
        }
        Ok((size, stream::try_unfold(file, read_on)))
    }

    fn path(&self, sha256: &str) -> Result<PathBuf> {
        let digest = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digest {
            return Err(Error::invalid("sha256", "must be 64 lower-case hexadecimal digits"));
        }
        Ok(self.folder.join(sha256))
    }
}

impl Upload {
    /// Takes the next piece.
    ///
    /// # Errors
    /// More came than was announced, or the disk is full. The upload is over then.
    pub async fn write(&mut self, chunk: Vec<u8>) -> Result<()> {
        let mut part = self.part.take().ok_or_else(over)?;
        part.have += chunk.len() as u64;
        if part.have > self.size {
            return Err(Error::invalid("chunk", format!("more came than the {} bytes that were announced", self.size)));
        }
        let written = blocking(move || {
            part.hash.update(&chunk);
            part.file.write_all(&chunk)?;
            Ok(part)
        });
        self.part = Some(written.await.map_err(|e| failed("write a blob", &e))?);
        Ok(())
    }

    /// All has come: verifies it and gives it its name.
    ///
    /// # Errors
    /// It is not what was announced; nothing is kept.
    pub async fn finish(mut self: Box<Self>) -> Result<()> {
        let part = self.part.take().ok_or_else(over)?;
        if part.have != self.size {
            let why = format!("{} bytes came, {} were announced", part.have, self.size);
            return Err(Error::invalid("header.size_bytes", why));
        }
        let (target, sha256) = (self.target, self.sha256);
        let kept = blocking(move || {
            let have = hex::encode(part.hash.finalize());
            if have != sha256 {
                return Ok(Some(have));
            }
            part.file.sync_all()?;
            fs::rename(&part.path.0, &target)?;
            files::sync_folder_of(&target)?;
            Ok(None)
        });
        match kept.await.map_err(|e| failed("keep a blob", &e))? {
            None => Ok(()),
            Some(have) => Err(Error::invalid("header.sha256", format!("what came has the digest {have}"))),
        }
    }
}

async fn read_on(file: File) -> Result<Option<(Vec<u8>, File)>> {
    let read = blocking(move || {
        let mut chunk = Vec::with_capacity(READ);
        (&file).take(READ as u64).read_to_end(&mut chunk)?;
        Ok((chunk, file))
    });
    let (chunk, file) = read.await.map_err(|e| failed("read a blob", &e))?;
    Ok((!chunk.is_empty()).then_some((chunk, file)))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|died| Err(io::Error::other(died)))
}

fn over() -> Error {
    Error::Precondition("the upload has ended with an error; begin anew".to_owned())
}

fn failed(what: &str, e: &io::Error) -> Error {
    if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Error::Exhausted("the region's disk is full; make room in its data_dir".to_owned());
    }
    Error::Internal(format!("cannot {what}: {e}"))
}

#[cfg(test)]
mod tests;
