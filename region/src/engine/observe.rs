//! Looks at the world, with no transaction open.

use crate::{
    domain::{
        Result, decide,
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
        let power = if decide::asks_power(m) { Some(self.racks.get_power(m, Asker::Engine).await) } else { None };
        if let Some(Ok(state)) = &power {
            self.store.machine_set_power(m.id, *state, self.clock.now()).await?;
        }
        Ok(Observation { power, boot: self.boot_seen(m).await?, rack_connected: self.rack_connected(m).await? })
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
