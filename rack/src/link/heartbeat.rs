//! Tells the region, time and again, that the rack lives and what it holds; renews the certificate when it grows old.

use std::{convert::Infallible, time::Duration};

use farrier_common::{clock::Clock, retry::Backoff, telemetry::Chain};
use farrier_proto::rack as proto;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::identity::{Folder, Identity};
use crate::{
    boot::state::BootState,
    gateway::{Credentials, Gateway, GatewayError},
};

/// Between two beats, whatever the region says.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const AWAY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
/// Between two tries to renew.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(60);

/// Beats until stopped.
#[derive(Debug)]
pub struct Heart {
    /// The region.
    pub gateway: Gateway,
    /// What the rack holds.
    pub boot: BootState,
    /// Where the region can dial the rack.
    pub advertise: String,
    /// Where the rack serves HTTP.
    pub http_port: u16,
    /// Where the identity is kept.
    pub folder: Folder,
    /// The identity in use.
    pub identity: Identity,
    /// Who serves with the identity's credentials watches for new ones.
    pub renewed: watch::Sender<Credentials>,
    /// For the certificate's age.
    pub clock: Clock,
}

impl Heart {
    /// Beats until stopped.
    ///
    /// # Errors
    /// Never: a region that is away is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        let (mut failures, mut tried_renewal) = (0, None::<tokio::time::Instant>);
        loop {
            let wait = match self.beat().await {
                Ok(interval) => {
                    if failures > 0 {
                        tracing::info!(failures, "the region is back");
                    }
                    failures = 0;
                    interval.clamp(BOUNDS.0, BOUNDS.1)
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(%error, "heartbeat failed; machines are served from what is held");
                    }
                    AWAY.wait(failures)
                }
            };
            let old = self.identity.is_old(self.clock.now());
            if old && failures == 0 && tried_renewal.is_none_or(|at| at.elapsed() >= BETWEEN_RENEWALS) {
                tried_renewal = Some(tokio::time::Instant::now());
                self.renew().await;
            }
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn beat(&self) -> Result<Duration, GatewayError> {
        let request = proto::HeartbeatRequest {
            address: self.advertise.clone(),
            software_version: crate::VERSION.to_owned(),
            snapshot_id: self.boot.snapshot_id().unwrap_or_default(),
            intents: self.boot.len() as u64,
            http_port: self.http_port.into(),
        };
        self.gateway.heartbeat(request).await
    }

    /// Failing is no harm until the certificate expires, and is tried again.
    async fn renew(&mut self) {
        let old = &self.identity;
        let csr = match old.csr() {
            Ok(csr) => csr,
            Err(error) => return tracing::error!(error = %Chain(&error), "cannot ask for a new certificate"),
        };
        let (certificate_pem, ca_pem) = match self.gateway.renew(csr).await {
            Ok(answer) => answer,
            Err(error) => return tracing::warn!(%error, until = %old.not_after, "certificate not renewed"),
        };
        let (folder, kept) = (self.folder.clone(), old.renewed(certificate_pem, ca_pem));
        let stored = tokio::task::spawn_blocking(move || kept.and_then(|new| folder.store(&new).map(|()| new))).await;
        let new = match stored {
            Ok(Ok(new)) => new,
            Ok(Err(error)) => return tracing::error!(error = %Chain(&error), "the new certificate is not used"),
            Err(error) => return tracing::error!(%error, "storing the new certificate died"),
        };
        if let Err(error) = self.gateway.rekey(&new.credentials) {
            return tracing::error!(%error, "the new certificate is not used");
        }
        tracing::info!(until = %new.not_after, "certificate renewed");
        self.renewed.send_replace(new.credentials.clone());
        self.identity = new;
    }
}
