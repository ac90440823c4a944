//! Machines that already run a workload when they are added: nothing is rebooted, and a script tells their hardware.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, BmcProtocol},
    id::MachineId,
    name::Name,
    net::MacAddr,
    secret::Secret,
};

use super::{
    super::{
        App,
        context::{Ask, needs},
    },
    GivenBmc,
    create::{birth, born, interfaces},
};
use crate::{
    crash::Point,
    domain::{
        Error, Result,
        advance::Change,
        event::{EventKind, NewEvent},
        lifecycle::Event,
        machine::{Hardware, Machine, Owner},
        rack::Rack,
        user::Role,
    },
    store::{Extra, MachineView, Once},
};

const SCRIPT: &str = include_str!("live/report.sh");
const TRIES: usize = 8;
const MOST_SECONDS: u32 = 7 * 24 * 3600;
const AN_HOUR: u32 = 3600;

/// A machine to add with its workload.
#[derive(Clone, Debug)]
pub struct NewLive {
    /// `None`: one is made up.
    pub name: Option<Name>,
    /// Of its CPU.
    pub architecture: Architecture,
    /// At least one.
    pub macs: Vec<MacAddr>,
    /// How its BMC is reached, if Farrier is to drive its power.
    pub bmc: Option<GivenBmc>,
    /// People switch it.
    pub manual: bool,
    /// Free-form.
    pub labels: BTreeMap<String, String>,
    /// Id or name of its pool; empty: the default one.
    pub pool: String,
    /// What fails together.
    pub zone: Option<Name>,
    /// Free words.
    pub tags: BTreeSet<Name>,
    /// Free text.
    pub notes: String,
    /// Name of the user who holds it; `None`: the caller.
    pub owner: Option<Name>,
    /// Id or name of the project that holds it instead; empty: none.
    pub project: String,
    /// Name of the rack that the host reaches; `None`: found by the BMC, or the only one.
    pub rack: Option<Name>,
    /// How long the script may be used; 0: an hour.
    pub token_seconds: u32,
}

/// A live machine that was added, and until when its script may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// The machine.
    pub view: MachineView,
    /// When the script's token ends.
    pub expires_at: Timestamp,
}

impl App {
    /// Adds a machine that already runs a workload: it is deployed at once, and nothing is rebooted.
    ///
    /// # Errors
    /// Not an admin; name or MAC are taken; there is no such pool, owner or rack.
    pub async fn machine_add_live(&self, ask: &Ask<Live>, new: &NewLive) -> Result<Once<Live>> {
        needs(&ask.user, Role::Admin, "add machines")?;
        let seconds = if new.token_seconds == 0 { AN_HOUR } else { new.token_seconds };
        if seconds > MOST_SECONDS {
            return Err(Error::invalid("token_seconds", format!("must be 1 to {MOST_SECONDS}, or 0 for an hour")));
        }
        let birth = birth(Event::AddLive)?;
        // Nothing probes the BMC of a machine that is added with its workload, so nothing would learn protocol or certificate.
        if new.bmc.as_ref().is_some_and(|b| b.protocol.is_none()) {
            return Err(Error::invalid(
                "bmc.protocol",
                "required for a live machine: must be ipmi, redfish or webhook",
            ));
        }
        if new.bmc.as_ref().is_some_and(|b| b.protocol == Some(BmcProtocol::Redfish) && b.certificate.is_none()) {
            return Err(Error::invalid(
                "bmc.certificate_sha256",
                "required for a live machine whose BMC speaks redfish",
            ));
        }
        let rack = self.rack_for(new.rack.as_ref(), new.bmc.as_ref().map(|bmc| bmc.address)).await?;
        let owner = self.live_owner(ask, new).await?;
        let (pool, _) = self.pool_of(&new.pool).await?;
        let boot = *new.macs.first().ok_or_else(|| Error::invalid("macs", "at least one is required"))?;
        let expires_at = self.clock.now() + TimeDelta::seconds(seconds.into());
        for _ in 0..TRIES {
            self.unknown(&new.macs).await?;
            let name = self.free_name(new.name.as_ref(), boot).await?;
            let mut machine = self.newborn(birth, name, new.architecture, rack);
            machine.interfaces = interfaces(&new.macs, None);
            machine.owner = Some(owner);
            machine.pool = pool;
            describe(&mut machine, new);
            let extra = self.given_password(&machine, new.bmc.as_ref().map(|b| &b.password));
            let digest = self.live_token(machine.id).digest();
            let made = born(machine, birth, &ask.actor(), extra);
            self.crash.at(Point::VerbReceived, birth.to.as_str());
            let live = move |view| Live { view, expires_at };
            let written =
                self.store.machine_insert_live(&ask.request, made, (digest, expires_at), (live, ask.renderer()));
            match written.await {
                // Somebody took the name or MAC meanwhile; looking again tells which.
                Err(Error::Exists { .. }) => {}
                other => return other,
            }
        }
        Err(Error::Unavailable("other machines are added at the same time; try again".to_owned()))
    }

