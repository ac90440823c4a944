//! What was learnt about BMCs' cipher suites, so that each is not learnt again with every session.

use std::{
    collections::HashMap,
    net::SocketAddrV4,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Suite;

/// Which BMCs take suite 3 only. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct KnownSuites(Arc<Mutex<HashMap<SocketAddrV4, Instant>>>);

/// After this a BMC is asked for suite 17 again: its firmware may be another, or two lost packets were taken for a refusal.
const HOLDS: Duration = Duration::from_hours(1);
/// No rack has more BMCs.
const MOST: usize = 65_536;

impl KnownSuites {
    /// Does this BMC take suite 3 only?
    pub(super) fn is_three(&self, bmc: SocketAddrV4) -> bool {
        self.lock().get(&bmc).is_some_and(|since| since.elapsed() < HOLDS)
    }

    /// A session came about with this suite.
    pub(super) fn learn(&self, bmc: SocketAddrV4, suite: Suite) {
        let mut known = self.lock();
        match suite {
            Suite::Seventeen => drop(known.remove(&bmc)),
            Suite::Three if known.get(&bmc).is_some_and(|since| since.elapsed() < HOLDS) => {}
            Suite::Three => {
                if known.len() >= MOST {
                    known.clear();
                }
                known.insert(bmc, Instant::now());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddrV4, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_holds_for_a_while() {
        let (known, bmc) = (KnownSuites::default(), SocketAddrV4::new([10, 0, 0, 1].into(), 623));
        assert!(!known.is_three(bmc));
        known.learn(bmc, Suite::Three);
        tokio::time::advance(HOLDS / 2).await;
        known.clone().learn(bmc, Suite::Three);
        assert!(known.is_three(bmc));
        tokio::time::advance(HOLDS / 2).await;
        assert!(!known.is_three(bmc), "it is asked for the better one now and then");
        known.learn(bmc, Suite::Three);
        known.learn(bmc, Suite::Seventeen);
        assert!(!known.is_three(bmc));
    }
}
