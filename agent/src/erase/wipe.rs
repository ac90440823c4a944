//! Makes one disk blank and proves it.
//!
//! A disk may accept a discard and keep the data, and one that was blank before proves nothing. So every region that will be
//! read back is first filled with a pattern, and that is on the disk before anything is erased.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use farrier_common::{secret::random_bytes, telemetry::Chain, words};

use crate::{
    console::say,
    crash::Point,
    erase::plan::{BLOCK, Plan, mix},
    error::TaskError,
    progress::Progress,
    sys,
};

words! {
    /// How a disk is made blank.
    Method {
        /// The disk forgets all blocks.
        Discard = "discard",
        /// The disk writes zeros itself.
        WriteZeroes = "write-zeroes",
        /// Zeros are sent to the disk.
        Overwrite = "overwrite",
    }
}

/// A method and the call that does it for a range of a disk.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// What it is.
    pub method: Method,
    /// Bytes at a time: between two calls the task can be stopped.
    pub chunk: u64,
    /// Blanks a range (offset, length).
    pub call: fn(&File, u64, u64) -> io::Result<()>,
}

/// What was done, and how much of it was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The method that worked.
    pub method: Method,
    /// Bytes read back and found blank.
    pub sampled_bytes: u64,
}

/// The quickest first. The last is tried on every disk, so that none is given up before it was overwritten.
#[must_use]
pub fn means(can_discard: bool) -> &'static [Means] {
    const ALL: &[Means] = &[
        Means { method: Method::Discard, chunk: 4 << 30, call: sys::discard },
        Means { method: Method::WriteZeroes, chunk: 256 << 20, call: sys::write_zeroes },
        Means { method: Method::Overwrite, chunk: 64 << 20, call: overwrite },
    ];
    if can_discard { ALL } else { ALL.split_at(1).1 }
}

/// Written with zeros and read back on top of every method: partition tables and headers are there.
const EDGE: u64 = 1 << 20;

/// Tries `means` in turn until the disk called `name` is proven blank.
///
/// # Errors
/// None did it, and why each did not; or the task is no longer wanted.
pub fn erase(name: &str, file: &File, plan: &Plan, means: &[Means], progress: &Progress) -> Result<Done, TaskError> {
    let mut troubles = Vec::new();
    for means in means {
        let mut wiped = 0;
        let outcome = attempt(file, plan, means, &mut wiped, progress);
        if outcome.is_err() {
            progress.take_back(wiped);
        }
        match outcome {
            Ok(sampled_bytes) => return Ok(Done { method: means.method, sampled_bytes }),
            Err(TaskError::Stopped) => return Err(TaskError::Stopped),
            Err(error) => {
                let trouble = format!("{}: {}", means.method, Chain(&error));
                say(format_args!("erasing {name} did not work by {trouble}"));
                troubles.push(trouble);
            }
        }
    }
    Err(TaskError::failed(troubles.join(", then ")))
}

/// Wipes, counting in `wiped`, and verifies; tells the bytes proven.
fn attempt(file: &File, plan: &Plan, means: &Means, wiped: &mut u64, progress: &Progress) -> Result<u64, TaskError> {
    // A plain overwrite that fails reports its own error; marking first would only cost time.
    if means.method != Method::Overwrite {
        mark(file, plan, progress)?;
    }
    while *wiped < plan.size() {
        progress.wanted()?;
        let (at, length) = (*wiped, means.chunk.min(plan.size() - *wiped));
        (means.call)(file, at, length).map_err(TaskError::io(format!("at byte {at}")))?;
        *wiped += length;
        progress.add(length);
        if *wiped >= plan.size() / 2 {
            progress.passes(Point::Erasing);
        }
    }
    let last = plan.size().saturating_sub(EDGE);
    for from in [0, last] {
        overwrite(file, from, EDGE.min(plan.size())).map_err(TaskError::io(format!("writing zeros at byte {from}")))?;
    }
    sys::forget_cache(file).map_err(TaskError::io("writing out the disk"))?;
    verify(file, plan, progress)
}

/// Fills all that will be read back with something that is not blank, down to the disk.
fn mark(file: &File, plan: &Plan, progress: &Progress) -> Result<(), TaskError> {
    let seed = u64::from_le_bytes(random_bytes());
    let words = (0..BLOCK / 8).map(|i| mix(seed ^ i) | 0x0101_0101_0101_0101);
    let pattern: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    each_piece(plan, |at, length| {
        progress.wanted()?;
        file.write_all_at(&pattern[..length], at).map_err(TaskError::io(format!("marking the disk at byte {at}")))
    })?;
    sys::forget_cache(file).map_err(TaskError::io("writing out the marks"))
}

