//! The timeline: what machines did on the wire, as racks saw it, and what their agents do.

use farrier_common::{
    clock::Timestamp,
    id::{BootId, Id, Kind},
    net::MacAddr,
};
use uuid::Uuid;

use super::session::Session;
use crate::{
    app::{App, context::clip},
    domain::Result,
    store::{StepRow, TaskRow},
};

const MOST_TEXT: usize = 500;

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

enum StepName {}

impl Kind for StepName {
    const NAME: &'static str = "boot step";
}

impl App {
    /// Keeps what a rack saw. Whose it was is told by the MAC address, not by the rack.
    ///
    /// # Errors
    /// The database.
    pub async fn report_steps(&self, steps: Vec<Step>) -> Result<()> {
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

    /// Notes a step of an agent's task. The timeline is for people: losing an entry is no reason to fail the call.
    pub(super) async fn task_note(&self, session: &Session, task: &TaskRow, what: &str) {
        let m = &session.view.machine;
        let Some(interface) = m.interfaces.first() else { return };
        let row = StepRow {
            id: Id::<StepName>::generate().uuid(),
            at: self.clock.now(),
            mac: interface.mac,
            machine: Some(m.id),
            boot: Some(session.boot.id),
            kind: "task".to_owned(),
            text: clip(&format!("{} {what}", task.kind), MOST_TEXT),
        };
        if let Err(e) = self.store.steps_put(vec![row]).await {
            tracing::warn!(machine.id = %m.id, error = %e, "an entry of the timeline is lost");
        }
    }
}
