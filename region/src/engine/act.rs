//! Does one effect. Each is a level, so a tick that dies after it and is done again does no harm.

use farrier_common::hardware::{BootDevice, PowerState};

use crate::{
    crash::Point,
    domain::{
        bmc::Bmc,
        event::NewEvent,
        machine::Machine,
        observation::{Effect, Trouble},
        verbs::bmc::noted,
    },
    engine::Engine,
    store::Extra,
};

/// What to log, and what becomes of secrets in the same transaction.
type Acted = (Option<NewEvent>, Extra);

impl Engine {
    /// Does `effect` and notes on `m` what is known since; returns what to log, and what becomes of secrets.
    pub(super) async fn act(&self, m: &mut Machine, effect: &Effect) -> Result<Acted, Trouble> {
        let logged = match effect {
            Effect::RotateBmcPassword => return self.rotate(m).await,
            Effect::ProbeBmc => {
                let found = self.racks.probe_bmc(m).await?;
                self.note_power(m, found.power).await;
                if let Some(bmc) = &mut m.details.bmc {
                    bmc.learn(found.protocol, found.certificate, found.facts);
                }
                Some(event(m, &format!("the BMC answers: {}", found.text)))
            }
            Effect::EnsureBmcAccount => Some(self.ensure_account(m).await?),
            Effect::PowerOff => {
                let power = self.racks.set_power(m, PowerState::Off).await?;
                self.note_power(m, Some(power)).await;
                None
            }
            Effect::StartFrom(device) => {
                self.start_from(m, *device).await?;
                None
            }
            Effect::PublishIntent => {
                self.racks.put_intent(m).await?;
                m.details.published = Some(m.boot_target());
                None
            }
        };
        Ok((logged, Extra::default()))
    }

    /// Changes the password of our account. What goes wrong is kept with the rotation and is no trouble of the machine's work.
    async fn rotate(&self, m: &mut Machine) -> Result<Acted, Trouble> {
        let outcome = self.racks.change_bmc_password(m).await;
        let now = self.clock.now();
        let Some(bmc) = &mut m.details.bmc else { return Ok((None, Extra::default())) };
        match outcome {
            Ok(extra) => {
                bmc.rotated(now);
                let text = format!(
                    "the password of the BMC account {:?} was changed, and a login with it was proven",
                    bmc.username
                );
                Ok((Some(event(m, &text)), extra))
            }
            Err(trouble) => {
                tracing::warn!(machine.id = %m.id, name = %m.name, why = trouble.text, "a BMC's password was not changed");
                let given_up = bmc.not_rotated(&trouble, now);
                let text = given_up
                    .map(|why| format!("the password of the BMC account was not changed: {}; {why}", trouble.text));
                Ok((text.map(|text| event(m, &text)), Extra::default()))
            }
        }
    }

    async fn ensure_account(&self, m: &mut Machine) -> Result<NewEvent, Trouble> {
        let name = self.bmc_account.as_str();
        let created = self.racks.ensure_bmc_account(m, name).await?;
        if let Some(bmc) = &mut m.details.bmc {
            bmc.managed = true;
            bmc.take_over = false;
            name.clone_into(&mut bmc.username);
        }
        let text = if created { "was made" } else { "was there already" };
        Ok(event(m, &format!("the BMC account {name:?} {text}, and a login with it was proven")))
    }

    async fn start_from(&self, m: &Machine, device: BootDevice) -> Result<(), Trouble> {
        // What can do power alone leaves the choice to the machine: its firmware tries the network first, where the intent that is
        // published sends it on to its disk or to the image.
        if !m.details.bmc.as_ref().is_some_and(Bmc::only_power) {
            self.racks.set_boot_device(m, device).await?;
        }
        self.crash.at(Point::BootDeviceSet, m.state.as_str());
        let power = self.racks.set_power(m, PowerState::On).await?;
        self.note_power(m, Some(power)).await;
        Ok(())
    }

    /// Remembers what the BMC said. Failing to is no reason to do the effect again.
    async fn note_power(&self, m: &Machine, power: Option<PowerState>) {
        let Some(power) = power else { return };
        if let Err(e) = self.store.machine_set_power(m.id, power, self.clock.now()).await {
            tracing::warn!(machine.id = %m.id, error = %e, "the power state was not noted");
        }
    }
}

fn event(m: &Machine, reason: &str) -> NewEvent {
    noted(m, "engine".to_owned(), reason, "")
}
