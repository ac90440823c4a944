//! What machines did with the rack, on its way to the region.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use farrier_common::{
    clock::Timestamp,
    id::{BootId, Id, Kind, MachineId},
    net::MacAddr,
    words,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::intent::Intent;

/// The longest text of a step, in characters.
const TEXT_LIMIT: usize = 200;

/// A log line for the first step that is dropped and then for every so many.
const WARN_EVERY: u64 = 1000;

words! {
    /// Which part of the boot a step belongs to.
    StepKind {
        /// An address.
        Dhcp = "dhcp",
        /// A loader by TFTP.
        Tftp = "tftp",
        /// A script, loader or image by HTTP.
        Http = "http",
        /// The kernel or initrd of the ephemeral environment.
        Kernel = "kernel",
        /// The agent.
        Agent = "agent",
        /// The installed system.
        Os = "os",
        /// A network boot that leads nowhere is held.
        Loop = "loop",
    }
}

/// One thing that a machine did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Names the step, so that one reported twice is stored once.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Which interface.
    pub mac: MacAddr,
    /// Which machine, if an intent names the interface.
    pub machine_id: Option<MachineId>,
    /// Which boot, if known.
    pub boot_id: Option<BootId>,
    /// Which part of the boot.
    pub kind: StepKind,
    /// What, for people.
    pub text: String,
}

/// Takes steps from everybody; never blocks and never fails.
#[derive(Clone, Debug)]
pub struct Steps {
    sender: mpsc::Sender<Step>,
    dropped: Arc<AtomicU64>,
}

enum StepName {}

impl Kind for StepName {
    const NAME: &'static str = "boot step";
}

// === impl Step ===

impl Step {
    /// A step that happened now, of the machine that `intent` names (if any).
    #[must_use]
    pub fn new(at: Timestamp, mac: MacAddr, intent: Option<&Intent>, kind: StepKind, text: &str) -> Self {
        Self {
            id: Id::<StepName>::generate().uuid(),
            at,
            mac,
            machine_id: intent.map(|i| i.machine_id),
            boot_id: intent.and_then(Intent::boot_id),
            kind,
            text: text.chars().filter(|c| !c.is_control()).take(TEXT_LIMIT).collect(),
        }
    }
}

// === impl Steps ===

impl Steps {
    /// A queue for `capacity` steps, and its end.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Step>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self { sender, dropped: Arc::default() }, receiver)
    }

    /// Queues a step, or drops it if the queue is full: machines must boot even when nobody listens.
    pub fn record(&self, step: Step) {
        tracing::debug!(mac = %step.mac, kind = %step.kind, text = step.text, "boot step");
        if self.sender.try_send(step).is_err() {
            let before = self.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(WARN_EVERY) {
                tracing::warn!(
                    dropped = before + 1,
                    "boot steps are dropped: the region does not take them fast enough"
                );
            }
        }
    }

    /// How many steps have been dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::state::samples;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (steps, mut receiver) = Steps::channel(1);
        let intent = samples::ephemeral(1, "10.77.0.20");
        let step = Step::new(samples::now(), samples::mac(1), Some(&intent), StepKind::Dhcp, "ACK\n10.77.0.20");
        assert_eq!((step.boot_id, step.text.as_str()), (intent.boot_id(), "ACK10.77.0.20"));
        for _ in 0..3 {
            steps.record(step.clone());
        }
        assert_eq!(steps.dropped(), 2);
        assert_eq!(receiver.try_recv(), Ok(step));
    }
}
