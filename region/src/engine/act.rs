//! Does one effect. Each is a level, so a tick that dies after it and is done again does no harm.

use farrier_common::hardware::{BootDevice, PowerState};

use crate::{
    crash::Point,
    domain::{
        event::{EventKind, NewEvent},
        machine::Machine,
        observation::{Effect, Trouble},
    },
    engine::Engine,
};

impl Engine {
    /// Does `effect` and notes on `m` what is known since; returns what to log.
    pub(super) async fn act(&self, m: &mut Machine, effect: &Effect) -> Result<Option<NewEvent>, Trouble> {
        match effect {
            Effect::ProbeBmc => {
                let facts = self.racks.probe_bmc(m).await?;
                self.note_power(m, facts.power).await;
                if let Some(bmc) = &mut m.details.bmc {
                    bmc.certificate = facts.certificate;
                }
                Ok(Some(event(m, &format!("the BMC answers: {}", facts.text))))
            }
            Effect::EnsureBmcAccount => self.ensure_account(m).await.map(Some),
            Effect::PowerOff => {
                let power = self.racks.set_power(m, PowerState::Off).await?;
                self.note_power(m, Some(power)).await;
                Ok(None)
            }
            Effect::StartFrom(device) => {
                self.start_from(m, *device).await?;
                Ok(None)
            }
            Effect::PublishIntent => {
                self.racks.put_intent(m).await?;
                m.details.published = Some(m.boot_target());
                Ok(None)
            }
        }
    }

    async fn ensure_account(&self, m: &mut Machine) -> Result<NewEvent, Trouble> {
        let name = self.bmc_account.as_str();
        let created = self.racks.ensure_bmc_account(m, name).await?;
        if let Some(bmc) = &mut m.details.bmc {
            bmc.managed = true;
            name.clone_into(&mut bmc.username);
        }
        let text = if created { "was made" } else { "was there already" };
        Ok(event(m, &format!("the BMC account {name:?} {text}, and a login with it was proven")))
    }

    async fn start_from(&self, m: &Machine, device: BootDevice) -> Result<(), Trouble> {
        self.racks.set_boot_device(m, device).await?;
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
    NewEvent {
        kind: EventKind::Bmc,
        machine: Some(m.id),
        event: None,
        from: Some(m.state),
        to: Some(m.state),
        phase: m.work.phase,
        actor: "engine".to_owned(),
        reason: reason.to_owned(),
    }
}
