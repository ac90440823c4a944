//! Follows the event log over breaks of the connection.
//!
//! **Invariant:** events come in order and none is left out, or it is said that some may be: after a break the stream starts
//! again after the last revision that was handed on or passed by a bookmark; where the region can no longer tell what came
//! after that, [`Update::Resync`] comes first.

use std::time::Duration;

use farrier_common::retry::Backoff;
use farrier_proto::v1::{
    Event, Resync, WatchEventsRequest, WatchEventsResponse, events_client::EventsClient, watch_events_response,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{Code, Status, Streaming};

use crate::{
    client::{Client, SHORT, is_lost},
    error::Error,
};

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
/// Breaks in a row after which it is given up: about six minutes.
const MOST_BREAKS: u32 = 40;
/// A stream that held this long was a good one.
const GOOD: Duration = Duration::from_secs(60);

/// News of the event log.
#[derive(Debug)]
pub(crate) enum Update {
    /// The next event.
    Event(Box<Event>),
    /// Events may be left out before the next one: what was learnt from them must be read anew. Whoever reads after this
    /// was said misses nothing.
    Resync(String),
    /// The stream broke and is being opened again. Said once per break.
    Lost(String),
    /// It is open again.
    Resumed,
    /// It cannot be followed any further; the last update.
    Failed(Error),
}

/// A task that follows the log; ends with its handle.
#[derive(Debug)]
pub(crate) struct Follow {
    updates: mpsc::Receiver<Update>,
    task: JoinHandle<()>,
}

impl Follow {
    /// Follows one machine (id or name), or all if empty, from the event after `after` on.
    pub(crate) fn start(client: &Client, machine: &str, after: i64) -> Self {
        let (sender, updates) = mpsc::channel(64);
        let follower = Follower { client: client.clone(), machine: machine.to_owned(), after, lost: false, sender };
        Self { updates, task: tokio::spawn(follower.run()) }
    }

    /// The next update; `None` after the last. May be cancelled.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === the task ===

struct Follower {
    client: Client,
    machine: String,
    after: i64,
    /// It was said that the stream broke.
    lost: bool,
    sender: mpsc::Sender<Update>,
}

/// Why a stream ended.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// The region cannot go on from where we are.
    Resync(Resync),
    /// The region ended it, or the connection broke.
    Broken(Status),
}

impl Follower {
    async fn run(mut self) {
        let mut breaks = 0;
        loop {
            let opened = Instant::now();
            let before = self.after;
            let status = match self.follow_once().await {
                End::Unwanted => return,
                End::Broken(status) => status,
                End::Resync(resync) => match self.restart(resync).await {
                    Ok(true) => continue,
                    Ok(false) => return,
                    Err(error) => return drop(self.sender.send(Update::Failed(error)).await),
                },
            };
            if self.after > before || opened.elapsed() > GOOD {
                breaks = 0;
            }
            breaks += 1;
            if !is_passing(&status) || breaks > MOST_BREAKS {
                // Whether anybody still listens does not matter: this is the end either way.
                let _ = self.sender.send(Update::Failed(self.client.failed(status, SHORT))).await;
                return;
            }
            if breaks == 1 {
                self.lost = true;
                if self.sender.send(Update::Lost(status.message().to_owned())).await.is_err() {
                    return;
                }
            }
            BACKOFF.pause(breaks).await;
        }
    }

    /// Goes on from now; tells whether anybody listens.
    async fn restart(&mut self, resync: Resync) -> Result<bool, Error> {
        // First the revision, then the word: so what is read after the word holds all that comes before the revision.
        self.after = self.client.revision().await?;
        Ok(self.sender.send(Update::Resync(resync.reason)).await.is_ok())
    }

    async fn follow_once(&mut self) -> End {
        let machine = self.machine.clone();
        let request = WatchEventsRequest { after_revision: self.after, machine, ..WatchEventsRequest::default() };
        let mut events = EventsClient::new(self.client.conn());
        // Only the opening has a deadline: the stream may be silent for days, and keep-alive finds a dead connection.
        let mut stream: Streaming<WatchEventsResponse> = match timeout(SHORT, events.watch_events(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return End::Broken(status),
            Err(_) => return End::Broken(Status::unavailable("the region did not open the event stream in time")),
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if let Some(end) = self.take(message).await {
                        return end;
                    }
                }
                Ok(None) => return End::Broken(Status::unavailable("the region ended the event stream")),
                Err(status) => return End::Broken(status),
            }
        }
    }
}

impl Follower {
    /// Hands a message on; tells if it is the last.
    async fn take(&mut self, message: WatchEventsResponse) -> Option<End> {
        if std::mem::take(&mut self.lost) && self.sender.send(Update::Resumed).await.is_err() {
            return Some(End::Unwanted);
        }
        match message.update {
            Some(watch_events_response::Update::Event(event)) => {
                self.after = self.after.max(event.revision);
                self.sender.send(Update::Event(Box::new(event))).await.err().map(|_| End::Unwanted)
            }
            Some(watch_events_response::Update::Bookmark(mark)) => {
                self.after = self.after.max(mark.revision);
                None
            }
            Some(watch_events_response::Update::Resync(resync)) => Some(End::Resync(resync)),
            // Something that this version does not know.
            None => None,
        }
    }
}

/// Is it worth to open the stream again?
fn is_passing(status: &Status) -> bool {
    let passing = match status.code() {
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => false,
    };
    // What this side made of a broken connection is passing unless the region's certificate is not trusted.
    if std::error::Error::source(status).is_some() { is_lost(status) } else { passing }
}
