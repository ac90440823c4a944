//! Waiting for a condition: the only place that sleeps.

use std::time::{Duration, Instant};

use crate::error::{LabError, Result};

/// What one look at a condition saw.
#[derive(Debug)]
pub enum Seen<T> {
    /// It is there.
    Now(T),
    /// Not yet; this instead.
    NotYet(String),
}

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks until `probe` sees it, it fails, or `limit` is over.
///
/// # Errors
/// The probe's error, or a timeout that tells what was seen last.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Seen<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match probe()? {
            Seen::Now(value) => return Ok(value),
            Seen::NotYet(last) => last,
        };
        if start.elapsed() > limit {
            return Err(LabError::Timeout { what: what.to_owned(), limit, last });
        }
        pause(INTERVAL);
    }
}

/// Like [`until`], for a condition that is true or false.
///
/// # Errors
/// As [`until`].
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, limit, || Ok(if probe() { Seen::Now(()) } else { Seen::NotYet("not so".to_owned()) }))
}

/// Lets time pass between two looks.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps, between two looks at a condition")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_condition_or_tells_what_it_saw() {
        let mut looks = 0;
        let seen = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 { Seen::Now(looks) } else { Seen::NotYet(looks.to_string()) })
        });
        assert_eq!(seen.unwrap(), 3);
        let never = until::<()>("it", Duration::ZERO, || Ok(Seen::NotYet("rain".to_owned()))).unwrap_err();
        assert!(never.to_string().contains("last seen: rain"), "{never}");
    }
}
