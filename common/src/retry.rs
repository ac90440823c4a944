//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt as _;

/// Exponential back-off between two bounds, with full jitter in its upper half.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// Starts at `first` and doubles up to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The wait after `failures` failures in a row (0 counts as 1), without jitter.
    #[must_use]
    pub fn base(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.most)
    }

    /// The wait after `failures` failures in a row, between half of [`Backoff::base`] and all of it.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        self.base(failures).mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits that long.
    pub async fn pause(&self, failures: u32) {
        tokio::time::sleep(self.wait(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_never_overflows() {
        let b = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let secs: Vec<_> = [0, 1, 2, 3, 5, 6, 33, u32::MAX].iter().map(|n| b.base(*n).as_secs()).collect();
        assert_eq!(secs, [1, 1, 2, 4, 16, 30, 30, 30]);
        assert!((1..100).all(|n| b.wait(n) <= b.base(n) && b.wait(n) * 2 >= b.base(n)));
    }
}
