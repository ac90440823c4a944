//! The timeline: what machines did on the wire, as racks saw it, and what their agents do.

use farrier_common::{clock::Timestamp, id::BootId, net::MacAddr};
use uuid::Uuid;

use crate::{
    app::{App, context::clip},
    domain::Result,
    store::StepRow,
};

const MOST_TEXT: usize = 500;
/// Kind of the step with which a rack tells that it holds a network boot.
pub(crate) const LOOP: &str = "loop";

/// One thing that a machine did with its rack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Made by the rack; a step reported twice is kept once.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Which interface.
    pub mac: MacAddr,
    /// Which boot, if known.
    pub boot: Option<BootId>,
    /// dhcp, tftp, http, kernel, agent, os.
    pub kind: String,
    /// What, for people.
    pub text: String,
}

impl App {
    /// Keeps what a rack saw. Whose it was is told by the MAC address, not by the rack.
    ///
    /// # Errors
    /// The database.
    pub async fn report_steps(&self, steps: Vec<Step>) -> Result<()> {
        for step in steps.iter().filter(|step| step.kind == LOOP) {
            if let Some(boot) = step.boot {
                self.store.boot_held(boot, &clip(&step.text, MOST_TEXT)).await?;
            }
        }
        let rows = steps.into_iter().map(|step| StepRow {
            id: step.id,
            at: step.at,
            mac: step.mac,
            machine: None,
            boot: step.boot,
            kind: step.kind,
            text: clip(&step.text, MOST_TEXT),
        });
        self.store.steps_put(rows.collect()).await
    }
}
