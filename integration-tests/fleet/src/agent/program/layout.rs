//! Where the partitions of an image are, as `sfdisk` tells it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use serde::Deserialize;

use super::{ProgramError, tools};

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1.
    pub number: usize,
    /// The first sector of 512 bytes.
    pub start: u64,
    /// How many sectors.
    pub sectors: u64,
}

/// The partitions that a made-up kernel finds on a disk with an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout(Vec<Partition>);

#[derive(Deserialize)]
struct Told {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    partitions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    start: u64,
    size: u64,
}

const CHUNK: usize = 1 << 20;

impl Layout {
    /// Of an image's file: raw, or compressed with zstd if its name ends in `.zst`. `scratch` holds its content meanwhile.
    ///
    /// # Errors
    /// It cannot be read, or has no partitions.
    pub async fn of_image(image: &Path, scratch: &Path) -> Result<Self, ProgramError> {
        let (from, to) = (image.to_owned(), scratch.join("layout.raw"));
        let raw = to.clone();
        let unpacked = tokio::task::spawn_blocking(move || unpack(&from, &raw)).await;
        let reading = || ProgramError::io(format!("reading {}", image.display()));
        unpacked.map_err(io::Error::other).flatten().map_err(reading())?;
        let found = Self::of_disk(&to).await?;
        fs::remove_file(&to).map_err(reading())?;
        found.ok_or_else(|| ProgramError::Tool {
            what: "sfdisk".to_owned(),
            why: format!("{} has no partitions", image.display()),
        })
    }

    /// Of a disk's file; `None` if it has no partitions.
    pub(super) async fn of_disk(file: &Path) -> Result<Option<Self>, ProgramError> {
        let ended = tools::run("sfdisk", &["--json".as_ref(), file.as_os_str()]).await?;
        let Ok(told) = serde_json::from_slice::<Told>(&ended.stdout) else { return Ok(None) };
        let rows = told.partitiontable.partitions.into_iter().enumerate();
        let all: Vec<_> =
            rows.map(|(n, row)| Partition { number: n + 1, start: row.start, sectors: row.size }).collect();
        Ok(if all.is_empty() { None } else { Some(Self(all)) })
    }

    /// All of them, in order.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.0
    }
}

/// Writes an image's content, but for what is zero.
fn unpack(image: &Path, to: &Path) -> io::Result<()> {
    let file = File::open(image)?;
    let mut content: Box<dyn Read> = if image.extension().is_some_and(|e| e == "zst") {
        Box::new(zstd::stream::read::Decoder::new(file)?)
    } else {
        Box::new(file)
    };
    let (mut out, mut size, mut chunk) = (File::create(to)?, 0_u64, Vec::with_capacity(CHUNK));
    loop {
        chunk.clear();
        let count = content.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if chunk.iter().any(|byte| *byte != 0) {
            out.write_all(&chunk)?;
        } else {
            out.seek(SeekFrom::Start(size))?;
        }
    }
    out.set_len(size)
}
