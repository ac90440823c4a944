//! Changes the passwords of BMC accounts that are old.

use std::{convert::Infallible, time::Duration};

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::{
    domain::{
        Result,
        ageing::{Look, Turn},
        machine::Machine,
        verbs::bmc::begin,
    },
    store::MachineFilter,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60);
const PAGE: usize = 200;
/// The name in the log of who wants it.
const BY: &str = "schedule";

impl App {
    /// Keeps the passwords of our accounts on BMCs no older than `every`, until stopped. What is under way and what failed is told by
    /// the machines, so that it goes on after a restart, and in two regions beside each other.
    ///
    /// # Errors
    /// Never; the type fits the task group.
    pub async fn change_old_passwords(
        self,
        every: TimeDelta,
        stop: CancellationToken,
    ) -> std::result::Result<(), Infallible> {
        let mut halted = false;
        loop {
            match self.look_at_passwords(every).await {
                Ok(Turn::Halt(failed)) => {
                    if !std::mem::replace(&mut halted, true) {
                        tracing::warn!(
                            failed,
                            "passwords of BMCs are not changed on: too many could not be; see their events"
                        );
                    }
                }
                Ok(Turn::Begin(machines)) => {
                    halted = false;
                    for m in machines {
                        let (id, name) = (m.id, m.name.clone());
                        // Somebody changes the machine at this moment: its turn comes again.
                        if let Err(error) = self.change_old_password(m).await {
                            tracing::info!(machine.id = %id, %name, %error, "an old BMC password is changed later");
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "machines with old BMC passwords could not be listed"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn look_at_passwords(&self, every: TimeDelta) -> Result<Turn> {
        let (mut look, mut after) = (Look::new(every, self.clock.now()), None);
        loop {
            let (page, _) = self.store.machine_list(MachineFilter::default(), after, PAGE).await?;
            after = page.last().map(|view| view.machine.id);
            let full = page.len() == PAGE;
            page.into_iter().for_each(|view| look.at(view.machine));
            if !full {
                return Ok(look.turn());
            }
        }
    }

    async fn change_old_password(&self, m: Machine) -> Result<()> {
        let change = begin(&m, BY.to_owned(), self.clock.now(), "it is old")?;
        self.store.machine_apply(None, change, m.version, self.next_password(&m), |_| Vec::new()).await.map(drop)
    }
}
