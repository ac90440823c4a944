//! Moves an image's content to a disk and reads it back.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
};

use sha2::{Digest as _, Sha256};

use crate::{
    crash::Point,
    error::TaskError,
    image::{
        Blob,
        decode::{Content, Incoming},
    },
    progress::Progress,
};

/// Size and alignment of writes.
const CHUNK: usize = 4 << 20;
/// Written out at least this often, so that progress tells what the disk has, not what memory holds.
const FLUSH_EVERY: u64 = 256 << 20;
/// At the end of a disk, where an earlier system's backup partition table may be.
const END: u64 = 1 << 20;

/// Bytes that a disk (or a file) holds.
///
/// # Errors
/// It cannot be asked.
pub fn capacity(mut file: &File) -> Result<u64, TaskError> {
    file.seek(SeekFrom::End(0)).map_err(TaskError::io("asking the disk's size"))
}

/// Decodes `incoming` and writes it from the start of `file`, then checks stream and content against the blob's digests.
///
/// # Errors
/// The stream cannot be decoded, is longer or shorter than told, has another digest, or the disk refused a write.
pub fn pour(incoming: Incoming, file: &File, blob: &Blob, progress: &Progress) -> Result<(), TaskError> {
    let mut content = Content::new(blob.compression, incoming).map_err(TaskError::io("starting the decoder"))?;
    let found = copy(&mut content, file, blob.content_size_bytes, progress)?;
    let (sha256, size) = content.into_incoming().finish();
    let same = |what: &str, found: &str, expected: &str| {
        if found == expected {
            Ok(())
        } else {
            Err(TaskError::failed(format!("{what} is {found}, expected {expected}")))
        }
    };
    same("the image's size", &size.to_string(), &blob.size_bytes.to_string())?;
    same("the image's digest", &sha256, &blob.sha256)?;
    same("the content's digest", &found, &blob.content_sha256)
}

fn copy(content: &mut impl Read, file: &File, size: u64, progress: &Progress) -> Result<String, TaskError> {
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut flushed, mut digest) = (0_u64, 0_u64, Sha256::new());
    loop {
        progress.wanted()?;
        let count =
            fill(content, &mut buffer).map_err(TaskError::io(format!("decoding the image after {at} bytes")))?;
        let end = at + count as u64;
        // Checked before the write: nothing beyond what was announced ever reaches the disk.
        if end > size {
            return Err(TaskError::failed(format!("the image's content is longer than {size} bytes")));
        }
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        file.write_all_at(&buffer[..count], at).map_err(TaskError::io(format!("writing to the disk at byte {at}")))?;
        if at < size.div_ceil(2) && end >= size.div_ceil(2) {
            progress.passes(Point::ImageWriting);
        }
        at = end;
        progress.add(count as u64);
        if at - flushed >= FLUSH_EVERY {
            file.sync_data().map_err(TaskError::io("writing out the disk"))?;
            flushed = at;
        }
    }
    if at < size {
        return Err(TaskError::failed(format!("the image's content has {at} bytes, expected {size}")));
    }
    file.sync_data().map_err(TaskError::io("writing out the disk"))?;
    Ok(hex::encode(digest.finalize()))
}

/// Reads until the buffer is full or the content ends.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match content.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(n) => count += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// SHA-256 in hex of the first `size` bytes of the disk. The caller has made the kernel forget what it holds of it.
///
/// # Errors
/// The disk cannot be read, or the task is no longer wanted.
pub fn digest(file: &File, size: u64, progress: &Progress) -> Result<String, TaskError> {
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut digest) = (0_u64, Sha256::new());
    while at < size {
        progress.wanted()?;
        let count = usize::try_from(size - at).unwrap_or(usize::MAX).min(CHUNK);
        file.read_exact_at(&mut buffer[..count], at)
            .map_err(TaskError::io(format!("reading the disk at byte {at}")))?;
        digest.update(&buffer[..count]);
        at += count as u64;
        progress.add(count as u64);
    }
    Ok(hex::encode(digest.finalize()))
}

/// Zeroes the end of a disk beyond the image's content: a backup table of an earlier system there would be believed by some
/// firmware.
///
/// # Errors
/// The disk refused the write.
pub fn blank_end(file: &File, content: u64, size: u64) -> Result<(), TaskError> {
    let from = size.saturating_sub(END).max(content);
    let zeros = vec![0; usize::try_from(size.saturating_sub(from)).unwrap_or(0)];
    file.write_all_at(&zeros, from).map_err(TaskError::io("clearing the end of the disk"))
}

#[cfg(test)]
mod tests;
