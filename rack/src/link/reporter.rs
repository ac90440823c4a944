//! Hands boot steps to the region: in batches, each until it is taken. While the region is away they queue, up to the
//! queue's bound; beyond it new ones are dropped where they are made.

use std::{convert::Infallible, time::Duration};

use farrier_common::retry::Backoff;
use farrier_proto::rack as proto;
use prost_types::Timestamp;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    boot::steps::Step,
    gateway::{Gateway, GatewayError},
};

/// The contract's limit.
const BATCH: usize = 500;
/// How long to wait for more steps after the first.
const GATHER: Duration = Duration::from_millis(300);
const AWAY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
/// For what is left when the rack stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// Reports until stopped, then for a moment more.
///
/// # Errors
/// Never: a region that is away is waited for.
pub async fn run(gateway: Gateway, mut steps: mpsc::Receiver<Step>, stop: CancellationToken) -> Result<(), Infallible> {
    // Lives out here, so that being stopped in the middle loses nothing.
    let mut batch = Vec::new();
    while let Some(true) = stop.run_until_cancelled(gather(&mut steps, &mut batch)).await {
        if stop.run_until_cancelled(deliver(&gateway, &batch)).await.is_none() {
            break;
        }
        batch.clear();
    }
    steps.close();
    if timeout(FAREWELL, flush(&gateway, &mut steps, batch)).await.is_err() {
        tracing::warn!("the last boot steps are lost: the region does not answer");
    }
    Ok(())
}

/// Waits for a step, then a moment for more; false when the queue has ended.
async fn gather(steps: &mut mpsc::Receiver<Step>, batch: &mut Vec<Step>) -> bool {
    if steps.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let more = async { while batch.len() < BATCH && steps.recv_many(batch, BATCH - batch.len()).await > 0 {} };
    // Both ways there is a batch to send: a full one, or what came in time.
    timeout(GATHER, more).await.unwrap_or_default();
    true
}

/// Tries until the region takes the batch or refuses it for good.
async fn deliver(gateway: &Gateway, batch: &[Step]) {
    let steps: Vec<_> = batch.iter().map(to_wire).collect();
    let mut failures = 0;
    while let Err(error) = gateway.report_boot_steps(steps.clone()).await {
        if !matches!(error, GatewayError::Unavailable(_)) {
            // The same batch would be refused for ever, and those behind it would never be heard.
            return tracing::error!(%error, steps = steps.len(), "boot steps refused and lost");
        }
        failures += 1;
        if failures == 1 {
            tracing::warn!(%error, "boot steps wait for the region");
        }
        AWAY.pause(failures).await;
    }
}

async fn flush(gateway: &Gateway, steps: &mut mpsc::Receiver<Step>, mut batch: Vec<Step>) {
    loop {
        while let Some(step) = (batch.len() < BATCH).then(|| steps.try_recv().ok()).flatten() {
            batch.push(step);
        }
        if batch.is_empty() {
            return;
        }
        deliver(gateway, &batch).await;
        batch.clear();
    }
}

fn to_wire(step: &Step) -> proto::BootStep {
    proto::BootStep {
        id: step.id.to_string(),
        at: Some(Timestamp {
            seconds: step.at.timestamp(),
            nanos: i32::try_from(step.at.timestamp_subsec_nanos()).unwrap_or_default(),
        }),
        mac: step.mac.to_string(),
        machine_id: step.machine_id.map(|id| id.to_string()).unwrap_or_default(),
        boot_id: step.boot_id.map(|id| id.to_string()).unwrap_or_default(),
        kind: step.kind.as_str().to_owned(),
        text: step.text.clone(),
    }
}
