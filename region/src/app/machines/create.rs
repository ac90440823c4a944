//! How machines come to be: by hand, or met on the network. (What both share; the meeting is in `gateway::enlist`.)

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use farrier_common::{
    hardware::Architecture,
    id::{MachineId, RackId},
    name::Name,
    net::MacAddr,
};

use super::{
    super::{
        App,
        context::{Ask, needs},
    },
    addresses::Promise,
    verbs::GivenBmc,
};
use crate::{
    crash::Point,
    domain::{
        Error, Result, advance,
        lifecycle::{self, Birth, Event},
        machine::{Details, Interface, Machine, Work},
        pool,
        script::Chosen,
        user::Role,
    },
    store::{self, Extra, MachineView, Once},
};

const TRIES: usize = 5;
const MOST_SUBNETS: usize = 1000;

/// A machine to add by hand.
#[derive(Clone, Debug)]
pub struct NewMachine {
    /// `None`: one is made up.
    pub name: Option<Name>,
    /// Of its CPU.
    pub architecture: Architecture,
    /// Boot interface first; at least one.
    pub macs: Vec<MacAddr>,
    /// How its BMC is reached; `None`: people switch it.
    pub bmc: Option<GivenBmc>,
    /// The rack that serves it; `None`: the one in whose subnet the BMC is, or the only one.
    pub rack: Option<Name>,
    /// Free-form.
    pub labels: BTreeMap<String, String>,
    /// Id or name of its pool; empty: the default one.
    pub pool: String,
    /// Its zone; `None`: the default one.
    pub zone: Option<Name>,
    /// Free words.
    pub tags: BTreeSet<Name>,
    /// Free text.
    pub notes: String,
    /// What the commissioning is to do besides.
    pub commission: Chosen,
}

impl App {
    /// Adds a machine; it goes straight to commissioning.
    ///
    /// # Errors
    /// Not an admin; name or MAC are taken; no rack reaches the BMC.
    pub async fn machine_create(&self, ask: &Ask<MachineView>, new: &NewMachine) -> Result<Once<MachineView>> {
        needs(&ask.user, Role::Admin, "add machines")?;
        let birth = birth(Event::Add)?;
        let (pool, _) = self.pool_of(&new.pool).await?;
        let ssh = self.stay_up_keys(ask, new.commission.stay_up).await?;
        let Chosen { scripts, tests, .. } = &new.commission;
        let known = self.scripts_known(scripts.iter().chain(tests)).await?;
        let wishes = new.commission.resolve(&known, &self.policy.default_tests)?;
        let address = new.bmc.as_ref().map(|bmc| bmc.address);
        let rack = self.rack_for(new.rack.as_ref(), address).await?;
        let boot = *new.macs.first().ok_or_else(|| Error::invalid("macs", "at least one is required"))?;
        for _ in 0..TRIES {
            self.unknown(&new.macs).await?;
            let name = self.free_name(new.name.as_ref(), boot).await?;
            let promise = self.reserve(rack, address).await?;
            let mut machine = self.newborn(birth, name, new.architecture, rack);
            machine.interfaces = interfaces(&new.macs, promise.as_ref().map(Promise::address));
            machine.pool = pool;
            machine.zone = new.zone.clone().unwrap_or(machine.zone);
            machine.tags.clone_from(&new.tags);
            machine.details.labels.clone_from(&new.labels);
            machine.details.notes.clone_from(&new.notes);
            machine.details.bmc = new.bmc.as_ref().map(GivenBmc::endpoint);
            machine.details.manual = new.bmc.is_none();
            machine.details.commission = wishes.clone();
            machine.details.stay_up = wishes.stay_up;
            machine.details.ssh = ssh.clone();
            machine.reason = "added by hand".to_owned();
            let extra = self.given_password(&machine, new.bmc.as_ref().map(|bmc| &bmc.password));
            let made = born(machine, birth, &ask.actor(), extra);
            self.crash.at(Point::VerbReceived, birth.to.as_str());
            match self.store.machine_insert(Some(&ask.request), made, self.in_transaction(ask)).await {
                // Somebody took the name, address or MAC meanwhile; looking again tells which.
                Err(Error::Exists { .. }) => {}
                Err(other) => return Err(other),
                Ok(done) => {
                    self.passed(&done);
                    return Ok(done);
                }
            }
        }
        Err(Error::Unavailable("other machines are added at the same time; try again".to_owned()))
    }

