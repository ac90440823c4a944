//! Files on their way to the region: examined first, then streamed.
//!
//! Content is addressed by its digest, so an upload that broke is simply made again.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use farrier_common::{hardware::Compression, retry::Backoff};
use farrier_proto::v1::{BlobHeader, UploadBlobRequest, images_client::ImagesClient, upload_blob_request::Part};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt as _, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::{
    client::{Client, is_lost},
    error::Error,
    output::Output,
};

const CHUNK: usize = 512 << 10;
const TRIES: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
/// A region that takes no chunk for so long has stopped.
const STALL: Duration = Duration::from_secs(60);

/// A file that is to be uploaded.
#[derive(Debug)]
pub(crate) struct LocalBlob {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// SHA-256 in lower-case hex.
    pub(crate) sha256: String,
    /// Its length.
    pub(crate) size_bytes: u64,
    magic: [u8; 4],
}

impl LocalBlob {
    /// What the first bytes say. A disk in a hypervisor's own format would be written as it is and never boot.
    pub(crate) fn compression(&self) -> Result<Compression, Error> {
        match self.magic {
            [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Ok(Compression::Zstd),
            [b'Q', b'F', b'I', 0xfb] => Err(Error::Usage(format!(
                "{path} is a qcow2 file, not a raw disk: convert it with `qemu-img convert -O raw {path} disk.raw`",
                path = self.path.display()
            ))),
            _ => Ok(Compression::None),
        }
    }
}

/// Reads the file once, for its digest.
pub(crate) fn examine(out: Output, path: &Path) -> Result<LocalBlob, Error> {
    let failed = |source| Error::File { what: format!("cannot read {}", path.display()), source };
    let mut file = fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::Usage(format!("{} is not a regular file", path.display())));
    }
    if metadata.len() == 0 {
        return Err(Error::Usage(format!("{} is empty", path.display())));
    }
    let bar = progress(out, "reading", path, metadata.len());
    let (mut hash, mut size_bytes, mut magic) = (Sha256::new(), 0, [0; 4]);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        if size_bytes == 0 {
            magic.iter_mut().zip(read).for_each(|(to, from)| *to = *from);
        }
        hash.update(read);
        size_bytes += read.len() as u64;
        bar.set_position(size_bytes);
    }
    bar.finish_and_clear();
    Ok(LocalBlob { path: path.to_owned(), sha256: hex::encode(hash.finalize()), size_bytes, magic })
}

/// Streams a file to the region and returns how many bytes went out: fewer than all if the region had it already.
pub(crate) async fn send(client: &Client, out: Output, blob: &LocalBlob) -> Result<u64, Error> {
    let deadline = deadline(blob.size_bytes);
    let mut failures = 0;
    loop {
        let bar = progress(out, "uploading", &blob.path, blob.size_bytes);
        let ended = send_once(client, blob, &bar, deadline).await?;
        bar.finish_and_clear();
        let status = match ended {
            Ok(sent) => return Ok(sent),
            Err(status) => status,
        };
        failures += 1;
        if !is_lost(&status) || failures >= TRIES {
            return Err(client.failed(status, deadline));
        }
        out.note(&format!("the upload of {} broke: {}; trying again", blob.path.display(), status.message()));
        BACKOFF.pause(failures).await;
    }
}

/// Ten minutes, and as long as one MiB a second takes.
const fn deadline(size_bytes: u64) -> Duration {
    Duration::from_secs(600 + (size_bytes >> 20))
}

async fn send_once(
    client: &Client,
    blob: &LocalBlob,
    bar: &ProgressBar,
    deadline: Duration,
) -> Result<Result<u64, Status>, Error> {
    let (sender, receiver) = mpsc::channel(2);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.set_timeout(deadline);
    let mut images = ImagesClient::new(client.conn());
    let (fed, answer) = tokio::join!(feed(blob, sender, bar), timeout(deadline, images.upload_blob(request)));
    // A file that cannot be read is the cause, the region's complaint about a short stream its effect.
    let sent = fed?;
    let answer = match answer {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Ok(Err(status)),
        Err(_) => return Ok(Err(Status::deadline_exceeded("the upload took too long"))),
    };
    if answer.sha256 == blob.sha256 && answer.size_bytes == blob.size_bytes {
        Ok(Ok(sent))
    } else {
        Err(Error::Nonsense(format!("{} arrived as {} ({} bytes)", blob.sha256, answer.sha256, answer.size_bytes)))
    }
}

/// Sends header and chunks; stops when the call is over. Returns the bytes of content that went out.
async fn feed(blob: &LocalBlob, sender: mpsc::Sender<UploadBlobRequest>, bar: &ProgressBar) -> Result<u64, Error> {
    let failed = |source| Error::File { what: format!("cannot read {}", blob.path.display()), source };
    let header = BlobHeader { sha256: blob.sha256.clone(), size_bytes: blob.size_bytes };
    if sender.send(UploadBlobRequest { part: Some(Part::Header(header)) }).await.is_err() {
        return Ok(0);
    }
    let mut file = tokio::fs::File::open(&blob.path).await.map_err(failed)?;
    let mut sent = 0;
    loop {
        let mut chunk = vec![0; CHUNK];
        let count = file.read(&mut chunk).await.map_err(failed)?;
        if count == 0 {
            return Ok(sent);
        }
        chunk.truncate(count);
        match timeout(STALL, sender.send(UploadBlobRequest { part: Some(Part::Chunk(chunk)) })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(sent),
            Err(_) => return Err(Error::Nonsense(format!("the region took nothing for {} s", STALL.as_secs()))),
        }
        sent += count as u64;
        bar.set_position(sent);
    }
}

/// A bar on standard error; hidden unless that is a terminal.
fn progress(out: Output, what: &str, path: &Path, size_bytes: u64) -> ProgressBar {
    if !out.is_live() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}");
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    ProgressBar::new(size_bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(format!("{what} {}", crate::render::table::clean(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn examined(content: &[u8]) -> Result<LocalBlob, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        examine(Output::new(Format::Json), file.path())
    }

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let found = |content: &[u8]| examined(content).unwrap().compression().ok();
        assert_eq!(found(b"\x1f\x8b\x08 and so on"), Some(Compression::Gzip));
        assert_eq!(found(b"\x28\xb5\x2f\xfd"), Some(Compression::Zstd));
        assert_eq!(found(b"\xeb"), Some(Compression::None));
        assert_eq!(found(b"QFI\xfb\0\0\0\x03"), None);
    }

    #[test]
    fn the_digest_is_that_of_the_whole_file() {
        let blob = examined(b"abc").unwrap();
        assert_eq!(blob.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(blob.size_bytes, 3);
        assert_eq!(examined(b"").unwrap_err().exit_code(), 2);
    }
}
