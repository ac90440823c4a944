//! Samples of each disk are read, and the kernel's error state is looked at. Nothing is written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    thread,
    time::Instant,
};

use nix::libc;

use super::{Check, Verdict};
use crate::{
    host::Host,
    image::write::capacity,
    machine::disk::{self, Disk},
};
use farrier_common::telemetry::Chain;

/// Disks at a time.
const AT_A_TIME: usize = 8;
/// Samples of each disk, from its first byte to its last, and how much each reads.
const SAMPLES: u64 = 64;
const SAMPLE: usize = 1 << 20;
/// What direct reads are aligned to.
const ALIGNED: usize = 4096;

pub(super) fn test(check: &Check) -> Verdict {
    let disks = match disk::list(&check.host) {
        Ok(disks) => disks,
        Err(e) => return Verdict::Failed(format!("the disks cannot be listed: {e}")),
    };
    if disks.is_empty() {
        return Verdict::Skipped("the machine has no disk".to_owned());
    }
    let mut told = Vec::with_capacity(disks.len());
    for some in disks.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|disk| scope.spawn(move || one(check, disk))).collect();
            told.extend(running.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("the test crashed".to_owned()))));
        });
    }
    let failed = told.iter().filter(|t| t.is_err()).count();
    let lines = disks.iter().zip(told).map(|(disk, told)| {
        let told = told.unwrap_or_else(|why| format!("FAILED: {why}"));
        format!("{} (serial {:?}): {told}", disk.name, disk.serial)
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    if failed == 0 { Verdict::Passed(text) } else { Verdict::Failed(text) }
}

fn one(check: &Check, disk: &Disk) -> Result<String, String> {
    fit(&check.host, disk)?;
    let before = errors(&check.host, disk);
    let path = check.host.dev(&disk.name);
    let file = open(&path).map_err(|e| format!("{} cannot be opened: {e}", path.display()))?;
    let size = capacity(&file).map_err(|e| Chain(&e).to_string())?;
    let (samples, bytes) = read(check, &file, size)?;
    fit(&check.host, disk)?;
    let after = errors(&check.host, disk);
    if after > before {
        return Err(format!("the kernel counted {} errors while it was read", after - before));
    }
    let since = if after > 0 { format!("; {after} errors since the machine started") } else { String::new() };
    Ok(format!("{samples} samples, {} MiB read{since}", bytes >> 20))
}

/// SCSI disks are "running", NVMe controllers "live"; others do not tell.
fn fit(host: &Host, disk: &Disk) -> Result<(), String> {
    match host.attribute(format!("block/{}/device/state", disk.name)).as_str() {
        "" | "running" | "live" => Ok(()),
        state => Err(format!("the kernel says that it is {state}")),
    }
}

/// What the kernel counted of errors; 0 where it does not tell.
fn errors(host: &Host, disk: &Disk) -> u64 {
    let told = host.attribute(format!("block/{}/device/ioerr_cnt", disk.name));
    u64::from_str_radix(told.trim_start_matches("0x"), 16).unwrap_or(0)
}

/// Past the kernel's cache where that is possible.
fn open(path: &std::path::Path) -> io::Result<File> {
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
    direct.or_else(|_| File::open(path))
}

/// Reads samples until the time is over: at least one; how many, and how many bytes.
fn read(check: &Check, file: &File, size: u64) -> Result<(u64, u64), String> {
    let mut room = vec![0; SAMPLE + ALIGNED];
    let from = room.as_ptr().align_offset(ALIGNED).min(ALIGNED);
    let since = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    for (offset, length) in samples(size) {
        if count > 0 && !check.goes_on(since, 1) {
            break;
        }
        let part = room.get_mut(from..from + length).ok_or("a sample is larger than its buffer")?;
        file.read_exact_at(part, offset).map_err(|e| format!("{length} bytes at {offset} cannot be read: {e}"))?;
        count += 1;
        bytes += length as u64;
    }
    Ok((count, bytes))
}

/// Offsets and lengths: the first, the last, and evenly between; each once.
fn samples(size: u64) -> Vec<(u64, usize)> {
    let aligned = |n: u64| n - n % ALIGNED as u64;
    let length = aligned(size.min(SAMPLE as u64));
    let last = aligned(size - length);
    let place = |n: u64| u64::try_from(u128::from(last) * u128::from(n) / u128::from(SAMPLES - 1)).unwrap_or(last);
    let mut all: Vec<_> =
        (0..SAMPLES).map(|n| (aligned(place(n)), usize::try_from(length).unwrap_or(SAMPLE))).collect();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_go_from_end_to_end() {
        let all = samples(1 << 40);
        assert_eq!((all.len(), all[0].0, all[63].0), (64, 0, (1 << 40) - (1 << 20)));
        assert!(all.iter().all(|(at, length)| at % 4096 == 0 && *length == 1 << 20));
        assert_eq!(samples(8192), [(0, 8192)]);
        assert_eq!(samples((1 << 20) + 5000), [(0, 1 << 20), (4096, 1 << 20)]);
        assert_eq!(samples(1000), [(0, 0)]);
    }
}
