//! Half of the free memory is written with patterns and read back.

use std::{fs, hint::black_box, thread, time::Instant};

use super::{Check, Verdict, processors};
use crate::host::Host;

/// Taken at a time.
const CHUNK: usize = 16 << 20;
const WORDS: usize = CHUNK / 8;
/// Where the kernel does not tell what is free.
const UNKNOWN: usize = 64 << 20;
const MOST_THREADS: usize = 8;
/// Shares of time for writing and reading, and for reading again at the end.
const SHARES: u32 = 5;
const AGAIN: u32 = 1;

/// What every word of a chunk is to hold.
type Pattern = fn(u64) -> u64;

const PATTERNS: [Pattern; 3] = [|_| 0x5555_5555_5555_5555, |_| 0xaaaa_aaaa_aaaa_aaaa, own];

/// Each word differs from all others, so that lines of the address that are stuck are found.
const fn own(place: u64) -> u64 {
    place.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (place << 32)
}

pub(super) fn test(check: &Check) -> Verdict {
    let wanted = (free(&check.host) / 2).max(CHUNK);
    let threads = processors().min(MOST_THREADS).min(wanted / CHUNK).max(1);
    let chunks = wanted / CHUNK / threads;
    let since = Instant::now();
    let outcomes: Vec<Result<usize, String>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(check, since, n, chunks.max(1)))).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a thread crashed".to_owned()))).collect()
    });
    let wrong: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).cloned().collect();
    if !wrong.is_empty() {
        return Verdict::Failed(wrong.join("; "));
    }
    let mib = |chunks: usize| chunks * (CHUNK >> 20);
    let done: usize = outcomes.iter().flatten().sum();
    Verdict::Passed(format!("{} of {} MiB held all patterns", mib(done), mib(threads * chunks.max(1))))
}

/// Bytes that programs may have.
fn free(host: &Host) -> usize {
    let told = fs::read_to_string(host.proc("meminfo")).unwrap_or_default();
    let line = told.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.map_or(UNKNOWN, |kib| kib.saturating_mul(1024))
}

/// Takes chunk after chunk and keeps them, so that each is other memory; how many were good.
fn work(check: &Check, since: Instant, thread: usize, chunks: usize) -> Result<usize, String> {
    let mut held: Vec<Vec<u64>> = Vec::new();
    while held.len() < chunks && (held.is_empty() || check.goes_on(since, SHARES)) {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(WORDS).is_err() {
            break;
        }
        chunk.resize(WORDS, 0_u64);
        let base = base(thread, held.len());
        for pattern in PATTERNS {
            fill(&mut chunk, base, pattern);
            holds(black_box(&chunk), base, pattern)?;
        }
        held.push(chunk);
    }
    // The last pattern must have stayed, whatever was written elsewhere since.
    let again = Instant::now();
    for (n, chunk) in held.iter().enumerate() {
        if n > 0 && !check.goes_on(again, AGAIN) {
            break;
        }
        holds(black_box(chunk), base(thread, n), own)?;
    }
    Ok(held.len())
}

/// Number of a chunk's first word.
const fn base(thread: usize, chunk: usize) -> u64 {
    ((thread as u64) << 48) | (chunk as u64 * WORDS as u64)
}

fn fill(chunk: &mut [u64], base: u64, pattern: Pattern) {
    for (word, place) in chunk.iter_mut().zip(base..) {
        *word = pattern(place);
    }
    black_box(chunk);
}

fn holds(chunk: &[u64], base: u64, pattern: Pattern) -> Result<(), String> {
    let mut all = chunk.iter().zip(base..);
    match all.find(|(word, place)| **word != pattern(*place)) {
        None => Ok(()),
        Some((word, place)) => {
            Err(format!("{:#018x} was written to word {place:#x} and {word:#018x} read back", pattern(place)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_changes_is_found() {
        let mut chunk = vec![0; 1000];
        for pattern in PATTERNS {
            fill(&mut chunk, 7, pattern);
            assert_eq!(holds(&chunk, 7, pattern), Ok(()));
            chunk[500] ^= 1 << 40;
            let told = holds(&chunk, 7, pattern).unwrap_err();
            assert!(told.contains("word 0x1fb and"), "{told}");
        }
        assert_ne!(own(1), own(2));
    }
}
