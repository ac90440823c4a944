//! Work that a BMC has begun and will end: 202, and a monitor to look at.

use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::{super::super::BmcError, Client};
use crate::bmc::redfish::document::Document;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

impl Client<'_> {
    /// Looks at a task until it has ended. What it was for is judged by what is seen afterwards, so that a monitor which is
    /// gone is no failure.
    pub(super) async fn follow(&mut self, monitor: &str) -> Result<(), BmcError> {
        loop {
            let answer = self.ask(&Method::GET, monitor, None, None).await?;
            match answer.status {
                StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::NO_CONTENT => return Ok(()),
                status if !status.is_success() => return Err(self.refusal("GET", monitor, &answer)),
                _ => {}
            }
            let told = self.read(monitor, &answer).ok();
            if let Some(ended) = told.as_ref().and_then(ended) {
                return ended;
            }
            // The monitor of a task that is over answers with the result of the work instead of the task.
            if answer.status != StatusCode::ACCEPTED && told.as_ref().is_none_or(|d| d.text("/TaskState").is_none()) {
                return Ok(());
            }
            let pause = Self::asked_pause(&answer).map_or(LOOK, Duration::from_secs).clamp(LOOK, LONGEST_LOOK);
            if Instant::now() + pause >= self.deadline() {
                return Err(BmcError::NotConfirmed(format!("the task {monitor} did not end in time")));
            }
            sleep(pause).await;
        }
    }
}

/// Has the task ended, and how?
fn ended(task: &Document) -> Option<Result<(), BmcError>> {
    match task.text("/TaskState")? {
        "Completed" => Some(Ok(())),
        state @ ("Exception" | "Killed" | "Cancelled" | "Interrupted") => {
            let why = task.shown("/Messages/0/Message");
            let text = format!("the task {} ended as {state}", task.path);
            Some(Err(BmcError::Rejected(if why.is_empty() { text } else { format!("{text}: {why}") })))
        }
        _ => None,
    }
}
