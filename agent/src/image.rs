//! Writes an operating system to a disk: fetch, decode, write, prove it, fit the partition table to the disk, lay the
//! cloud-init seed into the root file-system.

pub mod decode;
pub mod fetch;
pub mod gpt;
pub mod root;
pub mod seed;
pub mod write;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
    time::Duration,
};

use farrier_common::hardware::Compression;
use farrier_proto::{agent, convert, v1};
use nix::libc;
use tokio::sync::mpsc;

use crate::{
    console::say,
    crash::Point,
    error::TaskError,
    job::{Job, blocking},
    machine::disk::{self, Disk},
    sys,
};

/// A disk image as the region describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the file, lower-case hex.
    pub sha256: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// How the file is compressed.
    pub compression: Compression,
    /// Digest of what is written to the disk.
    pub content_sha256: String,
    /// Size of what is written to the disk.
    pub content_size_bytes: u64,
}

impl TryFrom<v1::Blob> for Blob {
    type Error = TaskError;

    fn try_from(wire: v1::Blob) -> Result<Self, TaskError> {
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        for (field, text) in [("sha256", &wire.sha256), ("content_sha256", &wire.content_sha256)] {
            if !is_digest(text) {
                return Err(TaskError::failed(format!("blob.{field}: must be 64 digits of lower-case hex")));
            }
        }
        for (field, size) in [("size_bytes", wire.size_bytes), ("content_size_bytes", wire.content_size_bytes)] {
            if size == 0 {
                return Err(TaskError::failed(format!("blob.{field}: must be more than 0")));
            }
        }
        let compression = convert::compression_from_wire(wire.compression)
            .ok_or_else(|| TaskError::failed("blob.compression: must be none, gzip or zstd"))?;
        let v1::Blob { sha256, size_bytes, content_sha256, content_size_bytes, .. } = wire;
        Ok(Self { sha256, size_bytes, compression, content_sha256, content_size_bytes })
    }
}

/// Does the whole task.
///
/// # Errors
/// No disk fits, the image could not be fetched, does not have its digest, could not be proven to be on the disk, or has no
/// root file-system for the seed. The disk may hold part of the image then.
pub async fn run(job: &Job, task: agent::WriteImageTask) -> Result<agent::WriteImageResult, TaskError> {
    let blob = Blob::try_from(task.blob.ok_or_else(|| TaskError::failed("blob: is missing"))?)?;
    let seed = task.seed.ok_or_else(|| TaskError::failed("seed: is missing"))?;
    job.progress.begin("looking for disks", "disks", 0);
    let disks = disk::settled(&job.host).await.map_err(TaskError::io("listing disks"))?;
    let disk = disk::choose(&disks, &task.disk_serial, blob.content_size_bytes)?.clone();
    say(format_args!(
        "writing an image of {} bytes to {} (serial {:?})",
        blob.content_size_bytes, disk.name, disk.serial
    ));
    let file = Arc::new(open(job, &disk)?);
    let size = write::capacity(&file)?;
    if size < blob.content_size_bytes {
        let needs = blob.content_size_bytes;
        return Err(TaskError::failed(format!("disk {} has {size} bytes, the image needs {needs}", disk.name)));
    }
    pour(job, &file, &blob).await?;
    job.progress.passes(Point::ImageWritten);
    let read_back_sha256 = prove(job, &file, &blob).await?;
    let entries = fit(job, &file, &disk, size, blob.content_size_bytes).await?;
    reread(job, &file, &disk).await?;
    lay_seed(job, &disk, file, entries, seed).await?;
    job.progress.passes(Point::SeedLaid);
    Ok(agent::WriteImageResult {
        disk_name: disk.name,
        disk_serial: disk.serial,
        written_bytes: blob.content_size_bytes,
        read_back_sha256,
    })
}

/// Opens for this program alone; the kernel refuses if any part of the disk is mounted or held.
fn open(job: &Job, disk: &Disk) -> Result<File, TaskError> {
    let path = job.host.dev(&disk.name);
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(&path);
    file.map_err(TaskError::io(format!("opening {} for exclusive use", path.display())))
}

async fn pour(job: &Job, file: &Arc<File>, blob: &Blob) -> Result<(), TaskError> {
    const CHUNKS_IN_FLIGHT: usize = 32;
    let (to, from) = mpsc::channel(CHUNKS_IN_FLIGHT);
    job.progress.begin("writing the image", "bytes", blob.content_size_bytes);
    let writing = {
        let (file, blob, progress) = (Arc::clone(file), blob.clone(), job.progress.clone());
        blocking(move || write::pour(decode::Incoming::new(from), &file, &blob, &progress))
    };
    let (fetched, written) = tokio::join!(job.store.fetch(blob, to, &job.progress), writing);
    // A stream that broke off also makes the decoder complain: the cause comes first.
    fetched.and(written)
}

async fn prove(job: &Job, file: &Arc<File>, blob: &Blob) -> Result<String, TaskError> {
    job.progress.begin("reading the image back", "bytes", blob.content_size_bytes);
    let (file, blob, progress) = (Arc::clone(file), blob.clone(), job.progress.clone());
    let found = blocking(move || {
        sys::forget_cache(&file).map_err(TaskError::io("writing out the disk"))?;
        let found = write::digest(&file, blob.content_size_bytes, &progress)?;
        if found == blob.content_sha256 {
            return Ok(found);
        }
        let expected = &blob.content_sha256;
        Err(TaskError::failed(format!(
            "the disk does not hold what was written: read back {found}, expected {expected}"
        )))
    });
    found.await
}

async fn fit(job: &Job, file: &Arc<File>, disk: &Disk, size: u64, content: u64) -> Result<Vec<gpt::Entry>, TaskError> {
    job.progress.begin("fitting the partition table", "steps", 0);
    let (file, sector) = (Arc::clone(file), disk.sector_bytes);
    blocking(move || {
        write::blank_end(&file, content, size)?;
        let Some(mut table) = gpt::Table::read(&file, sector)? else { return Ok(Vec::new()) };
        table.fit(&file, size)?;
        sys::forget_cache(&file).map_err(TaskError::io("writing out the partition table"))?;
        Ok(table.entries())
    })
    .await
}

/// The kernel may hold the old table for a moment while it looks at the disk itself.
async fn reread(job: &Job, file: &Arc<File>, disk: &Disk) -> Result<(), TaskError> {
    const TRIES: u32 = 20;
    for left in (0..TRIES).rev() {
        job.progress.wanted()?;
        match sys::reread_partitions(file) {
            Ok(()) => break,
            Err(e) if left == 0 => {
                return Err(TaskError::io(format!("having the kernel read the partitions of {}", disk.name))(e));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
    Ok(())
}

async fn lay_seed(
    job: &Job,
    disk: &Disk,
    file: Arc<File>,
    entries: Vec<gpt::Entry>,
    seed: agent::NoCloudSeed,
) -> Result<(), TaskError> {
    job.progress.begin("laying the seed", "steps", 0);
    let (host, name) = (Arc::clone(&job.host), disk.name.clone());
    blocking(move || {
        let partitions = root::list(&host, &name, &file, &entries)?;
        let chosen = root::choose(&partitions)?;
        say(format_args!("the root file-system is on {} ({})", chosen.name, chosen.describe()));
        let kind = chosen.file_system.as_ref().map_or("", |f| f.kind.driver());
        // The exclusive claim on the whole disk would keep the partition from being mounted.
        drop(file);
        seed::lay(&host.dev(&chosen.name), kind, &seed)
    })
    .await
}
