//! A machine that nobody told us of has booted.

use farrier_common::name::Name;

use super::Identity;
use crate::{
    app::{
        App,
        machines::{Promise, birth, born, interfaces},
    },
    domain::{
        Error, Result,
        lifecycle::{Event, State},
        rack::Rack,
    },
    store::{Extra, MachineView, Once},
};
use std::net::Ipv4Addr;

const TRIES: usize = 5;

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Its name.
    pub name: Name,
    /// Where it is in its life.
    pub state: State,
}

impl App {
    /// Notes a machine that was met on a rack's network; one that is known by any of its MAC addresses is the same one.
    ///
    /// # Errors
    /// It is served by another rack.
    pub async fn enlist(&self, rack: &Rack, who: &Identity, source: Option<Ipv4Addr>) -> Result<Met> {
        for _ in 0..TRIES {
            if let Some(known) = self.known(who).await? {
                return met(rack, &known);
            }
            match self.note(rack, who, source).await {
                // Another process was quicker, with the same machine or with one that took the same name or address.
                Err(Error::Exists { .. }) => {}
                other => return other,
            }
        }
        Err(Error::Unavailable("many machines are met at the same time; try again".to_owned()))
    }

    async fn known(&self, who: &Identity) -> Result<Option<MachineView>> {
        for mac in &who.macs {
            if let Some(id) = self.store.machine_by_mac(*mac).await? {
                return self.store.machine_get(id).await;
            }
        }
        Ok(None)
    }

    async fn note(&self, rack: &Rack, who: &Identity, source: Option<Ipv4Addr>) -> Result<Met> {
        let birth = birth(Event::Enlist)?;
        let boot =
            *who.macs.first().ok_or_else(|| Error::invalid("request.identity.macs", "at least one is required"))?;
        let name = self.unused_name(boot).await?;
        let promise = self.reserve(rack.id, source).await?;
        let mut machine = self.newborn(birth, name, who.architecture, rack.id);
        machine.interfaces = interfaces(&who.macs, promise.as_ref().map(Promise::address));
        machine.firmware = who.firmware;
        machine.reason = reason(who.bmc_address);
        let met = Met { name: machine.name.clone(), state: birth.to };
        let new = born(machine, birth, &format!("rack:{}", rack.name), Extra::default());
        match self.store.machine_insert(None, new, |_| Vec::new()).await? {
            Once::Fresh(_) | Once::Replay(_) => Ok(met),
        }
    }
}

fn met(rack: &Rack, known: &MachineView) -> Result<Met> {
    let m = &known.machine;
    if m.rack.is_some_and(|id| id != rack.id) {
        return Err(Error::Denied(format!("machine {} is served by another rack", m.name)));
    }
    Ok(Met { name: m.name.clone(), state: m.state })
}

fn reason(bmc: Option<Ipv4Addr>) -> String {
    bmc.map_or_else(
        || "met on the network; no BMC is to be seen from inside".to_owned(),
        |address| format!("met on the network; its BMC says it is at {address}"),
    )
}
