//! What a running task has at hand.

use std::sync::Arc;

use farrier_common::{clock::Clock, crash::Crash, net::MacAddr};

use crate::{crash::Point, error::TaskError, host::Host, image::fetch::Store, progress::Progress};

/// One run of one task.
#[derive(Clone, Debug)]
pub struct Job {
    /// The machine.
    pub host: Arc<Host>,
    /// Where images come from.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Clock,
    /// The interface that the machine booted from.
    pub boot_mac: Option<MacAddr>,
    /// To tell how far it is, and to be told to stop.
    pub progress: Progress,
    /// Where to die.
    pub crash: Crash<Point>,
}

/// Runs work that blocks beside the event loop, and waits for it.
///
/// # Errors
/// Those of the work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| TaskError::failed(format!("the agent crashed: {e}")))?
}