    /// A machine as it is first written. Its state is the birth's.
    pub(in crate::app) fn newborn(
        &self,
        birth: &'static Birth,
        name: Name,
        architecture: Architecture,
        rack: RackId,
    ) -> Machine {
        let now = self.clock.now();
        Machine {
            id: MachineId::generate(),
            name,
            state: birth.to,
            since: now,
            deadline: advance::deadline(birth.to, &self.policy.deadlines, now),
            version: 1,
            due_at: Some(now),
            work: Work::default(),
            reason: String::new(),
            code: birth.on.into(),
            owner: None,
            pool: pool::DEFAULT,
            zone: pool::default_zone(),
            tags: BTreeSet::new(),
            rack: Some(rack),
            architecture,
            firmware: None,
            power: None,
            interfaces: Vec::new(),
            details: Details::default(),
            created_at: now,
            updated_at: now,
        }
    }

    /// The rack in whose subnets the address is; or the only one there is.
    pub(in crate::app) async fn rack_that_reaches(&self, bmc: Ipv4Addr) -> Result<RackId> {
        let subnets = self.store.subnet_list(None, MOST_SUBNETS).await?;
        if let Some(subnet) = subnets.iter().find(|s| s.cidr.contains(&bmc)) {
            return Ok(subnet.rack);
        }
        let racks = self.store.rack_list(None, 2).await?;
        match racks.as_slice() {
            [only] => Ok(only.id),
            [] => Err(Error::Precondition("no rack has enrolled yet, so nothing could reach the BMC".to_owned())),
            [_, _, ..] => {
                let why =
                    format!("{bmc} is in no subnet, and there is more than one rack: create the subnet that holds it");
                Err(Error::invalid("bmc.address", why))
            }
        }
    }

    /// The rack of a new machine: the named one, or the one that reaches its BMC, or the only one.
    pub(super) async fn rack_for(&self, named: Option<&Name>, bmc: Option<Ipv4Addr>) -> Result<RackId> {
        match (named, bmc) {
            (Some(name), _) => return Ok(self.rack_get(name.as_str()).await?.id),
            (None, Some(bmc)) => return self.rack_that_reaches(bmc).await,
            (None, None) => {}
        }
        match self.store.rack_list(None, 2).await?.as_slice() {
            [only] => Ok(only.id),
            [] => Err(Error::Precondition("no rack has enrolled yet".to_owned())),
            [_, _, ..] => Err(Error::invalid("rack", "required: there is more than one")),
        }
    }

    pub(super) async fn unknown(&self, macs: &[MacAddr]) -> Result<()> {
        for mac in macs {
            if let Some(id) = self.store.machine_by_mac(*mac).await? {
                let known = self.store.machine_get(id).await?;
                let whose = known.map_or_else(|| id.to_string(), |v| v.machine.name.to_string());
                return Err(Error::Exists { kind: "a machine with the MAC address", name: format!("{mac} ({whose})") });
            }
        }
        Ok(())
    }

    pub(super) async fn free_name(&self, wanted: Option<&Name>, boot: MacAddr) -> Result<Name> {
        let Some(name) = wanted else { return self.unused_name(boot).await };
        match self.store.machine_find(name.as_str()).await? {
            Some(_) => Err(Error::Exists { kind: "machine", name: name.to_string() }),
            None => Ok(name.clone()),
        }
    }
}

/// The birth that an event stands for.
pub(in crate::app) fn birth(event: Event) -> Result<&'static Birth> {
    lifecycle::birth(event).ok_or_else(|| Error::Internal(format!("the life-cycle has no birth by {event}")))
}

/// What the store takes to write a machine's birth.
pub(in crate::app) fn born(machine: Machine, birth: &'static Birth, actor: &str, extra: Extra) -> store::NewMachine {
    let event = advance::transition(machine.id, None, birth.on, birth.to, actor, &machine.reason);
    store::NewMachine { birth, machine, event, extra }
}

/// The boot interface comes first and has the reserved address.
pub(in crate::app) fn interfaces(macs: &[MacAddr], address: Option<Ipv4Addr>) -> Vec<Interface> {
    let each = macs.iter().enumerate();
    each.map(|(place, mac)| Interface { mac: *mac, address: address.filter(|_| place == 0) }).collect()
}