/// Bytes read back, all of them zero.
fn verify(file: &File, plan: &Plan, progress: &Progress) -> Result<u64, TaskError> {
    let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or(1 << 20)];
    let mut sampled = 0;
    each_piece(plan, |at, length| {
        progress.wanted()?;
        let piece = &mut buffer[..length];
        file.read_exact_at(piece, at).map_err(TaskError::io(format!("reading back at byte {at}")))?;
        if let Some(offset) = first_set(piece) {
            return Err(TaskError::failed(format!("byte {} is not blank", at + offset as u64)));
        }
        sampled += length as u64;
        Ok(())
    })?;
    Ok(sampled)
}

fn each_piece(plan: &Plan, mut visit: impl FnMut(u64, usize) -> Result<(), TaskError>) -> Result<(), TaskError> {
    for Range { mut start, end } in plan.regions() {
        while start < end {
            let length = (end - start).min(BLOCK);
            visit(start, usize::try_from(length).unwrap_or(0))?;
            start += length;
        }
    }
    Ok(())
}

/// Where the first byte is that is not zero; reads eight at a time.
fn first_set(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let word = words.iter().position(|w| u64::from_ne_bytes(*w) != 0).map(|i| i * 8);
    let from = word.unwrap_or(bytes.len() - rest.len());
    bytes[from..].iter().position(|b| *b != 0).map(|i| from + i)
}

/// Sends zeros.
fn overwrite(file: &File, offset: u64, length: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 1 << 20];
    let mut at = offset;
    while at < offset + length {
        let count = usize::try_from(offset + length - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&ZEROS[..count], at)?;
        at += count as u64;
    }
    // Keeps what is not yet on the disk from filling a small machine's memory.
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn disk(size: u64) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let size = usize::try_from(size).unwrap();
        file.write_all(&vec![0xa5; size]).unwrap();
        file
    }

    fn blank(file: &File, size: u64) -> bool {
        let mut all = vec![1; usize::try_from(size).unwrap()];
        file.read_exact_at(&mut all, 0).unwrap();
        first_set(&all).is_none()
    }

    const fn lie(_: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn refuse(_: &File, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[test]
    fn every_means_blanks_the_whole_disk() {
        for size in [512, 4096 * 3, 40 << 20, (35 << 20) + 512] {
            for one in means(true) {
                let file = disk(size);
                let plan = Plan::new(size, 1000, 1);
                let done =
                    erase("vda", &file, &plan, &[Means { chunk: 7 << 20, ..*one }], &Progress::default()).unwrap();
                assert_eq!(done, Done { method: one.method, sampled_bytes: size });
                assert!(blank(&file, size));
            }
        }
    }

    #[test]
    fn a_disk_that_lies_is_found_out_even_if_it_was_blank_before() {
        let size = 64 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        let liar = Means { method: Method::Discard, chunk: 1 << 30, call: lie };
        let plan = Plan::new(size, 0, 3);
        let error = erase("vda", &file, &plan, &[liar], &Progress::default()).unwrap_err().to_string();
        assert!(error.starts_with("discard: byte ") && error.ends_with("is not blank"), "{error}");
        let also = Means { method: Method::WriteZeroes, ..liar };
        let honest = means(false)[1];
        let done = erase("vda", &file, &plan, &[liar, also, honest], &Progress::default()).unwrap();
        assert_eq!((done.method, done.sampled_bytes), (Method::Overwrite, 48 << 20));
        assert!(blank(&file, size));
    }

    #[test]
    fn what_no_means_can_do_is_a_failure_that_names_each() {
        let cannot = |method| Means { method, chunk: 1 << 30, call: refuse };
        let liar = Means { method: Method::Overwrite, chunk: 1 << 30, call: lie };
        let all = [cannot(Method::Discard), cannot(Method::WriteZeroes), liar];
        let error = erase("vda", &disk(8 << 20), &Plan::new(8 << 20, 1, 3), &all, &Progress::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("discard: at byte 0: unsupported"), "{error}");
        assert!(error.contains("then write-zeroes: ") && error.contains("then overwrite: byte "), "{error}");
    }

    #[test]
    fn a_read_only_disk_is_a_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let read_only = File::open(file.path()).unwrap();
        assert!(erase("vda", &read_only, &Plan::new(1 << 20, 1, 3), means(true), &Progress::default()).is_err());
    }

    #[test]
    fn a_stopped_erase_stops() {
        let progress = Progress::default();
        progress.stop();
        let outcome = erase("vda", &disk(4 << 20), &Plan::new(4 << 20, 1, 3), means(true), &progress);
        assert!(matches!(outcome, Err(TaskError::Stopped)));
    }

    #[test]
    fn discard_is_tried_only_where_it_can_be() {
        let methods = |can| means(can).iter().map(|m| m.method).collect::<Vec<_>>();
        assert_eq!(methods(true), Method::ALL);
        assert_eq!(methods(false), [Method::WriteZeroes, Method::Overwrite]);
    }

    proptest! {
        #[test]
        fn the_first_set_byte_is_found(length in 1_usize..100, at in 0_usize..100) {
            let mut bytes = vec![0; length];
            prop_assert_eq!(first_set(&bytes), None);
            bytes[at % length] = 1;
            prop_assert_eq!(first_set(&bytes), Some(at % length));
        }
    }
}
