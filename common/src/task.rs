//! Background tasks that end together.

use std::{future::Future, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// How a task ended: in order, or with a reason.
type Outcome = Result<(), String>;

/// A set of named tasks with one stop signal. A task that panics or returns an error stops all others.
#[derive(Debug, Default)]
pub struct TaskGroup {
    tasks: JoinSet<(&'static str, Outcome)>,
    stop: CancellationToken,
}

impl TaskGroup {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Is cancelled when the group is to stop; tasks watch it between their steps.
    #[must_use]
    pub fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task. Its error, if any, ends the group and is returned by [`TaskGroup::run`].
    pub fn spawn<E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await.map_err(|e| e.to_string())) });
    }

    /// Runs until the stop signal or the first task that ends with an error; then gives the others `grace` to finish.
    ///
    /// # Errors
    /// The name of the task that failed or panicked, and why.
    pub async fn run(mut self, grace: Duration) -> Result<(), String> {
        let mut failure = None;
        while failure.is_none() {
            tokio::select! {
                () = self.stop.cancelled() => break,
                ended = self.tasks.join_next() => match ended {
                    None => break,
                    Some(Ok((_, Ok(())))) => {}
                    Some(Ok((name, Err(e)))) => failure = Some(format!("{name}: {e}")),
                    Some(Err(e)) => failure = Some(format!("a task died: {e}")),
                },
            }
        }
        self.stop.cancel();
        let drained = timeout(grace, async { while self.tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(left = self.tasks.len(), "tasks did not stop in time");
        }
        failure.map_or(Ok(()), Err)
    }
}
