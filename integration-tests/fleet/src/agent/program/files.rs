//! The files that are a machine's disks: what is on them, and nodes for the partitions in them.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, symlink},
    },
    path::Path,
    time::Duration,
};

use farrier_proto::agent::NoCloudSeed;
use nix::{errno::Errno, unistd::Whence};

use super::{Layout, Partition, ProgramError, tools};
use crate::disk::Content;

/// What is on a disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// What somebody left there is still there.
    Unchanged,
    /// Nothing but zeros.
    Zeros,
    /// A system with a seed.
    System {
        /// What cloud-init finds.
        seed: NoCloudSeed,
        /// Another installation has another one.
        mark: String,
    },
    /// Something else.
    Other,
}

const SEED: &str = "/var/lib/cloud/seed/nocloud";
const CHUNK: usize = 1 << 20;
const MARK: usize = 4096;

/// Looks at a disk of which `known` was known.
pub(super) async fn examine(path: &Path, known: &Content) -> Result<Found, ProgramError> {
    let mark = if let Content::Marked(mark) = known { Some(*mark) } else { None };
    let file = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || -> io::Result<Option<Found>> {
        let file = File::open(file)?;
        if let Some(mark) = mark {
            let mut head = [0; MARK];
            file.read_exact_at(&mut head, 0)?;
            if head == marked(mark) {
                return Ok(Some(Found::Unchanged));
            }
        }
        Ok(if is_blank(file)? { Some(Found::Zeros) } else { None })
    });
    let looked = looked.await.map_err(io::Error::other).flatten();
    let looked = looked.map_err(ProgramError::io(format!("looking at {}", path.display())))?;
    match looked {
        Some(found) => Ok(found),
        None => Ok(system(path).await?.unwrap_or(Found::Other)),
    }
}

/// The system whose seed is on the disk. The seed is laid when an image is written and proven, so it tells that this was done.
async fn system(path: &Path) -> Result<Option<Found>, ProgramError> {
    let Some(layout) = Layout::of_disk(path).await? else { return Ok(None) };
    for partition in layout.partitions() {
        let device = format!("{}?offset={}", path.display(), partition.start * 512);
        let ask = async |what: &str, name: &str| {
            let request = format!("{what} {SEED}/{name}");
            Ok::<_, ProgramError>(tools::run("debugfs", &["-R", &request, &device]).await?.stdout)
        };
        let stat = ask("stat", "meta-data").await?;
        if !stat.starts_with(b"Inode:") {
            continue;
        }
        let seed = NoCloudSeed {
            user_data: ask("cat", "user-data").await?,
            meta_data: ask("cat", "meta-data").await?,
            network_config: ask("cat", "network-config").await?,
            vendor_data: ask("cat", "vendor-data").await?,
        };
        return Ok(Some(Found::System { seed, mark: String::from_utf8_lossy(&stat).into_owned() }));
    }
    Ok(None)
}

fn is_blank(mut file: File) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        // Holes are not read: most of a disk is one.
        at = match nix::unistd::lseek(file.as_fd(), at, Whence::SeekData) {
            Ok(at) => at,
            Err(Errno::ENXIO) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(u64::try_from(at).map_err(io::Error::other)?))?;
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(true);
        }
        if chunk[..count] != [0; CHUNK][..count] {
            return Ok(false);
        }
        at += i64::try_from(count).map_err(io::Error::other)?;
    }
}

/// Makes a disk if there is none, with what is known to be on it.
pub(super) fn make(path: &Path, size: u64, content: &Content) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let file = File::create(path)?;
    file.set_len(size)?;
    if let Content::Marked(mark) = content {
        for at in [0, size / 2, size.saturating_sub(MARK as u64)] {
            file.write_all_at(&marked(*mark), at)?;
        }
    }
    Ok(())
}

/// What somebody left.
fn marked(mark: u64) -> [u8; MARK] {
    let mut block = [b'#'; MARK];
    for word in block.chunks_mut(16) {
        word[..8].copy_from_slice(&mark.to_be_bytes());
    }
    block
}

/// A partition of a disk, as a block device. It ceases to be when this is dropped and nobody has it open or mounted.
#[derive(Debug)]
pub(super) struct Loop {
    _held: File,
}

impl Loop {
    /// Makes the block device and a link `node` to it.
    pub(super) async fn attach(file: &Path, partition: &Partition, node: &Path) -> Result<Self, ProgramError> {
        let (offset, size) = ((partition.start * 512).to_string(), (partition.sectors * 512).to_string());
        let range = ["--find", "--show", "--offset", &offset, "--sizelimit", &size].map(AsRef::as_ref);
        let told = tools::succeed("losetup", &[&range[..], &[file.as_os_str()]].concat()).await?;
        let device = told.trim();
        let held = File::open(device).map_err(ProgramError::io(format!("opening {device}")))?;
        // While it is open, this has the kernel detach it with the last one who closes it.
        tools::succeed("losetup", &["--detach", device]).await?;
        let link = || ProgramError::io(format!("making {}", node.display()));
        match fs::remove_file(node) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(link()(e)),
            Ok(()) | Err(_) => {}
        }
        symlink(device, node).map_err(link())?;
        Ok(Self { _held: held })
    }
}

/// Waits until the kernel has let go of the partitions of a disk: an agent that was killed may have had one mounted.
pub(super) async fn free(file: &Path) -> Result<(), ProgramError> {
    const STEP: Duration = Duration::from_millis(50);
    const TRIES: u32 = 200;
    for _ in 0..TRIES {
        let held = tools::succeed("losetup", &["--associated".as_ref(), file.as_os_str()]).await?;
        if held.trim().is_empty() {
            return Ok(());
        }
        tokio::time::sleep(STEP).await;
    }
    let why = format!("still in use after {} s", (STEP * TRIES).as_secs());
    Err(ProgramError::Tool { what: file.display().to_string(), why })
}
