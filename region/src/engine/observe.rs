//! Looks at the world, with no transaction open.

use farrier_common::hardware::PowerState;

use crate::{
    domain::{
        Result,
        decide::{self, Signs, power_by_hand},
        lifecycle::Class,
        machine::Machine,
        observation::{BootSeen, Observation, TaskSeen},
        rescue::keeps_running,
    },
    engine::Engine,
    racks::Asker,
};

impl Engine {
    /// What [`decide::decide`] needs to know about this machine now.
    pub(super) async fn observe(&self, m: &Machine) -> Result<Observation> {
        let power = match (decide::asks_power(m), m.details.manual) {
            (false, _) => None,
            (true, true) => self.by_hand(m).await?.map(Ok),
            (true, false) => Some(self.racks.get_power(m, Asker::Engine).await),
        };
        // What a person told is as old as it is.
        if let Some(Ok(state)) = &power
            && !(m.details.manual && m.power.is_some_and(|(told, _)| told == *state))
        {
            self.store.machine_set_power(m.id, *state, self.clock.now()).await?;
        }
        Ok(Observation { power, boot: self.boot_seen(m).await?, rack_connected: self.rack_connected(m).await? })
    }

    /// What people told of the power, and what contradicts it.
    async fn by_hand(&self, m: &Machine) -> Result<Option<PowerState>> {
        let boot = match m.details.boot {
            Some(id) => self.store.boot_get(id).await?,
            None => None,
        };
        let signs = boot.map_or_else(Signs::default, |boot| Signs {
            came: boot.hello_at.max(boot.phoned_home_at),
            heard: self.store.boot_heard_at(&boot),
        });
        Ok(power_by_hand(m.power, signs))
    }

    async fn boot_seen(&self, m: &Machine) -> Result<Option<BootSeen>> {
        let (Some(id), true) = (m.details.boot, m.state.class() == Class::Working || keeps_running(m)) else {
            return Ok(None);
        };
        let Some(boot) = self.store.boot_get(id).await? else { return Ok(None) };
        let task = self.store.task_current(id).await?;
        Ok(Some(BootSeen {
            hello: boot.hello_at.is_some(),
            phoned_home: boot.phoned_home_at.is_some(),
            restarted: boot.restarted_at.is_some(),
            heard_at: self.store.boot_silent_since(&boot, m.rack),
            held: boot.held,
            task: task.map(|t| TaskSeen { id: t.id, kind: t.kind, status: t.status }),
        }))
    }

    async fn rack_connected(&self, m: &Machine) -> Result<bool> {
        let Some(rack) = m.rack else { return Ok(false) };
        Ok(self.store.rack_get(rack).await?.is_some_and(|r| r.connected(self.clock.now())))
    }
}
