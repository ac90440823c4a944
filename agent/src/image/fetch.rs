//! Fetches a blob from the rack, going on where a broken connection left off.

use std::time::Duration;

use bytes::Bytes;
use farrier_common::{id::BootId, retry::Backoff, secret::Secret};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_RANGE, HeaderValue, RANGE},
    redirect,
};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, timeout},
};

use crate::{console::say, error::TaskError, image::Blob, progress::Progress};

/// The rack's blobs, as one boot may see them.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    base: Url,
    bearer: HeaderValue,
    patience: Patience,
}

/// How long trouble is borne.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a single byte, whatever the trouble: the rack may be restarting.
    pub without_progress: Duration,
    /// While the rack says that this boot may not have the blob: a rack that just restarted has to ask first.
    pub denied: Duration,
    /// For an answer, and for each chunk of it.
    pub answer: Duration,
    /// Between two attempts.
    pub pauses: Backoff,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            without_progress: Duration::from_mins(10),
            denied: Duration::from_mins(1),
            answer: Duration::from_mins(1),
            pauses: Backoff::new(Duration::from_millis(500), Duration::from_secs(15)),
        }
    }
}

/// Why an attempt ended early.
enum Trouble {
    /// May pass.
    Passing(String),
    /// The rack refuses this boot.
    Denied(String),
    /// Does not pass.
    Lasting(TaskError),
    /// Whoever takes the chunks wants no more; it knows why.
    Unwanted,
}

impl Store {
    /// The blobs at `base`, asked for with the session of one boot.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(base: &Url, boot: BootId, session: &Secret<String>, patience: Patience) -> Result<Self, TaskError> {
        let failed = |e: &dyn std::fmt::Display| TaskError::failed(format!("cannot set up the HTTP client: {e}"));
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .redirect(redirect::Policy::none())
            .build();
        let bearer = Secret::new(format!("Bearer {boot}.{}", session.expose()));
        let mut bearer = HeaderValue::from_str(bearer.expose()).map_err(|e| failed(&e))?;
        bearer.set_sensitive(true);
        Ok(Self { client: client.map_err(|e| failed(&e))?, base: base.clone(), bearer, patience })
    }

    /// Sends the blob's bytes in order to `to`. Also succeeds when the receiver is dropped early.
    ///
    /// # Errors
    /// The rack did not deliver within its patience, sent more than announced, or the task is no longer wanted.
    pub async fn fetch(&self, blob: &Blob, to: Sender<Bytes>, progress: &Progress) -> Result<(), TaskError> {
        // Dropping a half-done download leaves nothing behind.
        tokio::select! {
            fetched = self.insist(blob, to) => fetched,
            () = progress.stopped() => Err(TaskError::Stopped),
        }
    }

    async fn insist(&self, blob: &Blob, to: Sender<Bytes>) -> Result<(), TaskError> {
        let url = self
            .base
            .join(&format!("/blobs/{}", blob.sha256))
            .map_err(|e| TaskError::failed(format!("farrier.http: {e}")))?;
        let (mut at, mut failures, mut since) = (0, 0, Instant::now());
        loop {
            let before = at;
            let ended = self.attempt(&url, blob.size_bytes, &mut at, &to).await;
            if at > before {
                (failures, since) = (0, Instant::now());
            }
            let (why, patience) = match ended {
                Ok(()) | Err(Trouble::Unwanted) => return Ok(()),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(why)) => (why, self.patience.without_progress),
                Err(Trouble::Denied(why)) => (why, self.patience.denied),
            };
            if since.elapsed() >= patience {
                return Err(TaskError::failed(format!(
                    "fetching the image stopped at byte {at} of {}: {why}",
                    blob.size_bytes
                )));
            }
            failures += 1;
            say(format_args!("fetching the image: {why}; going on from byte {at}"));
            self.patience.pauses.pause(failures).await;
        }
    }

    /// One request, from byte `at` on; moves `at`.
    async fn attempt(&self, url: &Url, size: u64, at: &mut u64, to: &Sender<Bytes>) -> Result<(), Trouble> {
        let mut request = self.client.get(url.clone()).header(AUTHORIZATION, self.bearer.clone());
        if *at > 0 {
            request = request.header(RANGE, format!("bytes={at}-"));
        }
        let answer = timeout(self.patience.answer, request.send()).await.map_err(|_| silent())?.map_err(broken)?;
        let (mut answer, mut skip) = accept(answer, *at)?;
        while let Some(mut chunk) =
            timeout(self.patience.answer, answer.chunk()).await.map_err(|_| silent())?.map_err(broken)?
        {
            if skip > 0 {
                let cut = chunk.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
                skip -= cut as u64;
                chunk = chunk.slice(cut..);
            }
            let end = *at + chunk.len() as u64;
            if end > size {
                return Err(Trouble::Lasting(TaskError::failed(format!(
                    "the rack sent more than the {size} bytes of the image"
                ))));
            }
            if !chunk.is_empty() {
                to.send(chunk).await.map_err(|_| Trouble::Unwanted)?;
            }
            *at = end;
        }
        if *at < size { Err(Trouble::Passing("the connection ended early".to_owned())) } else { Ok(()) }
    }
}

/// The answer and how many of its first bytes are known already.
fn accept(answer: Response, at: u64) -> Result<(Response, u64), Trouble> {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(Trouble::Denied(format!("the rack answers {status}")));
    }
    if status == StatusCode::OK {
        return Ok((answer, at));
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let starts =
        range.strip_prefix("bytes ").and_then(|r| r.split_once('-')).and_then(|(first, _)| first.parse::<u64>().ok());
    if status == StatusCode::PARTIAL_CONTENT && starts == Some(at) {
        return Ok((answer, 0));
    }
    Err(Trouble::Passing(format!("the rack answers {status} {range:?} for byte {at}")))
}

fn silent() -> Trouble {
    Trouble::Passing("the rack went silent".to_owned())
}

fn broken(error: reqwest::Error) -> Trouble {
    Trouble::Passing(farrier_common::telemetry::Chain(&error.without_url()).to_string())
}

#[cfg(test)]
mod tests;
