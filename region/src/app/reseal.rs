//! After another key was made: what earlier keys sealed comes under it.

use tokio_util::sync::CancellationToken;

use super::App;
use crate::{
    domain::Result,
    store::Replaced,
    vault::{VaultError, key_of},
};

/// Secrets that are read, and changed, in one transaction each.
const PAGE: usize = 500;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Secrets that are now under the newest key.
    pub moved: usize,
    /// Purposes of those that do not open, each with the reason.
    pub shut: Vec<(String, String)>,
}

impl App {
    /// Seals anew, under the newest key, what earlier keys sealed. A secret that somebody else writes meanwhile stays as he wrote
    /// it. It may be cut off anywhere, and done again.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn reseal(&self, stop: &CancellationToken) -> Result<Resealed> {
        let (mut outcome, mut last) = (Resealed::default(), String::new());
        while !stop.is_cancelled() {
            let page = self.store.secrets_after(&last, PAGE).await?;
            let Some((purpose, _)) = page.last() else { break };
            last.clone_from(purpose);
            let mut replaced = Vec::new();
            for (purpose, before) in page.into_iter().filter(|(_, sealed)| key_of(sealed) != Some(self.vault.newest()))
            {
                match self.anew(&purpose, &before) {
                    Ok(after) => replaced.push(Replaced { purpose, before, after }),
                    Err(e) => outcome.shut.push((purpose, e.to_string())),
                }
            }
            outcome.moved += self.store.secrets_replace(replaced).await?;
        }
        Ok(outcome)
    }

    fn anew(&self, purpose: &str, sealed: &[u8]) -> std::result::Result<Vec<u8>, VaultError> {
        Ok(self.vault.seal(purpose, self.vault.open_sealed(purpose, sealed)?.expose()))
    }

    /// The same, as a task of the region: once, when it starts.
    ///
    /// # Errors
    /// Never; the type fits the task group.
    pub async fn reseal_once(self, stop: CancellationToken) -> std::result::Result<(), std::convert::Infallible> {
        let key = self.vault.newest();
        match self.reseal(&stop).await {
            Ok(Resealed { moved, shut }) => {
                for (purpose, why) in &shut {
                    tracing::error!(purpose, why, "a secret does not open");
                }
                if moved > 0 {
                    tracing::info!(
                        key,
                        moved,
                        shut = shut.len(),
                        "secrets of earlier keys are under the newest one now"
                    );
                }
            }
            Err(error) => {
                tracing::error!(key, %error, "secrets are not all under the newest key; the next start tries again");
            }
        }
        Ok(())
    }
}
