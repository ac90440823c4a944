//! First contact: a join token becomes a certificate.

use std::time::Duration;

use farrier_common::{clock::Clock, retry::Backoff, tls};
use farrier_proto::rack as proto;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::identity::{Folder, Identity, IdentityError, csr};
use crate::{
    config::Config,
    gateway::{self, Credentials, GatewayError},
    join::{BadJoinToken, JoinToken},
};

/// Why the rack has no identity.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// It never enrolled, and has nothing to enrol with.
    #[error(
        "this rack is not enrolled (or its certificate has expired) and join_token_file is not set: make a join token in the region"
    )]
    NoToken,
    /// The token is damaged.
    #[error("join_token_file")]
    Token(#[source] BadJoinToken),
    /// The region refuses.
    #[error("the region did not enrol this rack: a join token works once and expires; make a new one")]
    Refused(#[source] GatewayError),
    /// The region's answer, or what is on the disk, cannot be used.
    #[error("identity")]
    Identity(#[source] IdentityError),
    /// The rack is to stop.
    #[error("stopped before the region answered")]
    Stopped,
}

const AWAY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(20));

/// The rack's identity: the one on disk or, at first start, a new one. Waits for a region that is away.
///
/// # Errors
/// See [`EnrolError`].
pub async fn identity(
    config: &Config,
    folder: &Folder,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<Identity, EnrolError> {
    match folder.load().map_err(EnrolError::Identity)? {
        Some(mut known) if !known.is_expired(clock.now()) => {
            if let Some(region) = &config.region {
                known.region.clone_from(region);
            }
            return Ok(known);
        }
        Some(expired) => {
            tracing::warn!(rack = %expired.rack_id, since = %expired.not_after, "the certificate has expired")
        }
        None => {}
    }
    let file = config.join_token_file.as_ref().ok_or(EnrolError::NoToken)?;
    let token = JoinToken::from_file(file).map_err(EnrolError::Token)?;
    enrol(config, folder, &token, stop).await
}

async fn enrol(
    config: &Config,
    folder: &Folder,
    token: &JoinToken,
    stop: &CancellationToken,
) -> Result<Identity, EnrolError> {
    let region = config.region.as_ref().unwrap_or(&token.region);
    // Kept before it is used: if the answer is lost, the same key asks again.
    let key_pem = folder.key().map_err(EnrolError::Identity)?;
    let request = proto::EnrollRequest {
        secret: token.secret.expose().clone(),
        csr_pem: csr(&key_pem).map_err(EnrolError::Identity)?,
        address: config.advertise.clone(),
        software_version: crate::VERSION.to_owned(),
    };
    let mut failures = 0;
    let answer = loop {
        match gateway::enroll(region, &token.ca_pem, request.clone()).await {
            Ok(answer) => break answer,
            Err(error @ GatewayError::Unavailable(_)) => {
                failures += 1;
                tracing::warn!(region, %error, "cannot enrol yet");
                if stop.run_until_cancelled(AWAY.pause(failures)).await.is_none() {
                    return Err(EnrolError::Stopped);
                }
            }
            Err(error) => return Err(EnrolError::Refused(error)),
        }
    };
    if answer.region_identity != tls::REGION_IDENTITY {
        let text = format!("the region calls itself {:?}, not {}", answer.region_identity, tls::REGION_IDENTITY);
        return Err(EnrolError::Identity(IdentityError::Certificate(text)));
    }
    let credentials = Credentials { key_pem, certificate_pem: answer.certificate_pem, ca_pem: answer.ca_pem };
    let identity = Identity::new(region.clone(), credentials).map_err(EnrolError::Identity)?;
    folder.store(&identity).map_err(EnrolError::Identity)?;
    tracing::info!(rack = %identity.rack_id, name = answer.rack_name, region, "enrolled");
    Ok(identity)
}
