//! The BMCs of machines: what they are, and the account on them.

use farrier_common::secret::{Secret, bmc_password};

use super::{
    super::{
        App,
        context::{Ask, needs},
    },
    power::error,
};
use crate::{
    domain::{
        Error, Result,
        advance::Change,
        bios::{Settings, Wanted},
        bmc::{Bmc, BmcUpdate, EventLog, Exchange, PASSWORD},
        lifecycle::Class,
        machine::Machine,
        user::{Role, User},
        verbs::{
            bmc::{more_than_power, noted, reachable, rotate},
            unlocked,
        },
    },
    racks::pending_purpose,
    store::{Extra, MachineView, Once},
};

impl App {
    /// A machine, and what was heard of its BMC lately.
    ///
    /// # Errors
    /// There is no such machine for the caller.
    pub async fn bmc_get(&self, user: &User, which: &str) -> Result<(MachineView, Vec<Exchange>)> {
        let view = self.machine_get(user, which).await?;
        let exchanges = self.racks.exchanges(view.machine.id);
        Ok((view, exchanges))
    }

    /// Asks a machine's BMC now what it is.
    ///
    /// The BMC first, then the record: if the answer is lost between them, a repeated request asks once more.
    ///
    /// # Errors
    /// Not an admin; no BMC is known; rack or BMC do not answer.
    pub async fn bmc_probe(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        let m = self.bmc_of(ask, which, "probe the BMC of").await?;
        more_than_power(&m, "a probe", "; ask for the power instead")?;
        let found = if ask.request.validate_only { None } else { Some(self.racks.probe_bmc(&m).await.map_err(error)?) };
        let asked = recorded(ask);
        self.change(&asked, which, "probe the BMC of", |_, m| {
            let mut change = Change::of(m.clone());
            let told = found.as_ref().map_or("", |f| f.text.as_str());
            change.events.push(noted(m, ask.actor(), &format!("asked the BMC what it is: {told}"), comment));
            if let (Some(bmc), Some(found)) = (&mut change.machine.details.bmc, &found) {
                bmc.learn(found.protocol, found.certificate, found.facts.clone());
            }
            Ok((change, Extra::default()))
        })
        .await
    }

    /// Reaches a machine's BMC otherwise from now on; `password` is that of the account in `update`, if there is one.
    ///
    /// # Errors
    /// Not an admin; the machine is at work; no BMC is known; a field is wrong; the BMC is not reached so, or refuses.
    pub async fn bmc_set(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        (update, password): (&BmcUpdate, Option<&Secret<String>>),
        comment: &str,
    ) -> Result<Once<MachineView>> {
        let verb = "set the BMC of";
        let m = self.bmc_of(ask, which, verb).await?;
        more_than_power(&m, "another way to it", "; commission it with its webhook as it is now")?;
        settable(&m)?;
        let mut after = m.clone();
        after.details.bmc = known(&m)?.updated(update).map(Some)?;
        let found = match password {
            _ if ask.request.validate_only => None,
            Some(password) => Some(self.racks.probe_bmc_with(&after, password).await.map_err(error)?),
            None => Some(self.racks.probe_bmc(&after).await.map_err(error)?),
        };
        let asked = recorded(ask);
        self.change(&asked, which, verb, |_, m| {
            settable(m)?;
            let mut bmc = known(m)?.updated(update)?;
            let told = found.as_ref().map_or("", |f| f.text.as_str());
            let what = format!("set the BMC: {}@{}; it tells: {told}", bmc.username, bmc.address);
            if let Some(found) = &found {
                bmc.learn(found.protocol, found.certificate, found.facts.clone());
            }
            let mut change = Change::of(m.clone());
            change.machine.details.bmc = Some(bmc);
            change.events.push(noted(m, ask.actor(), &what, comment));
            Ok((change, self.given_password(m, password)))
        })
        .await
    }

    /// Asks a machine's BMC now for the newest `limit` entries of its own event log.
    ///
    /// # Errors
    /// Not an admin; no BMC is known; rack or BMC do not answer; the BMC has none.
    pub async fn bmc_events(&self, user: &User, which: &str, limit: u32) -> Result<EventLog> {
        needs(user, Role::Admin, "read the event logs of BMCs")?;
        let m = self.machine_get(user, which).await?.machine;
        reachable(&m)?;
        more_than_power(&m, "an event log", "")?;
        self.racks.bmc_events(&m, limit).await.map_err(error)
    }

    /// Asks a machine's BMC now for the settings of the machine's firmware.
    ///
    /// # Errors
    /// Not an admin; no BMC is known; rack or BMC do not answer; the BMC offers none.
    pub async fn bios_get(&self, user: &User, which: &str) -> Result<Settings> {
        needs(user, Role::Admin, "read the settings of firmware")?;
        let m = self.machine_get(user, which).await?.machine;
        reachable(&m)?;
        more_than_power(&m, "settings of the firmware", "")?;
        self.racks.bios_settings(&m).await.map_err(error)
    }

