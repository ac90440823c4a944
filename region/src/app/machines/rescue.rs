//! Rescue, and the way back.

use super::super::{App, context::Ask};
use crate::{
    domain::{Error, Result, lifecycle::Class, rescue as rules},
    store::{Extra, MachineView, Once},
};

impl App {
    /// Boots the rescue environment, with SSH for the caller's keys and those `given`.
    ///
    /// # Errors
    /// Refused, denied, or nobody could log in.
    pub async fn rescue(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        given: &[String],
        comment: &str,
    ) -> Result<Once<MachineView>> {
        let keys = self.login_keys(&ask.user, "ssh_keys", given).await?;
        self.change(ask, which, "rescue", |asked, m| {
            Ok((rules::rescue(asked, m, keys.clone(), comment)?, Extra::default()))
        })
        .await
    }

    /// Leaves the rescue environment.
    ///
    /// # Errors
    /// Refused or denied.
    pub async fn exit_rescue(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change(ask, which, "exit-rescue", |asked, m| Ok((rules::exit(asked, m, comment)?, Extra::default()))).await
    }

    /// Who may log in to a machine that is to stay up after commissioning.
    pub(super) async fn stay_up_keys(&self, ask: &Ask<MachineView>, stay_up: bool) -> Result<rules::Ssh> {
        if !stay_up {
            return Ok(rules::Ssh::default());
        }
        let keys = self.login_keys(&ask.user, "commission.stay_up", &[]).await?;
        if keys.is_empty() {
            let why = "nobody could log in: add a key of yours first (`farrier ssh-key add`)";
            return Err(Error::invalid("commission.stay_up", why));
        }
        Ok(rules::Ssh { keys, ..rules::Ssh::default() })
    }

    /// When the agent of the machine's boot was heard last, while it matters.
    pub(super) async fn heard(&self, mut view: MachineView) -> Result<MachineView> {
        let m = &view.machine;
        if let Some(boot) = m.details.boot
            && (m.state.class() == Class::Working || rules::keeps_running(m))
            && let Some(row) = self.store.boot_get(boot).await?
        {
            view.heard_at = self.store.boot_heard_at(&row);
        }
        Ok(view)
    }
}
