//! Sends blobs: kernels and initrds to anybody, everything else to those whom the region permits.

use std::{io::SeekFrom, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use farrier_common::{id::BootId, secret::Secret, telemetry::Chain};
use futures_util::StreamExt as _;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    time::{Instant, timeout},
};
use tokio_util::io::ReaderStream;

use super::{
    Ends, Refusal, Shared,
    range::{Part, part},
};
use crate::{
    boot::{intent::BlobRef, steps::StepKind},
    gateway::GatewayError,
};

/// Read at a time; the client's pace decides when.
const CHUNK: usize = 256 << 10;

/// How long a client waits for a blob that the rack has yet to fetch from the region.
const FETCH_DEADLINE: Duration = Duration::from_secs(900);

pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    Extension(ends): Extension<Ends>,
    method: Method,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let blob = permit(&shared, &sha256, &headers).await?;
    let etag = format!("\"{}\"", blob.sha256);
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    // RFC 9110 section 13.1.5: a range of another file than the client has a part of is of no use to it.
    let same = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let asked = if method == Method::GET && same { text(header::RANGE) } else { None };
    let part = part(asked, blob.size);
    let (status, start, length) = match part {
        Part::Whole => (StatusCode::OK, 0, blob.size),
        Part::Slice { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Part::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{}", blob.size))];
            return Err((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
        }
    };
    let body = if method == Method::GET {
        send(shared, ends.client.ip(), &blob, start, length).await.map_err(|refusal| refusal.into_response())?
    } else {
        Body::empty()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(etag) = HeaderValue::try_from(etag) {
        fields.insert(header::ETAG, etag);
    }
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = HeaderValue::try_from(format!("bytes {start}-{}/{}", start + length - 1, blob.size))
    {
        fields.insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// The blob, if the client may have it.
async fn permit(shared: &Shared, sha256: &str, headers: &HeaderMap) -> Result<BlobRef, Response> {
    if let Some(blob) = shared.parts.boot.boot_blob(sha256) {
        return Ok(blob);
    }
    let Some((boot_id, session)) = credentials(headers) else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        let text = "this blob needs Authorization: Bearer BOOT_ID.SESSION\n";
        return Err((StatusCode::UNAUTHORIZED, challenge, text).into_response());
    };
    shared.parts.gateway.authorize_blob(boot_id, &session, sha256).await.map_err(|error| {
        tracing::info!(%boot_id, sha256, error = %Chain(&error), "blob not given");
        let status = match error {
            GatewayError::Denied(_) => StatusCode::FORBIDDEN,
            GatewayError::NotFound(_) => StatusCode::NOT_FOUND,
            GatewayError::Invalid(_) => StatusCode::BAD_REQUEST,
            GatewayError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, format!("{error}\n")).into_response()
    })
}

fn credentials(headers: &HeaderMap) -> Option<(BootId, Secret<String>)> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let (boot_id, session) = token.trim().split_once('.')?;
    let good = scheme.eq_ignore_ascii_case("bearer") && !session.is_empty();
    good.then(|| Some((boot_id.parse().ok()?, Secret::new(session.to_owned())))).flatten()
}

/// A body that reads the file as the client takes it, and records a step when the last byte is taken.
async fn send(shared: Arc<Shared>, client: IpAddr, blob: &BlobRef, start: u64, length: u64) -> Result<Body, Refusal> {
    let path = match timeout(FETCH_DEADLINE, shared.parts.blobs.ensure(blob)).await {
        Ok(Ok(path)) => path,
        Ok(Err(error)) => {
            tracing::warn!(%client, sha256 = blob.sha256, error = %Chain(&error), "blob not available");
            return Err((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")));
        }
        Err(_) => return Err((StatusCode::GATEWAY_TIMEOUT, "the region is too slow\n".to_owned())),
    };
    let failed = |error| {
        tracing::error!(path = %path.display(), %error, "a blob cannot be read");
        (StatusCode::INTERNAL_SERVER_ERROR, "the blob cannot be read\n".to_owned())
    };
    let mut file = File::open(&path).await.map_err(failed)?;
    file.seek(SeekFrom::Start(start)).await.map_err(failed)?;
    let (begun, mut sent, blob) = (Instant::now(), 0, blob.clone());
    let last = start + length == blob.size;
    let chunks = ReaderStream::with_capacity(file.take(length), CHUNK).inspect(move |chunk| {
        sent += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if sent == length && last {
            let (kind, what) = shared.what(&blob);
            let text = format!("{what}, {} KiB in {:.1} s", blob.size.div_ceil(1024), begun.elapsed().as_secs_f64());
            shared.record(client, kind, &text);
        }
    });
    Ok(Body::from_stream(chunks))
}

impl Shared {
    /// What a blob is to the machines.
    fn what(&self, blob: &BlobRef) -> (StepKind, String) {
        match self.parts.boot.boot_blob_role(&blob.sha256) {
            Some(role) => (StepKind::Kernel, role.to_owned()),
            None => (StepKind::Http, format!("image {:.12}", blob.sha256)),
        }
    }
}