    /// Sets some of them, from the machine's next start on.
    ///
    /// The BMC first, then the record: if the answer is lost between them, a repeated request sets the same once more.
    ///
    /// # Errors
    /// Not an admin; the machine is at work; no BMC is known; rack or BMC do not answer; there is no such setting.
    pub async fn bios_set(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        wanted: &Wanted,
        comment: &str,
    ) -> Result<Once<MachineView>> {
        let verb = "set the firmware of";
        let m = self.bmc_of(ask, which, verb).await?;
        more_than_power(&m, "settings of the firmware", "")?;
        at_rest(&m)?;
        if !ask.request.validate_only {
            self.racks.set_bios_settings(&m, wanted).await.map_err(error)?;
        }
        let asked = recorded(ask);
        self.change(&asked, which, verb, |_, m| {
            let mut change = Change::of(m.clone());
            let what = format!("set, from the next start on: {}", wanted.summary());
            change.events.push(noted(m, ask.actor(), &what, comment));
            Ok((change, Extra::default()))
        })
        .await
    }

    /// Has the password of our account on a machine's BMC changed; the engine does it.
    ///
    /// # Errors
    /// Not an admin; the account is not ours; the password is being changed already.
    pub async fn bmc_rotate(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change(ask, which, "change the BMC password of", |asked, m| {
            Ok((rotate(asked, m, comment)?, self.next_password(m)))
        })
        .await
    }

    /// A new password for our account on a machine's BMC, to be kept as the one to come. One that an earlier rotation was given up
    /// with stays that: the BMC may have it already.
    pub(in crate::app) fn next_password(&self, m: &Machine) -> Extra {
        let purpose = pending_purpose(m);
        let sealed = self.vault.seal(&purpose, bmc_password(PASSWORD).expose().as_bytes());
        Extra { keep: vec![(purpose, sealed)], ..Extra::default() }
    }

    /// Notes that somebody was told the password of a machine's BMC.
    ///
    /// # Errors
    /// Not an admin; no BMC is known; no reason was given.
    pub async fn bmc_reveal(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        if comment.is_empty() {
            return Err(Error::invalid("comment", "is required: say why the password is needed; it is audited"));
        }
        self.bmc_of(ask, which, "reveal the BMC password of").await?;
        self.change(ask, which, "reveal the BMC password of", |_, m| {
            let mut change = Change::of(m.clone());
            change.events.push(noted(m, ask.actor(), "was told the password of the BMC account", comment));
            Ok((change, Extra::default()))
        })
        .await
    }

    /// Account and password in use on a machine's BMC. Only for whoever was noted by [`App::bmc_reveal`].
    ///
    /// # Errors
    /// No BMC is known, or nothing is kept for it.
    pub async fn bmc_password(&self, user: &User, which: &str) -> Result<(String, Secret<String>)> {
        let m = self.machine_get(user, which).await?.machine;
        let password = self.racks.reveal(&m).await.map_err(error)?;
        Ok((m.details.bmc.map(|b| b.username).unwrap_or_default(), password))
    }

    /// Starts a machine's BMC anew.
    ///
    /// # Errors
    /// Not an admin; the machine is at work; no BMC is known; rack or BMC do not answer.
    pub async fn bmc_reset(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        let m = self.bmc_of(ask, which, "reset the BMC of").await?;
        more_than_power(&m, "a restart of a BMC", "")?;
        at_rest(&m)?;
        if !ask.request.validate_only {
            self.racks.reset_bmc(&m).await.map_err(error)?;
        }
        let asked = recorded(ask);
        self.change(&asked, which, "reset the BMC of", |_, m| {
            let mut change = Change::of(m.clone());
            change.events.push(noted(m, ask.actor(), "started the BMC anew", comment));
            Ok((change, Extra::default()))
        })
        .await
    }

    /// The machine, if the caller may have its BMC asked.
    async fn bmc_of(&self, ask: &Ask<MachineView>, which: &str, verb: &str) -> Result<Machine> {
        let m = self.machine_get(&ask.user, which).await?.machine;
        ask.still(m.name.as_str(), m.etag())?;
        unlocked(&m, verb)?;
        ask.still_in(&m)?;
        needs(&ask.user, Role::Admin, &format!("{verb} machines"))?;
        reachable(&m)?;
        Ok(m)
    }
}

/// Refuses if the machine's work needs its BMC.
fn at_rest(m: &Machine) -> Result<()> {
    if m.state.class() == Class::Working {
        let why = format!("machine {} is {}: its work needs the BMC; wait, or abort the work", m.name, m.state);
        return Err(Error::Precondition(why));
    }
    Ok(())
}

/// Refuses if somebody else is about to use the BMC as it is reached now.
fn settable(m: &Machine) -> Result<()> {
    at_rest(m)?;
    if m.details.bmc.as_ref().is_some_and(|bmc| bmc.rotation.is_some()) {
        let why = format!("the BMC password of machine {} is being changed; wait until that has ended", m.name);
        return Err(Error::Precondition(why));
    }
    Ok(())
}

fn known(m: &Machine) -> Result<&Bmc> {
    m.details.bmc.as_ref().ok_or_else(|| Error::Precondition(format!("the BMC of machine {} is not known", m.name)))
}

/// What the caller saw was checked before the BMC was asked; the answer does not depend on what has changed since.
fn recorded(ask: &Ask<MachineView>) -> Ask<MachineView> {
    Ask { etag: None, expected: None, ..ask.clone() }
}
