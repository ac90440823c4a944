//! Logins that a BMC has refused, so that nobody tries them again too soon: BMCs count wrong passwords and lock accounts, or
//! whoever comes from our address. All who ask a BMC share this, so polling cannot lock what somebody else needs.

use std::{
    collections::HashMap,
    net::SocketAddrV4,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{BmcError, Login};

/// How long a login is left alone after its first, second and later refusals: twice in a minute at most, where BMCs that count
/// lock after three.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];
/// Beyond this those that may be tried again are forgotten.
const MOST: usize = 20_000;

/// One name and password on one BMC. The password itself is not kept.
type Key = (SocketAddrV4, [u8; 32]);

#[derive(Clone, Copy, Debug)]
struct Refusal {
    times: usize,
    until: Instant,
}

/// What was refused. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<HashMap<Key, Refusal>>>);

impl Refusals {
    /// May the login be tried now?
    pub(super) fn check(&self, login: &Login) -> Result<(), BmcError> {
        let Some(refusal) = self.all().get(&key(login)).copied() else { return Ok(()) };
        let left = refusal.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let (times, left) = (refusal.times, left.as_secs() + 1);
        Err(BmcError::Refused(format!(
            "it has refused this name and password {times} times in a row; they are not tried again for {left} s, because \
             BMCs lock accounts"
        )))
    }

    /// Takes down what came of a login that was tried.
    pub(super) fn note<T>(&self, login: &Login, outcome: &Result<T, BmcError>) {
        let mut all = self.all();
        if let Err(BmcError::Refused(_)) = outcome {
            let now = Instant::now();
            if all.len() >= MOST {
                all.retain(|_, refusal| refusal.until > now);
            }
            let refusal = all.entry(key(login)).or_insert(Refusal { times: 0, until: now });
            let pause = PAUSES.get(refusal.times).or(PAUSES.last()).copied().unwrap_or_default();
            *refusal = Refusal { times: refusal.times + 1, until: now + pause };
        } else if outcome.is_ok() {
            all.remove(&key(login));
        }
        // Whatever else went wrong says nothing of the password.
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(login: &Login) -> Key {
    let mut digest = Sha256::new();
    digest.update(login.username.as_bytes());
    digest.update([0]);
    digest.update(login.password.expose().as_bytes());
    (login.address, digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bmc::{Face, ipmi::lanplus::KnownSuites};

    fn login(password: &str) -> Login {
        Login {
            address: "10.0.0.1:623".parse().unwrap(),
            username: "maas".to_owned(),
            password: password.to_owned().into(),
            face: Face::Ipmi,
            suites: KnownSuites::default(),
        }
    }

    fn refused() -> Result<(), BmcError> {
        Err(BmcError::Refused("wrong".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_left_alone_for_longer_each_time() {
        let refusals = Refusals::default();
        let mut tried = 0;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3600) {
            if refusals.check(&login("old")).is_ok() {
                tried += 1;
                refusals.note(&login("old"), &refused());
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(tried, 7, "at 0, 10, 70, 370, 1270, 2170 and 3070 seconds");
        assert!(refusals.check(&login("new")).is_ok(), "another password is another login");
        tokio::time::advance(Duration::from_secs(900)).await;
        refusals.note(&login("old"), &Ok(()));
        refusals.note(&login("old"), &refused());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(refusals.check(&login("old")).is_ok(), "one that was right counts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_says_nothing_of_the_password() {
        let refusals = Refusals::default();
        refusals.note(&login("x"), &refused());
        refusals.note::<()>(&login("x"), &Err(BmcError::Unreachable("away".to_owned())));
        let told = refusals.check(&login("x")).unwrap_err().to_string();
        assert!(told.contains("1 times in a row") && !told.contains("\"x\""), "{told}");
    }
}
