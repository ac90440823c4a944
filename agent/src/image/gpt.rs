//! The GUID partition table: reads it, and moves its backup to the end of a disk that is larger than the image.
//!
//! Written here rather than taken from a crate because an image is foreign input: every field is checked before it is used,
//! and tables that are unusual but valid (an array elsewhere than in sector 2, entries of 256 bytes) are kept as they are.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::error::TaskError;

const SIGNATURE: &[u8] = b"EFI PART";
const SHORTEST_HEADER: usize = 92;
const LARGEST_ARRAY: usize = 1 << 20;

// Offsets in the header.
const HEADER_BYTES: usize = 12;
const HEADER_CRC: usize = 16;
const MY_LBA: usize = 24;
const OTHER_LBA: usize = 32;
const FIRST_USABLE: usize = 40;
const LAST_USABLE: usize = 48;
const ARRAY_LBA: usize = 72;
const ENTRIES: usize = 80;
const ENTRY_BYTES: usize = 84;
const ARRAY_CRC: usize = 88;

/// A partition that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1, as the kernel does.
    pub number: u64,
    /// The type, as it is on the disk.
    pub kind: [u8; 16],
    /// The partition's own name.
    pub name: String,
    /// The first sector.
    pub first: u64,
    /// The last sector.
    pub last: u64,
}

/// A valid table.
#[derive(Clone, Debug)]
pub struct Table {
    sector: u64,
    header: Vec<u8>,
    array: Vec<u8>,
}

impl Table {
    /// The table at the start of a disk with sectors of `sector` bytes; `None` if there is no table (an MBR, say).
    ///
    /// # Errors
    /// There is one, but for sectors of another size, or it is damaged.
    pub fn read(file: &File, sector: u64) -> Result<Option<Self>, TaskError> {
        let io = |e| TaskError::io("reading the partition table")(e);
        let mut header = vec![0; usize::try_from(sector).unwrap_or(0).clamp(512, 65_536)];
        match file.read_exact_at(&mut header, sector) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(io)?,
        }
        if !header.starts_with(SIGNATURE) {
            return match other_sector(file, sector).map_err(io)? {
                Some(other) => Err(TaskError::failed(format!(
                    "the image's partition table is for sectors of {other} bytes, the disk has {sector}"
                ))),
                None => Ok(None),
            };
        }
        let table = Self::check(sector, header, |length, at| {
            let mut array = vec![0; length];
            file.read_exact_at(&mut array, at).map(|()| array)
        });
        table.map(Some).map_err(|why| TaskError::failed(format!("the image's partition table is damaged: {why}")))
    }

    fn check(
        sector: u64,
        header: Vec<u8>,
        read: impl FnOnce(usize, u64) -> io::Result<Vec<u8>>,
    ) -> Result<Self, String> {
        let header_bytes = get32(&header, HEADER_BYTES) as usize;
        if !(SHORTEST_HEADER..=header.len()).contains(&header_bytes) {
            return Err(format!("a header of {header_bytes} bytes"));
        }
        if get32(&header, HEADER_CRC) != header_crc(&header[..header_bytes]) {
            return Err("wrong checksum of the header".to_owned());
        }
        if get64(&header, MY_LBA) != 1 {
            return Err("the header says that it is not the first".to_owned());
        }
        let (entries, entry_bytes) = (get32(&header, ENTRIES) as usize, get32(&header, ENTRY_BYTES) as usize);
        let length = entries.checked_mul(entry_bytes).filter(|l| (1..=LARGEST_ARRAY).contains(l));
        let length = length.filter(|_| entry_bytes >= 128 && entry_bytes.is_multiple_of(8));
        let length = length.ok_or_else(|| format!("{entries} entries of {entry_bytes} bytes"))?;
        let at = get64(&header, ARRAY_LBA).checked_mul(sector).ok_or("the entries are nowhere")?;
        let array = read(length, at).map_err(|e| format!("the entries cannot be read: {e}"))?;
        if get32(&header, ARRAY_CRC) != crc(&array) {
            return Err("wrong checksum of the entries".to_owned());
        }
        Ok(Self { sector, header, array })
    }

    /// The partitions in use.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let entry_bytes = get32(&self.header, ENTRY_BYTES) as usize;
        let used = (1..).zip(self.array.chunks_exact(entry_bytes)).filter(|(_, entry)| entry[..16] != [0; 16]);
        used.map(|(number, entry)| {
            let mut kind = [0; 16];
            kind.copy_from_slice(&entry[..16]);
            let name: Vec<u16> = entry[56..128]
                .chunks_exact(2)
                .map(|c| u16::from_le_bytes([c[0], c[1]]))
                .take_while(|c| *c != 0)
                .collect();
            Entry {
                number,
                kind,
                name: String::from_utf16_lossy(&name),
                first: get64(entry, 32),
                last: get64(entry, 40),
            }
        })
        .collect()
    }

    /// Makes the table that of a disk of `size` bytes: the backup goes to the very end, all the space becomes usable.
    /// Nothing is changed on a table that fits already.
    ///
    /// # Errors
    /// The partitions do not fit the disk, or it refused a write.
    pub fn fit(&mut self, file: &File, size: u64) -> Result<(), TaskError> {
        let array_sectors = (self.array.len() as u64).div_ceil(self.sector);
        let last = (size / self.sector).saturating_sub(1);
        let backup_array = last.saturating_sub(array_sectors);
        let last_usable = backup_array.saturating_sub(1);
        let needed = self.entries().iter().map(|e| e.last).max().unwrap_or(0).max(get64(&self.header, FIRST_USABLE));
        if needed > last_usable {
            return Err(TaskError::failed(format!(
                "the image's partitions end in sector {needed}, the disk's last usable sector is {last_usable}"
            )));
        }
        put64(&mut self.header, OTHER_LBA, last);
        put64(&mut self.header, LAST_USABLE, last_usable);
        seal(&mut self.header);
        let mut backup = self.header.clone();
        put64(&mut backup, MY_LBA, last);
        put64(&mut backup, OTHER_LBA, 1);
        put64(&mut backup, ARRAY_LBA, backup_array);
        seal(&mut backup);
        // The backup is complete before the first header points to it.
        let write = |bytes: &[u8], lba: u64| {
            file.write_all_at(bytes, lba * self.sector).map_err(TaskError::io("writing the partition table"))
        };
        write(&self.array, backup_array)?;
        write(&backup, last)?;
        file.sync_data().map_err(TaskError::io("writing out the partition table"))?;
        write(&self.header, 1)?;
        fit_protective_mbr(file, last)
    }
}