    /// The script to run on the host of a live machine. Holds a token that is good for nothing but telling its hardware.
    ///
    /// # Errors
    /// Its rack is gone.
    pub async fn live_script(&self, machine: MachineId, rack: &str) -> Result<Secret<String>> {
        let rack = self.rack_get(rack).await?;
        let host = rack.address.rsplit_once(':').map_or(rack.address.as_str(), |(host, _)| host);
        let base = format!("http://{host}:{}", rack.http_port);
        let token = self.live_token(machine);
        Ok(Secret::new(SCRIPT.replace("@RACK@", &base).replace("@TOKEN@", token.expose())))
    }

    /// Takes over what the script of a live machine tells. It may tell it again until its token ends.
    ///
    /// # Errors
    /// The token is unknown or has ended, or is of another rack's machine.
    pub async fn live_inventory(&self, rack: &Rack, token: &Secret<String>, hardware: &Hardware) -> Result<Name> {
        let denied = || Error::Denied("the token is unknown or has ended; add the machine's script anew".to_owned());
        let id = self.store.live_token_machine(&token.digest(), self.clock.now()).await?.ok_or_else(denied)?;
        for _ in 0..TRIES {
            let view = self.store.machine_get(id).await?.ok_or_else(denied)?;
            if view.machine.rack != Some(rack.id) {
                return Err(denied());
            }
            let change = told(&view.machine, hardware);
            match self.store.machine_apply(None, change, view.machine.version, Extra::default(), |_| vec![]).await {
                Err(Error::Conflict { .. }) => {}
                other => return other.map(|_| view.machine.name),
            }
        }
        Err(Error::Unavailable("the machine changes all the time; try again".to_owned()))
    }

    fn live_token(&self, machine: MachineId) -> Secret<String> {
        self.vault.derive(&format!("live-token/{machine}"))
    }

    async fn live_owner(&self, ask: &Ask<Live>, new: &NewLive) -> Result<Owner> {
        if !new.project.is_empty() {
            let found = self.store.project_find(&new.project).await?;
            let missing = || Error::not_found("project", &new.project);
            return found.map(|project| Owner::Project(project.id)).ok_or_else(missing);
        }
        let Some(name) = &new.owner else { return Ok(Owner::User(ask.user.id)) };
        let found = self.store.user_find(name.as_str()).await?;
        found.map(|user| Owner::User(user.id)).ok_or_else(|| Error::not_found("user", name))
    }
}

/// What the one who adds it says of it.
fn describe(machine: &mut Machine, new: &NewLive) {
    machine.zone = new.zone.clone().unwrap_or_else(|| machine.zone.clone());
    machine.tags.clone_from(&new.tags);
    machine.reason = "added with the workload that it runs".to_owned();
    let details = &mut machine.details;
    details.labels.clone_from(&new.labels);
    details.notes.clone_from(&new.notes);
    details.bmc = new.bmc.as_ref().map(GivenBmc::endpoint);
    details.manual = new.manual;
    details.live = true;
    // What is on its disks is its owner's: it is wiped before anybody else gets the machine.
    details.dirty = true;
}

fn told(m: &Machine, hardware: &Hardware) -> Change {
    let mut change = Change::of(m.clone());
    change.machine.details.hardware = Some(hardware.clone());
    change.events.push(NewEvent {
        kind: EventKind::Machine,
        machine: Some(m.id),
        event: None,
        from: Some(m.state),
        to: Some(m.state),
        phase: None,
        actor: "host".to_owned(),
        reason: format!(
            "the host told its hardware: {} {}, {} CPUs, {} disks, {} network interfaces",
            hardware.vendor,
            hardware.product,
            hardware.cpu_cores,
            hardware.disks.len(),
            hardware.nics.len()
        ),
    });
    change
}

#[cfg(test)]
mod tests {
    use super::SCRIPT;

    #[test]
    fn the_script_has_both_places_once() {
        assert_eq!(SCRIPT.matches("@TOKEN@").count(), 1);
        assert_eq!(SCRIPT.matches("@RACK@").count(), 1);
    }
}
