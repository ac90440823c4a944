//! `POST /live-inventory`: the script on the host of a live machine tells what hardware it has.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, http::StatusCode};
use tokio::time::timeout;

use super::{BODY_DEADLINE, Ends, Refusal, Shared};
use crate::gateway::{GatewayError, LiveReport};

/// What a host with hundreds of disks sends, and room.
pub(super) const MOST_BYTES: usize = 256 << 10;

pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    Extension(ends): Extension<Ends>,
    body: Body,
) -> Result<String, Refusal> {
    let read = timeout(BODY_DEADLINE, axum::body::to_bytes(body, MOST_BYTES)).await;
    let bytes = read
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n".to_owned()))?
        .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MOST_BYTES} bytes are taken\n")))?;
    let report: LiveReport = serde_json::from_slice(&bytes)
        // serde's text could quote the token.
        .map_err(|e| {
            (StatusCode::BAD_REQUEST, format!("not an inventory: line {}, column {}\n", e.line(), e.column()))
        })?;
    match shared.parts.gateway.live_inventory(report, ends.client.ip()).await {
        Ok(name) => Ok(format!("thank you; this is machine {name}\n")),
        Err(error @ (GatewayError::Denied(_) | GatewayError::NotFound(_))) => {
            tracing::warn!(client = %ends.client, %error, "a live inventory was not accepted");
            Err((StatusCode::FORBIDDEN, format!("{error}\n")))
        }
        Err(error @ GatewayError::Invalid(_)) => Err((StatusCode::BAD_REQUEST, format!("{error}\n"))),
        Err(GatewayError::Unavailable(_)) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, "the region cannot be reached, try again\n".to_owned()))
        }
    }
}
