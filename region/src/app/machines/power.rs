//! Power by hand.

use farrier_common::{hardware::PowerState, words};

use super::super::{App, context::Ask};
use crate::{
    domain::{
        Error, Result,
        advance::Change,
        event::{EventKind, NewEvent},
        lifecycle::Class,
        machine::Machine,
        observation::{Trouble, TroubleKind},
        user::{Role, User},
        verbs::{
            bmc::{more_than_power, reachable, tell_power},
            unlocked,
        },
    },
    racks::Asker,
    store::{Extra, MachineView, Once},
};

words! {
    /// What may be asked of the chassis.
    PowerAction {
        /// Power on.
        On = "on",
        /// Power off, hard.
        Off = "off",
        /// Off and on again.
        Cycle = "cycle",
        /// Asks the system to shut down in order; whether it does is its own affair.
        SoftOff = "soft-off",
    }
}

impl App {
    /// Asks a machine's BMC for the power state now.
    ///
    /// # Errors
    /// Not the caller's machine; no BMC is known; rack or BMC do not answer.
    pub async fn power_query(&self, user: &User, which: &str) -> Result<MachineView> {
        let view = self.machine_get(user, which).await?;
        may(user, &view.machine, "query")?;
        reachable(&view.machine)?;
        let power = self.racks.get_power(&view.machine, Asker::Person).await.map_err(error)?;
        self.store.machine_set_power(view.machine.id, power, self.clock.now()).await?;
        self.machine_get(user, which).await
    }

    /// Changes a machine's power.
    ///
    /// The BMC first, then the record: if the answer is lost between them, a repeated request does it once more.
    ///
    /// # Errors
    /// Not the caller's machine; the engine drives the machine; no BMC is known; rack or BMC do not answer.
    pub async fn power(&self, ask: &Ask<MachineView>, which: &str, action: PowerAction) -> Result<Once<MachineView>> {
        let view = self.machine_get(&ask.user, which).await?;
        let m = &view.machine;
        ask.still(m.name.as_str(), m.etag())?;
        unlocked(m, "power")?;
        ask.still_in(m)?;
        may(&ask.user, m, action.as_str())?;
        if m.state.class() == Class::Working {
            let why =
                format!("machine {} is {}: the engine drives its power; wait, or abort the work", m.name, m.state);
            return Err(Error::Precondition(why));
        }
        reachable(m)?;
        if action == PowerAction::SoftOff {
            more_than_power(m, "a shutdown in order", "; shut it down in its own system, or ask for power off")?;
        }
        // The BMC cannot be asked to undo it: who only wants to know is told as far as it is known without the BMC.
        if ask.request.validate_only {
            return self.power_noted(ask, which, action).await;
        }
        let power = match action {
            PowerAction::On => self.racks.set_power(m, PowerState::On).await.map(Some),
            PowerAction::Off => self.racks.set_power(m, PowerState::Off).await.map(Some),
            PowerAction::Cycle => self.racks.cycle_power(m).await.map(|()| Some(PowerState::On)),
            PowerAction::SoftOff => self.racks.soft_off(m).await.map(|()| None),
        };
        if let Some(power) = power.map_err(error)? {
            self.store.machine_set_power(m.id, power, self.clock.now()).await?;
        }
        // What the caller saw was checked above; the power itself changes no version that he could compare with.
        let recorded = Ask { etag: None, expected: None, ..ask.clone() };
        self.power_noted(&recorded, which, action).await
    }

    /// Takes down what a person tells of the power of a machine that people switch; its work goes on with that.
    ///
    /// # Errors
    /// Not the caller's machine; a BMC tells its power.
    pub async fn power_tell(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        power: PowerState,
        comment: &str,
    ) -> Result<Once<MachineView>> {
        self.change(ask, which, "tell the power of", |asked, m| {
            may(asked.user, m, "tell")?;
            Ok((tell_power(asked, m, power, comment)?, Extra::default()))
        })
        .await
    }

    /// Logs who asked for what.
    async fn power_noted(&self, ask: &Ask<MachineView>, which: &str, action: PowerAction) -> Result<Once<MachineView>> {
        self.change(ask, which, "power", |asked, m| {
            let mut change = Change::of(m.clone());
            change.events.push(event(m, &format!("user:{}", asked.user.name), action));
            Ok((change, Extra::default()))
        })
        .await
    }
}

/// The owner may, and admins; what nobody owns is for admins.
fn may(user: &User, m: &Machine, what: &str) -> Result<()> {
    if user.role == Role::Admin || (user.role == Role::User && m.owner.is_some_and(|owner| user.holds(owner))) {
        return Ok(());
    }
    Err(Error::Denied(format!("power {what} of machine {} is for its owner and for admins", m.name)))
}

pub(super) fn error(trouble: Trouble) -> Error {
    match trouble.kind {
        TroubleKind::Transient | TroubleKind::RackAway => Error::Unavailable(trouble.text),
        TroubleKind::Permanent | TroubleKind::Refused | TroubleKind::Untrusted => Error::Precondition(trouble.text),
    }
}

fn event(m: &Machine, actor: &str, action: PowerAction) -> NewEvent {
    NewEvent {
        kind: EventKind::Power,
        machine: Some(m.id),
        event: None,
        from: Some(m.state),
        to: Some(m.state),
        phase: None,
        actor: actor.to_owned(),
        reason: format!("asked for power {action}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        lifecycle::State,
        machine::Owner,
        testing::{at, machine},
    };

    #[test]
    fn power_is_for_owner_and_admin() {
        let user = |role| User::new("u".parse().unwrap(), role, at(0));
        let (admin, owner, other, viewer) = (user(Role::Admin), user(Role::User), user(Role::User), user(Role::Viewer));
        let mut m = machine(State::Deployed, None);
        assert!(may(&admin, &m, "on").is_ok());
        assert!(may(&owner, &m, "on").is_err());
        m.owner = Some(Owner::User(owner.id));
        assert!(may(&owner, &m, "on").is_ok());
        assert!(may(&other, &m, "on").is_err());
        m.owner = Some(Owner::User(viewer.id));
        assert!(may(&viewer, &m, "query").is_err());
    }
}
