//! Machines that go, and what is left behind on their BMCs; systems that are asked to shut down.

use std::{sync::PoisonError, time::Duration};

use anyhow::Context as _;
use farrier_common::hardware::PowerState;
use farrier_proto::convert;

use super::{
    normal,
    play::{ANSWER, Stage},
};
use crate::{
    accounts::{Privilege, User},
    drive::DriveError,
    fault_plan::Selector,
    population::Member,
};

impl Stage {
    /// Has machines taken out of the database. One that is gone is not known any more: it may be met again.
    pub(super) fn delete(&mut self, who: &Selector, force: bool) -> anyhow::Result<Vec<String>> {
        let mut told = Vec::new();
        for member in self.chosen(who)? {
            let (known, region) = (self.named(&member)?, self.link()?.region.clone());
            let answer = self.drive(ANSWER, async move { region.delete(&known.name, force).await })?;
            let text = match answer {
                Ok(gone) => {
                    self.known.remove(&member.number);
                    let (addresses, secrets) = (gone.released_addresses.len(), gone.deleted_credentials);
                    let account = format!("account {}: {}", gone.bmc_account, gone.detail);
                    format!("{account}; {addresses} addresses and {secrets} credentials were given back")
                }
                Err(DriveError::Status { status, .. }) => format!("{:?}: {}", status.code(), status.message()),
                Err(other @ DriveError::Setup(_)) => return Err(other.into()),
            };
            told.push((member.number, self.normal(&text)));
        }
        Ok(normal::merged(&told))
    }

    /// Who may log in to the BMCs.
    pub(super) fn accounts(&self, who: &Selector) -> anyhow::Result<Vec<String>> {
        let told = self.chosen(who)?.into_iter().map(|member| (member.number, users(&member)));
        Ok(normal::merged(&told.collect::<Vec<_>>()))
    }

    pub(super) fn soft_off(&mut self, who: &Selector) -> anyhow::Result<()> {
        for member in self.chosen(who)? {
            let (known, region) = (self.named(&member)?, self.link()?.region.clone());
            let asked = self.drive(ANSWER, async move { region.soft_off(&known.name).await })?;
            asked.with_context(|| format!("m{}", member.number))?;
        }
        Ok(())
    }

    /// Waits until the region tells this power of each.
    pub(super) fn tells(&mut self, who: &Selector, power: PowerState, within: Duration) -> anyhow::Result<()> {
        let members = self.chosen(who)?;
        self.look(within, |stage| {
            for member in &members {
                let (known, region) = (stage.named(member)?, stage.link()?.region.clone());
                let machine = stage.drive(ANSWER, async move { region.machine(&known.name).await })??;
                let told = machine.status.unwrap_or_default().power();
                if told != convert::power_to_wire(power) {
                    return Ok(Err(format!("m{}: {}", member.number, told.as_str_name())));
                }
            }
            Ok(Ok(()))
        })
    }
}

/// Every user with a name: slot, name, what he may do, and whether his password is the one that the BMC came with.
fn users(member: &Member) -> String {
    let accounts = member.accounts.lock().unwrap_or_else(PoisonError::into_inner);
    let delivered = accounts.rules().factory.password.as_bytes();
    let one = |user: &User| {
        let password = match user.key() {
            Some(key) if key.expose() == delivered => "password as delivered",
            Some(_) => "another password",
            None => "no password",
        };
        let may = if user.may_log_in() { privilege(user.access.privilege) } else { "may not log in" };
        format!("{} {} ({may}, {password})", user.slot, user.name)
    };
    let all: Vec<_> = accounts.users().iter().filter(|user| !user.name.is_empty()).map(one).collect();
    all.join(", ")
}

const fn privilege(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Callback => "callback",
        Privilege::User => "user",
        Privilege::Operator => "operator",
        Privilege::Administrator => "administrator",
        Privilege::Oem => "oem",
        Privilege::NoAccess => "no access",
    }
}
