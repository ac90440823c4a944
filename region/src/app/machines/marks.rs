//! Verbs that say what a machine is good for: broken, fixed, used in spite of a failed test, locked.

use super::{
    super::{App, context::Ask},
    user_data_purpose,
};
use crate::{
    domain::{Result, verbs as rules},
    store::{Extra, MachineView, Once},
};

impl App {
    /// Takes a machine out of use; whoever held it loses it.
    ///
    /// # Errors
    /// Refused or denied.
    pub async fn mark_broken(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change(ask, which, "mark-broken", |asked, m| {
            // As with a release: nobody's deployment any more.
            let extra = Extra { forget: vec![user_data_purpose(m.id)], ..Extra::default() };
            Ok((rules::mark_broken(asked, m, comment)?, extra))
        })
        .await
    }

    /// Learns a machine again whose repair is done.
    ///
    /// # Errors
    /// Refused or denied.
    pub async fn mark_fixed(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change(ask, which, "mark-fixed", |asked, m| Ok((rules::mark_fixed(asked, m, comment)?, Extra::default())))
            .await
    }

    /// Makes a machine ready although a hardware test failed.
    ///
    /// # Errors
    /// Refused, denied, or nobody says why.
    pub async fn override_failed_test(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        comment: &str,
    ) -> Result<Once<MachineView>> {
        self.change(ask, which, "override-failed-test", |asked, m| {
            Ok((rules::override_failed_test(asked, m, comment)?, Extra::default()))
        })
        .await
    }

    /// Keeps everybody from a machine.
    ///
    /// # Errors
    /// Locked already, or denied.
    pub async fn lock(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change(ask, which, "lock", |asked, m| Ok((rules::lock(asked, m, comment)?, Extra::default()))).await
    }

    /// Lets people at a machine again.
    ///
    /// # Errors
    /// Not locked, or denied.
    pub async fn unlock(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change_locked(ask, which, |asked, m| Ok((rules::unlock(asked, m, comment)?, Extra::default()))).await
    }
}
