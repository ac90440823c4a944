//! All processors compute something whose result is known.

use std::{thread, time::Instant};

use sha2::{Digest as _, Sha256};

use super::{Check, Verdict, processors};

/// Integers: so many digests in a row.
const DIGESTS: u32 = 2000;
const DIGEST: &str = "39b2cc20a796a447274ef473e3e5613946e0278f64902adef3808139efc36d7f";
/// Floating point: so many terms of a sum. Only operations that IEEE 754 gives one result for.
const TERMS: u32 = 50_000;
const SUM: u64 = 0x4012_30e1_0b05_dfaa;

pub(super) fn test(check: &Check) -> Verdict {
    let count = processors();
    let since = Instant::now();
    let outcomes: Vec<Result<u64, String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(|| work(check, since))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("it crashed".to_owned()))).collect()
    });
    let wrong: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).cloned().collect();
    if !wrong.is_empty() {
        return Verdict::Failed(format!("{} of {count} threads computed wrongly: {}", wrong.len(), wrong.join("; ")));
    }
    let rounds: u64 = outcomes.iter().flatten().sum();
    Verdict::Passed(format!("{count} threads computed {rounds} rounds, all with the known result"))
}

/// Rounds until the time is over: at least one.
fn work(check: &Check, since: Instant) -> Result<u64, String> {
    let mut rounds = 0;
    loop {
        round()?;
        rounds += 1;
        if !check.goes_on(since, 1) {
            return Ok(rounds);
        }
    }
}

fn round() -> Result<(), String> {
    let digest = hex::encode(digests());
    if digest != DIGEST {
        return Err(format!("a digest is {digest}, not {DIGEST}"));
    }
    let sum = sum().to_bits();
    if sum != SUM {
        return Err(format!("a sum is {sum:#018x}, not {SUM:#018x}"));
    }
    Ok(())
}

fn digests() -> [u8; 32] {
    let mut last = [0; 32];
    for n in 0..DIGESTS {
        let mut next = Sha256::new();
        next.update(std::hint::black_box(last));
        next.update(n.to_le_bytes());
        last = next.finalize().into();
    }
    last
}

fn sum() -> f64 {
    let term = |n: u32| {
        let n = f64::from(std::hint::black_box(n));
        (n * 3.0 + 0.1).sqrt() / (n * n)
    };
    (1..=TERMS).map(term).sum()
}
