//! How often a user may call: a bucket of tokens for each, filled as time passes.
//!
//! Callers are known before they are counted, so there are no more buckets than users; those that are full again are
//! forgotten when there are many.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use farrier_common::id::UserId;

use crate::{
    app::RateLimit,
    domain::{Error, Result, user::User},
};

/// With more buckets than so many the full ones are forgotten.
const MANY: usize = 4096;

/// The buckets.
#[derive(Debug)]
pub(super) struct Limits {
    rate: RateLimit,
    buckets: Mutex<HashMap<UserId, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    calls: f64,
    at: Instant,
}

impl Limits {
    pub(super) fn new(rate: RateLimit) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// It is one too many; when the next is let through.
    pub(super) fn count(&self, user: &User, now: Instant) -> Result<()> {
        let RateLimit { per_second, burst } = self.rate;
        if per_second == 0 {
            return Ok(());
        }
        let (rate, full) = (f64::from(per_second), f64::from(burst));
        let fill = |b: &Bucket| (b.calls + now.saturating_duration_since(b.at).as_secs_f64() * rate).min(full);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > MANY {
            buckets.retain(|_, b| fill(b) < full);
        }
        let bucket = buckets.entry(user.id).or_insert(Bucket { calls: full, at: now });
        *bucket = Bucket { calls: fill(bucket), at: now };
        if bucket.calls >= 1.0 {
            bucket.calls -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.calls) / rate).max(Duration::from_millis(1));
        Err(Error::TooOften { user: user.name.to_string(), per_second, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{testing::user, user::Role};

    #[test]
    fn a_burst_is_let_through_then_calls_as_time_passes_and_each_user_for_himself() {
        let limits = Limits::new(RateLimit { per_second: 10, burst: 3 });
        let (ann, bob, start) = (user("ann", Role::User), user("bob", Role::User), Instant::now());
        for _ in 0..3 {
            limits.count(&ann, start).unwrap();
        }
        let Err(Error::TooOften { wait, .. }) = limits.count(&ann, start) else { panic!("let through") };
        assert_eq!(wait, Duration::from_millis(100));
        limits.count(&bob, start).unwrap();
        limits.count(&ann, start + wait).unwrap();
        assert!(limits.count(&ann, start + wait).is_err());
        let later = start + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| limits.count(&ann, later).is_ok()).count(), 3);
    }

    #[test]
    fn full_buckets_are_forgotten_when_there_are_many() {
        let limits = Limits::new(RateLimit { per_second: 10, burst: 3 });
        let start = Instant::now();
        for _ in 0..=MANY {
            limits.count(&user("ann", Role::User), start).unwrap();
        }
        limits.count(&user("bob", Role::User), start + Duration::from_secs(1)).unwrap();
        assert_eq!(limits.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn no_limit_counts_nothing() {
        let limits = Limits::new(RateLimit { per_second: 0, burst: 1 });
        let (ann, now) = (user("ann", Role::User), Instant::now());
        assert!((0..100).all(|_| limits.count(&ann, now).is_ok()));
        assert!(limits.buckets.lock().unwrap().is_empty());
    }
}