/// The MBR in front of a GPT claims the whole disk as one partition, so that old tools keep off.
fn fit_protective_mbr(file: &File, last: u64) -> Result<(), TaskError> {
    const FIRST: usize = 446;
    let io = |e| TaskError::io("fitting the protective MBR")(e);
    let mut mbr = [0; 512];
    file.read_exact_at(&mut mbr, 0).map_err(io)?;
    if mbr[FIRST + 4] == 0xee && get32(&mbr, FIRST + 8) == 1 && mbr[510..] == [0x55, 0xaa] {
        let sectors = u32::try_from(last).unwrap_or(u32::MAX);
        mbr[FIRST + 12..FIRST + 16].copy_from_slice(&sectors.to_le_bytes());
        file.write_all_at(&mbr, 0).map_err(io)?;
    }
    Ok(())
}

/// The sector size that a table on the disk was made for, if not `sector`.
fn other_sector(file: &File, sector: u64) -> io::Result<Option<u64>> {
    for other in [512, 4096] {
        let mut start = [0; 8];
        if other != sector && file.read_at(&mut start, other)? == start.len() && start == *SIGNATURE {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

fn seal(header: &mut [u8]) {
    let bytes = (get32(header, HEADER_BYTES) as usize).min(header.len());
    let sum = header_crc(&header[..bytes]);
    header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&sum.to_le_bytes());
}

/// The header's checksum counts its own place as zero.
fn header_crc(header: &[u8]) -> u32 {
    let mut copy = header.to_vec();
    copy[HEADER_CRC..HEADER_CRC + 4].fill(0);
    crc(&copy)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get32(bytes, at)) | u64::from(get32(bytes, at + 4)) << 32
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests;
